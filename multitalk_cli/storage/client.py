"""S3: listing, fetching and storing objects. Plain arguments, for the client and its container.

Only this room imports boto3, and turns its errors into ours.
"""

from __future__ import annotations

import heapq
import mimetypes
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from multitalk_cli.errors import FileError, StorageError, UsageError
from multitalk_cli.files import (
    move_into_place,
    open_input,
    require_replaceable,
    sha256_of,
    shown_path,
)
from multitalk_cli.storage import key_text, ranges
from multitalk_cli.storage.access import Access, connect
from multitalk_cli.storage.address import S3Uri, is_folder
from multitalk_cli.storage.checksums import (
    SHA256_FIELD,
    ObjectMetadata,
    digests,
    modified_s,
    read_metadata,
)
from multitalk_cli.storage.endpoint import without_bucket
from multitalk_cli.storage.errors import archived, converted, lacks_conditions, library_errors
from multitalk_cli.storage.parts import locked_part, part_path, remove_outdated
from multitalk_cli.storage.ranges import PART_BYTES, TRANSFERS

if TYPE_CHECKING:
    from pathlib import Path


MAX_URL_S = 7 * 24 * 3600
_MAX_PARTS = 10_000

Report = Callable[[int], None]
"""Receives the number of bytes that have just arrived."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """One row of a listing. modified_s: seconds since 1970. etag: without its quotes."""

    key: str
    size_bytes: int
    modified_s: float
    etag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The newest objects below a URI, the newest last.

    folders: common prefixes, of a listing that is not recursive. count, size_bytes: of all
    objects, listed here or not.
    """

    objects: tuple[StoredObject, ...]
    folders: tuple[str, ...]
    count: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Transferred:
    """A finished transfer. checked: the digest compared: sha256, etag, crc32 or size.

    resumed_bytes: fetched by an earlier run. was_there: whether the whole file was. encoding: of
    the bytes as the store keeps them and as they are fetched, such as gzip; empty for none.
    """

    uri: S3Uri
    size_bytes: int
    checked: str
    resumed_bytes: int = 0
    was_there: bool = False
    encoding: str = ""


