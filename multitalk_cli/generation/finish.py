"""The rest of videos whose first window was made alone: found, priced, started, delivered."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multitalk_cli.cloud.errors import AppRef
from multitalk_cli.errors import MultitalkError, RefusedError, RemoteError, UsageError
from multitalk_cli.generation.output_path import recorded_path, write_sidecar
from multitalk_cli.generation.quality_gate import require_quality
from multitalk_cli.generation.result import FirstWindow, Video
from multitalk_cli.jobs import first as jobs_first
from multitalk_cli.jobs import ledger as jobs_ledger
from multitalk_cli.jobs import states
from multitalk_cli.jobs.call import call_wire, latest_attempt
from multitalk_cli.jobs.control import (
    FetchedVideo,
    FetchOutcome,
    fetch_many,
    follow_to_file,
    open_job,
    require_video,
    target_of,
)
from multitalk_cli.jobs.experience import read_experience, setup_of
from multitalk_cli.jobs.follow import Follower
from multitalk_cli.jobs.refresh import refresh
from multitalk_cli.jobs.spawning import spawn_lock
from multitalk_cli.jobs.wait import wait
from multitalk_cli.planning import cost, describe, gpus, rates, windows
from multitalk_cli.planning.cost import Estimate
from multitalk_cli.reporting.formatting import human_count, human_money

if TYPE_CHECKING:
    from multitalk_cli.cloud.client import Cloud
    from multitalk_cli.jobs.ledger import Job, Ledger
    from multitalk_cli.planning.windows import Plan
    from multitalk_cli.reporting.reporter import Reporter


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Unfinished:
    """A job whose rest is to be made. target: the file of the whole video, None without one.

    rest, estimate: None for one that another command finishes already, for which nothing is paid.
    """

    cloud: Cloud
    job: Job
    target: Path | None
    rest: Plan | None
    estimate: Estimate | None

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of its first command, as far as this machine has recorded them."""
        body = json.loads(self.job.request) if self.job.request else {}
        return dict(body.get("settings", {}))


def find_unfinished(place: AppRef, prefix: str, output: str | None, *, force: bool) -> Unfinished:
    """The job whose id has this prefix, ready to be finished.

    output: file or folder in place of the job's own. Raises for a job without a first window or
    without a rest, and for a target that cannot be written, before anything is paid.
    """
    ledger = jobs_ledger.Ledger()
    cloud, found = open_job(place, ledger, prefix)
    require_video(found)
    job = latest_attempt(cloud, found)
    if job.is_unfinished or job.attempt > found.attempt:
        job = refresh(cloud, ledger, replace(job, state=jobs_ledger.RUNNING)).job
    is_running = _is_running(job)
    jobs_first.require_whole(job)
    is_finished_elsewhere = is_running and job.first == jobs_ledger.MADE
    if not is_finished_elsewhere:
        _require_first(cloud, job)
    target = target_of(replace(job, state=jobs_ledger.RUNNING, first=""), output, force)
    _require_free(ledger, job, target, force=force)
    if is_finished_elsewhere:
        return Unfinished(cloud=cloud, job=job, target=target, rest=None, estimate=None)
    job = replace(job, gpu=_same_gpu(job))
    made = 1 if job.state == jobs_ledger.FIRST else _windows_kept(cloud, job)
    rest = plan_of(job).after(made)
    return Unfinished(cloud=cloud, job=job, target=target, rest=rest, estimate=_estimate(job, rest))


def _is_running(job: Job) -> bool:
    return job.state in (jobs_ledger.SPAWNING, jobs_ledger.RUNNING)


def _require_first(cloud: Cloud, job: Job) -> None:
    """Raises UsageError E_NOT_FIRST, RemoteError E_EXPIRED with the command that helps instead."""
    short = job.id[: jobs_ledger.SHORT_ID]
    is_stopped = job.state == jobs_ledger.LOST and job.first == jobs_ledger.MADE
    if job.state == jobs_ledger.FIRST or is_stopped:
        if jobs_first.can_be_finished(cloud, job):
            return
        raise RemoteError(
            f"the first window of job {job.id} is no longer kept",
            code="E_EXPIRED",
            hint=f"multitalk jobs rerun {short}",
        )
    state = states.state_of(job)
    what = "is being made whole" if _is_running(job) else f"is {state.replace('-', ' ')}"
    steps = {
        states.QUEUED: "attach",
        states.RUNNING: "attach",
        states.DONE: "show",
        states.NOT_FETCHED: "fetch",
        states.FILE_MISSING: "fetch",
    }
    raise UsageError(
        f"job {job.id} has no rest to make: its video {what}",
        code="E_NOT_FIRST",
        hint=f"multitalk jobs {steps.get(state, 'rerun')} {short}",
    )


