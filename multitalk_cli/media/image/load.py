"""A picture file, checked and decoded."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from multitalk_cli.errors import FileError, MultitalkError
from multitalk_cli.files import open_input, read_head, sha256_of, shown_path
from multitalk_cli.media.file_types import (
    BASE64_PICTURE,
    MANGLED_PICTURES,
    OTHER_FILES,
    OTHER_PICTURES,
    READABLE_PICTURES,
    SOUNDS,
    kind_of,
    text_before_picture,
)
from multitalk_cli.media.image.decode import decode
from multitalk_cli.media.image.png import WithoutChunks

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from multitalk_cli.errors.exceptions import Fact

_WHITE = (255, 255, 255)
_MAX_FILE_BYTES = 512 * 10**6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Picture:
    """A decoded picture.

    pixels: [H, W, 3] uint8 sRGB, upright; a very large file is reduced to a half, a quarter, ...
    source_width_px, source_height_px: the upright size of the file. sha256: of the file, in hex.
    background: the colour under transparency and around a contained picture.
    adjusted: notes of changes, in sentences.
    """

    pixels: NDArray[np.uint8]
    source_width_px: int
    source_height_px: int
    format: str
    sha256: str
    background: tuple[int, int, int]
    adjusted: tuple[str, ...] = ()

    @property
    def width_px(self) -> int:
        """Width of `pixels`."""
        return int(self.pixels.shape[1])

    @property
    def height_px(self) -> int:
        """Height of `pixels`."""
        return int(self.pixels.shape[0])


def load_picture(
    path: Path, *, background: tuple[int, int, int] = _WHITE, rotate: int = 0
) -> Picture:
    """Reads one of READABLE_PICTURES; of several frames the first.

    rotate: by 0, 90, 180 or 270 degrees it is turned clockwise, after its EXIF orientation.
    Raises UsageError for a web address, FileError for anything but a usable picture.
    """
    shown = shown_path(path)
    with open_input(path) as file:
        head = read_head(file)
        start = text_before_picture(head)
        kind = _kind(head[start:], path)
        if file.seek(0, 2) > _MAX_FILE_BYTES:
            raise FileError(
                f"{shown} is larger than {_MAX_FILE_BYTES // 10**6} MB", code="E_IMAGE_SIZE"
            )
        file.seek(0)
        sha256 = sha256_of(file)
        decoded = decode(_behind(file, start), kind, path, background)
    width, height = decoded.width_px, decoded.height_px
    if rotate in (90, 270):
        width, height = height, width
    return Picture(
        pixels=_turn(decoded.pixels, rotate),
        source_width_px=width,
        source_height_px=height,
        format=decoded.format,
        sha256=sha256,
        background=background,
        adjusted=(
            *(["text before the picture ignored"] if start else ()),
            *decoded.adjusted,
            *([f"turned by {rotate} degrees clockwise"] if rotate else ()),
        ),
    )


def _turn(pixels: NDArray[np.uint8], rotate: int) -> NDArray[np.uint8]:
    import numpy as np

    return np.ascontiguousarray(np.rot90(pixels, -rotate // 90))


def _behind(file: BinaryIO, start: int) -> BinaryIO:
    """The file from there on."""
    return io.BufferedReader(WithoutChunks(file, [(0, start)])) if start else file


def looks_like_picture(path: Path) -> bool:
    """Whether the first bytes are those of a picture, supported or not; never raises."""
    try:
        with open_input(path) as file:
            head = read_head(file)
            kind = kind_of(head[text_before_picture(head) :])
    except MultitalkError:
        return False
    return kind in READABLE_PICTURES or kind in OTHER_PICTURES


def _kind(head: bytes, path: Path) -> str:
    """The format of a picture that can be read; raises FileError for any other file."""
    kind, shown = kind_of(head), shown_path(path)
    facts: dict[str, Fact] = {}
    if kind in READABLE_PICTURES:
        return kind
    if kind in SOUNDS:
        message = f"{shown} is a sound or a video ({kind}), not a picture"
    elif kind in OTHER_FILES:
        message = f"{shown} is {kind}, not a picture"
    elif kind in MANGLED_PICTURES:
        message = f"{shown} is {kind}"
        if kind == BASE64_PICTURE:
            form = "data_uri_file" if head.startswith(b"data:") else "base64_file"
            facts = {form: str(path)}
    elif kind is not None:
        message = f"{shown} is {kind}, which is not a supported picture format"
    else:
        message = f"{shown} is not a picture"
    raise FileError(message, code="E_IMAGE_FORMAT", facts=facts)
