"""Voices: every format, exact levels and lengths, and clear refusals of what cannot be used."""

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from multitalk_cli.errors import FileError, MultitalkError
from multitalk_cli.media.audio import voice
from multitalk_cli.media.audio.decode import looks_like_sound
from multitalk_cli.media.audio.voice import load_voice
from tests.media.audio.sounds import (
    converted,
    film,
    peak_memory_mb,
    real_voice,
    sha256,
    speech_like,
    write_wav,
)

pytestmark = pytest.mark.slow

COMPRESSED = ["mp3", "m4a", "ogg", "opus", "flac", "webm", "mp4", "mov", "aac"]


@pytest.fixture(scope="module")
def stereo(tmp_path_factory):
    """Two seconds at 48 kHz whose channels differ."""
    path = tmp_path_factory.mktemp("sounds") / "stereo.wav"
    return write_wav(path, speech_like(2, 48_000, channels=2), 48_000)


def _refusal(path: Path) -> MultitalkError:
    with pytest.raises(MultitalkError) as caught:
        load_voice(path)
    return caught.value


def _correlation(one, other):
    count = min(len(one), len(other))
    return np.corrcoef(one[:count], other[:count])[0, 1]


@pytest.mark.parametrize(
    "subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"]
)
@pytest.mark.parametrize(
    ("rate_hz", "channels"), [(8_000, 1), (11_025, 3), (44_100, 2), (48_000, 6), (96_000, 4)]
)
def test_wav_of_any_width_rate_and_channels(tmp_path, subtype, rate_hz, channels):
    samples = speech_like(0.7, rate_hz, channels=channels)
    loaded = load_voice(write_wav(tmp_path / "a.wav", samples, rate_hz, subtype))
    assert (loaded.rate_hz, loaded.channels, loaded.samples) == (rate_hz, channels, len(samples))
    assert len(loaded.speech) == len(samples) * 16_000 // rate_hz
    assert loaded.peak_dbfs == pytest.approx(20 * np.log10(0.5), abs=0.2)
    expected = soxr.resample(samples.mean(axis=1), rate_hz, 16_000, quality="HQ")
    assert _correlation(loaded.speech, expected) > 0.99


@pytest.mark.parametrize("ending", COMPRESSED)
def test_compressed_formats_keep_level_length_and_position(tmp_path, stereo, ending):
    loaded = load_voice(converted(stereo, tmp_path / f"a.{ending}"))
    exact = load_voice(stereo)
    assert loaded.warnings == loaded.adjusted == ()
    assert loaded.duration_s == pytest.approx(2.0, abs=0.05)
    # A decoder that sums the channels in place of their mean would be off by 3 dB.
    assert loaded.loudness_lufs == pytest.approx(exact.loudness_lufs, abs=1.0)
    # AAC without a container does not declare the 1024 samples that its encoder put before.
    shift = 341 if ending == "aac" else 0
    assert _correlation(loaded.speech[shift:], exact.speech) > 0.97


@pytest.mark.parametrize("kind", ["AIFF", "AU", "CAF", "W64", "RF64"])
def test_other_files_of_plain_samples(tmp_path, kind):
    soundfile.write(tmp_path / "a", speech_like(1), 16_000, format=kind, subtype="PCM_16")
    np.testing.assert_allclose(load_voice(tmp_path / "a").speech, speech_like(1)[:, 0], atol=2**-15)


def test_a_cut_off_aiff_is_damaged(tmp_path):
    soundfile.write(tmp_path / "a.aiff", speech_like(1), 16_000)
    (tmp_path / "a.aiff").write_bytes((tmp_path / "a.aiff").read_bytes()[:20_000])
    assert "cut off" in _refusal(tmp_path / "a.aiff").message


@pytest.mark.parametrize("codec", ["libmp3lame", "adpcm_ima_wav", "adpcm_ms", "pcm_alaw"])
def test_a_wav_with_compressed_sound_inside(tmp_path, stereo, codec):
    loaded = load_voice(converted(stereo, tmp_path / "a.wav", "-c:a", codec))
    assert loaded.warnings == ()
    assert loaded.duration_s == pytest.approx(2.0, abs=0.1)


