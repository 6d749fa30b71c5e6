"""Opens a picture file with the reader of its format and learns what the reader does not say."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

from multitalk_cli.errors import FileError
from multitalk_cli.media.image import heif, jpeg, png, tiff
from multitalk_cli.media.image.jpeg import Salvaged
from multitalk_cli.media.image.pixels import kept_scale
from multitalk_cli.media.image.png_rows import SAMPLES, PngRows
from multitalk_cli.media.image.rows import MAX_WHOLE_BYTES, whole_bytes
from multitalk_cli.media.image.srgb import exif_color_space
from multitalk_cli.media.image.tiff_rows import open_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL import Image

    from multitalk_cli.media.image.profiles import ColorSpace
    from multitalk_cli.media.image.rows import Rows

MAX_PIXELS = 100_000_000
# The JPEG decoder skips detail that would be discarded, unless the file is progressive.
MAX_JPEG_PIXELS = 250_000_000

# Measured with 99 megapixels: its reader has four copies of each picture.
_WEBP_BYTES = 16
_DAMAGED = "the pixels have a wrong checksum and may be damaged"
SEVERAL = "the first of several frames used"
"""The note of an animation."""


@dataclass(slots=True, kw_only=True, eq=False)
class Opened:
    """A picture that is opened and not yet decoded.

    format: its name in results. bits: of a sample. profile, stated: the colours, as `conversion`
    receives them. turned: the EXIF orientation where the reader turns the picture itself.
    is_negative: whether grey of more than 8 bits counts from white. notes: of how it is stored.
    is_cut_off: whether the end is known to be missing; looks_cut_off: whether it may be, once the
    picture is decoded, since the reader does not say. salvage: gives what there is of one that is
    cut off or not decoded, None where that cannot be known. rows: of a picture that is too large to
    be decoded whole. pixel_bytes: of memory that its reader takes for a pixel, where that is more
    than the usual 4 to 6.
    """

    image: Image.Image
    format: str
    bits: int = 8
    profile: bytes | None = None
    stated: ColorSpace | None = None
    turned: int | None = None
    is_negative: bool = False
    max_pixels: int = MAX_PIXELS
    notes: list[str] = field(default_factory=list)
    is_cut_off: bool = False
    looks_cut_off: Callable[[], bool] = lambda: False
    salvage: Callable[[], Salvaged | None] = lambda: None
    rows: Rows | None = None
    pixel_bytes: float = 0.0


def open_picture(file: BinaryIO, kind: str, shown: str) -> Opened:
    """Opens a file of one of READABLE_PICTURES; raises whatever its reader does."""
    from PIL import Image

    if kind == "PNG":
        return _open_png(file)
    if kind == "JPEG":
        return _open_jpeg(file)
    if kind == "TIFF":
        return _open_tiff(file, shown)
    if kind in ("AVIF", "HEIC"):
        image = heif.open_heif(file, kind, shown)
        # The pictures of a HEIC file are no frames; the reader takes the primary one.
        notes = _frame_notes(image) if kind == "AVIF" else []
        stated = heif.stated_colors(file)
        return Opened(
            image=image,
            format=kind,
            profile=_profile(image),
            stated=stated,
            notes=notes,
            pixel_bytes=heif.avif_bytes(file) if kind == "AVIF" else 0,
        )
    try:
        image = Image.open(file, formats=[kind.upper()])
    except OSError as error:
        missing = _missing_riff_bytes(file) if kind == "WebP" else 0
        if missing == 0:
            raise
        if missing > 1:
            raise OSError(f"its last {missing:,} bytes are missing") from error
        # Some programs count the byte that fills an odd chunk up, and do not write it.
        file.seek(0)
        image = Image.open(io.BytesIO(file.read() + b"\0"), formats=[kind.upper()])
    return Opened(
        image=image,
        format=kind.upper(),
        profile=_profile(image),
        notes=_frame_notes(image),
        pixel_bytes=_WEBP_BYTES if kind == "WebP" else 0,
    )


def _missing_riff_bytes(file: BinaryIO) -> int:
    """How much longer a WebP's header says that it is."""
    file.seek(4)
    claimed = 8 + int.from_bytes(file.read(4), "little")
    return max(0, claimed - file.seek(0, 2))


