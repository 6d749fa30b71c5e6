"""Progress bars on a terminal, drawn by Rich: one for each kind of work, finished ones stay."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from multitalk_cli import contract
from multitalk_cli.cli.interrupts import is_in_foreground
from multitalk_cli.cli.layout import label_width, shorten
from multitalk_cli.cli.work_state import WAITS, Clock, WorkState, count_bytes, describe_wait

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console as RichConsole
    from rich.console import ConsoleOptions, RenderResult
    from rich.live import Live

    from multitalk_cli.cli.terminal import Terminal
    from multitalk_cli.cli.work_state import Work

_WIDEST_BAR, _NARROWEST_BAR = 36, 12
_LEAST_NAME = 8
_REFRESH_S = 0.1
_MARGIN = 3
"""Free columns at the right: the terminal's echo of Ctrl-C must not begin another line."""


@dataclass(slots=True)
class Bar:
    """A piece of work as it is drawn.

    name: of a file, behind the detail. took_s: the time that it took, once it has ended.
    """

    work: Work
    name: str = ""
    took_s: float | None = None
    is_finished: bool = False

    @property
    def fraction(self) -> tuple[int, int | None]:
        """The part that is filled, and the whole; None while the work cannot be counted."""
        if self.is_finished:
            return 1, 1
        return self.work.done, self.work.total if self.work.total else None

    def describe(self, now_s: float) -> str:
        """The detail; of work that cannot be counted with the time that it takes or took."""
        work = self.work
        if work.total:
            return work.whole if self.is_finished else work.short_detail
        elapsed_s = now_s - work.began_s if self.took_s is None else self.took_s
        return describe_wait(work.detail, elapsed_s)

    def describe_rest(self, width: int) -> str:
        """The name, or speed, time left and money spent, as far as there is room for them."""
        if self.name:
            return f"  {shorten(self.name, width - 2)}" if width > _LEAST_NAME else ""
        if self.took_s is not None:
            return ""
        work = self.work
        left = work.left if work.left else work.usual
        money = f"{work.spent} so far" if work.spent else ""
        forms = ((work.speed, left, money), (left, money), (left, work.spent), (left,))
        texts = (", ".join(filter(None, form)) for form in forms)
        return next((f"  {text}" for text in texts if text and len(text) + 2 <= width), "")


class LiveBars(ABC):
    """Bars on a terminal that are drawn until the block ends. A child says which."""

    def __init__(self, terminal: Terminal, clock: Clock = time.monotonic) -> None:
        self._clock, self._terminal = clock, terminal
        self._live = self._new_live()
        self._has_ended = threading.Event()
        self._mover = threading.Thread(target=self._keep_moving, daemon=True)

    def _new_live(self) -> Live:
        from rich.live import Live

        return Live(self, console=self._terminal, auto_refresh=False)

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
            self._has_ended.set()
            self._mover.join()
            self._draw()
        finally:
            with self._terminal.drawing:
                self._live.stop()

    def _keep_moving(self) -> None:
        while not self._has_ended.wait(_REFRESH_S):
            self._draw()

    def _draw(self) -> None:
        """Draws the bars again: printing anything does, even nothing."""
        from rich.control import Control

        with self._terminal.drawing:
            if not self._live.is_started and is_in_foreground():
                # After a pause: below whatever the shell has printed.
                self._live = self._new_live()
                self._live.start()
            if self._live.is_started:
                self._terminal.print(Control())

    def pause(self, stop: Callable[[], None]) -> None:
        """Takes the bars down and calls `stop`; they are drawn again once we are in front."""

        def take_down() -> None:
            self._live.transient = True
            self._live.stop()
            stop()

        self._terminal.when_whole(take_down)

    @abstractmethod
    def _shown(self) -> list[Bar]:
        """The bars, from top to bottom."""

    def __rich_console__(self, console: RichConsole, options: ConsoleOptions) -> RenderResult:
        """The bars at the terminal's width of now."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table as Grid
        from rich.text import Text

        now_s, width = self._clock(), max(1, options.max_width - _MARGIN)
        labels = label_width(options.max_width)
        bar_width = max(_NARROWEST_BAR, min(_WIDEST_BAR, width // 2 - 18))
        text_width = max(1, width - labels - bar_width - 1)
        grid = Grid.grid()
        grid.add_column(width=labels)
        grid.add_column(width=bar_width + 1)
        grid.add_column(width=text_width, no_wrap=True, overflow="ellipsis")
        for bar in self._shown():
            done, total = bar.fraction
            detail = bar.describe(now_s)
            grid.add_row(
                Text(shorten(bar.work.label, labels - 1)),
                ProgressBar(total=total, completed=done, width=bar_width),
                Text(detail).append(bar.describe_rest(text_width - len(detail)), style="dim"),
            )
        yield grid


class BarsView(LiveBars):
    """Bars that move with the events of a job on a terminal."""

    def __init__(self, terminal: Terminal, clock: Clock = time.monotonic) -> None:
        super().__init__(terminal, clock)
        self._work = WorkState(clock)
        self._bars: dict[str, Bar] = {}
        self._current: str | None = None
        self._file: Bar | None = None

    def _shown(self) -> list[Bar]:
        return [*self._bars.values(), *([] if self._file is None else [self._file])]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._end(is_finished=error is None)
            if error is None:
                self._drop_waits()
        finally:
            super().__exit__(kind, error, trace)

    def show(self, event: contract.Event, spent_usd: float | None = None) -> None:
        """Moves the bar that the event belongs to."""
        work = self._work.read(event, spent_usd)
        if work is None:
            return
        with self._terminal.drawing:
            if work.group != self._current:
                # Work that waits again, for a GPU or a connection, has not ended.
                self._end(is_finished=work.group not in WAITS)
                self._drop_waits()
                self._current = work.group
            bar = self._bars.setdefault(work.group, Bar(work))
            bar.work, bar.took_s, bar.is_finished = work, None, False
            if isinstance(event, contract.Fetching):
                label = f"file {event.number}/{event.count}"
                file = count_bytes(label, event.file_bytes, event.file_total_bytes)
                self._file = Bar(file, name=event.name)

    def _end(self, *, is_finished: bool) -> None:
        """Ends the current work, with a full bar if it has finished; its file's bar goes."""
        self._file = None
        if self._current is None:
            return
        bar = self._bars[self._current]
        bar.is_finished = is_finished
        bar.took_s = self._clock() - bar.work.began_s

    def _drop_waits(self) -> None:
        """Takes away the bars of waits, which nobody asks about once they are over."""
        self._bars = {name: bar for name, bar in self._bars.items() if name not in WAITS}
