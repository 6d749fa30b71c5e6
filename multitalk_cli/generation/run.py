"""From what was asked to a finished video: the order of the work."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from multitalk_cli import contract
from multitalk_cli.cli.views import generate as views_generate
from multitalk_cli.errors import InterruptedRunError, UsageError, error_from_code
from multitalk_cli.generation import output_path, reuse
from multitalk_cli.generation.backends.base import Backend, GenerateTask
from multitalk_cli.generation.backends.select import choose_backend
from multitalk_cli.generation.job import GenerateJob, chosen_gpu
from multitalk_cli.generation.plan_only import show_plan
from multitalk_cli.generation.prepared_inputs import LocalInputs, PreparedInputs, RemoteInputs
from multitalk_cli.generation.quality_gate import check_quality, recorded_correlations
from multitalk_cli.generation.spec import GenerateArgs, build_spec
from multitalk_cli.jobs.follow import DetachedError
from multitalk_cli.planning import cost, describe, rates
from multitalk_cli.planning.inputs import GenerateSpec
from multitalk_cli.storage import recent_keys
from multitalk_cli.storage.address import is_stored

if TYPE_CHECKING:
    from pathlib import Path

    from multitalk_cli.cloud.remote_storage import CloudStore
    from multitalk_cli.reporting.reporter import Reporter
    from multitalk_cli.settings import Settings
    from multitalk_cli.storage.upload import UploadTarget


def generate(asked: GenerateArgs, settings: Settings, reporter: Reporter) -> None:
    """Makes the video, or shows the plan, and reports it."""
    wanted = build_spec(asked, settings)
    if asked.plan and not wanted.stored:
        show_plan(asked, settings, wanted, LocalInputs(wanted), reporter)
        return
    backend = choose_backend(settings, reporter, detach=asked.detach, for_plan=asked.plan)
    upload = _choose_upload(asked, settings, wanted, backend)
    with closing(_make_ready(asked, wanted, backend, upload, reporter)) as ready:
        if asked.plan:
            show_plan(asked, settings, wanted, ready, reporter)
        else:
            _generate(_make_job(asked, settings, wanted, ready, backend, upload), reporter)


def _generate(job: GenerateJob, reporter: Reporter) -> None:
    from multitalk_cli.media.video.recipe import read_recipe

    target, force = job.target, job.asked.force
    if target is not None:
        found = read_recipe(target) if target.is_file() else None
        if reuse.is_already_made(target, job.recipe, found, force=force):
            reporter.fact(target.name, "is already made from these inputs and options")
            check_quality(job, recorded_correlations(found or {}))
            stored = _store_file(job, target)
            views_generate.existing(
                job.ready.summary, job.backend, found or {}, reporter, target=target, stored=stored
            )
            return
    views_generate.report_facts(job.wanted, job.recipe["seed"], job.ready.summary, reporter)
    job.ready.begin()
    job.backend.check(job.ready.summary.plan)
    spot = job.ready.spot(job.job_id)
    if reuse.is_already_stored(spot, job.recipe, target, force=force) and spot is not None:
        reporter.fact(job.name, "is already stored, made from these inputs and options")
        found = dict(json.loads(spot.recipe or "{}"))
        check_quality(job, recorded_correlations(found))
        views_generate.existing(
            job.ready.summary, job.backend, found, reporter, target=None, stored=spot.address
        )
        return
    if spot is not None:
        reporter.fact("store", spot.address)
    _say_price(job, reporter)
    try:
        _run(job, reporter)
    except DetachedError as left:
        views_generate.detached(left.job_id, reporter)


# What the video needs before it can be made


def _choose_upload(
    asked: GenerateArgs, settings: Settings, wanted: GenerateSpec, backend: Backend
) -> UploadTarget | None:
    """Where the video is stored. Raises UsageError for what contradicts itself."""
    is_output = asked.output is not None and is_stored(asked.output)
    if not is_output and not asked.upload and asked.upload_to is None:
        return None
    _require_store(wanted, backend)
    if is_output and (asked.upload or asked.upload_to is not None):
        raise UsageError(
            "-o s3:// stores the video, and --upload does so too",
            code="E_CONFLICT",
            hint="drop --upload, or give -o a file",
        )
    if is_output and settings["sidecar"]:
        raise UsageError(
            "--sidecar writes beside a file, and -o s3:// writes none",
            code="E_CONFLICT",
            hint="drop --sidecar, or take --upload-to in place of -o",
        )
    return output_path.choose_upload(
        asked.output if is_output else asked.upload_to,
        _names(wanted, backend, wanted.options.seed),
        overwrite=asked.force,
    )


def _names(wanted: GenerateSpec, backend: Backend, seed: int) -> output_path.Names:
    return output_path.Names(
        image=wanted.image.path,
        voices=tuple(voice.path for voice in wanted.voices),
        seed=seed,
        preview=not backend.model_output,
        is_foreign=bool(wanted.stored),
    )


def _make_ready(
    asked: GenerateArgs,
    wanted: GenerateSpec,
    backend: Backend,
    upload: UploadTarget | None,
    reporter: Reporter,
) -> PreparedInputs:
    if not wanted.stored and upload is None:
        return LocalInputs(wanted)
    store = _require_store(wanted, backend)
    if not wanted.stored:
        return LocalInputs(wanted, store, upload)
    with reporter.progress() as progress:
        progress.show(contract.Stage(name="preparing"))
        return RemoteInputs(wanted, store, None if asked.plan else upload, for_plan=asked.plan)


def _require_store(wanted: GenerateSpec, backend: Backend) -> CloudStore:
    """Raises UsageError E_CONFLICT where what makes the video has no way to a store."""
    if backend.store is not None:
        return backend.store
    if wanted.stored:
        addresses = [one.text for one in wanted.stored]
        raise UsageError(
            f"{addresses[0]} is read by --backend modal only, not by {backend.name}",
            code="E_CONFLICT",
            hint=f"multitalk s3 get {views_generate.quoted(addresses)}",
        )
    raise UsageError(
        f"videos are stored by --backend modal only, not by {backend.name}",
        code="E_CONFLICT",
        hint="make a file, then: multitalk s3 put FILE s3://BUCKET/KEY",
    )


def _make_job(
    asked: GenerateArgs,
    settings: Settings,
    wanted: GenerateSpec,
    ready: PreparedInputs,
    backend: Backend,
    upload: UploadTarget | None,
) -> GenerateJob:
    job_id, recipe = ready.identify(backend)
    target = None
    if asked.output is None or not is_stored(asked.output):
        target = output_path.choose_output(asked.output, _names(wanted, backend, recipe["seed"]))
    return GenerateJob(
        job_id=job_id,
        asked=asked,
        wanted=wanted,
        settings=settings,
        ready=ready,
        backend=backend,
        target=target,
        upload=upload,
        recipe=recipe,
    )


def _say_price(job: GenerateJob, reporter: Reporter) -> None:
    """What it costs, and the guard where it costs something. Raises RefusedError."""
    table, planned = rates.load(), job.ready.summary.plan
    estimate = cost.estimate_cost(planned, table, chosen_gpu(job.settings))
    if not job.backend.is_paid:
        real = describe.describe_price(estimate, table)
        where = "nothing, made on this machine"
        reporter.fact("price", where if job.backend.model_output else f"{where}; the video: {real}")
        return
    reporter.fact("price", describe.describe_price(estimate, table))
    decision = cost.check_cost(
        planned, estimate, job.settings["max_cost"], interactive=reporter.can_ask
    )
    if decision.action == "ask" and not reporter.confirm(decision.question):
        raise InterruptedRunError("nothing was started or paid", code="E_INTERRUPTED")


# The work itself


def _run(job: GenerateJob, reporter: Reporter) -> None:
    made = job.ready.make(job.job_id, job.recipe)
    for note in made.notes:
        reporter.adjusted(note)
    work = GenerateTask(
        job_id=job.job_id,
        seed=job.recipe["seed"],
        recipe=json.dumps(job.recipe, separators=(",", ":")),
        fingerprints=made.fingerprints,
        request=made.request,
        name=job.name,
        target=job.target,
        upload=job.upload,
        overwrite=job.asked.force,
        keep=job.ready.keep,
    )
    result = _follow(job.backend, work, reporter)
    adjusted = (*job.ready.summary.adjusted, *made.notes, *result.adjusted)
    result = replace(result, adjusted=adjusted)
    for warning in result.warnings:
        reporter.warn(warning)
    if result.stored is not None:
        recent_keys.remember([result.stored])
    if job.settings["sidecar"] and job.target is not None:
        output_path.write_sidecar(job.target, _full_recipe(job, result))
    if result.quality is not None:
        check_quality(job, result.quality.mouth_correlation)
    views_generate.finished(result, job.name, job.target, reporter)


def _follow(backend: Backend, work: GenerateTask, reporter: Reporter) -> contract.Result:
    """Runs the backend, shows its events, and gives its result. Raises what it reports."""
    with reporter.progress() as progress:
        for event in backend.run(work):
            progress.show(event, backend.spent_usd())
            if isinstance(event, contract.Done):
                return event.result
            if isinstance(event, contract.Failed):
                raise error_from_code(event.code, event.message, event.hint)
    raise RuntimeError(f"the {backend.name} backend ended without a result")


def _store_file(job: GenerateJob, target: Path) -> str | None:
    """Stores a video that is there already, under the name of the job that made it if known."""
    if job.upload is None or job.backend.store is None:
        return None
    from multitalk_cli.jobs.ledger import Ledger

    known = Ledger().find_completed(job.ready.make(job.job_id, job.recipe).fingerprints)
    job_id = job.job_id if known is None else known.id
    return job.backend.store.put(job.upload, job_id, target.read_bytes())


def _full_recipe(job: GenerateJob, result: contract.Result) -> dict[str, Any]:
    summary = job.ready.summary
    return {
        **json.loads(result.recipe),
        "prompt": job.asked.prompt,
        "negative_prompt": job.settings["negative_prompt"],
        "image": summary.picture.name,
        "voices": [voice.name for voice in summary.voices],
    }
