"""Tracks: two voices on one clock, and a sound track that holds the user's own samples."""

import io

import numpy as np
import pytest
import soundfile
from safetensors.numpy import load_file

from multitalk_cli.contract import frames_from_samples, samples_from_frames
from multitalk_cli.errors import FileError
from multitalk_cli.media.audio import tracks
from multitalk_cli.media.audio.loudness import measure_lufs
from multitalk_cli.media.audio.tracks import (
    arrange,
    sound_rate_hz,
    sound_track,
    write_sound_track,
)
from multitalk_cli.media.audio.voice import load_voice
from tests.media.audio.sounds import click_times, clicks, converted, speech_like, write_wav


def _voice(path, seconds, rate_hz=16_000, *, channels=1, seed=0, subtype="PCM_16"):
    samples = speech_like(seconds, rate_hz, channels=channels, seed=seed)
    return load_voice(write_wav(path, samples, rate_hz, subtype))


def _integers(path, bits):
    samples = soundfile.read(path, dtype="int32", always_2d=True)[0]
    return samples >> (32 - bits)


@pytest.fixture
def pair(tmp_path):
    """A short and a long voice."""
    return (_voice(tmp_path / "a.wav", 1.25), _voice(tmp_path / "b.wav", 2.5, seed=5))


def test_in_sequence_one_waits_for_the_other(pair):
    arranged = arrange(pair, "sequence", target_lufs=None)
    assert (arranged.starts_s, arranged.ends_s) == ((0, 1.25), (1.25, 3.75))
    assert arranged.duration_s == 3.75
    first, second = arranged.speech
    assert np.array_equal(first[:20_000], pair[0].speech)
    assert not first[20_000:].any()
    assert not second[:20_000].any()
    assert np.array_equal(second[20_000:], pair[1].speech)


def test_together_both_start_and_the_shorter_falls_silent(pair):
    arranged = arrange(pair, "together", target_lufs=None)
    assert (arranged.starts_s, arranged.ends_s) == ((0, 0), (1.25, 2.5))
    first, second = arranged.speech
    assert len(first) == len(second) == arranged.samples == 40_000
    assert not first[20_000:].any()


def test_each_voice_comes_to_the_target_loudness(pair):
    arranged = arrange(pair, "sequence")
    reached = [measure_lufs(speech[speech != 0], 16_000) for speech in arranged.speech]
    assert reached == pytest.approx([-23, -23], abs=0.2)


@pytest.mark.parametrize("level_lufs", [-30.0, -20.0, 0.0, None])
def test_the_sound_comes_to_the_level_that_is_asked_for(pair, level_lufs):
    voice = pair[0]
    flac, notes = sound_track([voice], "sequence", 30, 24, level_lufs=level_lufs)
    samples, rate_hz = soundfile.read(io.BytesIO(flac))
    made = samples if samples.ndim == 1 else samples.mean(axis=1)
    wanted = voice.loudness_lufs if level_lufs is None else level_lufs
    is_reduced = any("reduced to fit" in note for note in notes)
    assert is_reduced == (level_lufs == 0)
    assert abs(samples).max() <= 1
    if not is_reduced:
        assert measure_lufs(made, rate_hz) == pytest.approx(wanted, abs=1.0)
    assert any(f"to {wanted:.1f} LUFS" in note for note in notes) == (level_lufs is not None)


@pytest.mark.parametrize("case", ["add_ab", "add_None_b"])
def test_arranges_as_the_published_model_does(golden_dir, tmp_path, case):
    tensors = load_file(golden_dir / "audio_embedding.safetensors")
    voices = []
    for name in "ab":
        path = write_wav(tmp_path / f"{name}.wav", tensors[f"multi/in/{name}"], 16_000, "FLOAT")
        voices.append(load_voice(path))
    arranged = arrange(voices, "sequence")
    recorded = [tensors[f"multi/{case}/s{n}"] for n in (1, 2)]
    if case == "add_None_b":
        # There the silent person is as long as the other voice; only b's own part compares.
        assert not recorded[0].any()
        arranged_b = arranged.speech[1][8000:]
        np.testing.assert_allclose(arranged_b, recorded[1][6800:], atol=1e-6)
        return
    for speech, expected in zip(arranged.speech, recorded, strict=True):
        np.testing.assert_allclose(speech, expected, atol=1e-6)


def test_together_too_long_is_refused(pair, monkeypatch):
    monkeypatch.setattr(tracks, "MAX_SPEECH_S", 3)
    arrange(pair, "together")
    with pytest.raises(FileError) as caught:
        arrange(pair, "sequence")
    assert caught.value.code == "E_AUDIO_LENGTH"


@pytest.mark.parametrize(("subtype", "bits"), [("PCM_U8", 16), ("PCM_16", 16), ("PCM_24", 24)])
@pytest.mark.parametrize(("rate_hz", "channels"), [(8_000, 1), (44_100, 2), (48_000, 6)])
def test_one_voice_keeps_every_sample(tmp_path, subtype, bits, rate_hz, channels):
    voice = _voice(tmp_path / "a.wav", 1.01, rate_hz, channels=channels, subtype=subtype)
    frames = frames_from_samples(voice.samples, rate_hz, 24)
    adjusted = write_sound_track([voice], "sequence", tmp_path / "s.flac", frames, 24)
    info = soundfile.info(tmp_path / "s.flac")
    assert (info.samplerate, info.channels, info.subtype) == (rate_hz, channels, f"PCM_{bits}")
    assert info.frames == samples_from_frames(frames, rate_hz, 24)
    assert adjusted == ()
    written, original = _integers(tmp_path / "s.flac", bits), _integers(tmp_path / "a.wav", bits)
    assert np.array_equal(written[: len(original)], original)
    assert not written[len(original) :].any()


