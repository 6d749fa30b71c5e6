"""Makers of sounds for tests: speech-like, clicks, any format, a recorded voice."""

import hashlib
import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import soundfile

import multitalk_cli

EXAMPLE_VOICE = Path(multitalk_cli.__file__).parent / "examples" / "voice.wav"


def speech_like(seconds: float, rate_hz: int = 16_000, *, channels: int = 1, seed: int = 0):
    """Syllables of a buzzing voice with pauses, [n, channels] float32, peak 0.5."""
    count = round(seconds * rate_hz)
    times = np.arange(count) / rate_hz
    noise = np.random.default_rng(seed)
    pitch = 110 + 20 * np.sin(2 * np.pi * 0.7 * times + seed)
    phase = 2 * np.pi * np.cumsum(pitch) / rate_hz
    buzz = sum(np.sin(k * phase) / k for k in range(1, 9))
    syllables = np.clip(np.sin(2 * np.pi * 3.1 * times + seed), 0, 1) ** 0.5
    voice = syllables * (buzz + 0.05 * noise.standard_normal(count)) + 1e-3 * np.sin(times * 999)
    voice *= 0.5 / np.abs(voice).max()
    gains = 1 - 0.1 * np.arange(channels)
    return (voice[:, None] * gains).astype(np.float32)


def clicks(seconds: float, at_s, rate_hz: int = 48_000):
    """Short bursts of 1.5 kHz at the given times over a faint hum, [n, 1] float32."""
    times = np.arange(round(seconds * rate_hz)) / rate_hz
    sound = 0.004 * np.sin(2 * np.pi * 100 * times)
    for start in at_s:
        inside = (times >= start) & (times < start + 0.01)
        sound[inside] += 0.7 * np.sin(2 * np.pi * 1500 * (times[inside] - start))
    return sound[:, None].astype(np.float32)


def click_times(samples, rate_hz: int):
    """When each burst begins, in seconds; samples [n]."""
    # Above what AAC lets sound before an onset at low rates.
    loud = np.flatnonzero(np.abs(samples) > 0.4)
    first = np.concatenate([[True], np.diff(loud) > 0.05 * rate_hz])
    return loud[first] / rate_hz


def write_wav(path: Path, samples, rate_hz: int = 16_000, subtype: str = "PCM_16") -> Path:
    """Writes [n, channels] as a WAV file."""
    soundfile.write(path, samples, rate_hz, subtype=subtype, format="WAV")
    return path


def converted(source: Path, target: Path, *options: str) -> Path:
    """Converts with the bundled ffmpeg, by the target's ending unless options say otherwise."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-i", str(source)]
    subprocess.run([*command, *options, str(target)], check=True, stdin=subprocess.DEVNULL)
    return target


def film(target: Path, sound: Path | None, *, seconds: float = 1.0) -> Path:
    """A small film with or without a sound track."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y"]
    command += ["-f", "lavfi", "-i", f"testsrc=size=64x64:rate=24:duration={seconds}"]
    command += [] if sound is None else ["-i", str(sound)]
    subprocess.run([*command, str(target)], check=True, stdin=subprocess.DEVNULL)
    return target


def real_voice(folder: Path, rate_hz: int = 16_000, *, channels: int = 1) -> Path:
    """The example's recorded voice at another rate, as a WAV file in the folder."""
    target = folder / f"voice-{rate_hz}-{channels}.wav"
    return converted(EXAMPLE_VOICE, target, "-ar", str(rate_hz), "-ac", str(channels))


def sha256(path: Path) -> str:
    """The digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def peak_memory_mb(script: str, *arguments: str) -> float:
    """The most memory that a fresh Python takes for a script.

    Read from the kernel's own figure: the usual one starts at that of the parent process.
    """
    report = (
        "\nimport re\nprint(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])"
    )
    command = [sys.executable, "-c", script + report, *arguments]
    seen = subprocess.run(command, capture_output=True, check=True, text=True)
    return int(seen.stdout.split()[-1]) / 1024
