"""Files of the user: safe names, readable inputs, atomic writes."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO, Literal

from multitalk_cli.errors import FileError, UsageError

_kept_here: list[TemporaryDirectory[str]] = []


def user_folder(kind: Literal["state", "cache"]) -> Path:
    """The user's folder of a kind, which may not exist yet.

    A temporary one, until the process ends, for a user without a home folder or with one that
    cannot be written to, as in containers: `is_unkept` tells.
    """
    import platformdirs

    paths = {"state": platformdirs.user_state_path, "cache": platformdirs.user_cache_path}
    # RuntimeError: a user without a home folder.
    with suppress(RuntimeError):
        folder = paths[kind]("multitalk")
        # A place elsewhere was chosen: it is mended, not avoided.
        is_chosen = not folder.is_relative_to(Path.home())
        if is_chosen or is_there(folder) or _can_grow(folder):
            return folder
    if not _kept_here:
        try:
            _kept_here.append(TemporaryDirectory(prefix="multitalk-"))
        except OSError as error:
            message = f"no folder for jobs and caches: {error.strerror}"
            raise FileError(message, code="E_LEDGER") from error
    return Path(_kept_here[0].name) / kind


def is_unkept() -> bool:
    """Whether the jobs that this process keeps are lost when it ends."""
    return any(is_there(Path(folder.name, "state")) for folder in _kept_here)


def is_lasting(folder: Path) -> bool:
    """Whether one of the user's folders outlives this process."""
    return not any(folder.is_relative_to(temporary.name) for temporary in _kept_here)


def is_there(path: Path) -> bool:
    """Whether it exists; False, unlike pathlib, in a folder that may not be looked into."""
    return os.path.exists(path)  # noqa: PTH110


def _can_grow(folder: Path) -> bool:
    """Whether folders can be made down to this one."""
    nearest = next((each for each in folder.parents if is_there(each)), folder)
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)


def is_printable(text: str) -> bool:
    """Whether no character of a name moves the cursor, fakes a line or turns the text around.

    Joiners, which Python counts among those, do not: Persian and Indian languages are written with
    them, and emoji are made of several.
    """
    return text.translate(_WITHOUT_JOINERS).isprintable()


_WITHOUT_JOINERS = {0x200C: None, 0x200D: None}


def is_safe_name(name: str) -> bool:
    """Whether the foreign name of an object is safe for a file: visible and printable."""
    return bool(name) and not name.startswith(".") and is_printable(name)


