"""A voice: a recording, read and checked, with its speech track for the model."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from multitalk_cli.contract import MAX_SPEECH_S, MIN_SPEECH_S, MODEL_RATE_HZ
from multitalk_cli.errors import FileError, UsageError
from multitalk_cli.files import open_input, sha256_of, shown_path
from multitalk_cli.media.audio.decode import (
    FRAME_S,
    Sound,
    Source,
    choose_track,
    find_source,
    open_sound,
)
from multitalk_cli.media.audio.layout import broken
from multitalk_cli.media.audio.loudness import measure_lufs
from multitalk_cli.media.audio.speech import (
    LEVELS_PER_S,
    has_two_speakers,
    is_steady,
    speech_levels,
    speech_span_s,
)
from multitalk_cli.media.audio.streams import describe_tracks
from multitalk_cli.reporting.formatting import shell_word

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SILENT_DBFS = -50.0
# The level of digital silence: a number that JSON can hold, below that of any sound.
FLOOR_DBFS = -120.0
# 40 dB above full scale: integers were saved as floats.
_MAX_PEAK = 100.0
_CLIPPED_LEVEL, _CLIPPED_PLACES = 0.98, 5
# A voice of common level peaks at -12 to 0 dBFS.
_QUIET_DBFS, _LOUD_DBFS = -36.0, -3.0
_CANCELS_DB = -12.0
_UNREADABLE = ("E_AUDIO_FORMAT", "E_AUDIO_BROKEN")
# A codec's own delay and padding.
_CODEC_SLACK_S = 0.06


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Voice:
    """One recording, or a part of it.

    source: how its file is read. first, samples: the part's place and length at its own rate.
    peak_dbfs: the highest sample of any channel, at least FLOOR_DBFS. loudness_lufs: of `speech`;
    None below 0.4 s or if it cannot be measured. speech: [n] float32, 16 kHz, the mean of the
    channels, read-only. bits: 16 or 24, enough to keep the samples without loss. speaks_s: from
    when to when somebody speaks, if that stands out. adjusted, warnings: sentences for the report.
    """

    path: Path
    source: Source
    sha256: str
    format: str
    rate_hz: int
    channels: int
    bits: int
    first: int
    samples: int
    peak_dbfs: float
    loudness_lufs: float | None
    speech: NDArray[np.float32]
    speaks_s: tuple[float, float] | None
    adjusted: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def duration_s(self) -> float:
        """Duration of the recording."""
        return self.samples / self.rate_hz


@dataclass(slots=True)
class _Scan:
    """The findings of one pass over the samples.

    peaks: of each channel. clipped: the number of clipped places. complaints: of the decoder.
    damaged: parts with a wrong checksum. speech: float32 at 16 kHz, as bytes. powers: mean squares
    of each channel and of their mean, 20 times a second.
    """

    path: Path
    format: str
    rate_hz: int
    channels: int
    bits: int
    samples: int = 0
    peaks: list[float] = field(default_factory=list)
    clipped: int = 0
    complaints: int = 0
    damaged: int = 0
    speech: bytearray = field(default_factory=bytearray)
    powers: list[NDArray[np.float32]] = field(default_factory=list)

    @property
    def peak(self) -> float:
        return max(self.peaks, default=0.0)

    @property
    def duration_s(self) -> float:
        return self.samples / self.rate_hz


def load_voice(path: Path, *, audio_track: int | None = None, frame_s: float = FRAME_S) -> Voice:
    """Reads and checks a recording, block by block: the original is never held whole.

    audio_track: of a file with several, from 1; None for the first with a voice. frame_s: the
    duration of a frame of the video: shorter differences of lengths are not worth a word.
    Raises UsageError (E_URL for a web address, E_RANGE for a track that is not there), and
    FileError for a file that is no sound, damaged, silent, shorter than 0.2 s or longer than
    30 min.
    """
    source, scan, notes = _chosen_track(find_source(path, frame_s=frame_s), audio_track, frame_s)
    _check_scan(path, scan)
    adjusted = [*source.adjusted, *notes.adjusted]
    if _cancels_out(scan):
        loudest = scan.peaks.index(scan.peak)
        with open_sound(source) as again:
            scan = _scanned(again, channel=loudest)
        adjusted.append(
            f"the channels of {shown_path(path)} cancel each other out: "
            f"only channel {loudest + 1} is used as the speech"
        )
    speech = _as_speech(scan)
    levels = speech_levels(speech)
    with open_input(path) as file:
        sha256 = sha256_of(file)
    return Voice(
        path=path,
        source=source,
        sha256=sha256,
        format=scan.format,
        rate_hz=scan.rate_hz,
        channels=scan.channels,
        bits=scan.bits,
        first=0,
        samples=scan.samples,
        peak_dbfs=dbfs(scan.peak),
        loudness_lufs=measure_lufs(speech, MODEL_RATE_HZ),
        speech=speech,
        speaks_s=speech_span_s(levels),
        adjusted=tuple(adjusted),
        warnings=(
            *source.warnings,
            *notes.warnings,
            *_losses(source, scan, frame_s),
            *_warnings(path, scan, is_steady(levels)),
        ),
    )


@dataclass(slots=True)
class _Notes:
    """Sentences for the report."""

    adjusted: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def _chosen_track(
    source: Source, wanted: int | None, frame_s: float
) -> tuple[Source, _Scan, _Notes]:
    """The track to use, read: the one wanted, or the first in which somebody speaks."""
    notes, name, count = _Notes(), shown_path(source.path), max(1, len(source.tracks))
    if wanted is not None and (count > 1 or wanted == 1):
        if wanted > count:
            raise UsageError(
                f"--audio-track {wanted}: {name} has {count} sound tracks",
                code="E_RANGE",
                facts={"option": "--audio-track", "example": count},
            )
        return *_scan_source(choose_track(source, wanted - 1, frame_s=frame_s)), notes
    if wanted is not None:
        notes.adjusted.append(f"{name} has one sound track: --audio-track is not used for it")
    if count == 1:
        return *_scan_source(source), notes
    used, scan = _first_with_a_voice(source, frame_s, notes)
    notes.warnings.append(
        f"{name} has {count} sound tracks: {describe_tracks(source.tracks)}; "
        f"track {used.track + 1} is used, --audio-track N chooses another"
    )
    return used, scan, notes


def _first_with_a_voice(source: Source, frame_s: float, notes: _Notes) -> tuple[Source, _Scan]:
    """The first track in which somebody speaks; without one the first that is not silent."""
    name, count = shown_path(source.path), len(source.tracks)
    seen: list[tuple[Source, _Scan]] = []
    unread: list[str] = []
    for number in range(count):
        try:
            used, scan = _scan_source(choose_track(source, number, frame_s=frame_s))
        except FileError as error:
            if error.code not in _UNREADABLE or (number == count - 1 and not seen):
                raise
            unread.append(f"sound track {number + 1} of {name} cannot be decoded")
            continue
        seen.append((used, scan))
        is_silent = dbfs(scan.peak) < SILENT_DBFS
        if not is_silent and not is_steady(speech_levels(_as_speech(scan))):
            notes.adjusted += unread
            return used, scan
        notes.adjusted.append(
            f"sound track {number + 1} of {name} is {'silent' if is_silent else 'no speech'}"
        )
    notes.adjusted[:] = unread
    return next((each for each in seen if dbfs(each[1].peak) >= SILENT_DBFS), seen[-1])


def _scan_source(source: Source) -> tuple[Source, _Scan]:
    """Reads a sound by the first reader that can, to its end."""
    try:
        with open_sound(source) as sound:
            if sound.samples is not None:
                _check_length(source.path, sound.samples / sound.rate_hz)
            return source, _scanned(sound)
    except FileError as error:
        if error.code != "E_AUDIO_BROKEN" or source.other_reader is None:
            raise
    return _scan_source(source.other_reader)


def _cancels_out(scan: _Scan) -> bool:
    """Whether far less is left of the channels in their mean than chance would leave."""
    if dbfs(_peak(scan.speech)) < SILENT_DBFS:
        return True
    if scan.channels == 1 or not scan.powers:
        return False
    import numpy as np

    *each, mean = np.concatenate(scan.powers).sum(axis=0).tolist()
    # The mean of n channels of which one sounds is 1 / n of it, and nothing is wrong with that.
    expected = min(1.0, 2 / scan.channels) ** 2
    return bool(mean < max(each) * expected * 10 ** (_CANCELS_DB / 10))


def _lost_s(source: Source, scan: _Scan, frame_s: float) -> float:
    """The time that the packets claim and the samples do not have; 0 below a frame of a video."""
    if source.expected_s is None or source.fills:
        return 0.0
    lost_s = source.expected_s - scan.duration_s
    return lost_s if lost_s > max(frame_s, FRAME_S) + _CODEC_SLACK_S else 0.0


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

    scan = _Scan(
        path=sound.path,
        format=sound.format,
        rate_hz=sound.rate_hz,
        channels=sound.channels,
        bits=sound.bits,
        peaks=[0.0] * sound.channels,
    )
    resampler = soxr.ResampleStream(sound.rate_hz, MODEL_RATE_HZ, 1, dtype="float32", quality="HQ")
    rest = np.zeros((sound.channels + 1, 0), np.float32)
    for block in sound.blocks():
        # One row a channel: numpy reduces rows many times faster than columns.
        rows = np.ascontiguousarray(block.T)
        _check_block(scan, rows)
        mono = rows.mean(axis=0) if channel is None else rows[channel]
        if sound.channels > 1:
            rest = _add_powers(scan, np.concatenate([rest, np.vstack([rows, mono])], axis=1))
        scan.speech += resampler.resample_chunk(mono).tobytes()
    scan.complaints, scan.damaged = sound.complaints, sound.damaged
    if scan.samples:
        empty = np.zeros(0, dtype=np.float32)
        scan.speech += resampler.resample_chunk(empty, last=True).tobytes()
    return scan


def _add_powers(scan: _Scan, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Adds the mean squares of whole twentieths of a second; returns the samples behind them."""
    import numpy as np

    step = scan.rate_hz // LEVELS_PER_S
    count = rows.shape[1] // step
    parts = rows[:, : count * step].reshape(len(rows), count, step)
    scan.powers.append(np.einsum("rcs,rcs->cr", parts, parts) / np.float32(step))
    return rows[:, count * step :]


