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
from multitalk_cli.files import shown_path
from multitalk_cli.media.image.opened import SEVERAL, Opened, ask_for_smaller, open_picture
from multitalk_cli.media.image.pixels import Look, orientation_of, plain_mode, to_srgb_pixels
from multitalk_cli.media.image.rows import WholeRows
from multitalk_cli.media.image.srgb import conversion

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from multitalk_cli.media.image.rows import Rows

MIN_SIDE_PX = 64
MAX_ASPECT = 8

# Of a picture whose end is missing: at most this share of its rows is made up.
_MADE_UP_SHARE = 0.02
_ORIENTATION_TAG = 0x0112
_MAX_DECODED_BYTES = 1_000_000_000
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


def decode(file: BinaryIO, kind: str, path: Path, background: tuple[int, int, int]) -> Decoded:
    """Decodes a picture.

    kind: one of READABLE_PICTURES. path: of the file, for messages. Raises FileError:
    E_IMAGE_SIZE before anything is decoded, E_IMAGE_FORMAT for a layout that is not supported,
    E_IMAGE_BROKEN for a damaged file.
    """
    shown = shown_path(path)
    with _reader_errors_explained(shown), _reader_warnings_muted():
        opened = open_picture(file, kind, shown)
        _check_size(opened.image.size, opened.max_pixels, shown)
        _check_memory(opened, path)
        return _decode(opened, shown, background)


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
    rows: Rows | None = opened.rows
    if rows is None:
        ask_for_smaller(opened.image)
        image = _loaded(opened, adjusted)
        if image.size[0] > size[0] or image.size[1] > size[1]:
            _check_size(image.size, opened.max_pixels, shown)
            size = image.size
        rows = WholeRows(image)
    orientation, turned = _orientations(opened)
    loss = len(adjusted)
    if 2 <= turned <= 8:
        adjusted.append(f"turned upright (EXIF orientation {turned})")
    colors = conversion(plain_mode(rows.mode), opened.profile, opened.stated)
    adjusted += colors.notes
    look = Look(
        orientation=orientation,
        conversion=colors,
        background=background,
        is_negative=opened.is_negative,
    )
    pixels, is_transparent = to_srgb_pixels(rows, look)
    if rows.missing:
        _check_missing(rows.missing, rows.size[1], None)
        adjusted.insert(loss, _repeated(rows.missing, "the end of the file is missing"))
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


def _check_memory(opened: Opened, path: Path) -> None:
    """Raises FileError (E_IMAGE_SIZE) for a picture that would fill a small memory."""
    width, height = opened.image.size
    needed = width * height * opened.pixel_bytes
    if opened.rows is None and needed > _MAX_DECODED_BYTES:
        most = _MAX_DECODED_BYTES / opened.pixel_bytes / 1e6
        raise FileError(
            f"{shown_path(path)} is {width}x{height} pixels: decoding {opened.format} of that size "
            f"takes {needed / 1e9:.1f} GB of memory; at most 1 GB is used ({most:.0f} megapixels)",
            code="E_IMAGE_SIZE",
            facts={"large_file": str(path)},
        )


def _loaded(opened: Opened, adjusted: list[str]) -> Image.Image:
    """The decoded picture; one of which only the last rows are missing is completed."""
    failure: BaseException | None = None
    try:
        if not opened.is_cut_off:
            opened.image.load()
            if not opened.looks_cut_off():
                return _opaque(opened)
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
    _check_missing(missing, salvaged.image.height, failure)
    if salvaged.is_coarse:
        adjusted.append("the last part of the file is missing, and with it fine detail")
    elif failure is not None or opened.is_cut_off or missing > 0:
        adjusted[:] = [note for note in adjusted if note != salvaged.problem]
        adjusted.append(_repeated(missing, salvaged.problem))
    if missing > 0:
        image = salvaged.image
        last = image.crop((0, salvaged.rows - 1, image.width, salvaged.rows))
        image.paste(last.resize((image.width, missing)), (0, salvaged.rows))
    return salvaged.image


def _opaque(opened: Opened) -> Image.Image:
    """The picture; a BMP whose fourth bytes are all zero without them."""
    image = opened.image
    is_unset = opened.format == "BMP" and image.mode == "RGBA"
    if is_unset and image.getchannel("A").getextrema() == (0, 0):
        # Many programs leave the fourth byte of a pixel at zero, whatever the header names it.
        return image.convert("RGB")
    return image


def _check_missing(missing: int, height: int, failure: BaseException | None) -> None:
    if missing > _MADE_UP_SHARE * height:
        share = round(100 * missing / height)
        raise OSError(f"the lower {share} % of the picture cannot be read") from failure


def _repeated(missing: int, problem: str) -> str:
    return f"{problem}: the lowest {missing} rows repeat the one above" if missing > 0 else problem


def _orientations(opened: Opened) -> tuple[int, int]:
    """The EXIF orientation that is still to be undone, and that of the file; 1 for none."""
    if opened.turned is not None:
        return (1 if opened.rows is None else opened.turned), opened.turned
    try:
        value = orientation_of(opened.image.getexif().get(_ORIENTATION_TAG, 1))
    except _READER_ERRORS:
        value = 1  # broken metadata of a picture that is otherwise whole
    return value, value
