"""Cancellation of a job, confirmed."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from multitalk_cli import contract
from multitalk_cli.errors import MultitalkError, TemporaryError
from multitalk_cli.jobs import ledger as jobs_ledger

if TYPE_CHECKING:
    from multitalk_cli.cloud.client import CallStatus, Cloud
    from multitalk_cli.jobs.ledger import Job, Ledger
    from multitalk_cli.reporting.reporter import Reporter


POLL_S = 1.0
CONFIRM_S = 30.0


def cancel(
    cloud: Cloud,
    ledger: Ledger,
    job: Job,
    reporter: Reporter,
    *,
    hurry: Callable[[], bool] = lambda: False,
) -> tuple[str, bool]:
    """Cancels a job and waits until its card is free.

    hurry: whether not to wait any longer. Gives how the job ended, since it may have finished
    first, and whether Modal said that its card is free.
    """
    try:
        call_id = job.call_id or cloud.owner(job.id, job.link)
        cloud.cancel(job.id, call_id)
        ledger.update(job.id, state=jobs_ledger.CANCELLED)
        end_s = time.monotonic() + CONFIRM_S
        while call_id and time.monotonic() < end_s and not hurry():
            polled = cloud.poll(call_id, POLL_S / 2)
            if polled.outcome != "waiting":
                state = jobs_ledger.DONE if _is_done(polled) else jobs_ledger.CANCELLED
                ledger.update(job.id, state=state)
                if state == jobs_ledger.CANCELLED:
                    _forget_unseen(cloud, job)
                what = "had finished already" if state == jobs_ledger.DONE else "is cancelled"
                reporter.note(f"job {job.id} {what}, its GPU is free")
                return state, True
    except TemporaryError as error:
        raise TemporaryError(
            f"job {job.id} may still run: {error.message}",
            code="E_NETWORK",
            hint=f"multitalk jobs cancel {job.id}",
        ) from error
    reporter.note(f"job {job.id}: Modal was told to cancel it, and has not confirmed it yet")
    return jobs_ledger.CANCELLED, False


def _forget_unseen(cloud: Cloud, job: Job) -> None:
    """Removes what was prepared for a job that no container began: nobody else would."""
    with suppress(MultitalkError):
        if cloud.state(job.id) is None:
            cloud.remove_folder(contract.JOBS_VOLUME, job.id)


def _is_done(polled: CallStatus) -> bool:
    answer = polled.answer if polled.outcome == "answer" else None
    return answer is not None and answer["event"]["kind"] == "done"
