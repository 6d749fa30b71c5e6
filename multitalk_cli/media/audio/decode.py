"""Any sound file as blocks of float32, at its own rate and with its own channels."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from multitalk_cli.contract import MAX_SPEECH_S
from multitalk_cli.errors import FileError, MultitalkError
from multitalk_cli.files import open_input, shown_path
from multitalk_cli.media.audio import kinds, streams
from multitalk_cli.media.audio.layout import Layout, broken, read_layout
from multitalk_cli.media.audio.plain import PlainDecoder, PlainSamples
from multitalk_cli.media.audio.window import Window
from multitalk_cli.media.video import ffmpeg

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_CHANNELS = 8
MIN_RATE_HZ, MAX_RATE_HZ = 2_000, 768_000
FRAME_S = 1 / 25
"""A difference of lengths below one frame of a video is not worth a word."""

_NO_DECODER = re.compile("no decoder found(?: for: (\\w*))?", re.IGNORECASE)
_BLOCK_VALUES = 1 << 18
# As long as a usual frame of FLAC is: silence takes the place of a damaged one, also of the last.
_FRAME_SAMPLES = 4_608
# ffmpeg's reader of MP3 is used: libsndfile's prints on standard error.
_BY_LIBSNDFILE = {"wav", "w64", "aiff", "au", "caf", "flac", "ogg"}
# Kinds whose parts have checksums, and how ffmpeg is told to compare them. Of the first ones, whose
# parts are numbered, a damaged one is left out, and silence fills its place.
_MUTED = {"flac", "wv"}
_CHECKS = {
    **dict.fromkeys(_MUTED, ("-err_detect", "crccheck+explode")),
    **dict.fromkeys(("tta", "ac3", "eac3"), ("-err_detect", "crccheck")),
}
_WIDTHS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "ULAW": 16, "ALAW": 16}


class _Decoder(Protocol):
    """A source of blocks.

    complaints: after the last, how often the decoder complained. damaged: parts with a wrong
    checksum.
    """

    complaints: int
    damaged: int

    def read(self) -> NDArray[np.float32]:
        """The next block, [n, channels]; empty at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A sound file, and how it is read: always the same way.

    tracks: the sound tracks of a container; empty for other files. track: the index of the one that
    is read. fills: whether silence is filled in where no sound is, also before its first.
    expected_s: the length that its packets claim, if known. by_libsndfile: the reader; ffmpeg if
    False. adjusted, warnings: sentences for the report.
    """

    path: Path
    layout: Layout
    tracks: tuple[streams.Track, ...] = ()
    track: int = 0
    fills: bool = False
    expected_s: float | None = None
    by_libsndfile: bool = False
    adjusted: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def other_reader(self) -> Source | None:
        """This sound by ffmpeg, if libsndfile is to read it."""
        if not self.by_libsndfile:
            return None
        # Frames of FLAC are numbered, so that a damaged one leaves a gap and no more.
        return replace(self, by_libsndfile=False, fills=self.layout.kind in _MUTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """An open sound: the figures of its header, and its samples in order, once.

    samples: the length that the header claims, if any. bits: 16 or 24, enough to keep a sample
    without loss.
    """

    path: Path
    format: str
    rate_hz: int
    channels: int
    bits: int
    samples: int | None
    _decoder: _Decoder

    @property
    def complaints(self) -> int:
        """After the last block: how often the decoder complained."""
        return self._decoder.complaints

    @property
    def damaged(self) -> int:
        """After the last block: how many parts have a wrong checksum."""
        return self._decoder.damaged

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Blocks [n, channels], full scale 1, each of about a megabyte.

        Raises FileError (E_AUDIO_BROKEN) if the sound cannot be decoded, holds NaN or infinite
        samples, or is shorter than its header claims.
        """
        import numpy as np

        seen = 0
        while len(block := self._decoder.read()):
            if not np.isfinite(block).all():
                raise broken(self.path, "holds NaN or infinite samples")
            seen += len(block)
            yield block
        missing = 0 if self.samples is None else self.samples - seen
        if self.damaged and 0 < missing <= _FRAME_SAMPLES:
            seen += missing
            yield np.zeros((missing, self.channels), np.float32)
        if self.samples is not None and seen < self.samples:
            claimed_s, seen_s = self.samples / self.rate_hz, seen / self.rate_hz
            raise broken(
                self.path,
                f"is cut off: its header claims {claimed_s:.1f} s, it holds {seen_s:.1f} s",
            )


def looks_like_sound(path: Path) -> bool:
    """Whether the first bytes are those of a sound, or of a film that may have one."""
    try:
        with open_input(path) as file:
            return kinds.find_sound(Window(file))[0] in kinds.DEMUXERS
    except MultitalkError:
        return False


