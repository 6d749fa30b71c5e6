"""Puts results in place whole or not at all, and says clearly why one cannot be written."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from multitalk_cli.errors import FileError
from multitalk_cli.media.inputs import shown_path

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def write_error(target: Path, error: OSError) -> FileError:
    """What to tell the user when writing `target` failed."""
    if error.errno in _FULL:
        return FileError(f"no space left to write {shown_path(target)}", code="E_DISK_FULL")
    reason = error.strerror if error.strerror else str(error)
    return FileError(f"{shown_path(target)} cannot be written: {reason}", code="E_OUTPUT_PATH")


@contextmanager
def placed(target: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yields a path beside `target` to write to; it becomes `target` when the block ends well.

    Whatever ends the block otherwise leaves neither file behind.
    Raises FileError where the place cannot be written, or `target` exists and may not be replaced.
    """
    part = target.with_name(f"{target.name[:50]}.{os.getpid()}.part")
    try:
        part.unlink(missing_ok=True)
        part.touch(exist_ok=False)
        yield part
        _move(part, target, overwrite)
    except OSError as error:
        raise write_error(target, error) from error
    finally:
        with suppress(OSError):
            part.unlink()


def _move(part: Path, target: Path, overwrite: bool) -> None:
    if overwrite:
        part.replace(target)
        return
    try:
        # A link, unlike a rename, fails where the target appeared in the meantime.
        os.link(part, target)
    except FileExistsError as error:
        raise _exists(target) from error
    except OSError as error:
        # Not every file system has links.
        if target.exists():
            raise _exists(target) from error
        part.replace(target)


def _exists(target: Path) -> FileError:
    return FileError(f"{shown_path(target)} exists", code="E_OUTPUT_EXISTS")