def ask_for_smaller(image: Image.Image) -> None:
    """Lets the JPEG decoder skip detail that would be discarded; other readers ignore it."""
    factor = kept_scale(image.size)
    if factor > 1:
        image.draft(image.mode, (image.width // factor, image.height // factor))


def _profile(image: Image.Image) -> bytes | None:
    profile = image.info.get("icc_profile")
    return profile if isinstance(profile, bytes) and profile else None


def _frame_notes(image: Image.Image) -> list[str]:
    return [SEVERAL] if getattr(image, "is_animated", False) else []


def _open_png(file: BinaryIO) -> Opened:
    from PIL import Image, PngImagePlugin

    facts = png.examine(file)
    seen: BinaryIO = file
    if facts.left_out:
        seen = io.BufferedReader(png.WithoutChunks(file, facts.left_out))
    image = Image.open(seen, formats=["PNG"])
    _scale_transparent_value(image, facts.depth)
    profile = _profile(image) if facts.profile is None else facts.profile
    rows = _png_rows(file, facts, image)

    def salvage() -> Salvaged | None:
        # Asked for metadata, it would be decoded again, and fail again.
        image.tile = []
        found = png.repaired(file, facts, image.size)
        if found is None:
            return None
        again = PngImagePlugin.PngImageFile(found.file)
        _scale_transparent_value(again, facts.depth)
        again.load()
        if found.is_damaged or facts.is_damaged:
            return Salvaged(again, found.rows, problem=_DAMAGED)
        return Salvaged(again, found.rows)

    return Opened(
        image=image,
        format="PNG",
        bits=facts.depth,
        profile=None if facts.h273 is not None else profile,
        stated=png.stated_colors(facts, image.info),
        notes=[
            *([SEVERAL] if facts.frames > 1 else []),
            *([_DAMAGED] if facts.is_damaged else []),
            *facts.notes,
        ],
        # Rows that are not in the file stay zero.
        looks_cut_off=lambda: _last_row(image).getbbox(alpha_only=False) is None,
        salvage=salvage,
        rows=rows,
    )


def _png_rows(file: BinaryIO, facts: png.PngFacts, image: Image.Image) -> Rows | None:
    """The rows of a large PNG; None for one that the reader may decode whole."""
    if whole_bytes(image) <= MAX_WHOLE_BYTES or facts.is_interlaced or facts.color not in SAMPLES:
        return None
    # Asked for metadata behind the pixels, the reader would decode them.
    image.info.setdefault("exif", b"Exif\0\0" + facts.exif if facts.exif else b"")
    return PngRows(file, facts, image)


def _scale_transparent_value(image: Image.Image, depth: int) -> None:
    """Gives the value that stands for transparency the 8 bits of the pixels; Pillow does not."""
    value = image.info.get("transparency")
    if image.mode == "L" and depth in (2, 4) and isinstance(value, int) and value < 2**depth:
        image.info["transparency"] = value * 255 // (2**depth - 1)
    elif image.mode == "RGB" and depth == 16 and isinstance(value, tuple):
        image.info["transparency"] = tuple(part >> 8 for part in value)


def _last_row(image: Image.Image) -> Image.Image:
    return image.crop((0, image.height - 1, image.width, image.height))


def _open_jpeg(file: BinaryIO) -> Opened:
    from PIL import JpegImagePlugin

    def load(whole: BinaryIO) -> Image.Image:
        again = JpegImagePlugin.JpegImageFile(whole)
        ask_for_smaller(again)
        again.load()
        return again

    # Not Image.open, which refuses 200 megapixels and looks for further pictures in the file.
    file = jpeg.checked(file)
    is_cut_off = jpeg.ends_in_zeros(file)
    seen, notes = file, []
    try:
        image = JpegImagePlugin.JpegImageFile(file)
    except Exception:
        spans = jpeg.unreadable_segments(file)
        if not spans:
            raise
        notes = ["damaged metadata of the JPEG ignored"]
        seen = io.BufferedReader(png.WithoutChunks(file, spans))
        image = JpegImagePlugin.JpegImageFile(seen)
    is_progressive = "progressive" in image.info
    return Opened(
        image=image,
        format="JPEG",
        profile=_profile(image),
        stated=exif_color_space(image),
        max_pixels=MAX_PIXELS if is_progressive else MAX_JPEG_PIXELS,
        notes=notes,
        is_cut_off=is_cut_off,
        looks_cut_off=lambda: (
            jpeg.lacks_scans(seen) if is_progressive else jpeg.looks_cut_off(image)
        ),
        salvage=lambda: jpeg.load_cut_off(seen, load),
    )


def _open_tiff(file: BinaryIO, shown: str) -> Opened:
    from PIL import Image, UnidentifiedImageError

    facts = tiff.examine(file, shown)
    try:
        with tiff.suitable_reader(facts):
            image = Image.open(file, formats=["TIFF"])
            notes = _frame_notes(image)
            if facts.frame > 0:
                image.seek(facts.frame)
                notes = ["the full picture used, not the smaller copy before it"]
    except UnidentifiedImageError:
        if not facts.layout:
            raise
        raise FileError(
            f"{shown} is a TIFF with {facts.layout}, which is not supported", code="E_IMAGE_FORMAT"
        ) from None
    is_large = whole_bytes(image) > MAX_WHOLE_BYTES
    return Opened(
        image=image,
        format="TIFF",
        bits=facts.bits,
        profile=_profile(image),
        turned=facts.turned,
        is_negative=facts.is_negative,
        notes=notes,
        rows=open_rows(file, image, facts) if is_large else None,
        # A single compressed strip is unpacked whole before it becomes a picture.
        pixel_bytes=4 + facts.bits * facts.samples / 8 if is_large else 0,
    )
