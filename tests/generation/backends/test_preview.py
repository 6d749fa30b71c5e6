"""Previews move the right mouth at the right time, and say that they are previews."""

import dataclasses
import json
import time
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image, ImageOps

from multitalk_cli import contract
from multitalk_cli.errors import FileError
from multitalk_cli.generation.backends import preview
from multitalk_cli.media.faces.detect import find_faces
from multitalk_cli.media.video.probe import probe_video
from multitalk_cli.media.video.recipe import read_recipe, read_tags
from multitalk_cli.media.video.video import read_frames
from tests.generation.backends.previews import (
    PORTRAIT,
    correlation,
    draw,
    flac,
    framed,
    in_turn,
    make_request,
    mouth_motion,
    other_speech,
    planned_faces,
    sound_levels,
    speech,
    top_of,
)
from tests.media.audio.sounds import peak_memory_mb
from tests.media.image.pictures import beside, photograph
from tests.recordings import extra_inputs

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("faces_remembered")]

LEFT = contract.Box(x0=0.02, y0=0.1, x1=0.48, y1=0.9)
RIGHT = contract.Box(x0=0.52, y0=0.1, x1=0.98, y1=0.9)


def _made(request, folder, **options):
    target = folder / "made.preview.mp4"
    events = list(draw(request, target, **options))
    return target, events


def _agreement(video, pixels, request):
    """Correlation of each voice's level (rows) with each mouth's pixels (columns)."""
    levels = sound_levels(video, request.frames, request.fps)
    motion = mouth_motion(video, pixels, int(levels.sum(1).argmin()))
    return np.array([[correlation(level, mouth) for mouth in motion.T] for level in levels.T])


def _two_astronauts():
    portrait = photograph("astronaut.png")
    return framed(beside(portrait, ImageOps.mirror(portrait)))


@pytest.fixture(scope="module")
def two_people():
    return _two_astronauts()


@pytest.fixture(scope="module")
def portrait():
    return framed(Image.open(PORTRAIT))


@pytest.fixture(scope="module")
def plain():
    """A picture with nobody in it."""
    return np.full((128, 256, 3), (90, 120, 100), np.uint8)


def test_a_drawn_mouth_moves_with_its_voice(portrait, tmp_path):
    request = make_request(portrait, [speech()])
    video, events = _made(request, tmp_path)
    agreement = _agreement(video, portrait, request)
    assert agreement.shape == (1, 1)
    assert agreement[0, 0] >= 0.9
    assert events[-1].result.warnings == ()


def test_a_shifted_sound_agrees_less(portrait, tmp_path):
    request = make_request(portrait, [speech()])
    late = np.pad(speech(), (contract.samples_from_frames(5, 16_000, 24), 0))[: len(speech())]
    shifted = dataclasses.replace(request, sound=flac(late))
    video, _ = _made(shifted, tmp_path)
    assert _agreement(video, portrait, shifted)[0, 0] < 0.6


def test_each_of_two_mouths_moves_with_its_own_voice(two_people, tmp_path):
    request = make_request(two_people, [speech(), other_speech()])
    video, _ = _made(request, tmp_path)
    (first, wrong), (also_wrong, second) = _agreement(video, two_people, request)
    assert min(first, second) >= 0.9
    assert max(wrong, also_wrong) < 0.6


def test_swapped_voices_move_the_other_mouth(two_people, tmp_path):
    request = make_request(two_people, in_turn(speech(), other_speech()), boxes=[RIGHT, LEFT])
    video, _ = _made(request, tmp_path)
    (wrong, first), (second, also_wrong) = _agreement(video, two_people, request)
    assert min(first, second) >= 0.9
    assert max(wrong, also_wrong) < 0


def _opened(path):
    return framed(Image.open(path).convert("RGB"))


PERSONS = [
    lambda: (framed(photograph("astronaut.png")), speech()),
    *(
        lambda files=files: (_opened(files[0]), speech(files[1], seconds=4))
        for files in [extra_inputs("single_single1.png", "single_1.wav")]
        if files
    ),
]


@pytest.mark.parametrize("person", PERSONS)
def test_a_photograph_of_one_person(person, tmp_path):
    pixels, voice = person()
    request = make_request(pixels, [voice])
    video, _ = _made(request, tmp_path)
    assert _agreement(video, pixels, request)[0, 0] >= 0.9


COUPLES = [
    lambda: (_two_astronauts(), [speech(), other_speech()]),
    *(
        lambda files=files: (_opened(files[0]), [speech(voice) for voice in files[1:]])
        for files in [extra_inputs("multi_1_multi1.png", "multi_1_1.WAV", "multi_1_2.WAV")]
        if files
    ),
]


