"""Whether an answer comes from a store, or from something else at its address."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from multitalk_cli.errors import SetupError, StorageError
from multitalk_cli.storage.endpoint import find_proxy

_ROOT = re.compile(rb"\s*(?:\xef\xbb\xbf)?(?:<\?xml[^>]*\?>\s*)?<(?:\w+:)?(\w+)")
_TITLE = re.compile(rb"<title[^>]*>([^<]{1,200})", re.IGNORECASE)
_ROOTS = {
    "CompleteMultipartUpload": "CompleteMultipartUploadResult",
    "CreateMultipartUpload": "InitiateMultipartUploadResult",
    "ListObjectsV2": "ListBucketResult",
}
"""Operation -> the XML element of its answer."""
_FIELDS = {
    "GetObject": ("ETag",),
    "HeadObject": ("ETag", "ContentLength"),
    "PutObject": ("ETag",),
    "UploadPart": ("ETag",),
}
"""Operation -> what its answer always has."""
_BUSY = (429, 500, 502, 503, 504)
_SHOWN_CHARACTERS = 80


def watch(client: Any) -> None:
    """Lets a client of boto3 refuse answers that no store gives.

    Before boto3's own handlers: these follow redirects without end, and read a page as an empty
    listing.
    """
    client.meta.events.register_first("needs-retry.s3", _refuse_foreign)


def _refuse_foreign(
    response: tuple[Any, Mapping[str, Any]] | None,
    operation: Any,
    request_dict: Mapping[str, Any],
    **_others: Any,
) -> None:
    """Raises StorageError E_S3_ENDPOINT, or SetupError E_PROXY if a proxy answered."""
    if response is None:
        return
    http, parsed = response
    url = str(request_dict["url"])
    if http.status_code == 407:
        raise rejected_by_proxy(url)
    if not _is_of_store(http, parsed, operation.name):
        raise _foreign(url, http, operation.name)


def rejected_by_proxy(url: str, *, knows_socks: bool = False) -> SetupError:
    """The error for a proxy that wants another user or password. knows_socks: of `find_proxy`."""
    proxy = find_proxy(url, knows_socks=knows_socks)
    shown, variable = ("", "") if proxy is None else (f" {proxy.shown}", proxy.variable)
    message = f"the proxy{shown} rejects the user and password in {variable or 'its address'}"
    return SetupError(message, code="E_PROXY", facts={"variable": variable})


def _is_of_store(http: Any, parsed: Mapping[str, Any], operation: str) -> bool:
    # boto3 makes a 500 of a 200 whose body it cannot read.
    status, is_head = http.raw.status, operation.startswith("Head")
    if status < 300:
        root = _ROOTS.get(operation)
        if root is not None:
            return _root_of(http.content) in (root, "Error")
        return all(field in parsed for field in _FIELDS.get(operation, ()))
    if status < 400:
        return "x-amz-bucket-region" in http.headers or _has_error(http, is_head)
    return status in _BUSY or is_head or not http.content or _has_error(http, is_head)


def _has_error(http: Any, is_head: bool) -> bool:
    return not is_head and _root_of(http.content) == "Error"


def _root_of(body: bytes) -> str:
    match = _ROOT.match(body)
    return match[1].decode() if match else ""


def _foreign(url: str, http: Any, operation: str) -> StorageError:
    place = _origin(url)
    location = http.headers.get("location", "")
    if 300 <= http.status_code < 400 and location:
        seen, proposed = f"a redirect to {_origin(location, place)}", _origin(location, "")
    else:
        is_stream = operation == "GetObject" and http.status_code < 300
        body = b"" if is_stream or operation.startswith("Head") else http.content
        seen, proposed = _describe(http.headers.get("content-type", ""), body), ""
    facts = {"endpoint": proposed} if proposed and _is_upgrade(place, proposed) else {}
    return StorageError(
        f"{place} is no S3 store: it answered with {seen} (status {http.raw.status})",
        code="E_S3_ENDPOINT",
        facts=facts,
    )


def _origin(url: str, default: str = "") -> str:
    """Scheme, host and port; the rest could hold a signature."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.netloc else default


def _is_upgrade(place: str, other: str) -> bool:
    """Whether it is the same host, with encryption."""
    hosts = [urlsplit(each).hostname for each in (place, other)]
    return hosts[0] == hosts[1] and other.startswith("https://") and place.startswith("http://")


def _describe(kind: str, body: bytes) -> str:
    """What came, in words: a page's title, or the beginning of a text."""
    kind = kind.partition(";")[0].strip().lower()
    title = _TITLE.search(body[:65536])
    if title is not None:
        return f"a web page, {_printed(title[1])}"
    if "html" in kind or body.lstrip()[:9].lower().startswith((b"<!doctype", b"<html")):
        return "a web page"
    if body.strip() and not kind.startswith(("image/", "video/", "audio/")):
        return f"{kind or 'text'}, {_printed(body[:400])}"
    return kind or "nothing"


def _printed(raw: bytes) -> str:
    text = " ".join(raw.decode("utf-8", "replace").split())
    return (
        ascii(text[:_SHOWN_CHARACTERS])
        if not text.isprintable()
        else repr(text[:_SHOWN_CHARACTERS])
    )
