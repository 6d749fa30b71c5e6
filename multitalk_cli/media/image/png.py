"""PNG files: chunks that the reader refuses but does not need, colours, and what is missing."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

from multitalk_cli.media.image.profiles import SRGB, ColorSpace, from_h273

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from typing import Any

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SIGNATURE_BYTES, _HEADER_BYTES, _MAX_CHUNKS = 8, 33, 300_000
_END = bytes.fromhex("00000000 49454e44 ae426082")
# Pillow refuses more: of an inflated text or profile, and of all texts together.
_INFLATED_BYTES, _ALL_TEXT_BYTES = 1 << 20, 64 << 20
_PROFILE_BYTES = 16 << 20
_PIECE_BYTES = 1 << 20
_LAST_FILTER = 4
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_USED = (*_TEXTS, b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"eXIf", b"pHYs")
_ANIMATION = (b"acTL", b"fcTL", b"fdAT")
_GAMMA, _GAMMA_SLACK, _POINT_SLACK = 1 / 2.2, 0.05, 0.003


@dataclass(frozen=True, slots=True)
class _Chunk:
    name: bytes
    start: int
    length: int

    @property
    def end(self) -> int:
        return self.start + 12 + self.length

    @property
    def is_critical(self) -> bool:
        """Whether no reader can do without it: its name starts with a capital."""
        return self.name[:1].isupper()


def _chunks(file: BinaryIO) -> Iterator[_Chunk]:
    """The chunks up to IEND, to the end of the file, or to something that is no chunk.

    Raises ValueError for absurdly many: the reader would take minutes.
    """
    size, start = file.seek(0, 2), _SIGNATURE_BYTES
    for _ in range(_MAX_CHUNKS):
        file.seek(start)
        head = file.read(8)
        chunk = _Chunk(head[4:], start, int.from_bytes(head[:4], "big"))
        if len(head) < 8 or not chunk.name.isalpha() or chunk.end > size:
            return
        yield chunk
        if chunk.name == b"IEND":
            return
        start = chunk.end
    raise ValueError(f"it has more than {_MAX_CHUNKS:,} chunks")


@dataclass(slots=True, kw_only=True)
class PngFacts:
    """What lies around the pixels of a PNG.

    depth: bits of a sample. color: the type of pixels. is_interlaced: whether rows come in seven
    passes. is_damaged: whether a checksum of the pixels is wrong. exif: EXIF data. profile: an ICC
    profile that the reader would refuse as too large. h273: primaries and transfer of a cICP chunk.
    left_out: (start, end) of chunks that the reader must not see. frames: of an animation. notes:
    sentences about damage.
    """

    depth: int = 0
    color: int = 0
    is_interlaced: bool = False
    is_damaged: bool = False
    exif: bytes = b""
    frames: int = 0
    profile: bytes | None = None
    h273: tuple[int, int] | None = None
    left_out: list[tuple[int, int]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _text_bytes: int = 0

    def leave_out(self, chunk: _Chunk) -> None:
        """Hides a chunk from the reader, in one span with a neighbour that is left out too."""
        start = chunk.start
        if self.left_out and self.left_out[-1][1] == start:
            start = self.left_out.pop()[0]
        self.left_out.append((start, chunk.end))

    def look_inside(self, file: BinaryIO, chunk: _Chunk) -> bool:
        """Notes what an ancillary chunk says. Returns whether the reader can take it."""
        if chunk.name not in _USED and chunk.name != b"cICP":
            return chunk.length <= _INFLATED_BYTES
        if chunk.length > _ALL_TEXT_BYTES:
            return False
        body = _body(file, chunk)
        if chunk.name in _TEXTS:
            length = _text_bytes(chunk, body)
            if length > max(len(body), _INFLATED_BYTES):
                return False
            self._text_bytes += length
            return self._text_bytes <= _ALL_TEXT_BYTES
        if chunk.name == b"iCCP":
            profile = _inflate(body.partition(b"\0")[2][1:], _PROFILE_BYTES)
            if len(profile) > _INFLATED_BYTES:
                self.profile = profile
                return False
        elif chunk.name == b"cICP" and len(body) == 4:
            self.h273 = body[0], body[1]
        elif chunk.name == b"eXIf":
            self.exif = body
        return True


def examine(file: BinaryIO) -> PngFacts:
    """Looks at every chunk. The file is rewound. Raises ValueError for absurdly many."""
    facts = PngFacts()
    damaged: list[str] = []
    pixels_seen = False
    header = _bytes(file, 0, _HEADER_BYTES)
    for chunk in _chunks(file):
        if chunk.name == b"CgBI":
            raise ValueError("unsupported PNG, as Xcode packs it for iOS (CgBI)")
        if chunk.name == b"IHDR" and chunk.length == 13:
            facts.depth, facts.color, *_, interlaced = _body(file, chunk)[8:]
            facts.is_interlaced = interlaced != 0
        pixels_seen = pixels_seen or chunk.name == b"IDAT"
        if chunk.is_critical:
            continue
        # The reader checks no sums behind the pixels.
        if not pixels_seen and not _is_whole(file, chunk):
            damaged.append(chunk.name.decode("ascii"))
            facts.leave_out(chunk)
        elif chunk.name in _ANIMATION:
            # Only the picture itself is used, whatever its animation looks like.
            if chunk.name == b"acTL":
                facts.frames = int.from_bytes(_body(file, chunk)[:4], "big")
            facts.leave_out(chunk)
        elif not facts.look_inside(file, chunk):
            facts.leave_out(chunk)
        elif chunk.name in _USED and not _is_readable(header, _bytes(file, chunk.start, chunk.end)):
            damaged.append(chunk.name.decode("ascii"))
            facts.leave_out(chunk)
    facts.is_damaged = not all(
        _is_whole(file, chunk) for chunk in _chunks(file) if chunk.name == b"IDAT"
    )
    file.seek(0)
    facts.notes = [f"a damaged chunk of the PNG ignored: {name}" for name in dict.fromkeys(damaged)]
    return facts


def _bytes(file: BinaryIO, start: int, end: int) -> bytes:
    file.seek(start)
    return file.read(end - start)


def _is_readable(header: bytes, chunk: bytes) -> bool:
    """Whether the reader opens a picture that begins with this header and chunk."""
    from PIL import PngImagePlugin

    try:
        PngImagePlugin.PngImageFile(io.BytesIO(header + chunk + _END))
    except Exception:  # noqa: BLE001 - a reader's answer to any kind of damage
        return False
    return True


def _body(file: BinaryIO, chunk: _Chunk) -> bytes:
    file.seek(chunk.start + 8)
    return file.read(chunk.length)


def _is_whole(file: BinaryIO, chunk: _Chunk) -> bool:
    """Whether the chunk's checksum is that of its bytes."""
    file.seek(chunk.start + 4)
    left, checksum = chunk.length + 4, 0
    while left > 0:
        piece = file.read(min(left, _PIECE_BYTES))
        checksum = zlib.crc32(piece, checksum)
        left -= len(piece)
    return file.read(4) == checksum.to_bytes(4, "big")


