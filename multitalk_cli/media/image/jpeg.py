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
_CUT_OFF = 0
_MAX_SEGMENTS = 100_000
_ZEROS = 64
_MIDDLE_GREY = ((128, 128),) * 3
# Instead of the missing bytes, two different ones: what they change is not there.
_FILLINGS = (_END, b"\0" + b"\x55" * 256 + _END)
_NEXT_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_START_OF_SCAN = 0xDA
# All that state a size, and the segment of the number of lines.
_SIZES, _LINES = (
    (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), 0xCD, 0xCE, 0xCF),
    0xDC,
)
# The reader does not know these.
_UNKNOWN = {
    **dict.fromkeys((0xC3, 0xC7, 0xCB, 0xCF), "lossless"),
    **dict.fromkeys((0xC5, 0xC6, 0xCD, 0xCE), "hierarchical"),
}
_ARITHMETIC = (0xC9, 0xCA)
_FRAMES = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)
_PROGRESSIVE_FRAMES = (0xC2, 0xCA)
_COEFFICIENTS = 64
_NOTHING = 99  # more bits than a coefficient has
# The segments of programs, and comments.
_METADATA = (*range(0xE0, 0xF0), 0xFE)
# What the reader needs to open a picture: its size, and where its pixels would start.
_ONE_PIXEL = bytes.fromhex("ffc0000b080001000101011100 ffda0008010100003f00")


@dataclass(frozen=True, slots=True, eq=False)
class Salvaged:
    """What there is of a picture whose end is missing or damaged.

    rows: how many are whole. is_coarse: whether all lack fine detail. problem: what is wrong.
    """

    image: Image.Image
    rows: int
    is_coarse: bool = False
    problem: str = "the end of the file is missing"


@dataclass(slots=True)
class _Scans:
    """Which coefficients of which components the scans hold so far."""

    progressive: bool = False
    # Of each component: how many bits of each coefficient are still to come.
    bits_left: dict[int, list[int]] = field(default_factory=dict)
    # Of the brightness, before the last scan, which may be cut off.
    sure_bits_left: list[int] = field(default_factory=list)

    @property
    def are_all_there(self) -> bool:
        """Whether no scan is to come."""
        return bool(self.bits_left) and not any(map(any, self.bits_left.values()))

    @property
    def show_blocks_only(self) -> bool:
        """Whether some blocks of 8x8 pixels may have one brightness only."""
        return all(bits == _NOTHING for bits in self.sure_bits_left[1:])

    def add_frame(self, marker: int, body: bytes) -> None:
        """Learns the components of the picture."""
        self.progressive = marker in _PROGRESSIVE_FRAMES
        self.bits_left = {body[at]: [_NOTHING] * _COEFFICIENTS for at in range(6, len(body) - 2, 3)}

    def add_scan(self, body: bytes) -> None:
        """Learns what a scan holds."""
        self.sure_bits_left = list(next(iter(self.bits_left.values()), []))
        count = body[0]
        first, last, bits = body[1 + 2 * count : 4 + 2 * count]
        for component in body[1 : 1 + 2 * count : 2]:
            left = self.bits_left.get(component, [])
            for at in range(first, min(last + 1, len(left))) if self.progressive else range(64):
                left[at] = bits & 15 if self.progressive else 0


def load_cut_off(file: BinaryIO, load: Callable[[BinaryIO], Image.Image]) -> Salvaged | None:
    """What there is of a file whose end is missing.

    An end mark too early is as good as none. load: opens and decodes a file. Rows that are not
    whole hold anything. In a progressive picture the last of several refinements may be missing in
    parts of whole rows. None where too much is missing, or it cannot be known how much. Raises
    OSError for a progressive picture of which only a preview is there.
    """
    import numpy as np

    data = _data(file)
    if len(data) > _MAX_BYTES:
        return None
    if _frame(file)[0] in _ARITHMETIC:
        raise ValueError("unsupported kind of JPEG: with arithmetic coding")
    data = data.rstrip(b"\0")
    ends = (at for marker, at, _ in _segments(data) if marker in (_END[1], _CUT_OFF))
    data = data[: next(ends, len(data))].rstrip(b"\0")
    scans = _scans(data)
    if scans.progressive and scans.bits_left:
        if scans.show_blocks_only and not scans.are_all_there:
            raise OSError("only a coarse preview of the picture is in the file")
        image = load(io.BytesIO(data + _END))
        return Salvaged(image, image.height, is_coarse=not scans.are_all_there)
    if not scans.are_all_there:
        return None
    image, other = (load(io.BytesIO(data + filling)) for filling in _FILLINGS)
    pixels: NDArray[np.bool_] = np.asarray(image) != np.asarray(other)
    changed = pixels.reshape(image.height, -1).any(axis=1)
    return Salvaged(image, int(changed.argmax()) if changed.any() else image.height)


def lacks_scans(file: BinaryIO) -> bool:
    """Whether a progressive picture ends before its last scan, which the reader does not say."""
    data = _data(file)
    scans = _scans(data) if len(data) <= _MAX_BYTES else _Scans()
    return scans.progressive and bool(scans.bits_left) and not scans.are_all_there


def _data(file: BinaryIO) -> bytes:
    """The file, or a little more than is examined of a larger one."""
    file.seek(0)
    return file.read(_MAX_BYTES + 1)


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


def checked(file: BinaryIO) -> BinaryIO:
    """The file, or a copy whose header has the height that only a line behind the pixels states.

    Raises ValueError for a kind of JPEG that no reader here knows, and where nothing states the
    height.
    """
    marker, at = _frame(file)
    if marker in _UNKNOWN:
        raise ValueError(f"unsupported kind of JPEG: {_UNKNOWN[marker]}")
    file.seek(at)
    is_stated = at == 0 or file.read(2) != b"\0\0"
    file.seek(0)
    if is_stated:
        return file
    data = _data(file)
    heights = (body for marker, _, body in _segments(data) if marker == _LINES and len(body) == 2)
    height = next(heights, b"\0\0")
    if height == b"\0\0":
        raise ValueError("unsupported JPEG, which does not say how high it is")
    return io.BytesIO(data[:at] + height + data[at + 2 :])


def _frame(file: BinaryIO) -> tuple[int, int]:
    """The marker of the header, and where it states the height; zeros where there is none.

    Nothing behind the header is read.
    """
    at = 2
    for _ in range(_MAX_SEGMENTS):
        file.seek(at)
        head = file.read(4)
        if len(head) < 4 or head[0] != 0xFF or head[1] == _START_OF_SCAN:
            break
        if head[1] in _SIZES:
            # Behind the marker, the length of the segment and the bits of a sample.
            return head[1], at + 5
        at += 2 + int.from_bytes(head[2:], "big")
    return 0, 0


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
    """Marker, place and content of each segment, to the end mark; coded pixels are skipped.

    One that the end of the data cuts off has the marker _CUT_OFF and no content.
    """
    at = 2
    while (found := _NEXT_MARKER.search(data, at)) is not None:
        marker, start = found[0][1], found.end()
        length = int.from_bytes(data[start : start + 2], "big")
        if marker == _END[1]:
            yield marker, found.start(), b""
            return
        if length < 2 or start + length > len(data):
            yield _CUT_OFF, found.start(), b""
            return
        yield marker, found.start(), data[start + 2 : start + length]
        at = start + length
