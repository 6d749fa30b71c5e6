"""A way to Modal that is lost while something runs there: said once, waited for, given up late."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from multitalk_cli.errors import MultitalkError, TemporaryError

if TYPE_CHECKING:
    from multitalk_cli.reporting.reporter import Reporter

LOST_AFTER_S = 600.0
_AGAIN_AFTER_S = 1.0


class Outage:
    """Whether Modal is out of reach, and since when."""

    def __init__(self, reporter: Reporter, what: str, hint: str) -> None:
        """what: goes on without this command. hint: the command that comes back to it."""
        self._reporter, self._what, self._hint = reporter, what, hint
        self._since_s: float | None = None

    def wait(self, error: MultitalkError) -> None:
        """Waits a moment before another try. Raises TemporaryError after ten minutes of them."""
        if self._since_s is None:
            self._since_s = time.monotonic()
            self._reporter.warn(f"{error.message}; {self._what} goes on, trying again")
        if time.monotonic() - self._since_s > LOST_AFTER_S:
            message = f"{error.message}; {self._what} goes on"
            raise TemporaryError(message, code="E_NETWORK", hint=self._hint) from error
        time.sleep(_AGAIN_AFTER_S)

    def end(self) -> None:
        """Says so where the way has come back."""
        if self._since_s is not None:
            self._reporter.note("connected again")
            self._since_s = None
