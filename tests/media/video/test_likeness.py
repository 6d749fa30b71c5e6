"""PSNR and SSIM of two videos, frame by frame."""

import math

import numpy as np
import pytest

from multitalk_cli.errors import FileError
from multitalk_cli.media.video.likeness import measure_likeness
from tests.media.video.videos import numbered, write_segment
from tests.recipes.made import copied


def grey(level, count=6, height=32, width=64):
    return np.full((count, height, width, 3), level, np.uint8)


@pytest.fixture
def first(tmp_path):
    return write_segment(tmp_path / "first.mp4", numbered(24), crf=1)


def test_a_copy_is_identical(first, tmp_path):
    likeness = measure_likeness(first, copied(first, tmp_path / "b.mkv.mp4", "-c", "copy"))

    assert (likeness.frames, likeness.psnr_db, likeness.ssim) == (24, None, 1.0)


def test_a_known_difference_has_its_psnr(tmp_path):
    one = write_segment(tmp_path / "1.mp4", grey(100), crf=1)
    other = write_segment(tmp_path / "2.mp4", grey(120), crf=1)

    # 20 levels are 17.2 of the 219 that video has; the two colour planes are a third of the pixels.
    error = (20 * 219 / 255) ** 2 * 2 / 3
    expected = 10 * math.log10(255**2 / error)
    assert measure_likeness(one, other).psnr_db == pytest.approx(expected, abs=0.4)
    assert measure_likeness(other, one).psnr_db == pytest.approx(expected, abs=0.4)


def test_the_frame_that_is_least_alike_is_named(first, tmp_path):
    frames = numbered(24)
    frames[17] = 255 - frames[17]
    other = write_segment(tmp_path / "other.mp4", frames, crf=1)
    likeness = measure_likeness(first, other)

    assert likeness.least_frame == 17
    assert likeness.least_ssim < 0.5 < 0.9 < likeness.ssim < 1


def test_a_shorter_video_ends_the_comparison(first, tmp_path):
    cut = write_segment(tmp_path / "cut.mp4", numbered(10), crf=1)

    for pair in ((first, cut), (cut, first)):
        likeness = measure_likeness(*pair)
        assert likeness.frames == 10
        assert likeness.ssim > 0.999


def test_another_size_is_scaled_to_the_first(first, tmp_path):
    large = write_segment(tmp_path / "large.mp4", numbered(24).repeat(2, 1).repeat(2, 2), crf=1)
    likeness = measure_likeness(first, large)

    assert (likeness.is_scaled, likeness.frames) == (True, 24)
    assert likeness.ssim > 0.95


def test_frames_of_other_rates_are_compared_at_the_same_time(tmp_path):
    slow = write_segment(tmp_path / "slow.mp4", numbered(12), 12, crf=1)
    fast = write_segment(tmp_path / "fast.mp4", numbered(12).repeat(2, 0), 24, crf=1)

    assert measure_likeness(fast, slow).ssim > 0.999
    assert measure_likeness(slow, fast).ssim > 0.999


def test_what_is_no_video_is_refused(first, tmp_path):
    (tmp_path / "x.mp4").write_bytes(b"no video")
    with pytest.raises(FileError):
        measure_likeness(first, tmp_path / "x.mp4")
