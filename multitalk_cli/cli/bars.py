"""Progress bars on a terminal, drawn by Rich: one for each piece of work, finished ones stay."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from multitalk_cli import contract
from multitalk_cli.cli.layout import shorten
from multitalk_cli.cli.work_state import Clock, WorkState
from multitalk_cli.reporting.formatting import human_bytes_of

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console as RichConsole
    from rich.console import ConsoleOptions, RenderResult

    from multitalk_cli.cli.terminal import Terminal

_LABEL_WIDTH = 13
_WIDEST_BAR, _NARROWEST_BAR = 36, 12
_LEAST_NAME = 8
_REFRESH_S = 0.1
_MARGIN = 3
"""Free columns at the right: the terminal's echo of Ctrl-C must not begin another line."""


@dataclass(slots=True)
class Bar:
    """A piece of work as it is drawn. total: 0 while it cannot be counted.

    detail_name: a name behind the detail, shortened where there is little room.
    """

    label: str
    done: int = 0
    total: int = 0
    detail: str = ""
    detail_name: str = ""
    left: str = ""
    spent: str = ""
    is_finished: bool = False

    def describe_rest(self, width: int) -> str:
        """The name, the time left and the money spent, as far as there is room for them."""
        if self.detail_name:
            return f"  {shorten(self.detail_name, width - 2)}" if width > _LEAST_NAME else ""
        money = [f"{self.spent} so far", self.spent] if self.spent else []
        forms = [", ".join(part for part in (self.left, each) if part) for each in money]
        fitting = (f"  {form}" for form in [*forms, self.left] if len(form) + 2 <= width)
        return next(fitting, "").rstrip()


class BarsView:
    """Bars that move with the events of a job on a terminal."""

    def __init__(self, terminal: Terminal, clock: Clock) -> None:
        from rich.live import Live

        self._work = WorkState(clock)
        self._bars: list[Bar] = []
        self._file: Bar | None = None
        self._group = ""
        self._terminal = terminal
        self._live = Live(self, console=terminal, auto_refresh=False)
        self._has_ended = threading.Event()
        self._mover = threading.Thread(target=self._keep_moving, daemon=True)

    def __enter__(self) -> Self:
        self._live.start()
        self._mover.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self._finish()
            self._has_ended.set()
            self._mover.join()
        finally:
            with self._terminal.drawing:
                self._live.stop()

    def _keep_moving(self) -> None:
        """Draws the bars again and again: printing anything does, even nothing."""
        from rich.control import Control

        while not self._has_ended.wait(_REFRESH_S):
            self._terminal.print(Control())

    def show(self, event: contract.Event, spent_usd: float | None = None) -> None:
        """Moves the bar that the event belongs to."""
        if isinstance(event, contract.Done | contract.Failed | contract.WindowDone):
            return
        work = self._work.read(event, spent_usd)
        with self._terminal.drawing:
            group = "steps" if isinstance(event, contract.Step) else work.label
            if group != self._group or not self._bars:
                self._finish()
                self._group = group
                self._bars.append(Bar(work.label))
            bar = self._bars[-1]
            bar.label, bar.done, bar.total = work.label, work.done, work.total
            bar.detail, bar.left, bar.spent = work.short_detail, work.left, work.spent
            if isinstance(event, contract.Fetching):
                self._file = Bar(
                    f"file {event.number}/{event.count}",
                    done=event.file_bytes,
                    total=event.file_total_bytes,
                    detail=human_bytes_of(event.file_bytes, event.file_total_bytes),
                    detail_name=event.name,
                )

    def _finish(self) -> None:
        """Fills the bar of the work that has ended, and lets the one of its file go."""
        self._file = None
        if self._bars:
            bar = self._bars[-1]
            bar.is_finished, bar.left, bar.spent = True, "", ""

    def __rich_console__(self, console: RichConsole, options: ConsoleOptions) -> RenderResult:
        """The bars at the terminal's width of now."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table as Grid
        from rich.text import Text

        bars = [*self._bars, *([] if self._file is None else [self._file])]
        width = max(1, options.max_width - _MARGIN)
        bar_width = max(_NARROWEST_BAR, min(_WIDEST_BAR, width // 2 - 18))
        text_width = max(1, width - _LABEL_WIDTH - bar_width - 1)
        detail_width = max((len(bar.detail) for bar in bars), default=0)
        grid = Grid.grid()
        grid.add_column(width=_LABEL_WIDTH, no_wrap=True, overflow="ellipsis")
        grid.add_column(width=bar_width + 1)
        grid.add_column(width=text_width, no_wrap=True, overflow="ellipsis")
        for bar in bars:
            total = bar.total if bar.total else (1 if bar.is_finished else None)
            done = bar.done if not bar.is_finished or total is None else total
            detail = bar.detail if bar.detail_name else f"{bar.detail:<{detail_width}}"
            rest = bar.describe_rest(text_width - len(detail))
            grid.add_row(
                Text(bar.label),
                ProgressBar(total=total, completed=done, width=bar_width),
                Text(detail).append(rest, style="dim"),
            )
        yield grid
