"""Signals while work runs, the question that Ctrl-C asks, and the terminal's modes around them."""

import os
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
_STDIN = 0

Modes = list[Any]
"""The modes of a terminal's input: line by line or key by key, with echo or without."""


class PendingSignals:
    """Signals that were held back, in order."""

    def __init__(self, say: Callable[[str], None] | None) -> None:
        """say: shows a line to a person who can answer; None without a terminal."""
        self.numbers: list[int] = []
        self._say = say

    @property
    def is_pending(self) -> bool:
        """Whether a signal was received."""
        return bool(self.numbers)

    @property
    def is_urgent(self) -> bool:
        """Whether a second one was received."""
        return len(self.numbers) > 1

    def choose(self, question: str | None) -> Choice:
        """The user's answer to Ctrl-C; `cancel` for other signals and without a terminal."""
        is_ctrl_c = self.numbers[:1] == [signal.SIGINT]
        if question is None or self._say is None or not is_ctrl_c:
            return "cancel"
        with _single_keys() as descriptor:
            self._say(f"^C  {question}   [cancel in {ANSWER_S:.0f} s]")
            choice = self._answer(descriptor)
        if self.is_urgent and self.numbers[1] != signal.SIGINT:
            # SIGTERM or a closed terminal is no second Ctrl-C: there is time to clean up.
            del self.numbers[0]
        if choice == "watch":
            # Answered; another Ctrl-C, from now on, asks again.
            del self.numbers[0]
        self._say(_REPLIES[choice])
        return choice

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
def pending_signals(
    say: Callable[[str], None] | None, *, before_end: Callable[[], None]
) -> Iterator[PendingSignals]:
    """Holds signals back inside the block; a third one ends the process at once.

    before_end: is called first then, to leave the terminal in order.

    Ignored signals stay ignored. Outside the main thread nothing is held. When StoppedError leaves
    the block, the process receives the first signal again, so that it ends as it would have.
    """
    held = PendingSignals(say)
    if threading.current_thread() is not threading.main_thread():
        yield held
        return

    def note(number: int, _frame: FrameType | None) -> None:
        held.numbers.append(number)
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
