"""The reporter of one job of several: it shows nothing, and a program can ask the job to stop."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from multitalk_cli.reporting.reporter import LOOK_S, Choice, QuietReporter, StoppedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from multitalk_cli.contract import Event
    from multitalk_cli.reporting.reporter import StopRequests


class JobReporter(QuietReporter):
    """A quiet reporter that passes events on, and requests to stop in the other direction.

    should_stop: cancels the job. should_detach: leaves it running. should_hurry: does not wait
    until Modal has confirmed a cancellation.
    """

    def __init__(self) -> None:
        super().__init__()
        self.should_stop, self.should_detach = threading.Event(), threading.Event()
        self.should_hurry = threading.Event()
        self.on_event: Callable[[Event], None] | None = None

    def show(self, event: Event, spent_usd: float | None = None) -> None:
        """Passes the event on. Raises StoppedError when the program ends."""
        del spent_usd
        if self.should_detach.is_set():
            raise StoppedError
        if self.on_event is not None:
            self.on_event(event)

    @contextmanager
    def stop_requests(self, look_s: float = LOOK_S) -> Iterator[StopRequests]:
        """Requests of `JobHandle.cancel`, and of the program's end."""
        del look_s
        yield _JobRequests(self)


class _JobRequests:
    """Requests to stop that a reporter has received."""

    def __init__(self, reporter: JobReporter) -> None:
        self._reporter = reporter

    @property
    def is_pending(self) -> bool:
        """Whether to cancel or to detach."""
        return self._reporter.should_stop.is_set() or self._reporter.should_detach.is_set()

    @property
    def is_urgent(self) -> bool:
        """Whether to end at once."""
        return self._reporter.should_hurry.is_set()

    def choose(self, question: str | None) -> Choice:
        """Cancels where that was asked for, and detaches at the program's end."""
        del question
        return "cancel" if self._reporter.should_stop.is_set() else "detach"
