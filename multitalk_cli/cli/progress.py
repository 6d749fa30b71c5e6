"""How contract events are shown: bars, plain lines, JSON lines, or nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from multitalk_cli import contract
from multitalk_cli.cli.layout import LABEL_WIDTH
from multitalk_cli.cli.work_state import Clock, WorkState
from multitalk_cli.reporting.reporter import Progress

if TYPE_CHECKING:
    from multitalk_cli.cli.terminal import Terminal


PLAIN_INTERVAL_S = 10.0
JSON_INTERVAL_S = 0.1


class PlainView:
    """One line every ten seconds at most; work that is done sooner prints nothing."""

    def __init__(self, write: Callable[[str], None], clock: Clock) -> None:
        self._write, self._clock, self._work = write, clock, WorkState(clock)
        self._last_s = clock()

    def show(self, event: contract.Event, spent_usd: float | None = None) -> None:
        """Prints the event if the last line is old enough."""
        work = self._work.read(event, spent_usd)
        now_s = self._clock()
        is_early = now_s - self._last_s < PLAIN_INTERVAL_S
        if is_early or isinstance(event, contract.Done | contract.Failed | contract.WindowDone):
            return
        self._last_s = now_s
        money = f"{work.spent} so far" if work.spent else ""
        text = ", ".join(part for part in (work.detail, work.left, money) if part)
        self._write(f"{work.label:<{LABEL_WIDTH}}{text}".rstrip())


class JsonView:
    """Every event as one JSON object a line, at most ten a second while nothing new begins."""

    def __init__(self, write: Callable[[str], None], clock: Clock) -> None:
        self._write, self._clock = write, clock
        self._last_s, self._last_name = -JSON_INTERVAL_S, ""

    def show(self, event: contract.Event, spent_usd: float | None = None) -> None:
        """Prints the event."""
        name = event.name if isinstance(event, contract.Stage) else event.kind
        is_last = isinstance(event, contract.Stage) and 0 < event.total <= event.done
        now_s = self._clock()
        if name == self._last_name and not is_last and now_s - self._last_s < JSON_INTERVAL_S:
            return
        self._last_s, self._last_name = now_s, name
        spent = {} if spent_usd is None else {"spent_usd": round(spent_usd, 4)}
        self._write(json.dumps({**_to_json(event), **spent}))


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


@contextmanager
def open_view(
    kind: str,
    *,
    write: Callable[[str], None],
    terminal: Callable[[], Terminal],
    clock: Clock = time.monotonic,
) -> Iterator[Progress]:
    """The view of that kind (bars, plain, json, none), open until the block ends.

    write: prints one line. terminal: where bars are drawn.
    """
    if kind == "bars":
        from multitalk_cli.cli.bars import BarsView

        with BarsView(terminal(), clock) as bars:
            yield bars
    elif kind == "none":
        yield SilentView()
    else:
        yield (JsonView if kind == "json" else PlainView)(write, clock)
