"""Colour anchoring against recorded tensors and scikit-image."""

import numpy as np
import pytest
import torch

from remote.engine.sampling.color import lab_to_rgb, match_color, rgb_to_lab
from tests.engine import tiny

ATOL = 1e-4  # of the recordings' description


@pytest.fixture(scope="module")
def recorded(golden_dir):
    return tiny.tensors(golden_dir, "color")


def test_every_recorded_strength(golden_dir, recorded):
    for strength in tiny.description(golden_dir, "color")["strengths"]:
        given = match_color(recorded["in/source"][0], recorded["in/reference"][0, :, 0], strength)
        wanted = recorded[f"out/strength{strength:g}"][0]
        torch.testing.assert_close(given, wanted, atol=ATOL, rtol=0)


def test_frames_do_not_see_each_other(recorded):
    frames, reference = recorded["in/source"][0], recorded["in/reference"][0, :, 0]
    alone = [match_color(frames[:, i : i + 1], reference, 0.7) for i in range(frames.shape[1])]
    assert torch.equal(match_color(frames, reference, 0.7), torch.cat(alone, dim=1))


def test_a_flat_frame_takes_the_references_mean():
    frames = torch.full((3, 1, 6, 7), 0.31)
    reference = torch.rand(3, 6, 7, generator=torch.Generator().manual_seed(1)) * 0.6 - 0.3
    matched = match_color(frames, reference, 1.0)
    assert matched.isfinite().all()
    assert matched.var(dim=(2, 3)).max() == 0


def test_a_tint_is_removed(recorded):
    reference = recorded["in/reference"][0, :, 0] * 0.5
    tinted = (reference * 0.8 + torch.tensor([0.1, 0, -0.05]).view(3, 1, 1))[:, None]
    matched = match_color(tinted, reference, 1.0)
    assert (matched[:, 0] - reference).abs().mean() < 0.2 * (tinted[:, 0] - reference).abs().mean()


def test_lab_is_scikit_images():
    from skimage import color

    rgb = np.random.default_rng(2).random((9, 11, 3))
    ours = rgb_to_lab(torch.from_numpy(rgb).float().permute(2, 0, 1)[:, None])
    assert np.abs(ours[:, 0].permute(1, 2, 0).numpy() - color.rgb2lab(rgb)).max() < 2e-4
    back = lab_to_rgb(ours)[:, 0].permute(1, 2, 0).numpy()
    assert np.abs(back - rgb).max() < 1e-5