def test_a_voice_longer_than_the_frames_is_cut(tmp_path):
    voice = _voice(tmp_path / "a.wav", 1.01)
    write_sound_track([voice], "sequence", tmp_path / "s.flac", 24, 24)
    assert soundfile.info(tmp_path / "s.flac").frames == 16_000


@pytest.mark.parametrize("ending", ["mp3", "m4a"])
def test_a_compressed_voice_keeps_its_rate_and_channels(tmp_path, ending):
    wav = write_wav(tmp_path / "a.wav", speech_like(1, 44_100, channels=2), 44_100)
    voice = load_voice(converted(wav, tmp_path / f"a.{ending}"))
    write_sound_track([voice], "sequence", tmp_path / "s.flac", 30, 25)
    info = soundfile.info(tmp_path / "s.flac")
    assert (info.samplerate, info.channels, info.subtype) == (44_100, 2, "PCM_24")


def test_two_voices_in_turn_share_the_higher_rate_and_more_channels(tmp_path):
    first = _voice(tmp_path / "a.wav", 0.5, 8_000)
    second = _voice(tmp_path / "b.wav", 1.0, 44_100, channels=2, seed=4)
    write_sound_track([first, second], "sequence", tmp_path / "s.flac", 36, 24)
    written, rate_hz = soundfile.read(tmp_path / "s.flac")
    assert (rate_hz, written.shape) == (44_100, (66_150, 2))
    # The first voice is heard on both sides, the second as it was.
    assert np.array_equal(written[:22_050, 0], written[:22_050, 1])
    original = soundfile.read(tmp_path / "b.wav")[0]
    np.testing.assert_allclose(written[22_050:], original, atol=2**-22)


def test_two_voices_together_are_summed(tmp_path):
    first, second = _voice(tmp_path / "a.wav", 0.5), _voice(tmp_path / "b.wav", 1.0, seed=4)
    adjusted = write_sound_track([first, second], "together", tmp_path / "s.flac", 24, 24)
    written = soundfile.read(tmp_path / "s.flac")[0]
    expected = second.speech.copy()
    expected[:8000] += first.speech
    assert adjusted == ()
    np.testing.assert_allclose(written, expected, atol=2**-15)


def test_a_sum_over_full_scale_is_made_quieter_and_not_clipped(tmp_path):
    loud = 1.9 * speech_like(1)
    voices = [load_voice(write_wav(tmp_path / f"{name}.wav", loud)) for name in "ab"]
    adjusted = write_sound_track(voices, "together", tmp_path / "s.flac", 24, 24)
    written = soundfile.read(tmp_path / "s.flac")[0]
    assert "1.90 times full scale" in adjusted[0]
    np.testing.assert_allclose(written, loud[:, 0] / np.abs(loud).max(), atol=1e-3)


def test_floats_over_full_scale_are_made_quieter(tmp_path):
    voice = load_voice(write_wav(tmp_path / "a.wav", 3 * speech_like(1), subtype="FLOAT"))
    adjusted = write_sound_track([voice], "sequence", tmp_path / "s.flac", 24, 24)
    assert "1.50 times full scale" in adjusted[0]
    assert np.abs(soundfile.read(tmp_path / "s.flac")[0]).max() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("rate_hz", "expected"), [(8_000, 8_000), (37_800, 44_100), (192_000, 96_000), (5_000, 7_350)]
)
def test_a_rate_that_aac_lacks_becomes_the_next_higher(rate_hz, expected):
    assert sound_rate_hz(rate_hz) == expected


def test_a_resampled_sound_track_is_noted_and_stays_in_time(tmp_path):
    at_s = (0.5, 1.0, 1.5)
    path = write_wav(tmp_path / "a.wav", clicks(2, at_s, 192_000), 192_000, "PCM_24")
    adjusted = write_sound_track([load_voice(path)], "sequence", tmp_path / "s.flac", 48, 24)
    assert "192000 to 96000 Hz" in adjusted[0]
    written, rate_hz = soundfile.read(tmp_path / "s.flac")
    np.testing.assert_allclose(click_times(written, rate_hz), at_s, atol=1e-3)


def test_a_voice_that_changed_meanwhile_is_refused(tmp_path):
    voice = _voice(tmp_path / "a.wav", 1)
    write_wav(tmp_path / "a.wav", speech_like(1, 8_000), 8_000)
    with pytest.raises(FileError, match="changed"):
        write_sound_track([voice], "sequence", tmp_path / "s.flac", 24, 24)
    assert not list(tmp_path.glob("s.flac*"))


def test_long_sums_take_blocks_of_any_size():
    ragged = [np.full((n, 2), n, np.float32) for n in (70_000, 1, 40_000, 3)]
    blocks = list(tracks._rechunked(iter(ragged)))
    assert {len(block) for block in blocks[:-1]} == {32_768}
    assert np.array_equal(np.concatenate(blocks), np.concatenate(ragged))
