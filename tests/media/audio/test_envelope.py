"""The level of a voice in each frame, and the mouth that follows it."""

import io

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from multitalk_cli.contract import samples_from_frames
from multitalk_cli.media.audio.envelope import SILENCE_DB, mouth_openings, voice_levels
from tests.generation.backends.previews import flac, speech
from tests.media.audio.sounds import peak_memory_mb


def _tone(hz, amplitude=1.0, seconds=2.0):
    return amplitude * np.sin(2 * np.pi * hz * np.arange(round(16_000 * seconds)) / 16_000)


@pytest.mark.parametrize(("amplitude", "expected"), [(0.999, 0.0), (0.1, -20.0), (0.01, -40.0)])
def test_a_tone_has_the_level_of_its_amplitude(amplitude, expected):
    levels = voice_levels(flac(_tone(440, amplitude)), 48, 24)
    assert levels[2:-2] == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("hz", [50, 100, 6000])
def test_hum_and_hiss_do_not_count(hz):
    assert voice_levels(flac(_tone(hz, 0.5)), 48, 24)[4:-4].max() < -45


def test_frames_after_the_voice_are_silent():
    levels = voice_levels(flac(_tone(440, 0.5, seconds=1.0)), 72, 24)
    assert levels[:22].min() > -10
    assert levels[27:] == pytest.approx(SILENCE_DB, abs=1e-3)


@pytest.mark.parametrize("fps", [8, 24, 25, 60])
def test_chunks_make_no_difference(fps, monkeypatch):
    voice, frames = flac(speech()), round(3.1 * fps)
    whole = voice_levels(voice, frames, fps)
    monkeypatch.setattr("multitalk_cli.media.audio.envelope._CHUNK_FRAMES", 7)
    assert voice_levels(voice, frames, fps) == pytest.approx(whole, abs=1e-3)


@settings(max_examples=20)
@given(shift=st.integers(0, 40))
def test_the_curve_shifts_with_the_sound(shift):
    fps, voice = 25, speech()
    delayed = np.pad(voice, (samples_from_frames(shift, 16_000, fps), 0))
    curve = mouth_openings(voice_levels(flac(voice), 78, fps))
    moved = mouth_openings(voice_levels(flac(delayed), 78 + shift, fps))
    assert moved[shift:] == pytest.approx(curve, abs=1e-3)
    assert moved[: max(shift - 2, 0)].max(initial=0) == 0


def test_a_quiet_recording_moves_like_a_loud_one():
    loud, quiet = (
        mouth_openings(voice_levels(flac(speech() * gain), 75, 24)) for gain in (1.0, 0.2)
    )
    assert quiet == pytest.approx(loud, abs=0.05)


def test_a_voice_opens_the_mouth_wide_and_a_pause_shuts_it():
    voice = np.concatenate([np.zeros(8000), speech(), np.zeros(8000)])
    openings = mouth_openings(voice_levels(flac(voice), 98, 24))
    assert openings.max() > 0.9
    assert openings[:10].max() == 0
    assert openings[-8:].max() < 0.01


def test_silence_never_opens_the_mouth():
    levels = voice_levels(flac(np.zeros(16_000)), 24, 24)
    assert not mouth_openings(levels).any()


def test_openings_stay_between_shut_and_open():
    levels = np.random.default_rng(0).uniform(-100, 6, 500).astype(np.float32)
    openings = mouth_openings(levels)
    assert openings.min() >= 0
    assert openings.max() <= 1


def test_other_rates_are_refused():
    stored = io.BytesIO()
    soundfile.write(stored, np.zeros(8000), 8000, format="WAV")
    with pytest.raises(ValueError, match="16 kHz mono"):
        voice_levels(stored.getvalue(), 24, 24)


def test_half_an_hour_takes_little_memory_and_time():
    script = """
import io, sys
import numpy, soundfile
stored = io.BytesIO()
with soundfile.SoundFile(stored, "w", 16000, 1, "PCM_16", format="FLAC") as file:
    block = (numpy.sin(numpy.arange(16000) / 9) * numpy.hanning(16000)).astype("f4")
    for _ in range(1800):
        file.write(block)
from multitalk_cli.media.audio.envelope import mouth_openings, voice_levels
openings = mouth_openings(voice_levels(stored.getvalue(), 43200, 24))
assert openings.max() > 0.9
"""
    assert peak_memory_mb(script) < 150
