"""Ctrl-C, SIGTERM and a closed terminal while work runs, and the question that Ctrl-C asks."""

import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from multitalk_cli.reporting.reporter import Choice, StoppedError

ANSWER_S = 10.0

_KEYS: dict[str, Choice] = {"d": "detach", "c": "cancel", "\n": "watch", "\r": "watch"}
_REPLIES: dict[Choice, str] = {
    "watch": "still watching",
    "cancel": "cancelling",
    "detach": "detaching",
}
_MOST_HELD = 2


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
        self._say(f"^C  {question}   [cancel in {ANSWER_S:.0f} s]")
        choice = self._answer()
        self._say(_REPLIES[choice])
        if choice == "watch":
            self.numbers.clear()
        return choice

    def _answer(self) -> Choice:
        """The choice of one key; a timeout or another Ctrl-C cancels."""
        with _single_keys() as descriptor:
            for _ in range(int(ANSWER_S * 10)):
                if self.is_urgent:
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

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor, termios.TCSADRAIN)
        yield descriptor
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