def _check_block(scan: _Scan, rows: NDArray[np.float32]) -> None:
    import numpy as np

    scan.samples += rows.shape[1]
    if scan.samples > MAX_SPEECH_S * scan.rate_hz:
        _check_length(scan.path, scan.duration_s, more="over ")
    levels = np.maximum(rows.max(axis=1), -rows.min(axis=1))
    scan.peaks = [max(before, float(now)) for before, now in zip(scan.peaks, levels, strict=True)]
    if scan.peak > _MAX_PEAK:
        raise broken(scan.path, f"reaches {scan.peak:.0f} times full scale")
    if scan.peak >= _CLIPPED_LEVEL:
        scan.clipped += _clipped_places(rows)


def _clipped_places(rows: NDArray[np.float32]) -> int:
    """Counts how often a channel stays at one value at full scale for three samples."""
    import numpy as np

    same = rows[:, 1:] == rows[:, :-1]
    flat = (np.abs(rows[:, :-2]) >= _CLIPPED_LEVEL) & same[:, :-1] & same[:, 1:]
    starts = flat[:, 1:] & ~flat[:, :-1]
    return int(starts.sum()) + int(flat[:, :1].sum())


def _check_scan(path: Path, scan: _Scan) -> None:
    duration_s = scan.duration_s
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


