"""The only writer of MP4 files, and the reader that checks them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from multitalk_cli.contract import samples_from_frames
from multitalk_cli.errors import FileError
from multitalk_cli.files import open_input, partial_file, shown_path
from multitalk_cli.media.video import ffmpeg
from multitalk_cli.media.video.mp4_boxes import BoxError, child, children, read_moov, unpack
from multitalk_cli.media.video.recipe import AI_MARK, read_recipe, to_metadata

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "VideoInfo",
    "VideoWriter",
    "join_segments",
    "probe_video",
    "read_frames",
    "read_recipe",
]

# Ticks per frame: frames begin at whole ticks at any frame rate.
_TICKS = 512
# x264 gives the same bytes for the same number of threads only.
_THREADS = 4
# Tags on the output alone are not written; the frames themselves must carry them.
_TO_BT709 = (
    "scale=in_range=pc:out_range=tv:out_color_matrix=bt709:flags=bicubic+accurate_rnd+full_chroma_inp,"
    "format=yuv420p,"
    "setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=tv"
)
_TO_RGB = (
    "scale=in_range=tv:out_range=pc:in_color_matrix=bt709:flags=bicubic+accurate_rnd,format=rgb24"
)
_CONCAT_FORMATS = "concat,mov,mp4,m4a,3gp,3g2,mj2"


class VideoWriter:
    """Writes frames as one closed-GOP H.264 segment; the file appears when the block ends well.

    crf: 0 is lossless, 18 looks like the original, 51 is worst. preset: x264's name for speed.
    The same frames and settings give the same bytes on any machine with the same ffmpeg.
    """

    def __init__(
        self,
        target: Path,
        *,
        width: int,
        height: int,
        fps: int,
        crf: int = 18,
        preset: str = "medium",
    ) -> None:
        if width % 2 or height % 2 or width < 2 or height < 2:
            raise ValueError(f"sides must be even, not {width}x{height}")
        self._target, self._shape, self._fps = target, (height, width, 3), fps
        self._quality = ["-preset", preset, "-crf", str(crf)]
        self._stack = ExitStack()
        self.frames = 0

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            part = stack.enter_context(partial_file(self._target, overwrite=True))
            arguments = [*self._input(), *self._output(), "-y", "-f", "mp4", f"file:{part}"]
            self._process = stack.enter_context(ffmpeg.running(arguments, feeds=True))
            stack.push(self._finish)
            self._stack = stack.pop_all()
        return self

    def _input(self) -> list[str]:
        height, width, _ = self._shape
        size = ["-video_size", f"{width}x{height}", "-framerate", str(self._fps)]
        return ["-f", "rawvideo", "-pixel_format", "rgb24", *size, "-i", "pipe:0"]

    def _output(self) -> list[str]:
        arguments = ["-vf", _TO_BT709, "-c:v", "libx264", "-profile:v", "high", *self._quality]
        arguments += ["-threads", str(_THREADS), "-g", str(2 * self._fps), "-flags", "+cgop"]
        return [*arguments, *_clocks(self._fps), "-bitexact"]

    def write(self, frames: NDArray[np.uint8]) -> None:
        """Appends one frame [h, w, 3] or several [n, h, w, 3], RGB, 0 to 255."""
        import numpy as np

        if frames.dtype != np.uint8 or frames.shape[-3:] != self._shape or frames.ndim > 4:
            raise ValueError(f"frames are {self._shape} uint8, not {frames.shape} {frames.dtype}")
        for frame in frames.reshape(-1, *self._shape):
            self._process.write(np.ascontiguousarray(frame).data.cast("B"))
            self.frames += 1

    def _finish(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,  # noqa: ARG002
        trace: TracebackType | None,  # noqa: ARG002
    ) -> None:
        if kind is None:
            if self.frames == 0:
                raise ValueError("a segment needs at least one frame")
            self._process.finish()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)


def join_segments(  # noqa: PLR0913 - each says one thing about the one result
    segments: Sequence[Path],
    sound: Path | None,
    target: Path,
    *,
    frames: int,
    fps: int,
    recipe: str,
    title: str = "",
    mark: str = AI_MARK,
    overwrite: bool = False,
) -> None:
    """Makes the final MP4: segments without re-encoding, the sound once, recipe and mark inside.

    segments: from VideoWriter, in order, together exactly `frames` long. sound: a FLAC, cut or
    filled with silence to the video's length, or None. mark: says what made the pictures.
    overwrite: replace an existing target.
    Raises FileError where the target exists, cannot be written or the disk is full.
    """
    total = sum(probe_video(segment).frames for segment in segments)
    if total != frames:
        raise ValueError(f"the segments hold {total} frames, not {frames}")
    metadata = to_metadata(recipe, title=title, mark=mark)
    with (
        partial_file(target, overwrite=overwrite) as part,
        tempfile.TemporaryDirectory() as folder,
    ):
        playlist = _playlist(Path(folder), segments)
        arguments = _join_inputs(playlist, sound) + _join_outputs(sound, frames, fps)
        ffmpeg.run([*arguments, "-y", "-f", "mp4", f"file:{part}"], fed=metadata)
        written = probe_video(part)
        if (written.frames, written.fps) != (frames, Fraction(fps)):
            raise ffmpeg.FfmpegError(
                f"ffmpeg wrote {written.frames} frames at {written.fps} fps, not {frames} at {fps}",
                code="E_FFMPEG",
            )


def _playlist(folder: Path, segments: Sequence[Path]) -> Path:
    """A list of links with plain names: a playlist cannot hold every name that a file can have."""
    names = [f"{number}.mp4" for number in range(len(segments))]
    for name, segment in zip(names, segments, strict=True):
        (folder / name).symlink_to(segment.resolve())
    playlist = folder / "segments.txt"
    playlist.write_text("".join(f"file {name}\n" for name in names))
    return playlist


def _join_inputs(playlist: Path, sound: Path | None) -> list[str]:
    options = ["-safe", "1", "-format_whitelist", _CONCAT_FORMATS]
    arguments = ffmpeg.read_from(playlist, "concat", options=options)
    if sound is not None:
        arguments += ffmpeg.read_from(sound, "flac")
    return [*arguments, "-f", "ffmetadata", "-i", "pipe:0"]


def _join_outputs(sound: Path | None, frames: int, fps: int) -> list[str]:
    # Joining goes through microseconds: this puts every frame back onto its exact tick, and starts
    # decoding two frames early throughout, which is what x264 needs at most to reorder frames.
    times = f"setts=pts=round(PTS*TB*{fps})/({fps}*TB):dts=(N-2)/({fps}*TB)"
    arguments = ["-map", "0:v:0", "-c:v", "copy", "-bsf:v", times]
    if sound is not None:
        arguments += ["-map", "1:a:0", "-c:a", "aac", *_sound_settings(sound, frames, fps)]
    tags = "2" if sound is not None else "1"
    arguments += ["-map_metadata", tags, "-map_chapters", "-1", "-bitexact"]
    return [*arguments, *_clocks(fps), "-movflags", "+faststart"]


def _clocks(fps: int) -> list[str]:
    return ["-video_track_timescale", str(_TICKS * fps), "-movie_timescale", str(1000 * fps)]


def _sound_settings(sound: Path, frames: int, fps: int) -> list[str]:
    import soundfile

    with soundfile.SoundFile(sound) as source:
        samples = samples_from_frames(frames, source.samplerate, fps)
        bits_per_s = source.channels * (96_000 if source.samplerate >= 32_000 else 48_000)
    return ["-b:a", str(bits_per_s), "-af", f"apad=whole_len={samples},atrim=end_sample={samples}"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoInfo:
    """What an MP4 says of itself.

    fps is exact, 0 where frames differ in length. color: primaries, transfer, matrix and whether
    the range is full, as numbered in ISO 23091-2; None where untagged. audio_duration_s: what
    players play, without the encoder's padding; None without sound.
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


