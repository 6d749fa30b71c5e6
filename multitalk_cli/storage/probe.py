"""Whether a bucket can be worked with: one small object is stored, read and removed."""

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
    """Does in outputs/ what videos need, and gives the bucket's region where the store tells it.

    Raises StorageError E_S3_DENIED that names every permission which is missing, and what else
    `storage` raises.
    """
    address = S3Uri(bucket=bucket, key=f"{FOLDER}multitalk-probe-{secrets.token_hex(8)}")
    body = secrets.token_bytes(32)
    region, missing = None, list[str]()
    with _noted("s3:ListBucket", missing):
        region = storage.region_of(bucket)
    with _noted("s3:PutObject", missing):
        storage.write(address, body)
        try:
            with _noted("s3:GetObject", missing):
                _compare(storage, address, body)
        finally:
            with _noted("s3:DeleteObject", missing):
                storage.delete(address)
    if missing:
        where = f"s3://{bucket}/{FOLDER}*"
        left = f"; {address} was left there" if "s3:DeleteObject" in missing else ""
        message = f"the store does not allow {' and '.join(missing)} on {where}{left}"
        raise StorageError(message, code="E_S3_DENIED")
    return region


def _compare(storage: Storage, address: S3Uri, body: bytes) -> None:
    if storage.read(address) != body:
        raise StorageError(f"{address} is not what was stored", code="E_S3_CHANGED")


@contextmanager
def _noted(permission: str, missing: list[str]) -> Iterator[None]:
    """Notes the permission where the block fails for want of it."""
    try:
        yield
    except StorageError as error:
        if error.code != "E_S3_DENIED":
            raise
        missing.append(permission)
