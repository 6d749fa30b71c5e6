"""Files that come in pieces over many runs: what arrived is kept, and goes on at its last byte."""

import errno
import hashlib
import json
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from multitalk_cli.errors import FileError, SetupError, StorageError
from multitalk_cli.files import move_into_place, write_atomically

_HASHED_BYTES = 8 * 1024**2
_NOTED_BYTES = 1024**2

T = TypeVar("T")


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turns failed writes into FileError: E_DISK_SPACE for a full disk, else E_OUTPUT_PATH."""
    try:
        yield
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        code = "E_DISK_SPACE" if is_full else "E_OUTPUT_PATH"
        raise FileError(f"{path} cannot be written: {error.strerror}", code=code) from error
    except FileError as error:
        if error.code != "E_DISK_FULL":
            raise
        raise FileError(error.message, code="E_DISK_SPACE") from error


def write_whole(path: Path, content: bytes) -> None:
    """Writes a small file, whole or not at all."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)


def read_noted(path: Path, parse: Callable[[Any], T]) -> T | None:
    """Gives what a small JSON file says; None where it is absent.

    parse: raises ValueError for what it does not take. Raises SetupError E_WEIGHTS for a file that
    is not as this version wrote it.
    """
    if not path.is_file():
        return None
    try:
        if path.stat().st_size > _NOTED_BYTES:
            raise ValueError(f"it has {path.stat().st_size} bytes, too many")
        return parse(json.loads(path.read_bytes()))
    except (ValueError, RecursionError) as error:
        raise SetupError(
            f"{path} is damaged: {error}",
            code="E_WEIGHTS",
            hint=f"remove {path}, then run the same command again",
        ) from error


def part_path(path: Path, sha256: str) -> Path:
    """Gives where the beginning of exactly this content is kept."""
    return path.with_name(f"{path.name}.{sha256[:12]}.part")


class Saver:
    """Makes what was written outlive this machine, every so many bytes. No file is open then."""

    def __init__(self, save: Callable[[], None] | None = None, step_bytes: int = 0) -> None:
        """save: None where what is written stays anyway."""
        self._save, self._step_bytes, self._since_bytes = save, step_bytes, 0

    def is_due(self, added_bytes: int) -> bool:
        """Counts what was written, and tells whether it is time."""
        self._since_bytes += added_bytes
        return self._save is not None and self._since_bytes >= self._step_bytes

    def save(self) -> None:
        """Makes everything outlive this machine."""
        self._since_bytes = 0
        if self._save is not None:
            self._save()


def bring_file(
    path: Path,
    part: Path,
    size_bytes: int,
    sha256: str | None,
    pieces: Callable[[int], Iterator[bytes]],
    what: str,
    saver: Saver,
) -> Generator[int, None, None]:
    """Yields how much of a file is there, until it is whole and under its name.

    part: what came so far. sha256: None where it is not known. pieces: its bytes from any on.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    for _attempt in range(2):  # what an earlier run left may be damaged
        digest = hashlib.sha256()
        held = _hash_held(part, size_bytes, digest.update)
        yield held
        with _Appended(part) as target:
            for piece in pieces(held):
                digest.update(piece)
                target.write(piece)
                held += len(piece)
                if saver.is_due(len(piece)):
                    target.close()
                    saver.save()
                yield held
        if sha256 is None or digest.hexdigest() == sha256:
            with disk_errors(path):
                move_into_place(part, path, overwrite=True)
            return
        part.unlink()
    raise changed(what)


def _hash_held(part: Path, size_bytes: int, update: Callable[[bytes], None]) -> int:
    """Hashes what there is of a file, and gives how much; one that is too long is begun anew."""
    with disk_errors(part):
        handle = os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        with os.fdopen(handle, "r+b", buffering=0) as file:
            if file.seek(0, os.SEEK_END) > size_bytes:
                file.truncate(0)
            file.seek(0)
            while piece := file.read(_HASHED_BYTES):
                update(piece)
            return file.tell()


class _Appended:
    """A file that grows at its end, opened when it is written to; nothing is held in a buffer."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None

    def write(self, piece: bytes) -> None:
        view = memoryview(piece)
        with disk_errors(self._path):
            if self._handle is None:
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
                self._handle = os.open(self._path, flags, 0o666)
            while view:
                view = view[os.write(self._handle, view) :]

    def close(self) -> None:
        if self._handle is None:
            return
        handle, self._handle = self._handle, None
        try:
            with disk_errors(self._path):
                os.fsync(handle)
        finally:
            os.close(handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def changed(what: str) -> StorageError:
    """The error for bytes that are not those that the hub lists."""
    return StorageError(f"{what} does not arrive as the hub lists it", code="E_HUB_CHANGED")
