"""From arguments to a finished video: the order of the work."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from multitalk_cli import contract
from multitalk_cli.cloud.call_result import to_error
from multitalk_cli.errors import FileError, RefusedError
from multitalk_cli.files import is_lasting
from multitalk_cli.generation import output_path, reuse
from multitalk_cli.generation.arguments import record_arguments
from multitalk_cli.generation.backends.base import GenerateTask, KnownJob, StartedRun
from multitalk_cli.generation.job import (
    GenerateJob,
    chosen_gpu,
    chosen_setup,
    estimate_plan,
    experience,
    open_job,
    priced_gpu,
)
from multitalk_cli.generation.quality_gate import check_quality, recorded_correlations
from multitalk_cli.generation.report import report_inputs
from multitalk_cli.generation.result import DetachedJob, FirstWindow, Video
from multitalk_cli.jobs.follow import DetachedError
from multitalk_cli.planning import cost, describe, gpus, rates
from multitalk_cli.planning.presets import denoising_of
from multitalk_cli.storage import recent_keys

if TYPE_CHECKING:
    from pathlib import Path

    from multitalk_cli.generation.spec import GenerateArgs
    from multitalk_cli.planning.summary import Summary
    from multitalk_cli.planning.windows import Plan
    from multitalk_cli.reporting.reporter import Reporter
    from multitalk_cli.settings import Settings

Show = Callable[[contract.Event, float | None], None]
"""Receives each event, and the cost of the run so far."""


def generate(args: GenerateArgs, settings: Settings, reporter: Reporter) -> Video | DetachedJob:
    """Makes the video in this thread, unless it exists. Raises whatever prevents it."""
    with open_job(args, settings, reporter) as job:
        existing = find_existing(job, reporter)
        if isinstance(existing, Video):
            return existing
        check_price(job, reporter, existing)
        try:
            with reporter.progress() as progress:
                run = start(job, reporter)
                if args.detach and run.can_detach:
                    return DetachedJob(job_id=run.job_id)
                result = follow(run, progress.show)
            return finish(job, run, result, reporter)
        except DetachedError as left:
            return DetachedJob(job_id=left.job_id)


# Before anything is paid


def find_existing(job: GenerateJob, reporter: Reporter) -> Video | KnownJob | None:
    """What exists of the video before anything is paid; also reports the inputs and the plan.

    The video, if it was made before from the same inputs and options; the job of an earlier command
    that makes, made or began it, which nothing or only the rest is paid for; else None.
    Raises FileError where something else is in its place, and whatever keeps the backend from
    making such a video.
    """
    from multitalk_cli.media.video.recipe import read_recipe

    target, force = job.target, job.args.force
    source = None if force else job.args.maybe_made
    if source is not None and reuse.is_same(recipe := read_recipe(source), job.video_recipe):
        reporter.fact(source.name, "is this video: the same inputs, options and seed")
        return _existing(job, recipe or {}, source, _store_file(job, source))
    if job.first and not force and (whole := _find_whole(job, reporter)) is not None:
        return whole
    if target is not None:
        recipe = read_recipe(target) if target.is_file() else None
        if reuse.is_already_made(target, job.video_recipe, recipe, force=force):
            reporter.fact(target.name, "is already made from these inputs and options")
            check_quality(job, recorded_correlations(recipe or {}))
            return _existing(job, recipe or {}, target, _store_file(job, target))
        if job.settings["sidecar"]:
            output_path.check_sidecar(target, force=force)
    job.inputs.start_encoding()
    known = job.backend.find_known(job.wanted)
    seed = job.recipe["seed"] if known is None else known.seed
    report_inputs(job.spec, seed, job.inputs.summary, reporter)
    job.backend.check(job.inputs.summary.plan)
    if known is not None:
        reporter.fact("job", _describe_known(known, len(job.inputs.summary.plan.windows)))
    # Only the whole video is stored.
    status = None if job.first else job.inputs.object_status(job.job_id)
    if status is None:
        return known
    if reuse.is_already_stored(status, job.recipe, target, force=force):
        reporter.fact(job.name, "is already stored, made from these inputs and options")
        recipe = dict(json.loads(status.recipe or "{}"))
        check_quality(job, recorded_correlations(recipe))
        return _existing(job, recipe, None, status.address)
    reporter.fact("store", status.address)
    return known


def _find_whole(job: GenerateJob, reporter: Reporter) -> Video | None:
    """The whole video, if it is at its place already, so that its first window is no news."""
    from multitalk_cli.media.video.recipe import read_recipe

    whole = job.whole
    recipe = read_recipe(whole) if whole is not None and whole.is_file() else None
    if whole is None or not reuse.is_same(recipe, job.recipe):
        return None
    reporter.fact(whole.name, "is the whole video, already made from these inputs and options")
    return _existing(replace(job, first=False), recipe or {}, whole, None)


def _describe_known(known: KnownJob, windows: int) -> str:
    """What an earlier command's job means for this one."""
    if known.state == "done":
        what = "the first window of this video" if known.is_first else "this video"
        return f"{known.job_id} made {what} already; nothing is paid"
    if known.state == "running":
        return f"{known.job_id} is already making this video; nothing more is paid"
    after = f" after window {known.windows} of {windows}" if known.windows else ""
    return f"{known.job_id} resumes{after}"