def test_an_mp3_with_tags_and_one_that_is_cut(tmp_path, stereo):
    tagged = converted(stereo, tmp_path / "a.mp3", "-metadata", f"title={'x' * 3000}")
    assert load_voice(tagged).duration_s == pytest.approx(2.0, abs=0.05)
    tagged.write_bytes(tagged.read_bytes()[:-5000])
    assert "cut off" in _refusal(tagged).message


def test_an_old_quicktime_file_without_a_type(tmp_path, stereo):
    data = converted(stereo, tmp_path / "a.mov").read_bytes()
    size = int.from_bytes(data[:4], "big")
    # The index holds absolute positions: the type becomes free space of the same size.
    (tmp_path / "b.mov").write_bytes(data[:4] + b"free" + data[8:size] + data[size:])
    assert load_voice(tmp_path / "b.mov").duration_s == pytest.approx(2.0, abs=0.05)


def test_a_file_that_ends_inside_its_header_is_refused(tmp_path, stereo):
    for ending in COMPRESSED:
        whole = converted(stereo, tmp_path / f"a.{ending}").read_bytes()
        for size in (5, 13, 40, 100):
            (tmp_path / "cut").write_bytes(whole[:size])
            assert _refusal(tmp_path / "cut").exit_code == 3


def test_a_wav_is_resampled_as_the_published_model_does(golden_dir, tmp_path):
    from safetensors.numpy import load_file

    tensors = load_file(golden_dir / "audio_embedding.safetensors")
    samples = np.pad(tensors["load/in_stereo_44100"], ((0, 8820), (0, 0)))
    loaded = load_voice(write_wav(tmp_path / "a.wav", samples, 44_100, "FLOAT"))
    # The recording ends at sample 1600; before the padding's influence both must agree.
    np.testing.assert_allclose(loaded.speech[:1500], tensors["load/out_16000"][:1500], atol=2e-5)


def test_a_real_recording(tmp_path):
    path = real_voice(tmp_path, 8_000)
    loaded = load_voice(path)
    assert (loaded.rate_hz, loaded.channels, loaded.bits, loaded.sha256) == (
        8_000,
        1,
        16,
        sha256(path),
    )
    assert loaded.warnings == loaded.adjusted == ()
    assert -30 < loaded.loudness_lufs < -10


def test_another_real_recording(tmp_path):
    path = real_voice(tmp_path, 48_000, channels=2)
    loaded = load_voice(path)
    with soundfile.SoundFile(path) as file:
        assert (loaded.samples, loaded.rate_hz) == (file.frames, file.samplerate)


def test_speech_never_reaches_a_frame_that_the_recording_does_not(tmp_path):
    # 82 frames at 24 fps are 54,666.67 samples of 16 kHz: rounding up would ask for an 83rd.
    loaded = load_voice(write_wav(tmp_path / "a.wav", speech_like(82 / 24, 48_000), 48_000))
    assert loaded.samples == 164_000
    assert len(loaded.speech) == 54_666


def test_speech_is_read_only(stereo):
    with pytest.raises(ValueError, match="read-only"):
        load_voice(stereo).speech[0] = 1


@pytest.mark.parametrize("source", ["wav", "flac", "mp3", "m4a"])
@pytest.mark.parametrize("name", ["picture.png", "voice", "a.raw", "-x.wav", "a\nb.mp3", "a.mp4"])
def test_content_decides_and_not_the_name(tmp_path, monkeypatch, stereo, source, name):
    monkeypatch.chdir(tmp_path)
    converted(stereo, tmp_path / f"source.{source}").rename(name)
    assert load_voice(Path(name)).duration_s == pytest.approx(2.0, abs=0.06)


@pytest.mark.parametrize(
    "ending", ["wav", "flac", "mp3", "m4a", "mp4", "mov", "ogg", "opus", "webm"]
)
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_cut_off_file_is_damaged(tmp_path, stereo, ending, share):
    whole = converted(stereo, tmp_path / f"whole.{ending}").read_bytes()
    cut = tmp_path / f"cut.{ending}"
    cut.write_bytes(whole[: int(share * len(whole))])
    error = _refusal(cut)
    assert error.code == "E_AUDIO_BROKEN"
    assert "cut" in error.message


