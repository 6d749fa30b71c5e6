"""The pause that a server asks for when it limits the rate of requests."""

from __future__ import annotations

import http.client
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.message import Message
from email.utils import parsedate_to_datetime

UNTOLD_PAUSE_S = 30
"""After status 429 without a time."""
_LIMITED = (http.client.TOO_MANY_REQUESTS, http.client.SERVICE_UNAVAILABLE)
_RESET = re.compile(r";\s*t=(\d{1,9})\b")


def asked_pause_s(status: int, headers: Mapping[str, str] | Message[str, str]) -> int | None:
    """Seconds, at least 1, before the next request; None unless the server limits the rate.

    Retry-After holds seconds or a date; RateLimit holds the time until the window ends, t=SECONDS.
    """
    if status not in _LIMITED:
        return None
    told = headers.get("Retry-After", "").strip()
    reset = _RESET.search(headers.get("RateLimit", ""))
    if told.isdecimal():
        return max(1, int(told))
    if told:
        return _until(told, headers.get("Date", ""))
    if reset is not None:
        return max(1, int(reset[1]))
    return UNTOLD_PAUSE_S if status == http.client.TOO_MANY_REQUESTS else None


def _until(then: str, now: str) -> int:
    """Seconds until a date by the server's own clock, or by ours if it does not tell its time."""
    try:
        end = parsedate_to_datetime(then)
        start = parsedate_to_datetime(now) if now else datetime.now(UTC)
        return max(1, math.ceil((end - start).total_seconds()))
    except (ValueError, TypeError):  # no date, or one without a zone
        return UNTOLD_PAUSE_S
