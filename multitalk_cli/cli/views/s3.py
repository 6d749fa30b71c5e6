"""`multitalk s3` as lines and JSON."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from multitalk_cli.cli.console import Console
from multitalk_cli.errors import UsageError
from multitalk_cli.reporting.formatting import align, human_bytes, human_count, human_duration
from multitalk_cli.storage import recent_keys
from multitalk_cli.storage.address import S3Uri, shown_key
from multitalk_cli.storage.client import MAX_URL_S, Listing

if TYPE_CHECKING:
    from multitalk_cli.storage.client import Storage


MAX_LISTED = 100_000
_DAY_S = 24 * 3600
_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": _DAY_S}


# ls


def parse_limit(raw: int) -> int:
    """How many objects to show. Raises UsageError E_RANGE."""
    if not 1 <= raw <= MAX_LISTED:
        raise UsageError(
            f"--limit must be from 1 to {MAX_LISTED}, not {raw}",
            code="E_RANGE",
            hint="multitalk s3 ls --help",
        )
    return raw


def show_listing(storage: Storage, address: S3Uri, limit: int, deep: bool, out: Console) -> None:
    """Lists the newest objects below an address."""
    listing = storage.newest(address, limit, recursive=deep)
    recent_keys.remember(
        f"s3://{address.bucket}/{found.key}" for found in reversed(listing.objects)
    )
    hidden = listing.count - len(listing.objects)
    if hidden > 0:
        older = human_count(hidden, "older one")
        out.note(f"{older} not shown: --limit N shows more, up to {MAX_LISTED:,}")
    if not listing.count and not listing.folders:
        out.note(f"nothing in {address}")
    out.succeed("s3", _listing_data(address, listing), _listing_lines(listing, time.time()))


def _listing_data(address: S3Uri, listing: Listing) -> dict[str, Any]:
    objects = [
        {
            "key": found.key,
            "size_bytes": found.size_bytes,
            "modified": datetime.fromtimestamp(found.modified_s, UTC).isoformat(),
            "etag": found.etag,
        }
        for found in listing.objects
    ]
    return {
        "bucket": address.bucket,
        "prefix": address.key,
        "folders": list(listing.folders),
        "objects": objects,
        "count": listing.count,
        "size_bytes": listing.size_bytes,
    }


def _listing_lines(listing: Listing, now_s: float) -> list[str]:
    rows = [("", "", shown_key(folder)) for folder in listing.folders]
    rows += [
        (human_bytes(found.size_bytes), age(now_s - found.modified_s), shown_key(found.key))
        for found in listing.objects
    ]
    if not rows:
        return []
    widest = max(len(size) for size, _, _ in rows)
    return align([(size.rjust(widest), old, key) for size, old, key in rows])


def age(seconds: float) -> str:
    """How old something is: `42 s ago`, `9 min ago`, `3 days ago`."""
    if seconds >= 2 * _DAY_S:
        return f"{human_count(int(seconds // _DAY_S), 'day')} ago"
    return f"{human_duration(max(0.0, seconds))} ago"


def parse_expiry(text: str) -> int:
    """Seconds in `45m`, `1h`, `7d` or a number of seconds. Raises UsageError E_RANGE."""
    match = re.fullmatch(r"([0-9]{1,7})([smhd]?)", text)
    seconds = int(match[1]) * _UNITS_S[match[2]] if match else 0
    if not 1 <= seconds <= MAX_URL_S:
        raise UsageError(
            f"--expires must be from 1s to 7d, not {text!r}",
            code="E_RANGE",
            hint="multitalk s3 url KEY --expires 1h",
        )
    return seconds


def show_url(storage: Storage, address: S3Uri, expires_s: int, out: Console) -> None:
    """Prints an address that anybody can read the object with for a while."""
    storage.find(address)
    url = storage.url(address, expires_s)
    if storage.has_temporary_credentials:
        out.warn("the URL ends with the session of your credentials, if that is sooner")
    out.note(f"anybody who has it can read the object for {human_duration(expires_s)}")
    out.succeed("s3", {"address": str(address), "url": url, "expires_s": expires_s}, [url])