def test_a_recording_of_unknown_length_is_whole(tmp_path, stereo):
    data = bytearray(stereo.read_bytes())
    at = data.index(b"data")
    data[at + 4 : at + 8] = b"\xff\xff\xff\xff"
    (tmp_path / "piped.wav").write_bytes(data)
    assert load_voice(tmp_path / "piped.wav").samples == 96_000


def test_a_live_webm_is_whole(tmp_path, stereo):
    loaded = load_voice(converted(stereo, tmp_path / "a.webm", "-live", "1"))
    assert loaded.duration_s == pytest.approx(2.0, abs=0.06)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_damage(tmp_path, bad):
    samples = speech_like(0.5)
    samples[4000] = bad
    error = _refusal(write_wav(tmp_path / "a.wav", samples, subtype="FLOAT"))
    assert error.code == "E_AUDIO_BROKEN"
    assert "NaN or infinite" in error.message


def test_integers_saved_as_floats_are_damage(tmp_path):
    error = _refusal(write_wav(tmp_path / "a.wav", speech_like(0.5) * 32_768, subtype="FLOAT"))
    assert (error.code, "times full scale" in error.message) == ("E_AUDIO_BROKEN", True)


@pytest.mark.parametrize(("gain", "seen"), [(0.0, "no signal at all"), (2e-3, "peak -60 dBFS")])
def test_silence_is_refused_with_its_level(tmp_path, gain, seen):
    error = _refusal(write_wav(tmp_path / "a.wav", speech_like(1.5) * gain, subtype="PCM_24"))
    assert error.code == "E_AUDIO_SILENT"
    assert error.message.endswith(f"is silent ({seen} over 1.5 s); a voice must reach -50 dBFS")


@pytest.mark.parametrize(("samples", "fits"), [(3199, False), (3200, True)])
def test_the_shortest_voice_is_a_fifth_of_a_second(tmp_path, samples, fits):
    path = write_wav(tmp_path / "a.wav", speech_like(0.5)[:samples])
    if fits:
        assert load_voice(path).loudness_lufs is None
    else:
        assert _refusal(path).code == "E_AUDIO_LENGTH"


def test_the_longest_voice_is_half_an_hour(tmp_path):
    # 8 kHz, 8 bit: the smallest file of that length.
    longest = np.tile(speech_like(1, 8_000), (1801, 1))
    error = _refusal(write_wav(tmp_path / "a.wav", longest, 8_000, "PCM_U8"))
    assert (error.code, "1801.00 s" in error.message) == ("E_AUDIO_LENGTH", True)


def test_a_long_compressed_voice_is_refused_while_it_is_decoded(tmp_path, stereo, monkeypatch):
    monkeypatch.setattr(voice, "MAX_SPEECH_S", 1.5)
    error = _refusal(converted(stereo, tmp_path / "a.m4a"))
    assert (error.code, "over " in error.message) == ("E_AUDIO_LENGTH", True)


def test_clipping_is_a_warning(tmp_path):
    clipped = np.clip(4 * speech_like(1), -1, 1)
    assert "clips in" in load_voice(write_wav(tmp_path / "a.wav", clipped)).warnings[0]


def test_damage_in_the_middle_is_a_warning(tmp_path, stereo):
    data = bytearray(converted(stereo, tmp_path / "a.mp3").read_bytes())
    data[8000:8400] = bytes(400)
    (tmp_path / "b.mp3").write_bytes(data)
    assert "could not be decoded" in load_voice(tmp_path / "b.mp3").warnings[0]
    assert load_voice(tmp_path / "a.mp3").warnings == ()


def test_a_silent_channel_is_a_warning(tmp_path):
    samples = speech_like(1, channels=2) * [1, 0]
    assert (
        "silent in channel 2 of 2" in load_voice(write_wav(tmp_path / "a.wav", samples)).warnings[0]
    )


def test_of_channels_that_cancel_out_one_is_used_alone(tmp_path):
    samples = speech_like(1) * np.array([1, -1], np.float32)
    loaded = load_voice(write_wav(tmp_path / "a.wav", samples))
    assert "only channel 1 is used" in loaded.adjusted[0]
    np.testing.assert_allclose(loaded.speech, samples[:, 0], atol=1e-3)


