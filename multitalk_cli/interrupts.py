"""What a person wants while a job runs: Ctrl-C, SIGTERM, a closed terminal, and a question."""

import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Literal

ANSWER_S = 10.0
QUESTION = (
    "^C  d = detach (the job goes on), c = cancel (frees the GPU), Enter = keep watching   "
    f"[cancel in {ANSWER_S:.0f} s]"
)

Choice = Literal["detach", "cancel", "watch"]
_KEYS: dict[str, Choice] = {"d": "detach", "c": "cancel", "\n": "watch", "\r": "watch"}
_MOST_HELD = 2


class LeavingError(Exception):
    """A signal ends the command; the job has been dealt with."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Held:
    """Signals that came while they were held, in order."""

    def __init__(self) -> None:
        self.numbers: list[int] = []

    @property
    def is_urgent(self) -> bool:
        """Whether a second one came."""
        return len(self.numbers) > 1

    @property
    def is_ctrl_c(self) -> bool:
        """Whether the first one was a person's Ctrl-C."""
        return self.numbers[:1] == [signal.SIGINT]


@contextmanager
def held_signals() -> Iterator[Held]:
    """Notes signals in place of what they would do; a third one ends the process at once.

    Signals that are ignored stay so. Outside the main thread nothing is held.
    """
    held = Held()
    if threading.current_thread() is not threading.main_thread():
        yield held
        return

    def note(number: int, _frame: FrameType | None) -> None:
        held.numbers.append(number)
        if len(held.numbers) > _MOST_HELD:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    numbers = [
        number
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN
    ]
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield held
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def deliver(number: int) -> None:
    """Sends the process a signal that had been held, so that it ends as it would have."""
    os.kill(os.getpid(), number)


def ask(held: Held, say: Callable[[str], None], question: str = QUESTION) -> Choice:
    """Asks on the terminal what becomes of the job; silence, or another Ctrl-C, cancels it."""
    say(question)
    with _single_keys() as descriptor:
        for _ in range(int(ANSWER_S * 10)):
            if held.is_urgent:
                return "cancel"
            ready, _, _ = select.select([descriptor], [], [], 0.1)
            if not ready:
                continue
            key = os.read(descriptor, 1).decode("ascii", "replace").lower()
            if key in _KEYS:
                return _KEYS[key]
            if not key:
                return "cancel"
    return "cancel"


@contextmanager
def _single_keys() -> Iterator[int]:
    """The terminal's input, key by key and without an echo; Ctrl-C still makes its signal."""
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor, termios.TCSADRAIN)
        yield descriptor
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
