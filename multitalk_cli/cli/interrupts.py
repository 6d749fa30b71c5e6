"""Signals while work runs, the question that Ctrl-C asks, and the terminal's modes around them."""

import os
import queue
import select
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from multitalk_cli.reporting.reporter import Choice, StoppedError

ANSWER_S = 10.0

_KEYS: dict[str, Choice] = {"d": "detach", "c": "cancel", "\n": "watch", "\r": "watch"}
_REPLIES: dict[Choice, str] = {
    "watch": "still watching",
    "cancel": "cancelling",
    "detach": "detaching",
}
_MOST_HELD = 2
_RECEIVED = "received; waiting for Modal's reply"
_RECEIVED_AGAIN = "received again; a third one ends the command and may leave a job running"
_STDIN = 0

Modes = list[Any]
"""The modes of a terminal's input: line by line or key by key, with echo or without."""


class PendingSignals:
    """Signals that were held back, in order."""

    def __init__(self, tell: Callable[[str], None], *, can_ask: bool, look_s: float) -> None:
        """tell: shows a line. can_ask: whether to a person who can answer.

        look_s: a signal that the work has not looked for by then is acknowledged.
        """
        self.numbers: list[int] = []
        self._tell, self._can_ask, self._look_s = tell, can_ask, look_s
        self._seen = 0
        self._looked = threading.Event()
        # Of all that threads share, only this may be used by a handler that met its own user.
        self._received: queue.SimpleQueue[tuple[int, int] | None] = queue.SimpleQueue()

    @property
    def is_pending(self) -> bool:
        """Whether a signal was received."""
        return self._look() > 0

    @property
    def is_urgent(self) -> bool:
        """Whether a second one was received."""
        return self._look() > 1

    def _look(self) -> int:
        """How many were received. The work knows of the first now; its end answers a second."""
        count = len(self.numbers)
        if count and not self._seen:
            self._seen = 1
            self._looked.set()
        return count

    def receive(self, number: int) -> None:
        """Holds a signal back; called by its handler."""
        self.numbers.append(number)
        self._received.put((number, len(self.numbers)))

    @contextmanager
    def acknowledged(self) -> Iterator[None]:
        """Tells of each signal that the work does not react to in time, inside the block."""
        thread = threading.Thread(target=self._acknowledge, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._received.put(None)
            self._seen = _MOST_HELD
            self._looked.set()
            thread.join()

    def _acknowledge(self) -> None:
        while (received := self._received.get()) is not None:
            number, count = received
            self._looked.clear()
            if self._seen < count:
                self._looked.wait(self._look_s)
            if self._seen < count <= len(self.numbers):
                name = "^C " if number == signal.SIGINT else signal.Signals(number).name
                self._tell(f"{name} {_RECEIVED if count == 1 else _RECEIVED_AGAIN}")

    def choose(self, question: str | None) -> Choice:
        """The user's answer to Ctrl-C; `cancel` for other signals and without a terminal."""
        choice: Choice = "cancel"
        if question is not None and self._can_ask and self.numbers == [signal.SIGINT]:
            choice = self._ask(question)
        if self.is_urgent and self.numbers[0] == signal.SIGINT != self.numbers[1]:
            # SIGTERM or a closed terminal is no second Ctrl-C: there is time to clean up.
            del self.numbers[0]
        if choice == "watch":
            # Answered; another Ctrl-C, from now on, asks again.
            del self.numbers[0]
        self._seen = min(len(self.numbers), 1)
        self._tell(_REPLIES[choice])
        return choice

    def _ask(self, question: str) -> Choice:
        with _single_keys() as descriptor:
            self._tell(f"^C  {question}   [cancel in {ANSWER_S:.0f} s]")
            return self._answer(descriptor)

    def _answer(self, descriptor: int) -> Choice:
        """The choice of one key; a timeout or another signal cancels."""
        for _ in range(int(ANSWER_S * 10)):
            if self.is_urgent:
                return "cancel"
            ready, _, _ = select.select([descriptor], [], [], 0.1)
            if not ready:
                continue
            key = _read_key(descriptor)
            if key in _KEYS:
                return _KEYS[key]
            if not key:
                return "cancel"
        return "cancel"


def _read_key(descriptor: int) -> str:
    """One key in lower case; empty at the end of input and for a terminal that was closed."""
    try:
        return os.read(descriptor, 1).decode("ascii", "replace").lower()
    except OSError:
        return ""


def end_at_once(number: int, before_end: Callable[[], None]) -> None:
    """Ends the process by the signal."""
    before_end()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


@contextmanager
def hold_signals(
    held: PendingSignals, *, before_end: Callable[[], None]
) -> Iterator[PendingSignals]:
    """Holds signals back inside the block; a third one ends the process at once.

    before_end: is called first then, to leave the terminal in order.

    Ignored signals stay ignored. Outside the main thread nothing is held. When StoppedError leaves
    the block, the process receives the first signal again, so that it ends as it would have.
    """
    if threading.current_thread() is not threading.main_thread():
        yield held
        return

    def note(number: int, _frame: FrameType | None) -> None:
        held.receive(number)
        if len(held.numbers) > _MOST_HELD:
            end_at_once(number, before_end)

    numbers = [
        number
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN
    ]
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        try:
            with held.acknowledged():
                yield held
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    except StoppedError as stopped:
        os.kill(os.getpid(), held.numbers[0])
        raise KeyboardInterrupt from stopped


@contextmanager
def _single_keys() -> Iterator[int]:
    """The terminal's input, key by key and without echo; Ctrl-C still sends its signal."""
    import termios
    import tty

    before = terminal_modes()
    try:
        # A terminal that was closed has no modes any more, and reading from it ends at once.
        with suppress(termios.error):
            # What was typed before the question is no answer to it.
            tty.setcbreak(_STDIN, termios.TCSAFLUSH)
        yield _STDIN
    finally:
        restore_modes(before)


# The terminal


def is_in_foreground(descriptor: int = 2) -> bool:
    """Whether we may use the terminal of that descriptor; True if it is none."""
    try:
        return os.tcgetpgrp(descriptor) == os.getpgrp()
    except OSError:
        return True


def terminal_modes() -> Modes | None:
    """The modes of the terminal that we read from; None if stdin is none."""
    import termios

    try:
        return termios.tcgetattr(_STDIN)
    except termios.error:
        return None


def drop_typed() -> None:
    """Forgets what was typed before a question was shown."""
    import termios

    if is_in_foreground(_STDIN):
        with suppress(termios.error):
            termios.tcflush(_STDIN, termios.TCIFLUSH)


def restore_modes(modes: Modes | None) -> None:
    """Gives the terminal modes that it had before, while it is ours."""
    import termios

    # Whoever is in the background would be stopped by this.
    if modes is not None and is_in_foreground(_STDIN):
        with suppress(termios.error):
            termios.tcsetattr(_STDIN, termios.TCSANOW, modes)


@contextmanager
def job_control(
    pause: Callable[[Callable[[], None]], None], modes: Modes | None, before_end: Callable[[], None]
) -> Iterator[None]:
    """Leaves the terminal in order when Ctrl-Z suspends the process or Ctrl-\\ ends it.

    pause: takes down what is drawn, and calls the function that it is given, which returns once
    the process continues. modes: of the terminal as it was found.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop() -> None:
        changed = terminal_modes()
        restore_modes(modes)
        handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        # To this thread: the next line is reached when the process continues.
        signal.raise_signal(signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, handler)
        restore_modes(changed)

    handlers = {
        signal.SIGTSTP: lambda _number, _frame: pause(stop),
        signal.SIGQUIT: lambda number, _frame: end_at_once(number, before_end),
    }
    before = {
        number: signal.signal(number, handler)
        for number, handler in handlers.items()
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
