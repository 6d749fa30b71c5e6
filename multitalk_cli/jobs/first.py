"""Jobs whose first window was made alone: whether and how their rest is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from multitalk_cli import contract
from multitalk_cli.errors import RemoteError
from multitalk_cli.jobs import ledger as jobs_ledger
from multitalk_cli.planning.cost import seconds_for

if TYPE_CHECKING:
    from multitalk_cli.cloud.client import Cloud
    from multitalk_cli.jobs.ledger import Job, Ledger


def can_be_finished(cloud: Cloud, job: Job) -> bool:
    """Whether the cloud keeps what the rest of a job is made from."""
    kept = cloud.sizes(contract.JOBS_VOLUME, job.id) or {}
    return contract.FIRST_FILE in kept and contract.INPUTS_FILE in kept


def require_whole(job: Job) -> None:
    """Raises RemoteError E_UNFINISHED for a job whose first window alone is being made."""
    is_running = job.state in (jobs_ledger.SPAWNING, jobs_ledger.RUNNING)
    if is_running and job.first == jobs_ledger.ASKED:
        short = job.id[: jobs_ledger.SHORT_ID]
        raise RemoteError(
            f"job {job.id} is still making the first window",
            code="E_UNFINISHED",
            hint=f"multitalk jobs attach {short}\nmultitalk finish {short}",
        )


def resume(cloud: Cloud, ledger: Ledger, job: Job, *, first: bool, **changes: Any) -> Job | None:
    """A job that stopped or whose first window is made, as its next attempt.

    The caller has its `spawn_lock`. first: whether to make the first window alone. None where
    another process was faster.
    """
    is_made = job.state == jobs_ledger.FIRST or job.first == jobs_ledger.MADE
    state = jobs_ledger.ASKED if first else jobs_ledger.MADE if is_made else ""
    if is_made:
        cloud.take_back_cancellation(job.id)
    return ledger.resume(job, first=state, **changes)


def seconds_left(job: Job, max_usd: float | None) -> float | None:
    """How long all runs of a job may take in the end, if its next one may cost so much at most.

    None without a limit. Runs count from the first one, except for a first window that was paid
    before the rest was asked for.
    """
    limit_s = seconds_for(job.gpu, max_usd)
    if limit_s is None or job.first != jobs_ledger.MADE:
        return limit_s
    return limit_s + (job.gpu_seconds or 0.0)
