"""URIs of objects: s3://BUCKET/KEY."""

from __future__ import annotations

import re
from dataclasses import dataclass

from multitalk_cli.errors import UsageError
from multitalk_cli.files import is_printable

_STORE = re.compile(r"s3:/", re.IGNORECASE)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{2,254}")
_SHORTEST, _LONGEST = 3, 255


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Uri:
    """One object; or with a key that is empty or a prefix, all objects below it."""

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


def is_stored(text: str) -> bool:
    """Whether a user means an object of a store, and not a file."""
    return _STORE.match(text) is not None


def parse_uri(text: str) -> S3Uri:
    """The URI in `s3://bucket/key`. Raises UsageError E_S3_ADDRESS."""
    scheme, _, rest = text.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme.lower() != "s3":
        raise UsageError(f"{text!r} is not s3://BUCKET/KEY", code="E_S3_ADDRESS")
    flaw = _bucket_flaw(bucket)
    if flaw:
        raise UsageError(f"{text!r} {flaw}", code="E_S3_ADDRESS")
    return S3Uri(bucket=bucket, key=key)


def check_bucket(name: str) -> None:
    """Raises ValueError with the expected form unless it is the name of a bucket."""
    if not _BUCKET.fullmatch(name):
        raise ValueError(f"must be the name of a bucket such as my-bucket, not {name!r}")


def find_nearest_bucket(text: str) -> str | None:
    """The bucket of an address; None for anything else."""
    name = text.partition("://")[2].partition("/")[0]
    return name if _BUCKET.fullmatch(name) else None


def _bucket_flaw(name: str) -> str:
    """What keeps a name from being a bucket's, as the end of a sentence; or empty."""
    if not name:
        return "names no bucket"
    if not _SHORTEST <= len(name) <= _LONGEST:
        return f"names the bucket {name!r}: names have {_SHORTEST} to {_LONGEST} characters"
    if not _BUCKET.fullmatch(name):
        return f"names the bucket {name!r}: names have letters, digits, dots and dashes only"
    return ""


def is_folder(key: str) -> bool:
    """Whether a key is of a folder: consoles make empty objects with a slash at their end."""
    return key.endswith("/")


def shown_key(key: str) -> str:
    """A key for one line of text: escaped if it has control characters."""
    return key if is_printable(key) else ascii(key)
