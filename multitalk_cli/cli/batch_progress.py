"""A batch while it runs: bars for its running videos on a terminal, else lines."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from multitalk_cli.cli.bars import Bar, LiveBars
from multitalk_cli.cli.progress import lines_view
from multitalk_cli.cli.views import batch as view
from multitalk_cli.cli.work_state import Work, WorkState
from multitalk_cli.reporting.formatting import human_money

if TYPE_CHECKING:
    from multitalk_cli.batch.plan import PlannedVideo
    from multitalk_cli.batch.run import VideoResult, Watcher
    from multitalk_cli.cli.console import Console
    from multitalk_cli.contract import Event
    from multitalk_cli.reporting.reporter import Progress

_MOST_BARS = 12
_STATES = ("running", "waiting", "failed", "cancelled", "not started")


@contextmanager
def show_batch(console: Console, total: int, *, in_lines: bool) -> Iterator[Watcher]:
    """Shows a batch in the form that was asked for.

    in_lines: each result is a line on stdout, unless a person sees that or all come in one object.
    """
    in_lines = in_lines and not console.shows_results and not console.options.json
    kind = console.progress_kind
    if kind != "bars":
        yield _Lines(console, kind, in_lines=in_lines)
        return
    with console.bars(BatchBars(console, total, in_lines=in_lines)) as bars:
        yield bars


class _Lines:
    """A line for each video that has ended; with `json` also each event."""

    def __init__(self, console: Console, kind: str, *, in_lines: bool) -> None:
        self._console, self._kind, self._in_lines = console, kind, in_lines
        self._views: dict[int, Progress] = {}

    def started(self, planned: PlannedVideo) -> None:
        """Prepares the video's view."""
        if self._kind != "json":
            return

        def write(line: str) -> None:
            body = {**json.loads(line), "id": planned.id}
            self._console.write_progress(json.dumps(body))

        self._views[id(planned)] = lines_view("json", write)

    def show(self, planned: PlannedVideo, event: Event, spent_usd: float | None) -> None:
        """An event of a video."""
        if (shown := self._views.get(id(planned))) is not None:
            shown.show(event, spent_usd)

    def ended(self, result: VideoResult) -> None:
        """A video has ended."""
        self._views.pop(id(result.planned), None)
        self._console.fact(result.planned.id, view.describe(result))
        if self._in_lines:
            self._console.result_line(view.row_data(result))


class BatchBars(LiveBars):
    """A bar for the batch, and one for each video that is being made."""

    def __init__(self, console: Console, total: int, *, in_lines: bool) -> None:
        super().__init__(console.progress_terminal)
        self._console, self._total, self._in_lines = console, total, in_lines
        self._began_s = time.monotonic()
        self._counts = dict.fromkeys(("done", *_STATES), 0)
        self._paid_usd = 0.0
        # A signal that takes the bars down may come while this thread changes them.
        self._lock = threading.RLock()
        self._running: dict[int, tuple[WorkState, Bar]] = {}

    def started(self, planned: PlannedVideo) -> None:
        """Adds a bar."""
        work = Work(
            group="preparing", label=planned.id, detail="preparing", began_s=time.monotonic()
        )
        with self._lock:
            self._running[id(planned)] = WorkState(time.monotonic), Bar(work)

    def show(self, planned: PlannedVideo, event: Event, spent_usd: float | None) -> None:
        """Moves the bar of a video."""
        with self._lock:
            state, bar = self._running[id(planned)]
            work = state.read(event, spent_usd)
            if work is not None:
                what = "" if work.label == work.detail else f"{work.label} "
                bar.work = replace(
                    work,
                    label=planned.id,
                    detail=f"{what}{work.detail}".rstrip(),
                    short_detail=f"{what}{work.short_detail}",
                )

    def ended(self, result: VideoResult) -> None:
        """Takes the bar away, and says at once what failed."""
        with self._lock:
            self._running.pop(id(result.planned), None)
            self._counts[result.state] += 1
            self._paid_usd += result.price_usd or 0.0
        if result.code:
            self._console.warn(f"{result.planned.id}: {view.describe(result)}")
        if self._in_lines:
            self._console.result_line(view.row_data(result))

    def _shown(self) -> list[Bar]:
        with self._lock:
            running = [bar for _, bar in self._running.values()]
            counts = {**self._counts, "running": self._counts["running"] + len(running)}
        ended = sum(self._counts.values())
        counts["waiting"] = self._total - ended - len(running)
        done = counts["done"]
        texts = [f"{counts[name]} {name}" for name in _STATES if counts[name]]
        texts += [f"{human_money(self._paid_usd)} so far"] if self._paid_usd else []
        detail = f"{done}/{self._total} done"
        whole = Work(
            group="batch", label="batch", done=done, total=self._total, detail=detail,
            short_detail=detail, whole=detail, began_s=self._began_s,
        )  # fmt: skip
        return [Bar(whole, name=", ".join(texts)), *running[:_MOST_BARS]]