def _inflate(data: bytes, most: int) -> bytes:
    try:
        return zlib.decompressobj().decompress(data, most)
    except zlib.error:
        return b""


def _text_bytes(chunk: _Chunk, body: bytes) -> int:
    """The length of a text, counted up to a little more than the reader takes."""
    packed = b""
    if chunk.name == b"zTXt":
        packed = body.partition(b"\0")[2][1:]
    elif chunk.name == b"iTXt":
        flags = body.partition(b"\0")[2]
        packed = flags[2:].split(b"\0", 2)[-1] if flags[:1] == b"\1" else b""
    return max(len(body), len(_inflate(packed, _INFLATED_BYTES + 1)))


class WithoutChunks(io.RawIOBase):
    """A file as if some spans of it were not there; for reading."""

    def __init__(self, file: BinaryIO, left_out: list[tuple[int, int]]) -> None:
        super().__init__()
        self._file, self._at = file, 0
        size = file.seek(0, 2)
        edges = [0, *(edge for span in left_out for edge in span), size]
        # (start in the file, start here, length) of each part that is there.
        self._parts: list[tuple[int, int, int]] = []
        self._size = 0
        for start, end in zip(edges[::2], edges[1::2], strict=True):
            self._parts.append((start, self._size, end - start))
            self._size += end - start

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        """As for any file."""
        self._at = max(0, offset + (0, self._at, self._size)[whence])
        return self._at

    def tell(self) -> int:
        """The position, counted without what is left out."""
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Reads up to the end of a part; 0 bytes at the end."""
        for start, here, length in self._parts:
            within = self._at - here
            if 0 <= within < length:
                self._file.seek(start + within)
                piece = self._file.read(min(len(buffer), length - within))
                buffer[: len(piece)] = piece
                self._at += len(piece)
                return len(piece)
        return 0


def stated_colors(facts: PngFacts, info: dict[Any, Any]) -> ColorSpace | None:
    """The colour space that the chunks name besides a profile; None for sRGB.

    info: of the opened picture. Source: Portable Network Graphics, third edition, 4.3.
    """
    if facts.h273 is not None:
        return from_h273(*facts.h273)
    if info.get("icc_profile") or "srgb" in info:
        return None
    points = info.get("chromaticity", SRGB)
    gamma = info.get("gamma", 0.0)
    moved = max(abs(one - other) for one, other in zip(points, SRGB, strict=True)) > _POINT_SLACK
    bent = gamma > 0 and abs(gamma / _GAMMA - 1) > _GAMMA_SLACK
    if not moved and not bent:
        return None
    name = f"gamma {1 / gamma:.2g}" if gamma > 0 else "sRGB's curve"
    return ColorSpace(
        name=f"{name} with primaries of its own" if moved else name,
        primaries=points if moved else SRGB,
        curve=1 / gamma if gamma > 0 else "srgb",
    )


@dataclass(frozen=True, slots=True)
class Repaired:
    """A PNG with all rows of a damaged one, of which so many are whole; the others repeat the last.

    is_damaged: whether its pixels are damaged, and not only too few.
    """

    file: BinaryIO
    rows: int
    is_damaged: bool


def repaired(file: BinaryIO, facts: PngFacts, size: tuple[int, int]) -> Repaired | None:
    """The picture out of a file whose pixels are damaged or not all there.

    None for an interlaced PNG, whose rows come in pieces.
    """
    if facts.is_interlaced:
        return None
    width, height = size
    samples = {2: 3, 4: 2, 6: 4}.get(facts.color, 1)
    row_bytes = 1 + (width * samples * facts.depth + 7) // 8
    rows, pieces, is_damaged = bytearray(), pixel_bytes(file), False
    try:
        # A little more than the rows, as far as the checksum behind them.
        while len(rows) < height * row_bytes + _PIECE_BYTES:
            rows += next(pieces)
    except StopIteration as end:
        is_damaged = not end.value
    filters = rows[: len(rows) // row_bytes * row_bytes : row_bytes][:height]
    whole = next((n for n, kind in enumerate(filters) if kind > _LAST_FILTER), len(filters))
    del rows[whole * row_bytes :]
    # A row of zeros that is filtered as the difference to the one above repeats it.
    rows += (b"\2" + bytes(row_bytes - 1)) * (height - whole)
    left_out = {start for start, _ in facts.left_out}
    needed = (
        _bytes(file, chunk.start, chunk.end)
        for chunk in _chunks(file)
        if chunk.name in (b"IHDR", b"PLTE", b"tRNS") and chunk.start not in left_out
    )
    pixels = pack_chunk(b"IDAT", zlib.compress(rows, 0))
    again = io.BytesIO(SIGNATURE + b"".join(needed) + pixels + _END)
    return Repaired(again, whole, is_damaged or whole < len(filters))


def pack_chunk(name: bytes, body: bytes) -> bytes:
    """A chunk, with its checksum."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def pixel_bytes(file: BinaryIO) -> Generator[bytes, None, bool]:
    """The filtered rows, inflated piece by piece, up to the first damage.

    Returns whether there is none.
    """
    inflater = zlib.decompressobj()
    for packed in _packed_pixels(file):
        if not (yield from _inflated(inflater, packed)):
            return False
    return True


