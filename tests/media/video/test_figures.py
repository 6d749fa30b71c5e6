"""Figures of video files whose truth is known."""

import numpy as np
import pytest
from PIL import Image

from multitalk_cli.media.image.lab import to_lab
from multitalk_cli.media.video.figures import _Meter, measure_video
from multitalk_cli.media.video.video import read_frames
from tests.generation.backends.previews import (
    PORTRAIT,
    draw,
    framed,
    in_turn,
    make_request,
    other_speech,
    speech,
)
from tests.media.image.pictures import beside, photograph
from tests.media.video.videos import write_segment
from tests.recipes.made import copied

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("faces_remembered")]


def measure(path):
    return measure_video(path, lambda _done, _total: None)


@pytest.fixture(scope="module")
def talk(tmp_path_factory):
    """A preview with sound, in which the mouth follows the voice."""
    video = tmp_path_factory.mktemp("talk") / "a.preview.mp4"
    list(draw(make_request(framed(Image.open(PORTRAIT), 256, 256), [speech(seconds=2)]), video))
    return video


def test_lips_of_a_preview_follow_its_sound(talk):
    reported = []
    figures = measure_video(talk, lambda done, total: reported.append((done, total)))

    assert figures.mouth_correlation[0] > 0.8
    assert figures.mouth_correlation[0] > figures.correlation_floor[0]
    assert abs(figures.av_offset_frames) < 0.5
    assert reported == sorted(reported)
    assert all(total == 48 for _, total in reported)


def test_sound_that_comes_late_is_found_out(talk, tmp_path):
    late = copied(
        talk, tmp_path / "late.mp4", "-c:v", "copy", "-af", f"adelay={3 * 1000 / 24}:all=1"
    )

    assert measure(late).av_offset_frames == pytest.approx(-3, abs=0.5)


def test_without_sound_lips_follow_nothing(talk, tmp_path):
    mute = measure(copied(talk, tmp_path / "mute.mp4", "-c", "copy", "-an"))

    assert (mute.mouth_correlation, mute.av_offset_frames) == ((None,), None)


def test_both_faces_are_measured_from_left_to_right(tmp_path):
    portrait = Image.open(PORTRAIT).crop((262, 0, 762, 640))
    tracks = in_turn(speech(seconds=1), other_speech()[:16_000])
    video = tmp_path / "duo.preview.mp4"
    list(draw(make_request(framed(beside(portrait, portrait), 384, 256), tracks), video))

    assert len(measure(video).mouth_correlation) == 2


def test_motion_and_drift_are_those_of_the_frames(tmp_path):
    levels = np.array([40, 60, 90, 90, 200], np.uint8)
    frames = np.broadcast_to(levels[:, None, None, None], (5, 32, 64, 3)).copy()
    video = write_segment(tmp_path / "a.mp4", frames, 2, crf=1)
    figures, seen = measure(video), np.stack(list(read_frames(video)))

    assert figures.motion == pytest.approx(np.abs(np.diff(seen.mean(axis=(1, 2, 3)))).mean())
    means = [to_lab(frame).reshape(-1, 3).mean(axis=0) for frame in seen]
    drift = np.linalg.norm(np.mean(means[-2:], axis=0) - means[0])
    assert figures.color_drift == pytest.approx(drift)
    assert (figures.mouth_correlation, figures.av_offset_frames) == ((), None)


def test_a_single_frame_has_no_motion(tmp_path):
    frame = np.full((1, 32, 64, 3), 90, np.uint8)

    assert measure(write_segment(tmp_path / "a.mp4", frame)).motion is None


def test_lips_of_a_video_that_lies_on_its_side_are_seen():
    frame = np.ascontiguousarray(np.rot90(photograph("astronaut.png")))
    meter = _Meter(frames=2, fps=1)
    for number in range(2):
        meter.read(number, frame)
    assert np.isfinite(meter.gaps).all() and len(meter.gaps) == 1
