"""Files in parts, read as one."""

import io
from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate
from pathlib import Path
from typing import Any


class JoinedFile(io.RawIOBase):
    """The content of files one after the other, for reading."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._files = [path.open("rb", buffering=0) for path in paths]
        sizes = [file.seek(0, io.SEEK_END) for file in self._files]
        self._starts = [0, *accumulate(sizes)]
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._starts[-1]}
        self._position = max(0, base[whence] + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fills the buffer up to the end of a part at most."""
        if self._position >= self._starts[-1]:
            return 0
        number = bisect_right(self._starts, self._position) - 1
        file = self._files[number]
        file.seek(self._position - self._starts[number])
        count = file.readinto(buffer) or 0
        self._position += count
        return count

    def close(self) -> None:
        for file in self._files:
            file.close()
        super().close()
