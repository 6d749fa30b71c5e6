"""The user's store as the app sees it: what stands at an address, and putting a video there."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from multitalk_cli import contract
from multitalk_cli.errors import FileError, MultitalkError, RemoteError, SetupError, StorageError
from multitalk_cli.storage.upload import ObjectStatus, UploadRequest, UploadTarget

if TYPE_CHECKING:
    from multitalk_cli.storage.address import S3Uri
    from multitalk_cli.storage.client import Storage
    from remote.worker.volume_store import VolumeStore

BUCKET_VARIABLE, REGION_VARIABLE = "AWS_BUCKET_NAME", "AWS_REGION"
UPLOADING = "uploading"
MAX_LOOKED_AT_BYTES = 1 << 30
_RENEW = "multitalk setup-secrets --only aws --update"
# What a user can do is another thing here than on a machine of their own.
_HINTS = {
    "E_S3_BUCKET": f"correct the bucket's name, or if it is that of the secret: {_RENEW}",
    "E_S3_CREDENTIALS": _RENEW,
    "E_S3_DENIED": f"allow it in the policy of the secret's keys, or take other keys: {_RENEW}",
    "E_S3_EXPIRED": _RENEW,
    "E_S3_REGION": _RENEW,
}

Show = Callable[[contract.Event], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenBucket:
    """The store, and the bucket that the secret names; empty where it names none."""

    storage: Storage
    name: str

    def place(self, upload: UploadTarget, job_id: str) -> S3Uri:
        """Where a video goes. Raises SetupError E_SECRET_INCOMPLETE where nothing says so."""
        if not upload.bucket and not self.name:
            message = f"{contract.AWS_SECRET} lacks {BUCKET_VARIABLE}"
            raise SetupError(message, code="E_SECRET_INCOMPLETE", hint=_RENEW)
        return upload.address(job_id, self.name)


def open_bucket() -> OpenBucket:
    """The store that this container's secret is for."""
    from multitalk_cli.storage.access import Access
    from multitalk_cli.storage.client import Storage

    # boto3 itself knows the region under another name only.
    region = os.environ.get(REGION_VARIABLE)
    storage = Storage(Access(region=region if region else None))
    return OpenBucket(storage=storage, name=os.environ.get(BUCKET_VARIABLE, ""))


def answered(work: Callable[[], object]) -> dict[str, Any]:
    """What a function gives, or how it failed, in its wire form."""
    try:
        return contract.to_wire(work())
    except contract.VersionMismatchError as error:
        return contract.to_wire(contract.Failed(code="E_CONTRACT", message=str(error)))
    except MultitalkError as error:
        return contract.to_wire(failed(error))


def failed(error: MultitalkError) -> contract.Failed:
    """An error as data, with what helps where the store's keys are in a secret."""
    hint = _HINTS.get(error.code, error.hint)
    if "folder" in error.facts:
        hint = f"multitalk s3 ls {shlex.quote(str(error.facts['folder']))} --recursive"
    return contract.Failed(code=error.code, message=error.message, hint=hint)


def store(wire: Mapping[str, Any], files: VolumeStore) -> dict[str, Any]:
    """Looks at the place of a video, or puts it there; see `prepared.Storing`."""

    def work() -> ObjectStatus:
        storing = contract.from_wire(UploadRequest, wire)
        if storing.looks:
            return look(open_bucket(), storing.upload, storing.job_id)
        if storing.video is not None:
            return ObjectStatus(address=_put_bytes(storing, storing.video), is_taken=True)
        return ObjectStatus(address=_put_kept(storing, files), is_taken=True)

    return answered(work)


def look(bucket: OpenBucket, upload: UploadTarget, job_id: str) -> ObjectStatus:
    """What stands where a job's video will be stored."""
    from multitalk_cli.media.video.recipe import read_recipe

    address = bucket.place(upload, job_id)
    try:
        found = bucket.storage.find(address)
        if upload.overwrite or found.size_bytes > MAX_LOOKED_AT_BYTES:
            return ObjectStatus(address=str(address), is_taken=True)
        with TemporaryDirectory(prefix="multitalk-") as folder:
            path = Path(folder) / "found.mp4"
            bucket.storage.get(address, path, overwrite=False)
            recipe = read_recipe(path) if found.size_bytes else None
    except StorageError as error:
        # Who may only write sees nothing; the condition of the upload still holds.
        if error.code not in ("E_S3_KEY", "E_S3_DENIED"):
            raise
        return ObjectStatus(address=str(address), is_taken=False)
    text = None if recipe is None else json.dumps(recipe)
    return ObjectStatus(address=str(address), is_taken=True, recipe=text)


def put(files: VolumeStore, job_id: str, upload: UploadTarget, show: Show) -> str:
    """Stores the video that was published, and gives its address."""
    with TemporaryDirectory(prefix="multitalk-") as folder:
        path = Path(folder) / "video.mp4"
        files.write_video(job_id, path)
        total, done = path.stat().st_size, 0
        show(contract.Stage(name=UPLOADING, done=done, total=total))

        def report(count: int) -> None:
            nonlocal done
            done += count
            show(contract.Stage(name=UPLOADING, done=min(done, total), total=total))

        bucket = open_bucket()
        address = bucket.place(upload, job_id)
        bucket.storage.put(path, address, overwrite=upload.overwrite, report=report)
    return str(address)


def _put_bytes(storing: UploadRequest, video: bytes) -> str:
    bucket = open_bucket()
    address = bucket.place(storing.upload, storing.job_id)
    with TemporaryDirectory(prefix="multitalk-") as folder:
        path = Path(folder) / "video.mp4"
        path.write_bytes(video)
        bucket.storage.put(path, address, overwrite=storing.upload.overwrite)
    return str(address)


def _put_kept(storing: UploadRequest, files: VolumeStore) -> str:
    """Stores the video of a job that ended before, and notes where in what is kept of it."""
    job_id = storing.job_id
    files.reload()
    answer = files.answer(job_id)
    if answer is None:
        raise RemoteError(f"the video of job {job_id} is no longer kept", code="E_EXPIRED")
    event = contract.event_from_wire(answer["event"])
    if not isinstance(event, contract.Done):
        raise FileError(f"job {job_id} made no video", code="E_FILE_MISSING")
    files.parts = answer["parts"]
    address = put(files, job_id, storing.upload, _tell_nobody)
    done = replace(event, result=replace(event.result, stored=address))
    files.keep_answer(job_id, {**answer, "event": contract.to_wire(done), "unstored": None})
    files.commit()
    return address


def _tell_nobody(_event: contract.Event) -> None:
    """Nobody follows a call that is this short."""
