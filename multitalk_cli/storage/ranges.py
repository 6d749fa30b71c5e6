"""The bytes of an object: several ranges at a time, or one stream from a store without ranges."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from multitalk_cli.errors import StorageError, TemporaryError
from multitalk_cli.storage.access import MAX_CONNECTIONS
from multitalk_cli.storage.errors import converted
from multitalk_cli.storage.retry import Clock, RetryPolicy

if TYPE_CHECKING:
    from multitalk_cli.storage.address import S3Uri
    from multitalk_cli.storage.checksums import ObjectMetadata

PART_BYTES = 8 * 1024**2
TRANSFERS = MAX_CONNECTIONS - 2
_READ_BYTES = 256 * 1024
_RETRIES = RetryPolicy(pauses_s=(0.5, 2.0, 5.0))


def read(
    client: Any, place: Mapping[str, str], uri: S3Uri, details: ObjectMetadata, start: int
) -> Iterator[bytes | bytearray]:
    """Yields the bytes of an object from `start` on, in order.

    client: boto3's. place: the object, as its arguments. Raises TemporaryError where no further
    attempt helped, StorageError E_S3_CHANGED for another version of the object.
    """
    reading = _Reading(client, place, uri, details)
    position = start
    try:
        for chunk in reading.ranges(start):
            position += len(chunk)
            yield chunk
    except _NoRangesError:
        yield from reading.stream(position)


class _NoRangesError(Exception):
    """The store sends the whole object where a part was asked for."""


class _Reading:
    """One object that is being read."""

    def __init__(
        self, client: Any, place: Mapping[str, str], uri: S3Uri, details: ObjectMetadata
    ) -> None:
        self._client, self._place, self._uri, self._details = client, place, uri, details

    def ranges(self, start: int) -> Iterator[bytearray]:
        """The rest of the object in order, fetched as several ranges at a time."""
        stop = threading.Event()
        waiting: deque[Future[bytearray]] = deque()
        size = self._details.size_bytes
        starts = iter(range(start, size, PART_BYTES))
        with ThreadPoolExecutor(TRANSFERS) as pool:
            try:
                while True:
                    while len(waiting) < TRANSFERS and (first := next(starts, None)) is not None:
                        last = min(first + PART_BYTES, size) - 1
                        waiting.append(pool.submit(self._range, first, last, stop))
                    if not waiting:
                        return
                    yield waiting.popleft().result()
            finally:
                stop.set()
                pool.shutdown(wait=False, cancel_futures=True)

    def stream(self, start: int) -> Iterator[bytes]:
        """The rest of the object, from a store that can only be read from the beginning."""
        position, retry = start, _RETRIES.start()
        while position < self._details.size_bytes:
            try:
                for chunk in self._connection(position):
                    position += len(chunk)
                    retry.succeed()
                    yield chunk
            except TemporaryError:
                if not retry.wait():
                    raise

    def _range(self, first: int, last: int, stop: threading.Event) -> bytearray:
        """The bytes from `first` to `last`, retried after network errors."""

        def pause(seconds: float) -> None:
            stop.wait(seconds)

        retry = _RETRIES.start(Clock(sleep=pause))
        while True:
            try:
                return self._range_once(first, last, stop)
            except TemporaryError:
                if not retry.wait() or stop.is_set():
                    raise

    def _range_once(self, first: int, last: int, stop: threading.Event) -> bytearray:
        # One block of memory for each range: growing ones would leave holes of megabytes.
        arrived, count = bytearray(last - first + 1), 0
        view = memoryview(arrived)
        with converted("s3:GetObject", self._uri):
            answer = self._open(Range=f"bytes={first}-{last}")
            with answer["Body"] as body:
                self._require_range(answer, first, last)
                while not stop.is_set() and (more := body.readinto(view[count:][:_READ_BYTES])):
                    count += more
        if count != len(arrived):
            raise self._lost(count, len(arrived))
        return arrived

    def _connection(self, start: int) -> Iterator[bytes]:
        """The bytes from `start` on, of one answer with all of them."""
        position, size = 0, self._details.size_bytes
        with converted("s3:GetObject", self._uri), self._open()["Body"] as body:
            while chunk := body.read(_READ_BYTES):
                new = chunk[max(0, start - position) :]
                position += len(chunk)
                if position > size:
                    raise self._changed(f"has more than {size} bytes")
                if new:
                    yield new
        if position < size:
            raise self._lost(position, size)

    def _open(self, **options: str) -> Mapping[str, Any]:
        """The answer with the object's bytes."""
        etag = self._details.etag
        answer: Mapping[str, Any] = self._client.get_object(
            **self._place, IfMatch=f'"{etag}"', **options
        )
        if answer["ETag"].strip('"') != etag:
            answer["Body"].close()
            raise self._changed("was replaced while it was fetched")
        return answer

    def _require_range(self, answer: Mapping[str, Any], first: int, last: int) -> None:
        """Raises unless the answer has these bytes; a whole object has all of them."""
        sent = answer.get("ContentRange", "")
        is_whole = not sent and (first, last) == (0, self._details.size_bytes - 1)
        if not is_whole and not sent.startswith(f"bytes {first}-{last}/"):
            raise _NoRangesError

    def _lost(self, count: int, wanted: int) -> TemporaryError:
        text = f"{self._uri}: only {count} of {wanted} bytes arrived"
        return TemporaryError(text, code="E_S3_NETWORK")

    def _changed(self, text: str) -> StorageError:
        return StorageError(f"{self._uri} {text}", code="E_S3_CHANGED")
