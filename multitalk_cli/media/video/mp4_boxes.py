"""The boxes of MP4 files. The files are untrusted, and reads are bounded."""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

_MAX_MOOV_BYTES = 64 * 1024 * 1024
_MAX_BOXES = 10_000


class BoxError(ValueError):
    """The bytes break the rules of the format."""


@dataclass(frozen=True, slots=True)
class Mp4Box:
    """One box of a file: its name, and the start and length of its body."""

    name: bytes
    start: int
    length: int


def top_level(file: BinaryIO) -> Iterator[Mp4Box]:
    """The outermost boxes in order; raises BoxError for one that reaches beyond the file's end."""
    size = file.seek(0, os.SEEK_END)
    at = 0
    for _ in range(_MAX_BOXES):
        if at >= size:
            return
        file.seek(at)
        box = _box(file.read(16), at, size)
        yield box
        at = box.start + box.length
    raise BoxError("too many boxes")


def _box(header: bytes, at: int, end: int) -> Mp4Box:
    """The box whose header these 8 to 16 bytes are; `at` and `end` bound it."""
    if len(header) < 8:
        raise BoxError("the file ends inside a box's header")
    length, name = struct.unpack(">I4s", header[:8])
    body = 8
    if length == 1 and len(header) >= 16:
        length, body = struct.unpack(">Q", header[8:16])[0], 16
    if length == 0:
        length = end - at
    if length < body or at + length > end:
        raise BoxError(f"box {name.decode('latin-1')!r} of {length} bytes does not fit")
    return Mp4Box(name, at + body, length - body)


def children(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Names and bodies of the boxes inside a body."""
    at = 0
    for _ in range(_MAX_BOXES):
        if at + 8 > len(data):
            return
        box = _box(data[at : at + 16], at, len(data))
        yield box.name, data[box.start : box.start + box.length]
        at = box.start + box.length
    raise BoxError("too many boxes")


def child(data: bytes, *path: bytes) -> bytes | None:
    """The body of the first box along a path of names; None if one is missing."""
    for name in path:
        found = next((body for other, body in children(data) if other == name), None)
        if found is None:
            return None
        data = found
    return data


def read_moov(file: BinaryIO) -> tuple[bytes, bool]:
    """The body of the index box, and whether it precedes the media data.

    Raises BoxError if it is missing or implausibly large, or the file is cut off.
    """
    boxes = list(top_level(file))
    names = [box.name for box in boxes]
    if b"moov" not in names:
        raise BoxError("no index box")
    index = boxes[names.index(b"moov")]
    if index.length > _MAX_MOOV_BYTES:
        raise BoxError(f"an index of {index.length} bytes")
    file.seek(index.start)
    return file.read(index.length), b"mdat" not in names[: names.index(b"moov")]


def unpack(form: str, data: bytes, at: int) -> tuple[int, ...]:
    """Integers at an offset, big-endian; raises BoxError if the data ends before them."""
    size = struct.calcsize(">" + form)
    if at < 0 or at + size > len(data):
        raise BoxError("a box ends before its fields")
    return struct.unpack(">" + form, data[at : at + size])