def _existing(
    job: GenerateJob, recipe: Mapping[str, Any], target: Path | None, stored: str | None
) -> Video:
    return existing_video(
        job.inputs.summary,
        job.backend.name,
        recipe,
        target,
        stored=stored,
        model_output=job.backend.model_output,
        first=_first_window(job, str(recipe.get("job", ""))) if job.first else None,
    )


def _first_window(job: GenerateJob, job_id: str) -> FirstWindow:
    """What there is to know of a video that is the first window of a longer one.

    job_id: from its recipe, which anyone may have written.
    """
    plan = job.inputs.summary.plan
    is_known = job.backend.is_paid and contract.JOB_ID.fullmatch(job_id) is not None
    return FirstWindow(
        job_id=job_id if is_known else "",
        windows=len(plan.windows),
        whole_s=plan.duration_s,
        rest=estimate_plan(job.settings, plan.after(1)) if job.backend.is_paid else None,
    )


def existing_video(
    summary: Summary,
    backend: str,
    recipe: Mapping[str, Any],
    target: Path | None,
    *,
    model_output: bool,
    stored: str | None = None,
    first: FirstWindow | None = None,
) -> Video:
    """A video that was made before, for which nothing is paid. recipe: the one that it has."""
    plan = summary.plan if first is None else summary.plan.first_window
    return Video(
        path=None if target is None else target.absolute(),
        stored=stored,
        backend=backend,
        model_output=model_output,
        frames=plan.frames,
        fps=plan.fps,
        duration_s=plan.duration_s,
        first=first,
        seed=recipe.get("seed"),
        price_usd=0.0,
        adjusted=summary.adjusted,
        warnings=summary.warnings,
        made=None,
    )


def _store_file(job: GenerateJob, target: Path) -> str | None:
    """Stores a video that exists as a file, under the id of the job that made it if known."""
    if job.upload is None or job.backend.store is None or job.first:
        return None
    from multitalk_cli.jobs.ledger import Ledger

    known = Ledger().find_completed(job.inputs.build_request(job.job_id, job.recipe).fingerprints)
    job_id = job.job_id if known is None else known.id
    return job.backend.store.put(job.upload, job_id, target.read_bytes())


def check_price(job: GenerateJob, reporter: Reporter, known: KnownJob | None = None) -> None:
    """Reports the price, and asks or refuses where it is high. Raises RefusedError E_COST.

    known: the job of an earlier command: nothing is asked for what is paid, and the rest is priced.
    """
    if known is not None and known.state != "stopped":
        return
    table, plan = rates.load(), job.plan if job.backend.is_paid else job.inputs.summary.plan
    if known is not None and known.windows < len(plan.windows):
        plan = plan.after(known.windows)
    settings, own = job.settings, experience(job.settings)
    estimate = estimate_plan(settings, plan, own)
    price = describe.describe_price(estimate, table)
    if not job.backend.is_paid:
        reporter.fact("price", _describe_free(job, plan, price))
        return
    reporter.fact("price", price)
    if job.first:
        rest = estimate_plan(settings, job.inputs.summary.plan.after(1), own)
        reporter.fact("rest", f"{describe.price_range(rest)} more, if you finish it")
    gpu, asked = priced_gpu(settings), chosen_setup(settings)
    # The rest of a job keeps its preset.
    presets = (
        cost.estimate_presets(plan, table, gpu, denoising_of(settings), asked=asked, known=own)
        if known is None
        else ()
    )
    decision = cost.check_cost(
        plan,
        estimate,
        settings["max_cost"],
        interactive=reporter.can_ask,
        others=cost.estimate_all(plan, table, asked=asked, known=own),
        presets=presets,
    )
    if decision.action == "ask" and not reporter.confirm(decision.question):
        raise RefusedError("nothing was started or paid", code="E_DECLINED")


