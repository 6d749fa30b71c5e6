"""Rich on one stream, where lines are printed above bars that move in a thread of their own.

Imported when something is drawn: the only module that imports Rich with itself.
"""

from __future__ import annotations

import threading
from typing import Any

from rich.console import Console as RichConsole


class Terminal(RichConsole):
    """A Rich console that draws one thing at a time.

    Rich measures the visible bars, and moves the cursor above them, in two steps: a line that
    another thread prints in between would be lost.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, emoji=False, markup=False, **options)
        self.drawing = threading.RLock()

    def print(self, *objects: Any, **options: Any) -> None:
        """Prints as Rich does, whole."""
        with self.drawing:
            super().print(*objects, **options)