@pytest.mark.parametrize("couple", COUPLES)
def test_a_photograph_of_two_people_who_speak_in_turn(couple, tmp_path):
    pixels, voices = couple()
    request = make_request(pixels, in_turn(*voices))
    video, _ = _made(request, tmp_path)
    (first, wrong), (also_wrong, second) = _agreement(video, pixels, request)
    assert min(first, second) >= 0.9
    assert max(wrong, also_wrong) < 0


def test_only_mouths_move_inside_the_picture(portrait, tmp_path):
    request = make_request(portrait, [speech(seconds=1.0)])
    video, _ = _made(request, tmp_path)
    frames = [frame.astype(int) for frame in read_frames(video)]
    change = np.max([np.abs(frame - frames[0]).max(-1) for frame in frames], axis=0)
    (face,) = find_faces(portrait)
    change = change[top_of(portrait, frames[0]) :]
    assert np.percentile(change[: int(face.keypoints[2, 1])], 99.9) < 30
    assert change[int(face.mesh[14, 1]), int(face.mesh[14, 0])] > 40


@pytest.mark.parametrize(("fps", "seconds"), [(24, 0.2), (25, 1.01), (30, 0.7), (8, 0.5)])
def test_length_and_rate_are_exact(fps, seconds, plain, tmp_path):
    request = make_request(plain, [speech(seconds=seconds)], fps=fps)
    video, events = _made(request, tmp_path)
    info = probe_video(video)
    assert (info.frames, info.fps) == (request.frames, Fraction(fps))
    assert abs(info.duration_s - seconds) < 1 / fps + 1e-6
    assert info.has_audio
    assert info.audio_duration_s == pytest.approx(seconds, abs=1 / fps)
    assert events[-1].result.frames == request.frames


def test_the_result_says_that_no_model_was_involved(plain, tmp_path):
    request = make_request(plain, [speech(seconds=0.5)])
    video, events = _made(request, tmp_path)
    result = events[-1].result
    info = probe_video(video)
    assert (result.backend, result.model_output) == ("preview", False)
    assert (result.width_px, result.height_px) == (info.width, info.height)
    assert result.size_bytes == video.stat().st_size
    assert result.gpu_seconds is None
    assert result.price_usd is None


def test_the_video_carries_recipe_and_mark(plain, tmp_path):
    video, events = _made(make_request(plain, [speech(seconds=0.5)]), tmp_path)
    assert read_recipe(video) == json.loads(events[-1].result.recipe)
    assert {**read_recipe(video), "streams": None} == {"seed": 0, "streams": None}
    assert preview.MARK in read_tags(video).values()


def test_events_tell_what_happens_at_a_bounded_rate(plain, tmp_path):
    request = make_request(plain, [speech()], fps=60)
    _, events = _made(request, tmp_path)
    names = [event.name for event in events if isinstance(event, contract.Stage)]
    assert list(dict.fromkeys(names)) == ["drawing", "joining"]
    assert len(events) <= 105
    drawing = [event for event in events if getattr(event, "name", "") == "drawing"]
    assert [event.done for event in drawing] == sorted(event.done for event in drawing)
    assert drawing[-1].done == drawing[-1].total == request.frames
    assert isinstance(events[-1], contract.Done)


