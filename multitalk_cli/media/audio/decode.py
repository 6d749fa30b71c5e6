"""Any sound file as blocks of float32, at its own rate and with its own channels."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from multitalk_cli.errors import FileError, MultitalkError
from multitalk_cli.files import open_input, read_head, shown_path
from multitalk_cli.media.audio import truncation
from multitalk_cli.media.video import ffmpeg

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_CHANNELS = 8
MIN_RATE_HZ, MAX_RATE_HZ = 2_000, 768_000
_BLOCK_VALUES = 1 << 18
# A container may lose its last few bytes without losing sound worth a word.
_TOLERATED_BYTES = 64
_DEMUXERS = {
    "wav": "wav",
    "w64": "w64",
    "aiff": "aiff",
    "au": "au",
    "caf": "caf",
    "flac": "flac",
    "ogg": "ogg",
    "mp3": "mp3",
    "aac": "aac",
    "mp4": "mov",
    "webm": "matroska",
}
# It reads mp3 as well, but with a library that prints on standard error.
_BY_LIBSNDFILE = {"wav", "w64", "aiff", "au", "caf", "flac", "ogg"}
_WIDTHS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "ULAW": 16, "ALAW": 16}


class _Decoder(Protocol):
    """A source of blocks. complaint: after the last, the decoder's remark on damaged parts."""

    complaint: str

    def read(self) -> NDArray[np.float32]:
        """The next block, [n, channels]; empty at the end."""


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
    def complaint(self) -> str:
        """After the last block: the decoder's remark on parts that it could not decode."""
        return self._decoder.complaint

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
        if self.samples is not None and seen < self.samples:
            claimed_s, seen_s = self.samples / self.rate_hz, seen / self.rate_hz
            raise broken(
                self.path,
                f"is cut off: its header claims {claimed_s:.1f} s, it holds {seen_s:.1f} s",
            )


def broken(path: Path, reason: str) -> FileError:
    """The error for damaged sound."""
    return FileError(f"{shown_path(path)} {reason}", code="E_AUDIO_BROKEN")


def looks_like_sound(path: Path) -> bool:
    """Whether the first bytes are those of a sound, or of a film that may have one."""
    try:
        with open_input(path) as file:
            return truncation.sound_kind(read_head(file)) in _DEMUXERS
    except MultitalkError:
        return False


@contextmanager
def open_sound(path: Path) -> Iterator[Sound]:
    """The sound of a file, for the length of the block.

    Raises UsageError (E_URL) for a web address, FileError for a file that is no readable sound.
    """
    with open_input(path) as file:
        kind = _sound_kind(path, file)
        missing = truncation.missing_bytes(file, kind)
        if missing > _TOLERATED_BYTES:
            raise broken(path, f"is cut off: {missing} bytes are missing at its end")
        if kind in _BY_LIBSNDFILE:
            with _opened_by_libsndfile(path, file) as sound:
                if sound is not None:
                    yield sound
                    return
        with _opened_by_ffmpeg(path, kind) as sound:
            yield sound


def _sound_kind(path: Path, file: BinaryIO) -> str:
    kind = truncation.sound_kind(read_head(file))
    if kind in _DEMUXERS:
        return kind
    what = {"picture": "is a picture", "playlist": "is a playlist"}.get(kind, "is not a sound")
    raise FileError(f"{shown_path(path)} {what}, not a recording", code="E_AUDIO_FORMAT")


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
def _opened_by_libsndfile(path: Path, file: BinaryIO) -> Iterator[Sound | None]:
    """Yields None for a file that libsndfile does not read, so that ffmpeg can try."""
    import soundfile

    os.lseek(file.fileno(), 0, os.SEEK_SET)
    try:
        # By descriptor: neither the name's ending nor a change of the file behind it matters.
        source = soundfile.SoundFile(file.fileno(), closefd=False)
    except soundfile.LibsndfileError:
        yield None
        return
    with source:
        if source.subtype.startswith("MPEG"):
            yield None
            return
        _check_shape(path, source.samplerate, source.channels)
        # Ogg counts in the pages of its streams, which a whole file may leave incomplete.
        is_unknown = source.frames <= 0 or source.frames > 1 << 40 or source.format == "OGG"
        yield Sound(
            path=path,
            format=f"{source.format} {source.subtype}".lower(),
            rate_hz=source.samplerate,
            channels=source.channels,
            bits=16 if _WIDTHS.get(source.subtype, 24) <= 16 else 24,
            samples=None if is_unknown else source.frames,
            _decoder=_SndfileDecoder(path, source),
        )


class _SndfileDecoder:
    """Blocks out of libsndfile."""

    def __init__(self, path: Path, source: Any) -> None:
        self._path, self._source = path, source
        self.complaint = ""

    def read(self) -> NDArray[np.float32]:
        """The next block, [n, channels]; empty at the end."""
        import soundfile

        count = _BLOCK_VALUES // self._source.channels
        try:
            block: NDArray[np.float32] = self._source.read(count, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise broken(self._path, f"cannot be decoded: {error.error_string}") from error
        return block


@contextmanager
def _opened_by_ffmpeg(path: Path, kind: str) -> Iterator[Sound]:
    # A WAV on a pipe: its header has the exact rate and channels, without parsing a log.
    arguments = [*ffmpeg.read_from(path, _DEMUXERS[kind]), "-map", "0:a:0", "-vn", "-sn", "-dn"]
    arguments += ["-map_metadata", "-1", "-c:a", "pcm_f32le", "-bitexact", "-f", "wav", "pipe:1"]
    with ffmpeg.running(arguments, reads=True) as process:
        rate_hz, channels = _read_wav_header(path, process)
        _check_shape(path, rate_hz, channels)
        yield Sound(
            path=path,
            format=kind,
            rate_hz=rate_hz,
            channels=channels,
            bits=24,
            samples=None,
            _decoder=_FfmpegDecoder(path, process, channels),
        )


class _FfmpegDecoder:
    """Blocks out of ffmpeg's pipe."""

    def __init__(self, path: Path, process: ffmpeg.Running, channels: int) -> None:
        self._path, self._process, self._channels = path, process, channels
        self.complaint = ""

    def read(self) -> NDArray[np.float32]:
        """The next block, [n, channels]; empty at the end."""
        import numpy as np

        frame_bytes = 4 * self._channels
        data = self._process.read(_BLOCK_VALUES // self._channels * frame_bytes)
        if not data:
            self.complaint = _finish(self._path, self._process)
        whole = len(data) - len(data) % frame_bytes
        return np.frombuffer(data[:whole], dtype="<f4").reshape(-1, self._channels)


def _finish(path: Path, process: ffmpeg.Running) -> str:
    """Waits for the end and returns the last line of the log; raises FileError for a failure."""
    try:
        return ffmpeg.last_line(process.finish())
    except ffmpeg.FfmpegError as error:
        if "matches no streams" in error.log:
            raise FileError(f"{shown_path(path)} has no sound", code="E_AUDIO_NONE") from error
        raise broken(path, f"cannot be decoded: {error.last_line}") from error


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