def _require_free(ledger: Ledger, job: Job, target: Path | None, *, force: bool) -> None:
    """Raises FileError E_OUTPUT_TAKEN where another job is to write there."""
    if target is None or force:
        return
    path = recorded_path(target)
    for holder in ledger.holders(path, [job.fingerprint]):
        raise jobs_ledger.taken(path, holder)


def _same_gpu(job: Job) -> str:
    """The kind of GPU that made the first window, on which the rest fits it exactly."""
    if job.gpu != gpus.AUTO or not job.result:
        return job.gpu
    return str(json.loads(job.result).get("gpu") or job.gpu)


def _windows_kept(cloud: Cloud, job: Job) -> int:
    state = cloud.state(job.id)
    return 1 if state is None else max(1, int(state["windows"]))


def plan_of(job: Job) -> Plan:
    """The plan of a job from its recipe, without its inputs."""
    plan = windows.plan_of_recipe(json.loads(job.recipe))
    if plan is None:
        raise ValueError(f"job {job.id} has a recipe without windows")
    return plan


def _estimate(job: Job, rest: Plan) -> Estimate:
    known = read_experience(job.app, job.environment)
    return cost.estimate_cost(rest, rates.load(), job.gpu, setup_of(job), known)


# The price


def agree(found: Sequence[Unfinished], max_cost: float | None, reporter: Reporter) -> None:
    """Reports the price of all rests, and asks or refuses where it is high.

    max_cost: of each of them. Raises RefusedError.
    """
    priced = [(each, each.estimate) for each in found if each.estimate is not None]
    if not priced:
        reporter.fact("price", "nothing more: another command is finishing it")
        return
    estimates = [estimate for _, estimate in priced]
    most_usd = sum(each.price_usd for each in estimates)
    if len(estimates) == 1:
        reporter.fact("price", describe.describe_price(estimates[0], rates.load()))
    else:
        least_usd = sum(each.price_least_usd for each in estimates)
        about = describe.money_range(least_usd, most_usd)
        reporter.fact("price", f"{about} for the rest of {human_count(len(priced), 'video')}")
    asks = most_usd > cost.ASK_ABOVE_USD and max_cost is None
    for each, estimate in priced:
        assert each.rest is not None
        asks |= cost.check_cost(each.rest, estimate, max_cost, interactive=True).action == "ask"
    if not asks:
        return
    about = f"up to {human_money(most_usd)} for the rest of {human_count(len(priced), 'video')}"
    if not reporter.can_ask:
        dearest_usd = max(each.price_usd for each in estimates)
        raise RefusedError(
            f"{about} needs --max-cost, for each of them",
            code="E_COST",
            facts={"enough_usd": math.ceil(dearest_usd * 10 + 1e-9) / 10, "cheaper": ()},
        )
    if not reporter.confirm(f"{about}. Continue?"):
        raise RefusedError("nothing was started or paid", code="E_DECLINED")


# The rest itself


