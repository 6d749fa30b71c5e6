"""CLIP's visual tower and the fitting of pictures, against recorded tensors and libraries."""

import numpy as np
import pytest
import torch

from multitalk_cli.media.image.sizes import nearest_bucket
from remote.engine.checkpoint.published import PublishedWeights, build, load_module
from remote.engine.networks.image import ImageEncoder, fit_masks, fit_picture, to_signed
from remote.weights.config import PUBLISHED
from tests.engine import tiny
from tests.engine.published import write_published_checkpoint

ATOL = 5e-5  # of the recordings' description: activations reach 8
BIG_REPEAT = 8  # the recording of the big input keeps every 8th pixel


@pytest.fixture(scope="module")
def encoder(golden_dir, tmp_path_factory) -> ImageEncoder:
    folder = write_published_checkpoint(golden_dir, tmp_path_factory.mktemp("published"))
    config = tiny.tiny_model_config(golden_dir)
    module = build("clip", config)
    with PublishedWeights(folder, "clip", config) as weights:
        load_module(module, weights, torch.device("cpu"))
    return module


@pytest.fixture(scope="module")
def recorded(golden_dir):
    return tiny.tensors(golden_dir, "clip")


def _pixels(recorded, case):
    pixels = recorded[f"{case}/in"][:, :, 0]
    if case.startswith("big"):
        pixels = pixels.repeat_interleave(BIG_REPEAT, 2).repeat_interleave(BIG_REPEAT, 3)
    return pixels


def _cases(recorded):
    return sorted(key.removesuffix("/in") for key in recorded if key.endswith("/in"))


def test_sees_every_recorded_picture(encoder, recorded):
    assert _cases(recorded)
    for case in _cases(recorded):
        features = encoder(_pixels(recorded, case))
        torch.testing.assert_close(features, recorded[f"{case}/out"], atol=ATOL, rtol=0)


def test_pictures_are_resized_and_normalised_as_recorded(encoder, recorded):
    for case in _cases(recorded):
        (rows_name,) = (key for key in recorded if key.startswith(f"{case}/pixel_rows_"))
        rows = [int(row) for row in rows_name.split("_rows_")[1].split("_")]
        prepared = encoder.prepare(_pixels(recorded, case))[0, :, rows]
        # three channels by three rows: either order of axes has the same shape
        wanted = recorded[rows_name]
        best = min((prepared - w).abs().max() for w in (wanted, wanted.transpose(0, 1)))
        assert best <= 1e-5


def _fits(golden_dir):
    sizes = tiny.description(golden_dir, "masks")["resize"]
    recorded = tiny.tensors(golden_dir, "masks")
    return [
        (size["target"], tiny.under(recorded, f"resize_{name}/")) for name, size in sizes.items()
    ]


def test_pictures_are_fitted_to_the_recorded_levels(golden_dir):
    for target, case in _fits(golden_dir):
        fitted = fit_picture(case["in_image"].permute(2, 0, 1), *target)
        assert torch.equal(fitted, case["out_uint8"][0, :, 0])


def test_masks_are_fitted_exactly(golden_dir):
    for target, case in _fits(golden_dir):
        assert torch.equal(fit_masks(case["in_mask"], *target), case["out_mask"])


def test_levels_become_the_recorded_numbers(golden_dir):
    normalised = [case for _, case in _fits(golden_dir) if "out_normalised" in case]
    assert normalised
    for case in normalised:
        given = to_signed(case["out_uint8"][0, :, 0])
        torch.testing.assert_close(given, case["out_normalised"][0, :, 0], atol=1e-7, rtol=0)


@pytest.mark.parametrize("size", [(37, 211), (500, 90), (64, 64), (7, 5)])
def test_resizing_gives_pillows_levels_to_one(size):
    from PIL import Image

    levels = np.random.default_rng(3).integers(0, 256, (*size, 3), dtype=np.uint8)
    height, width = 48, 80
    scale = max(height / size[0], width / size[1])
    shape = int(np.ceil(scale * size[1])), int(np.ceil(scale * size[0]))
    resized = np.asarray(Image.fromarray(levels).resize(shape, Image.Resampling.BILINEAR))
    top, left = round((shape[1] - height) / 2), round((shape[0] - width) / 2)
    wanted = resized[top : top + height, left : left + width]
    fitted = fit_picture(torch.from_numpy(levels).permute(2, 0, 1), height, width)
    # the published order is width first; newer versions of Pillow may take height first
    assert np.abs(fitted.permute(1, 2, 0).numpy().astype(int) - wanted).max() <= 1


def test_only_8_bit_pictures_are_fitted():
    with pytest.raises(ValueError, match=r"not \(3, 8, 8\)"):
        fit_picture(torch.zeros(3, 8, 8), 16, 16)


@pytest.mark.parametrize("tier", ["480", "720"])
def test_pictures_get_the_recorded_bucket(golden_dir, tier):
    for pick in tiny.description(golden_dir, "masks")["buckets"][tier]:
        bucket = nearest_bucket(pick["w"], pick["h"], PUBLISHED.buckets[tier])
        assert [bucket.height_px, bucket.width_px] == pick["target_hw"]
        assert f"{bucket.ratio:.2f}" == pick["key"]
