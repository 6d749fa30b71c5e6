"""Loudness: equal to pyloudnorm and to the published preparation, in bounded memory."""

import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

from multitalk_cli.media.audio.loudness import TARGET_LUFS, measure_lufs, normalize
from tests.media.audio.sounds import peak_memory_mb, real_voice, speech_like


@pytest.mark.parametrize("rate_hz", [7_350, 8_000, 16_000, 22_050, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("seconds", [0.4, 0.449, 0.451, 1.0, 3.73, 9.99])
def test_reads_what_pyloudnorm_reads(rate_hz, seconds):
    samples = speech_like(seconds, rate_hz, seed=3)[:, 0]
    samples[len(samples) // 2 :] *= 0.01
    import pyloudnorm

    expected = pyloudnorm.Meter(rate_hz).integrated_loudness(samples)
    assert measure_lufs(samples, rate_hz) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("wanted_hz", [8_000, 16_000, 48_000])
def test_reads_what_pyloudnorm_reads_on_a_recording(tmp_path, wanted_hz):
    import soundfile

    samples, rate_hz = soundfile.read(real_voice(tmp_path, wanted_hz))
    assert rate_hz == wanted_hz
    import pyloudnorm

    expected = pyloudnorm.Meter(rate_hz).integrated_loudness(samples)
    assert measure_lufs(samples, rate_hz) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("case", ["normal", "loud", "quiet", "f64"])
def test_normalizes_as_the_published_model_does(golden_dir, case):
    tensors = load_file(golden_dir / "audio_embedding.safetensors")
    normalized, gain_db = normalize(tensors[f"loud_{case}/in"], 16_000)
    assert gain_db is not None
    # The tolerance that the recorded data states for loudness.
    np.testing.assert_allclose(normalized, tensors[f"loud_{case}/out"], atol=1e-6, rtol=0)


def test_result_has_the_target_loudness():
    normalized, gain_db = normalize(speech_like(2)[:, 0], 16_000, -30.0)
    assert normalized.dtype == np.float32
    assert measure_lufs(normalized, 16_000) == pytest.approx(-30.0, abs=0.01)
    assert gain_db == pytest.approx(-30.0 - measure_lufs(speech_like(2)[:, 0], 16_000), abs=1e-6)


def test_leaves_what_is_shorter_than_a_block():
    samples = speech_like(0.5)[:6399, 0]
    normalized, gain_db = normalize(samples, 16_000)
    assert gain_db is None
    assert np.array_equal(normalized, samples)
    assert measure_lufs(speech_like(0.5)[:6400, 0], 16_000) is not None


def test_leaves_silence():
    silence = np.zeros(16_000, np.float32)
    normalized, gain_db = normalize(silence, 16_000, TARGET_LUFS)
    assert gain_db is None
    assert not normalized.any()


def test_half_an_hour_takes_little_memory():
    prepare = "import numpy as np\nfrom multitalk_cli.media.audio.loudness import measure_lufs\n"
    prepare += "samples = np.full(1800 * 16000, 0.1, np.float32); samples[::2] = -0.1\n"
    grown_mb = peak_memory_mb(prepare + "measure_lufs(samples, 16000)") - peak_memory_mb(prepare)
    assert grown_mb < 20


def test_needs_no_scipy():
    script = (
        "import sys, numpy as np\nfrom multitalk_cli.media.audio.loudness import measure_lufs\n"
    )
    script += "measure_lufs(np.ones(16000), 16000)\nassert 'scipy' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)
