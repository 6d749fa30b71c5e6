"""The states of jobs as people tell them apart: what runs, and where finished videos are."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
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
_IS_GONE = "coalesce(ended_s, updated_s) < :gone_s"
_IS_MADE = f"state IN ('{jobs_ledger.DONE}', '{jobs_ledger.EXPIRED}')"
_IS_VIDEO = f"kind = '{jobs_ledger.GENERATE}'"
_RUNS = f"state IN ('{jobs_ledger.SPAWNING}', '{jobs_ledger.RUNNING}')"
_WHERE = {
    QUEUED: f"{_RUNS} AND started_s IS NULL",
    RUNNING: f"{_RUNS} AND started_s IS NOT NULL",
    FIRST: f"state = '{jobs_ledger.FIRST}' AND NOT {_IS_GONE}",
    DONE: f"{_IS_MADE} OR state = '{jobs_ledger.FIRST}' AND {_IS_GONE}",
    NOT_FETCHED: f"state = '{jobs_ledger.DONE}' AND {_IS_VIDEO} AND fetched_s IS NULL"
    f" AND NOT {_IS_GONE}",
    FILE_MISSING: f"state = '{jobs_ledger.DONE}' AND {_IS_VIDEO} AND fetched_s IS NOT NULL"
    " AND NOT is_here(target)",
    EXPIRED: f"state = '{jobs_ledger.FIRST}' AND {_IS_GONE} OR {_IS_MADE} AND {_IS_VIDEO} AND CASE"
    f" WHEN fetched_s IS NULL THEN state = '{jobs_ledger.EXPIRED}' OR {_IS_GONE}"
    f" ELSE state = '{jobs_ledger.EXPIRED}' AND NOT is_here(target) END",
    FAILED: f"state = '{jobs_ledger.FAILED}'",
    CANCELLED: f"state = '{jobs_ledger.CANCELLED}'",
    STOPPED: f"state = '{jobs_ledger.LOST}'",
}
"""State -> the rows of the ledger that `has_state` accepts."""


def state_of(job: Job) -> str:
    """The state of a job as the ledger has it, and of its file."""
    if job.state in (jobs_ledger.SPAWNING, jobs_ledger.RUNNING):
        return QUEUED if job.started_s is None else RUNNING
    if job.state == jobs_ledger.LOST:
        return STOPPED
    if job.state == jobs_ledger.FIRST:
        return EXPIRED if is_gone(job) else FIRST
    if job.state in (jobs_ledger.FAILED, jobs_ledger.CANCELLED):
        return job.state
    return _state_of_video(job)


def _state_of_video(job: Job) -> str:
    """Of a job that was done: whether its video is here."""
    if job.kind != jobs_ledger.GENERATE:
        return DONE
    if job.fetched_s is None:
        is_expired = is_gone(job) or job.state == jobs_ledger.EXPIRED
        return EXPIRED if is_expired else NOT_FETCHED
    if is_here(job.target):
        return DONE
    return EXPIRED if job.state == jobs_ledger.EXPIRED else FILE_MISSING


def is_here(target: str) -> bool:
    """Whether a fetched video is at its target. Without a file it was streamed, or is stored."""
    return not target or is_stored(target) or os.path.exists(target)  # noqa: PTH110 - of thousands


def gone_before_s() -> float:
    """The moment before which jobs ended of which the cloud keeps nothing."""
    return time.time() - contract.JOBS_KEPT_S


def is_gone(job: Job) -> bool:
    """Whether it ended so long ago that the cloud keeps nothing of it."""
    ended_s = job.updated_s if job.ended_s is None else job.ended_s
    return ended_s < gone_before_s()


def has_state(job: Job, wanted: str) -> bool:
    """Whether the job has that state; `done` includes whatever became of the video."""
    found = state_of(job)
    return found in _FINISHED if wanted == DONE else found == wanted


def where(wanted: Sequence[str]) -> str:
    """The SQL condition of the jobs that have one of these states.

    It needs the function `is_here` and the value `gone_s`, see `gone_before_s`.
    """
    return f"({' OR '.join(f'({_WHERE[each]})' for each in wanted)})"