def _inflated(inflater: Any, packed: bytes) -> Generator[bytes, None, bool]:
    """What these bytes give, up to the first damage. Returns whether there is none.

    An error loses what the same bytes give before it, and the last checksum may be all that is
    wrong: so the bytes are halved until the damage is found.
    """
    while packed:
        before = inflater.copy()
        try:
            piece = inflater.decompress(packed, _PIECE_BYTES)
        except zlib.error:
            half = len(packed) // 2
            if half == 0 or not (yield from _inflated(before, packed[:half])):
                return False
            inflater, packed = before, packed[half:]
            continue
        packed = inflater.unconsumed_tail
        if piece:
            yield piece
    return True


def _packed_pixels(file: BinaryIO) -> Iterator[bytes]:
    """The bytes of the IDAT chunks that follow each other: a reader sees no others."""
    are_pixels = False
    for chunk in _unfinished_chunks(file):
        if chunk.name != b"IDAT" and are_pixels:
            return
        are_pixels = chunk.name == b"IDAT"
        at, left = chunk.start + 8, chunk.length if are_pixels else 0
        while left > 0:
            file.seek(at)
            piece = file.read(min(left, _PIECE_BYTES))
            if not piece:
                break
            at, left = at + len(piece), left - len(piece)
            yield piece


def _unfinished_chunks(file: BinaryIO) -> Iterator[_Chunk]:
    """The chunks, and the one that the end of the file cuts off."""
    start = _SIGNATURE_BYTES
    for chunk in _chunks(file):
        yield chunk
        start = chunk.end
    file.seek(start)
    head = file.read(8)
    if len(head) == 8:
        yield _Chunk(head[4:], start, int.from_bytes(head[:4], "big"))
