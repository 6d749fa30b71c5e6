"""Small convolutional networks in numpy: the operations of the two face networks.

A network is a list of operations over numbered tensors, read from the .npz that
tests/tools/export_face_models.py writes. Arrays are [H, W, C] float32, one picture at a time. The
numbers are those of a TensorFlow Lite interpreter; an inference runtime would add 60 MB to the
installation and save a tenth of a second.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

_STRIP_VALUES = 1 << 14
_SAME = 0  # TensorFlow Lite's code for padding that keeps ceil(size / stride)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Operation:
    name: str
    inputs: tuple[int, ...]
    output: int
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Network:
    """A loaded network; a call returns its outputs in the order of the file."""

    operations: tuple[_Operation, ...]
    constants: Mapping[int, Array]
    input: int
    outputs: tuple[int, ...]
    size_px: tuple[int, int]

    def __call__(self, picture: Array) -> list[Array]:
        """picture: [H, W, 3] of `size_px`, scaled as the network expects."""
        tensors: dict[int, Array] = {self.input: picture}
        for operation in self.operations:
            arrays = [
                self.constants[n] if n in self.constants else tensors[n] for n in operation.inputs
            ]
            tensors[operation.output] = _run(operation, arrays)
        return [tensors[n] for n in self.outputs]


def load_network(arrays: Mapping[str, Any], name: str) -> Network:
    """Reads the network `name` of an opened .npz; weights become float32."""
    import numpy as np

    graph = json.loads(bytes(arrays[f"{name}/graph"]))
    # One array of each kind: opening one of hundreds takes longer than reading it.
    stored = {"weights": arrays[f"{name}/weights"].astype(np.float32)}
    stored["numbers"] = arrays[f"{name}/numbers"]
    constants = {
        number: stored[kind][start : start + math.prod(shape)].reshape(shape)
        for number, kind, start, shape in graph["constants"]
    }
    height, width = graph["size"][1:3]
    return Network(
        operations=tuple(
            _Operation(name=kind, inputs=tuple(inputs), output=outputs[0], options=options)
            for kind, inputs, outputs, options in graph["ops"]
        ),
        constants=constants,
        input=graph["inp"],
        outputs=tuple(graph["out"]),
        size_px=(height, width),
    )


def _run(operation: _Operation, arrays: list[Array]) -> Array:
    import numpy as np

    options, first = operation.options, arrays[0]
    match operation.name:
        case "CONV_2D":
            result = _convolve(first, arrays[1], arrays[2], options)
        case "DEPTHWISE_CONV_2D":
            result = _convolve_depthwise(first, arrays[1], arrays[2], options)
        case "ADD":
            result = first + arrays[1]
        case "PRELU":
            result = np.maximum(first, 0) + arrays[1].reshape(1, 1, -1) * np.minimum(first, 0)
        case _:
            result = _reshape(operation, arrays)
    return np.maximum(result, 0, out=result) if options.get("act") == "relu" else result


def _reshape(operation: _Operation, arrays: list[Array]) -> Array:
    """The operations without arithmetic of learned numbers."""
    options, first = operation.options, arrays[0]
    match operation.name:
        case "MAX_POOL_2D":
            return _pool_maximum(first, options["k"], options["s"])
        case "PAD":
            return _pad(first, [(int(before), int(after)) for before, after in arrays[1][-3:]])
        case "RESIZE_BILINEAR":
            return _resize(first, (int(arrays[1][0]), int(arrays[1][1])))
        case "REPEAT_2D":
            return first.repeat(options["n"], 0).repeat(options["n"], 1)
        case "DEPTH_TO_SPACE":
            return _depth_to_space(first, options["b"])
        case "RESHAPE":
            return first.reshape(options["shape"][1:])
        case name:
            raise ValueError(f"the network uses {name}, which is not implemented")


def _pad(picture: Array, margins: list[tuple[int, int]]) -> Array:
    import numpy as np

    shape = [
        size + before + after for size, (before, after) in zip(picture.shape, margins, strict=True)
    ]
    padded = np.zeros(shape, np.float32)
    inner = tuple(
        slice(before, before + size)
        for size, (before, _) in zip(picture.shape, margins, strict=True)
    )
    padded[inner] = picture
    return padded


def _padded(picture: Array, kernel: tuple[int, int], options: Mapping[str, Any]) -> Array:
    if options["p"] != _SAME:
        return picture
    margins = []
    for size, extent, stride in zip(picture.shape[:2], kernel, options["s"], strict=True):
        missing = max((-(-size // stride) - 1) * stride + extent - size, 0)
        margins.append((missing // 2, missing - missing // 2))
    return _pad(picture, [*margins, (0, 0)]) if any(map(any, margins)) else picture


def _convolve(picture: Array, kernel: Array, bias: Array, options: Mapping[str, Any]) -> Array:
    """kernel: [outputs, rows, columns, inputs]."""
    import numpy as np

    _, rows, columns, inputs = kernel.shape
    if rows == columns == 1 and tuple(options["s"]) == (1, 1):
        height, width = picture.shape[:2]
        return _mixed_channels(picture.reshape(-1, inputs), kernel, bias, (height, width))
    picture = _padded(picture, (rows, columns), options)
    windows = np.lib.stride_tricks.sliding_window_view(picture, (rows, columns), axis=(0, 1))
    windows = windows[:: options["s"][0], :: options["s"][1]].transpose(0, 1, 3, 4, 2)
    height, width = windows.shape[:2]
    return _mixed_channels(windows.reshape(height * width, -1), kernel, bias, (height, width))


def _mixed_channels(patches: Array, kernel: Array, bias: Array, size: tuple[int, int]) -> Array:
    """patches: [H * W, rows * columns * inputs]."""
    import numpy as np

    height, width = size
    result: Array = patches @ kernel.reshape(len(kernel), -1).T
    by_rows = result.reshape(height, -1)
    by_rows += np.tile(bias, width)
    return result.reshape(height, width, -1)


def _convolve_depthwise(
    picture: Array, kernel: Array, bias: Array, options: Mapping[str, Any]
) -> Array:
    """kernel: [1, rows, columns, channels]."""
    import numpy as np

    _, rows, columns, channels = kernel.shape
    picture = _padded(picture, (rows, columns), options)
    down, right = options["s"]
    height = (picture.shape[0] - rows) // down + 1
    width = (picture.shape[1] - columns) // right + 1
    # Whole rows of pixels: numpy is several times slower on axes as short as the channels.
    shifted = [
        picture[:, column::right][:, :width].reshape(len(picture), -1) for column in range(columns)
    ]
    factors = np.tile(kernel[0], width)
    result = np.empty((height, width * channels), np.float32)
    result[:] = np.tile(bias, width)
    # In strips that stay in the processor's cache.
    step = max(1, _STRIP_VALUES // (width * channels))
    product = np.empty((step, width * channels), np.float32)
    for top in range(0, height, step):
        strip = result[top : top + step]
        extent = (len(strip) - 1) * down + 1
        for row in range(rows):
            for column in range(columns):
                pixels = shifted[column][top * down + row :][:extent:down]
                strip += np.multiply(pixels, factors[row, column], out=product[: len(strip)])
    return result.reshape(height, width, channels)


def _pool_maximum(picture: Array, kernel: list[int], stride: list[int]) -> Array:
    import numpy as np

    windows = np.lib.stride_tricks.sliding_window_view(picture, tuple(kernel), axis=(0, 1))
    pooled: Array = windows[:: stride[0], :: stride[1]].max(axis=(3, 4))
    return pooled


def _resize(picture: Array, size: tuple[int, int]) -> Array:
    """Bilinear with pixel centres at halves."""
    return _resize_axis(_resize_axis(picture, size[0], 0), size[1], 1)


def _resize_axis(picture: Array, length: int, axis: int) -> Array:
    import numpy as np

    last = picture.shape[axis] - 1
    place = np.clip((np.arange(length) + 0.5) * (last + 1) / length - 0.5, 0, last)
    before = place.astype(int)
    after = np.minimum(before + 1, last)
    share = (place - before).astype(np.float32)
    height, width, channels = picture.shape
    if axis == 0:
        rows = picture.reshape(height, width * channels)
        mixed = _mixed(rows.take(before, 0), rows.take(after, 0), share[:, None])
        return mixed.reshape(length, width, channels)
    first, second = (picture.take(at, 1).reshape(height, -1) for at in (before, after))
    return _mixed(first, second, share.repeat(channels)).reshape(height, length, channels)


def _mixed(first: Array, second: Array, share: Array) -> Array:
    """[rows, values]: whole rows at once, as numpy is slow on short axes."""
    first *= 1 - share
    second *= share
    first += second
    return first


def _depth_to_space(picture: Array, block: int) -> Array:
    height, width, channels = picture.shape
    spread = picture.reshape(height, width, block, block, channels // block**2)
    return spread.transpose(0, 2, 1, 3, 4).reshape(height * block, width * block, -1)
