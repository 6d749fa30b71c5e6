"""What is heard in a recording: speech or none, silence around it, one speaker on each channel."""

import random

import numpy as np
import pytest

from multitalk_cli.media.audio.speech import is_steady, speech_levels, speech_span_s
from multitalk_cli.media.audio.tracks import sound_track
from multitalk_cli.media.audio.trim import silence_warnings, trim_silence
from multitalk_cli.media.audio.voice import load_voice
from tests.media.audio.odd_sounds import RATE_HZ, voice, wav
from tests.media.audio.sounds import real_voice

SEEDS = range(4)


@pytest.fixture
def load(tmp_path):
    """Loads samples, [n] or [n, channels], full scale 1."""

    def call(samples, name: str = "a.wav", rate_hz: int = RATE_HZ):
        integers = np.clip(np.rint(samples * 8_388_608), -8_388_608, 8_388_607)
        data = wav((integers / 256).astype(np.int16), rate_hz=rate_hz)
        (tmp_path / name).write_bytes(data)
        return load_voice(tmp_path / name)

    return call


def spoken(seconds: float = 3.1):
    """The example's voice, repeated, [n] float64."""
    return np.resize(voice() / 32_768, round(seconds * RATE_HZ))


# Channels that cancel each other out


@pytest.mark.parametrize("seed", SEEDS)
def test_of_inverted_channels_the_louder_one_is_used(load, seed):
    drawn = np.random.default_rng(seed)
    gain, noise_db = drawn.uniform(0.7, 0.99), drawn.uniform(-70, -45)
    noise = 10 ** (noise_db / 20) * drawn.standard_normal((len(spoken()), 2))
    channels = np.stack([spoken(), -gain * spoken()], axis=1) + noise
    louder = drawn.integers(2)
    loaded = load(channels if louder == 0 else channels[:, ::-1])
    assert f"only channel {louder + 1} is used" in loaded.adjusted[0]
    np.testing.assert_allclose(loaded.speech, channels[:, 0], atol=1e-4)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("channels", [2, 3, 4, 6, 8])
def test_of_channels_that_do_not_cancel_the_mean_is_used(load, seed, channels):
    drawn = np.random.default_rng(seed)
    gains = drawn.uniform(0, 1, channels) * (drawn.uniform(size=channels) < 0.5)
    gains[drawn.integers(channels)] = 1.0
    loaded = load(spoken()[:, None] * gains)
    assert loaded.adjusted == ()
    np.testing.assert_allclose(loaded.speech, spoken() * gains.mean(), atol=1e-3)


# Level


@pytest.mark.parametrize(("peak_db", "is_quiet"), [(-46, True), (-38, True), (-30, False)])
def test_a_very_quiet_voice_is_a_warning(load, peak_db, is_quiet):
    level = 10 ** (peak_db / 20) / np.abs(spoken()).max()
    warnings = load(spoken() * level).warnings
    assert any(f"very quiet (peak {peak_db} dBFS)" in each for each in warnings) == is_quiet
    assert any(f"volume={-3 - peak_db}dB" in each for each in warnings) == is_quiet


# Speech or none


def noises(seed: int):
    """Sounds of four seconds in which nobody speaks, each between -30 and -10 dBFS."""
    drawn = np.random.default_rng(seed)
    times = np.arange(4 * RATE_HZ) / RATE_HZ
    white = drawn.standard_normal(len(times))
    spectrum = np.fft.rfft(white)
    falling = spectrum / np.sqrt(np.maximum(1, np.arange(len(spectrum))))
    hum = sum(np.sin(2 * np.pi * 50 * k * times) / k for k in (1, 2, 3, 5, 7))
    sounds = {
        "white": white,
        "pink": np.fft.irfft(falling, len(times)),
        "hum": hum + 0.02 * white,
        "tone": np.sin(2 * np.pi * drawn.uniform(200, 3_000) * times),
        "deep hum": np.sin(2 * np.pi * 50 * times),
    }
    gain = 10 ** (drawn.uniform(-30, -10) / 20)
    return {name: gain * each / np.abs(each).max() for name, each in sounds.items()}


@pytest.mark.parametrize("kind", noises(0))
@pytest.mark.parametrize("seed", SEEDS)
def test_a_sound_without_speech_is_a_warning(load, kind, seed):
    assert any("no speech in" in each for each in load(noises(seed)[kind]).warnings)


def test_an_offset_alone_is_no_speech(load):
    assert any("no speech" in each for each in load(np.full(4 * RATE_HZ, 0.3)).warnings)


@pytest.mark.parametrize("noise_db", [-90, -50, -35])
@pytest.mark.parametrize("rate_hz", [8_000, 44_100])
def test_speech_is_none_of_these_also_in_noise(tmp_path, noise_db, rate_hz):
    loaded = load_voice(real_voice(tmp_path, rate_hz))
    noise = 10 ** (noise_db / 20) * np.random.default_rng(0).standard_normal(len(loaded.speech))
    assert loaded.warnings == ()
    assert not is_steady(speech_levels((loaded.speech + noise).astype(np.float32)))