def _as_speech(scan: _Scan) -> NDArray[np.float32]:
    """The resampled bytes as [n] float32, as long as the source, rounded down.

    Rounded down, the speech never reaches into a video frame that the source does not reach.
    """
    import numpy as np

    speech = np.frombuffer(scan.speech, dtype=np.float32)
    wanted = scan.samples * MODEL_RATE_HZ // scan.rate_hz
    if len(speech) < wanted:
        speech = np.concatenate([speech, np.zeros(wanted - len(speech), np.float32)])
    speech = speech[:wanted]
    speech.flags.writeable = False
    return speech


def _peak(speech: bytearray) -> float:
    import numpy as np

    samples = np.frombuffer(speech, dtype=np.float32)
    return float(max(samples.max(), -samples.min())) if len(samples) else 0.0


def _losses(source: Source, scan: _Scan, frame_s: float) -> tuple[str, ...]:
    """What of the sound is damaged or missing, unless its layout says that."""
    name, lost_s = shown_path(source.path), _lost_s(source, scan, frame_s)
    if lost_s:
        return (f"{lost_s:.1f} s of {name} could not be decoded: they are missing",)
    if source.layout.is_damaged or not scan.complaints:
        return ()
    if not scan.damaged:
        return (f"parts of {name} could not be decoded",)
    parts = "1 damaged part" if scan.damaged == 1 else f"{scan.damaged} damaged parts"
    instead = "silent" if source.fills else "likely to sound wrong"
    are = "is" if scan.damaged == 1 else "are"
    return (f"{parts} of {name} (wrong checksum) {are} {instead}",)


def _warnings(path: Path, scan: _Scan, has_no_speech: bool) -> tuple[str, ...]:
    found, name = [], shown_path(path)
    if scan.clipped >= _CLIPPED_PLACES:
        found.append(f"{name} clips in {scan.clipped} places: it was recorded too loud")
    if scan.channels > 1 and min(scan.peaks) < scan.peak * 1e-3 and scan.peak > 0:
        silent = [str(n + 1) for n, peak in enumerate(scan.peaks) if peak < scan.peak * 1e-3]
        found.append(f"{name} is silent in channel {', '.join(silent)} of {scan.channels}")
    level = dbfs(scan.peak)
    if level < _QUIET_DBFS:
        found.append(
            f"{name} is very quiet (peak {level:.0f} dBFS): it will hardly be heard in the video; "
            f"louder:\nmultitalk ffmpeg -i {shell_word(name)} "
            f"-af volume={_LOUD_DBFS - level:.0f}dB louder.wav"
        )
    if has_no_speech:
        found.append(f"no speech in {name}: its level hardly changes (hum, noise, a tone?)")
    elif scan.channels == 2 and scan.powers and _has_two_speakers(scan):
        found.append(
            f"{name} has a speaker on each channel, and both move the same mouth; to split them:\n"
            f"multitalk ffmpeg -i {shell_word(name)} -filter_complex 'channelsplit[a][b]' "
            "-map '[a]' first.wav -map '[b]' second.wav"
        )
    return tuple(found)


def _has_two_speakers(scan: _Scan) -> bool:
    import numpy as np

    return has_two_speakers(np.concatenate(scan.powers)[:, :2])
