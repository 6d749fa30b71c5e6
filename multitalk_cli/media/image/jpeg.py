"""JPEG files whose end is missing: how much of the picture is there."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

# Larger cut-off files are not examined.
_MAX_BYTES = 64 << 20
_END = b"\xff\xd9"
_ZEROS = 64
_MIDDLE_GREY = ((128, 128),) * 3
# Instead of the missing bytes, two different ones: what they change is not there.
_FILLINGS = (_END, b"\0" + b"\x55" * 256 + _END)
_NEXT_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_START_OF_SCAN = 0xDA
_FRAMES = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)
_PROGRESSIVE_FRAMES = (0xC2, 0xCA)
_COEFFICIENTS = 64
# The segments of programs, and comments.
_METADATA = (*range(0xE0, 0xF0), 0xFE)
# What the reader needs to open a picture: its size, and where its pixels would start.
_ONE_PIXEL = bytes.fromhex("ffc0000b080001000101011100 ffda0008010100003f00")


@dataclass(slots=True)
class _Scans:
    """Which coefficients of which components the scans hold so far."""

    progressive: bool = False
    # Of each component: how many bits of each coefficient are still to come.
    bits_left: dict[int, list[int]] = field(default_factory=dict)

    @property
    def are_all_there(self) -> bool:
        """Whether no scan is to come."""
        return bool(self.bits_left) and not any(map(any, self.bits_left.values()))

    def add_frame(self, marker: int, body: bytes) -> None:
        """Learns the components of the picture."""
        self.progressive = marker in _PROGRESSIVE_FRAMES
        self.bits_left = {body[at]: [99] * _COEFFICIENTS for at in range(6, len(body) - 2, 3)}

    def add_scan(self, body: bytes) -> None:
        """Learns what a scan holds."""
        count = body[0]
        first, last, bits = body[1 + 2 * count : 4 + 2 * count]
        for component in body[1 : 1 + 2 * count : 2]:
            left = self.bits_left.get(component, [])
            for at in range(first, min(last + 1, len(left))) if self.progressive else range(64):
                left[at] = bits & 15 if self.progressive else 0


def load_cut_off(
    file: BinaryIO, load: Callable[[BinaryIO], Image.Image]
) -> tuple[Image.Image, int] | None:
    """The picture of a file whose end is missing, and how many of its rows are whole.

    An end mark too early is as good as none. load: opens and decodes a file. Rows that are not
    whole hold anything. In a progressive picture the last of several refinements may be missing in
    parts of whole rows. None where too much is missing, or it cannot be known how much.
    """
    import numpy as np

    file.seek(0)
    data = file.read(_MAX_BYTES + 1)
    end = next((at for marker, at, _ in _segments(data) if marker == _END[1]), len(data))
    data = data[:end].rstrip(b"\0")
    scans = _scans(data)
    if len(data) > _MAX_BYTES or not scans.are_all_there:
        return None
    image, other = (load(io.BytesIO(data + filling)) for filling in _FILLINGS)
    if scans.progressive:
        return image, image.height
    pixels: NDArray[np.bool_] = np.asarray(image) != np.asarray(other)
    changed = pixels.reshape(image.height, -1).any(axis=1)
    return image, int(changed.argmax()) if changed.any() else image.height


def looks_cut_off(image: Image.Image) -> bool:
    """Whether the last pixels are middle grey, as the reader draws what is not in the file."""
    last = image.crop((image.width - 2, image.height - 1, image.width, image.height))
    return image.mode in ("L", "RGB") and last.convert("RGB").getextrema() == _MIDDLE_GREY


def ends_in_zeros(file: BinaryIO) -> bool:
    """Whether zeros take the place of the end: a download that stopped. The file is rewound."""
    size = file.seek(0, 2)
    file.seek(max(0, size - _ZEROS))
    is_suspicious = not file.read().strip(b"\0") and size > _ZEROS
    file.seek(0)
    if not is_suspicious or size > _MAX_BYTES:
        return False
    data = file.read()
    file.seek(0)
    return not any(marker == _END[1] for marker, _, _ in _segments(data))


def unreadable_segments(file: BinaryIO) -> list[tuple[int, int]]:
    """Start and end of each segment of metadata with which the reader opens no picture."""
    from PIL import JpegImagePlugin

    file.seek(0)
    data = file.read(_MAX_BYTES)
    spans = []
    for marker, start, body in _segments(data):
        if marker == _START_OF_SCAN:
            break
        end = start + 4 + len(body)
        if marker not in _METADATA:
            continue
        try:
            JpegImagePlugin.JpegImageFile(io.BytesIO(data[:2] + data[start:end] + _ONE_PIXEL))
        except Exception:  # noqa: BLE001 - a reader's answer to any kind of damage
            spans.append((start, end))
    return spans


def _scans(data: bytes) -> _Scans:
    scans = _Scans()
    try:
        for marker, _, body in _segments(data):
            if marker in _FRAMES:
                scans.add_frame(marker, body)
            elif marker == _START_OF_SCAN:
                scans.add_scan(body)
    except (IndexError, ValueError):
        return _Scans()
    return scans


def _segments(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Marker, place and content of each segment, to the end mark; coded pixels are skipped."""
    at = 2
    while (found := _NEXT_MARKER.search(data, at)) is not None:
        marker, start = found[0][1], found.end()
        length = int.from_bytes(data[start : start + 2], "big")
        if marker == _END[1]:
            yield marker, found.start(), b""
        if marker == _END[1] or length < 2 or start + length > len(data):
            return
        yield marker, found.start(), data[start + 2 : start + length]
        at = start + length
