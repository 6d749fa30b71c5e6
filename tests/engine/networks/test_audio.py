"""Voices: frame counts, silence, grouping by latent frame."""

import pytest
import torch

from multitalk_cli.contract import frames_from_samples
from remote.engine.networks.audio import (
    SAMPLE_RATE_HZ,
    cover_frames,
    normalize_wave,
    window_features,
)
from tests.engine import upstream
from tests.engine.tiny import description, tiny_dit


def test_published_frame_counts_lose_frames_and_ours_do_not(golden_dir):
    lost = description(golden_dir, "audio_embedding")["frames_exact_multiple_anomalies_up_to_3000"]
    samples_per_frame = SAMPLE_RATE_HZ // upstream.FPS
    published = [
        frames
        for frames in range(1, max(lost) + 1)
        if upstream.frame_count(frames * samples_per_frame) != frames
    ]
    assert published == lost
    assert all(
        frames_from_samples(n * samples_per_frame, SAMPLE_RATE_HZ, upstream.FPS) == n
        for n in range(1, 3001)
    )


@pytest.mark.parametrize(
    ("frames", "fps", "samples"), [(24, 24, 16000), (1, 24, 667), (3, 25, 1920)]
)
def test_silence_is_appended_until_the_frames_are_covered(frames, fps, samples):
    covered = cover_frames(torch.ones(100), frames, fps)
    assert len(covered) == samples
    assert covered[:100].eq(1).all()
    assert covered[100:].eq(0).all()


def test_a_longer_wave_is_left_alone():
    assert len(cover_frames(torch.ones(5000), 1, 25)) == 5000


def test_normalised_silence_is_silence():
    assert torch.equal(normalize_wave(torch.zeros(400)), torch.zeros(400))


def test_normalised_waves_have_no_mean_and_unit_variance():
    normal = normalize_wave(torch.rand(4000, generator=torch.Generator().manual_seed(1)) + 3)
    assert normal.mean().abs() < 1e-6
    assert normal.std() == pytest.approx(1, abs=1e-3)


def test_windows_repeat_the_edges():
    features = torch.arange(4.0).view(4, 1, 1)
    windows = window_features(features, 0, 5, 5)[:, :, 0, 0]
    assert windows[0].tolist() == [0, 0, 0, 1, 2]
    assert windows[4].tolist() == [2, 3, 3, 3, 3]


def test_even_windows_are_refused():
    with pytest.raises(ValueError, match="window 4 is even"):
        window_features(torch.zeros(4, 1, 1), 0, 2, 4)


def test_later_latents_take_past_middle_and_future(golden_dir):
    projection = tiny_dit(golden_dir).audio_proj
    frames = torch.arange(5.0)[:, None] * 10 + torch.arange(5.0)  # frame, then place in the window
    windows = frames[None, :, :, None, None]
    first, rest = projection.group_frames(windows)
    assert first.flatten().tolist() == [0, 1, 2, 3, 4]
    assert rest.flatten().tolist() == [10, 11, 12, 22, 32, 42, 43, 44]


def test_frames_that_are_not_4n_plus_1_are_refused(golden_dir):
    with pytest.raises(ValueError, match="6 frames, not 4n"):
        tiny_dit(golden_dir).audio_proj.group_frames(torch.zeros(1, 6, 5, 12, 16))