def test_a_film_without_sound(tmp_path):
    assert _refusal(film(tmp_path / "a.mp4", None)).code == "E_AUDIO_NONE"
    assert _refusal(film(tmp_path / "a.webm", None)).code == "E_AUDIO_NONE"


def test_the_sound_of_a_film(tmp_path, stereo):
    loaded = load_voice(film(tmp_path / "a.mp4", stereo, seconds=3))
    assert (loaded.format, round(loaded.duration_s, 1)) == ("mp4", 2.0)


HOSTILE = {
    "list.mp4": b"#EXTM3U\n#EXTINF:1,\nstereo.wav\n",
    "list.wav": b"ffconcat version 1.0\nfile stereo.wav\n",
    "picture.wav": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "photo.wav": b"\xff\xd8\xff\xe0" + bytes(100),
    "drawing.wav": b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>",
    "paper.wav": b"%PDF-1.7\n",
    "text.mp3": "\ufeffhello".encode("utf-16"),
    "zeros.wav": bytes(1000),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_sound_is_refused_by_its_content(tmp_path, name):
    (tmp_path / name).write_bytes(HOSTILE[name])
    assert not looks_like_sound(tmp_path / name)
    error = _refusal(tmp_path / name)
    assert error.code == "E_AUDIO_FORMAT"
    assert name in error.message


def test_a_sound_looks_like_one(tmp_path, stereo):
    for ending in COMPRESSED:
        assert looks_like_sound(converted(stereo, tmp_path / f"a.{ending}"))
    assert not looks_like_sound(tmp_path)
    assert not looks_like_sound(tmp_path / "missing.wav")


def test_files_that_are_none(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "empty.wav").touch()
    codes = {
        name: _refusal(tmp_path / name).code for name in ("pipe.wav", "empty.wav", "", "none.wav")
    }
    assert codes == {
        "pipe.wav": "E_FILE_UNREADABLE",
        "empty.wav": "E_FILE_UNREADABLE",
        "": "E_FILE_UNREADABLE",
        "none.wav": "E_FILE_MISSING",
    }
    assert _refusal(Path("/dev/zero")).code == "E_FILE_UNREADABLE"
    refused = _refusal(Path("https://example.org/a.wav?k=secret"))
    assert (refused.code, "secret" in str(refused)) == ("E_URL", False)


def _wav_claiming(rate_hz: int, channels: int, data_bytes: int) -> bytes:
    fmt = struct.pack(
        "<HHIIHH",
        1,
        channels,
        rate_hz,
        rate_hz * channels * 2 & 0xFFFFFFFF,
        channels * 2 & 0xFFFF,
        16,
    )
    return (
        b"RIFF\xff\xff\xff\x7fWAVEfmt \x10\0\0\0"
        + fmt
        + b"data"
        + struct.pack("<I", data_bytes)
        + bytes(64)
    )


@pytest.mark.parametrize(
    ("rate_hz", "channels", "data_bytes"),
    [
        (48_000, 2, 0x7000_0000),
        (48_000, 1024, 64),
        (48_000, 65_535, 64),
        (1, 1, 64),
        (4_000_000_000, 1, 64),
        (0, 0, 64),
    ],
)
def test_a_header_that_claims_too_much_takes_no_memory(tmp_path, rate_hz, channels, data_bytes):
    import tracemalloc

    (tmp_path / "a.wav").write_bytes(_wav_claiming(rate_hz, channels, data_bytes))
    tracemalloc.start()
    error = _refusal(tmp_path / "a.wav")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(error, FileError)
    assert peak < 10_000_000


def test_ten_minutes_stay_under_the_memory_limit(tmp_path):
    second = speech_like(1, 48_000, channels=2)
    with soundfile.SoundFile(tmp_path / "a.wav", "w", 48_000, 2, subtype="PCM_24") as file:
        for _ in range(600):
            file.write(second)
    script = "import sys\nfrom pathlib import Path\n"
    script += "from multitalk_cli.media.audio.voice import load_voice\n"
    script += "assert load_voice(Path(sys.argv[1])).duration_s == 600"
    assert peak_memory_mb(script, str(tmp_path / "a.wav")) < 150
