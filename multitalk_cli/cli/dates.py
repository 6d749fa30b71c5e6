"""Dates and ages as people type and read them, in this machine's time zone."""

from __future__ import annotations

import re
import time
from datetime import datetime

from multitalk_cli.errors import UsageError

_UNITS_S = {"m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_AGE = re.compile(r"(\d{1,5})\s*(m|h|d|w)")


def parse_since(option: str, text: str) -> float:
    """The moment that `2d`, `12h`, `3w`, `today` or a date means, in seconds since 1970.

    Raises UsageError E_RANGE.
    """
    age = _AGE.fullmatch(text.strip().lower())
    if age is not None:
        return max(0.0, time.time() - int(age[1]) * _UNITS_S[age[2]])
    if text.strip().lower() == "today":
        return datetime.now().replace(hour=0, minute=0, second=0, microsecond=0).timestamp()
    try:
        return max(0.0, datetime.fromisoformat(text.strip()).timestamp())
    except (ValueError, OverflowError, OSError):
        raise UsageError(
            f"{option} must be an age such as 2d, 12h or 3w, or a date such as 2026-11-20, "
            f"not {text!r}",
            code="E_RANGE",
            facts={"option": option, "example": "2d"},
        ) from None


def shown_time(seconds: float, now_s: float) -> str:
    """A moment: `14:02` of today, `26 Nov 14:02`, or `26 Nov 2025` of another year."""
    moment, now = datetime.fromtimestamp(seconds), datetime.fromtimestamp(now_s)
    if moment.date() == now.date():
        return f"{moment:%H:%M}"
    day = f"{moment.day} {moment:%b}"
    return f"{day} {moment:%H:%M}" if moment.year == now.year else f"{day} {moment.year}"
