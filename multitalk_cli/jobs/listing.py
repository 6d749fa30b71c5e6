"""Jobs with their newest state: from the ledger alone, or from the cloud."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from multitalk_cli import contract
from multitalk_cli.jobs import ledger as jobs_ledger
from multitalk_cli.jobs.ledger import Ledger

if TYPE_CHECKING:
    from multitalk_cli.cloud.client import CallOutcome, Cloud
    from multitalk_cli.cloud.errors import AppRef
    from multitalk_cli.jobs.ledger import Job

STOPPED = "stopped"
"""State of a job whose call has ended without an answer; following it continues or explains it."""
_ENDED: tuple[CallOutcome, ...] = ("timeout", "lost", "ended")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedJob:
    """A job with its newest state.

    event: what it does, where it runs. stopped: how its call ended, where its state is STOPPED.
    windows, run_s: how many windows are kept, and for how long it ran; None where no container
    recorded them.
    """

    job: Job
    event: contract.Event | None = None
    stopped: CallOutcome | None = None
    windows: int | None = None
    run_s: float | None = None


def list_local(limit: int) -> list[ListedJob]:
    """The ledger's jobs, the newest first."""
    return [ListedJob(job=job) for job in Ledger().newest(limit)]


def list_remote(place: AppRef, limit: int) -> list[ListedJob]:
    """The jobs of all machines with their newest state, the newest first."""
    from multitalk_cli.cloud.client import Cloud
    from multitalk_cli.jobs.control import job_from_entry

    cloud = Cloud.reachable(place)
    entries = cloud.indexed()[:limit]
    known = {job.id: job for job in Ledger().newest()}
    jobs = (known.get(entry["id"]) or job_from_entry(place, entry) for entry in entries)
    return [_look_up(cloud, job) for job in jobs]


def find(place: AppRef, prefix: str) -> ListedJob:
    """One job with its newest state. Raises UsageError E_NO_JOB."""
    from multitalk_cli.jobs.control import open_job

    return _look_up(*open_job(place, Ledger(), prefix))


def _look_up(cloud: Cloud, job: Job) -> ListedJob:
    """A job with its newest state.

    Modal ends a call that takes too long, and a lost container writes nothing: then the state is
    that of a running job, and only the call shows the end.
    """
    from multitalk_cli.jobs.control import latest_attempt

    state = cloud.state(job.id)
    if state is None:
        return ListedJob(job=job)
    listed = _from_state(job, state)
    if listed.event is None:
        return listed
    call_id = latest_attempt(cloud, job).call_id
    outcome = cloud.poll(call_id, 0).outcome if call_id else "unclaimed"
    if outcome not in _ENDED:
        return listed
    return replace(listed, job=replace(job, state=STOPPED), event=None, stopped=outcome)


def _from_state(job: Job, state: Mapping[str, Any]) -> ListedJob:
    event = contract.event_from_wire(state["event"])
    match event:
        case contract.Done():
            job, running = replace(job, state=jobs_ledger.DONE), None
        case contract.Failed(code="E_CANCELLED"):
            job, running = replace(job, state=jobs_ledger.CANCELLED, error=event.code), None
        case contract.Failed():
            job, running = replace(job, state=jobs_ledger.FAILED, error=event.code), None
        case _:
            job, running = replace(job, state=jobs_ledger.RUNNING), event
    return ListedJob(
        job=job, event=running, windows=int(state["windows"]), run_s=float(state["run_s"])
    )
