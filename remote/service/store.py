"""Storage of the finished pieces of a job, from which a later run resumes."""

import re
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Protocol

from multitalk_cli import contract
from multitalk_cli.files import partial_file, write_atomically

VIDEO, RECORD = "video.mp4", "checkpoint.json"

_PIECE = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class Store(Protocol):
    """Files of jobs. Job ids come from outside: an implementation checks them."""

    def load(self, job_id: str, name: str) -> Path | None:
        """A kept file to read, or None."""

    def save(self, job_id: str, pieces: Mapping[str, Path], outdated: Iterable[str] = ()) -> None:
        """Keeps copies of files under new names, in this order, each whole or not at all.

        Once all are kept, the outdated ones are removed. Raises FileError for failed writes.
        """

    def publish(self, job_id: str, video: Path) -> None:
        """Keeps a copy of the finished video, whole or not at all, and makes it available."""

    def delete(self, job_id: str) -> None:
        """Removes everything of a job; an unknown one is no error."""


class DirectoryStore:
    """Each job's files in a folder of its own; publish adds VIDEO to them."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def load(self, job_id: str, name: str) -> Path | None:
        path = self._path(job_id, name)
        return path if path.is_file() else None

    def save(self, job_id: str, pieces: Mapping[str, Path], outdated: Iterable[str] = ()) -> None:
        self._folder(job_id).mkdir(parents=True, exist_ok=True)
        for name, source in pieces.items():
            with partial_file(self._path(job_id, name), overwrite=True) as part:
                shutil.copyfile(source, part)
        for name in outdated:
            self._path(job_id, name).unlink(missing_ok=True)

    def write(self, job_id: str, name: str, content: bytes) -> None:
        """Keeps a small file, whole or not at all."""
        self._folder(job_id).mkdir(parents=True, exist_ok=True)
        write_atomically(self._path(job_id, name), content)

    def publish(self, job_id: str, video: Path) -> None:
        self.save(job_id, {VIDEO: video})

    def delete(self, job_id: str) -> None:
        shutil.rmtree(self._folder(job_id), ignore_errors=True)

    def delete_older(self, age_s: float, is_running: Callable[[str], bool]) -> None:
        """Removes jobs without any write for so long, unless they run.

        is_running: asked only about jobs that look old. A clock that jumps makes all of them do so.
        """
        folders = self._root.iterdir() if self._root.is_dir() else ()
        for folder in folders:
            is_job = contract.JOB_ID.fullmatch(folder.name) is not None and folder.is_dir()
            is_old = is_job and time.time() - folder.stat().st_mtime > age_s
            if is_old and not is_running(folder.name):
                self.delete(folder.name)

    def _folder(self, job_id: str) -> Path:
        if not contract.JOB_ID.fullmatch(job_id):
            raise ValueError(f"{job_id!r} is not a job id")
        return self._root / job_id

    def _path(self, job_id: str, name: str) -> Path:
        if not _PIECE.fullmatch(name):
            raise ValueError(f"{name!r} is not a name of a piece")
        return self._folder(job_id) / name
