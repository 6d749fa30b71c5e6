"""Results of `multitalk jobs` as lines and JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multitalk_cli import contract
from multitalk_cli.cli.dates import shown_time
from multitalk_cli.cli.layout import Block, Line, Row, Style, Table
from multitalk_cli.cli.views.generate import made_facts
from multitalk_cli.cli.views.work import describe_work, usd_per_second, work_data
from multitalk_cli.jobs import ledger as jobs_ledger
from multitalk_cli.jobs import schema, states
from multitalk_cli.reporting.formatting import (
    human_bytes,
    human_count,
    human_duration,
    human_length,
    human_money,
    human_rate,
)
from multitalk_cli.storage.address import is_stored

if TYPE_CHECKING:
    from multitalk_cli.jobs.control import FetchedVideo
    from multitalk_cli.jobs.ledger import Job
    from multitalk_cli.jobs.listing import JobList
    from multitalk_cli.jobs.refresh import ListedJob
    from multitalk_cli.jobs.search import Total

_TITLES = ("id", "started", "state", "price", "preset", "what", "inputs")
_PRICE, _PRESET, _WHAT, _INPUTS = 3, 4, 5, 6
_STATE_WORDS = {
    states.NOT_FETCHED: "done, not fetched",
    states.FILE_MISSING: "file missing",
    states.FIRST: "first window made",
}
_STYLES: dict[str, Style] = {
    states.FAILED: "red", states.STOPPED: "yellow", states.EXPIRED: "yellow",
    states.NOT_FETCHED: "yellow", states.FILE_MISSING: "yellow", states.CANCELLED: "dim",
}  # fmt: skip


# ls


def list_data(jobs: JobList, total: Total | None = None) -> dict[str, Any]:
    """The JSON of `jobs ls`."""
    data: dict[str, Any] = {"jobs": [_row(each) for each in jobs.jobs]}
    data["is_current"] = not jobs.problem
    return data if total is None else data | {"total": total_data(total)}


def total_data(total: Total) -> dict[str, Any]:
    """Jobs together as JSON."""
    return {
        "jobs": total.jobs,
        "gpu_seconds": round(total.gpu_seconds, 1),
        "price_usd": round(total.price_usd, 4),
        "unknown_prices": total.unknown,
    }


def list_blocks(jobs: Sequence[ListedJob], now_s: float, total: Total | None = None) -> list[Block]:
    """A table of jobs, and their sums; presets where they differ. now_s: seconds since 1970."""
    rows = [_columns(each, now_s) for each in jobs]
    presets = {row[_PRESET] for row in rows if row[_PRESET]}
    shown = [at for at in range(len(_TITLES)) if at != _PRESET or len(presets) > 1]
    texts = (_WHAT, _INPUTS)
    table = Table(
        rows=[[row[at] for at in shown] for row in rows],
        titles=[_TITLES[at] for at in shown],
        right=(_PRICE,),
        shortens=[shown.index(at) for at in texts],
        styles=[_STYLES.get(states.state_of(each.job), "") for each in jobs],
    )
    blocks: list[Block] = [table] if jobs else []
    return blocks if total is None else [*blocks, Line(total_text(total))]


def total_text(total: Total) -> str:
    """`12 jobs, 41 min of GPU, $4.20`."""
    parts = [human_count(total.jobs, "job"), f"{human_duration(total.gpu_seconds)} of GPU"]
    parts.append(human_money(total.price_usd))
    if total.unknown:
        parts.append(f"{human_count(total.unknown, 'price')} unknown")
    return ", ".join(parts)


def _columns(listed: ListedJob, now_s: float) -> tuple[str, ...]:
    job = listed.job
    return (
        job.id[: jobs_ledger.SHORT_ID],
        shown_time(job.created_s, now_s),
        _state_cell(listed),
        "" if job.price_usd is None else human_money(job.price_usd),
        schema.named_preset(job.request),
        _what(job),
        ", ".join(each.name for each in listed.inputs if each.name),
    )


def _state_cell(listed: ListedJob) -> str:
    """The state in a word, and how many windows of a running job are begun."""
    state = states.state_of(listed.job)
    match listed.event:
        case contract.Step(window=window, windows=windows):
            return f"{state} {window}/{windows}"
        case _:
            return state.replace("-", " ")


def state_text(listed: ListedJob) -> str:
    """The state in words, with what a running job does and why another ended."""
    job = listed.job
    state = states.state_of(job)
    words = _STATE_WORDS.get(state, state)
    doing = _activity(listed)
    if state in (states.FAILED, states.STOPPED) and job.error:
        doing = job.error
    return f"{words}, {doing}" if doing else words


def _activity(listed: ListedJob) -> str:
    """The current work of a job; empty if it has ended or is unknown."""
    match listed.event:
        case None:
            return ""
        case contract.Step(window=window, windows=windows, step=step, steps=steps):
            return f"window {window}/{windows} step {step}/{steps}"
        case contract.Stage(name=name):
            return name
        case event:
            return event.kind


def _what(job: Job) -> str:
    """The video's path as short as it can be, or what another call did."""
    if job.kind != jobs_ledger.GENERATE:
        return job.kind if job.label in ("", job.kind) else f"{job.kind} {job.label}"
    return short_path(job.target) if job.target else job.label


