"""From what was asked to a finished video: the order of the work."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from multitalk_cli import contract, generation_report, gpus, outputs, plan, rates, stored_keys
from multitalk_cli.asked import Asked, Wanted, is_stored, read_asked
from multitalk_cli.backends.choice import Backend, Work, choose_backend
from multitalk_cli.errors import InterruptedRunError, RefusedError, UsageError, error_from_code
from multitalk_cli.following import DetachedError
from multitalk_cli.ready import Here, Ready, There

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from multitalk_cli.cloud_store import CloudStore
    from multitalk_cli.output import Output
    from multitalk_cli.prepared import Upload
    from multitalk_cli.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Job:
    """One video to make: what was prepared, where it goes, and what is kept in it.

    target: None where the video is only stored.
    """

    job_id: str
    asked: Asked
    wanted: Wanted
    settings: Settings
    ready: Ready
    backend: Backend
    target: Path | None
    upload: Upload | None
    recipe: dict[str, Any]

    @property
    def name(self) -> str:
        """What the video is called."""
        if self.target is not None:
            return self.target.name
        key = "" if self.upload is None else self.upload.key.rpartition("/")[2]
        stem = self.job_id if self.upload is None else self.upload.stem
        return key if key else f"{stem}.mp4"


def generate(asked: Asked, settings: Settings, output: Output) -> None:
    """Makes the video, or shows the plan, and reports it."""
    wanted = read_asked(asked, settings)
    if asked.plan and not wanted.stored:
        _show_plan(asked, settings, wanted, Here(wanted), output)
        return
    backend = choose_backend(settings, output, detach=asked.detach, for_plan=asked.plan)
    upload = _choose_upload(asked, settings, wanted, backend)
    with closing(_make_ready(asked, wanted, backend, upload, output)) as ready:
        if asked.plan:
            _show_plan(asked, settings, wanted, ready, output)
        else:
            _generate(_make_job(asked, settings, wanted, ready, backend, upload), output)


def _generate(job: _Job, output: Output) -> None:
    from multitalk_cli.media.recipe import read_recipe

    target, force = job.target, job.asked.force
    if target is not None:
        found = read_recipe(target) if target.is_file() else None
        if outputs.is_already_made(target, job.recipe, found, force=force):
            output.fact(target.name, "is already made from these inputs and options")
            _check_quality(job, _recorded_correlations(found or {}))
            stored = _store_file(job, target)
            generation_report.existing(
                job.ready.summary, job.backend, found or {}, output, target=target, stored=stored
            )
            return
    generation_report.say_facts(job.wanted, job.recipe["seed"], job.ready.summary, output)
    job.ready.begin()
    job.backend.check(job.ready.summary.plan)
    spot = job.ready.spot(job.job_id)
    if outputs.is_already_stored(spot, job.recipe, target, force=force) and spot is not None:
        output.fact(job.name, "is already stored, made from these inputs and options")
        found = dict(json.loads(spot.recipe or "{}"))
        _check_quality(job, _recorded_correlations(found))
        generation_report.existing(
            job.ready.summary, job.backend, found, output, target=None, stored=spot.address
        )
        return
    if spot is not None:
        output.fact("store", spot.address)
    _say_price(job, output)
    try:
        _run(job, output)
    except DetachedError as left:
        generation_report.detached(left.job_id, output)


# What the video needs before it can be made


def _choose_upload(
    asked: Asked, settings: Settings, wanted: Wanted, backend: Backend
) -> Upload | None:
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
    return outputs.choose_upload(
        asked.output if is_output else asked.upload_to,
        _names(wanted, backend, wanted.options.seed),
        overwrite=asked.force,
    )


def _names(wanted: Wanted, backend: Backend, seed: int) -> outputs.Names:
    return outputs.Names(
        image=wanted.image.path,
        voices=tuple(voice.path for voice in wanted.voices),
        seed=seed,
        preview=not backend.model_output,
        is_foreign=bool(wanted.stored),
    )


def _make_ready(
    asked: Asked, wanted: Wanted, backend: Backend, upload: Upload | None, output: Output
) -> Ready:
    if not wanted.stored and upload is None:
        return Here(wanted)
    store = _require_store(wanted, backend)
    if not wanted.stored:
        return Here(wanted, store, upload)
    with output.progress() as progress:
        progress.show(contract.Stage(name="preparing"))
        return There(wanted, store, None if asked.plan else upload, for_plan=asked.plan)


def _require_store(wanted: Wanted, backend: Backend) -> CloudStore:
    """Raises UsageError E_CONFLICT where what makes the video has no way to a store."""
    if backend.store is not None:
        return backend.store
    if wanted.stored:
        addresses = [one.text for one in wanted.stored]
        raise UsageError(
            f"{addresses[0]} is read by --backend modal only, not by {backend.name}",
            code="E_CONFLICT",
            hint=f"multitalk s3 get {generation_report.quoted(addresses)}",
        )
    raise UsageError(
        f"videos are stored by --backend modal only, not by {backend.name}",
        code="E_CONFLICT",
        hint="make a file, then: multitalk s3 put FILE s3://BUCKET/KEY",
    )


def _make_job(
    asked: Asked,
    settings: Settings,
    wanted: Wanted,
    ready: Ready,
    backend: Backend,
    upload: Upload | None,
) -> _Job:
    job_id, recipe = ready.identify(backend)
    target = None
    if asked.output is None or not is_stored(asked.output):
        target = outputs.choose_output(asked.output, _names(wanted, backend, recipe["seed"]))
    return _Job(
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


def _say_price(job: _Job, output: Output) -> None:
    """What it costs, and the guard where it costs something. Raises RefusedError."""
    table, planned = rates.load(), job.ready.summary.plan
    estimate = plan.estimate_cost(planned, table, _card(job.settings))
    if not job.backend.is_paid:
        real = plan.describe_price(estimate, table)
        where = "nothing, made on this machine"
        output.fact("price", where if job.backend.model_output else f"{where}; the video: {real}")
        return
    output.fact("price", plan.describe_price(estimate, table))
    decision = plan.check_cost(
        planned, estimate, job.settings["max_cost"], interactive=output.can_ask
    )
    if decision.action == "ask" and not output.confirm(decision.question):
        raise InterruptedRunError("nothing was started or paid", code="E_INTERRUPTED")


def _card(settings: Settings) -> str:
    return gpus.find_card(settings["gpu"]).name


# The work itself


def _run(job: _Job, output: Output) -> None:
    made = job.ready.make(job.job_id, job.recipe)
    for note in made.notes:
        output.adjusted(note)
    work = Work(
        job_id=job.job_id,
        seed=job.recipe["seed"],
        recipe=json.dumps(job.recipe, separators=(",", ":")),
        fingerprint=made.fingerprint,
        request=made.request,
        name=job.name,
        target=job.target,
        upload=job.upload,
        overwrite=job.asked.force,
        keep=job.ready.keep,
    )
    result = _follow(job.backend, work, output)
    adjusted = (*job.ready.summary.adjusted, *made.notes, *result.adjusted)
    result = replace(result, adjusted=adjusted)
    for warning in result.warnings:
        output.warn(warning)
    if result.stored is not None:
        stored_keys.remember([result.stored])
    if job.settings["sidecar"] and job.target is not None:
        outputs.write_sidecar(job.target, _full_recipe(job, result))
    if result.quality is not None:
        _check_quality(job, result.quality.mouth_correlation)
    generation_report.finished(result, job.name, job.target, output)


def _follow(backend: Backend, work: Work, output: Output) -> contract.Result:
    """Runs the backend, shows its events, and gives its result. Raises what it reports."""
    with output.progress() as progress:
        for event in backend.run(work):
            progress.show(event, backend.spent_usd())
            if isinstance(event, contract.Done):
                return event.result
            if isinstance(event, contract.Failed):
                raise error_from_code(event.code, event.message, event.hint)
    raise RuntimeError(f"the {backend.name} backend ended without a result")


def _store_file(job: _Job, target: Path) -> str | None:
    """Stores a video that is there already, under the name of the job that made it if known."""
    if job.upload is None or job.backend.store is None:
        return None
    from multitalk_cli.jobs import Ledger

    known = Ledger().maker(job.ready.make(job.job_id, job.recipe).fingerprint)
    job_id = job.job_id if known is None else known.id
    return job.backend.store.put(job.upload, job_id, target.read_bytes())


def _check_quality(job: _Job, correlations: Sequence[float | None]) -> None:
    """Raises RefusedError E_QUALITY where a mouth follows its voice less than was asked for.

    correlations: of every speaker, None where it could not be measured or nobody speaks.
    """
    least = job.settings["fail_under"]
    if least is None or not job.backend.model_output:
        return
    voiced = [person.voice is not None for person in job.ready.summary.people]
    measured = [value for value, is_voiced in zip(correlations, voiced, strict=False) if is_voiced]
    path = job.name if job.target is None else str(job.target)
    if len(measured) < sum(voiced) or None in measured:
        raise RefusedError(
            f"no face was seen well enough to tell whether lips follow the voice; {path} is kept",
            code="E_QUALITY",
        )
    worst = min(value for value in measured if value is not None)
    if worst < least:
        raise RefusedError(
            f"lips follow the voice by {worst:.2f}, less than --fail-under {least:g}; "
            f"{path} is kept",
            code="E_QUALITY",
        )


def _recorded_correlations(recipe: dict[str, Any]) -> list[float | None]:
    """What a finished video says of itself; nothing of it is believed to have a form."""
    quality = recipe.get("quality")
    values = quality.get("mouth_correlation") if isinstance(quality, dict) else None
    found = values if isinstance(values, list) else []
    return [float(v) if isinstance(v, int | float) else None for v in found]


def _full_recipe(job: _Job, result: contract.Result) -> dict[str, Any]:
    summary = job.ready.summary
    return {
        **json.loads(result.recipe),
        "prompt": job.asked.prompt,
        "negative_prompt": job.settings["negative_prompt"],
        "image": summary.picture.name,
        "voices": [voice.name for voice in summary.voices],
    }


def _show_plan(
    asked: Asked, settings: Settings, wanted: Wanted, ready: Ready, output: Output
) -> None:
    from multitalk_cli import plan_report
    from multitalk_cli.media.plan_picture import save_plan

    table, summary = rates.load(), ready.summary
    estimates = plan.estimate_all(summary.plan, table, first=_card(settings))
    generation_report.say_facts(wanted, wanted.options.seed, summary, output)
    if settings["max_cost"] is not None:
        # Before the result: a refusal is the only thing that is then printed.
        plan.check_cost(summary.plan, estimates[0], settings["max_cost"], interactive=False)
    folder = None if asked.output is None or is_stored(asked.output) else asked.output
    picture = outputs.choose_plan_picture(folder, wanted.image.path)
    save_plan(ready.drawing(), picture)
    output.succeed(
        "generate",
        plan_report.data(summary, wanted.options, estimates, picture),
        plan_report.lines(summary, wanted.options, estimates, table, picture),
    )