def _describe_free(job: GenerateJob, plan: Plan, price: str) -> str:
    """The price of what this machine makes, and of a preview's video. price: of that."""
    free = "nothing, made on this machine"
    if job.backend.model_output:
        return free
    gpu = chosen_gpu(job.settings)
    is_able = gpus.can_run(gpus.find_gpu(gpu), job.settings["stack"], plan)
    return f"{free}; the video: {price if is_able else f'{gpu} cannot run it'}"


# The work itself


def start(job: GenerateJob, reporter: Reporter) -> StartedRun:
    """Starts making the video. A call in the cloud is made, and is in the ledger, on return."""
    built = job.inputs.build_request(job.job_id, job.recipe)
    for note in built.notes:
        reporter.adjusted(note)
    run = job.backend.start(
        GenerateTask(
            job_id=job.job_id,
            seed=job.recipe["seed"],
            recipe=json.dumps(job.recipe, separators=(",", ":")),
            prompt=job.args.prompt,
            arguments=record_arguments(job.args, job.settings),
            inputs=job.wanted.inputs,
            fingerprints=built.fingerprints,
            request=built.request,
            faces=built.faces,
            name=job.name,
            target=job.target,
            whole=job.whole,
            first=job.first,
            upload=job.upload,
            overwrite=job.args.force,
            is_temporary=job.args.is_temporary,
            keep=job.inputs.keep,
        )
    )
    return replace(run, adjusted=built.notes)


def follow(run: StartedRun, show: Show) -> contract.Result:
    """Passes the events of a run to `show` until it ends. Raises the error that it ends with.

    An exception of `show` stops the work on this machine, and leaves no partial file.
    """
    with closing(run.events) as events:
        for event in events:
            show(event, run.spent_usd())
            if isinstance(event, contract.Done):
                return event.result
            if isinstance(event, contract.Failed):
                raise to_error(event, run.facts)
    raise RuntimeError(f"job {run.job_id} ended without a result")


def finish(job: GenerateJob, run: StartedRun, result: contract.Result, reporter: Reporter) -> Video:
    """The video of a run that ended well. Raises RefusedError E_QUALITY."""
    summary, first = job.inputs.summary, None
    if result.is_first_window:
        first = _first_window(job, result.job_id)
    elif job.first:
        # The whole video was there already.
        job = replace(job, first=False, target=job.whole)
    for warning in result.warnings:
        reporter.warn(warning)
    if not job.backend.is_paid:
        _remember_inputs(job)
    if result.stored is not None:
        recent_keys.remember([result.stored])
    if job.settings["sidecar"] and job.target is not None:
        recipe = _full_recipe(job, result)
        output_path.write_sidecar(job.target, recipe, overwrite=job.args.force)
    check_quality(job, () if result.quality is None else result.quality.mouth_correlation)
    return Video(
        path=None if job.target is None else job.target.absolute(),
        stored=result.stored,
        backend=result.backend,
        model_output=result.model_output,
        frames=result.frames,
        fps=result.fps,
        duration_s=result.duration_s,
        seed=result.seed,
        price_usd=0.0 if run.is_paid_before else result.price_usd,
        adjusted=(*summary.adjusted, *run.adjusted, *result.adjusted),
        warnings=(*summary.warnings, *result.warnings),
        made=result,
        first=first,
    )


def _remember_inputs(job: GenerateJob) -> None:
    """Notes where the inputs are, by which a video can be made again; a paid job has done so."""
    from multitalk_cli.jobs.ledger import Ledger, ledger_path

    try:
        if is_lasting(ledger_path()):
            Ledger().remember_inputs(job.wanted.inputs)
    except FileError:
        # The video is there, whatever the ledger's file is.
        return


def _full_recipe(job: GenerateJob, result: contract.Result) -> dict[str, Any]:
    summary = job.inputs.summary
    return {
        **json.loads(result.recipe),
        "prompt": job.args.prompt,
        "negative_prompt": job.settings["negative_prompt"],
        "image": summary.picture.name,
        "voices": [voice.name for voice in summary.voices],
    }
