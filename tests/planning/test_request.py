"""The request: what is packed while other things are done, and what is then found."""

import dataclasses
import io

import numpy as np
import pytest
import soundfile
from PIL import Image

from multitalk_cli import contract
from multitalk_cli.contract import samples_from_frames
from multitalk_cli.errors import FileError
from multitalk_cli.planning import request as requests
from multitalk_cli.planning.inputs import GenerateOptions, InputRef
from multitalk_cli.planning.prepare import prepare
from multitalk_cli.planning.request import begin_encoding, fingerprint, make_request
from tests.generation.backends.previews import PORTRAIT
from tests.media.audio.sounds import speech_like, write_wav
from tests.versions import newer

OPTIONS = GenerateOptions(
    size="64x64", fit="cover", background="white", fps=24, order="sequence", sample_steps=10,
    text_guidance=1.0, audio_guidance=4.0, shift=None, loudness=True, prompt="", negative_prompt="",
    embed_prompt=False, seed=0, seed_drawn=False,
)  # fmt: skip
JOB, RECIPE = "a" * 16, {"seed": 0}


@pytest.fixture
def voice(tmp_path):
    return write_wav(tmp_path / "voice.wav", speech_like(0.5, 48_000), 48_000)


@pytest.fixture
def prepared(voice):
    portrait, sound = (InputRef(text=path.name, file=str(path)) for path in (PORTRAIT, voice))
    return prepare(portrait, [sound], OPTIONS)


def test_the_picture_and_the_sound_are_packed_without_loss(prepared, voice):
    request, notes = make_request(prepared, JOB, RECIPE)

    pixels = np.asarray(Image.open(io.BytesIO(request.image)))
    sound, _ = soundfile.read(io.BytesIO(request.sound), dtype="int16")
    original, rate_hz = soundfile.read(voice, dtype="int16")
    assert np.array_equal(pixels, prepared.framed.pixels)
    assert np.array_equal(sound[: len(original)], original)
    assert len(sound) == samples_from_frames(prepared.plan.frames, rate_hz, 24)
    assert notes == ()


def test_what_was_packed_before_makes_the_same_request(prepared):
    early, _ = make_request(prepared, JOB, RECIPE, begin_encoding(prepared))
    late, _ = make_request(prepared, JOB, RECIPE)

    assert early == late
    assert fingerprint(early) == fingerprint(dataclasses.replace(late, job_id="b" * 16))


def test_a_voice_that_is_lost_meanwhile_is_told_when_the_request_is_made(prepared, voice):
    voice.unlink()
    packing = begin_encoding(prepared)

    with pytest.raises(FileError) as caught:
        make_request(prepared, JOB, RECIPE, packing)
    assert caught.value.code == "E_FILE_MISSING"


# Finished work stays finished


@pytest.fixture
def request_of_today(prepared):
    return make_request(prepared, JOB, RECIPE)[0]


def test_a_new_option_at_its_default_changes_no_fingerprint(request_of_today, monkeypatch):
    monkeypatch.setitem(requests.ADDED_DEFAULTS, "sharpness", 0.5)
    with_option = newer(request_of_today, sharpness=0.5)

    assert fingerprint(with_option) == fingerprint(request_of_today)
    assert fingerprint(dataclasses.replace(with_option, sharpness=0.6)) != fingerprint(with_option)


def test_a_new_option_of_a_speaker_at_its_default_changes_none(request_of_today, monkeypatch):
    monkeypatch.setitem(requests.ADDED_DEFAULTS, "mood", "calm")
    (speaker,) = request_of_today.speakers

    def of(*speakers):
        return fingerprint(dataclasses.replace(request_of_today, speakers=speakers))

    calm = newer(speaker, mood="calm")
    assert of(calm) == fingerprint(request_of_today)
    assert of(dataclasses.replace(calm, mood="wild")) != of(calm)


def test_other_windows_change_no_fingerprint(request_of_today):
    frames = request_of_today.frames
    windows = (contract.Window(start=0, frames=9), contract.Window(start=4, frames=9))
    others = dataclasses.replace(request_of_today, windows=windows, motion_frames=5)

    assert frames == others.frames == 12
    assert fingerprint(others) == fingerprint(request_of_today)
