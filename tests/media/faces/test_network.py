"""The small network runner computes what torch computes."""

import hashlib
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from multitalk_cli.media.faces.detect import _MODELS
from multitalk_cli.media.faces.network import load_network

RANDOM = np.random.default_rng(7)


def _run(name, shape, constants=(), **options):
    """The one operation's answer for a random [H, W, C] picture, and that picture."""
    picture = RANDOM.standard_normal(shape).astype(np.float32)
    inputs = [0, *range(1, len(constants) + 1)]
    row = [name, inputs, [9], options]
    (answer,) = _network(row, shape, constants)(picture)
    return answer, picture


def _network(row, shape, constants):
    """A network of one operation, read as from a file."""
    flat, places = {"weights": [np.zeros(3)], "numbers": [np.zeros(2, int)]}, []
    for number, constant in enumerate(constants, 1):
        kind = "numbers" if constant.dtype.kind == "i" else "weights"
        start = sum(each.size for each in flat[kind])
        places.append([number, kind, start, list(constant.shape)])
        flat[kind].append(constant.ravel())
    graph = {"inp": 0, "out": [9], "ops": [row], "size": [1, *shape], "constants": places}
    arrays = {"net/graph": np.frombuffer(json.dumps(graph).encode(), np.uint8)}
    arrays |= {f"net/{kind}": np.concatenate(values) for kind, values in flat.items()}
    return load_network(arrays, "net")


def _to_torch(picture):
    return torch.from_numpy(picture).permute(2, 0, 1)[None]


def _from_torch(tensor):
    return tensor[0].permute(1, 2, 0).numpy()


def _padded(picture, kernel, stride, same):
    """TensorFlow's padding: what is missing, the odd pixel at the right and below."""
    if not same:
        return picture
    missing = [max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in picture.shape[2:]]
    down, across = missing
    return F.pad(picture, (across // 2, across - across // 2, down // 2, down - down // 2))


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (3, 2), (5, 2), (1, 2)])
@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("relu", [True, False])
def test_convolution(kernel, stride, same, relu):
    weight = RANDOM.standard_normal((6, kernel, kernel, 4)).astype(np.float32)
    bias = RANDOM.standard_normal(6).astype(np.float32)
    options = {"s": [stride, stride], "p": 0 if same else 1, "act": "relu" if relu else None}
    answer, picture = _run("CONV_2D", (12, 9, 4), (weight, bias), **options)
    expected = F.conv2d(
        _padded(_to_torch(picture), kernel, stride, same),
        torch.from_numpy(weight).permute(0, 3, 1, 2),
        torch.from_numpy(bias),
        stride,
    )
    expected = expected.relu() if relu else expected
    np.testing.assert_allclose(answer, _from_torch(expected), atol=1e-4)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("same", [True, False])
def test_depthwise_convolution(stride, same):
    weight = RANDOM.standard_normal((1, 3, 3, 5)).astype(np.float16)
    bias = RANDOM.standard_normal(5).astype(np.float16)
    options = {"s": [stride, stride], "p": 0 if same else 1, "act": None}
    answer, picture = _run("DEPTHWISE_CONV_2D", (11, 8, 5), (weight, bias), **options)
    expected = F.conv2d(
        _padded(_to_torch(picture), 3, stride, same),
        torch.from_numpy(weight.astype(np.float32)).permute(3, 0, 1, 2),
        torch.from_numpy(bias.astype(np.float32)),
        stride,
        groups=5,
    )
    np.testing.assert_allclose(answer, _from_torch(expected), atol=1e-5)


def test_pooling():
    answer, picture = _run("MAX_POOL_2D", (8, 6, 3), k=[2, 2], s=[2, 2], p=1)
    assert np.array_equal(answer, _from_torch(F.max_pool2d(_to_torch(picture), 2)))


def test_resizing():
    answer, picture = _run("RESIZE_BILINEAR", (6, 5, 3), (np.array([12, 10], np.int32),))
    expected = F.interpolate(_to_torch(picture), (12, 10), mode="bilinear", align_corners=False)
    np.testing.assert_allclose(answer, _from_torch(expected), atol=1e-6)


def test_depth_becomes_space():
    answer, picture = _run("DEPTH_TO_SPACE", (3, 4, 8), b=2)
    assert answer.shape == (6, 8, 2)
    assert np.array_equal(answer[3, 5], picture[1, 2, 6:8])


def test_pixels_are_repeated():
    answer, picture = _run("REPEAT_2D", (3, 4, 2), n=2)
    assert np.array_equal(answer, _from_torch(F.interpolate(_to_torch(picture), scale_factor=2)))


def test_slopes_padding_and_sums():
    slopes = np.array([[[0.5, 2.0]]], np.float16)
    answer, picture = _run("PRELU", (3, 4, 2), (slopes,))
    np.testing.assert_allclose(answer, np.where(picture > 0, picture, picture * [0.5, 2.0]))
    margins = np.array([[0, 0], [1, 0], [0, 2], [0, 3]], np.int32)
    answer, picture = _run("PAD", (3, 4, 2), (margins,))
    assert np.array_equal(answer, np.pad(picture, margins[1:]))
    addend = np.ones((3, 4, 2), np.float32)
    answer, picture = _run("ADD", (3, 4, 2), (addend,), act="relu")
    assert np.array_equal(answer, np.maximum(picture + 1, 0))


def test_unknown_operation_is_named():
    with pytest.raises(ValueError, match="SOFTMAX"):
        _run("SOFTMAX", (3, 4, 2))


@pytest.mark.parametrize("model", sorted(_MODELS.parent.glob("*.npz")), ids=lambda path: path.stem)
def test_model_file_is_the_one_in_the_notice(model):
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    assert f"{model.name} " in (_MODELS.parent / "NOTICE").read_text()
    assert digest in (_MODELS.parent / "NOTICE").read_text()
