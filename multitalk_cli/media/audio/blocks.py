"""Sounds made of blocks that say how long they are: where the last of them ends."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from multitalk_cli.media.audio.window import Window

# Bytes of a frame of each type; those without a number are not used.
_AMR_NB = {0: 13, 1: 14, 2: 16, 3: 18, 4: 20, 5: 21, 6: 27, 7: 32, 8: 6, 15: 1}
_AMR_WB = {0: 18, 1: 24, 2: 33, 3: 37, 4: 41, 5: 47, 6: 51, 7: 59, 8: 61, 9: 6, 14: 1, 15: 1}
_AMR_STARTS = {b"#!AMR\n": _AMR_NB, b"#!AMR-WB\n": _AMR_WB}
_AC3_SYNC, _WAVPACK_SYNC = b"\x0b\x77", b"wvpk"
_AC3_KBITS = (
    32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640,
)  # fmt: skip
_HEAD_BYTES = 8
# As many blocks as chance does not put one behind the other in other data.
_SURE_BLOCKS = 4


def blocks_end(window: Window, kind: str, start: int) -> int | None:
    """Where the blocks from `start` on end; None where that is not known.

    kind: a key of kinds.DEMUXERS. It is not known where more blocks follow behind a gap. A block
    that the end of the file cuts off counts as whole.
    """
    if kind == "amr":
        magic = next((each for each in _AMR_STARTS if window.at(start, 9).startswith(each)), b"")
        length_of: Callable[[bytes], int] = partial(_amr_length, _AMR_STARTS.get(magic, {}))
        end, count = _walk(window, start + len(magic), length_of)
        return end if count else None
    if kind not in _LENGTHS:
        return None
    sync, length_of = _LENGTHS[kind]
    end, count = _walk(window, start, length_of)
    place = window.find(sync, end, window.size)
    while place >= 0:
        if _walk(window, place, length_of, most=_SURE_BLOCKS)[1] == _SURE_BLOCKS:
            return None
        place = window.find(sync, place + 1, window.size)
    return end if count else None


def _walk(
    window: Window, at: int, length_of: Callable[[bytes], int], most: int | None = None
) -> tuple[int, int]:
    """The end of the blocks that follow each other, and their number, up to `most`."""
    count = 0
    while count != most and (length := length_of(window.at(at, _HEAD_BYTES))):
        at, count = min(at + length, window.size), count + 1
    return at, count


def _amr_length(table: dict[int, int], head: bytes) -> int:
    # Of the first byte only the type and a mark of quality are used; zeros are padding.
    is_frame = head.strip(b"\0") and not head[0] & 0x83
    return table.get(head[0] >> 3, 0) if is_frame else 0


def _ac3_length(head: bytes) -> int:
    """Source: ATSC A/52, 5.4.1 and annex E for E-AC-3."""
    if len(head) < 6 or head[:2] != _AC3_SYNC:
        return 0
    if head[5] >> 3 > 10:
        return 2 * (((head[2] & 7) << 8 | head[3]) + 1)
    rate, code = head[4] >> 6, head[4] & 0x3F
    if rate == 3 or code >> 1 >= len(_AC3_KBITS):
        return 0
    kbits = _AC3_KBITS[code >> 1]
    words = (2 * kbits, kbits * 320 // 147 + code % 2, 3 * kbits)[rate]
    return 2 * words


def _wavpack_length(head: bytes) -> int:
    is_block = len(head) == _HEAD_BYTES and head[:4] == _WAVPACK_SYNC
    return 8 + int.from_bytes(head[4:8], "little") if is_block else 0


_LENGTHS: dict[str, tuple[bytes, Callable[[bytes], int]]] = {
    "ac3": (_AC3_SYNC, _ac3_length),
    "eac3": (_AC3_SYNC, _ac3_length),
    "wv": (_WAVPACK_SYNC, _wavpack_length),
}
