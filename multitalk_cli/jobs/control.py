"""A job by its id: followed, fetched or cancelled, from the machine that started it or another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multitalk_cli import contract
from multitalk_cli.cloud.call_result import to_error
from multitalk_cli.cloud.client import Cloud
from multitalk_cli.cloud.errors import AppRef
from multitalk_cli.cloud.follow import wait_for_end
from multitalk_cli.errors import (
    FileError,
    MultitalkError,
    RemoteError,
    SetupError,
    TemporaryError,
    UsageError,
)
from multitalk_cli.files import is_safe_name
from multitalk_cli.jobs import cancel as jobs_cancel
from multitalk_cli.jobs import fetch as jobs_fetch
from multitalk_cli.jobs import follow
from multitalk_cli.jobs import ledger as jobs_ledger
from multitalk_cli.jobs.call import call_wire, latest_attempt
from multitalk_cli.jobs.refresh import refresh, state_key
from multitalk_cli.jobs.states import state_of
from multitalk_cli.media.video.names import PREVIEW_SUFFIX, SUFFIX, check_name, first_of
from multitalk_cli.storage.address import is_stored

if TYPE_CHECKING:
    from multitalk_cli.jobs.ledger import Job
    from multitalk_cli.reporting.reporter import Reporter


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedVideo:
    """The video of a finished job. path: its file; None where it is only stored."""

    job: Job
    result: contract.Result
    path: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelledJob:
    """A job that ended. is_confirmed: whether Modal confirmed it; None where it ended earlier."""

    job_id: str
    state: str
    is_confirmed: bool | None


def open_job(place: AppRef, ledger: jobs_ledger.Ledger, prefix: str) -> tuple[Cloud, Job]:
    """The app in the account, and the job whose id has this prefix.

    place: of a job that the ledger lacks; another is where it was started. Raises as `find_job`,
    SetupError without a token, TemporaryError offline.
    """
    known = ledger.find(prefix)
    if known is not None:
        place = AppRef(app=known.app, environment=known.environment)
    try:
        cloud = Cloud.reachable(place)
    except SetupError as error:
        if error.code == "E_NO_TOKEN" and known is None:
            raise UsageError(
                f"no job {prefix!r} on this machine, and no Modal token to look in the account",
                code="E_NO_JOB",
                facts={"job_prefix": prefix, "is_local": True},
            ) from None
        raise
    return cloud, find_job(cloud, ledger, prefix)


def find_job(cloud: Cloud, ledger: jobs_ledger.Ledger, prefix: str) -> Job:
    """The job whose id has this prefix: from the ledger, else from the index in the cloud.

    Raises UsageError E_NO_JOB where none or several have it.
    """
    known = ledger.find(prefix)
    if known is not None:
        return known
    found = [
        entry
        for entry in cloud.indexed()
        if prefix and entry["id"].startswith(prefix) and contract.JOB_ID.fullmatch(entry["id"])
    ]
    if len(found) == 1:
        return job_from_entry(cloud.place, found[0])
    ids = ", ".join(entry["id"] for entry in found[:3])
    what = f"{prefix!r} matches several jobs: {ids}" if found else f"there is no job {prefix!r}"
    raise UsageError(what, code="E_NO_JOB", facts={"job_prefix": prefix})


def job_from_entry(place: AppRef, entry: Mapping[str, Any]) -> Job:
    """A job that another machine recorded in the index. Its file goes to the current folder."""
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
        first=str(entry.get("first", "")),
    )


def attach(
    place: AppRef, prefix: str, output: str | None, force: bool, reporter: Reporter
) -> FetchedVideo:
    """Follows a job to its end and writes its video.

    output: file or folder in place of the job's own. Raises DetachedError where the user leaves.
    """
    ledger = jobs_ledger.Ledger()
    cloud, found = open_job(place, ledger, prefix)
    require_video(found)
    job = latest_attempt(cloud, found)
    target = target_of(job, output, force)
    reporter.fact("job", f"{job.id}  {job.label}, {job.gpu}")
    if job.state in (jobs_ledger.DONE, jobs_ledger.EXPIRED, jobs_ledger.FIRST):
        finished = _find_finished(cloud, ledger, job)
        target = target_of(finished.job, output, force)
        return _write(finished, _place(finished, target, force), force, reporter)

    def spawn(job: Job) -> str:
        _require_inputs(cloud, ledger, job)
        return cloud.spawn(job.stack, job.gpu, call_wire(job, None, keep_inputs=False))

    return follow_to_file(
        follow.Follower(cloud, ledger, reporter, job, spawn), target, force, reporter
    )


def follow_to_file(
    follower: follow.Follower, target: Path | None, force: bool, reporter: Reporter
) -> FetchedVideo:
    """Follows a job to its end and writes its video. Raises the error that it ends with.

    target: None for a video that is only stored, or was for stdout.
    """
    with reporter.progress() as progress, closing(follower.events()) as events:
        for event in events:
            progress.show(event, follower.spent_usd)
            if isinstance(event, contract.Failed):
                raise to_error(
                    event, {"app": follower.job.app, "environment": follower.job.environment}
                )
    finished = follower.finished()
    target = _place(finished, target, force)
    video = _write(finished, target, force, reporter)
    jobs_fetch.check_stored(finished, target)
    return video


def require_video(job: Job) -> None:
    """Raises UsageError for a call that makes no video."""
    if job.kind != jobs_ledger.GENERATE:
        raise UsageError(
            f"job {job.id} is a {job.kind}, which makes no video",
            code="E_NO_JOB",
            hint=f"multitalk jobs show {job.id[: jobs_ledger.SHORT_ID]}",
        )


def _require_inputs(cloud: Cloud, ledger: jobs_ledger.Ledger, job: Job) -> None:
    """Raises RemoteError E_START for a job whose command died before it sent the inputs."""
    kept = cloud.sizes(contract.JOBS_VOLUME, job.id) if job.attempt == 0 else None
    if job.attempt == 0 and contract.INPUTS_FILE not in (kept or {}):
        text = "its command ended before the inputs were sent"
        ledger.update(job.id, state=jobs_ledger.FAILED, error="E_START", error_text=text)
        raise RemoteError(
            f"job {job.id} was never started: {text}",
            code="E_START",
            hint=f"multitalk jobs rerun {job.id[: jobs_ledger.SHORT_ID]}",
        )


def fetch(
    place: AppRef, prefix: str, output: str | None, force: bool, reporter: Reporter
) -> FetchedVideo:
    """Writes the video of a finished job. output: file or folder in place of the job's own."""
    ledger = jobs_ledger.Ledger()
    cloud, job = open_job(place, ledger, prefix)
    return _fetch(cloud, ledger, job, output, force, reporter)


