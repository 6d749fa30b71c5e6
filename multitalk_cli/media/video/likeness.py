"""How alike the frames of two videos are: PSNR and SSIM, by the included ffmpeg."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from multitalk_cli.media.video import ffmpeg
from multitalk_cli.media.video.probe import VideoInfo, probe_video

_CHUNK_BYTES = 1 << 16
_PEAK = 255.0
_MSE, _SSIM = "lavfi.psnr.mse_avg", "lavfi.ssim.All"


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness:
    """The likeness of frames at the same place.

    psnr_db: of all of them; None where they are identical. ssim: their mean, 1 where identical.
    least_ssim, least_frame: the frame that is least alike, from 0. is_scaled: whether the second
    video was brought to the size of the first.
    """

    frames: int
    psnr_db: float | None
    ssim: float
    least_ssim: float
    least_frame: int
    is_scaled: bool


def measure_likeness(first: Path, second: Path) -> Likeness | None:
    """Compares frame by frame until one of the two ends; None where one has no frames.

    At the same number of frames a second the first frames are compared, then the second ones, and
    so on; otherwise those that are shown at the same time. Raises FileError for what is no video.
    """
    infos = probe_video(first), probe_video(second)
    figures = list(_figures(first, second, infos))
    if not figures:
        return None
    error = sum(mse for mse, _ in figures) / len(figures)
    ssims = [ssim for _, ssim in figures]
    return Likeness(
        frames=len(figures),
        psnr_db=10 * math.log10(_PEAK**2 / error) if error > 0 else None,
        ssim=sum(ssims) / len(ssims),
        least_ssim=min(ssims),
        least_frame=ssims.index(min(ssims)),
        is_scaled=_size(infos[0]) != _size(infos[1]),
    )


def _size(info: VideoInfo) -> tuple[int, int]:
    return info.width, info.height


def _figures(
    first: Path, second: Path, infos: tuple[VideoInfo, VideoInfo]
) -> Iterator[tuple[float, float]]:
    """Mean squared error and SSIM of each frame."""
    found: dict[str, float] = {}
    for line in _lines(first, second, infos):
        name, _, value = line.partition("=")
        if name in (_MSE, _SSIM):
            found[name] = float(value)
        if len(found) == 2:
            yield found[_MSE], found[_SSIM]
            found = {}


def _lines(first: Path, second: Path, infos: tuple[VideoInfo, VideoInfo]) -> Iterator[str]:
    arguments = [*ffmpeg.read_from(first, "mov"), *ffmpeg.read_from(second, "mov")]
    arguments += ["-filter_complex", _filters(infos), "-fps_mode", "passthrough"]
    rest = b""
    with ffmpeg.running([*arguments, "-f", "null", "-"], reads=True) as process:
        while chunk := process.read(_CHUNK_BYTES):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from (line.decode("ascii", "replace") for line in lines)
        process.finish()


def _filters(infos: tuple[VideoInfo, VideoInfo]) -> str:
    """Both filters on the same pairs of frames; what they find is printed."""
    first, second = infos
    # One tick a frame: the times of files that were cut or re-muxed differ by a little.
    numbered = "settb=1/25,setpts=N," if first.fps == second.fps else ""
    width, height = _size(first)
    scaled = "" if _size(first) == _size(second) else f"scale={width}:{height}:flags=bicubic,"
    pairs = "shortest=1:repeatlast=0"
    return (
        f"[0:v:0]{numbered}format=yuv420p[a];[1:v:0]{numbered}{scaled}format=yuv420p,split[b][c];"
        f"[a][b]psnr={pairs}[p];[p][c]ssim={pairs},metadata=mode=print:file=pipe\\\\:1"
    )
