"""The properties of an MP4: size, frame rate, length, sound and colour tags."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from multitalk_cli.errors import FileError
from multitalk_cli.files import open_input, shown_path
from multitalk_cli.media.file_types import kind_of
from multitalk_cli.media.video.mp4_boxes import BoxError, child, children, read_moov, unpack

_HEAD_BYTES = 4096
_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"uuid")


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoInfo:
    """The properties of an MP4, from its index.

    fps is exact, 0 if frames differ in length. color: primaries, transfer, matrix and whether the
    range is full, as numbered in ISO 23091-2; None if untagged. audio_duration_s: as played,
    without the encoder's padding; None without sound. movie_ticks: a second on the file's clock.
    """

    width: int
    height: int
    fps: Fraction
    frames: int
    duration_s: float
    has_audio: bool
    audio_duration_s: float | None
    audio_rate_hz: int | None
    audio_channels: int | None
    pix_fmt: str
    color: tuple[int, int, int, bool] | None
    faststart: bool
    movie_ticks: int

    @property
    def mean_fps(self) -> float:
        """Frames a second where they differ in length too; 0 for a video without a length."""
        return self.frames / self.duration_s if self.duration_s else 0.0


def probe_video(path: Path) -> VideoInfo:
    """Reads an MP4's index, without decoding.

    Raises FileError (E_VIDEO_BROKEN) for anything else, and the errors of `open_input`.
    """
    with open_input(path) as file:
        try:
            return _video_info(*read_moov(file))
        except BoxError as error:
            file.seek(0)
            problem = _problem(file.read(_HEAD_BYTES), error)
            raise FileError(f"{shown_path(path)} {problem}", code="E_VIDEO_BROKEN") from error


def _problem(head: bytes, error: BoxError) -> str:
    """What is wrong with a file; the first bytes of another kind would say nothing as a box."""
    if head[4:8] in _FIRST_BOXES:
        return f"is no usable MP4: {error}"
    kind = kind_of(head)
    return "is not MP4" if kind is None else f"is {kind}, not MP4"


def _video_info(moov: bytes, has_index_first: bool) -> VideoInfo:
    traks = [body for name, body in children(moov) if name == b"trak"]
    by_kind = {_must(trak, b"mdia", b"hdlr")[8:12]: trak for trak in reversed(traks)}
    if b"vide" not in by_kind:
        raise BoxError("no video track")
    video, audio = by_kind[b"vide"], by_kind.get(b"soun")
    movie_ticks = unpack("I", _must(moov, b"mvhd"), 12)[0]
    entry = _sample_entry(video)
    width, height = unpack("HH", entry, 24)
    frames, fps = _frames(video)
    sound = None if audio is None else _sample_entry(audio)
    return VideoInfo(
        width=width,
        height=height,
        fps=fps,
        frames=frames,
        duration_s=_duration_s(video, movie_ticks),
        has_audio=audio is not None,
        audio_duration_s=None if audio is None else _duration_s(audio, movie_ticks),
        audio_rate_hz=None if sound is None else unpack("I", sound, 24)[0] >> 16,
        audio_channels=None if sound is None else unpack("H", sound, 16)[0],
        pix_fmt=_pixel_format(entry),
        color=_color(entry),
        faststart=has_index_first,
        movie_ticks=movie_ticks,
    )


def _must(data: bytes, *path: bytes) -> bytes:
    found = child(data, *path)
    if found is None:
        raise BoxError(f"no {path[-1].decode('ascii')} box")
    return found


def _sample_entry(trak: bytes) -> bytes:
    entries = _must(trak, b"mdia", b"minf", b"stbl", b"stsd")[8:]
    return next((body for _, body in children(entries)), b"")


def _frames(trak: bytes) -> tuple[int, Fraction]:
    ticks = unpack("I", _must(trak, b"mdia", b"mdhd"), 12)[0]
    table = _must(trak, b"mdia", b"minf", b"stbl", b"stts")
    runs = unpack("I", table, 4)[0]
    if runs > (len(table) - 8) // 8:
        raise BoxError("a table of times that does not fit")
    pairs = [unpack("II", table, 8 + 8 * n) for n in range(runs)]
    lengths = {length for _, length in pairs}
    constant = len(lengths) == 1 and 0 not in lengths
    return sum(count for count, _ in pairs), Fraction(ticks, *lengths) if constant else Fraction(0)


def _duration_s(trak: bytes, movie_ticks: int) -> float:
    """The duration of a track as played: of its edits if it has any, else of all of it."""
    edits = child(trak, b"edts", b"elst")
    if edits is not None and movie_ticks:
        version, count = edits[0] if edits else 0, unpack("I", edits, 4)[0]
        form, size = ("Q", 20) if version == 1 else ("I", 12)
        if count <= (len(edits) - 8) // size:
            parts = (unpack(form, edits, 8 + size * n)[0] for n in range(count))
            return float(Fraction(sum(parts), movie_ticks))
    header = _must(trak, b"mdia", b"mdhd")
    ticks, length = unpack("IQ", header, 20) if header[:1] == b"\1" else unpack("II", header, 12)
    return float(Fraction(length, ticks)) if ticks else 0.0


def _pixel_format(entry: bytes) -> str:
    """The pixel format in the H.264 configuration, "" for other codecs."""
    config = child(entry[78:], b"avcC")
    if config is None or len(config) < 7:
        return ""
    if config[1] in (66, 77, 88):
        return "yuv420p"
    parameters = unpack("H", config, 6)[0]
    # After the parameter sets of a high profile come chroma format and bit depths.
    at = 8 + parameters
    sets = config[at] if at < len(config) else 0
    at += 1
    for _ in range(sets):
        at += 2 + unpack("H", config, at)[0]
    if at + 3 > len(config):
        return ""
    chroma = ("gray", "yuv420p", "yuv422p", "yuv444p")[config[at] & 3]
    depth = (config[at + 1] & 7) + 8
    return chroma if depth == 8 else f"{chroma}{depth}"


def _color(entry: bytes) -> tuple[int, int, int, bool] | None:
    box = child(entry[78:], b"colr")
    if box is None or box[:4] != b"nclx":
        return None
    primaries, transfer, matrix, flags = unpack("HHHB", box, 4)
    return primaries, transfer, matrix, bool(flags & 0x80)
