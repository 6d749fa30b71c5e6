"""Volumes as containers see them: each has a view of its own, published by a commit.

The committed files (the *head*) lie in one folder per volume. A container starts with a copy; what
it writes stays in the copy until it commits, and what others commit arrives with a reload. So a
forgotten commit() or reload() shows.
"""

import os
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from grpclib import GRPCError, Status

OPEN_FILES = "there are open files preventing the operation"

# A folder has no stamp of its own: None.
Stamp = tuple[int, int, int] | None


@dataclass(eq=False)
class Volume:
    """The committed files of one volume. `version` is 1 or 2, Modal's file system versions.

    stored_bytes: what commits wrote, a file that changed as a whole, as version 1 may do it.
    """

    name: str
    version: int
    head: Path
    lock: threading.Lock = field(default_factory=threading.Lock)
    commits: int = 0
    stored_bytes: int = 0

    def path(self, inside: str) -> Path:
        """A path of the volume in the head; refuses one that leaves it."""
        base = self.head.resolve()
        path = (base / inside.lstrip("/")).resolve()
        if not path.is_relative_to(base):
            raise GRPCError(Status.INVALID_ARGUMENT, f"{inside} leaves the volume")
        return path

    def files(self) -> dict[str, bytes]:
        """Every committed file."""
        with self.lock:
            return {str(path): (self.head / path).read_bytes() for path in _files(self.head)}


def scan(folder: Path) -> dict[Path, Stamp]:
    """Everything below a folder, by relative path, with what changes when a file does."""
    found: dict[Path, Stamp] = {}
    for path in folder.rglob("*"):
        info = path.lstat()
        is_folder = path.is_dir() and not path.is_symlink()
        stamp = None if is_folder else (info.st_size, info.st_mtime_ns, info.st_ino)
        found[path.relative_to(folder)] = stamp
    return found


def _files(folder: Path) -> Iterator[Path]:
    return (path for path, stamp in scan(folder).items() if stamp is not None)


class View:
    """One container's files of one volume, in a folder that is bound into the container."""

    def __init__(self, volume: Volume, folder: Path) -> None:
        self.volume, self.folder = volume, folder
        folder.mkdir(parents=True)
        with volume.lock:
            shutil.copytree(volume.head, folder, dirs_exist_ok=True, symlinks=True)
        self._published = scan(folder)

    def uncommitted(self) -> tuple[list[Path], list[Path]]:
        """Paths written and paths removed since the last commit or reload, folders first."""
        return self._changes(scan(self.folder))

    def _changes(self, now: dict[Path, Stamp]) -> tuple[list[Path], list[Path]]:
        written = [path for path, stamp in now.items() if self._published.get(path, 0) != stamp]
        removed = [path for path in self._published if path not in now]
        return sorted(written), sorted(removed)

    def commit(self) -> None:
        """Publishes what changed; of one file written twice the last commit wins.

        A file that is written meanwhile is published as far as it is, and anew by the next commit.
        """
        with self.volume.lock:
            now = scan(self.folder)
            written, removed = self._changes(now)
            for path in written:
                self.volume.stored_bytes += _copy(self.folder / path, self.volume.head / path)
            for path in reversed(removed):
                _remove(self.volume.head / path)
            self.volume.commits += 1
            self._published = now

    def reload(self) -> None:
        """Takes over what others committed; what is not committed here stays, unpublished."""
        with self.volume.lock:
            written, removed = self.uncommitted()
            head = scan(self.volume.head)
            kept = {*written, *removed}
            for path in sorted(set(head) - kept):
                _refresh(self.volume.head / path, self.folder / path)
            for path in sorted(set(self._published) - set(head) - kept, reverse=True):
                _remove(self.folder / path)
            now = scan(self.folder)
            untouched = {path: stamp for path, stamp in now.items() if path not in kept}
            still = {path: self._published[path] for path in kept if path in self._published}
            self._published = {**untouched, **still}

    def hide(self, duration_s: float) -> None:
        """Lets the container's folder look empty for so long; what is written meanwhile stays."""
        behind = self.folder.with_name(f"{self.folder.name}.hidden")
        # A commit in the middle would publish that everything was removed.
        with self.volume.lock:
            behind.mkdir()
            for path in list(self.folder.iterdir()):
                path.rename(behind / path.name)
            time.sleep(duration_s)
            shutil.copytree(self.folder, behind, dirs_exist_ok=True)
            for path in self.folder.iterdir():
                _remove(path)
            for path in behind.iterdir():
                path.rename(self.folder / path.name)
            behind.rmdir()

    def refuse_open_files(self, process_group: int) -> None:
        """Raises as Modal does when a process of the container holds a file of the volume."""
        inodes = {(info.st_dev, info.st_ino) for info in map(_stat, self.folder.rglob("*")) if info}
        for descriptor in _descriptors(process_group):
            info = _stat(descriptor)
            if info is not None and (info.st_dev, info.st_ino) in inodes:
                raise GRPCError(Status.FAILED_PRECONDITION, OPEN_FILES)


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None  # Gone in between.


def _descriptors(process_group: int) -> Iterator[Path]:
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            if os.getpgid(int(process.name)) == process_group:
                yield from (process / "fd").iterdir()
        except OSError:
            continue  # Gone in between.


def _copy(source: Path, target: Path) -> int:
    """Puts a file in place whole, or makes the folder; the bytes that this stores."""
    if source.is_dir() and not source.is_symlink():
        target.mkdir(parents=True, exist_ok=True)
        return 0
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    shutil.copy2(source, part, follow_symlinks=False)
    part.replace(target)
    return target.lstat().st_size


def _refresh(source: Path, target: Path) -> None:
    """Copies unless the target is the same already."""
    if source.is_dir() or not target.exists() or not _same(source, target):
        _copy(source, target)


def _same(source: Path, target: Path) -> bool:
    here, there = source.stat(), target.stat()
    return (here.st_size, here.st_mtime_ns) == (there.st_size, there.st_mtime_ns)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