def start(found: Unfinished, max_cost: float | None, reporter: Reporter) -> Follower:
    """Makes the call for the rest, unless another command has; the job as it is followed."""
    cloud, ledger, job = found.cloud, jobs_ledger.Ledger(), found.job
    options = found.settings
    parameters = options.get("persistent_params")

    def spawn(job: Job) -> str:
        wire = call_wire(
            job,
            None,
            keep_inputs=bool(options.get("keep_inputs")),
            persistent_params=None if parameters is None else int(parameters),
            most_s=jobs_first.seconds_left(job, max_cost),
        )
        return cloud.spawn(job.stack, job.gpu, wire)

    if found.estimate is not None:
        with spawn_lock(ledger.folder, job.id):
            place = "" if found.target is None else str(found.target.absolute())
            known = ledger.get(job.id)
            if known is None:
                # Of another machine: from now on this one has it too.
                ledger.add(job)
            resumed = jobs_first.resume(
                cloud, ledger, job, first=False, gpu=job.gpu, target=place, fetched_s=None
            )
            if resumed is not None:
                reporter.fact("job", f"{job.id}, {gpus.find_gpu(job.gpu).name}")
                follower = Follower(cloud, ledger, reporter, resumed, spawn)
                follower.start("" if found.target is None else found.target.name)
                return follower
        job = ledger.get(job.id) or job
    reporter.note(f"job {job.id} is already being finished; nothing more is paid")
    return Follower(cloud, ledger, reporter, job, spawn)


def finish(
    found: Unfinished, max_cost: float | None, reporter: Reporter, *, force: bool
) -> FetchedVideo:
    """Makes the rest of one video, and writes the whole. Raises the error that it ends with."""
    follower = start(found, max_cost, reporter)
    return deliver(found, follower, reporter, force=force)


def deliver(
    found: Unfinished, follower: Follower, reporter: Reporter, *, force: bool
) -> FetchedVideo:
    """Follows a rest to its end, and writes the whole video."""
    video = follow_to_file(follower, found.target, force, reporter)
    _complete(found, video, force=force)
    return video


def video_of(fetched: FetchedVideo) -> Video:
    """A video that was fetched by its job's id, as `generate` returns it."""
    made = fetched.result
    return Video(
        path=None if fetched.path is None else fetched.path.absolute(),
        stored=made.stored,
        backend=made.backend,
        model_output=made.model_output,
        frames=made.frames,
        fps=made.fps,
        duration_s=made.duration_s,
        seed=made.seed,
        price_usd=made.price_usd,
        adjusted=made.adjusted,
        warnings=made.warnings,
        made=made,
        first=_first_window(fetched.job) if made.is_first_window else None,
    )


def _first_window(job: Job) -> FirstWindow:
    plan = plan_of(job)
    return FirstWindow(
        job_id=job.id,
        windows=len(plan.windows),
        whole_s=plan.duration_s,
        rest=_estimate(job, plan.after(1)),
    )


def finish_all(
    found: Sequence[Unfinished], max_cost: float | None, reporter: Reporter, *, force: bool
) -> list[FetchOutcome]:
    """Makes the rests of several videos at the same time, and writes them as all have ended.

    One that fails stops no other.
    """
    ledger = jobs_ledger.Ledger()
    started = [start(each, max_cost, reporter).job for each in found]
    wait(ledger, started, reporter, lambda _listed: None)
    now = [ledger.get(job.id) or job for job in started]
    outcomes = fetch_many(now, None, force, reporter)
    return [*_completed(found, outcomes, force=force)]


def _completed(
    found: Sequence[Unfinished], outcomes: Sequence[FetchOutcome], *, force: bool
) -> Iterator[FetchOutcome]:
    for each, outcome in zip(found, outcomes, strict=True):
        error = outcome.error
        if outcome.video is not None:
            try:
                _complete(each, outcome.video, force=force)
            except MultitalkError as failed:
                error = failed
        yield replace(outcome, error=error)


def _complete(found: Unfinished, video: FetchedVideo, *, force: bool) -> None:
    """What its first command asked of the whole video: a full recipe, a quality."""
    options, result = found.settings, video.result
    recipe = json.loads(result.recipe)
    if options.get("sidecar") and video.path is not None:
        inputs = jobs_ledger.Ledger().inputs_of(video.job.id)
        names = [each.name for each in inputs]
        texts = {"prompt": found.job.prompt, "negative_prompt": options["negative_prompt"]}
        held = {"image": names[0], "voices": names[1:]} if names else {}
        write_sidecar(video.path, {**recipe, **texts, **held}, overwrite=force)
    least = options.get("fail_under")
    if least is not None:
        voices = len(recipe["voices_sha256"])
        measured = () if result.quality is None else result.quality.mouth_correlation
        # Those with a voice come first, in the order of the voices.
        place = video.job.label if video.path is None else str(video.path)
        require_quality(float(least), measured[:voices], voices, place)
