"""Figures of videos whose truth is known: previews, in which a voice moves the mouth."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from multitalk_cli import contract
from multitalk_cli.media.video.video import read_frames
from remote.service import quality
from remote.service.decode import decode_picture
from remote.service.quality import measure
from tests.generation.backends.previews import (
    PORTRAIT,
    draw,
    framed,
    in_turn,
    make_request,
    other_speech,
    speech,
    top_of,
)
from tests.media.image.pictures import beside, photograph

pytestmark = pytest.mark.usefixtures("faces_remembered")


def _preview(request, folder):
    """The decoded frames of a preview, without what surrounds its picture."""
    video = folder / "a.preview.mp4"
    list(draw(request, video))
    frames = np.stack(list(read_frames(video)))
    top = top_of(decode_picture(request), frames[0])
    return frames[:, top : top + request.height_px]


def _measured(request, frames):
    return measure(iter(frames), decode_picture(request), request)


@pytest.fixture(scope="module")
def talk(tmp_path_factory):
    """A request of one speaker, and a video in which the mouth follows the voice."""
    request = make_request(framed(Image.open(PORTRAIT), 448, 448), [speech(seconds=3)])
    return request, _preview(request, tmp_path_factory.mktemp("talk"))


@pytest.fixture(scope="module")
def duo(tmp_path_factory):
    """The same of two, one after the other."""
    people = beside(Image.open(PORTRAIT), photograph("astronaut.png"))
    tracks = in_turn(speech(seconds=2), other_speech()[:32_000])
    request = make_request(framed(people), tracks)
    return request, _preview(request, tmp_path_factory.mktemp("duo"))


@pytest.fixture(scope="module")
def plain(talk):
    return _measured(*talk)


def test_a_mouth_that_follows_the_voice_is_in_sync(plain):
    assert abs(plain.av_offset_frames) < 0.5
    assert plain.mouth_correlation[0] > 0.9


@pytest.mark.parametrize("shift", [3, -3])
def test_a_video_shifted_by_three_frames_is_found_out(talk, plain, shift):
    request, frames = talk
    shifted = _measured(request, np.roll(frames, shift, axis=0))
    assert shifted.av_offset_frames == pytest.approx(shift, abs=0.5)
    assert shifted.mouth_correlation[0] < plain.mouth_correlation[0] - 0.2


def test_a_tint_of_five_percent_is_a_drift(talk, plain):
    request, frames = talk
    tint = np.array([1.05, 1.0, 0.95])
    tinted = np.clip(frames * tint, 0, 255).astype(np.uint8)
    assert plain.color_drift[0] < 1.2
    assert _measured(request, tinted).color_drift[0] > plain.color_drift[0] + 1


def test_drift_is_told_window_by_window(talk):
    request, frames = talk
    windows = (contract.Window(start=0, frames=49), contract.Window(start=24, frames=57))
    request = dataclasses.replace(request, windows=windows)
    frames = frames.copy()
    frames[49:] = frames[49:] // 2
    first, second = _measured(request, frames).color_drift
    assert first < 1.2 and second > 10


def test_each_of_two_speakers_is_measured_apart(duo):
    figures = _measured(*duo)
    assert all(value > 0.8 for value in figures.mouth_correlation)
    assert abs(figures.av_offset_frames) < 0.5


def test_swapped_speakers_follow_less(duo):
    request, frames = duo
    swapped = dataclasses.replace(request, speakers=request.speakers[::-1])
    assert all(value < 0.2 for value in _measured(swapped, frames).mouth_correlation)


def test_a_silent_person_has_no_correlation(duo):
    request, frames = duo
    silent = dataclasses.replace(request.speakers[1], audio=None)
    request = dataclasses.replace(request, speakers=(request.speakers[0], silent))
    first, second = _measured(request, frames).mouth_correlation
    assert first > 0.8 and second is None


def test_a_speaker_is_looked_for_in_the_box(duo):
    request, frames = duo
    boxes = contract.Box(x0=0, y0=0, x1=0.5, y1=1), contract.Box(x0=0.5, y0=0, x1=1, y1=1)
    speakers = tuple(
        dataclasses.replace(speaker, box=box)
        for speaker, box in zip(request.speakers[::-1], boxes[::-1], strict=True)
    )
    figures = _measured(dataclasses.replace(request, speakers=speakers), frames)
    assert all(value > 0.8 for value in figures.mouth_correlation)


def test_without_a_face_only_the_colours_are_told(talk):
    request, frames = talk
    figures = _measured(request, np.full_like(frames, 90))
    assert figures.av_offset_frames is None
    assert figures.mouth_correlation == (None,)
    assert figures.color_drift[0] > 5


def test_a_mouth_that_does_not_move_follows_nothing(talk):
    request, frames = talk
    figures = _measured(request, np.repeat(frames[:1], len(frames), axis=0))
    assert figures.av_offset_frames is None
    assert figures.mouth_correlation == (None,)


@pytest.mark.parametrize("frames", [1, 100, 384, 385, 5_000, 43_200])
def test_the_work_on_a_long_video_is_bounded(frames):
    places = quality._looked_at(frames, 24)
    assert len(places) <= 16 * 24
    assert min(places) == 0 and max(places) == frames - 1
    assert all(places.get(number - 1) == place - 1 for number, place in places.items() if place)


def test_faces_are_found_once_a_second(talk, monkeypatch):
    calls = []
    find = quality.find_faces
    monkeypatch.setattr(quality, "find_faces", lambda frame: calls.append(1) or find(frame))
    request, frames = talk
    _measured(request, frames)
    assert len(calls) == -(-request.frames // request.fps)