# Silence around the speech


def padded(before_s: float, after_s: float, *, noise_db: float, seed: int = 0):
    """The voice with silence or faint noise around it."""
    parts = [np.zeros(round(before_s * RATE_HZ)), spoken(), np.zeros(round(after_s * RATE_HZ))]
    samples = np.concatenate(parts)
    noise = np.random.default_rng(seed).standard_normal(len(samples))
    return samples + (10 ** (noise_db / 20) * noise if noise_db > -100 else 0)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("noise_db", [-120, -60, -45])
def test_silence_around_speech_is_found_and_cut(load, seed, noise_db):
    drawn = random.Random(seed)
    before_s, after_s = drawn.uniform(2, 40), drawn.uniform(2, 40)
    loaded = load(padded(before_s, after_s, noise_db=noise_db, seed=seed))
    (warning,) = silence_warnings([loaded], "sequence")
    assert "--trim-silence leaves them out" in warning
    (trimmed,) = trim_silence([loaded], "sequence")
    assert "of silence before and" in trimmed.adjusted[-1]
    assert trimmed.duration_s == pytest.approx(3.1 + 0.5, abs=0.5)
    assert list(silence_warnings([trimmed], "sequence")) == []
    # Nothing of the speech is lost.
    assert trimmed.first / RATE_HZ <= before_s + 0.1
    assert (trimmed.first + trimmed.samples) / RATE_HZ >= before_s + 2.9


def test_a_click_in_the_silence_is_no_speech(load):
    samples = padded(20, 0, noise_db=-120)
    samples[5 * RATE_HZ : 5 * RATE_HZ + 80] = 0.9
    loaded = load(samples)
    assert loaded.speaks_s[0] == pytest.approx(19.8, abs=0.4)
    assert not any("no speech" in each for each in loaded.warnings)


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 16_000, 44_100, 48_000])
def test_sound_and_speech_are_cut_at_the_same_time(tmp_path, rate_hz):
    original = load_voice(real_voice(tmp_path, rate_hz, channels=2))
    silence = np.zeros((6 * rate_hz, 2), np.int16)
    import soundfile

    samples, _ = soundfile.read(original.path, dtype="int16")
    soundfile.write(tmp_path / "long.wav", np.concatenate([silence, samples, silence]), rate_hz)
    (trimmed,) = trim_silence([load_voice(tmp_path / "long.wav")], "sequence")
    assert trimmed.first * 16_000 % rate_hz == 0
    assert len(trimmed.speech) == trimmed.samples * 16_000 // rate_hz
    frames = int(trimmed.duration_s * 24)
    sound, _ = sound_track([trimmed], "sequence", frames, 24)
    (tmp_path / "track.flac").write_bytes(sound)
    heard = load_voice(tmp_path / "track.flac").speech
    count = min(len(heard), len(trimmed.speech))
    assert np.corrcoef(heard[:count], trimmed.speech[:count])[0, 1] > 0.99


def test_voices_that_speak_together_keep_their_places(load):
    first = load(padded(10, 20, noise_db=-120), "a.wav")
    second = load(padded(14, 5, noise_db=-120), "b.wav")
    trimmed = trim_silence([first, second], "together")
    assert trimmed[0].first == trimmed[1].first
    assert trimmed[0].duration_s == pytest.approx(trimmed[1].duration_s, abs=0.5)
    # In turn, each loses its own silence.
    alone = trim_silence([first, second], "sequence")
    assert alone[1].first - alone[0].first == pytest.approx(4 * RATE_HZ, abs=0.2 * RATE_HZ)


def test_a_voice_without_much_silence_is_left_as_it_is(load):
    loaded = load(spoken())
    assert list(silence_warnings([loaded], "sequence")) == []
    assert loaded.speaks_s is not None
    assert speech_span_s(speech_levels(loaded.speech[:8_000])) is None


# A speaker on each channel


@pytest.mark.parametrize("seed", SEEDS)
def test_a_speaker_on_each_channel_is_a_warning_with_a_command(load, seed):
    drawn = np.random.default_rng(seed)
    talk = np.zeros((20 * RATE_HZ, 2))
    at, turn = 0, 0
    while at < len(talk):
        length = min(round(drawn.uniform(1, 4) * RATE_HZ), len(talk) - at)
        talk[at : at + length, turn % 2] = spoken(5)[:length]
        at, turn = at + length, turn + 1
    # Each microphone hears the other a little.
    talk = talk + 0.05 * talk[:, ::-1]
    (warning,) = (each for each in load(talk).warnings if "each channel" in each)
    assert "-filter_complex 'channelsplit[a][b]'" in warning


@pytest.mark.parametrize("spread", [0.0, 0.3, 0.7])
def test_one_speaker_on_both_channels_is_none(load, spread):
    assert load(np.stack([spoken(6), spread * spoken(6)], axis=1)).adjusted == ()
    loaded = load(np.stack([spoken(6), (1 - spread) * spoken(6)], axis=1))
    assert not any("each channel" in each for each in loaded.warnings)
