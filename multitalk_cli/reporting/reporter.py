"""The protocol by which work reports facts, warnings, progress and questions.

The command line shows them on the terminal; the library stays quiet, or passes them on.
"""

from __future__ import annotations

from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager

    from multitalk_cli.contract import Event

Choice = Literal["detach", "cancel", "watch"]
"""The fate of work whose user wants to stop: it continues alone, ends, or is watched again."""

LOOK_S = 1.5
"""How often work looks for a request to stop that is asked about it once a second."""


class StoppedError(Exception):
    """A request to stop that was carried out: the work has ended or continues without us."""


class Progress(Protocol):
    """A view of events."""

    def show(self, event: Event, spent_usd: float | None = None) -> None:
        """Shows one event, and the cost of the run so far."""


class StopRequests(Protocol):
    """Requests to stop (Ctrl-C, a signal, a call of the library), answered by the work itself."""

    @property
    def is_pending(self) -> bool:
        """Whether there is a request."""

    @property
    def is_urgent(self) -> bool:
        """Whether there is a second one: end at once."""

    def choose(self, question: str | None) -> Choice:
        """The user's choice; `cancel` without a question, or if no person can be asked.

        question: the meaning of detaching and cancelling for this work. `watch` drops the request.
        """


class Reporter(Protocol):
    """Receives the facts, warnings, progress and questions of running work.

    leaving: the message if a signal ends the command.
    """

    leaving: str

    @property
    def is_interactive(self) -> bool:
        """Whether a person is watching."""

    @property
    def is_quiet(self) -> bool:
        """Whether only results and errors are wanted."""

    @property
    def can_ask(self) -> bool:
        """Whether a question would reach a person who can answer it."""

    def fact(self, label: str, text: str) -> None:
        """Reports a finding or a decision."""

    def adjusted(self, text: str) -> None:
        """Reports an automatic adjustment of the input."""

    def warn(self, text: str) -> None:
        """Reports a threat to the result."""

    def note(self, text: str = "") -> None:
        """Reports a sentence; an empty one separates."""

    def confirm(self, question: str) -> bool:
        """The answer to a yes-or-no question."""

    def ask(self, question: str) -> str:
        """A line of text that the user types."""

    def ask_hidden(self, question: str) -> str:
        """A line of text that is not shown while it is typed; empty at the end of input."""

    def hide(self, values: Iterable[str]) -> None:
        """Masks these values in everything that is reported from now on."""

    def progress(self) -> AbstractContextManager[Progress]:
        """A view of events, open until the block ends."""

    def stop_requests(self, look_s: float = LOOK_S) -> AbstractContextManager[StopRequests]:
        """Requests to stop, held back inside the block.

        look_s: how often the work looks for one; the user is told of one that waits longer.
        StoppedError that leaves the block ends the command as the request would have.
        """

    def redirect_stdout(self) -> AbstractContextManager[None]:
        """Sends what a library prints on stdout inside the block to where progress belongs."""


class NoStopRequests:
    """Work that is never asked to stop."""

    is_pending = False
    is_urgent = False

    def choose(self, question: str | None) -> Choice:
        """Always `cancel`: no person can be asked."""
        del question
        return "cancel"


class QuietReporter:
    """A reporter that shows and asks nothing, and keeps warnings and adjustments."""

    is_interactive = False
    is_quiet = True
    can_ask = False

    def __init__(self) -> None:
        self.leaving = ""
        self.warnings: list[str] = []
        self.adjustments: list[str] = []

    def fact(self, label: str, text: str) -> None:
        """Shows nothing."""

    def adjusted(self, text: str) -> None:
        """Keeps the adjustment."""
        self.adjustments.append(text)

    def warn(self, text: str) -> None:
        """Keeps the warning."""
        self.warnings.append(text)

    def note(self, text: str = "") -> None:
        """Shows nothing."""

    def confirm(self, question: str) -> bool:
        """No person can be asked: no."""
        del question
        return False

    def ask(self, question: str) -> str:
        """No person can be asked: an empty line."""
        del question
        return ""

    def ask_hidden(self, question: str) -> str:
        """No person can be asked: an empty line."""
        del question
        return ""

    def hide(self, values: Iterable[str]) -> None:
        """Nothing is shown."""

    def show(self, event: Event, spent_usd: float | None = None) -> None:
        """Shows nothing."""

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """A view that shows nothing."""
        yield self

    @contextmanager
    def stop_requests(self, look_s: float = LOOK_S) -> Iterator[StopRequests]:
        """Requests that never come."""
        del look_s
        yield NoStopRequests()

    @contextmanager
    def redirect_stdout(self) -> Iterator[None]:
        """Drops what a library prints on stdout inside the block."""
        import io

        with redirect_stdout(io.StringIO()):
            yield
