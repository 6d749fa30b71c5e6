"""A job by its id: followed, fetched or cancelled, from the machine that made it or another."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multitalk_cli import contract
from multitalk_cli.cloud.client import Cloud
from multitalk_cli.cloud.errors import AppRef
from multitalk_cli.errors import FileError, RemoteError, UsageError, error_from_code
from multitalk_cli.files import is_safe_name
from multitalk_cli.jobs import cancel as jobs_cancel
from multitalk_cli.jobs import fetch as jobs_fetch
from multitalk_cli.jobs import follow
from multitalk_cli.jobs import ledger as jobs_ledger
from multitalk_cli.jobs.call import call_wire
from multitalk_cli.reporting.formatting import human_bytes, human_money
from multitalk_cli.storage.address import is_stored

if TYPE_CHECKING:
    from multitalk_cli.jobs.ledger import Job
    from multitalk_cli.reporting.reporter import Reporter


def find_job(cloud: Cloud, ledger: jobs_ledger.Ledger, prefix: str) -> Job:
    """The job whose id begins so: from the ledger, else from the index in the cloud.

    Raises UsageError E_NO_JOB where there is none, or several.
    """
    known = ledger.find(prefix)
    if known is not None:
        return known
    found = [
        entry
        for entry in cloud.indexed()
        if prefix and entry["id"].startswith(prefix) and contract.JOB_ID.fullmatch(entry["id"])
    ]
    if len(found) != 1:
        ids = ", ".join(entry["id"] for entry in found[:3])
        what = f"{prefix!r} fits several jobs: {ids}" if found else f"there is no job {prefix!r}"
        raise UsageError(what, code="E_NO_JOB", hint="multitalk jobs ls --remote")
    return job_of_entry(cloud.place, found[0])


def job_of_entry(place: AppRef, entry: Mapping[str, Any]) -> Job:
    """A job as another machine noted it. Its file goes to the current folder."""
    # The name comes from outside: nothing of it may lead to another folder.
    name = Path(str(entry["name"])).name
    target = str(Path.cwd() / name) if name else ""
    return jobs_ledger.Job(
        id=entry["id"],
        fingerprint="",
        app=place.app,
        environment=place.environment,
        stack=entry["stack"],
        gpu=entry["gpu"],
        seed=entry["seed"],
        target=target,
        label=entry["label"],
        recipe=entry["recipe"],
        state=jobs_ledger.RUNNING,
        created_s=entry["created_s"],
    )


def attach(place: AppRef, prefix: str, asked: str | None, force: bool, reporter: Reporter) -> None:
    """Follows a job to its end and writes its video."""
    cloud, ledger = Cloud.reachable(place), jobs_ledger.Ledger()
    job = newest_link(cloud, find_job(cloud, ledger, prefix))
    target = _target(job, asked, force)
    reporter.fact("job", f"{job.id}  {job.label}, {job.gpu}")
    if job.state == jobs_ledger.DONE:
        kept = _kept(cloud, ledger, job)
        _report(job, _written(kept, target, force, reporter), target, reporter)
        return

    def spawn(job: Job) -> str:
        return cloud.spawn(job.stack, job.gpu, call_wire(job, None, keep_inputs=False))

    follower = follow.Follower(cloud, ledger, reporter, job, spawn)
    try:
        _follow(follower, reporter)
        kept = follower.kept()
        result = _written(kept, target, force, reporter)
        jobs_fetch.check_stored(kept, target)
        _report(job, result, target, reporter)
    except follow.DetachedError as left:
        reporter.note(f"job {left.job_id} goes on; its video:  multitalk jobs attach {left.job_id}")
        reporter.succeed("jobs", {"job": left.job_id, "detached": True}, [left.job_id])


def newest_link(cloud: Cloud, job: Job) -> Job:
    """The job with its newest call, which another machine may have made."""
    link, call_id = job.link, job.call_id
    while owner := cloud.owner(job.id, link + (1 if call_id else 0)):
        link, call_id = link + (1 if call_id else 0), owner
    return replace(job, link=link, call_id=call_id)


def fetch(place: AppRef, prefix: str, asked: str | None, force: bool, reporter: Reporter) -> None:
    """Writes the video of a finished job."""
    cloud, ledger = Cloud.reachable(place), jobs_ledger.Ledger()
    job = find_job(cloud, ledger, prefix)
    target = _target(job, asked, force) or _target(job, _own_name(job), force)
    _report(job, _written(_kept(cloud, ledger, job), target, force, reporter), target, reporter)


def _own_name(job: Job) -> str:
    """What the file of a video is called that was only to be stored."""
    name = f"{Path(job.label).name}.mp4"
    return name if is_safe_name(name) else f"{job.id}.mp4"


def cancel(place: AppRef, prefix: str, reporter: Reporter) -> None:
    """Cancels a job and says whether its card is free."""
    cloud, ledger = Cloud.reachable(place), jobs_ledger.Ledger()
    job = newest_link(cloud, find_job(cloud, ledger, prefix))
    if job.state in (jobs_ledger.DONE, jobs_ledger.FAILED, jobs_ledger.CANCELLED):
        reporter.note(f"job {job.id} has ended already: {job.state}")
        reporter.succeed("jobs", {"job": job.id, "state": job.state}, [job.id])
        return
    state, is_free = jobs_cancel.cancel(cloud, ledger, job, reporter)
    reporter.succeed("jobs", {"job": job.id, "state": state, "confirmed": is_free}, [job.id])


def _target(job: Job, asked: str | None, force: bool) -> Path | None:
    """Where the video's file goes; None where it is only stored. Raises what is wrong with it."""
    if asked is None and (not job.target or is_stored(job.target)):
        return None
    target = Path(job.target)
    if asked is not None:
        name = target.name if target.name else _own_name(job)
        target = Path(asked) / name if Path(asked).is_dir() else Path(asked)
    if not target.parent.is_dir():
        raise FileError(
            f"the output's folder {str(target.parent)!r} does not exist",
            code="E_OUTPUT_PATH",
            hint=f"mkdir -p {shlex.quote(str(target.parent))}",
        )
    if target.exists() and not force and not _is_of(target, job):
        raise FileError(
            f"{str(target)!r} exists",
            code="E_OUTPUT_EXISTS",
            hint="add --force to overwrite it, or -o with another name",
        )
    return target


