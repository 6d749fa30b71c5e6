"""The states of jobs as people tell them apart: what runs, and where finished videos are."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from multitalk_cli import contract
from multitalk_cli.jobs import ledger as jobs_ledger
from multitalk_cli.storage.address import is_stored

if TYPE_CHECKING:
    from multitalk_cli.jobs.ledger import Job

QUEUED, RUNNING, STOPPED = "queued", "running", "stopped"
DONE, NOT_FETCHED, FILE_MISSING, EXPIRED = "done", "not-fetched", "file-missing", "expired"
FAILED, CANCELLED, FIRST = "failed", "cancelled", "first-window"
STATES = (
    QUEUED, RUNNING, FIRST, DONE, NOT_FETCHED, FILE_MISSING, EXPIRED, FAILED, CANCELLED, STOPPED,
)  # fmt: skip
"""Every state, in the order of a job's life. A stopped job resumes with the same command."""
_FINISHED = (DONE, NOT_FETCHED, FILE_MISSING, EXPIRED)
_RECORDED = {
    QUEUED: (jobs_ledger.SPAWNING, jobs_ledger.RUNNING),
    RUNNING: (jobs_ledger.SPAWNING, jobs_ledger.RUNNING),
    FAILED: (jobs_ledger.FAILED,),
    CANCELLED: (jobs_ledger.CANCELLED,),
    STOPPED: (jobs_ledger.LOST,),
    FIRST: (jobs_ledger.FIRST,),
} | dict.fromkeys(_FINISHED, (jobs_ledger.DONE, jobs_ledger.EXPIRED, jobs_ledger.FIRST))
"""State -> the ledger's states in which a job that has it may be."""


def state_of(job: Job) -> str:
    """The state of a job as the ledger has it, and of its file."""
    if job.state in (jobs_ledger.SPAWNING, jobs_ledger.RUNNING):
        return QUEUED if job.started_s is None else RUNNING
    if job.state == jobs_ledger.LOST:
        return STOPPED
    if job.state == jobs_ledger.FIRST:
        return EXPIRED if _is_gone(job) else FIRST
    if job.state in (jobs_ledger.FAILED, jobs_ledger.CANCELLED):
        return job.state
    return _state_of_video(job)


def _state_of_video(job: Job) -> str:
    """Of a job that was done: whether its video is here."""
    if job.kind != jobs_ledger.GENERATE:
        return DONE
    if job.fetched_s is None:
        is_expired = _is_gone(job) or job.state == jobs_ledger.EXPIRED
        return EXPIRED if is_expired else NOT_FETCHED
    # Without a file it was streamed, or is only stored.
    is_here = not job.target or is_stored(job.target) or Path(job.target).exists()
    if is_here:
        return DONE
    return EXPIRED if job.state == jobs_ledger.EXPIRED else FILE_MISSING


def _is_gone(job: Job) -> bool:
    """Whether it ended so long ago that the cloud keeps nothing of it."""
    ended_s = job.updated_s if job.ended_s is None else job.ended_s
    return ended_s < time.time() - contract.JOBS_KEPT_S


def has_state(job: Job, wanted: str) -> bool:
    """Whether the job has that state; `done` includes whatever became of the video."""
    found = state_of(job)
    return found in _FINISHED if wanted == DONE else found == wanted


def recorded_states(wanted: str) -> tuple[str, ...]:
    """The ledger's states in which a job that has this state may be."""
    return _RECORDED[wanted]
