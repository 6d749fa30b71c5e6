"""A voice: what the file holds, what the model will hear, and what is wrong with it."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from multitalk_cli.contract import MAX_SPEECH_S, MIN_SPEECH_S, MODEL_RATE_HZ
from multitalk_cli.errors import FileError
from multitalk_cli.files import open_input, sha256_of, shown_path
from multitalk_cli.media.audio.decode import Sound, broken, looks_like_sound, open_sound
from multitalk_cli.media.audio.loudness import measure_lufs

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "SILENT_DBFS",
    "Voice",
    "decode_speech",
    "load_voice",
    "looks_like_sound",
    "speech_flac",
    "to_flac",
]

SILENT_DBFS = -50.0
# What digital silence reads as: no number is lower, and every one can be written as JSON.
FLOOR_DBFS = -120.0
# 40 dB above full scale no recording is meant: integers were saved as floats.
_MAX_PEAK = 100.0
_CLIPPED_LEVEL, _CLIPPED_PLACES = 0.98, 5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Voice:
    """One recording.

    samples: its length at its own rate. peak_dbfs: the highest sample of any channel, at least
    FLOOR_DBFS. loudness_lufs: of `speech`; None below 0.4 s or where it cannot be measured.
    speech: [n] float32, 16 kHz, the mean of the channels, read-only. bits: 16 or 24, what keeps
    the samples without loss. adjusted, warnings: sentences for the report.
    """

    path: Path
    sha256: str
    format: str
    rate_hz: int
    channels: int
    bits: int
    samples: int
    peak_dbfs: float
    loudness_lufs: float | None
    speech: NDArray[np.float32]
    adjusted: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def duration_s(self) -> float:
        """How long the recording is."""
        return self.samples / self.rate_hz


@dataclass(slots=True)
class _Heard:
    """What one pass over the samples finds."""

    samples: int = 0
    peaks: list[float] = field(default_factory=list)
    clipped: int = 0
    complaint: str = ""
    speech: bytearray = field(default_factory=bytearray)

    @property
    def peak(self) -> float:
        return max(self.peaks, default=0.0)


def load_voice(path: Path) -> Voice:
    """Reads and checks a recording, block by block: the original is never held whole.

    Raises UsageError (E_URL) for a web address, and FileError for what is no sound, damaged,
    silent, shorter than 0.2 s or longer than 30 min.
    """
    with open_sound(path) as sound:
        _check_claim(path, sound)
        heard = _listen(sound)
        shape = (sound.format, sound.rate_hz, sound.channels, sound.bits)
    _check_heard(path, heard, shape[1])
    adjusted: tuple[str, ...] = ()
    if dbfs(_peak(heard.speech)) < SILENT_DBFS:
        heard, adjusted = _loudest_channel(path, heard)
    speech = _as_speech(heard, shape[1])
    return Voice(
        path=path,
        sha256=_sha256(path),
        format=shape[0],
        rate_hz=shape[1],
        channels=shape[2],
        bits=shape[3],
        samples=heard.samples,
        peak_dbfs=dbfs(heard.peak),
        loudness_lufs=measure_lufs(speech, MODEL_RATE_HZ),
        speech=speech,
        adjusted=adjusted,
        warnings=_warnings(path, heard, shape[2]),
    )


def dbfs(peak: float) -> float:
    """A peak, full scale 1, in dB; FLOOR_DBFS for silence."""
    return max(FLOOR_DBFS, 20 * math.log10(peak)) if peak > 0 else FLOOR_DBFS


def speech_flac(samples: NDArray[np.float32], *, bits: int = 24) -> bytes:
    """A speech track for the request: 16 kHz mono FLAC.

    samples: [n]. FLAC ends at full scale: a louder track is scaled down to fit, which the model
    does not notice, because its own preparation sets the variance to one.
    """
    import numpy as np

    peak = np.float32(max(1.0, float(max(samples.max(), -samples.min()))))
    starts = range(0, len(samples), MODEL_RATE_HZ)
    blocks = (samples[start : start + MODEL_RATE_HZ] / peak for start in starts)
    return to_flac(blocks, MODEL_RATE_HZ, 1, bits)


def to_flac(blocks: Iterable[NDArray[np.float32]], rate_hz: int, channels: int, bits: int) -> bytes:
    """Sound as FLAC of 16 or 24 bits, without loss for what came from integers.

    blocks: [n, channels] or [n], full scale 1. Call it in a thread of its own where Ctrl-C matters:
    the library calls back, and an interrupt in there is lost.
    """
    import soundfile

    store = io.BytesIO()
    with soundfile.SoundFile(
        store, "w", rate_hz, channels, subtype=f"PCM_{bits}", format="FLAC"
    ) as file:
        for block in blocks:
            file.write(to_integers(block, bits))
    return store.getvalue()


def to_integers(block: NDArray[np.float32], bits: int) -> NDArray[np.int16] | NDArray[np.int32]:
    """Samples as the integers that a 16 or 24 bit FLAC keeps; exact for those that came from it.

    libsndfile's own conversion scales by 32767 and would change every sample.
    """
    import numpy as np

    full = float(1 << (bits - 1))
    scaled = np.clip(np.rint(block.astype(np.float64) * full), -full, full - 1)
    if bits == 16:
        return scaled.astype(np.int16)
    # libsndfile takes the upper 24 of 32 bits.
    return scaled.astype(np.int32) << 8


def decode_speech(data: bytes) -> NDArray[np.float32]:
    """The samples of a request's speech track, [n] float32.

    Raises FileError (E_AUDIO_FORMAT, E_AUDIO_BROKEN) unless it is 16 kHz mono FLAC or WAV of a
    length that the contract allows.
    """
    import numpy as np
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            if (file.samplerate, file.channels) != (MODEL_RATE_HZ, 1):
                seen = f"{file.samplerate} Hz with {file.channels} channels"
                raise FileError(f"speech must be 16000 Hz mono, not {seen}", code="E_AUDIO_FORMAT")
            if not 0 < file.frames <= MAX_SPEECH_S * MODEL_RATE_HZ:
                raise FileError(f"speech of {file.frames} samples", code="E_AUDIO_LENGTH")
            samples: NDArray[np.float32] = file.read(dtype="float32")
            complete = len(samples) == file.frames
    except soundfile.LibsndfileError as error:
        raise FileError(
            f"speech cannot be decoded: {error.error_string}", code="E_AUDIO_BROKEN"
        ) from error
    if not complete or not np.isfinite(samples).all():
        raise FileError("speech is damaged", code="E_AUDIO_BROKEN")
    return samples


def _check_claim(path: Path, sound: Sound) -> None:
    if sound.samples is not None:
        _check_length(path, sound.samples / sound.rate_hz)


def _check_length(path: Path, duration_s: float, *, more: str = "") -> None:
    if duration_s < MIN_SPEECH_S:
        expected = f"at least {MIN_SPEECH_S} s are needed"
    elif duration_s > MAX_SPEECH_S:
        expected = f"at most {MAX_SPEECH_S / 60:.0f} minutes can be made"
    else:
        return
    raise FileError(
        f"{shown_path(path)} lasts {more}{duration_s:.2f} s; {expected}", code="E_AUDIO_LENGTH"
    )


def _listen(sound: Sound, *, channel: int | None = None) -> _Heard:
    """One pass: levels, clipping, and the speech at 16 kHz.

    channel: the one to take as the speech; None for the mean of all.
    """
    import numpy as np
    import soxr

    heard = _Heard(peaks=[0.0] * sound.channels)
    resampler = soxr.ResampleStream(sound.rate_hz, MODEL_RATE_HZ, 1, dtype="float32", quality="HQ")
    for block in sound.blocks():
        # One row a channel: numpy reduces rows many times faster than columns.
        rows = np.ascontiguousarray(block.T)
        _check_block(sound, heard, rows)
        mono = rows.mean(axis=0) if channel is None else rows[channel]
        heard.speech += resampler.resample_chunk(mono).tobytes()
    heard.complaint = sound.complaint
    if heard.samples:
        empty = np.zeros(0, dtype=np.float32)
        heard.speech += resampler.resample_chunk(empty, last=True).tobytes()
    return heard


def _check_block(sound: Sound, heard: _Heard, rows: NDArray[np.float32]) -> None:
    import numpy as np

    heard.samples += rows.shape[1]
    if heard.samples > MAX_SPEECH_S * sound.rate_hz:
        _check_length(sound.path, heard.samples / sound.rate_hz, more="over ")
    levels = np.maximum(rows.max(axis=1), -rows.min(axis=1))
    heard.peaks = [max(before, float(now)) for before, now in zip(heard.peaks, levels, strict=True)]
    if heard.peak > _MAX_PEAK:
        raise broken(sound.path, f"reaches {heard.peak:.0f} times full scale")
    if heard.peak >= _CLIPPED_LEVEL:
        heard.clipped += _clipped_places(rows)


def _clipped_places(rows: NDArray[np.float32]) -> int:
    """How many times a channel stays at one value at full scale for three samples."""
    import numpy as np

    same = rows[:, 1:] == rows[:, :-1]
    flat = (np.abs(rows[:, :-2]) >= _CLIPPED_LEVEL) & same[:, :-1] & same[:, 1:]
    starts = flat[:, 1:] & ~flat[:, :-1]
    return int(starts.sum()) + int(flat[:, :1].sum())


def _check_heard(path: Path, heard: _Heard, rate_hz: int) -> None:
    duration_s = heard.samples / rate_hz
    if heard.samples == 0:
        raise broken(path, "holds no samples")
    _check_length(path, duration_s)
    level = dbfs(heard.peak)
    if level < SILENT_DBFS:
        seen = "no signal at all" if heard.peak == 0 else f"peak {level:.0f} dBFS"
        raise FileError(
            f"{shown_path(path)} is silent ({seen} over {duration_s:.1f} s)",
            code="E_AUDIO_SILENT",
            hint=f"A talking video needs a voice above {SILENT_DBFS:.0f} dBFS. "
            "Was the right channel recorded?",
        )


def _loudest_channel(path: Path, heard: _Heard) -> tuple[_Heard, tuple[str, ...]]:
    """Listens again to one channel, where the mean of all cancels out."""
    loudest = heard.peaks.index(heard.peak)
    with open_sound(path) as sound:
        again = _listen(sound, channel=loudest)
    return again, (
        f"the channels of {shown_path(path)} cancel each other out: the model hears channel "
        f"{loudest + 1} alone",
    )


def _as_speech(heard: _Heard, rate_hz: int) -> NDArray[np.float32]:
    """The resampled bytes as [n] float32 of the length that the source has, rounded down.

    Rounded down, the speech never reaches into a video frame that the source does not reach.
    """
    import numpy as np

    speech = np.frombuffer(heard.speech, dtype=np.float32)
    wanted = heard.samples * MODEL_RATE_HZ // rate_hz
    if len(speech) < wanted:
        speech = np.concatenate([speech, np.zeros(wanted - len(speech), np.float32)])
    speech = speech[:wanted]
    speech.flags.writeable = False
    return speech


def _peak(speech: bytearray) -> float:
    import numpy as np

    samples = np.frombuffer(speech, dtype=np.float32)
    return float(max(samples.max(), -samples.min())) if len(samples) else 0.0


def _warnings(path: Path, heard: _Heard, channels: int) -> tuple[str, ...]:
    found = []
    if heard.clipped >= _CLIPPED_PLACES:
        found.append(
            f"{shown_path(path)} clips in {heard.clipped} places: it was recorded too loud"
        )
    if heard.complaint:
        found.append(f"parts of {shown_path(path)} could not be decoded ({heard.complaint})")
    if channels > 1 and min(heard.peaks) < heard.peak * 1e-3 and heard.peak > 0:
        silent = [str(n + 1) for n, peak in enumerate(heard.peaks) if peak < heard.peak * 1e-3]
        found.append(f"{shown_path(path)} is silent in channel {', '.join(silent)} of {channels}")
    return tuple(found)


def _sha256(path: Path) -> str:
    with open_input(path) as file:
        return sha256_of(file)
