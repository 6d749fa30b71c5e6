"""Bytes anywhere in a file, read in blocks. The file may be shorter than anything in it claims."""

import os
from typing import BinaryIO

_BLOCK_BYTES = 1 << 18


class Window:
    """A file as if it were one long array of bytes; those past its end are absent."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, os.SEEK_END)
        self._start, self._block = 0, b""

    def at(self, start: int, count: int) -> bytes:
        """The bytes from `start` on, fewer than `count` only at the end."""
        if start >= self.size:
            return b""
        offset = start - self._start
        if not 0 <= offset <= len(self._block) - count:
            self._file.seek(start)
            self._block = self._file.read(max(count, _BLOCK_BYTES))
            self._start, offset = start, 0
        return self._block[offset : offset + count]

    def find(self, wanted: bytes, start: int, end: int) -> int:
        """Where `wanted` first lies between two positions, or -1."""
        while start + len(wanted) <= end and len(self.at(start, len(wanted))) == len(wanted):
            found = self._block.find(wanted, start - self._start, end - self._start)
            if found >= 0:
                return self._start + found
            start = self._start + len(self._block) - len(wanted) + 1
        return -1
