"""Plain samples out of any pieces of a file, for WAV files whose headers no reader can follow."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PCM, FLOAT, A_LAW, MU_LAW = 1, 3, 6, 7
_WIDTHS = {PCM: (8, 16, 24, 32), FLOAT: (32, 64), A_LAW: (8,), MU_LAW: (8,)}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainSamples:
    """Where samples lie. tag: PCM, FLOAT, A_LAW or MU_LAW. order: "<" or ">".

    pieces: start and end of each run of whole samples of all channels.
    """

    tag: int
    bits: int
    channels: int
    rate_hz: int
    order: str
    pieces: tuple[tuple[int, int], ...]

    @property
    def block_bytes(self) -> int:
        """Bytes of one sample of all channels."""
        return self.channels * self.bits // 8

    @property
    def samples(self) -> int:
        """Samples of each channel in all pieces."""
        return sum((end - start) // self.block_bytes for start, end in self.pieces)


def is_readable(tag: int, bits: int) -> bool:
    """Whether samples of this kind are read here."""
    return bits in _WIDTHS.get(tag, ())


class PlainDecoder:
    """Blocks out of the pieces."""

    complaints = damaged = 0

    def __init__(self, file: BinaryIO, sound: PlainSamples, block_samples: int) -> None:
        self._file, self._sound = file, sound
        self._block_bytes = block_samples * sound.block_bytes
        self._pieces = list(sound.pieces)

    def read(self) -> NDArray[np.float32]:
        """The next block, [n, channels]; empty at the end."""
        data = b""
        while not data and self._pieces:
            start, end = self._pieces.pop(0)
            self._file.seek(start)
            data = self._file.read(min(self._block_bytes, end - start))
            if data and start + len(data) < end:
                self._pieces.insert(0, (start + len(data), end))
        data = data[: len(data) - len(data) % self._sound.block_bytes]
        return to_floats(data, self._sound).reshape(-1, self._sound.channels)


def to_floats(data: bytes, sound: PlainSamples) -> NDArray[np.float32]:
    """The values of these bytes, full scale 1, as libsndfile makes them."""
    import numpy as np

    if sound.tag == FLOAT:
        return np.frombuffer(data, f"{sound.order}f{sound.bits // 8}").astype(np.float32)
    if sound.tag in (A_LAW, MU_LAW):
        table = _law_table(sound.tag)
        return table[np.frombuffer(data, np.uint8)]
    if sound.bits == 8:
        return (np.frombuffer(data, np.uint8).astype(np.float32) - 128) / np.float32(128)
    if sound.bits != 24:
        integers = np.frombuffer(data, f"{sound.order}i{sound.bits // 8}")
        return integers.astype(np.float32) * np.float32(2.0 ** (1 - sound.bits))
    triples = np.frombuffer(data, np.uint8).reshape(-1, 3)
    wide = np.zeros((len(triples), 4), np.uint8)
    # The upper three of four bytes.
    wide[:, 1:] = triples if sound.order == "<" else triples[:, ::-1]
    return wide.view("<i4")[:, 0].astype(np.float32) * np.float32(2.0**-31)


@cache
def _law_table(tag: int) -> NDArray[np.float32]:
    """The values of the 256 codes of A-law or mu-law. Source: ITU-T G.711."""
    import numpy as np

    codes = np.arange(256)
    plain = codes ^ (0x55 if tag == A_LAW else 0xFF)
    exponent, mantissa = (plain >> 4) & 7, plain & 15
    if tag == A_LAW:
        steps = np.where(
            exponent == 0, 16 * mantissa + 8, (16 * mantissa + 264) << (exponent - 1).clip(0)
        )
        sign = np.where(plain & 0x80, 1, -1)
    else:
        steps = ((8 * mantissa + 132) << exponent) - 132
        sign = np.where(plain & 0x80, -1, 1)
    return (sign * steps / 32_768).astype(np.float32)
