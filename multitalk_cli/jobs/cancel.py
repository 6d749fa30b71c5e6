"""Cancellation of a job, confirmed."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from multitalk_cli import contract
from multitalk_cli.cloud.follow import ShouldAbort, wait_for_end
from multitalk_cli.errors import MultitalkError, TemporaryError
from multitalk_cli.jobs import ledger as jobs_ledger
from multitalk_cli.reporting.formatting import human_money

if TYPE_CHECKING:
    from multitalk_cli.cloud.client import CallStatus, Cloud
    from multitalk_cli.jobs.ledger import Job, Ledger
    from multitalk_cli.reporting.reporter import Reporter


def cancel(
    cloud: Cloud,
    ledger: Ledger,
    job: Job,
    reporter: Reporter,
    *,
    should_abort: ShouldAbort = lambda: False,
) -> tuple[str, bool]:
    """Cancels a job and waits until its GPU is free.

    Returns how the job's call ended, which is `DONE` where it finished first, and whether Modal
    confirmed the end of its call.
    """
    try:
        call_id = job.call_id if job.call_id else cloud.owner(job.id, job.attempt)
        cloud.cancel(job.id, call_id)
        if not call_id:
            # No other command is to make its call.
            ledger.update(job.id, state=job.if_cancelled)
        ended = wait_for_end(cloud, call_id, should_abort) if call_id else None
    except TemporaryError as error:
        raise TemporaryError(
            f"job {job.id} may still be running: {error.message}",
            code="E_NETWORK",
            facts={"job": job.id, "step": "cancel"},
        ) from error
    if ended is None:
        # A call may end with its video nevertheless: the next list of jobs asks.
        reporter.note(f"job {job.id}: cancellation requested; Modal has not confirmed it yet")
        return jobs_ledger.CANCELLED, False
    if _is_done(ended):
        ledger.update(job.id, state=job.if_done)
        reporter.note(f"job {job.id} had already finished, its GPU is free")
        return jobs_ledger.DONE, True
    ledger.update(job.id, state=job.if_cancelled)
    paid = ""
    with suppress(MultitalkError):
        state = cloud.state(job.id)
        if state is not None:
            spent = jobs_ledger.spent(job, float(state["run_s"]))
            ledger.update(job.id, **spent)
            paid = f"; {human_money(spent['price_usd'])} spent"
        else:
            # No container started the job, and so none will remove its prepared inputs.
            cloud.remove_folder(contract.JOBS_VOLUME, job.id)
    kept = "; its first window is kept" if job.if_cancelled == jobs_ledger.FIRST else ""
    reporter.note(f"job {job.id} is cancelled, its GPU is free{paid}{kept}")
    return jobs_ledger.CANCELLED, True


def _is_done(status: CallStatus) -> bool:
    answer = status.answer if status.outcome == "answer" else None
    return answer is not None and answer["event"]["kind"] == "done"
