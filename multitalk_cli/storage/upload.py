"""The upload of a video: where to, and the state of that place."""

from __future__ import annotations

from dataclasses import dataclass

from multitalk_cli.storage.address import S3Uri

OUTPUTS = "outputs/"
SUFFIX = ".mp4"


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadTarget:
    """The place for a video in the store.

    bucket: empty for the one in the secret. key: whole; or a folder, empty or with a slash at its
    end, for a name made from `stem` and the job.
    """

    bucket: str
    key: str
    stem: str
    overwrite: bool

    def address(self, job_id: str, default_bucket: str) -> S3Uri:
        """The place of a job's video. default_bucket: the one in the secret."""
        key = self.key
        if not key or key.endswith("/"):
            key = f"{key if key else OUTPUTS}{self.stem}-{job_id}{SUFFIX}"
        return S3Uri(bucket=self.bucket if self.bucket else default_bucket, key=key)

    def is_at(self, address: str | None, job_id: str) -> bool:
        """Whether a video stored at that address is in this place."""
        if address is None:
            return False
        bucket = address.removeprefix("s3://").partition("/")[0]
        return address == str(self.address(job_id, bucket)) and self.bucket in ("", bucket)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectStatus:
    """The state of a place in the store. recipe: of the video there; None without one."""

    address: str
    is_taken: bool
    recipe: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadRequest:
    """A finished video to be stored, or with `looks` only the question for the place's state.

    video: the MP4; None for the job's own in the Volume.
    """

    job_id: str
    upload: UploadTarget
    looks: bool
    video: bytes | None = None
