"""Opens what the user names as an input, and says clearly why something cannot be one."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from typing import TYPE_CHECKING, BinaryIO

from multitalk_cli.errors import FileError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

# pathlib folds the two slashes of an address into one.
_ADDRESS = re.compile(r"(https?|ftps?|s3|gs|file|data):/{0,2}[^/]", re.IGNORECASE)
_HEAD_BYTES = 4096
_CHUNK_BYTES = 1 << 20
_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def shown_path(path: Path) -> str:
    """The path as it may stand in a message: control characters are escaped."""
    text = str(path)
    return text if text.isprintable() else ascii(text)


def open_input(path: Path) -> BinaryIO:
    """Opens a regular, non-empty file for reading; never waits on a pipe or a device.

    Raises UsageError for a web address, FileError for anything else that cannot be read.
    """
    if _ADDRESS.match(str(path)) and not path.exists():
        raise UsageError(f"{shown_path(path)} is a web address, not a file", code="E_URL")
    # A pipe without a writer would block a plain open; a regular file ignores the flag.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        handle = os.open(path, flags)
    except (OSError, ValueError) as error:
        raise _opening_error(path, error) from error
    status = os.fstat(handle)
    problem = next((kind for test, kind in _KINDS if test(status.st_mode)), None)
    if problem is None and status.st_size == 0:
        problem = "empty"
    if problem is not None:
        os.close(handle)
        raise FileError(f"{shown_path(path)} is {problem}", code="E_FILE_UNREADABLE")
    return os.fdopen(handle, "rb")


def _opening_error(path: Path, error: OSError | ValueError) -> FileError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return FileError(f"{shown_path(path)} does not exist", code="E_FILE_MISSING")
    if isinstance(error, PermissionError):
        reason = "you may not read it"
    elif isinstance(error, OSError) and error.errno == errno.ENXIO:
        reason = "it is a socket or a pipe"
    else:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return FileError(f"{shown_path(path)} cannot be read: {reason}", code="E_FILE_UNREADABLE")


def read_head(file: BinaryIO) -> bytes:
    """The first 4 kB; the file is rewound."""
    head = file.read(_HEAD_BYTES)
    file.seek(0)
    return head


def sha256_of(file: BinaryIO) -> str:
    """The digest of the whole file in hex; the file is rewound."""
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK_BYTES):
        digest.update(chunk)
    file.seek(0)
    return digest.hexdigest()
