"""The newest state of jobs, asked of Modal and kept in the ledger."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from multitalk_cli import contract
from multitalk_cli.cloud.call_result import read_progress
from multitalk_cli.contract import weights_task
from multitalk_cli.jobs import ledger as jobs_ledger
from multitalk_cli.jobs.call import failure_of, latest_attempt
from multitalk_cli.jobs.fetch import load_result, priced
from multitalk_cli.jobs.ledger import spent

if TYPE_CHECKING:
    from multitalk_cli.cloud.client import CallStatus, Cloud
    from multitalk_cli.jobs.ledger import Job, KnownInput, Ledger

_ENDS = ("timeout", "lost", "ended")
"""Outcomes of a call without an answer."""
_RESUMED = ("E_TIMEOUT", "E_START", "E_REMOTE")
"""Codes of jobs that another call makes, also without a finished window."""
_FORGOTTEN = "Modal keeps nothing of it any more"
_SPAWNED_WITHIN_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedJob:
    """A job with its newest state.

    event: what it does, while it runs. windows: how many finished windows are kept; None where no
    container recorded that. is_current: whether Modal was asked, or need not be. inputs: the
    picture, then the voices. calls: ids at Modal.
    """

    job: Job
    event: contract.Event | None = None
    windows: int | None = None
    is_current: bool = True
    inputs: tuple[KnownInput, ...] = ()
    calls: tuple[str, ...] = ()


def refresh(cloud: Cloud, ledger: Ledger, job: Job) -> ListedJob:
    """An unfinished job with its newest state, which the ledger keeps. Raises TemporaryError.

    Modal ends a call that takes too long, and a lost container writes nothing: then the state that
    the container reported is that of a running job, and only the call shows the end.
    """
    if job.kind != jobs_ledger.GENERATE:
        listed = ListedJob(job=_refreshed_call(cloud, job))
        _keep(ledger, job, listed.job)
        return listed
    newest = latest_attempt(cloud, job)
    state = cloud.state(job.id)
    if state is None:
        listed = ListedJob(job=newest)
    elif int(state.get("link", newest.attempt)) < newest.attempt:
        # It is that of the call before.
        listed = ListedJob(job=newest, windows=int(state["windows"]))
    else:
        listed = _from_state(newest, state)
    if listed.job.state in (jobs_ledger.SPAWNING, jobs_ledger.RUNNING):
        call = cloud.poll(newest.call_id, 0) if newest.call_id else None
        listed = _from_call(cloud, listed, call)
    _keep(ledger, job, listed.job)
    return listed


def state_key(job: Job) -> str:
    """Where the containers of a job report its state."""
    is_download = job.kind == jobs_ledger.DOWNLOAD
    return f"{weights_task.CALLS}/{job.call_id}" if is_download else job.id


def _refreshed_call(cloud: Cloud, job: Job) -> Job:
    """A call that makes no video, with its newest state."""
    now_s = time.time()
    if not job.call_id:
        # Its command ended before it noted the call, which nobody can find any more.
        is_old = job.created_s < now_s - _SPAWNED_WITHIN_S
        return _ended(job, "E_START", "no call of it was noted", now_s) if is_old else job
    state = cloud.state(state_key(job))
    if state is not None:
        run_s, at_s = float(state["run_s"]), float(state.get("at_s", now_s))
        job = replace(job, started_s=at_s - run_s, **spent(job, run_s))
    call = cloud.poll(job.call_id, 0)
    if call.outcome == "answer" and call.answer is not None:
        return _answered_call(job, call.answer, now_s)
    if call.outcome in _ENDS:
        # Bench, doctor and warm interrupt their call without another word.
        is_cancelled = "cancel" in call.text.lower() or cloud.is_cancelled(state_key(job))
        failed = failure_of(call, job.id, is_cancelled=is_cancelled, is_claimed=True)
        return _failed(job, failed, now_s, 0)
    if call.outcome == "expired":
        return _ended(job, "E_EXPIRED", _FORGOTTEN, now_s)
    return replace(job, state=jobs_ledger.RUNNING)


def _answered_call(job: Job, answer: Mapping[str, Any], now_s: float) -> Job:
    reported = answer.get("event", answer)
    if "run_s" in answer:
        job = replace(job, **spent(job, float(answer["run_s"])))
    if isinstance(reported, Mapping) and reported.get("kind") == "failed":
        return _failed(job, contract.from_wire(contract.Failed, reported), now_s, 0)
    return replace(job, state=jobs_ledger.DONE, ended_s=now_s)


def _ended(job: Job, code: str, text: str, now_s: float) -> Job:
    first_line = text.partition("\n")[0]
    return replace(job, state=jobs_ledger.FAILED, error=code, error_text=first_line, ended_s=now_s)


def _keep(ledger: Ledger, before: Job, after: Job) -> None:
    fields = (
        "state", "call_id", "attempt", "price_usd", "gpu_seconds", "result", "error", "error_text",
        "started_s", "ended_s", "first",
    )  # fmt: skip
    changes = {
        name: getattr(after, name)
        for name in fields
        if getattr(after, name) != getattr(before, name)
    }
    if changes:
        ledger.update(before.id, **changes)


def _from_state(job: Job, state: Mapping[str, Any]) -> ListedJob:
    """The job as its container reported it last."""
    run_s, windows = float(state["run_s"]), int(state["windows"])
    # Apps of version 0.1.0 report no time.
    at_s = float(state.get("at_s", time.time()))
    started_s = at_s - run_s if job.started_s is None else job.started_s
    job = replace(job, started_s=started_s, **spent(job, run_s))
    match read_progress(state["event"]):
        case contract.Done(result=result):
            return ListedJob(job=_done(job, result, at_s), windows=windows)
        case contract.Failed() as failed:
            return ListedJob(job=_failed(job, failed, at_s, windows), windows=windows)
        case event:
            running = replace(job, state=jobs_ledger.RUNNING)
            return ListedJob(job=running, event=event, windows=windows)


def _done(job: Job, result: contract.Result, at_s: float) -> Job:
    result = priced(result, job)
    is_first = result.is_first_window
    return replace(
        job,
        state=jobs_ledger.FIRST if is_first else jobs_ledger.DONE,
        first=jobs_ledger.MADE if is_first else job.first,
        result=json.dumps(contract.to_wire(result)),
        gpu_seconds=result.gpu_seconds,
        price_usd=result.price_usd,
        ended_s=at_s,
    )


def _failed(job: Job, failed: contract.Failed, at_s: float, windows: int) -> Job:
    if failed.code == "E_CANCELLED":
        return replace(job, state=job.if_cancelled, ended_s=at_s)
    # What failed after a window is continued by the same command.
    can_resume = windows > 0 and failed.code not in contract.FINAL_FAILURES
    return replace(
        job,
        state=jobs_ledger.LOST if can_resume else jobs_ledger.FAILED,
        error=failed.code,
        error_text=failed.message,
        ended_s=at_s,
    )


def _from_call(cloud: Cloud, listed: ListedJob, call: CallStatus | None) -> ListedJob:
    """A job whose container reported no end: its call may have ended without one."""
    job, now_s = listed.job, time.time()
    if call is not None and call.outcome == "answer" and call.answer is not None:
        return _from_answer(listed, call.answer, now_s)
    if call is not None and call.outcome in _ENDS:
        return replace(listed, job=_unanswered(cloud, listed, call, now_s), event=None)
    # Modal keeps calls and states for a week: without any trace it has ended long ago.
    is_old = job.created_s < now_s - contract.JOBS_KEPT_S
    if (call is not None and call.outcome == "expired") or (call is None and is_old):
        answer = load_result(cloud, job)
        if answer is not None:
            return _from_answer(listed, answer, now_s)
        failed = contract.Failed(code="E_EXPIRED", message=_FORGOTTEN)
        return replace(listed, job=_failed(job, failed, now_s, 0), event=None)
    return listed


def _from_answer(listed: ListedJob, answer: Mapping[str, Any], now_s: float) -> ListedJob:
    """The job as its call's answer tells."""
    if "owner" in answer:
        # Another call makes the video: the next look finds it.
        return listed
    match read_progress(answer["event"]):
        case contract.Done(result=result):
            return replace(listed, job=_done(listed.job, result, now_s), event=None)
        case contract.Failed() as failed:
            windows = listed.windows or 0
            return replace(listed, job=_failed(listed.job, failed, now_s, windows), event=None)
        case _:
            return listed


def _unanswered(cloud: Cloud, listed: ListedJob, call: CallStatus, now_s: float) -> Job:
    """A job whose call ended without an answer."""
    job = listed.job
    failed = failure_of(
        call,
        job.id,
        is_cancelled=cloud.is_cancelled(job.id),
        is_claimed=bool(cloud.owner(job.id, job.attempt)),
    )
    ended = _failed(job, failed, now_s, listed.windows or 0)
    # The same command makes another call.
    is_lost = ended.state == jobs_ledger.FAILED and failed.code in _RESUMED
    return replace(ended, state=jobs_ledger.LOST) if is_lost else ended
