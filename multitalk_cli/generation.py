"""From what was asked to a finished video: the order of the work, and what is said on the way."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from multitalk_cli import __version__, contract, gpus, outputs, plan, rates
from multitalk_cli.backends.choice import Backend, choose_backend
from multitalk_cli.errors import InterruptedRunError, RefusedError, error_from_code
from multitalk_cli.following import DetachedError
from multitalk_cli.preparation import Asked, Prepared, prepare
from multitalk_cli.wording import human_bytes, human_count, human_length, human_money

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multitalk_cli.media.voice import Voice
    from multitalk_cli.output import Output
    from multitalk_cli.settings import Settings

RECIPE_FORMAT = 1
_IN_SYNC_FRAMES = 1.5  # nobody sees less: 60 ms


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Job:
    """One video to make: what was prepared, where it goes, and what is kept in it."""

    job_id: str
    asked: Asked
    settings: Settings
    prepared: Prepared
    backend: Backend
    target: Path
    recipe: dict[str, Any]


def generate(asked: Asked, settings: Settings, output: Output) -> None:
    """Makes the video, or shows the plan, and reports it."""
    if asked.plan:
        _show_plan(asked, settings, prepare(asked, settings), output)
        return
    backend = choose_backend(settings, output, detach=asked.detach)
    prepared = prepare(asked, settings)
    job = _make_job(asked, settings, prepared, backend)
    from multitalk_cli.media.recipe import read_recipe

    found = read_recipe(job.target) if job.target.is_file() else None
    if outputs.is_already_made(job.target, job.recipe, found, force=asked.force):
        output.fact(job.target.name, "is already made from these inputs and options")
        _check_quality(job, _recorded_correlations(found or {}))
        _report_existing(job, found or {}, output)
        return
    _say_facts(asked, job.prepared, output)
    backend.check(job.prepared.plan)
    _say_price(job, output)
    try:
        _run(job, output)
    except DetachedError as left:
        _report_detached(left.job_id, output)


def _make_job(asked: Asked, settings: Settings, prepared: Prepared, backend: Backend) -> _Job:
    recipe = _recipe(asked, settings, prepared, backend)
    job_id, recipe["seed"] = backend.identify(recipe)
    prepared = replace(prepared, seed=recipe["seed"])
    names = outputs.Names(
        image=Path(asked.image),
        voices=tuple(voice.path for voice in prepared.voices),
        seed=prepared.seed,
        preview=not backend.model_output,
    )
    return _Job(
        job_id=job_id,
        asked=asked,
        settings=settings,
        prepared=prepared,
        backend=backend,
        target=outputs.choose_output(asked.output, names),
        recipe=recipe,
    )


def _recipe(
    asked: Asked, settings: Settings, prepared: Prepared, backend: Backend
) -> dict[str, Any]:
    """What decides the video, without paths, names or hosts; the prompt only where asked for."""
    recipe: dict[str, Any] = {
        "multitalk": RECIPE_FORMAT,
        "client": __version__,
        "ai_generated": True,
        "backend": backend.name,
        "model_output": backend.model_output,
        "image_sha256": prepared.picture.sha256,
        "voices_sha256": [voice.sha256 for voice in prepared.voices],
        "speakers": [person.place for person in prepared.people],
        "order": prepared.order,
        "size": [prepared.framed.width_px, prepared.framed.height_px],
        "fps": prepared.plan.fps,
        "frames": prepared.plan.frames,
        "windows": [window.frames for window in prepared.plan.windows],
        "motion_frames": prepared.plan.motion_frames,
        "shift": prepared.shift,
        "seed": prepared.seed,
        "seed_drawn": prepared.seed_drawn,
        "prompt_sha256": _sha256(asked.prompt),
        "negative_prompt_sha256": _sha256(settings["negative_prompt"]),
    }
    for name in ("fit", "background", "loudness", "sample_steps", *_GUIDANCE):
        recipe[name] = settings[name]
    if settings["embed_prompt"]:
        recipe["prompt"] = asked.prompt
    return recipe


_GUIDANCE = ("text_guidance", "audio_guidance")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _say_facts(asked: Asked, prepared: Prepared, output: Output) -> None:
    output.fact(Path(asked.image).name, _describe_picture(prepared))
    for voice in prepared.voices:
        output.fact(voice.path.name, _describe_voice(voice))
    if len(prepared.people) > 1:
        output.fact("speakers", _describe_people(prepared))
    seed = f"seed {prepared.seed}"
    output.fact("plan", f"{plan.describe_plan(prepared.plan)}, {seed}")
    for note in prepared.adjusted:
        output.adjusted(note)
    for warning in prepared.warnings:
        output.warn(warning)


def _describe_picture(prepared: Prepared) -> str:
    picture, count = prepared.picture, len(prepared.framed.faces)
    faces = human_count(count, "face") if count else "no face"
    return f"{picture.source_width_px}x{picture.source_height_px}, {faces} found"


def _describe_voice(voice: Voice) -> str:
    channels = {1: "mono", 2: "stereo"}.get(voice.channels, f"{voice.channels} channels")
    level = f", {voice.loudness_lufs:.1f} LUFS" if voice.loudness_lufs is not None else ""
    return f"{human_length(voice.duration_s)}, {voice.rate_hz / 1000:g} kHz {channels}{level}"


def _describe_people(prepared: Prepared) -> str:
    people = [
        f"{person.place}: {person.voice.name if person.voice is not None else 'silent'}"
        for person in prepared.people
    ]
    return ", ".join([*people, prepared.order] if len(prepared.voices) > 1 else people)


def _say_price(job: _Job, output: Output) -> None:
    """What it costs, and the guard where it costs something. Raises RefusedError."""
    table = rates.load()
    estimate = plan.estimate_cost(job.prepared.plan, table, _card(job.settings))
    if not job.backend.is_paid:
        real = plan.describe_price(estimate, table)
        where = "nothing, made on this machine"
        output.fact("price", where if job.backend.model_output else f"{where}; the video: {real}")
        return
    output.fact("price", plan.describe_price(estimate, table))
    decision = plan.check_cost(
        job.prepared.plan, estimate, job.settings["max_cost"], interactive=output.can_ask
    )
    if decision.action == "ask" and not output.confirm(decision.question):
        raise InterruptedRunError("nothing was started or paid", code="E_INTERRUPTED")


def _card(settings: Settings) -> str:
    return gpus.find_card(settings["gpu"]).name


def _run(job: _Job, output: Output) -> None:
    with TemporaryDirectory(prefix="multitalk-") as folder:
        request, notes = _make_request(job, Path(folder))
        for note in notes:
            output.adjusted(note)
        result = _follow(job, request, output)
    result = replace(result, adjusted=(*job.prepared.adjusted, *notes, *result.adjusted))
    for warning in result.warnings:
        output.warn(warning)
    if job.settings["sidecar"]:
        outputs.write_sidecar(job.target, _full_recipe(job, result))
    if result.quality is not None:
        _check_quality(job, result.quality.mouth_correlation)
    _report(job, result, output)


def _make_request(job: _Job, folder: Path) -> tuple[contract.GenerateRequest, tuple[str, ...]]:
    from multitalk_cli.media.picture import to_png
    from multitalk_cli.media.tracks import speech_flac, write_sound_track

    prepared = job.prepared
    sound = folder / "sound.flac"
    notes = write_sound_track(
        prepared.voices, prepared.order, sound, prepared.plan.frames, prepared.plan.fps
    )
    speech = {
        voice.path: speech_flac(samples)
        for voice, samples in zip(prepared.voices, prepared.tracks.speech, strict=True)
    }
    request = contract.GenerateRequest(
        job_id=job.job_id,
        image=to_png(prepared.framed.pixels),
        width_px=prepared.framed.width_px,
        height_px=prepared.framed.height_px,
        speakers=tuple(
            contract.Speaker(
                audio=None if person.voice is None else speech[person.voice], box=person.box
            )
            for person in prepared.people
        ),
        sound=sound.read_bytes(),
        prompt=job.asked.prompt,
        negative_prompt=job.settings["negative_prompt"],
        sample_steps=job.settings["sample_steps"],
        seed=prepared.seed,
        text_guidance=job.settings["text_guidance"],
        audio_guidance=job.settings["audio_guidance"],
        shift=prepared.shift,
        fps=prepared.plan.fps,
        frames=prepared.plan.frames,
        windows=prepared.plan.windows,
        motion_frames=prepared.plan.motion_frames,
        recipe=json.dumps(job.recipe, separators=(",", ":")),
    )
    return request, notes


def _follow(job: _Job, request: contract.GenerateRequest, output: Output) -> contract.Result:
    """Runs the backend, shows its events, and gives its result. Raises what it reports."""
    events = job.backend.run(request, job.target, job.asked.force)
    with output.progress() as progress:
        for event in events:
            progress.show(event, job.backend.spent_usd())
            if isinstance(event, contract.Done):
                return event.result
            if isinstance(event, contract.Failed):
                raise error_from_code(event.code, event.message, event.hint)
    raise RuntimeError(f"the {job.backend.name} backend ended without a result")


def _check_quality(job: _Job, correlations: Sequence[float | None]) -> None:
    """Raises RefusedError E_QUALITY where a mouth follows its voice less than was asked for.

    correlations: of every speaker, None where it could not be measured or nobody speaks.
    """
    least = job.settings["fail_under"]
    if least is None or not job.backend.model_output:
        return
    voiced = [person.voice is not None for person in job.prepared.people]
    measured = [value for value, is_voiced in zip(correlations, voiced, strict=False) if is_voiced]
    path = str(job.target)
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
    return {
        **json.loads(result.recipe),
        "prompt": job.asked.prompt,
        "negative_prompt": job.settings["negative_prompt"],
        "image": Path(job.asked.image).name,
        "voices": [voice.path.name for voice in job.prepared.voices],
    }


def _report(job: _Job, result: contract.Result, output: Output) -> None:
    money = [] if result.price_usd is None else [human_money(result.price_usd)]
    facts = [
        f"{result.duration_s:.2f} s",
        f"{result.width_px}x{result.height_px}",
        f"{result.fps} fps",
        human_bytes(result.size_bytes),
        *money,
        *_describe_sync(result.quality),
    ]
    output.fact(job.target.name, ", ".join(facts))
    path = str(job.target.absolute())
    data: dict[str, Any] = {
        "output": path,
        "job": result.job_id,
        "backend": result.backend,
        "model_output": result.model_output,
        "frames": result.frames,
        "fps": result.fps,
        "seconds": round(result.duration_s, 3),
        "width": result.width_px,
        "height": result.height_px,
        "gpu": result.gpu,
        "seed": result.seed,
        "gpu_seconds": result.gpu_seconds,
        "price_usd": result.price_usd,
        "adjusted": list(result.adjusted),
        "already_made": False,
    }
    if result.quality is not None:
        data["quality"] = {
            "av_offset_frames": result.quality.av_offset_frames,
            "mouth_correlation": list(result.quality.mouth_correlation),
            "color_drift": list(result.quality.color_drift),
        }
    output.succeed("generate", data, [path])


def _describe_sync(quality: contract.Quality | None) -> list[str]:
    """How lips and sound fit, where it could be measured."""
    if quality is None or quality.av_offset_frames is None:
        return []
    offset = abs(quality.av_offset_frames)
    if offset < _IN_SYNC_FRAMES:
        return [f"sound in sync ({offset:.1f} frames)"]
    way = "behind" if quality.av_offset_frames > 0 else "ahead of"
    return [f"lips {offset:.1f} frames {way} the sound"]


def _report_detached(job_id: str, output: Output) -> None:
    output.note(f"job {job_id} goes on; its video:  multitalk jobs attach {job_id}")
    output.succeed("generate", {"job": job_id, "detached": True}, [job_id])


def _report_existing(job: _Job, found: dict[str, Any], output: Output) -> None:
    path = str(job.target.absolute())
    data = {
        "output": path,
        "backend": job.backend.name,
        "model_output": job.backend.model_output,
        "frames": job.prepared.plan.frames,
        "fps": job.prepared.plan.fps,
        "seconds": round(job.prepared.plan.duration_s, 3),
        "seed": found.get("seed"),
        "price_usd": 0.0,
        "adjusted": list(job.prepared.adjusted),
        "already_made": True,
    }
    output.succeed("generate", data, [path])


def _show_plan(asked: Asked, settings: Settings, prepared: Prepared, output: Output) -> None:
    from multitalk_cli import plan_report

    table = rates.load()
    estimates = plan.estimate_all(prepared.plan, table, first=_card(settings))
    _say_facts(asked, prepared, output)
    if settings["max_cost"] is not None:
        # Before the result: a refusal is the only thing that is then printed.
        plan.check_cost(prepared.plan, estimates[0], settings["max_cost"], interactive=False)
    picture = outputs.choose_plan_picture(asked.output, Path(asked.image))
    plan_report.draw(prepared, picture)
    output.succeed(
        "generate",
        plan_report.data(prepared, estimates, picture),
        plan_report.lines(prepared, estimates, table, picture),
    )
