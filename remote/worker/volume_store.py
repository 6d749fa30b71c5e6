"""Jobs on a volume: their inputs, their outcomes, and their videos in parts."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from multitalk_cli import contract
from multitalk_cli.errors import RemoteError
from multitalk_cli.storage.upload import UploadTarget
from remote.service.store import DirectoryStore
from remote.worker.reporter import States

UPLOAD_FILE = "upload.json"
_SEEN_STATE = "seen-state.json"

_log = logging.getLogger(__name__)


class Volume(Protocol):
    """Files that other containers see after a commit here and a reload there."""

    def commit(self) -> None: ...

    def reload(self) -> None: ...


class VolumeStore:
    """Keeps each job's files on a volume; a finished video is kept in parts.

    parts: of the published video. video: that video where the volume did not take it; else None.
    """

    def __init__(self, root: Path, volume: Volume, states: States, *, first: bool = False) -> None:
        """first: the video and the outcome are those of the first window alone."""
        self._files, self._volume, self._states = DirectoryStore(root), volume, states
        self._answer_file, self._part = contract.RESULT_FILE, "part"
        if first:
            self._answer_file, self._part = contract.FIRST_FILE, "first"
        self.parts: list[dict[str, Any]] = []
        self.video: bytes | None = None

    def load(self, job_id: str, name: str) -> Path | None:
        return self._files.load(job_id, name)

    def save(self, job_id: str, pieces: Mapping[str, Path], outdated: Iterable[str] = ()) -> None:
        self._files.save(job_id, pieces, outdated)
        self._volume.commit()

    def keep_request(self, job_id: str, wire: Mapping[str, Any]) -> None:
        """Keeps a request in its wire form; a commit is due."""
        self.save_text(job_id, contract.INPUTS_FILE, json.dumps(wire, default=_to_text))

    def request(self, job_id: str) -> contract.GenerateRequest | None:
        """The request that was kept."""
        kept = self.load(job_id, contract.INPUTS_FILE)
        if kept is None:
            return None
        wire = json.loads(kept.read_bytes(), object_hook=_from_text)
        return contract.from_wire(contract.GenerateRequest, wire)

    def keep_upload(self, job_id: str, wire: Mapping[str, Any]) -> None:
        """Keeps an UploadTarget in its wire form; a commit is due."""
        self.save_text(job_id, UPLOAD_FILE, json.dumps(wire))

    def upload(self, job_id: str) -> UploadTarget | None:
        """The UploadTarget that was kept."""
        kept = self.load(job_id, UPLOAD_FILE)
        return (
            None
            if kept is None
            else contract.from_wire(UploadTarget, json.loads(kept.read_bytes()))
        )

    def keep_answer(self, job_id: str, answer: Mapping[str, Any]) -> None:
        """Keeps the outcome of a job; a commit is due."""
        self.save_text(job_id, self._answer_file, json.dumps(answer))

    def answer(self, job_id: str) -> dict[str, Any] | None:
        """The outcome that was kept; that of the whole video where there is one."""
        kept = self.load(job_id, contract.RESULT_FILE) or self.load(job_id, self._answer_file)
        return None if kept is None else dict(json.loads(kept.read_bytes()))

    def save_text(self, job_id: str, name: str, text: str) -> None:
        """Keeps a text; the next commit makes it visible elsewhere."""
        self._files.write(job_id, name, text.encode())

    def publish(self, job_id: str, video: Path) -> None:
        """Cuts the video into parts and notes their sums in `parts`; a commit is due."""
        self.parts, self.video = [], None
        try:
            self._write_parts(job_id, video)
        # The call's answer still delivers it.
        except Exception:  # noqa: BLE001
            _log.exception("job %s: its video could not be kept", job_id)
            self.parts, self.video = [], video.read_bytes()

    def _write_parts(self, job_id: str, video: Path) -> None:
        with video.open("rb") as file:
            while piece := file.read(contract.PART_BYTES):
                name = f"{self._part}-{len(self.parts) + 1:04}"
                self._files.write(job_id, name, piece)
                sha256 = hashlib.sha256(piece).hexdigest()
                self.parts.append({"name": name, "size": len(piece), "sha256": sha256})

    def read_video(self, job_id: str) -> bytes:
        """The published video, put together again."""
        return b"".join(self._pieces(job_id))

    def write_video(self, job_id: str, target: Path) -> None:
        """Writes the published video, put together again, to a file."""
        with target.open("wb") as file:
            file.writelines(self._pieces(job_id))

    def _pieces(self, job_id: str) -> Iterator[bytes]:
        """The pieces of the published video. Raises RemoteError E_EXPIRED where one is absent."""
        if self.video is not None:
            yield self.video
        for part in self.parts:
            path = self._files.load(job_id, part["name"])
            if path is None:
                message = f"{part['name']} of the video of job {job_id} is no longer kept"
                raise RemoteError(message, code="E_EXPIRED")
            yield path.read_bytes()

    def clean_up(self, job_id: str, *, finished: bool, keep_inputs: bool) -> None:
        """Removes files that are no longer needed: of this job, and whole expired jobs."""
        outdated = [] if keep_inputs else [contract.INPUTS_FILE]
        folder = self._files.load(job_id, contract.RESULT_FILE)
        if finished and folder is not None:
            names = {path.name for path in folder.parent.iterdir()}
            kept = {
                contract.RESULT_FILE,
                contract.INPUTS_FILE,
                *(part["name"] for part in self.parts),
            }
            outdated += sorted(names - kept)
        self._files.save(job_id, {}, outdated)
        self.delete_outdated()

    def delete(self, job_id: str) -> None:
        self._files.delete(job_id)

    def can_be_finished(self, job_id: str) -> bool:
        """Whether its first window was made by a call of its own, which is paid."""
        return self.load(job_id, contract.FIRST_FILE) is not None

    def remove(self, job_id: str, names: Iterable[str]) -> None:
        """Removes files of a job; a commit is due."""
        self._files.save(job_id, {}, names)

    def delete_outdated(self) -> None:
        """Removes expired jobs."""
        self._files.delete_older(contract.JOBS_KEPT_S, self._is_running)

    def _is_running(self, job_id: str) -> bool:
        """Whether a job that looks old may still run, for all that is known.

        Its container writes its state again and again, but a lost one leaves it as it was: so the
        state is noted, which makes the job look new, and is compared when it looks old once more.
        """
        text = self._states.get(job_id)
        if text is None or json.loads(text)["event"]["kind"] in ("done", "failed"):
            return False
        noted = self.load(job_id, _SEEN_STATE)
        if noted is not None and noted.read_text("utf-8") == text:
            return False
        self.save_text(job_id, _SEEN_STATE, text)
        return True

    def reload(self) -> None:
        """Makes the commits of others visible here."""
        self._volume.reload()

    def commit(self) -> None:
        """Makes everything visible to others."""
        self._volume.commit()


def _to_text(value: object) -> dict[str, str]:
    if not isinstance(value, bytes):
        raise TypeError(f"{type(value).__name__} cannot be part of a request")
    return {"base64": base64.b64encode(value).decode("ascii")}


def _from_text(value: dict[str, Any]) -> Any:
    return base64.b64decode(value["base64"]) if value.keys() == {"base64"} else value
