"""The progress of a running job, as its container reports it to the account."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Protocol, Self

from multitalk_cli import contract
from remote.worker.failures import CANCELLED

REPORT_S = 0.5
REPEAT_S = 10.0
"""Without news the last event is reported again, with the time that it has taken."""

_log = logging.getLogger(__name__)


class States(Protocol):
    """A dict that clients and containers share."""

    def get(self, key: str, default: str | None = None, /) -> str | None: ...

    def put(self, key: str, value: str, /, *, skip_if_exists: bool = False) -> bool: ...


class Reporter:
    """Writes a job's newest state and reads its cancellation, without delaying the work."""

    def __init__(
        self, states: States, job_id: str, facts: Mapping[str, Any], earlier_s: float = 0.0
    ) -> None:
        """facts: part of every state, next to the event. earlier_s: seconds of earlier runs."""
        self._states, self._job_id, self._facts = states, job_id, facts
        self._began_s = time.monotonic() - earlier_s
        self._newest: contract.Event | None = None
        self._last: contract.Event | None = None
        self._reported_s = self._began_s
        self._windows = 0
        self._stop, self._cancelled = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    @property
    def is_cancelled(self) -> bool:
        """Whether the job was cancelled."""
        return self._cancelled.is_set()

    @property
    def run_s(self) -> float:
        """Seconds of the work, earlier runs included."""
        return time.monotonic() - self._began_s

    def show(self, event: contract.Event) -> None:
        """Takes an event; only the newest is written."""
        if isinstance(event, contract.WindowDone):
            self._windows = event.window
        self._newest = event

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._report()
        if error is not None and self.is_cancelled:
            # Modal interrupted the work where it was.
            self.show(contract.Failed(code="E_CANCELLED", message=CANCELLED))
            self._report()

    def _run(self) -> None:
        self._report()
        while not self._stop.wait(REPORT_S):
            self._report()

    def _report(self) -> None:
        event, self._newest = self._newest, None
        now_s = time.monotonic()
        if event is None and now_s - self._reported_s > REPEAT_S:
            event = self._last
        try:
            if event is not None:
                self._last, self._reported_s = event, now_s
                self._states.put(self._job_id, self._state(event))
            # Null once a cancelled job is finished after all.
            if json.loads(self._states.get(f"{self._job_id}/cancel") or "null") is not None:
                self._cancelled.set()
        # A lost state is followed by the next one; the video matters more.
        except Exception:  # noqa: BLE001
            _log.warning("job %s: its state could not be written", self._job_id, exc_info=True)

    def _state(self, event: contract.Event) -> str:
        state = {"event": contract.to_wire(event), "windows": self._windows, "run_s": self.run_s}
        state["at_s"] = time.time()
        return json.dumps({**self._facts, **state})


@contextmanager
def timed(states: States, wire: Mapping[str, Any], stage: str) -> Iterator[None]:
    """Reports how long the work of the block takes, under the id in the wire.

    Older clients give none, and are not told.
    """
    if "job" not in wire:
        yield
        return
    with Reporter(states, str(wire["job"]), {}) as reporter:
        reporter.show(contract.Stage(name=stage))
        yield
