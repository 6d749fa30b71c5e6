"""A test of a bucket's permissions: one small object is written, read and deleted."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from multitalk_cli.errors import StorageError
from multitalk_cli.storage.address import S3Uri

if TYPE_CHECKING:
    from multitalk_cli.storage.client import Storage

FOLDER = "outputs/"


def try_bucket(storage: Storage, bucket: str) -> str | None:
    """Uses in outputs/ every permission that videos need; returns the bucket's region if told.

    Raises StorageError E_S3_DENIED that names every missing permission, and the other errors of
    `storage`.
    """
    uri = S3Uri(bucket=bucket, key=f"{FOLDER}multitalk-probe-{secrets.token_hex(8)}")
    body = secrets.token_bytes(32)
    region, missing = None, list[str]()
    with _collecting("s3:ListBucket", missing):
        region = storage.region_of(bucket)
    with _collecting("s3:PutObject", missing):
        storage.write(uri, body)
        try:
            with _collecting("s3:GetObject", missing):
                _compare(storage, uri, body)
        finally:
            with _collecting("s3:DeleteObject", missing):
                storage.delete(uri)
    if missing:
        where = f"s3://{bucket}/{FOLDER}*"
        left = f"; {uri} was left there" if "s3:DeleteObject" in missing else ""
        message = f"the store does not allow {' and '.join(missing)} on {where}{left}"
        raise StorageError(message, code="E_S3_DENIED")
    return region


def _compare(storage: Storage, uri: S3Uri, body: bytes) -> None:
    if storage.read(uri) != body:
        raise StorageError(f"{uri} is not what was stored", code="E_S3_CHANGED")


@contextmanager
def _collecting(permission: str, missing: list[str]) -> Iterator[None]:
    """Adds the permission to `missing` if the block is denied."""
    try:
        yield
    except StorageError as error:
        if error.code != "E_S3_DENIED":
            raise
        missing.append(permission)