def test_without_a_face_a_meter_moves_in_the_speakers_place(plain, tmp_path):
    tracks = in_turn(speech(seconds=1.5), other_speech()[:24_000])
    request = make_request(plain, tracks)
    video, events = _made(request, tmp_path)
    frames = np.array([frame for frame in read_frames(video)]).astype(int)
    levels = sound_levels(video, request.frames, request.fps)
    quiet = frames[int(levels.sum(1).argmin())]
    width = plain.shape[1]
    for voice, start in enumerate((0, width // 2)):
        half = np.s_[:, 40 : 40 + plain.shape[0] - 10, start : start + width // 2]
        moved = np.abs(frames - quiet)[half].mean((1, 2, 3))
        assert correlation(moved, levels[:, voice]) > 0.8
        assert correlation(moved, levels[:, 1 - voice]) < 0
    assert len(events[-1].result.warnings) == 2
    assert "voice 2 has no face" in events[-1].result.warnings[1]
    assert "--speaker box:" in events[-1].result.warnings[1]


def test_a_box_without_a_face_gets_the_meter(portrait, tmp_path):
    corner = contract.Box(x0=0.7, y0=0.1, x1=0.95, y1=0.6)
    request = make_request(portrait, [speech(seconds=0.5)], boxes=[corner])
    _, events = _made(request, tmp_path)
    assert "voice 1 has no face" in events[-1].result.warnings[0]


def test_a_silent_person_is_not_moved(two_people, tmp_path):
    request = make_request(two_people, [speech()], boxes=[RIGHT, LEFT], silent=1)
    video, events = _made(request, tmp_path)
    levels = sound_levels(video, request.frames, request.fps)
    silent, speaking = mouth_motion(video, two_people, int(levels.argmin())).T
    assert correlation(speaking, levels[:, 0]) >= 0.9
    assert silent.max() < 0.15 * speaking.max()
    assert events[-1].result.warnings == ()


def test_a_guessed_mouth_is_marked(portrait, tmp_path):
    request = make_request(portrait, [speech(seconds=0.3)])
    (face,) = planned_faces(request)
    guess = dataclasses.replace(face, mesh_score=0.2)
    *_, done = preview.run(request, [guess], tmp_path / "made.preview.mp4")
    assert "marked with a ?" in done.result.warnings[0]


def test_the_planned_face_moves_although_no_search_would_find_it(portrait, tmp_path):
    (face,) = find_faces(portrait)
    aside = face.moved(lambda points: points + np.array([250.0, 0.0]))
    target = tmp_path / "made.preview.mp4"
    *_, done = preview.run(make_request(portrait, [speech(seconds=1.0)]), [aside], target)
    frames = [frame.astype(int) for frame in read_frames(target)]
    change = np.max([np.abs(frame - frames[0]).max(-1) for frame in frames], axis=0)
    change = change[top_of(portrait, frames[0]) :]
    there, here = (one.mesh[14].astype(int) for one in (aside, face))
    assert change[there[1], there[0]] > 20 > change[here[1], here[0]]
    assert done.result.warnings == ()


def test_a_stopped_preview_leaves_nothing(portrait, tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr("tempfile.tempdir", None)
    events = draw(make_request(portrait, [speech()]), tmp_path / "x.preview.mp4")
    assert any(getattr(event, "done", 0) > 10 for event in events)
    events.close()
    assert list(tmp_path.iterdir()) == [scratch]
    assert list(scratch.iterdir()) == []


def test_an_existing_file_is_only_replaced_on_demand(plain, tmp_path):
    request = make_request(plain, [speech(seconds=0.3)])
    (tmp_path / "made.preview.mp4").write_bytes(b"mine")
    with pytest.raises(FileError) as caught:
        _made(request, tmp_path)
    assert caught.value.code == "E_OUTPUT_EXISTS"
    video, _ = _made(request, tmp_path, overwrite=True)
    assert probe_video(video).frames == request.frames


def test_the_same_request_is_the_same_video(tmp_path):
    request = make_request(framed(Image.open(PORTRAIT), 192, 96), [speech(seconds=0.5)])
    first, again = tmp_path / "first", tmp_path / "again"
    for folder in (first, again):
        folder.mkdir()

    videos = [_made(request, folder)[0].read_bytes() for folder in (first, again)]

    assert videos[0] == videos[1]


@pytest.mark.parametrize(("width", "height"), [(32, 32), (64, 320), (1280, 720), (2048, 64)])
def test_any_size_can_be_previewed(width, height, tmp_path):
    pixels = np.full((height, width, 3), 90, np.uint8)
    tracks = [speech(seconds=0.25), other_speech()[:4000]]
    video, events = _made(make_request(pixels, tracks), tmp_path)
    frame = next(read_frames(video))
    assert frame.shape == (events[-1].result.height_px, width, 3)
    assert events[-1].result.height_px > height


def test_without_a_sound_track_there_is_none(plain, tmp_path):
    request = dataclasses.replace(make_request(plain, [speech(seconds=0.3)]), sound=None)
    video, _ = _made(request, tmp_path)
    assert not probe_video(video).has_audio


def test_a_picture_of_another_size_is_a_bug(plain, tmp_path):
    request = dataclasses.replace(make_request(plain, [speech(seconds=0.3)]), width_px=512)
    with pytest.raises(ValueError, match="picture is"):
        _made(request, tmp_path)


def test_long_clips_take_little_memory(tmp_path):
    """Half a minute: frames that were kept would be over 300 MB."""
    script = """
import sys
from pathlib import Path
import numpy as np
from multitalk_cli.generation.backends import preview
from tests.generation.backends.previews import framed, make_request, speech
pixels = np.full((448, 896, 3), 90, np.uint8)
request = make_request(pixels, [np.tile(speech(), 8)], fps=12)
list(preview.run(request, [None], Path(sys.argv[1])))
"""
    assert peak_memory_mb(script, str(tmp_path / "long.preview.mp4")) < 250


@pytest.mark.bench
def test_five_seconds_of_speech_take_less_than_five(portrait, tmp_path):
    request = make_request(portrait, [np.concatenate([speech(), speech()])[: 5 * 16_000]])
    started = time.perf_counter()
    _made(request, tmp_path)
    took = time.perf_counter() - started
    print(f"preview of {request.frames / request.fps:.1f} s of speech: {took:.2f} s")
    assert took < 5
