"""How contract events are shown while a video is made: bars, plain lines, JSON lines, or nothing.

The only importer of rich: everything else that is printed is plain text.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from multitalk_cli import contract
from multitalk_cli.contract.events import BYTE_STAGES
from multitalk_cli.reporting.formatting import human_bytes, human_duration, human_money
from multitalk_cli.reporting.reporter import Progress

if TYPE_CHECKING:
    from rich.progress import TaskID


PLAIN_INTERVAL_S = 10.0
JSON_INTERVAL_S = 0.1
LABEL_WIDTH = 12

Clock = Callable[[], float]


class WorkState:
    """Where the work stands, read off the events: a name, a share, and the time left.

    Steps of all windows are one piece of work, since they take equally long.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._name = ""
        self._began_s = clock()
        self._first_done = 0

    def read(self, event: contract.Event) -> tuple[str, int, int, str]:
        """Label, units done, units in all (0 if unknown), and detail of an event."""
        match event:
            case contract.Queued():
                return self._at("waiting", 0, 0, "for a machine")
            case contract.Loading():
                detail = f"{human_bytes(event.done_bytes)} of {human_bytes(event.total_bytes)}"
                return self._at("loading", event.done_bytes, event.total_bytes, detail)
            case contract.Fetching():
                label, done, total, _ = self._at(
                    "fetching", event.done_bytes, event.total_bytes, ""
                )
                return label, done, total, self._describe_bytes(done, total)
            case contract.Stage():
                detail = _describe_stage(event)
                return self._at(event.name, event.done, event.total, detail)
            case contract.Step():
                done = (event.window - 1) * event.steps + event.step
                total = event.windows * event.steps
                self._at("steps", done, total, "")
                detail = f"step {event.step}/{event.steps}"
                return f"window {event.window}/{event.windows}", done, total, detail
            case contract.WindowDone():
                # Kept windows are no steps: they say nothing about the time that is left.
                return "kept", event.window, event.windows, ""
            case contract.Done() | contract.Failed():
                return self._at(event.kind, 1, 1, "")

    def left(self, done: int, total: int) -> str:
        """The time left as a person says it; empty while nothing can be said."""
        elapsed_s = self._clock() - self._began_s
        gained = done - self._first_done
        if gained <= 0 or total <= done or elapsed_s < 0.5:
            return ""
        return f"{human_duration(elapsed_s / gained * (total - done))} left"

    def _describe_bytes(self, done: int, total: int) -> str:
        """How much of how much, and how fast."""
        amount = f"{human_bytes(done)} of {human_bytes(total)}"
        elapsed_s, gained = self._clock() - self._began_s, done - self._first_done
        if gained <= 0 or elapsed_s < 0.5:
            return amount
        return f"{amount}, {human_bytes(gained / elapsed_s)}/s"

    def _at(self, name: str, done: int, total: int, detail: str) -> tuple[str, int, int, str]:
        if name != self._name:
            self._name, self._began_s, self._first_done = name, self._clock(), done
        return name, done, total, detail


def _describe_stage(stage: contract.Stage) -> str:
    if not stage.total:
        return ""
    if stage.name in BYTE_STAGES:
        return f"{human_bytes(stage.done)} of {human_bytes(stage.total)}"
    return f"{stage.done}/{stage.total}"


def _with_money(left: str, spent_usd: float | None) -> str:
    """The time left, and what the run has cost so far."""
    money = "" if spent_usd is None else f"{human_money(spent_usd)} so far"
    return ", ".join(part for part in (left, money) if part)


