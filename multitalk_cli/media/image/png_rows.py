"""The rows of a PNG with colours or opacity, inflated and unfiltered a strip at a time.

Pillow decodes a PNG whole, in four bytes a pixel, and each filter needs the row above. So a strip
is decoded as a small PNG of its own: the last row of the strip before it, and then its own rows.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING, BinaryIO

from multitalk_cli.media.image.png import SIGNATURE, pack_chunk, pixel_bytes

if TYPE_CHECKING:
    from PIL import Image

    from multitalk_cli.media.image.png import PngFacts

SAMPLES = {2: 3, 4: 2, 6: 4}
"""Samples of a pixel of each type that is read here: colours, grey with opacity, and both."""


class PngRows:
    """The rows of a PNG of 8 or 16 bits that is not interlaced."""

    def __init__(self, file: BinaryIO, facts: PngFacts, image: Image.Image) -> None:
        """image: opened, not decoded."""
        self.size, self.mode, self.missing = image.size, image.mode, 0
        self._file, self._facts = file, facts
        self._transparency = image.info.get("transparency")
        self._row_bytes = image.width * SAMPLES[facts.color]
        self._pieces, self._rest = pixel_bytes(file), b""
        self._above = bytes(self._row_bytes)

    def strip(self, top: int, bottom: int) -> Image.Image:
        """The rows from `top` to `bottom`, which follow the strip before."""
        from PIL import PngImagePlugin

        count = bottom - top
        filtered = self._filtered(count)
        there = len(filtered) // (1 + self._row_bytes)
        self.missing += count - there
        # A row of zeros that is filtered as the difference to the one above repeats it.
        filtered += (b"\2" + bytes(self._row_bytes)) * (count - there)
        data = _png((self.size[0], count + 1), self._facts.color, b"\0" + self._above + filtered)
        image = PngImagePlugin.PngImageFile(data)
        self._above = image.crop((0, count, image.width, count + 1)).tobytes()
        strip = image.crop((0, 1, image.width, count + 1))
        if strip.mode != self.mode:
            # The reader makes colours of grey with 16 bits and opacity.
            strip = strip.convert(self.mode)
        strip.info = {} if self._transparency is None else {"transparency": self._transparency}
        return strip

    def _filtered(self, count: int) -> bytes:
        """The next rows, each with its filter before it; fewer at the end of what is there."""
        import numpy as np

        depth_bytes = self._facts.depth // 8
        row_bytes = 1 + self._row_bytes * depth_bytes
        pieces, length = [self._rest], len(self._rest)
        while length < count * row_bytes and (piece := next(self._pieces, b"")):
            pieces.append(piece)
            length += len(piece)
        inflated = b"".join(pieces)
        there = min(count, length // row_bytes)
        rows, self._rest = inflated[: there * row_bytes], inflated[there * row_bytes :]
        if depth_bytes == 1:
            return rows
        # Filters do not mix upper and lower bytes, and the reader drops the lower ones.
        each = np.frombuffer(rows, np.uint8).reshape(there, row_bytes)
        return np.concatenate([each[:, :1], each[:, 1::2]], axis=1).tobytes()


def _png(size: tuple[int, int], color: int, rows: bytes) -> io.BytesIO:
    header = struct.pack(">IIBB3x", *size, 8, color)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 0)), (b"IEND", b""))
    return io.BytesIO(SIGNATURE + b"".join(pack_chunk(name, body) for name, body in chunks))
