"""A video that is stored: where, and what stands there."""

from __future__ import annotations

from dataclasses import dataclass

from multitalk_cli.storage.address import S3Uri

OUTPUTS = "outputs/"
SUFFIX = ".mp4"


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadTarget:
    """Where a video is to be stored.

    bucket: empty for the one that the secret names. key: whole, or empty or with a slash at its end
    for a folder, where a name is made from `stem` and the job.
    """

    bucket: str
    key: str
    stem: str
    overwrite: bool

    def address(self, job_id: str, default_bucket: str) -> S3Uri:
        """The place of a job's video. default_bucket: the one that the secret names."""
        key = self.key
        if not key or key.endswith("/"):
            key = f"{key if key else OUTPUTS}{self.stem}-{job_id}{SUFFIX}"
        return S3Uri(bucket=self.bucket if self.bucket else default_bucket, key=key)

    def is_at(self, address: str | None, job_id: str) -> bool:
        """Whether a video that is stored there is where it should be."""
        if address is None:
            return False
        bucket = address.removeprefix("s3://").partition("/")[0]
        return address == str(self.address(job_id, bucket)) and self.bucket in ("", bucket)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectStatus:
    """A place in the store. recipe: of the video that stands there, None where it has none."""

    address: str
    is_taken: bool
    recipe: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadRequest:
    """A finished video that is to be stored, or with `looks` the question what stands there.

    video: the MP4; None for the one that the job kept.
    """

    job_id: str
    upload: UploadTarget
    looks: bool
    video: bytes | None = None
