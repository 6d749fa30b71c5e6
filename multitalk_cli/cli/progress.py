"""How contract events are shown without bars: plain lines, JSON lines, or nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from multitalk_cli import contract
from multitalk_cli.cli.layout import LABEL_WIDTH
from multitalk_cli.cli.work_state import Clock, WorkState, describe_wait
from multitalk_cli.reporting.reporter import Progress

PLAIN_INTERVAL_S = 10.0
JSON_INTERVAL_S = 0.1


class PlainView:
    """One line every ten seconds at most; work that is done sooner prints nothing."""

    def __init__(self, write: Callable[[str], None], clock: Clock) -> None:
        self._write, self._clock, self._work = write, clock, WorkState(clock)
        self._last_s = clock()

    def show(self, event: contract.Event, spent_usd: float | None = None) -> None:
        """Prints the event if the last line is old enough."""
        work, now_s = self._work.read(event, spent_usd), self._clock()
        if work is None or now_s - self._last_s < PLAIN_INTERVAL_S:
            return
        self._last_s = now_s
        money = f"{work.spent} so far" if work.spent else ""
        detail = work.detail if work.total else describe_wait(work.detail, now_s - work.began_s)
        parts = (detail, work.usual, work.speed, work.left, money)
        text = ", ".join(part for part in parts if part)
        self._write(f"{work.label:<{LABEL_WIDTH}}{text}".rstrip())


class JsonView:
    """Every event as one JSON object a line, at most ten a second while nothing new begins."""

    def __init__(self, write: Callable[[str], None], clock: Clock) -> None:
        self._write, self._clock = write, clock
        self._last_s, self._last_name = -JSON_INTERVAL_S, ""
        self._last_line = ""

    def show(self, event: contract.Event, spent_usd: float | None = None) -> None:
        """Prints the event."""
        name = event.name if isinstance(event, contract.Stage) else event.kind
        is_last = isinstance(event, contract.Stage) and 0 < event.total <= event.done
        now_s = self._clock()
        if name == self._last_name and not is_last and now_s - self._last_s < JSON_INTERVAL_S:
            return
        self._last_s, self._last_name = now_s, name
        spent = {} if spent_usd is None else {"spent_usd": round(spent_usd, 4)}
        line = json.dumps({**_to_json(event), **spent})
        if line != self._last_line:
            self._last_line = line
            self._write(line)


def _to_json(event: contract.Event) -> dict[str, Any]:
    """An event for a program: its kind first, a recipe as an object, no versions of the wire."""
    body = contract.to_wire(event)
    del body["contract"], body["client"]
    if isinstance(event, contract.Done):
        with suppress(ValueError):
            body["result"] = {**body["result"], "recipe": json.loads(event.result.recipe)}
    return {"event": body.pop("kind"), **body}


class SilentView:
    """Nothing."""

    def show(self, event: contract.Event, spent_usd: float | None = None) -> None:
        """Shows nothing."""


def lines_view(kind: str, write: Callable[[str], None], clock: Clock = time.monotonic) -> Progress:
    """The view of that kind: plain, json or none. write: prints one line."""
    if kind == "none":
        return SilentView()
    return (JsonView if kind == "json" else PlainView)(write, clock)