# pathlib folds the two slashes of an address into one.
_ADDRESS = re.compile(r"(https?|ftps?|s3|gs|file|data):/{0,2}[^/]", re.IGNORECASE)
_HEAD_BYTES = 4096
_CHUNK_BYTES = 1 << 20
_SYSTEM_FOLDERS = ("/dev/", "/proc/")
_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def expand_home(path: str | Path) -> Path:
    """The path with a leading ~ as the home folder; unchanged for a user without one."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - pathlib's raises


def shown_path(path: Path) -> str:
    """The path for a message, with control characters escaped."""
    text = str(path)
    return text if is_printable(text) else ascii(text)


def is_web_address(text: str) -> bool:
    """Whether it begins as an address, `https://...`, and not as a path."""
    return _ADDRESS.match(text) is not None


def open_input(path: Path) -> BinaryIO:
    """Opens a regular, non-empty file for reading; never waits on a pipe or a device.

    Raises UsageError for a web address, FileError for anything else that cannot be read.
    """
    if is_web_address(str(path)) and not path.exists():
        # A path has lost the second slash.
        address = re.sub(r"^(\w+):/{0,2}", r"\1://", shown_path(path))
        # What follows the question mark is often a key, and a list's problems are kept in files.
        shown = re.sub(r"\?.+", "?...", address, flags=re.DOTALL)
        raise UsageError(
            f"{shown} is a web address, not a file", code="E_URL", facts={"address": address}
        )
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


def is_same_file(one: Path, other: Path) -> bool:
    """Whether both paths lead to one file; False where either cannot be read."""
    with suppress(OSError):
        return one.samefile(other)
    return False


def is_content_of(path: Path, content: bytes) -> bool:
    """Whether a regular file holds exactly this; False where it cannot be read."""
    with suppress(OSError):
        is_as_long = path.is_file() and path.stat().st_size == len(content)
        return is_as_long and path.read_bytes() == content
    return False


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


_FULL = {errno.ENOSPC, errno.EDQUOT}
TOO_LARGE = "it would be larger than files may be here (ulimit -f, or the disk's own limit)"
LIFT_LIMIT = "ulimit -f unlimited"


def write_error(target: Path, error: OSError) -> FileError:
    """The error for a failed write: E_DISK_FULL, or E_OUTPUT_PATH with the reason."""
    if error.errno == errno.EFBIG:
        return FileError(
            f"{shown_path(target)} cannot be written: {TOO_LARGE}",
            code="E_OUTPUT_PATH",
            hint=LIFT_LIMIT,
        )
    if error.errno in _FULL:
        return FileError(f"no space left to write {shown_path(target)}", code="E_DISK_FULL")
    reason = error.strerror if error.strerror else str(error)
    return FileError(f"{shown_path(target)} cannot be written: {reason}", code="E_OUTPUT_PATH")


@contextmanager
def partial_file(
    target: Path, *, overwrite: bool, durable: bool = False, mode: int = 0o666
) -> Iterator[Path]:
    """Yields an empty file next to `target`, which becomes `target` when the block succeeds.

    A block that fails or is interrupted leaves `target` as it was, and no partial file.
    durable, mode: as for `move_into_place` and `os.open`.
    Raises FileError for a place that cannot be written (E_OUTPUT_PATH, E_DISK_FULL), or where
    `target` exists and `overwrite` is false (E_OUTPUT_EXISTS).
    """
    require_replaceable(target)
    part = _part_path(target)
    try:
        part.unlink(missing_ok=True)
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
        yield part
        move_into_place(part, target, overwrite=overwrite, durable=durable)
    except OSError as error:
        raise write_error(target, error) from error
    finally:
        with suppress(OSError):
            part.unlink()


def write_atomically(
    target: Path,
    content: bytes,
    *,
    overwrite: bool = True,
    durable: bool = False,
    mode: int = 0o666,
) -> None:
    """Writes a small file, whole or not at all; the arguments and errors of `partial_file`."""
    with partial_file(target, overwrite=overwrite, durable=durable, mode=mode) as part:
        part.write_bytes(content)


def move_into_place(part: Path, target: Path, *, overwrite: bool, durable: bool = False) -> None:
    """Renames a complete file to `target`, in the same folder.

    durable: written to the disk first, so that a power failure leaves the old or the new file.
    Raises FileError as `partial_file`; `part` is then still there.
    """
    try:
        if durable:
            _sync(part)
        _rename(part, target, overwrite)
    except OSError as error:
        raise write_error(target, error) from error
    if durable:
        # Not every file system lets a folder be opened or synchronised.
        with suppress(OSError):
            _sync(target.parent)


def require_replaceable(target: Path) -> None:
    """Raises FileError E_OUTPUT_PATH for a pipe, a device, a socket or a folder.

    A rename would put a file into its place, also of /dev/stdout.
    """
    with suppress(OSError, ValueError):
        mode = target.stat().st_mode
        kind = next((kind for test, kind in _KINDS if test(mode)), None)
        if kind is None and target.is_symlink() and str(target).startswith(_SYSTEM_FOLDERS):
            kind = "a device"
        if kind is not None:
            raise FileError(
                f"{shown_path(target)} is {kind}, which a file cannot replace", code="E_OUTPUT_PATH"
            )


def check_creatable(target: Path) -> None:
    """Creates and removes a file next to `target`; leaves `target` itself alone.

    Finds what access bits do not show: read-only file systems, names that are too long.
    Raises FileError as `partial_file`.
    """
    require_replaceable(target)
    probe = _part_path(target)
    try:
        with suppress(FileNotFoundError):
            # The probe's own name is short.
            target.lstat()
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise write_error(target, error) from error


def _part_path(target: Path) -> Path:
    # No two threads or processes of a machine write to the same one.
    return target.with_name(f"{target.name[:50]}.{threading.get_native_id()}.part")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _rename(part: Path, target: Path, overwrite: bool) -> None:
    require_replaceable(target)
    if overwrite:
        part.replace(target)
        return
    try:
        # A link, unlike a rename, fails where the target appeared in the meantime.
        os.link(part, target)
        part.unlink()
    except FileExistsError as error:
        raise _exists(target) from error
    except OSError as error:
        # Not every file system has links.
        if target.exists():
            raise _exists(target) from error
        part.replace(target)


def _exists(target: Path) -> FileError:
    return FileError(f"{shown_path(target)} exists", code="E_OUTPUT_EXISTS")
