"""The rows of a large TIFF, read from its strips or tiles.

Pillow decodes a TIFF whole. So a few rows of its strips or tiles are decoded as a small TIFF of
their own, with the tags that say how they are packed.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, BinaryIO

from multitalk_cli.media.image.rows import MAX_WHOLE_BYTES
from multitalk_cli.media.image.tiff import TiffFacts, suitable_reader

if TYPE_CHECKING:
    from collections.abc import Mapping

    from PIL import Image

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_SAMPLES, _PLANES, _TILE_WIDTH, _TILE_HEIGHT = 277, 284, 322, 323
_STRIPS, _STRIP_HEIGHT, _STRIP_BYTES, _TILES, _TILE_BYTES = 273, 278, 279, 324, 325
# Of how pixels are packed and what they mean: bits, FillOrder, fax, predictor, colours, inks,
# opacity, numbers, the tables of JPEG, and YCbCr.
_KEPT = (
    *(_WIDTH, _BITS, _COMPRESSION, _PHOTOMETRIC, 266, _SAMPLES, _PLANES, 292, 293, 317, 320),
    *(_TILE_WIDTH, _TILE_HEIGHT, 332, 338, 339, 347, 529, 530, 531, 532),
)
_NO_COMPRESSION, _OLD_JPEG, _SEPARATE, _YCBCR = 1, 6, 2, 6
_LONG = 4
# Rows that are read at once of a picture without compression that is one single strip.
_PIECE_ROWS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class _Units:
    """The strips or tiles of a picture, plane by plane.

    height_px: of each. across: how many lie beside each other. places: the start of each and its
    bytes.
    """

    height_px: int
    across: int
    planes: int
    places: list[tuple[int, int]]
    are_tiles: bool

    def between(self, first: int, last: int) -> list[tuple[int, int]]:
        """The places of the units in some rows of them."""
        each = len(self.places) // self.planes
        return [
            place
            for plane in range(self.planes)
            for place in self.places[plane * each :][first * self.across : last * self.across]
        ]


class TiffRows:
    """The rows of a TIFF, of which a few are held at a time."""

    missing = 0

    def __init__(
        self, file: BinaryIO, image: Image.Image, tags: Any, facts: TiffFacts, units: _Units
    ) -> None:
        self.size, self.mode = image.size, image.mode
        self._file, self._tags, self._facts, self._units = file, tags, facts, units
        self._held: tuple[int, Image.Image] | None = None

    def strip(self, top: int, bottom: int) -> Image.Image:
        """The rows from `top` to `bottom`."""
        held = self._held
        if held is None or not (held[0] <= top and bottom <= held[0] + held[1].height):
            height = self._units.height_px
            first, last = top // height, -(-bottom // height)
            rows = min(last * height, self.size[1]) - first * height
            self._held = held = first * height, self._decoded(first, last, rows)
        start, image = held
        return image.crop((0, top - start, image.width, bottom - start))

    def _decoded(self, first: int, last: int, rows: int) -> Image.Image:
        """The strips or tiles of some rows of them, as a picture."""
        from PIL import TiffImagePlugin

        pieces = []
        for start, length in self._units.between(first, last):
            self._file.seek(start)
            pieces.append(self._file.read(length))
        header = self._tags.prefix + (
            b"*\0\x08\0\0\0" if self._tags.prefix == b"II" else b"\0*\0\0\0\x08"
        )
        tags = TiffImagePlugin.ImageFileDirectory_v2(header)
        for tag in _KEPT:
            if tag in self._tags:
                tags.tagtype[tag] = self._tags.tagtype[tag]
                tags[tag] = self._tags[tag]
        lengths = [len(piece) for piece in pieces]
        _add(tags, _HEIGHT, rows)
        _add(tags, _TILE_BYTES if self._units.are_tiles else _STRIP_BYTES, *lengths)
        starts = list(accumulate(lengths, initial=0))[:-1]
        if self._units.are_tiles:
            _add(tags, _TILES, *starts)
            behind = len(header) + len(tags.tobytes(len(header)))
            _add(tags, _TILES, *(behind + start for start in starts))
        else:
            # The places of strips are written as if counted from what is behind the tags.
            _add(tags, _STRIPS, *starts)
            _add(tags, _STRIP_HEIGHT, self._units.height_px)
        small = io.BytesIO(header + tags.tobytes(len(header)) + b"".join(pieces))
        with suitable_reader(self._facts):
            image = TiffImagePlugin.TiffImageFile(small)
            image.load()
        return image


def _add(tags: Any, tag: int, *numbers: int) -> None:
    tags.tagtype[tag] = _LONG
    tags[tag] = numbers


def open_rows(file: BinaryIO, image: Any, facts: TiffFacts) -> TiffRows | None:
    """The rows of an opened TIFF; None for one that can only be decoded whole."""
    tags = image.tag_v2
    units = _units(tags, image.size)
    if units is None or 4 * image.width * units.height_px > MAX_WHOLE_BYTES:
        return None
    return TiffRows(file, image, tags, facts, units)


def _units(tags: Mapping[int, Any], size: tuple[int, int]) -> _Units | None:
    """The strips or tiles; None where they do not stand alone or are not all there."""
    width, height = size
    samples, packing = tags.get(_SAMPLES, 1), tags.get(_COMPRESSION, 1)
    planes = samples if tags.get(_PLANES, 1) == _SEPARATE else 1
    if packing == _OLD_JPEG:
        return None
    if _TILES in tags:
        across, tall = -(-width // tags[_TILE_WIDTH]), tags[_TILE_HEIGHT]
        starts, lengths = tags[_TILES], tags.get(_TILE_BYTES, ())
    else:
        across, tall = 1, min(tags.get(_STRIP_HEIGHT, height), height)
        starts, lengths = tags.get(_STRIPS, ()), tags.get(_STRIP_BYTES, ())
    if (
        tall < 1
        or len(starts) != len(lengths)
        or len(starts) != planes * across * -(-height // tall)
    ):
        return None
    places = list(zip(starts, lengths, strict=True))
    is_plain = packing == _NO_COMPRESSION and tags.get(_PHOTOMETRIC) != _YCBCR
    if _TILES not in tags and tall == height and is_plain:
        row_bytes = (width * (samples // planes) * max(tags.get(_BITS, (1,))) + 7) // 8
        places = [
            (start + top * row_bytes, min(_PIECE_ROWS, height - top) * row_bytes)
            for start, _ in places
            for top in range(0, height, _PIECE_ROWS)
        ]
        tall = _PIECE_ROWS
    return _Units(
        height_px=tall, across=across, planes=planes, places=places, are_tiles=_TILES in tags
    )
