"""Decodes the bytes of a picture file into upright sRGB pixels, however they were stored."""

from __future__ import annotations

import contextlib
import logging
import struct
import warnings
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from multitalk_cli.errors import FileError
from multitalk_cli.media.image.opened import SEVERAL, Opened, ask_for_smaller, open_picture
from multitalk_cli.media.image.pixels import Look, orientation_of, plain_mode, to_srgb_pixels
from multitalk_cli.media.image.srgb import conversion

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from multitalk_cli.media.image.jpeg import Salvaged

MIN_SIDE_PX = 64
MAX_ASPECT = 8

# Of a picture whose end is missing: at most this share of its rows is made up.
_MADE_UP_SHARE = 0.02
_ORIENTATION_TAG = 0x0112
# How Pillow's readers begin to say that a file is of a kind that they lack.
_UNSUPPORTED = ("unsupported", "cannot handle")
# Raised by Pillow's readers on files that break their format's rules.
_READER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    MemoryError,
    RuntimeError,
    struct.error,
    zlib.error,
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Decoded:
    """Pixels [H, W, 3] uint8 sRGB, upright; the upright size of the file; notes of changes."""

    pixels: NDArray[np.uint8]
    width_px: int
    height_px: int
    format: str
    adjusted: tuple[str, ...]


def decode(file: BinaryIO, kind: str, shown: str, background: tuple[int, int, int]) -> Decoded:
    """Decodes a picture.

    kind: one of READABLE_PICTURES. shown: the file's name for messages. Raises FileError:
    E_IMAGE_SIZE before anything is decoded, E_IMAGE_FORMAT for a layout that is not supported,
    E_IMAGE_BROKEN for a damaged file.
    """
    with _reader_errors_explained(shown), _reader_warnings_muted():
        return _decode(open_picture(file, kind, shown), shown, background)


@contextlib.contextmanager
def _reader_errors_explained(shown: str) -> Iterator[None]:
    from PIL import Image

    try:
        yield
    except Image.DecompressionBombError as error:
        raise FileError(f"{shown} has too many pixels", code="E_IMAGE_SIZE") from error
    except _READER_ERRORS as error:
        reason = _reason(error)
        if reason.lower().startswith(_UNSUPPORTED):
            raise FileError(f"{shown} cannot be read: {reason}", code="E_IMAGE_FORMAT") from error
        raise FileError(f"{shown} is damaged: {reason}", code="E_IMAGE_BROKEN") from error


@contextlib.contextmanager
def _reader_warnings_muted() -> Iterator[None]:
    """Keeps the library's own warnings off the user's terminal."""
    logger, silent = logging.getLogger("PIL"), logging.NullHandler()
    logger.addHandler(silent)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.removeHandler(silent)


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())
    if not text.isprintable() or not text or "<" in text or "this driver" in text:
        return "it cannot be decoded"
    return text[:120]


def _decode(opened: Opened, shown: str, background: tuple[int, int, int]) -> Decoded:
    adjusted = list(opened.notes)
    if opened.bits > 8:
        adjusted.append("16 bits per channel reduced to 8")
    size = opened.image.size
    _check_size(size, opened.max_pixels, shown)
    ask_for_smaller(opened.image)
    image = _loaded(opened, adjusted)
    if image.size[0] > size[0] or image.size[1] > size[1]:
        _check_size(image.size, opened.max_pixels, shown)
        size = image.size
    if (
        opened.format == "BMP"
        and image.mode == "RGBA"
        and image.getchannel("A").getextrema() == (0, 0)
    ):
        # Many programs leave the fourth byte of a pixel at zero, whatever the header names it.
        image = image.convert("RGB")
    orientation = _orientation(image) if opened.turned is None else 1
    turned = orientation if opened.turned is None else opened.turned
    if 2 <= turned <= 8:
        adjusted.append(f"turned upright (EXIF orientation {turned})")
    colors = conversion(plain_mode(image.mode), opened.profile, opened.stated)
    adjusted += colors.notes
    look = Look(
        orientation=orientation,
        conversion=colors,
        background=background,
        is_negative=opened.is_negative,
    )
    pixels, is_transparent = to_srgb_pixels(image, look)
    if is_transparent and all((row == background).all() for row in pixels):
        where = " in its first frame" if SEVERAL in opened.notes else ""
        raise FileError(
            f"{shown} shows nothing: it is transparent{where}",
            code="E_IMAGE_BROKEN",
        )
    if is_transparent:
        names = {(255, 255, 255): "white", (0, 0, 0): "black"}
        name = names.get(background, "#{:02x}{:02x}{:02x}".format(*background))
        adjusted.append(f"transparency laid on {name}")
    width, height = size[::-1] if orientation >= 5 else size
    return Decoded(
        pixels=pixels,
        width_px=width,
        height_px=height,
        format=opened.format,
        adjusted=tuple(adjusted),
    )


def _check_size(size: tuple[int, int], max_pixels: int, shown: str) -> None:
    width, height = size
    problem = None
    if width * height > max_pixels:
        problem = f"more than {max_pixels // 10**6} megapixels"
    elif min(size) < MIN_SIDE_PX:
        problem = f"less than {MIN_SIDE_PX} pixels on a side"
    elif max(size) > MAX_ASPECT * min(size):
        problem = f"more than {MAX_ASPECT} times as long as wide"
    if problem is not None:
        raise FileError(f"{shown} is {width}x{height} pixels: {problem}", code="E_IMAGE_SIZE")


def _loaded(opened: Opened, adjusted: list[str]) -> Image.Image:
    """The decoded picture; one of which only the last rows are missing is completed."""
    failure: BaseException | None = None
    try:
        if not opened.is_cut_off:
            opened.image.load()
            if not opened.looks_cut_off():
                return opened.image
    except _READER_ERRORS as error:
        failure = error
    salvaged = opened.salvage()
    if salvaged is None:
        if opened.is_cut_off:
            raise OSError("much of it is missing")
        if failure is not None:
            raise failure
        return opened.image
    missing = salvaged.image.height - salvaged.rows
    if missing > _MADE_UP_SHARE * salvaged.image.height:
        share = round(100 * missing / salvaged.image.height)
        raise OSError(f"the lower {share} % of the picture cannot be read") from failure
    if salvaged.is_coarse:
        adjusted.append("the last part of the file is missing, and with it fine detail")
    elif failure is not None or opened.is_cut_off or missing > 0:
        adjusted.append(_completed(salvaged, missing))
    return salvaged.image


def _completed(salvaged: Salvaged, missing: int) -> str:
    """Fills the rows that are missing; returns the note of it."""
    image, note = salvaged.image, "the end of the file is missing"
    if missing == 0:
        return note
    last = image.crop((0, salvaged.rows - 1, image.width, salvaged.rows))
    image.paste(last.resize((image.width, missing)), (0, salvaged.rows))
    return f"{note}: the lowest {missing} rows repeat the one above"


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 where there is none."""
    try:
        return orientation_of(image.getexif().get(_ORIENTATION_TAG, 1))
    except _READER_ERRORS:
        return 1  # broken metadata of a picture that is otherwise whole