class Storage:
    """A store with the S3 API; safe for several threads.

    Raises SetupError, StorageError and TemporaryError with the E_S3 codes.
    """

    def __init__(self, access: Access | None = None) -> None:
        with converted("sign in", None):
            self._session, self._client = connect(Access() if access is None else access)

    @property
    def has_temporary_credentials(self) -> bool:
        """Whether URLs signed now expire with a session."""
        with converted("sign in", None):
            credentials = self._session.get_credentials()
            return credentials is not None and bool(credentials.token)

    def iter_objects(self, uri: S3Uri, *, recursive: bool = True) -> Iterator[StoredObject | str]:
        """Objects below a URI in the order of their keys, a page at a time.

        Without `recursive`, everything below a further slash is one folder, as text. The empty
        objects by which consoles mark folders are left out.
        """
        arguments = {"Bucket": self._bucket(uri), "Prefix": uri.key}
        if not recursive:
            arguments["Delimiter"] = "/"
        with converted("s3:ListBucket", uri):
            pages = self._client.get_paginator("list_objects_v2").paginate(**arguments)
            for page in pages:
                folders = page.get("CommonPrefixes", ())
                yield from (key_text.restored(folder["Prefix"]) for folder in folders)
                rows = (_to_object(row) for row in page.get("Contents", ()))
                yield from (row for row in rows if row.size_bytes or not is_folder(row.key))

    def newest(self, uri: S3Uri, limit: int, *, recursive: bool = True) -> Listing:
        """The newest `limit` objects, in memory for that many."""
        heap: list[tuple[float, str, StoredObject]] = []
        folders: list[str] = []
        count = size_bytes = 0
        for found in self.iter_objects(uri, recursive=recursive):
            if isinstance(found, str):
                folders.append(found)
                continue
            count, size_bytes = count + 1, size_bytes + found.size_bytes
            entry = (found.modified_s, found.key, found)
            if len(heap) < limit:
                heapq.heappush(heap, entry)
            else:
                heapq.heappushpop(heap, entry)
        objects = tuple(found for _, _, found in sorted(heap))
        return Listing(objects=objects, folders=tuple(folders), count=count, size_bytes=size_bytes)

    def find(self, uri: S3Uri) -> StoredObject:
        """The object at exactly this URI."""
        details = self._details(uri)
        return StoredObject(
            key=uri.key,
            size_bytes=details.size_bytes,
            modified_s=details.modified_s,
            etag=details.etag,
        )

    def require_readable(self, uri: S3Uri) -> None:
        """Raises StorageError E_S3_KEY for no object, E_S3_ARCHIVED for an archived one."""
        _require_restored(uri, self._details(uri))

    def url(self, uri: S3Uri, expires_s: int) -> str:
        """A web address that reads the object without credentials, for at most 7 days."""
        with converted("s3:GetObject", uri):
            return str(
                self._client.generate_presigned_url(
                    "get_object",
                    Params=self._place(uri),
                    ExpiresIn=expires_s,
                )
            )

    def get(
        self, uri: S3Uri, target: Path, *, overwrite: bool, report: Report | None = None
    ) -> Transferred:
        """Fetches an object into a file, which appears whole and checked, or not at all.

        An interrupted transfer is kept next to the target and resumed. A file with the same bytes
        is not fetched again. Raises FileError E_OUTPUT_EXISTS for one with other bytes, or as
        `write_error` for one that cannot be written.
        """
        notify = _ignore if report is None else report
        require_replaceable(target)
        details = self._details(uri)
        if not overwrite and os.path.lexists(target):
            compared = _compare_existing(target, uri, details)
            size = details.size_bytes
            notify(size)
            return Transferred(
                uri=uri,
                size_bytes=size,
                checked=compared,
                resumed_bytes=size,
                was_there=True,
                encoding=details.encoding,
            )
        _require_restored(uri, details)
        part = part_path(target, uri, details, self._client.meta.endpoint_url)
        with locked_part(part, target) as file:
            resumed = self._fill(file, uri, details, notify)
            checked = _check(file, part, uri, details)
            move_into_place(part, target, overwrite=overwrite)
        remove_outdated(part, target)
        return Transferred(
            uri=uri,
            size_bytes=details.size_bytes,
            checked=checked,
            resumed_bytes=resumed,
            encoding=details.encoding,
        )

    def put(
        self, source: Path, uri: S3Uri, *, overwrite: bool, report: Report | None = None
    ) -> Transferred:
        """Stores a file under a key. Raises FileError E_S3_EXISTS for a key in use.

        An object with the same content is not stored again.
        """
        with open_input(source) as file:
            digest = sha256_of(file)
            size = os.fstat(file.fileno()).st_size
            if overwrite or not self._is_stored(uri, digest):
                self._store(file, size, uri, digest, overwrite, report)
        return Transferred(uri=uri, size_bytes=size, checked="sha256")

    # Buckets, and objects that fit into memory

    def region_of(self, bucket: str) -> str | None:
        """The region of a bucket; None from stores that do not tell it."""
        with converted("s3:ListBucket", S3Uri(bucket=bucket, key="")):
            # Not a HEAD alone: its refusal has no body with the reason.
            answer = self._client.list_objects_v2(
                Bucket=self._bucket(S3Uri(bucket=bucket, key="")), MaxKeys=1
            )
            region = answer["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region")
            if region is None:
                with suppress(self._client.exceptions.ClientError):
                    region = self._client.head_bucket(Bucket=bucket).get("BucketRegion")
        return str(region) if region else None

    def write(self, uri: S3Uri, body: bytes) -> None:
        """Stores a few bytes under a key; replaces an object that has it."""
        with converted("s3:PutObject", uri):
            self._client.put_object(**self._place(uri), Body=body)

    def read(self, uri: S3Uri) -> bytes:
        """The bytes of a small object."""
        with converted("s3:GetObject", uri):
            answer = self._client.get_object(**self._place(uri))
            return bytes(answer["Body"].read())

    def delete(self, uri: S3Uri) -> None:
        """Removes an object, if there is one."""
        with converted("s3:DeleteObject", uri):
            self._client.delete_object(**self._place(uri))

    # Fetching

    def _details(self, uri: S3Uri) -> ObjectMetadata:
        """The object's metadata. A HEAD that fails is followed by a GET for the reason."""
        place = self._place(uri)
        with converted("s3:GetObject", uri):
            try:
                head = self._head(place)
            except self._client.exceptions.ClientError:
                self._client.get_object(**place, Range="bytes=0-0")["Body"].close()
                raise
            etag = head["ETag"].strip('"')
            parts = etag.partition("-")[2]
            size = head["ContentLength"]
            part_bytes = 0
            if parts.isdigit():
                # Not every store reports the sizes of parts; the check then does without.
                with suppress(self._client.exceptions.ClientError):
                    first = self._client.head_object(**place, PartNumber=1)
                    part_bytes = first["ContentLength"]
        return read_metadata(head, etag, size, part_bytes)

    def _head(self, place: Mapping[str, str]) -> Mapping[str, Any]:
        """The answer to a HEAD, with the object's checksums from stores that know them."""
        client_error = self._client.exceptions.ClientError
        try:
            return dict(self._client.head_object(**place, ChecksumMode="ENABLED"))
        except client_error as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] not in (400, 501):
                raise
            return dict(self._client.head_object(**place))

    def _fill(self, file: BinaryIO, uri: S3Uri, details: ObjectMetadata, report: Report) -> int:
        """Appends the missing bytes in order; returns how many were there before."""
        start = file.seek(0, os.SEEK_END)
        if start > details.size_bytes:
            start = file.truncate(0)
        report(start)
        for chunk in ranges.read(self._client, self._place(uri), uri, details, start):
            file.write(chunk)
            file.flush()
            report(len(chunk))
        os.fsync(file.fileno())
        return start

    # Storing

    def _is_stored(self, uri: S3Uri, digest: str) -> bool:
        """Whether the object exists with these bytes; False without the permission to read it.

        Raises FileError E_S3_EXISTS for an object with other bytes.
        """
        try:
            found = self._details(uri).sha256
        except StorageError:
            # Write-only credentials see nothing; the condition of the upload still holds.
            return False
        if found != digest:
            raise FileError(f"{uri} exists", code="E_S3_EXISTS")
        return True

    def _store(
        self,
        file: BinaryIO,
        size: int,
        uri: S3Uri,
        digest: str,
        overwrite: bool,
        report: Report | None,
    ) -> None:
        place = self._place(uri)
        kind = mimetypes.guess_type(uri.key)[0]
        about = {
            "Metadata": {SHA256_FIELD: digest},
            "ContentType": "application/octet-stream" if kind is None else kind,
        }
        notify = _ignore if report is None else report
        with converted("s3:PutObject", uri):
            if size <= PART_BYTES:

                def put(**condition: str) -> None:
                    file.seek(0)
                    self._client.put_object(**place, **about, **condition, Body=file)

                self._send_unless_taken(put, uri, overwrite)
                notify(size)
                return
            begun = self._client.create_multipart_upload(**place, **about)
            upload = {**place, "UploadId": begun["UploadId"]}
            try:
                parts = self._send_parts(file, size, upload, notify)

                def complete(**condition: str) -> None:
                    self._client.complete_multipart_upload(
                        **upload, **condition, MultipartUpload={"Parts": parts}
                    )

                self._send_unless_taken(complete, uri, overwrite)
            except BaseException:
                # Parts of an incomplete upload cost money until it is aborted.
                with suppress(*library_errors()):
                    self._client.abort_multipart_upload(**upload)
                raise

    def _send_unless_taken(self, send: Callable[..., None], uri: S3Uri, overwrite: bool) -> None:
        """Sends on the condition that the key is free; a store without conditions is asked first.

        Raises FileError E_S3_EXISTS, and StorageError E_S3_DENIED where that store does not tell.
        """
        if overwrite:
            send()
            return
        try:
            send(IfNoneMatch="*")
        except self._client.exceptions.ClientError as error:
            if not lacks_conditions(error.response):
                raise
            self._require_free(uri)
            send()

    def _require_free(self, uri: S3Uri) -> None:
        try:
            self._details(uri)
        except StorageError as error:
            if error.code != "E_S3_KEY":
                raise
        else:
            raise FileError(f"{uri} exists", code="E_S3_EXISTS")

    def _bucket(self, uri: S3Uri) -> str:
        """The bucket. Raises UsageError E_S3_ADDRESS for an endpoint that has its name already."""
        shorter = without_bucket(self._client.meta.endpoint_url, uri.bucket)
        if shorter is not None:
            raise UsageError(
                f"the endpoint {self._client.meta.endpoint_url} has the bucket's name "
                f"{uri.bucket!r} in it: it must be {shorter}",
                code="E_S3_ADDRESS",
                facts={"option": "--endpoint-url", "example": shorter},
            )
        return uri.bucket

    def _place(self, uri: S3Uri) -> dict[str, str]:
        return {"Bucket": self._bucket(uri), "Key": uri.key}

    def _send_parts(
        self, file: BinaryIO, size: int, upload: Mapping[str, str], report: Report
    ) -> list[dict[str, Any]]:
        part_bytes = max(PART_BYTES, -(-size // _MAX_PARTS))
        reading = threading.Lock()

        def send(number: int) -> dict[str, Any]:
            with reading:
                file.seek((number - 1) * part_bytes)
                body = file.read(part_bytes)
            answer = self._client.upload_part(**upload, PartNumber=number, Body=body)
            return {"PartNumber": number, "ETag": answer["ETag"]}

        pool = ThreadPoolExecutor(TRANSFERS)
        parts: list[dict[str, Any]] = []
        try:
            for part in pool.map(send, range(1, -(-size // part_bytes) + 1)):
                parts.append(part)
                report(min(part_bytes, size - (len(parts) - 1) * part_bytes))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        return parts


def _ignore(_count: int) -> None:
    """The report of a caller that wants none."""


def _to_object(row: Mapping[str, Any]) -> StoredObject:
    size_bytes = row.get("Size", -1)
    if size_bytes < 0:
        raise StorageError(
            f"unexpected response of the store: no size of {row['Key']}", code="E_STORAGE"
        )
    return StoredObject(
        key=key_text.restored(row["Key"]),
        size_bytes=size_bytes,
        modified_s=modified_s(row),
        etag=row.get("ETag", "").strip('"'),
    )


def _require_restored(uri: S3Uri, details: ObjectMetadata) -> None:
    """Raises StorageError E_S3_ARCHIVED for an object that cannot be read now."""
    if details.archive:
        raise archived(uri, details.archive, is_on_its_way=details.is_being_restored)


def _compare_existing(target: Path, uri: S3Uri, details: ObjectMetadata) -> str:
    """The digest by which the file equals the object. Raises FileError E_OUTPUT_EXISTS."""
    if target.is_file() and target.stat().st_size == details.size_bytes:
        with target.open("rb") as file:
            compared, expected, seen = digests(file, details)
        if expected == seen and compared != "size":
            return compared
    raise FileError(
        f"{shown_path(target)} exists and is not {uri}",
        code="E_OUTPUT_EXISTS",
    )


def _check(file: BinaryIO, part: Path, uri: S3Uri, details: ObjectMetadata) -> str:
    """The digest that was compared. Raises StorageError E_S3_CHANGED for a difference."""
    file.seek(0)
    compared, expected, seen = digests(file, details)
    if expected == seen:
        return compared
    part.unlink()
    raise StorageError(
        f"{uri} arrived with {compared} {seen}, the store has {expected}", code="E_S3_CHANGED"
    )
