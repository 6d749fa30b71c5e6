"""Rich on one stream, where lines are printed above bars that move in a thread of their own.

Imported when something is drawn: the only module that imports Rich with itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from rich.console import Console as RichConsole
from rich.console import ConsoleDimensions


class Terminal(RichConsole):
    """A Rich console that draws one thing at a time.

    Rich measures the visible bars, and moves the cursor above them, in two steps: a line that
    another thread prints in between would be lost.
    """

    def __init__(self, measure: Callable[[], int], **options: Any) -> None:
        """measure: the columns that may be drawn in, asked for each time."""
        self._measure = measure
        # In a notebook Rich would draw beside the stream.
        super().__init__(highlight=False, emoji=False, markup=False, force_jupyter=False, **options)
        self.drawing = threading.RLock()
        self._depth = 0
        self._put_off: Callable[[], None] | None = None

    @property  # type: ignore[misc]
    def size(self) -> ConsoleDimensions:
        """The columns by `measure`, the lines by Rich."""
        return ConsoleDimensions(self._measure(), super().size.height)

    def print(self, *objects: Any, **options: Any) -> None:
        """Prints as Rich does, whole."""
        with self.drawing:
            self._depth += 1
            try:
                super().print(*objects, **options)
            finally:
                self._depth -= 1
            if self._put_off is not None and not self._depth:
                action, self._put_off = self._put_off, None
                action()

    def when_whole(self, action: Callable[[], None]) -> None:
        """Calls `action` while nothing is drawn; a handler's after what it interrupted is whole."""
        with self.drawing:
            if self._depth:
                self._put_off = action
            else:
                action()
