"""Calls that cost money and make no video, in the ledger from before they are made."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from multitalk_cli.errors import MultitalkError, TemporaryError
from multitalk_cli.jobs import ledger as jobs_ledger
from multitalk_cli.jobs.ledger import Job, Ledger
from multitalk_cli.reporting.formatting import human_money
from multitalk_cli.reporting.reporter import StoppedError

if TYPE_CHECKING:
    from typing import Any

    from multitalk_cli.cloud.errors import AppRef
    from multitalk_cli.reporting.reporter import Reporter


class PaidCall:
    """One such call. id: of its row, and of the state that its container reports."""

    def __init__(self, ledger: Ledger, job: Job) -> None:
        self._ledger, self._job = ledger, job
        self._run_s: float | None = None

    @property
    def id(self) -> str:
        """The id in the ledger."""
        return self._job.id

    def spawned(self, call_id: str) -> str:
        """Notes a call at Modal; returns its id."""
        self._ledger.update(self._job.id, call_id=call_id, state=jobs_ledger.RUNNING)
        return call_id

    def ran(self, seconds: float) -> None:
        """Notes how long its containers ran so far."""
        self._run_s = seconds

    def end(self, state: str, error: MultitalkError | None = None) -> float | None:
        """Notes how it ended and what it cost; returns the dollars, None for unknown ones."""
        money: dict[str, Any] = (
            {} if self._run_s is None else jobs_ledger.spent(self._job, self._run_s)
        )
        if self._run_s is not None:
            money["started_s"] = time.time() - self._run_s
        code, text = ("", "") if error is None else (error.code, error.message)
        self._ledger.update(self._job.id, state=state, error=code, error_text=text, **money)
        return money.get("price_usd")


@contextmanager
def paid_call(
    place: AppRef,
    kind: str,
    label: str,
    reporter: Reporter,
    *,
    gpu: str = "",
    stack: str = "",
    job_id: str | None = None,
    call_id: str = "",
) -> Iterator[PaidCall]:
    """A call that is made, and usually ends, inside the block.

    gpu: empty without one. job_id: under which its container reports; random if None. call_id: of
    one that another command made and may have recorded. Raises FileError E_LEDGER before the block
    where it cannot be recorded.
    """
    ledger = Ledger()
    known = ledger.find_call(call_id) if call_id else None
    if known is None:
        known = ledger.add(
            Job(
                id=secrets.token_hex(8) if job_id is None else job_id, fingerprint="",
                app=place.app, environment=place.environment, stack=stack, gpu=gpu, seed=0,
                target="", label=label, recipe="", kind=kind,
            )
        )  # fmt: skip
    call = PaidCall(ledger, known)
    if call_id:
        call.spawned(call_id)
    try:
        yield call
    except TemporaryError:
        # Nobody knows how it ended: the next list of jobs asks.
        raise
    except MultitalkError as error:
        is_cancelled = error.code == "E_CANCELLED"
        call.end(jobs_ledger.CANCELLED if is_cancelled else jobs_ledger.FAILED, error)
        raise
    except (StoppedError, KeyboardInterrupt):
        spent_usd = call.end(jobs_ledger.CANCELLED)
        if spent_usd:
            reporter.fact("cost", f"{human_money(spent_usd)} so far")
        raise
    call.end(jobs_ledger.DONE)
