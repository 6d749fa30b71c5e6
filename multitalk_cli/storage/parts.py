"""The file next to a target that holds the beginning of an object until it is whole."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO

from multitalk_cli.errors import FileError
from multitalk_cli.files import shown_path, write_error

if TYPE_CHECKING:
    from pathlib import Path

    from multitalk_cli.storage.address import S3Uri
    from multitalk_cli.storage.checksums import ObjectMetadata


def part_path(target: Path, uri: S3Uri, details: ObjectMetadata, endpoint: str) -> Path:
    """The file for the beginning of exactly this object until it is whole."""
    identity = f"{endpoint}\n{uri}\n{details.etag}\n{details.size_bytes}"
    tag = hashlib.sha256(identity.encode()).hexdigest()[:12]
    return target.with_name(f".{target.name[:50]}.{tag}.part")


def remove_outdated(part: Path, target: Path) -> None:
    """Removes the unfinished files of earlier versions of the same target."""
    pattern = re.compile(re.escape(f".{target.name[:50]}.") + r"[0-9a-f]{12}\.part")
    for path in part.parent.iterdir():
        if pattern.fullmatch(path.name):
            with suppress(OSError):
                path.unlink()


@contextmanager
def locked_part(part: Path, target: Path) -> Iterator[BinaryIO]:
    """The unfinished file, open for appending in this process alone."""
    try:
        # A symbolic link in its place is not followed.
        handle = os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        with os.fdopen(handle, "r+b") as file:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield file
    except BlockingIOError as error:
        raise FileError(
            f"{shown_path(target)} is being fetched by another process",
            code="E_OUTPUT_PATH",
            facts={"is_busy": True},
        ) from error
    except OSError as error:
        # Removed on failure: a full disk needs the space.
        with suppress(OSError):
            part.unlink()
        raise write_error(target, error) from error
