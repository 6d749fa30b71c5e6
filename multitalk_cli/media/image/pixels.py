"""From a decoded picture of any mode to upright sRGB pixels, strip by strip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from multitalk_cli.media.image.rows import Rows
    from multitalk_cli.media.image.srgb import Conversion

# A picture with more pixels is reduced to a half, a quarter, ...: still enough for any video size.
KEPT_PIXELS = 24_000_000
# Between its mode and sRGB a strip takes up to 20 bytes for each pixel.
_STRIP_PIXELS = 2_000_000
_EIGHT_BIT_MODES = ("L", "LA", "RGB", "RGBA", "CMYK")
# Pillow's numbers of what turns a stored picture upright, by its EXIF orientation: mirrored, by 180
# degrees, upside down, along its diagonals, by 270 and 90 degrees.
_TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
_FROM_THE_END = (3, 4, 6, 7)  # its last row comes first, or its last row is the left column
_GREY_MODES = ("1", "L", "LA", "La", "I", "F")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Look:
    """How stored pixels are to be seen.

    orientation: of EXIF, 1 to 8. is_negative: whether grey of more than 8 bits counts from white.
    """

    orientation: int
    conversion: Conversion
    background: tuple[int, int, int]
    is_negative: bool = False


def orientation_of(value: object) -> int:
    """The EXIF orientation, 1 to 8, of a tag's value in any type; 1 for anything else.

    It is to be a SHORT, but programs write it as a BYTE, which the reader gives as bytes, and as a
    text or a fraction.
    """
    if isinstance(value, tuple):
        value = value[0] if value else 1
    if isinstance(value, bytes) and value:
        value = value[0] if value[:1] < b"0" else value.decode("ascii", "replace").strip("\0 ")
    try:
        number = int(value)  # type: ignore[call-overload]
    except (TypeError, ValueError, ArithmeticError):
        return 1
    return number if 1 <= number <= 8 else 1


def kept_scale(size: tuple[int, int]) -> int:
    """The power of two by which a picture of this size is reduced."""
    factor = 1
    while size[0] * size[1] > KEPT_PIXELS * factor**2:
        factor *= 2
    return factor


def plain_mode(mode: str) -> str:
    """L, RGB, CMYK or LAB: the mode of a picture with 8 bits a channel and without opacity."""
    if mode in ("RGB", "CMYK", "LAB"):
        return mode
    return "L" if mode in _GREY_MODES or mode.startswith("I;16") else "RGB"


def to_srgb_pixels(rows: Rows, look: Look) -> tuple[NDArray[np.uint8], bool]:
    """[H, W, 3] uint8 sRGB, upright and of at most KEPT_PIXELS; whether anything is transparent."""
    import numpy as np
    from PIL import Image

    factor = kept_scale(rows.size)
    (width, height), lies = rows.size, look.orientation >= 5
    upright = (height, width) if lies else (width, height)
    pixels = np.empty((*(-(-side // factor) for side in upright[::-1]), 3), dtype=np.uint8)
    white = _white(rows)
    is_transparent = False
    for top, bottom in _strips(rows.size, factor, look.orientation):
        strip = rows.strip(top, bottom)
        if look.orientation in _TURNS:
            strip = strip.transpose(Image.Transpose(_TURNS[look.orientation]))
        if rows.mode in _EIGHT_BIT_MODES and factor > 1:
            strip = strip.reduce(factor)
        alpha = _alpha(strip)
        rgb = look.conversion.apply(_eight_bit(strip, white, look.is_negative))
        if alpha is not None:
            is_transparent = True
            rgb = _laid_on(look.background, rgb, alpha)
        if rows.mode not in _EIGHT_BIT_MODES and factor > 1:
            rgb = rgb.reduce(factor)
        at = (height - bottom if look.orientation in _FROM_THE_END else top) // factor
        (pixels.swapaxes(0, 1) if lies else pixels)[at:][: rgb.width if lies else rgb.height] = (
            np.asarray(rgb).swapaxes(0, 1) if lies else np.asarray(rgb)
        )
    return pixels, is_transparent


def _strips(size: tuple[int, int], factor: int, orientation: int) -> Iterator[tuple[int, int]]:
    """First and last rows of strips; the upright picture begins with whole ones."""
    width, height = size
    rows = max(1, _STRIP_PIXELS // (width * factor)) * factor
    top = 0
    while top < height:
        is_part = top == 0 and orientation in _FROM_THE_END
        bottom = min(top + (height % rows if is_part and height % rows else rows), height)
        yield top, bottom
        top = bottom


def _laid_on(background: tuple[int, int, int], rgb: Image.Image, alpha: Image.Image) -> Image.Image:
    from PIL import Image

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


def _eight_bit(image: Image.Image, white: float, is_negative: bool) -> Image.Image:
    """The picture in its plain mode, without transparency. white: as of `_white`."""
    if image.mode in ("L", "RGB", "CMYK", "LAB"):
        return image
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _eight_bit_grey(image, white, is_negative)
    if image.mode in ("1", "LA", "La"):
        return image.convert("LA").getchannel("L") if image.mode == "La" else image.convert("L")
    if image.mode in ("P", "PA"):
        return image.convert("RGBA").convert("RGB")
    return image.convert("RGB")


def _eight_bit_grey(image: Image.Image, white: float, is_negative: bool) -> Image.Image:
    import numpy as np
    from PIL import Image

    values = np.asarray(image, dtype=np.float32)
    grey = np.clip(values * (255 / white) + 0.5, 0, 255).astype(np.uint8)
    return Image.fromarray(255 - grey if is_negative else grey)


def _white(rows: Rows) -> float:
    """The value of white in greys of more than 8 bits: of the scale that fits the highest one."""
    import numpy as np

    if rows.mode not in ("I", "F"):
        return 65535.0
    highest = 0.0
    for top, bottom in _strips(rows.size, 1, 1):
        values = np.asarray(rows.strip(top, bottom), dtype=np.float32)
        if not np.isfinite(values).all():
            raise ValueError("it holds NaN or infinite values")
        if rows.mode == "I" and values.min() < 0:
            raise ValueError("it holds numbers of 32 bits that are too large")
        highest = max(highest, float(values.max()))
    return next((white for white in (1.0, 255.0, 65535.0) if highest <= white), highest)