def find_source(path: Path, *, frame_s: float = FRAME_S) -> Source:
    """How a file is read: its first track, by its first reader.

    frame_s: a shorter gap between packets is none.
    Raises UsageError (E_URL) for a web address, FileError for a file that is no sound.
    """
    with open_input(path) as file:
        layout = read_layout(path, file)
    by_libsndfile = layout.kind in _BY_LIBSNDFILE and layout.is_plain
    source = Source(
        path=path,
        layout=layout,
        by_libsndfile=by_libsndfile,
        fills=layout.is_damaged or (layout.kind in _MUTED and not by_libsndfile),
        adjusted=layout.adjusted,
        warnings=layout.warnings,
    )
    if layout.gaps_s:
        gaps = _filled_gaps(layout.gaps_s, path)
        return replace(source, fills=True, adjusted=(*source.adjusted, gaps))
    if layout.kind not in streams.WITH_TRACKS or len(layout.spans) > 1:
        return source
    tracks = streams.read_tracks(_inputs(source), has_clock=layout.has_clock, tolerance_s=frame_s)
    return choose_track(replace(source, tracks=tuple(tracks)), 0, frame_s=frame_s)


def choose_track(source: Source, number: int, *, frame_s: float = FRAME_S) -> Source:
    """The source with another of its tracks, from 0, and what is odd about its times."""
    if not source.tracks:
        return source
    track, name = source.tracks[number], shown_path(source.path)
    starts_late = track.start_s > frame_s
    silence_s = (track.start_s if starts_late else 0) + track.gaps_s
    adjusted: list[str] = []
    warnings: list[str] = []
    is_odd = track.back_s > 0 or track.end_s + silence_s > MAX_SPEECH_S
    if silence_s and is_odd:
        warnings.append(
            f"the times in {name} jump by {human(silence_s)}: its sound is joined without gaps"
        )
    elif silence_s:
        if starts_late:
            adjusted.append(
                f"the sound of {name} starts at {human(track.start_s)}: silence is put before it"
            )
        if track.gaps_s:
            adjusted.append(_filled_gaps(track.gaps_s, source.path))
    fills = silence_s > 0 and not is_odd
    start_s = 0.0 if fills else max(0.0, track.start_s)
    return replace(
        source,
        track=number,
        fills=fills,
        expected_s=None if is_odd else track.end_s - start_s - (0 if fills else track.gaps_s),
        adjusted=(*source.layout.adjusted, *adjusted),
        warnings=(*source.layout.warnings, *warnings),
    )


def _filled_gaps(gaps_s: float, path: Path) -> str:
    return f"{human(gaps_s)} of {shown_path(path)} have no sound: filled with silence"


def human(seconds: float) -> str:
    """`2.0 s`."""
    return f"{seconds:.1f} s"


@contextmanager
def open_sound(source: Source) -> Iterator[Sound]:
    """The sound of a file, for the length of the block.

    Raises FileError for a file that is no readable sound.
    """
    if source.layout.plain is not None:
        with open_input(source.path) as file:
            yield _plain_sound(source, source.layout.plain, file)
        return
    if source.by_libsndfile:
        with open_input(source.path) as file, _opened_by_libsndfile(source, file) as sound:
            if sound is not None:
                yield sound
                return
    with _opened_by_ffmpeg(source) as sound:
        yield sound


def _check_shape(path: Path, rate_hz: int, channels: int) -> None:
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        allowed = f"{MIN_RATE_HZ} to {MAX_RATE_HZ} are supported"
        raise FileError(f"{shown_path(path)} has {rate_hz} Hz; {allowed}", code="E_AUDIO_FORMAT")
    if not 1 <= channels <= MAX_CHANNELS:
        allowed = f"1 to {MAX_CHANNELS} are supported"
        raise FileError(
            f"{shown_path(path)} has {channels} channels; {allowed}", code="E_AUDIO_FORMAT"
        )


@contextmanager
def _opened_by_libsndfile(source: Source, file: BinaryIO) -> Iterator[Sound | None]:
    """Yields None for a file that libsndfile does not read, so that ffmpeg can try."""
    import soundfile

    os.lseek(file.fileno(), 0, os.SEEK_SET)
    try:
        # By descriptor: neither the name's ending nor a change of the file behind it matters.
        opened = soundfile.SoundFile(file.fileno(), closefd=False)
    except soundfile.LibsndfileError:
        yield None
        return
    with opened:
        if opened.subtype.startswith("MPEG"):
            yield None
            return
        _check_shape(source.path, opened.samplerate, opened.channels)
        # Ogg counts in the pages of its streams, which a whole file may leave incomplete.
        is_unknown = opened.frames <= 0 or opened.frames > 1 << 40 or opened.format == "OGG"
        yield Sound(
            path=source.path,
            format=f"{opened.format} {opened.subtype}".lower(),
            rate_hz=opened.samplerate,
            channels=opened.channels,
            bits=16 if _WIDTHS.get(opened.subtype, 24) <= 16 else 24,
            samples=source.layout.samples if is_unknown else opened.frames,
            _decoder=_SndfileDecoder(source.path, opened),
        )


