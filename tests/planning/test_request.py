"""The request: what is packed while other things are done, and what is then found."""

import io

import numpy as np
import pytest
import soundfile
from PIL import Image

from multitalk_cli.contract import samples_from_frames
from multitalk_cli.errors import FileError
from multitalk_cli.planning.inputs import GenerateOptions, InputRef
from multitalk_cli.planning.prepare import prepare
from multitalk_cli.planning.request import begin_encoding, make_request
from tests.generation.backends.previews import PORTRAIT
from tests.media.audio.sounds import speech_like, write_wav

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


def test_a_voice_that_is_lost_meanwhile_fails_the_request(prepared, voice):
    voice.unlink()
    packing = begin_encoding(prepared)

    with pytest.raises(FileError) as caught:
        make_request(prepared, JOB, RECIPE, packing)
    assert caught.value.code == "E_FILE_MISSING"
