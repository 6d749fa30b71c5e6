"""The right to make a job's next call: a lock that one process has, and that dies with it."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from multitalk_cli.errors import FileError

if TYPE_CHECKING:
    from pathlib import Path

_UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP)


@contextmanager
def spawn_lock(folder: Path, job_id: str, *, waits: bool = True) -> Iterator[bool]:
    """Holds the lock of a job inside the block; tells whether this process has it.

    Whoever has it reads the ledger once more before it makes a call, for another process may have
    made it meanwhile. folder: of the ledger. waits: for a process that is making a call now; else
    the value is False then. Raises FileError E_LEDGER where the lock's file cannot be made.
    """
    path = folder / f"{job_id}.lock"
    try:
        handle = _acquire(path, waits=waits)
    except OSError as error:
        raise FileError(f"{path} cannot be used: {error}", code="E_LEDGER") from error
    if handle is None:
        yield False
        return
    try:
        yield True
    finally:
        # Removed while it is held: who waits for it sees that, and makes another file.
        with suppress(OSError):
            path.unlink()
        os.close(handle)


def _acquire(path: Path, *, waits: bool) -> int | None:
    """The locked file's descriptor; None where another process has the lock."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _lock(handle, waits=waits)
        except BlockingIOError:
            os.close(handle)
            return None
        except BaseException:
            os.close(handle)
            raise
        if _is_file_of(handle, path):
            return handle
        os.close(handle)


def _lock(handle: int, *, waits: bool) -> None:
    """Locks the file, on file systems that know locks: on others a second call is only unlikely."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise


def _is_file_of(handle: int, path: Path) -> bool:
    """Whether the path still leads to this file."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
