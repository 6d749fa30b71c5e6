"""Downloads in pieces over many runs: what arrived is kept, and the next run resumes after it."""

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
_MAX_RECORD_BYTES = 1024**2

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


def read_record(path: Path, parse: Callable[[Any], T]) -> T | None:
    """The parsed content of a small JSON file; None for an absent one.

    parse: raises ValueError for malformed content, which becomes SetupError E_WEIGHTS.
    """
    if not path.is_file():
        return None
    try:
        if path.stat().st_size > _MAX_RECORD_BYTES:
            raise ValueError(f"it has {path.stat().st_size} bytes, too many")
        return parse(json.loads(path.read_bytes()))
    except (ValueError, RecursionError) as error:
        raise SetupError(
            f"{path} is damaged: {error}",
            code="E_WEIGHTS",
            hint=f"remove {path}, then run the same command again",
        ) from error


def part_path(path: Path, sha256: str) -> Path:
    """The file that holds the beginning of exactly this content."""
    return path.with_name(f"{path.name}.{sha256[:12]}.part")


class Saver:
    """Makes files persist beyond this machine, every so many bytes. No file is open then."""

    def __init__(self, save: Callable[[], None] | None = None, step_bytes: int = 0) -> None:
        """save: None if written files persist without it."""
        self._save, self._step_bytes, self._since_bytes = save, step_bytes, 0

    def is_due(self, added_bytes: int) -> bool:
        """Counts what was written; whether a save is due."""
        self._since_bytes += added_bytes
        return self._save is not None and self._since_bytes >= self._step_bytes

    def save(self) -> None:
        """Makes everything persist."""
        self._since_bytes = 0
        if self._save is not None:
            self._save()


def download_file(
    path: Path,
    part: Path,
    size_bytes: int,
    sha256: str | None,
    pieces: Callable[[int], Iterator[bytes]],
    what: str,
    saver: Saver,
) -> Generator[int, None, None]:
    """Downloads a file, yielding the bytes held so far, and moves the complete one into place.

    part: holds what arrived so far. sha256: None if unknown. pieces: the bytes from an offset on.
    Raises StorageError E_HUB_CHANGED for other content than the sha256, FileError E_OUTPUT_PATH
    where the disk keeps other bytes than were written.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    for _attempt in range(2):  # what an earlier run left may be damaged
        digest = hashlib.sha256()
        held = _hash_held(part, size_bytes, digest.update)
        yield held
        with _AppendedFile(part) as target:
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
                _require_size(part, size_bytes)
                move_into_place(part, path, overwrite=True)
            return
        part.unlink()
    raise changed(what)


def _require_size(part: Path, size_bytes: int) -> None:
    """Removes a part that lost bytes after they were hashed, and raises FileError."""
    found = part.stat().st_size
    if found != size_bytes:
        part.unlink()
        raise FileError(
            f"{part} has {found} bytes after {size_bytes} were written: "
            "another program writes to it, or the disk fails",
            code="E_OUTPUT_PATH",
        )


def _hash_held(part: Path, size_bytes: int, update: Callable[[bytes], None]) -> int:
    """Hashes the part that exists and returns its size; one that is too long is emptied."""
    with disk_errors(part):
        handle = os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        with os.fdopen(handle, "r+b", buffering=0) as file:
            if file.seek(0, os.SEEK_END) > size_bytes:
                file.truncate(0)
            file.seek(0)
            while piece := file.read(_HASHED_BYTES):
                update(piece)
            return file.tell()


class _AppendedFile:
    """A file that is appended to, opened at the first write; nothing is buffered."""

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
    """The error for bytes that differ from those that the hub lists."""
    return StorageError(
        f"{what} arrives with other content than the hub lists", code="E_HUB_CHANGED"
    )