def _fetch(
    cloud: Cloud,
    ledger: jobs_ledger.Ledger,
    job: Job,
    output: str | None,
    force: bool,
    reporter: Reporter,
) -> FetchedVideo:
    require_video(job)
    finished = _find_finished(cloud, ledger, job)
    target = target_of(finished.job, output, force)
    if target is None:
        target = target_of(finished.job, _default_name(finished.job), force)
    return _write(finished, target, force, reporter)


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchOutcome:
    """What became of one of several jobs: its video, or the error."""

    job: Job
    video: FetchedVideo | None = None
    error: MultitalkError | None = None


def fetch_many(
    jobs: Sequence[Job], output: str | None, force: bool, reporter: Reporter
) -> list[FetchOutcome]:
    """Writes the videos of several finished jobs; one that cannot be written stops no other.

    output: a folder in place of the jobs' own. Raises SetupError, TemporaryError offline.
    """
    ledger, clouds = jobs_ledger.Ledger(), {}
    outcomes = []
    for job in jobs:
        place = AppRef(app=job.app, environment=job.environment)
        if place not in clouds:
            clouds[place] = Cloud.reachable(place)
        try:
            video = _fetch(clouds[place], ledger, job, output, force, reporter)
            outcomes.append(FetchOutcome(job=job, video=video))
        except TemporaryError:
            raise
        except MultitalkError as error:
            reporter.warn(f"job {job.id}: {error.message}")
            outcomes.append(FetchOutcome(job=job, error=error))
    return outcomes


def _words(job: Job) -> str:
    return state_of(job).replace("-", " ")


def cancel(place: AppRef, prefix: str, reporter: Reporter) -> CancelledJob:
    """Cancels a job and waits until its GPU is free."""
    ledger = jobs_ledger.Ledger()
    cloud, found = open_job(place, ledger, prefix)
    if found.kind != jobs_ledger.GENERATE:
        return _cancel_call(cloud, ledger, found, reporter)
    job = latest_attempt(cloud, found)
    if not job.is_unfinished:
        reporter.note(f"job {job.id} has already ended: {_words(job)}")
        return CancelledJob(job_id=job.id, state=state_of(job), is_confirmed=None)
    state, is_confirmed = jobs_cancel.cancel(cloud, ledger, job, reporter)
    return CancelledJob(job_id=job.id, state=state, is_confirmed=is_confirmed)


