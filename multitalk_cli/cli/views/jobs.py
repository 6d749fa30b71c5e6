"""Results of `multitalk jobs` as lines and JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from multitalk_cli import contract
from multitalk_cli.cli.layout import Block, Row, Table
from multitalk_cli.reporting.formatting import human_bytes, human_count, human_duration, human_money

if TYPE_CHECKING:
    from multitalk_cli.jobs.control import CancelledJob, FetchedVideo
    from multitalk_cli.jobs.listing import ListedJob

_TITLES = ("id", "state", "age", "gpu", "price", "video")
_LONG_COLUMNS = (_TITLES.index("video"), _TITLES.index("state"))
_STOPPED = {
    "timeout": "reached its time limit after window {windows}; resume: multitalk jobs attach {job}",
    "lost": "lost its container after window {windows}; reason: multitalk jobs attach {job}",
    "ended": "ended after window {windows}; reason: multitalk jobs attach {job}",
}


# ls and show


def list_data(jobs: Sequence[ListedJob]) -> dict[str, Any]:
    """The JSON of `jobs ls`."""
    return {"jobs": [_row(listed) for listed in jobs]}


def list_blocks(jobs: Sequence[ListedJob], now_s: float) -> list[Block]:
    """A table of jobs. now_s: seconds since 1970."""
    rows = [_columns(listed, now_s) for listed in jobs]
    return [Table(rows=rows, titles=_TITLES, below=_LONG_COLUMNS)] if jobs else []


def show_data(listed: ListedJob) -> dict[str, Any]:
    """The JSON of `jobs show`."""
    facts = {**_row(listed), "call": listed.job.call_id}
    if listed.run_s is not None:
        facts |= {"run_s": round(listed.run_s, 1), "windows_kept": listed.windows}
    return {"job": facts}


def show_blocks(listed: ListedJob, now_s: float) -> list[Block]:
    """All known facts of a job, one a line. now_s: seconds since 1970."""
    job, columns = listed.job, dict(zip(_TITLES, _columns(listed, now_s), strict=True))
    windows = "" if listed.windows is None else human_count(listed.windows, "finished window")
    facts = {
        **columns,
        "age": f"{columns['age']} ago",
        "run": "" if listed.run_s is None else human_duration(listed.run_s),
        "windows": f"{windows} kept" if windows else "",
        "stack": job.stack,
        "seed": str(job.seed),
        "call": job.call_id,
    }
    return [Row(name, value) for name, value in facts.items() if value]


def _row(listed: ListedJob) -> dict[str, Any]:
    job, doing = listed.job, _activity(listed)
    row = {
        "id": job.id,
        "state": job.state,
        "label": job.label,
        "gpu": json.loads(job.result)["gpu"] if job.result else job.gpu,
        "stack": job.stack,
        "seed": job.seed,
        "price_usd": job.price_usd,
        "target": job.target,
        "error": job.error,
        "link": job.attempt,
        "created_s": job.created_s,
    }
    return {**row, "doing": doing} if doing else row


def _activity(listed: ListedJob) -> str:
    """The current work of a job, or why it stopped; empty if it has ended or is unknown."""
    if listed.stopped is not None:
        return _STOPPED[listed.stopped].format(windows=listed.windows, job=listed.job.id)
    match listed.event:
        case None:
            return ""
        case contract.Step(window=window, windows=windows, step=step, steps=steps):
            return f"window {window}/{windows} step {step}/{steps}"
        case event:
            return event.kind


def _columns(listed: ListedJob, now_s: float) -> tuple[str, ...]:
    row = _row(listed)
    age = human_duration(max(0.0, now_s - row["created_s"]))
    price = "" if row["price_usd"] is None else human_money(row["price_usd"])
    state = row["state"] if not row["error"] else f"{row['state']} ({row['error']})"
    doing = f"  {row['doing']}" if "doing" in row else ""
    return (row["id"], state + doing, age, row["gpu"], price, row["target"])


# attach and fetch


def video_data(video: FetchedVideo) -> dict[str, Any]:
    """The JSON of `jobs attach` and `jobs fetch`."""
    result = video.result
    return {
        "output": _location(video),
        "stored": result.stored,
        "job": video.job.id,
        "frames": result.frames,
        "fps": result.fps,
        "seed": result.seed,
        "gpu": result.gpu,
        "gpu_seconds": result.gpu_seconds,
        "price_usd": result.price_usd,
    }


def video_facts(video: FetchedVideo) -> list[tuple[str, str]]:
    """Labelled facts of the video, for a person."""
    result, path = video.result, video.path
    money = [] if result.price_usd is None else [human_money(result.price_usd)]
    facts = [f"{result.duration_s:.2f} s", human_bytes(result.size_bytes), *money]
    rows = [(video.job.label if path is None else path.name, ", ".join(facts))]
    if path is not None and result.stored is not None:
        rows.append(("stored", result.stored))
    return rows


def video_lines(video: FetchedVideo) -> list[str]:
    """The path or address of the video."""
    location = _location(video)
    return [video.job.id if location is None else location]


def _location(video: FetchedVideo) -> str | None:
    return video.result.stored if video.path is None else str(video.path.absolute())


def detached_note(job_id: str) -> str:
    """The command that comes back to a job that the user detached from."""
    return f"job {job_id} is still running; get it with:  multitalk jobs attach {job_id}"


def detached_data(job_id: str) -> dict[str, Any]:
    """The JSON of a command that detached from its job."""
    return {"job": job_id, "detached": True}


# cancel


def cancelled_data(cancelled: CancelledJob) -> dict[str, Any]:
    """The JSON of `jobs cancel`."""
    data: dict[str, Any] = {"job": cancelled.job_id, "state": cancelled.state}
    if cancelled.is_confirmed is not None:
        data["confirmed"] = cancelled.is_confirmed
    return data
