"""Downloads in pieces over many runs: what arrived is kept, and the next run resumes after it."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self, TypeVar

from multitalk_cli.errors import FileError, SetupError, StorageError
from multitalk_cli.files import move_into_place, write_atomically

_HASHED_BYTES = 8 * 1024**2
_MAX_RECORD_BYTES = 1024**2
_OTHER_FOLDER = "remove what is in the way, or pass --to with a folder that can be written to"
PART_BYTES = 256 * 1024**2
"""Of a file in parts: a machine that is lost costs half of it on average."""

T = TypeVar("T")


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turns failed writes into FileError: E_DISK_SPACE for a full disk, else E_OUTPUT_PATH."""
    try:
        yield
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        code, hint = ("E_DISK_SPACE", "") if is_full else ("E_OUTPUT_PATH", _OTHER_FOLDER)
        message = f"{path} cannot be written: {error.strerror}"
        raise FileError(message, code=code, hint=hint) from error
    except FileError as error:
        if error.code == "E_OUTPUT_PATH":
            raise FileError(error.message, code=error.code, hint=_OTHER_FOLDER) from error
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


def part_path(path: Path, key: str, start: int = 0) -> Path:
    """The file that holds a part of a file from this byte on.

    key: the sha256 of the whole content, or of its address where that is not known.
    """
    place = f".{start}" if start else ""
    return path.with_name(f"{path.name}.{key[:12]}{place}.part")


def parts_of(path: Path, key: str) -> list[Path]:
    """The files that hold the beginning of exactly this content, each where the last one ends."""
    parts, end = [], 0
    while (part := part_path(path, key, end)).is_file() and (size := part.stat().st_size):
        parts.append(part)
        end += size
    return parts


def files_of(path: Path, size_bytes: int, key: str) -> list[Path]:
    """The file, or its parts, if all of its bytes are there and were compared; else none.

    The last of several parts is only written after the comparison. One part of the whole size is
    what an earlier version left before it.
    """
    if path.is_file() and path.stat().st_size == size_bytes:
        return [path]
    parts = parts_of(path, key)
    is_whole = len(parts) > 1 and sum(part.stat().st_size for part in parts) == size_bytes
    return parts if is_whole else []


class Saver:
    """Makes files persist beyond this machine, every so many bytes. No file is open then."""

    def __init__(self, save: Callable[[], None] | None = None, step_bytes: int = 0) -> None:
        """save: None if written files persist without it."""
        self._save, self._step_bytes, self._since_bytes = save, step_bytes, 0

    @property
    def is_needed(self) -> bool:
        """Whether written files persist only by a save."""
        return self._save is not None

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


def download_in_parts(
    path: Path,
    key: str,
    size_bytes: int,
    sha256: str | None,
    pieces: Callable[[int], Iterator[bytes]],
    what: str,
    saver: Saver,
    part_bytes: int,
) -> Generator[int, None, None]:
    """The same as `download_file` for a disk that stores a growing file anew with every save.

    Parts are written elsewhere first, moved here once and never changed; a file of one part gets
    its own name. Where the consumer stops, the part that was begun is kept as it is. key: names the
    parts, as of `part_path`.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    for _attempt in range(2):  # what an earlier run left may be damaged
        digest, parts = hashlib.sha256(), parts_of(path, key)
        held = sum(_hash_held(part, size_bytes, digest.update) for part in parts)
        yield min(held, size_bytes)
        if held < size_bytes:
            parting = _Parting(path, key, size_bytes, sha256, part_bytes)
            yield from _fetch_parts(parting, held, pieces(held), digest, saver)
        if sha256 is None or digest.hexdigest() == sha256:
            if parts and not files_of(path, size_bytes, key):
                with disk_errors(path):
                    move_into_place(parts[0], path, overwrite=True)
            return
        for part in parts_of(path, key):
            part.unlink()
    raise changed(what)


@dataclass(frozen=True, slots=True)
class _Parting:
    """A file that is divided into parts."""

    path: Path
    key: str
    size_bytes: int
    sha256: str | None
    part_bytes: int

    def place(self, start: int, end: int, digest: "hashlib._Hash") -> Path | None:
        """The place of the part from `start` to `end`; None where nothing may be kept.

        The last part makes the file complete: only once it was compared.
        """
        is_whole = self.sha256 is None or digest.hexdigest() == self.sha256
        if end == start or (end >= self.size_bytes and not is_whole):
            return None
        is_only = (start, end) == (0, self.size_bytes)
        return self.path if is_only else part_path(self.path, self.key, start)


def _fetch_parts(
    file: _Parting, held: int, stream: Iterator[bytes], digest: "hashlib._Hash", saver: Saver
) -> Generator[int, None, None]:
    """Writes the bytes from `held` on into further parts, yielding the bytes held so far."""
    with TemporaryDirectory() as temporary:
        staged = Path(temporary) / "part"
        while held < file.size_bytes:
            start = held
            try:
                with _AppendedFile(staged) as target:
                    for piece in stream:
                        digest.update(piece)
                        target.write(piece)
                        held += len(piece)
                        yield held
                        if held - start >= file.part_bytes:
                            break
            finally:
                place = file.place(start, held, digest)
                if place is not None:
                    put(staged, place, held - start)
            if saver.is_due(held - start):
                saver.save()


def put(staged: Path, place: Path, size_bytes: int) -> None:
    """Moves a complete file to another disk; its size there must be what was written."""
    with disk_errors(place):
        _require_size(staged, size_bytes)
        shutil.copyfile(staged, place)
        _require_size(place, size_bytes)
        staged.unlink()


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
