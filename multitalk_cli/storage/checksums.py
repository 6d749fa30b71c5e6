"""An object's metadata in the store, and the comparison of a file with it."""

from __future__ import annotations

import hashlib
import os
import re
import zlib
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from multitalk_cli.files import sha256_of

SHA256_FIELD = "multitalk-sha256"
"""The metadata field for the digest of our own uploads."""
_MD5 = re.compile(r"[0-9a-f]{32}")
_CHUNK_BYTES = 1 << 20
_ARCHIVES = ("GLACIER", "DEEP_ARCHIVE")
"""Storage classes without immediate access; Glacier Instant Retrieval, GLACIER_IR, has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectMetadata:
    """An object's size, time and digests; those that the store does not have are empty.

    part_bytes: size of the parts of its upload, 0 if unknown. archive: the archive that it must be
    restored from before it can be read, empty for none. is_being_restored: whether that has begun.
    encoding: in which its bytes are kept, such as gzip; empty for none.
    """

    size_bytes: int
    modified_s: float
    etag: str
    sha256: str
    md5: str
    crc32: str
    part_bytes: int
    archive: str = ""
    is_being_restored: bool = False
    encoding: str = ""


def modified_s(row: Mapping[str, Any]) -> float:
    """The time of an object in seconds since 1970; 0 from a store that does not tell it."""
    modified = row.get("LastModified")
    return 0.0 if modified is None else float(modified.timestamp())


def _archive_of(head: Mapping[str, Any]) -> str:
    """The archive that an object lies in; empty for one that can be read."""
    if 'ongoing-request="false"' in head.get("Restore", ""):
        return ""
    kind = str(head.get("StorageClass", ""))
    return str(head.get("ArchiveStatus") or (kind if kind in _ARCHIVES else ""))


def _encoding_of(head: Mapping[str, Any]) -> str:
    """The encoding of the content; that of an upload in pieces is none of the object's."""
    names = (name.strip().lower() for name in head.get("ContentEncoding", "").split(","))
    return ", ".join(name for name in names if name not in ("", "identity", "aws-chunked"))


def read_metadata(head: Mapping[str, Any], etag: str, size: int, part_bytes: int) -> ObjectMetadata:
    parts = etag.partition("-")[2]
    is_encrypted = "kms" in head.get("ServerSideEncryption", "") or "SSECustomerAlgorithm" in head
    is_whole = head.get("ChecksumType", "FULL_OBJECT") == "FULL_OBJECT"
    has_equal_parts = part_bytes > 0 and -(-size // part_bytes) == int(parts)
    # An ETag is an MD5 unless the object is encrypted with a key of the user's.
    is_md5 = bool(_MD5.fullmatch(etag.partition("-")[0])) and not is_encrypted
    return ObjectMetadata(
        size_bytes=size,
        modified_s=modified_s(head),
        etag=etag,
        sha256=head.get("Metadata", {}).get(SHA256_FIELD, ""),
        md5=etag if is_md5 and (not parts or has_equal_parts) else "",
        crc32=head.get("ChecksumCRC32", "") if is_whole else "",
        part_bytes=part_bytes,
        archive=_archive_of(head),
        is_being_restored='ongoing-request="true"' in head.get("Restore", ""),
        encoding=_encoding_of(head),
    )


def digests(file: BinaryIO, details: ObjectMetadata) -> tuple[str, str, str]:
    """The strongest digest that both have: its name, the store's value, the file's value."""
    if details.sha256:
        return "sha256", details.sha256, sha256_of(file)
    if details.md5:
        return "etag", details.md5, _etag_of(file, details.part_bytes)
    if details.crc32:
        return "crc32", details.crc32, _crc32_of(file)
    return "size", str(details.size_bytes), str(os.fstat(file.fileno()).st_size)


def _etag_of(file: BinaryIO, part_bytes: int) -> str:
    """The MD5 of the file, or of its parts' MD5s with their number."""
    if part_bytes == 0:
        whole = hashlib.md5(usedforsecurity=False)
        while chunk := file.read(_CHUNK_BYTES):
            whole.update(chunk)
        return whole.hexdigest()
    digests = []
    while chunk := file.read(part_bytes):
        digests.append(hashlib.md5(chunk, usedforsecurity=False).digest())
    joined = hashlib.md5(b"".join(digests), usedforsecurity=False)
    return f"{joined.hexdigest()}-{len(digests)}"


def _crc32_of(file: BinaryIO) -> str:
    value = 0
    while chunk := file.read(_CHUNK_BYTES):
        value = zlib.crc32(chunk, value)
    return b64encode(value.to_bytes(4, "big")).decode()