def probe_video(path: Path) -> VideoInfo:
    """Reads an MP4's index; no decoding.

    Raises FileError (E_VIDEO_BROKEN) for anything else, and the errors of `open_input`.
    """
    with open_input(path) as file:
        try:
            moov, first = read_moov(file)
            return _video_info(moov, first)
        except BoxError as error:
            raise FileError(
                f"{shown_path(path)} is no usable MP4: {error}", code="E_VIDEO_BROKEN"
            ) from error


def _video_info(moov: bytes, first: bool) -> VideoInfo:
    traks = [body for name, body in children(moov) if name == b"trak"]
    by_kind = {_must(trak, b"mdia", b"hdlr")[8:12]: trak for trak in reversed(traks)}
    if b"vide" not in by_kind:
        raise BoxError("no pictures inside")
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
        faststart=first,
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
    """What is played of a track: its edits where it has some, else all of it."""
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
    """From the H.264 configuration, "" for other codecs."""
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


def read_frames(path: Path) -> Iterator[NDArray[np.uint8]]:
    """Decodes an MP4 frame by frame: [h, w, 3] RGB.

    Raises FileError where it is no MP4 or cannot be decoded.
    """
    import numpy as np

    info = probe_video(path)
    size = info.width * info.height * 3
    arguments = [*ffmpeg.read_from(path, "mov"), "-map", "0:v:0", "-vf", _TO_RGB]
    arguments += ["-fps_mode", "passthrough", "-f", "rawvideo", "pipe:1"]
    with ffmpeg.running(arguments, reads=True) as process:
        while len(data := process.read(size)) == size:
            yield np.frombuffer(data, np.uint8).reshape(info.height, info.width, 3)
        process.finish()
