"""HEIF files, which hold HEVC (HEIC) or AV1 (AVIF) pictures: their readers, and stated colours."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from multitalk_cli.errors import FileError
from multitalk_cli.media.image.profiles import ColorSpace, from_h273

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL import Image

_HEAD_BYTES = 1 << 20
_VERSIONED = 4  # bytes of version and flags before the content of a `meta` box


def open_heif(file: BinaryIO, kind: str, shown: str) -> Image.Image:
    """Opens a HEIC or AVIF file. Raises FileError where no reader for it is installed."""
    from PIL import Image, features

    if kind == "AVIF":
        if "avif" not in features.modules or not features.check("avif"):
            raise FileError(
                f"{shown} is AVIF, which the installed Pillow does not read", code="E_IMAGE_FORMAT"
            )
        return Image.open(file, formats=["AVIF"])
    try:
        from pi_heif.as_plugin import HeifImageFile
    except ImportError:
        raise FileError(
            f"{shown} is HEIC, which needs the package pi-heif",
            code="E_IMAGE_FORMAT",
            hint="Export the picture as JPEG; or install the extra, for files on this machine: "
            "pipx install --force '.[heic]' in a checkout.",
        ) from None
    opened: Image.Image = HeifImageFile(file)
    return opened


def stated_colors(file: BinaryIO) -> ColorSpace | None:
    """The colour space of the first `colr` box with code points; the file is rewound."""
    for color in _properties(file, b"colr"):
        if color[:4] == b"nclx" and len(color) >= 8:
            primaries, transfer = color[4:6], color[6:8]
            return from_h273(int.from_bytes(primaries, "big"), int.from_bytes(transfer, "big"))
    return None


def avif_bytes(file: BinaryIO) -> float:
    """The bytes that the reader of AVIF takes for a pixel; the file is rewound.

    Measured with pictures of 49 and 99 megapixels: 9.2 with 4:2:0, 10.9 with 4:4:4, 11.0 and 14.1
    with the same in 10 bits.
    """
    most = 1.5
    for config in _properties(file, b"av1C"):
        if len(config) < 3:
            continue
        is_deep, is_grey = config[2] & 0x40, config[2] & 0x10
        halved = (config[2] & 0x08) // 0x08 + (config[2] & 0x04) // 0x04
        planes = 1.0 if is_grey else 1 + 2 / 2**halved
        most = max(most, planes * (2 if is_deep else 1))
    return 8 + most


def _properties(file: BinaryIO, name: bytes) -> list[bytes]:
    """The content of all boxes of that name among the properties of pictures."""
    file.seek(0)
    levels = [file.read(_HEAD_BYTES)]
    file.seek(0)
    for level, skipped in ((b"meta", _VERSIONED), (b"iprp", 0), (b"ipco", 0), (name, 0)):
        levels = [box[skipped:] for data in levels for box in _boxes(data, level)]
    return levels


def _boxes(data: bytes, name: bytes) -> Iterator[bytes]:
    """The content of each box of that name."""
    at = 0
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        if length < 8:
            return
        if data[at + 4 : at + 8] == name:
            yield data[at + 8 : at + length]
        at += length
