"""Names of requests: the same work keeps its name, whatever encoded it and whatever was added."""

import dataclasses
import io

import numpy as np
import pytest
import soundfile
from PIL import Image

from multitalk_cli import contract
from multitalk_cli.planning import fingerprint
from multitalk_cli.planning.fingerprint import fingerprints
from tests.versions import newer

SIZE_PX, RATE_HZ = (64, 32), 16_000


def png_of(pixels, level=6):
    store = io.BytesIO()
    Image.fromarray(pixels).save(store, "PNG", compress_level=level)
    return store.getvalue()


def flac_of(samples, level=0.5):
    store = io.BytesIO()
    soundfile.write(
        store, samples, RATE_HZ, format="FLAC", subtype="PCM_24", compression_level=level
    )
    return store.getvalue()


@pytest.fixture
def pixels():
    shape = (SIZE_PX[1], SIZE_PX[0], 3)
    return np.random.default_rng(0).integers(0, 8, shape, dtype=np.uint8)


@pytest.fixture
def samples():
    return np.sin(np.arange(RATE_HZ // 2) / 20).astype(np.float32) / 2


@pytest.fixture
def request_of(pixels, samples):
    """Makes a request: `request_of(image=..., seed=...)`."""
    voice = flac_of(samples)
    values = {
        "job_id": "a" * 16, "image": png_of(pixels), "width_px": SIZE_PX[0],
        "height_px": SIZE_PX[1], "speakers": (contract.Speaker(audio=voice),), "sound": voice,
        "prompt": "", "negative_prompt": "", "sample_steps": 10, "seed": 0, "text_guidance": 1.0,
        "audio_guidance": 4.0, "shift": 5.0, "fps": 24, "frames": 12, "motion_frames": 5,
        "windows": (contract.Window(start=0, frames=13),), "recipe": "{}",
    }  # fmt: skip
    return lambda **changes: contract.GenerateRequest(**values | changes)


def test_another_job_of_the_same_has_the_same_names(request_of):
    other = request_of(job_id="b" * 16, recipe='{"client": "9"}')

    assert fingerprints(request_of()) == fingerprints(other)


def test_another_encoder_changes_the_second_name_alone(request_of, pixels, samples):
    voice = flac_of(samples, level=0.0)
    other = request_of(
        image=png_of(pixels, level=1), speakers=(contract.Speaker(audio=voice),), sound=voice
    )

    (content, by_bytes), (same_content, other_bytes) = map(fingerprints, (request_of(), other))
    assert other.image != request_of().image
    assert other.sound != request_of().sound
    assert (content, by_bytes) != (same_content, other_bytes)
    assert content == same_content


def test_one_level_of_one_pixel_is_another_picture(request_of, pixels):
    pixels[3, 5, 1] += 1

    assert not {*fingerprints(request_of(image=png_of(pixels)))} & {*fingerprints(request_of())}


@pytest.mark.parametrize("place", ["sound", "speakers"])
def test_one_level_of_one_sample_is_another_sound(request_of, samples, place):
    samples[100] += 2**-23
    voice = flac_of(samples)
    value = voice if place == "sound" else (contract.Speaker(audio=voice),)

    assert not {*fingerprints(request_of(**{place: value}))} & {*fingerprints(request_of())}


def test_a_picture_of_another_size_is_named_by_its_bytes_and_not_decoded(request_of):
    # Its size is claimed: there are no pixels in it.
    claims = bytearray(png_of(np.zeros((8, 8, 3), np.uint8))[:33])
    claims[16:24] = b"\0\0\xff\xff" * 2
    one, other = request_of(image=bytes(claims)), request_of(image=bytes(claims) + b" ")

    assert fingerprints(one)[0] != fingerprints(other)[0]


def test_what_cannot_be_decoded_has_names_too(request_of):
    broken = request_of(image=png_of(np.zeros((32, 64, 3), np.uint8))[:60], sound=b"no sound")

    assert not {*fingerprints(broken)} & {*fingerprints(request_of())}


def test_a_drawn_seed_was_not_asked_for(request_of):
    drawn = [request_of(seed=seed, recipe='{"seed_drawn": true}') for seed in (1, 2)]

    assert fingerprints(drawn[0]) == fingerprints(drawn[1])
    assert fingerprints(request_of(seed=1)) != fingerprints(request_of(seed=2))


def test_other_windows_change_no_name(request_of):
    windows = (contract.Window(start=0, frames=9), contract.Window(start=4, frames=9))

    assert fingerprints(request_of(windows=windows)) == fingerprints(request_of())


def test_a_new_option_at_its_default_changes_no_name(request_of, monkeypatch):
    monkeypatch.setitem(fingerprint.ADDED_DEFAULTS, "sharpness", 0.5)
    with_option = newer(request_of(), sharpness=0.5)
    changed = dataclasses.replace(with_option, sharpness=0.6)

    assert fingerprints(with_option) == fingerprints(request_of())
    assert not {*fingerprints(changed)} & {*fingerprints(with_option)}


def test_a_new_option_of_a_speaker_at_its_default_changes_none(request_of, monkeypatch):
    monkeypatch.setitem(fingerprint.ADDED_DEFAULTS, "mood", "calm")
    (speaker,) = request_of().speakers
    calm = newer(speaker, mood="calm")
    wild = dataclasses.replace(calm, mood="wild")

    assert fingerprints(request_of(speakers=(calm,))) == fingerprints(request_of())
    assert fingerprints(request_of(speakers=(wild,))) != fingerprints(request_of())


@pytest.mark.parametrize(
    "change",
    [
        {"tier": "near"},
        {"loras": (contract.LoraChoice(name="lightx2v"),)},
        {"loras": (contract.LoraChoice(name="lightx2v", strength=0.8),)},
        {"times": tuple(range(1000, 0, -100))},
        {"text_steps": 5},
    ],
)
def test_another_way_of_denoising_makes_another_video(request_of, change):
    changed = request_of(**change)

    assert not {*fingerprints(changed)} & {*fingerprints(request_of())}


def test_an_attention_that_is_asked_for_makes_another_video(request_of):
    names = [{*fingerprints(request_of(attention=name))} for name in ("auto", "sdpa", "fa3")]

    assert names[0] == {*fingerprints(request_of())}
    assert not names[0] & names[1]
    assert not names[1] & names[2]
