"""FLAC: integers survive it, and speech tracks cross the wire."""

import numpy as np
import pytest

from multitalk_cli.errors import FileError
from multitalk_cli.media.audio.flac import decode_speech, speech_flac, to_integers
from tests.media.audio.sounds import speech_like, write_wav


@pytest.mark.parametrize(("bits", "kind", "shift"), [(16, np.int16, 0), (24, np.int32, 8)])
def test_integers_survive_the_way_through_floats(bits, kind, shift):
    full = 1 << (bits - 1)
    integers = np.random.default_rng(0).integers(-full, full, 10_000)
    floats = (integers / full).astype(np.float32)
    assert np.array_equal(to_integers(floats, bits), (integers << shift).astype(kind))


@pytest.mark.parametrize(("bits", "error"), [(16, 2**-16), (24, 2**-24)])
def test_a_speech_track_crosses_the_wire(bits, error):
    speech = speech_like(1.3)[:, 0]
    np.testing.assert_allclose(
        decode_speech(speech_flac(speech, bits=bits)), speech, atol=1.1 * error
    )


def test_a_speech_track_over_full_scale_is_scaled_and_not_clipped():
    loud = 3 * speech_like(0.5)[:, 0]
    np.testing.assert_allclose(
        decode_speech(speech_flac(loud)), loud / np.abs(loud).max(), atol=1e-6
    )


@pytest.mark.parametrize(("rate_hz", "channels"), [(8_000, 1), (16_000, 2)])
def test_speech_of_another_shape_is_refused(tmp_path, rate_hz, channels):
    path = write_wav(tmp_path / "a.wav", speech_like(1, rate_hz, channels=channels), rate_hz)
    with pytest.raises(FileError) as caught:
        decode_speech(path.read_bytes())
    assert caught.value.code == "E_AUDIO_FORMAT"


def test_damaged_speech_is_refused():
    data = speech_flac(speech_like(1)[:, 0])
    for broken in (data[: len(data) // 2], b"fLaC", b"\0" * 100):
        with pytest.raises(FileError) as caught:
            decode_speech(broken)
        assert caught.value.code == "E_AUDIO_BROKEN"


def test_full_scale_stays_full_scale():
    assert to_integers(np.array([-1.5, -1, 1], np.float32), 16).tolist() == [-32768, -32768, 32767]
