"""What the containers of a call printed, as Modal keeps it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from multitalk_cli.cloud.errors import modal_errors

if TYPE_CHECKING:
    from multitalk_cli.cloud.client import Cloud

_LONGEST = timedelta(days=34)
"""Modal answers at most 35 days at once."""
_AROUND = timedelta(minutes=5)
"""Clocks differ, and the last lines arrive late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One line. source: stdout, stderr, or system for Modal's own words."""

    time_s: float
    source: str
    text: str


def call_log(cloud: Cloud, call_id: str, since_s: float, until_s: float) -> Iterator[LogLine]:
    """The lines of a call between these moments, in seconds since 1970."""
    import modal

    until = datetime.fromtimestamp(until_s, UTC) + _AROUND
    since = max(datetime.fromtimestamp(since_s, UTC) - _AROUND, until - _LONGEST)
    until = min(until, datetime.now(UTC))
    with modal_errors(cloud.place):
        entries = modal.FunctionCall.from_id(call_id).logs.fetch(since=since, until=until)
        for entry in entries:
            for text in entry.message.splitlines():
                yield LogLine(time_s=entry.timestamp.timestamp(), source=entry.source, text=text)
