"""The user's store, as the app uses it: lookups of addresses, and uploads of videos."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from multitalk_cli import contract
from multitalk_cli.errors import FileError, RemoteError, SetupError, StorageError
from multitalk_cli.storage.upload import ObjectStatus, UploadRequest, UploadTarget
from remote.worker.failures import as_answer, read_wire

if TYPE_CHECKING:
    from multitalk_cli.storage.address import S3Uri
    from multitalk_cli.storage.client import Storage
    from remote.worker.volume_store import VolumeStore

BUCKET_VARIABLE, REGION_VARIABLE = "AWS_BUCKET_NAME", "AWS_REGION"
UPLOADING = "uploading"
MAX_LOOKED_AT_BYTES = 1 << 30
_RENEW = "multitalk setup-secrets --only aws --update"
# Keys are in a secret of the account here, not in the user's environment.
_HINTS = {
    "E_S3_BUCKET": f"correct the bucket's name, or if it is that of the secret: {_RENEW}",
    "E_S3_CREDENTIALS": _RENEW,
    "E_S3_ENDPOINT": _RENEW,
    "E_S3_DENIED": f"allow it in the policy of the secret's keys, or use other keys: {_RENEW}",
    "E_S3_EXPIRED": _RENEW,
    "E_S3_REGION": _RENEW,
}

Show = Callable[[contract.Event], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenBucket:
    """The store, and the bucket that the secret names, which may be empty."""

    storage: Storage
    name: str

    def require_name(self) -> str:
        """The bucket that the secret names. Raises SetupError E_SECRET_INCOMPLETE for none."""
        if not self.name:
            message = f"{contract.AWS_SECRET} lacks {BUCKET_VARIABLE}"
            raise SetupError(message, code="E_SECRET_INCOMPLETE", hint=_RENEW)
        return self.name

    def place(self, upload: UploadTarget, job_id: str) -> S3Uri:
        """The address of a video. Raises SetupError E_SECRET_INCOMPLETE without any bucket."""
        return upload.address(job_id, upload.bucket if upload.bucket else self.require_name())


def open_bucket() -> OpenBucket:
    """The store that this container's secret is for."""
    from multitalk_cli.storage.access import Access
    from multitalk_cli.storage.client import Storage

    # boto3 reads the region under another name only.
    region = os.environ.get(REGION_VARIABLE)
    storage = Storage(Access(region=region if region else None))
    return OpenBucket(storage=storage, name=os.environ.get(BUCKET_VARIABLE, ""))


def failed_answer(failed: contract.Failed) -> dict[str, Any]:
    """The answer of a function whose failure takes the place of its result."""
    return contract.to_wire(with_account_hint(failed))


def with_account_hint(failed: contract.Failed) -> contract.Failed:
    """The failure with advice for a store whose keys are in a secret of the account."""
    return replace(failed, hint=_HINTS.get(failed.code, failed.hint))


@as_answer(failed_answer)
def store_video(wire: Mapping[str, Any], files: VolumeStore) -> dict[str, Any]:
    """Reports what is stored at the address of a video, or stores the video there.

    wire: an UploadRequest. Answers with an ObjectStatus.
    """
    request = read_wire(UploadRequest, wire)
    if request.looks:
        return contract.to_wire(find_object(open_bucket(), request.upload, request.job_id))
    if request.video is None:
        address = _put_kept(request, files)
    else:
        address = _put_bytes(request, request.video)
    return contract.to_wire(ObjectStatus(address=address, is_taken=True))


def find_object(bucket: OpenBucket, upload: UploadTarget, job_id: str) -> ObjectStatus:
    """The object at the address where a job's video will be stored."""
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
        # Keys that may only write find nothing; the condition of the upload still holds.
        if error.code not in ("E_S3_KEY", "E_S3_DENIED", "E_S3_ARCHIVED"):
            raise
        return ObjectStatus(address=str(address), is_taken=error.code == "E_S3_ARCHIVED")
    text = None if recipe is None else json.dumps(recipe)
    return ObjectStatus(address=str(address), is_taken=True, recipe=text)


def put(files: VolumeStore, job_id: str, upload: UploadTarget, show: Show) -> str:
    """Stores the published video, and returns its address."""
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


def _put_bytes(request: UploadRequest, video: bytes) -> str:
    bucket = open_bucket()
    address = bucket.place(request.upload, request.job_id)
    with TemporaryDirectory(prefix="multitalk-") as folder:
        path = Path(folder) / "video.mp4"
        path.write_bytes(video)
        bucket.storage.put(path, address, overwrite=request.upload.overwrite)
    return str(address)


def _put_kept(request: UploadRequest, files: VolumeStore) -> str:
    """Stores the video of a finished job, and records its address in the kept outcome."""
    job_id = request.job_id
    files.reload()
    answer = files.answer(job_id)
    if answer is None:
        raise RemoteError(f"the video of job {job_id} is no longer kept", code="E_EXPIRED")
    event = contract.event_from_wire(answer["event"])
    if not isinstance(event, contract.Done):
        raise FileError(f"job {job_id} made no video", code="E_FILE_MISSING")
    files.parts = answer["parts"]
    address = put(files, job_id, request.upload, show=lambda _event: None)
    done = replace(event, result=replace(event.result, stored=address))
    files.keep_answer(job_id, {**answer, "event": contract.to_wire(done), "unstored": None})
    files.commit()
    return address
