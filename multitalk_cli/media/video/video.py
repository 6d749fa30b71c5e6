"""The only writer of MP4 files, and the decoder of their frames."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from multitalk_cli.contract import samples_from_frames
from multitalk_cli.errors import FileError
from multitalk_cli.files import partial_file
from multitalk_cli.media.video import ffmpeg
from multitalk_cli.media.video.digests import plan_digests, write_digests
from multitalk_cli.media.video.probe import probe_video
from multitalk_cli.media.video.recipe import AI_MARK, to_metadata

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Ticks per frame: frames begin at whole ticks at any frame rate.
_TICKS = 512
MOVIE_TICKS = 1000
"""Ticks per frame on a file's own clock; other programs write another."""
# x264 writes the same bytes for the same number of threads only.
_THREADS = 4
# Tags on the output alone are not written: the frames themselves must carry them.
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
    """Writes frames as one closed-GOP H.264 segment; the file appears when the block succeeds.

    crf: 0 is lossless, 18 looks like the original, 51 is worst. preset: x264's name for speed.
    The same frames and settings make the same bytes on any machine with the same ffmpeg.
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
            self._part = part = stack.enter_context(partial_file(self._target, overwrite=True))
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
            self._require_frames()

    def _require_frames(self) -> None:
        """Raises FfmpegError unless all frames are in the file: some versions end well without."""
        try:
            written = probe_video(self._part).frames
        except FileError as error:
            message = f"ffmpeg wrote no usable video: {error.message}"
            raise ffmpeg.FfmpegError(message, code="E_FFMPEG") from error
        if written != self.frames:
            message = f"ffmpeg wrote {written} frames of {self.frames}"
            raise ffmpeg.FfmpegError(message, code="E_FFMPEG")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)


def join_segments(  # noqa: PLR0913 - each describes one property of the result
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
) -> str:
    """Writes the final MP4: segments without re-encoding, the sound once, recipe and mark.

    Returns the recipe that it carries: the given one with digests of the streams.

    segments: from VideoWriter, in order, together exactly `frames` long. sound: a FLAC, cut or
    padded with silence to the video's length, or None. mark: the tag that names the maker.
    overwrite: replace an existing target.
    Raises FileError if the target exists or cannot be written, or the disk is full.
    """
    counts = [probe_video(segment).frames for segment in segments]
    if sum(counts) != frames:
        raise ValueError(f"the segments hold {sum(counts)} frames, not {frames}")
    planned = plan_digests(recipe, counts, has_sound=sound is not None)
    metadata = to_metadata(planned, title=title, mark=mark)
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
        return write_digests(part, planned)


def _playlist(folder: Path, segments: Sequence[Path]) -> Path:
    """A playlist of links with plain names, as it cannot hold every name of a file."""
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
    # Joining rounds times to microseconds: this restores the exact tick of every frame, and starts
    # decoding two frames early throughout, the most that x264 needs to reorder frames.
    times = f"setts=pts=round(PTS*TB*{fps})/({fps}*TB):dts=(N-2)/({fps}*TB)"
    arguments = ["-map", "0:v:0", "-c:v", "copy", "-bsf:v", times]
    if sound is not None:
        arguments += ["-map", "1:a:0", "-c:a", "aac", *_sound_settings(sound, frames, fps)]
    tags = "2" if sound is not None else "1"
    arguments += ["-map_metadata", tags, "-map_chapters", "-1", "-bitexact"]
    return [*arguments, *_clocks(fps), "-movflags", "+faststart"]


def _clocks(fps: int) -> list[str]:
    return ["-video_track_timescale", str(_TICKS * fps), "-movie_timescale", str(MOVIE_TICKS * fps)]


def _sound_settings(sound: Path, frames: int, fps: int) -> list[str]:
    import soundfile

    with soundfile.SoundFile(sound) as source:
        samples = samples_from_frames(frames, source.samplerate, fps)
        bits_per_s = source.channels * (96_000 if source.samplerate >= 32_000 else 48_000)
    return ["-b:a", str(bits_per_s), "-af", f"apad=whole_len={samples},atrim=end_sample={samples}"]


def read_frames(path: Path) -> Iterator[NDArray[np.uint8]]:
    """Decodes an MP4 frame by frame: [h, w, 3] RGB.

    Raises FileError if it is no MP4 or cannot be decoded.
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
