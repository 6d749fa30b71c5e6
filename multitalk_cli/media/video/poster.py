"""A frame of a video as a small picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multitalk_cli.media.video import ffmpeg

if TYPE_CHECKING:
    from pathlib import Path

_MOST_BYTES = 1 << 20


def read_poster(path: Path, width_px: int) -> bytes:
    """The first frame of an MP4 as a JPEG of that width. Raises FileError where there is none."""
    arguments = [*ffmpeg.read_from(path, "mov"), "-frames:v", "1", "-an"]
    arguments += ["-vf", f"scale={width_px}:-2", "-q:v", "6", "-f", "mjpeg", "pipe:1"]
    with ffmpeg.running(arguments, reads=True) as process:
        jpeg = process.read(_MOST_BYTES)
        process.finish()
    return jpeg