def _cancel_call(
    cloud: Cloud, ledger: jobs_ledger.Ledger, job: Job, reporter: Reporter
) -> CancelledJob:
    """Cancels a call that makes no video."""
    newest = refresh(cloud, ledger, job).job
    if not newest.is_unfinished or not newest.call_id:
        reporter.note(f"job {job.id} has already ended: {_words(newest)}")
        return CancelledJob(job_id=job.id, state=state_of(newest), is_confirmed=None)
    cloud.cancel(state_key(newest), newest.call_id)
    ended = wait_for_end(cloud, newest.call_id, lambda: False)
    ledger.update(job.id, state=jobs_ledger.CANCELLED)
    return CancelledJob(job_id=job.id, state=jobs_ledger.CANCELLED, is_confirmed=ended is not None)


def _default_name(job: Job) -> str:
    """A file name for a video that was only to be stored."""
    stem = Path(job.label).name.removesuffix(PREVIEW_SUFFIX.removesuffix(SUFFIX))
    name = f"{stem}{SUFFIX}"
    name = first_of(Path(name)).name if job.is_first else name
    return name if is_safe_name(name) else f"{job.id}{SUFFIX}"


def target_of(job: Job, output: str | None, force: bool) -> Path | None:
    """The path of the video's file; None where it is only stored.

    Raises UsageError for a name that is no video's, FileError for a place that cannot be used.
    """
    if output is None and (not job.target or is_stored(job.target)):
        return None
    target = Path(job.target)
    if job.is_first and job.target:
        target = first_of(target)
    if output is not None:
        name = target.name if target.name else _default_name(job)
        is_folder = output.endswith("/") or Path(output).is_dir()
        target = Path(output) / name if is_folder else Path(output)
        check_name(target, Path(_default_name(job)).stem)
    if not target.parent.is_dir():
        folder = str(target.parent)
        raise FileError(
            f"the output's folder {folder!r} does not exist",
            code="E_OUTPUT_PATH",
            facts={"missing_folder": folder},
        )
    if (
        target.exists()
        and not force
        and not jobs_fetch.is_video_of(target, job, first=job.is_first)
    ):
        raise FileError(
            f"{str(target)!r} exists",
            code="E_OUTPUT_EXISTS",
            hint="add --force to overwrite it, or -o with another name",
        )
    return target


def _place(finished: jobs_fetch.FinishedJob, target: Path | None, force: bool) -> Path | None:
    """The path of a finished job's video: a default name where it was for stdout alone."""
    if target is not None or finished.is_for_store:
        return target
    return target_of(finished.job, _default_name(finished.job), force)


def _find_finished(cloud: Cloud, ledger: jobs_ledger.Ledger, job: Job) -> jobs_fetch.FinishedJob:
    """A finished job with its answer. Raises RemoteError where it has no video, or none is kept."""
    short = job.id[: jobs_ledger.SHORT_ID]
    answer: Mapping[str, Any] | None = jobs_fetch.load_result(cloud, job)
    path = None
    if answer is None:
        copied = jobs_fetch.copied_video(job)
        if copied is not None:
            answer, path = copied.answer, copied.path
    if answer is not None:
        finished = jobs_fetch.FinishedJob(
            cloud=cloud, ledger=ledger, job=job, answer=answer, copied=path
        )
        if job.is_first and not finished.done.result.is_first_window:
            # Another machine has made the rest.
            return replace(finished, job=replace(job, state=jobs_ledger.DONE, first=""))
        return finished
    if job.state in (jobs_ledger.SPAWNING, jobs_ledger.RUNNING):
        raise RemoteError(
            f"job {job.id} is not finished", code="E_UNFINISHED", facts={"job": job.id}
        )
    if job.state in (jobs_ledger.FAILED, jobs_ledger.CANCELLED, jobs_ledger.LOST):
        ended = "stopped" if job.state == jobs_ledger.LOST else job.state
        message = f"job {job.id} made no video: {ended}{f' ({job.error})' if job.error else ''}"
        raise RemoteError(message, code="E_UNFINISHED", hint=f"multitalk jobs rerun {short}")
    if job.fetched_s is None:
        ledger.update(job.id, state=jobs_ledger.EXPIRED)
    raise RemoteError(
        f"the video of job {job.id} is no longer kept",
        code="E_EXPIRED",
        hint=f"multitalk jobs rerun {short}",
    )


def _write(
    finished: jobs_fetch.FinishedJob, target: Path | None, force: bool, reporter: Reporter
) -> FetchedVideo:
    """The video of a finished job, written at `target`."""
    with reporter.progress() as progress:
        for event in jobs_fetch.fetch(finished, target, overwrite=force):
            if isinstance(event, contract.Done):
                return FetchedVideo(job=finished.job, result=event.result, path=target)
            progress.show(event)
    raise RuntimeError("a transfer ended without a result")
