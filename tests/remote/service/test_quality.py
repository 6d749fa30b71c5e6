"""Figures of videos whose truth is known: previews, in which a voice moves the mouth."""

import dataclasses

import numpy as np
import pytest
from PIL import Image, ImageFilter

from multitalk_cli import contract
from multitalk_cli.media.faces import lips
from multitalk_cli.media.video.video import read_frames
from remote.service import quality
from remote.service.decode import decode_picture
from remote.service.quality import Meter, describe_bad_frames
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

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("faces_remembered")]


def _preview(request, folder):
    """The decoded frames of a preview, without what surrounds its picture."""
    video = folder / "a.preview.mp4"
    list(draw(request, video))
    frames = np.stack(list(read_frames(video)))
    top = top_of(decode_picture(request), frames[0])
    return frames[:, top : top + request.height_px]


def _samples(frames):
    return np.linspace(0, len(frames) - 1, 4).round().astype(int)


def _two_windows(request):
    windows = (contract.Window(start=0, frames=49), contract.Window(start=24, frames=57))
    return dataclasses.replace(request, windows=windows)


def _figures(request, frames):
    """The figures of each window; its samples are of the same frames."""
    meter = Meter(request, decode_picture(request))
    windows = []
    for window in range(len(request.windows)):
        numbers = request.new_frames(window)
        added = frames[numbers.start : numbers.stop]
        windows.append(meter.measure(window, added, added[_samples(added)]))
    return meter, windows


def _measured(request, frames):
    meter, windows = _figures(request, frames)
    return meter.quality(windows)


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
def plain_window(talk):
    """What measures the talk, and the figures of its only window."""
    meter, (window,) = _figures(*talk)
    return meter, window


@pytest.fixture(scope="module")
def plain(plain_window):
    meter, window = plain_window
    return meter.quality([window])


def test_a_mouth_that_follows_the_voice_is_in_sync(plain):
    assert abs(plain.av_offset_frames) < 0.5
    assert plain.mouth_correlation[0] > 0.9


@pytest.mark.parametrize("shift", [3, -3])
def test_a_video_shifted_by_three_frames_is_found_out(talk, plain, shift):
    request, frames = talk
    shifted = _measured(request, np.roll(frames, shift, axis=0))
    assert shifted.av_offset_frames == pytest.approx(shift, abs=0.5)
    assert shifted.mouth_correlation[0] == pytest.approx(plain.mouth_correlation[0], abs=0.1)


@pytest.mark.parametrize(
    ("curve", "value"),
    [([0.1, 0.2, 0.3], None), ([0.3, 0.2, 0.1], None), ([None] * 3, None), ([0.1, 0.4, None], 0.4)],
)
def test_an_optimum_at_the_border_of_the_search_is_not_measured(curve, value):
    assert lips.highest(curve) == value
    assert lips.offset_frames([curve]) == (None if value is None else pytest.approx(0, abs=0.5))


def test_sound_that_was_not_spoken_reaches_less(plain):
    assert 0 < plain.correlation_floor[0] < plain.mouth_correlation[0] - 0.1


def _in_hsv(change):
    def damage(frame):
        hsv = np.array(Image.fromarray(frame).convert("HSV")).astype(int)
        change(hsv)
        changed = np.clip(hsv, 0, 255).astype(np.uint8)
        return np.asarray(Image.fromarray(changed, "HSV").convert("RGB"))

    return damage


def _saturate(hsv):
    hsv[..., 1] = hsv[..., 1] * 1.6


def _turn(hsv):
    hsv[..., 0] = (hsv[..., 0] + round(15 / 360 * 255)) % 256