class PlainView:
    """One line every ten seconds, so that what is done sooner says nothing."""

    def __init__(self, write: Callable[[str], None], clock: Clock) -> None:
        self._write, self._clock, self._work = write, clock, WorkState(clock)
        self._last_s = clock()

    def show(self, event: contract.Event, spent_usd: float | None = None) -> None:
        """Prints the event if the last line is old enough."""
        label, done, total, detail = self._work.read(event)
        now_s = self._clock()
        is_early = now_s - self._last_s < PLAIN_INTERVAL_S
        if is_early or isinstance(event, contract.Done | contract.Failed | contract.WindowDone):
            return
        self._last_s = now_s
        left = _with_money(self._work.left(done, total), spent_usd)
        text = ", ".join(part for part in (detail, left) if part)
        self._write(f"{label:<{LABEL_WIDTH}}{text}".rstrip())


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
        body: dict[str, Any] = contract.to_wire(event)
        spent = {} if spent_usd is None else {"spent_usd": round(spent_usd, 4)}
        self._write(json.dumps({"event": body.pop("kind"), **body, **spent}))


class SilentView:
    """Nothing."""

    def show(self, event: contract.Event, spent_usd: float | None = None) -> None:
        """Shows nothing."""


class BarsView:
    """One bar for each piece of work; finished ones stay in view."""

    def __init__(self, *, color: bool, clock: Clock) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as RichProgress

        self._work = WorkState(clock)
        console = Console(stderr=True, no_color=not color, highlight=False)
        self._bars = RichProgress(
            TextColumn("{task.fields[label]:<11}", markup=False),
            BarColumn(bar_width=36),
            TextColumn("{task.fields[detail]}", markup=False),
            TextColumn("{task.fields[left]}", markup=False, style="dim"),
            console=console,
        )
        self._task: TaskID | None = None
        self._file_task: TaskID | None = None
        self._group, self._file = "", ""

    def say(self, line: str) -> None:
        """Prints a line above the bars."""
        from rich.text import Text

        self._bars.console.print(Text.from_ansi(line), soft_wrap=True)

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self._finish()
        self._bars.stop()

    def show(self, event: contract.Event, spent_usd: float | None = None) -> None:
        """Moves the bar that the event belongs to."""
        if isinstance(event, contract.Done | contract.Failed | contract.WindowDone):
            return
        label, done, total, detail = self._work.read(event)
        group = "steps" if isinstance(event, contract.Step) else label
        if group != self._group:
            self._finish()
            self._group = group
            self._task = self._bars.add_task("", label=label, detail=detail, left="", total=None)
        if isinstance(event, contract.Fetching):
            self._show_file(event)
        if self._task is not None:
            self._bars.update(
                self._task,
                label=label,
                detail=detail,
                left=_with_money(self._work.left(done, total), spent_usd),
                completed=done,
                total=total or None,
            )

    def _show_file(self, event: contract.Fetching) -> None:
        """Moves the bar of one file, below the one of all; those of finished files go."""
        if event.name != self._file:
            if self._file_task is not None:
                self._bars.remove_task(self._file_task)
            self._file = event.name
            label = f"file {event.number}/{event.count}"
            self._file_task = self._bars.add_task("", label=label, detail="", left="", total=None)
        if self._file_task is not None:
            self._bars.update(
                self._file_task,
                detail=f"{human_bytes(event.file_bytes)}  {event.name}",
                completed=event.file_bytes,
                total=event.file_total_bytes,
            )

    def _finish(self) -> None:
        if self._file_task is not None:
            self._bars.remove_task(self._file_task)
            self._file_task, self._file = None, ""
        if self._task is not None:
            total = self._bars.tasks[self._task].total or 1
            self._bars.update(self._task, total=total, completed=total, left="")


@contextmanager
def open_view(
    kind: str, *, color: bool, write: Callable[[str], None], clock: Clock = time.monotonic
) -> Iterator[Progress]:
    """The view of that kind (bars, plain, json, none), open until the block ends.

    write: prints one line; bars draw on the terminal themselves.
    """
    if kind == "bars":
        with BarsView(color=color, clock=clock) as bars:
            yield bars
    elif kind == "none":
        yield SilentView()
    else:
        yield (JsonView if kind == "json" else PlainView)(write, clock)
