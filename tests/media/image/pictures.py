"""Makers of test pictures: photographs from scikit-image, drawings, and ways to spoil both."""

import io
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from multitalk_cli.errors import MultitalkError
from multitalk_cli.media.image.load import Picture, load_picture

SKIN = ((240, 200, 170), (160, 110, 80), (220, 175, 140))
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
HAIR = ((70, 45, 30), (20, 20, 20), (180, 140, 70))


def photograph(name: str) -> Image.Image:
    """A picture that lies in scikit-image's wheel, such as astronaut.png (NASA, public domain)."""
    import skimage

    return Image.open(Path(skimage.__file__).parent / "data" / name).convert("RGB")


def to_picture(image: Image.Image) -> Picture:
    """A picture as if it had been loaded from a file of that size."""
    return Picture(
        pixels=np.array(image.convert("RGB")),
        source_width_px=image.width,
        source_height_px=image.height,
        format="PNG",
        sha256="0" * 64,
        background=(255, 255, 255),
    )


def drawing(
    size: tuple[int, int], heads: Sequence[tuple[float, float, float]], *, ink: bool = False
) -> Image.Image:
    """People drawn with ellipses, or in ink; each head is its middle and half its width."""
    image = Image.new("RGB", size, "white" if ink else (200, 220, 230))
    for n, (x, y, radius) in enumerate(heads):
        skin, hair = ((255, 255, 255), (60, 60, 60)) if ink else (SKIN[n % 3], HAIR[n % 3])
        _draw_head(ImageDraw.Draw(image), x, y, radius, skin, hair)
    return ImageOps.grayscale(image).convert("RGB") if ink else image


def _draw_head(
    draw: ImageDraw.ImageDraw,
    x: float,
    y: float,
    radius: float,
    skin: tuple[int, int, int],
    hair: tuple[int, int, int],
) -> None:
    shade = tuple(int(part * 0.75) for part in skin)

    def place(*shares: float) -> tuple[float, ...]:
        return tuple((y, x)[n % 2 == 0] + share * radius for n, share in enumerate(shares))

    thin = max(2, round(0.05 * radius))
    draw.ellipse(place(-1.15, -1.55, 1.15, 0.9), fill=hair)
    draw.rectangle(place(-0.4, 0.9, 0.4, 1.9), fill=shade)
    draw.ellipse(place(-2.0, 1.6, 2.0, 4.6), fill=(60, 80, 130))
    draw.ellipse(place(-1.0, -1.2, 1.0, 1.25), fill=skin, outline=shade)
    for side in (-0.42, 0.42):
        draw.ellipse(
            place(side - 0.2, -0.31, side + 0.2, -0.09), fill="white", outline=(70, 50, 40)
        )
        draw.ellipse(place(side - 0.1, -0.3, side + 0.1, -0.1), fill=(60, 40, 30))
        draw.arc(place(side - 0.28, -0.6, side + 0.28, -0.1), 200, 340, fill=hair, width=thin)
    nose = (place(-0.05, -0.1), place(-0.14, 0.35), place(0.08, 0.38))
    draw.line([point for pair in nose for point in pair], fill=shade, width=thin)
    draw.ellipse(place(-0.36, 0.58, 0.36, 0.82), fill=(190, 80, 80))
    draw.line(place(-0.34, 0.7, 0.34, 0.7), fill=(110, 40, 40), width=thin)


def beside(*images: Image.Image, height: int = 512) -> Image.Image:
    """Pictures scaled to one height and put side by side."""
    scaled = [
        image.resize((round(image.width * height / image.height), height)) for image in images
    ]
    joined = Image.new("RGB", (sum(image.width for image in scaled), height))
    left = 0
    for image in scaled:
        joined.paste(image, (left, 0))
        left += image.width
    return joined


def as_jpeg(image: Image.Image, quality: int) -> Image.Image:
    """The picture after JPEG compression."""
    stored = io.BytesIO()
    image.save(stored, "JPEG", quality=quality)
    return Image.open(stored).convert("RGB")


def darker(image: Image.Image, share: float) -> Image.Image:
    """The picture with only a share of its light."""
    return image.point(lambda value: value * share)


def quarters(width=128, height=96):
    """Red, green / blue, white: tells every turn and mirroring apart."""
    image = Image.new("RGB", (width, height), "white")
    image.paste(RED, (0, 0, width // 2, height // 2))
    image.paste(GREEN, (width // 2, 0, width, height // 2))
    image.paste(BLUE, (0, height // 2, width // 2, height))
    return image


def saved(folder, image, kind, **options):
    """The path of the picture, saved in a format."""
    path = folder / f"picture.{kind.lower()}"
    image.save(path, kind, **options)
    return path


def near(pixel, color, slack=12):
    """Whether no channel is off by more than `slack`."""
    return np.abs(np.asarray(pixel, int) - color).max() <= slack


def assert_quarters(pixels, slack=12):
    """The pixels are those of `quarters`, upright."""
    height, width = pixels.shape[:2]
    places = ((0.25, 0.25, RED), (0.25, 0.75, GREEN), (0.75, 0.25, BLUE), (0.75, 0.75, (255,) * 3))
    for down, across, color in places:
        assert near(pixels[int(down * height), int(across * width)], color, slack)


def png_chunk(name, body):
    """A chunk of a PNG, with its checksum."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_bytes(width, height, depth, color, rows, extra=b""):
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    body = png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + extra + body


def refused(path, code, words=""):
    """Loading the picture fails with that code, in printable words."""
    with pytest.raises(MultitalkError) as caught:
        load_picture(path)
    assert caught.value.code == code
    assert words in caught.value.message
    assert caught.value.message.isprintable()