def short_path(path: str) -> str:
    """A path for a person: below the current folder or the home folder where it is there."""
    if is_stored(path):
        return path
    for folder, start in ((Path.cwd(), ""), (Path(os.path.expanduser("~")), "~/")):  # noqa: PTH111
        if Path(path).is_relative_to(folder) and Path(path) != folder:
            return start + str(Path(path).relative_to(folder))
    return path


def _row(listed: ListedJob) -> dict[str, Any]:
    job, doing = listed.job, _activity(listed)
    row = {
        "id": job.id,
        "kind": job.kind,
        "state": states.state_of(job),
        "label": job.label,
        "gpu": json.loads(job.result).get("gpu", job.gpu) if job.result else job.gpu,
        "stack": job.stack,
        "preset": schema.named_preset(job.request) or None,
        "seed": job.seed,
        "gpu_seconds": None if job.gpu_seconds is None else round(job.gpu_seconds, 1),
        "price_usd": None if job.price_usd is None else round(job.price_usd, 6),
        "target": job.target,
        "inputs": [{"sha256": each.sha256, "location": each.location} for each in listed.inputs],
        "error": job.error,
        "link": job.attempt,
        "created_s": job.created_s,
        "started_s": job.started_s,
        "ended_s": job.ended_s,
    }
    return {**row, "doing": doing} if doing else row


# show


def show_data(listed: ListedJob) -> dict[str, Any]:
    """The JSON of `jobs show`."""
    job, recipe = listed.job, _recipe(listed.job)
    facts = {
        **_row(listed),
        "prompt": job.prompt or None,
        "size": recipe.get("size"),
        "frames": recipe.get("frames"),
        "fps": recipe.get("fps"),
        "steps": recipe.get("sample_steps"),
        **({} if job.kind != jobs_ledger.GENERATE else work_data(_computed(job))),
        "error_message": job.error_text or None,
        "call": job.call_id,
        "calls": list(listed.calls),
    }
    if job.gpu_seconds is not None:
        facts["run_s"] = round(job.gpu_seconds, 1)
    if job.result and job.price_usd is not None:
        facts["usd_per_second"] = _per_second(job)
    if listed.windows is not None:
        facts["windows_kept"] = listed.windows
    return {"job": facts, "is_current": listed.is_current}


def show_blocks(listed: ListedJob, now_s: float) -> list[Block]:
    """What a person asks about a job, one fact a line. now_s: seconds since 1970."""
    rows = [("job", listed.job.id), ("state", _state_sentence(listed))]
    rows += _video_rows(listed) + _money_rows(listed.job, now_s)
    if len(listed.calls) > 1 or states.state_of(listed.job) in (states.FAILED, states.STOPPED):
        rows.append(("calls", ", ".join(listed.calls)))
    return [Row(name, value) for name, value in rows if value]


def _state_sentence(listed: ListedJob) -> str:
    reason = listed.job.error_text
    return state_text(listed) + (f": {reason}" if reason else "")


def next_step(listed: ListedJob) -> str:
    """The command that a job in this state asks for; empty for one that needs none."""
    short = listed.job.id[: jobs_ledger.SHORT_ID]
    if listed.job.kind != jobs_ledger.GENERATE:
        return ""
    state = states.state_of(listed.job)
    is_stopped = state == states.STOPPED and listed.job.first == jobs_ledger.MADE
    if state == states.FIRST or is_stopped:
        return finish_command(listed.job)
    steps = {
        states.QUEUED: "attach",
        states.RUNNING: "attach",
        states.NOT_FETCHED: "fetch",
        states.FILE_MISSING: "fetch",
        states.STOPPED: "rerun",
        states.EXPIRED: "rerun",
        states.CANCELLED: "rerun",
        states.FAILED: "logs",
    }
    step = steps.get(state)
    return "" if step is None else f"multitalk jobs {step} {short}"


def finish_command(job: Job) -> str:
    """The command that makes the rest of a first window."""
    return f"multitalk finish {job.id[: jobs_ledger.SHORT_ID]}"


def _video_rows(listed: ListedJob) -> list[tuple[str, str]]:
    job, recipe = listed.job, _recipe(listed.job)
    if job.kind != jobs_ledger.GENERATE:
        return [("what", _what(job)), ("gpu", job.gpu)]
    names = ["picture", "voice"] if len(listed.inputs) < 3 else ["picture", "voice 1", "voice 2"]
    places = [short_path(each.location) for each in listed.inputs]
    return [
        ("video", _describe_video(job)),
        *((name, place) for name, place in zip(names, places, strict=False)),
        ("prompt", job.prompt),
        ("size", _describe_size(recipe, listed.windows)),
        ("preset", schema.named_preset(job.request)),
        ("work", describe_work(_computed(job)) if recipe else ""),
        ("seed", f"{job.seed}{' (random)' if recipe.get('seed_drawn') else ''}"),
        ("gpu", _row(listed)["gpu"] + (f", {job.stack}" if job.stack != "current" else "")),
    ]


