"""Results of `multitalk s3` as lines and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from multitalk_cli.cli.layout import Block, Table
from multitalk_cli.reporting.formatting import human_bytes, human_count, human_duration
from multitalk_cli.storage.address import shown_key

if TYPE_CHECKING:
    from multitalk_cli.storage.client import Transferred
    from multitalk_cli.storage.transfer import BucketListing, FetchedFile, SignedUrl

_DAY_S = 24 * 3600


# ls


def listing_data(result: BucketListing) -> dict[str, Any]:
    """The JSON of `s3 ls`."""
    objects = [
        {
            "key": found.key,
            "size_bytes": found.size_bytes,
            "modified": datetime.fromtimestamp(found.modified_s, UTC).isoformat(),
            "etag": found.etag,
        }
        for found in result.listing.objects
    ]
    return {
        "bucket": result.uri.bucket,
        "prefix": result.uri.key,
        "folders": list(result.listing.folders),
        "objects": objects,
        "count": result.listing.count,
        "size_bytes": result.listing.size_bytes,
    }


def listing_blocks(result: BucketListing, now_s: float) -> list[Block]:
    """Folders, then objects with size and age. now_s: seconds since 1970."""
    rows = [("", "", shown_key(folder)) for folder in result.listing.folders]
    rows += [
        (
            human_bytes(found.size_bytes),
            age(now_s - found.modified_s) if found.modified_s else "no date",
            shown_key(found.key),
        )
        for found in result.listing.objects
    ]
    return [Table(rows=rows, right=(0,), below=(2,))] if rows else []


def listing_notes(result: BucketListing, max_limit: int) -> list[str]:
    """Remarks on the table: objects that it leaves out, or that the place is empty."""
    hidden = result.listing.count - len(result.listing.objects)
    if hidden > 0:
        older = human_count(hidden, "older object")
        return [f"{older} not shown: --limit N shows more, up to {max_limit:,}"]
    is_empty = not result.listing.count and not result.listing.folders
    return [f"{result.uri} is empty"] if is_empty else []


def age(seconds: float) -> str:
    """An age: `42 s ago`, `9 min ago`, `3 days ago`."""
    if seconds >= 2 * _DAY_S:
        return f"{human_count(int(seconds // _DAY_S), 'day')} ago"
    return f"{human_duration(max(0.0, seconds))} ago"


# get


def fetched_data(files: Sequence[FetchedFile]) -> dict[str, Any]:
    """The JSON of `s3 get`."""
    rows = [
        {
            "address": str(file.uri),
            "output": str(file.path),
            "size_bytes": file.size_bytes,
            "checked": file.checked,
            "resumed_bytes": file.resumed_bytes,
            "already_there": file.was_there,
        }
        for file in files
    ]
    return {"files": rows}


def fetched_lines(files: Sequence[FetchedFile]) -> list[str]:
    """The paths of the files."""
    return [str(file.path) for file in files]


# put


def stored_data(results: Sequence[Transferred]) -> dict[str, Any]:
    """The JSON of `s3 put`: `files`, and of a single one its address and size too."""
    rows = [{"address": str(each.uri), "size_bytes": each.size_bytes} for each in results]
    return {**(rows[0] if len(rows) == 1 else {}), "files": rows}


def stored_lines(results: Sequence[Transferred]) -> list[str]:
    """The addresses of the objects."""
    return [str(each.uri) for each in results]


# url


def url_data(result: SignedUrl) -> dict[str, Any]:
    """The JSON of `s3 url`."""
    return {"address": str(result.uri), "url": result.url, "expires_s": result.expires_s}


def url_lines(result: SignedUrl) -> list[str]:
    """The URL."""
    return [result.url]


def url_note(result: SignedUrl) -> str:
    """The users of the URL, and its validity."""
    return f"anyone with this URL can read the object for {human_duration(result.expires_s)}"
