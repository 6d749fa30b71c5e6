"""A voice: a recording, read and checked, with its speech track for the model."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from multitalk_cli.contract import MAX_SPEECH_S, MIN_SPEECH_S, MODEL_RATE_HZ
from multitalk_cli.errors import FileError
from multitalk_cli.files import open_input, sha256_of, shown_path
from multitalk_cli.media.audio.decode import Sound, broken, open_sound
from multitalk_cli.media.audio.loudness import measure_lufs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SILENT_DBFS = -50.0
# The level of digital silence: a number that JSON can hold, below that of any sound.
FLOOR_DBFS = -120.0
# 40 dB above full scale: integers were saved as floats.
_MAX_PEAK = 100.0
_CLIPPED_LEVEL, _CLIPPED_PLACES = 0.98, 5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Voice:
    """One recording.

    samples: its length at its own rate. peak_dbfs: the highest sample of any channel, at least
    FLOOR_DBFS. loudness_lufs: of `speech`; None below 0.4 s or if it cannot be measured.
    speech: [n] float32, 16 kHz, the mean of the channels, read-only. bits: 16 or 24, enough to
    keep the samples without loss. adjusted, warnings: sentences for the report.
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
        """Duration of the recording."""
        return self.samples / self.rate_hz


@dataclass(slots=True)
class _Scan:
    """The findings of one pass over the samples.

    peaks: of each channel. clipped: the number of clipped places. speech: float32 at 16 kHz, as
    bytes.
    """

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

    Raises UsageError (E_URL) for a web address, and FileError for a file that is no sound, damaged,
    silent, shorter than 0.2 s or longer than 30 min.
    """
    with open_sound(path) as sound:
        if sound.samples is not None:
            _check_length(path, sound.samples / sound.rate_hz)
        scan = _scanned(sound)
    _check_scan(path, scan, sound.rate_hz)
    adjusted: tuple[str, ...] = ()
    if dbfs(_peak(scan.speech)) < SILENT_DBFS:
        loudest = scan.peaks.index(scan.peak)
        with open_sound(path) as again:
            scan = _scanned(again, channel=loudest)
        adjusted = (
            f"the channels of {shown_path(path)} cancel each other out: "
            f"only channel {loudest + 1} is used as the speech",
        )
    speech = _as_speech(scan, sound.rate_hz)
    with open_input(path) as file:
        sha256 = sha256_of(file)
    return Voice(
        path=path,
        sha256=sha256,
        format=sound.format,
        rate_hz=sound.rate_hz,
        channels=sound.channels,
        bits=sound.bits,
        samples=scan.samples,
        peak_dbfs=dbfs(scan.peak),
        loudness_lufs=measure_lufs(speech, MODEL_RATE_HZ),
        speech=speech,
        adjusted=adjusted,
        warnings=_warnings(path, scan, sound.channels),
    )


def dbfs(peak: float) -> float:
    """A peak, full scale 1, in dB; FLOOR_DBFS for silence."""
    return max(FLOOR_DBFS, 20 * math.log10(peak)) if peak > 0 else FLOOR_DBFS


def _check_length(path: Path, duration_s: float, *, more: str = "") -> None:
    if duration_s < MIN_SPEECH_S:
        expected = f"at least {MIN_SPEECH_S} s are needed"
    elif duration_s > MAX_SPEECH_S:
        expected = f"a video lasts at most {MAX_SPEECH_S / 60:.0f} minutes"
    else:
        return
    raise FileError(
        f"{shown_path(path)} lasts {more}{duration_s:.2f} s; {expected}", code="E_AUDIO_LENGTH"
    )


def _scanned(sound: Sound, *, channel: int | None = None) -> _Scan:
    """Reads the samples once: levels, clipping, and the speech at 16 kHz.

    channel: the one to use as the speech; None for the mean of all.
    """
    import numpy as np
    import soxr

    scan = _Scan(peaks=[0.0] * sound.channels)
    resampler = soxr.ResampleStream(sound.rate_hz, MODEL_RATE_HZ, 1, dtype="float32", quality="HQ")
    for block in sound.blocks():
        # One row a channel: numpy reduces rows many times faster than columns.
        rows = np.ascontiguousarray(block.T)
        _check_block(sound, scan, rows)
        mono = rows.mean(axis=0) if channel is None else rows[channel]
        scan.speech += resampler.resample_chunk(mono).tobytes()
    scan.complaint = sound.complaint
    if scan.samples:
        empty = np.zeros(0, dtype=np.float32)
        scan.speech += resampler.resample_chunk(empty, last=True).tobytes()
    return scan


def _check_block(sound: Sound, scan: _Scan, rows: NDArray[np.float32]) -> None:
    import numpy as np

    scan.samples += rows.shape[1]
    if scan.samples > MAX_SPEECH_S * sound.rate_hz:
        _check_length(sound.path, scan.samples / sound.rate_hz, more="over ")
    levels = np.maximum(rows.max(axis=1), -rows.min(axis=1))
    scan.peaks = [max(before, float(now)) for before, now in zip(scan.peaks, levels, strict=True)]
    if scan.peak > _MAX_PEAK:
        raise broken(sound.path, f"reaches {scan.peak:.0f} times full scale")
    if scan.peak >= _CLIPPED_LEVEL:
        scan.clipped += _clipped_places(rows)


def _clipped_places(rows: NDArray[np.float32]) -> int:
    """Counts how often a channel stays at one value at full scale for three samples."""
    import numpy as np

    same = rows[:, 1:] == rows[:, :-1]
    flat = (np.abs(rows[:, :-2]) >= _CLIPPED_LEVEL) & same[:, :-1] & same[:, 1:]
    starts = flat[:, 1:] & ~flat[:, :-1]
    return int(starts.sum()) + int(flat[:, :1].sum())


def _check_scan(path: Path, scan: _Scan, rate_hz: int) -> None:
    duration_s = scan.samples / rate_hz
    if scan.samples == 0:
        raise broken(path, "holds no samples")
    _check_length(path, duration_s)
    level = dbfs(scan.peak)
    if level < SILENT_DBFS:
        seen = "no signal at all" if scan.peak == 0 else f"peak {level:.0f} dBFS"
        raise FileError(
            f"{shown_path(path)} is silent ({seen} over {duration_s:.1f} s); "
            f"a voice must reach {SILENT_DBFS:.0f} dBFS",
            code="E_AUDIO_SILENT",
        )


def _as_speech(scan: _Scan, rate_hz: int) -> NDArray[np.float32]:
    """The resampled bytes as [n] float32, as long as the source, rounded down.

    Rounded down, the speech never reaches into a video frame that the source does not reach.
    """
    import numpy as np

    speech = np.frombuffer(scan.speech, dtype=np.float32)
    wanted = scan.samples * MODEL_RATE_HZ // rate_hz
    if len(speech) < wanted:
        speech = np.concatenate([speech, np.zeros(wanted - len(speech), np.float32)])
    speech = speech[:wanted]
    speech.flags.writeable = False
    return speech


def _peak(speech: bytearray) -> float:
    import numpy as np

    samples = np.frombuffer(speech, dtype=np.float32)
    return float(max(samples.max(), -samples.min())) if len(samples) else 0.0


def _warnings(path: Path, scan: _Scan, channels: int) -> tuple[str, ...]:
    found = []
    if scan.clipped >= _CLIPPED_PLACES:
        found.append(f"{shown_path(path)} clips in {scan.clipped} places: it was recorded too loud")
    if scan.complaint:
        found.append(f"parts of {shown_path(path)} could not be decoded ({scan.complaint})")
    if channels > 1 and min(scan.peaks) < scan.peak * 1e-3 and scan.peak > 0:
        silent = [str(n + 1) for n, peak in enumerate(scan.peaks) if peak < scan.peak * 1e-3]
        found.append(f"{shown_path(path)} is silent in channel {', '.join(silent)} of {channels}")
    return tuple(found)