def _describe_video(job: Job) -> str:
    result = json.loads(job.result) if job.result else {}
    place = short_path(job.target) if job.target else job.label
    length = human_length(result["frames"] / result["fps"]) if result else ""
    size = human_bytes(result["size_bytes"]) if result else ""
    stored = result.get("stored")
    parts = [place, length, size, "" if stored in (None, job.target) else str(stored)]
    return ", ".join(part for part in parts if part)


def _describe_size(recipe: dict[str, Any], kept: int | None) -> str:
    if "size" not in recipe:
        return ""
    width, height = recipe["size"]
    windows = len(recipe.get("windows", ()))
    text = f"{width}x{height}, {recipe['frames']} frames at {recipe['fps']} fps"
    text += f", {human_count(windows, 'window')}" if windows else ""
    return text if not kept else f"{text}, {kept} finished"


def _per_second(job: Job) -> float | None:
    """Dollars for a second of the job's video; None where it has none, or no price."""
    if not job.result:
        return None
    made = json.loads(job.result)
    return usd_per_second(job.price_usd, made["frames"] / made["fps"])


def _money_rows(job: Job, now_s: float) -> list[tuple[str, str]]:
    waited = ""
    if job.started_s is not None:
        waited = f"waited {human_duration(max(0.0, job.started_s - job.created_s))}"
    took = ""
    if job.ended_s is not None and job.started_s is not None:
        took = f"took {human_duration(max(0.0, job.ended_s - job.started_s))}"
    is_over = job.ended_s is not None
    price = "" if job.price_usd is None else human_money(job.price_usd)
    gpu_time = "" if job.gpu_seconds is None else f"{human_duration(job.gpu_seconds)} of GPU"
    per_s = _per_second(job)
    each = "" if per_s is None else f"{human_rate(per_s)} a second of video"
    money = ", ".join(part for part in (price, gpu_time, each) if part)
    return [
        ("created", shown_time(job.created_s, now_s)),
        ("started", _moment(job.started_s, now_s, waited)),
        ("ended", _moment(job.ended_s, now_s, took)),
        ("price", money if is_over or not money else f"{money} so far"),
    ]


def _moment(seconds: float | None, now_s: float, detail: str) -> str:
    if seconds is None:
        return ""
    return f"{shown_time(seconds, now_s)}{f', {detail}' if detail else ''}"


def _computed(job: Job) -> dict[str, Any]:
    """The job's recipe, and of one that ended what its run added."""
    made = json.loads(job.result).get("recipe", "{}") if job.result else "{}"
    return {**_recipe(job), **json.loads(made)}


def _recipe(job: Job) -> dict[str, Any]:
    return dict(json.loads(job.recipe)) if job.recipe else {}


# attach and fetch


def video_data(video: FetchedVideo) -> dict[str, Any]:
    """The JSON of `jobs attach` and of `jobs fetch` of one job."""
    result = video.result
    return {
        "output": video_location(video),
        "stored": result.stored,
        "job": video.job.id,
        "frames": result.frames,
        "fps": result.fps,
        "seed": result.seed,
        "gpu": result.gpu,
        "gpu_seconds": result.gpu_seconds,
        "price_usd": result.price_usd,
        **({"first_window": True} if result.is_first_window else {}),
    }


def video_facts(video: FetchedVideo) -> list[tuple[str, str]]:
    """Labelled facts of the video, for a person."""
    result, path = video.result, video.path
    whole = f"{_whole_s(video.job):.2f} s" if result.is_first_window else ""
    rows = made_facts(video.job.label if path is None else path.name, result, whole)
    if path is not None and result.stored is not None:
        rows.append(("stored", result.stored))
    return rows


def _whole_s(job: Job) -> float:
    """The length of the whole video of a first window."""
    recipe = _recipe(job)
    return contract.seconds_from_frames(recipe["frames"], recipe["fps"])


def video_lines(video: FetchedVideo) -> list[str]:
    """The path or address of the video."""
    location = video_location(video)
    return [video.job.id if location is None else location]


def video_location(video: FetchedVideo) -> str | None:
    """The path or address of a video; None for one that is nowhere any more."""
    return video.result.stored if video.path is None else str(video.path.absolute())


def detached_note(job_id: str) -> tuple[str, str]:
    """That a job goes on without its user, and the command that comes back to it."""
    job = job_id[: jobs_ledger.SHORT_ID]
    return f"job {job} is still running", f"multitalk jobs attach {job}"


def detached_data(job_id: str) -> dict[str, Any]:
    """The JSON of a command that detached from its job."""
    return {"job": job_id, "detached": True}


def end_line(listed: ListedJob) -> str:
    """A line for a job that has just ended."""
    job = listed.job
    money = "" if job.price_usd is None else f", {human_money(job.price_usd)}"
    return f"job {job.id[: jobs_ledger.SHORT_ID]} {state_text(listed)}{money}: {_what(job)}"


def prune_text(total: Total) -> str:
    """`12 jobs that cost $4.20`."""
    return f"{human_count(total.jobs, 'job')} that cost {human_money(total.price_usd)}"
