"""Decodes the bytes of a picture file into upright sRGB pixels, however they were stored."""

from __future__ import annotations

import contextlib
import io
import logging
import struct
import warnings
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from multitalk_cli.errors import FileError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

MAX_PIXELS = 100_000_000
MIN_SIDE_PX = 64
MAX_ASPECT = 8
# A picture with more pixels is reduced to a half, a quarter, ...: still enough for any video size.
KEPT_PIXELS = 24_000_000

_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "TIFF")
_ORIENTATION_TAG, _BITS_TAG = 0x0112, 258
_EIGHT_BIT_MODES = ("L", "LA", "RGB", "RGBA", "CMYK")
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


def decode(file: BinaryIO, shown: str, background: tuple[int, int, int]) -> Decoded:
    """Decodes a picture of a known format.

    shown: the file's name for messages. Raises FileError: E_IMAGE_SIZE before anything is decoded,
    E_IMAGE_BROKEN for a damaged file.
    """
    with _reader_errors_explained(shown), _reader_warnings_muted():
        return _decode(file, shown, background)


@contextlib.contextmanager
def _reader_errors_explained(shown: str) -> Iterator[None]:
    from PIL import Image

    try:
        yield
    except Image.DecompressionBombError as error:
        raise FileError(f"{shown} has too many pixels", code="E_IMAGE_SIZE") from error
    except _READER_ERRORS as error:
        raise FileError(f"{shown} is damaged: {_reason(error)}", code="E_IMAGE_BROKEN") from error


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
    if not text.isprintable() or not text or "<" in text:
        return "it cannot be decoded"
    return text[:120]


def _decode(file: BinaryIO, shown: str, background: tuple[int, int, int]) -> Decoded:
    import numpy as np
    from PIL import Image

    image: Image.Image = Image.open(file, formats=_FORMATS)
    kind = "JPEG" if image.format == "MPO" else str(image.format)
    adjusted = _storage_notes(image, kind, file)
    _check_size(image.size, shown)
    size = image.size
    _ask_for_smaller(image)
    image.load()
    if image.size[0] > size[0] or image.size[1] > size[1]:
        _check_size(image.size, shown)
        size = image.size
    image, turned = _upright(image)
    if turned is not None:
        adjusted.append(f"turned upright (EXIF orientation {turned})")
        size = size[::-1] if turned >= 5 else size
    image = _reduced(image) if image.mode in _EIGHT_BIT_MODES else image
    rgb = _reduced(_flat_srgb(image, background, adjusted))
    return Decoded(
        pixels=np.array(rgb, dtype=np.uint8),
        width_px=size[0],
        height_px=size[1],
        format=kind,
        adjusted=tuple(adjusted),
    )


def _check_size(size: tuple[int, int], shown: str) -> None:
    width, height = size
    problem = None
    if width * height > MAX_PIXELS:
        problem = f"more than {MAX_PIXELS // 10**6} megapixels"
    elif min(size) < MIN_SIDE_PX:
        problem = f"less than {MIN_SIDE_PX} pixels on a side"
    elif max(size) > MAX_ASPECT * min(size):
        problem = f"more than {MAX_ASPECT} times as long as wide"
    if problem is not None:
        raise FileError(f"{shown} is {width}x{height} pixels: {problem}", code="E_IMAGE_SIZE")


def _storage_notes(image: Image.Image, kind: str, file: BinaryIO) -> list[str]:
    """Notes on content beyond the 8-bit pixels of one picture."""
    notes = []
    if image.format != "MPO" and getattr(image, "is_animated", False):
        notes.append("the first of several frames used")
    if _bits_per_channel(image, kind, file) > 8:
        notes.append("16 bits per channel reduced to 8")
    return notes


def _bits_per_channel(image: Image.Image, kind: str, file: BinaryIO) -> int:
    if kind == "PNG":
        place = file.tell()
        file.seek(24)  # the bit depth of the header chunk
        depth = file.read(1)
        file.seek(place)
        return depth[0] if depth else 0
    if kind == "TIFF":
        bits = image.tag_v2.get(_BITS_TAG, (8,))  # type: ignore[attr-defined]
        return max(int(n) for n in (bits if isinstance(bits, tuple) else (bits,)))
    return 8


def _shrink(size: tuple[int, int]) -> int:
    """The power of two by which a picture of this size is reduced."""
    factor = 1
    while size[0] * size[1] > KEPT_PIXELS * factor**2:
        factor *= 2
    return factor