def _is_of(target: Path, job: Job) -> bool:
    """Whether the file is this job's video, so that writing it again loses nothing."""
    from multitalk_cli.media.video.recipe import read_recipe

    found, recipe = read_recipe(target), json.loads(job.recipe)
    return found is not None and {**found, **recipe} == found


def _kept(cloud: Cloud, ledger: jobs_ledger.Ledger, job: Job) -> jobs_fetch.FinishedJob:
    """A finished job. Raises RemoteError where it is none, or no longer kept."""
    answer = jobs_fetch.load_result(cloud, job.id)
    if answer is not None:
        return jobs_fetch.FinishedJob(cloud=cloud, ledger=ledger, job=job, answer=answer)
    if job.is_unfinished:
        raise RemoteError(
            f"job {job.id} is not finished",
            code="E_UNFINISHED",
            hint=f"multitalk jobs attach {job.id}",
        )
    raise RemoteError(f"the video of job {job.id} is no longer kept", code="E_EXPIRED")


def _written(
    kept: jobs_fetch.FinishedJob, target: Path | None, force: bool, reporter: Reporter
) -> contract.Result:
    """The result of a finished job, with its video written."""
    overwrite = force or (target is not None and target.exists())
    with reporter.progress() as progress:
        for event in jobs_fetch.fetch(kept, target, overwrite=overwrite):
            if isinstance(event, contract.Done):
                return event.result
            progress.show(event)
    raise RuntimeError("a transfer ended without a result")


def _follow(follower: follow.Follower, reporter: Reporter) -> None:
    """Shows a job until it ended well. Raises how else it ended."""
    with reporter.progress() as progress:
        for event in follower.events():
            progress.show(event, follower.spent_usd)
            if isinstance(event, contract.Failed):
                raise error_from_code(event.code, event.message, event.hint)


def _report(job: Job, result: contract.Result, target: Path | None, reporter: Reporter) -> None:
    money = [] if result.price_usd is None else [human_money(result.price_usd)]
    facts = [f"{result.duration_s:.2f} s", human_bytes(result.size_bytes), *money]
    path = result.stored if target is None else str(target.absolute())
    reporter.fact(job.label if target is None else target.name, ", ".join(facts))
    if target is not None and result.stored is not None:
        reporter.fact("stored", result.stored)
    data = {
        "output": path,
        "stored": result.stored,
        "job": job.id,
        "frames": result.frames,
        "fps": result.fps,
        "seed": result.seed,
        "gpu": result.gpu,
        "gpu_seconds": result.gpu_seconds,
        "price_usd": result.price_usd,
    }
    reporter.succeed("jobs", data, [job.id if path is None else path])
