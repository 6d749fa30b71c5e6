"""The last frame of a FLAC file: how many samples there are, whatever its header claims."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from multitalk_cli.media.audio.window import Window

# The longest frames of usual files: two channels of 24 bits, 4608 samples each, that do not pack.
_SEARCHED_BYTES = 1 << 16
_INFO_BYTES = 38
_LONGEST_HEADER = 16
_MAX_BLOCKS = 1_000
_BLOCKS = {1: 192} | {n: 576 << (n - 2) for n in range(2, 6)} | {n: 1 << n for n in range(8, 16)}


@dataclass(frozen=True, slots=True)
class FlacInfo:
    """What the header says. samples: 0 for an unknown number; block: the most in a frame."""

    rate_hz: int
    samples: int
    block: int


def read_info(window: Window, start: int) -> FlacInfo:
    """The header of the FLAC file that starts here; zeros for one that is cut off."""
    head = window.at(start, _INFO_BYTES).ljust(_INFO_BYTES, b"\0")
    numbers = int.from_bytes(head[18:26], "big")
    return FlacInfo(numbers >> 44, numbers & 0xF_FFFF_FFFF, int.from_bytes(head[10:12], "big"))


def count_samples(window: Window, start: int, end: int) -> int | None:
    """The samples from the first frame to the last; None where no whole frame ends at `end`."""
    block = read_info(window, start).block
    first = _place(window.at(_first_frame(window, start), _LONGEST_HEADER), block)
    data = window.at(max(0, end - _SEARCHED_BYTES), min(end, _SEARCHED_BYTES))
    at = len(data)
    while first is not None and (at := data.rfind(b"\xff", 0, at)) >= 0:
        last = _place(data[at : at + _LONGEST_HEADER], block)
        if last is not None and _checksum(data[at:], 16, 0x8005) == 0:
            return last[1] - first[0]
    return None


def _first_frame(window: Window, start: int) -> int:
    """Where the blocks of metadata end."""
    at = start + 4
    for _ in range(_MAX_BLOCKS):
        head = window.at(at, 4)
        at += 4 + int.from_bytes(head[1:], "big")
        if len(head) < 4 or head[0] & 0x80:
            break
    return at


def _place(head: bytes, block: int) -> tuple[int, int] | None:
    """The samples up to a frame's start and end; None for no frame. Source: RFC 9639, 9.1."""
    if len(head) < 6 or head[1] & 0xFE != 0xF8 or head[3] & 1:
        return None
    size, rate = head[2] >> 4, head[2] & 15
    width = _number_width(head[4])
    block_bytes, rate_bytes = max(0, size - 5) if size in (6, 7) else 0, {12: 1, 13: 2, 14: 2}
    end = 4 + width + block_bytes + rate_bytes.get(rate, 0)
    if width == 0 or size == 0 or rate == 15 or len(head) <= end:
        return None
    if _checksum(head[: end + 1], 8, 0x07) != 0:
        return None
    number = head[4] & (0x7F if width == 1 else 0x7F >> width)
    for byte in head[5 : 4 + width]:
        number = number << 6 | byte & 0x3F
    stated = head[4 + width : 4 + width + block_bytes]
    own = int.from_bytes(stated, "big") + 1 if stated else _BLOCKS[size]
    before = number if head[1] & 1 else number * block
    return before, before + own


def _number_width(first: int) -> int:
    """The bytes of a number that is coded as UTF-8 codes letters; 0 for no first byte of one."""
    if first < 0x80:
        return 1
    ones = 8 - (first ^ 0xFF).bit_length()
    return ones if 2 <= ones <= 7 else 0


def _checksum(data: bytes, bits: int, polynomial: int) -> int:
    table, mask, value = _table(bits, polynomial), (1 << bits) - 1, 0
    for byte in data:
        value = (value << 8) & mask ^ table[value >> (bits - 8) ^ byte]
    return value


@cache
def _table(bits: int, polynomial: int) -> tuple[int, ...]:
    values = []
    for value in range(256):
        value <<= bits - 8
        for _ in range(8):
            value = value << 1 ^ (polynomial | 1 << bits if value >> (bits - 1) else 0)
        values.append(value)
    return tuple(values)
