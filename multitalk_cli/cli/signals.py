"""Signals that end a command: the first with time to clean up, the second at once."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from multitalk_cli.cli.interrupts import end_at_once

if TYPE_CHECKING:
    from types import FrameType

    from multitalk_cli.cli.console import Console


_LATER_S = 0.01


@contextmanager
def ending_signals(received: list[int], console: Console) -> Iterator[None]:
    """Ctrl-C, SIGTERM and a closed terminal raise KeyboardInterrupt once, so that work cleans up.

    A second signal ends the process at once.
    """
    # A shell starts background jobs with SIGINT ignored, nohup with SIGHUP; that choice is kept.
    handled = [
        number
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN
    ]
    ending = _Ending(handled, received, console)
    before = {number: signal.signal(number, ending.interrupt) for number in handled}
    before[signal.SIGALRM] = signal.signal(signal.SIGALRM, ending.repeat)
    sys.unraisablehook = ending.lose
    try:
        yield
    finally:
        sys.unraisablehook = ending.unraisable
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


class _Ending:
    """What the handlers of the signals share."""

    def __init__(self, handled: Sequence[int], received: list[int], console: Console) -> None:
        self._handled, self._received, self._console = handled, received, console
        self._late = signal.SIGINT
        self.unraisable = sys.unraisablehook

    def interrupt(self, number: int, frame: FrameType | None) -> None:
        """Raises KeyboardInterrupt, as soon as that is safe."""
        if _is_unsafe(frame):
            self._later(number)
            return
        self._received.append(number)
        # Without bars the system ends the process, also where Python is too busy to be asked.
        for each in self._handled:
            signal.signal(each, self._end if self._console.has_bars else signal.SIG_DFL)
        raise KeyboardInterrupt

    def _end(self, number: int, _frame: FrameType | None) -> None:
        end_at_once(number, self._console.restore_terminal)

    def lose(self, lost: sys.UnraisableHookArgs, /) -> None:
        """Interrupts later where a destructor or a callback was met, which can raise nothing."""
        if lost.exc_type is not KeyboardInterrupt or not self._received:
            self.unraisable(lost)
            return
        for each in self._handled:
            signal.signal(each, self.interrupt)
        self._later(self._received.pop())

    def _later(self, number: int) -> None:
        self._late = signal.Signals(number)
        signal.setitimer(signal.ITIMER_REAL, _LATER_S)

    def repeat(self, _alarm: int, _frame: FrameType | None) -> None:
        """Sends the signal once more, to who handles it by now."""
        os.kill(os.getpid(), self._late)


def _is_unsafe(frame: FrameType | None) -> bool:
    """Whether an exception there is lost, or keeps a lock that other threads wait for.

    The import system takes locks outside of any `try`, and removes them in callbacks.
    """
    if frame is not None and frame.f_code is _Ending.repeat.__code__:
        frame = frame.f_back
    if frame is None:
        return False
    code = frame.f_code
    return code.co_filename.startswith("<frozen importlib") or code is _Ending.lose.__code__