def _noise(frame):
    third = slice(len(frame) // 3, 2 * len(frame) // 3)
    noisy = frame.astype(float)
    middle = noisy[third, third]
    middle += np.random.default_rng(0).normal(0, 25, middle.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def _blur(frame):
    return np.asarray(Image.fromarray(frame).filter(ImageFilter.GaussianBlur(4)))


def _stretch(frame):
    height, width = frame.shape[:2]
    wide = Image.fromarray(frame).resize((round(width * 1.05), height), Image.Resampling.BICUBIC)
    left = (wide.width - width) // 2
    return np.asarray(wide.crop((left, 0, left + width, height)))


@pytest.mark.parametrize(
    ("damage", "figure"),
    [
        (_in_hsv(_saturate), "color_drift"),
        (_in_hsv(_saturate), "color_spread"),
        (_in_hsv(_turn), "color_spread"),
        (_noise, "sharpness"),
        (_noise, "color_spread"),
        (_blur, "sharpness"),
        (_stretch, "face_stretch"),
    ],
)
def test_each_damage_reads_five_times_the_undamaged_figure(talk, plain_window, damage, figure):
    request, frames = talk
    damaged = np.stack([damage(frame) for frame in frames[_samples(frames)]])
    meter = Meter(dataclasses.replace(request, frames=2), decode_picture(request))
    spoiled, (_, sound) = meter.measure(0, frames[:2], damaged), plain_window
    assert abs(getattr(spoiled, figure)) >= 5 * abs(getattr(sound, figure))


def test_black_and_frozen_frames_are_counted(plain_window, talk):
    request, frames = talk
    spoiled = frames[:12].copy()
    spoiled[3] = 0
    spoiled[7:9] = spoiled[6]
    meter = Meter(dataclasses.replace(request, frames=12), decode_picture(request))
    windows = [plain_window[1], meter.measure(0, spoiled, frames[:2])]
    assert describe_bad_frames(windows, _two_windows(request)) == [
        "window 2: 1 of 23 frames is black",
        "window 2: 2 of 23 frames are frozen",
    ]


def test_a_tint_of_five_percent_is_a_drift(talk, plain):
    request, frames = talk
    tint = np.array([1.05, 1.0, 0.95])
    tinted = np.clip(frames * tint, 0, 255).astype(np.uint8)
    assert plain.color_drift[0] < 1.2
    assert _measured(request, tinted).color_drift[0] > plain.color_drift[0] + 1


def test_drift_is_told_window_by_window(talk):
    request, frames = talk
    request = _two_windows(request)
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
    figures = _measured(swapped, frames).mouth_correlation
    assert all(value is None or value < 0.4 for value in figures)


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
    places = lips.looked_at(frames, 24)
    assert len(places) <= 16 * 24
    assert min(places) == 0 and max(places) == frames - 1
    assert all(places.get(number - 1) == place - 1 for number, place in places.items() if place)


def _searches(request, frames, monkeypatch):
    """The figures, and the options of each search for faces."""
    calls = []
    find = quality.find_faces
    monkeypatch.setattr(quality, "find_faces", lambda *a, **k: calls.append(k) or find(*a, **k))
    return _measured(request, frames), calls


def test_a_face_is_searched_for_once(talk, monkeypatch):
    _, calls = _searches(*talk, monkeypatch)
    assert len(calls) == len(("the picture", "the first frame"))
    # Frames stand as the picture does: turned faces are looked for once.
    assert [each.get("turned", True) for each in calls].count(True) == 1


def test_a_face_that_was_lost_is_found_again(talk):
    request, frames = talk
    second = slice(request.fps, 2 * request.fps)
    frames = frames.copy()
    frames[second] = 90
    assert _measured(request, frames).mouth_correlation[0] > 0.8


def test_a_face_that_moves_is_followed(talk, monkeypatch):
    request, frames = talk
    across = frames.shape[2] // 3
    moved = np.stack([np.roll(f, across * n // len(frames), axis=1) for n, f in enumerate(frames)])
    figures, calls = _searches(request, moved, monkeypatch)
    assert len(calls) == len(("the picture", "the first frame"))
    assert figures.mouth_correlation[0] > 0.8
