"""Jobs as tables and facts: from the ledger alone, or with what the cloud knows."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from multitalk_cli import contract
from multitalk_cli.jobs import ledger
from multitalk_cli.reporting.formatting import human_duration, human_money

if TYPE_CHECKING:
    from collections.abc import Mapping

    from multitalk_cli.cloud.client import Cloud
    from multitalk_cli.cloud.errors import AppRef
    from multitalk_cli.jobs.ledger import Job

HEADER = ("id", "state", "age", "gpu", "price", "video")
STOPPED = "stopped"
"""Its call has ended, and nobody has followed it since; another call goes on."""
_ENDED = {
    "timeout": "ran out of time after window {windows}; multitalk jobs attach {job} goes on",
    "lost": "lost its container after window {windows}; multitalk jobs attach {job} says why",
    "ended": "ended after window {windows}; multitalk jobs attach {job} says why",
}
_SHOWN = ("id", "state", "label", "gpu", "stack", "seed", "price_usd", "target", "error", "link")


def local_rows(limit: int) -> list[dict[str, Any]]:
    """The ledger's jobs, the newest first."""
    return [_row(job) for job in ledger.Ledger().list(limit)]


def _row(job: Job) -> dict[str, Any]:
    fields = asdict(job)
    if job.result:
        fields["gpu"] = json.loads(job.result)["gpu"]
    return {name: fields[name] for name in _SHOWN} | {"created_s": job.created_s}


def remote_rows(place: AppRef, limit: int) -> list[dict[str, Any]]:
    """The jobs of all machines, with their newest state."""
    from multitalk_cli.cloud.client import Cloud
    from multitalk_cli.jobs.control import job_of_entry

    cloud = Cloud.reachable(place)
    entries = cloud.indexed()[:limit]
    known = {job.id: job for job in ledger.Ledger().list()}
    rows = []
    for entry in entries:
        job = known.get(entry["id"]) or job_of_entry(place, entry)
        rows.append({**_row(job), **_newest(cloud, job, cloud.state(job.id))})
    return rows


def _newest(cloud: Cloud, job: Job, state: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a job's newest state says, or that its call has ended without a word.

    Modal ends a call that takes too long, and a lost container writes nothing.
    """
    from multitalk_cli.jobs.control import newest_link

    seen = _seen(state)
    if state is None or seen["state"] != ledger.RUNNING:
        return seen
    call_id = newest_link(cloud, job).call_id
    ended = _ENDED.get(cloud.poll(call_id, 0).outcome) if call_id else None
    if ended is None:
        return seen
    return {"state": STOPPED, "doing": ended.format(windows=state["windows"], job=job.id)}


def _seen(state: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a job's newest state says of it."""
    if state is None:
        return {}
    event = contract.event_from_wire(state["event"])
    match event:
        case contract.Done():
            return {"state": ledger.DONE}
        case contract.Failed(code="E_CANCELLED"):
            return {"state": ledger.CANCELLED, "error": event.code}
        case contract.Failed():
            return {"state": ledger.FAILED, "error": event.code}
        case contract.Step():
            doing = f"window {event.window}/{event.windows} step {event.step}/{event.steps}"
            return {"state": ledger.RUNNING, "doing": doing}
        case _:
            return {"state": ledger.RUNNING, "doing": event.kind}


def describe(place: AppRef, prefix: str) -> dict[str, Any]:
    """Everything known of one job, the newest from the cloud."""
    from multitalk_cli.cloud.client import Cloud
    from multitalk_cli.jobs.control import find_job

    cloud = Cloud.reachable(place)
    job = find_job(cloud, ledger.Ledger(), prefix)
    state = cloud.state(job.id)
    facts = {**_row(job), "call": job.call_id, **_newest(cloud, job, state)}
    if state is not None:
        facts |= {"run_s": round(state["run_s"], 1), "windows_kept": state["windows"]}
    return facts


def columns(row: Mapping[str, Any]) -> tuple[str, ...]:
    """One line of the table."""
    age = human_duration(max(0.0, time.time() - row["created_s"]))
    price = "" if row["price_usd"] is None else human_money(row["price_usd"])
    state = row["state"] if not row["error"] else f"{row['state']} ({row['error']})"
    doing = f"  {row['doing']}" if row.get("doing") else ""
    return (row["id"], state + doing, age, row["gpu"], price, row["target"])