def _ask_for_smaller(image: Image.Image) -> None:
    """Lets the JPEG decoder skip detail that would be discarded; other readers ignore it."""
    factor = _shrink(image.size)
    if factor > 1:
        image.draft(image.mode, (image.width // factor, image.height // factor))


def _reduced(image: Image.Image) -> Image.Image:
    factor = _shrink(image.size)
    return image.reduce(factor) if factor > 1 else image


def _upright(image: Image.Image) -> tuple[Image.Image, int | None]:
    from PIL import Image

    turn = Image.Transpose
    turns = {
        2: turn.FLIP_LEFT_RIGHT,
        3: turn.ROTATE_180,
        4: turn.FLIP_TOP_BOTTOM,
        5: turn.TRANSPOSE,
        6: turn.ROTATE_270,
        7: turn.TRANSVERSE,
        8: turn.ROTATE_90,
    }
    orientation = _orientation(image)
    if orientation not in turns:
        return image, None
    turned = image.transpose(turns[orientation])
    turned.info = image.info
    return turned, orientation


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except _READER_ERRORS:
        return 1  # broken metadata of a picture that is otherwise whole
    return value if isinstance(value, int) else 1


def _flat_srgb(
    image: Image.Image, background: tuple[int, int, int], adjusted: list[str]
) -> Image.Image:
    """RGB in sRGB, transparency laid on the background."""
    from PIL import Image

    alpha = _alpha(image)
    rgb = _to_srgb(_eight_bit(image), image.info.get("icc_profile"), adjusted)
    if alpha is None:
        return rgb
    names = {(255, 255, 255): "white", (0, 0, 0): "black"}
    name = names.get(background, "#{:02x}{:02x}{:02x}".format(*background))
    adjusted.append(f"transparency laid on {name}")
    flat = Image.new("RGB", rgb.size, background)
    flat.paste(rgb, mask=alpha)
    return flat


def _alpha(image: Image.Image) -> Image.Image | None:
    """The opacity of each pixel; None for a picture without transparent pixels."""
    if image.mode.startswith("I;16") and isinstance(image.info.get("transparency"), int):
        return _key_alpha(image, image.info["transparency"])
    if not image.has_transparency_data:
        return None
    whole = image if image.mode in ("LA", "RGBA") else image.convert("RGBA")
    alpha = whole.getchannel("A")
    lowest = alpha.getextrema()[0]
    return None if lowest == 255 else alpha


def _key_alpha(image: Image.Image, transparent: int) -> Image.Image:
    import numpy as np
    from PIL import Image

    return Image.fromarray((np.asarray(image) != transparent).astype(np.uint8) * 255)


def _eight_bit(image: Image.Image) -> Image.Image:
    """The picture as L, RGB, CMYK or LAB, 8 bits a channel, without transparency."""
    if image.mode in ("L", "RGB", "CMYK", "LAB"):
        return image
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _eight_bit_grey(image)
    if image.mode in ("1", "LA", "La"):
        return image.convert("LA").getchannel("L") if image.mode == "La" else image.convert("L")
    if image.mode in ("P", "PA"):
        return image.convert("RGBA").convert("RGB")
    return image.convert("RGB")


def _eight_bit_grey(image: Image.Image) -> Image.Image:
    """16-bit, 32-bit and floating-point greys, on the scale that fits their values."""
    import numpy as np
    from PIL import Image

    values = np.asarray(image, dtype=np.float32)
    if not np.isfinite(values).all():
        raise ValueError("it holds NaN or infinite values")
    highest = float(values.max())
    if image.mode.startswith("I;16"):
        white = 65535.0
    else:
        white = next((w for w in (1.0, 255.0, 65535.0) if highest <= w), highest)
    return Image.fromarray(np.clip(values * (255 / white) + 0.5, 0, 255).astype(np.uint8))


def _to_srgb(image: Image.Image, profile: bytes | None, adjusted: list[str]) -> Image.Image:
    """RGB; through the file's colour profile if it has one that fits."""
    if image.mode in ("CMYK", "LAB"):
        adjusted.append(f"{image.mode} converted to sRGB")
    converted = _through_profile(image, profile, adjusted)
    return converted if converted is not None else image.convert("RGB")


def _through_profile(
    image: Image.Image, profile: bytes | None, adjusted: list[str]
) -> Image.Image | None:
    from PIL import ImageCms

    try:
        source = _source_profile(image, profile)
        if source is None:
            return None
        space = source.profile.xcolor_space.strip()
        name = _profile_name(source)
        if space != {"L": "GRAY", "LAB": "Lab"}.get(image.mode, image.mode):
            raise ValueError(f"a profile for {space} on a picture in {image.mode}")
        if "sRGB" in name and image.mode == "RGB":
            return None
        converted: Image.Image | None = ImageCms.profileToProfile(
            image,
            source,
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
        )
    except (ImageCms.PyCMSError, *_READER_ERRORS):
        adjusted.append("a colour profile that does not fit the picture ignored")
        return None
    if image.mode not in ("CMYK", "LAB"):
        adjusted.append(f"colours converted from {name} to sRGB")
    return converted


def _source_profile(image: Image.Image, profile: bytes | None) -> Any:
    from PIL import ImageCms

    if image.mode == "LAB":
        return ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    return ImageCms.ImageCmsProfile(io.BytesIO(profile)) if profile else None


def _profile_name(source: Any) -> str:
    """The profile's own description, printable and short."""
    text = source.profile.profile_description or ""
    name = "".join(c for c in text if c.isprintable()).strip()[:40]
    return name if name else "the picture's profile"