def _plain_sound(source: Source, plain: PlainSamples, file: BinaryIO) -> Sound:
    _check_shape(source.path, plain.rate_hz, plain.channels)
    return Sound(
        path=source.path,
        format=source.layout.kind,
        rate_hz=plain.rate_hz,
        channels=plain.channels,
        bits=16 if plain.bits <= 16 else 24,
        samples=plain.samples,
        _decoder=PlainDecoder(file, plain, _BLOCK_VALUES // plain.channels),
    )


class _SndfileDecoder:
    """Blocks out of libsndfile."""

    def __init__(self, path: Path, source: Any) -> None:
        self._path, self._source = path, source
        self.complaints = self.damaged = 0

    def read(self) -> NDArray[np.float32]:
        """The next block, [n, channels]; empty at the end."""
        import soundfile

        count = _BLOCK_VALUES // self._source.channels
        try:
            block: NDArray[np.float32] = self._source.read(count, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise broken(self._path, "cannot be decoded") from error
        return block


def _inputs(source: Source) -> list[str]:
    """The arguments that open each recording of a file."""
    kind = source.layout.kind
    demuxer = kinds.DEMUXERS[kind]
    whole = (0, source.layout.size)
    options = _CHECKS.get(kind, ())
    arguments = []
    for each in source.layout.spans:
        span = None if each == whole else each
        arguments += ffmpeg.read_from(source.path, demuxer, options=options, span=span)
    return arguments


@contextmanager
def _opened_by_ffmpeg(source: Source) -> Iterator[Sound]:
    # A WAV on a pipe: its header has the exact rate and channels, without parsing a log.
    clock = ["-copyts"] if source.fills and source.layout.has_clock else []
    arguments = [*clock, *_inputs(source), *_filters(source), "-vn", "-sn", "-dn"]
    arguments += ["-map_metadata", "-1", "-c:a", "pcm_f32le", "-bitexact", "-f", "wav", "pipe:1"]
    with ffmpeg.running(arguments, reads=True) as process:
        rate_hz, channels = _read_wav_header(source.path, process)
        _check_shape(source.path, rate_hz, channels)
        yield Sound(
            path=source.path,
            format=source.layout.kind,
            rate_hz=rate_hz,
            channels=channels,
            bits=24,
            samples=source.layout.samples,
            _decoder=_FfmpegDecoder(source, process, channels),
        )


def _filters(source: Source) -> list[str]:
    """The arguments that make one sound of the inputs."""
    count = len(source.layout.spans)
    if count > 1:
        pads = "".join(f"[{number}:a:0]" for number in range(count))
        return ["-filter_complex", f"{pads}concat=n={count}:v=0:a=1[joined]", "-map", "[joined]"]
    first = ":first_pts=0" if source.tracks else ""
    filled = ["-af", f"aresample=async=1{first}:min_hard_comp={FRAME_S}"]
    return ["-map", f"0:a:{source.track}", *(filled if source.fills else [])]


class _FfmpegDecoder:
    """Blocks out of ffmpeg's pipe."""

    def __init__(self, source: Source, process: ffmpeg.Running, channels: int) -> None:
        self._source, self._process, self._channels = source, process, channels
        self.complaints = self.damaged = 0

    def read(self) -> NDArray[np.float32]:
        """The next block, [n, channels]; empty at the end."""
        import numpy as np

        frame_bytes = 4 * self._channels
        data = self._process.read(_BLOCK_VALUES // self._channels * frame_bytes)
        if not data:
            self.complaints = len(_finish(self._source.path, self._process).splitlines())
            if self._source.layout.kind in _CHECKS:
                self.damaged = self._process.damaged_parts
        whole = len(data) - len(data) % frame_bytes
        return np.frombuffer(data[:whole], dtype="<f4").reshape(-1, self._channels)


def _finish(path: Path, process: ffmpeg.Running) -> str:
    """Waits for the end and returns the log; raises FileError for a failure."""
    try:
        return process.finish()
    except ffmpeg.FfmpegError as error:
        if "matches no streams" in error.log:
            raise FileError(f"{shown_path(path)} has no sound", code="E_AUDIO_NONE") from error
        missing = _NO_DECODER.search(error.log)
        if missing is not None:
            reason = "is protected, or of a kind that cannot be decoded"
            if missing[1] not in (None, "", "none"):
                reason = f"holds {missing[1]}, which cannot be decoded"
            raise FileError(f"{shown_path(path)} {reason}", code="E_AUDIO_FORMAT") from error
        raise broken(path, "cannot be decoded") from error


def _read_wav_header(path: Path, process: ffmpeg.Running) -> tuple[int, int]:
    """Reads up to the samples. Returns rate and channels."""
    rate_hz = channels = 0
    header = process.read(12)
    while len(header) == 12 or len(header) == 8:
        header = process.read(8)
        if len(header) < 8:
            break
        if header[:4] == b"data":
            return rate_hz, channels
        body = process.read(min(struct.unpack("<I", header[4:])[0], 1 << 16))
        if header[:4] == b"fmt ":
            channels, rate_hz = struct.unpack("<2xHI", body[:8])
    _finish(path, process)
    raise broken(path, "holds no sound that can be decoded")
