"""What `generate` says: of the inputs before the work, and of the video after it."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from multitalk_cli import contract
from multitalk_cli.planning import describe
from multitalk_cli.reporting.formatting import human_bytes, human_count, human_length, human_money

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from multitalk_cli.generation.backends.base import Backend
    from multitalk_cli.planning.inputs import GenerateSpec
    from multitalk_cli.planning.summary import PictureFacts, Summary, VoiceFacts
    from multitalk_cli.reporting.reporter import Reporter

_IN_SYNC_FRAMES = 1.5  # nobody sees less: 60 ms


def quoted(words: Sequence[str]) -> str:
    """Words as a shell takes them."""
    return shlex.join(words)


def report_facts(wanted: GenerateSpec, seed: int, summary: Summary, output: Reporter) -> None:
    """What was found in the inputs, and what will be made of them."""
    output.fact(summary.picture.name, _describe_picture(summary.picture, len(summary.faces)))
    for voice in summary.voices:
        output.fact(voice.name, _describe_voice(voice))
    if len(summary.people) > 1:
        output.fact("speakers", _describe_people(summary, wanted.options.order))
    output.fact("plan", f"{describe.describe_plan(summary.plan)}, seed {seed}")
    for note in summary.adjusted:
        output.adjusted(note)
    for warning in summary.warnings:
        output.warn(warning)


def _describe_picture(picture: PictureFacts, count: int) -> str:
    faces = human_count(count, "face") if count else "no face"
    return f"{picture.width_px}x{picture.height_px}, {faces} found"


def _describe_voice(voice: VoiceFacts) -> str:
    channels = {1: "mono", 2: "stereo"}.get(voice.channels, f"{voice.channels} channels")
    level = f", {voice.loudness_lufs:.1f} LUFS" if voice.loudness_lufs is not None else ""
    return f"{human_length(voice.duration_s)}, {voice.rate_hz / 1000:g} kHz {channels}{level}"


def _describe_people(summary: Summary, order: str) -> str:
    people = [
        f"{person.place}: "
        f"{summary.voices[person.voice].name if person.voice is not None else 'silent'}"
        for person in summary.people
    ]
    return ", ".join([*people, order] if len(summary.voices) > 1 else people)


def finished(result: contract.Result, name: str, target: Path | None, output: Reporter) -> None:
    """A video that was made. target: None where it is only stored."""
    money = [] if result.price_usd is None else [human_money(result.price_usd)]
    facts = [
        f"{result.duration_s:.2f} s",
        f"{result.width_px}x{result.height_px}",
        f"{result.fps} fps",
        human_bytes(result.size_bytes),
        *money,
        *describe_sync(result.quality),
    ]
    output.fact(name, ", ".join(facts))
    place = _place(target, result.stored)
    _say_stored(target, result.stored, output)
    data: dict[str, Any] = {
        "output": place,
        "stored": result.stored,
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
    output.succeed("generate", data, [place])


def _place(target: Path | None, stored: str | None) -> str:
    """Where a user finds the video."""
    return str(target.absolute()) if target is not None else str(stored)


def _say_stored(target: Path | None, stored: str | None, output: Reporter) -> None:
    if target is not None and stored is not None:
        output.fact("stored", stored)


def describe_sync(quality: contract.Quality | None) -> list[str]:
    """How lips and sound fit, where it could be measured."""
    if quality is None or quality.av_offset_frames is None:
        return []
    offset = abs(quality.av_offset_frames)
    if offset < _IN_SYNC_FRAMES:
        return [f"sound in sync ({offset:.1f} frames)"]
    way = "behind" if quality.av_offset_frames > 0 else "ahead of"
    return [f"lips {offset:.1f} frames {way} the sound"]


def detached(job_id: str, output: Reporter) -> None:
    """A job that goes on by itself."""
    output.note(f"job {job_id} goes on; its video:  multitalk jobs attach {job_id}")
    output.succeed("generate", {"job": job_id, "detached": True}, [job_id])


def existing(
    summary: Summary,
    backend: Backend,
    found: Mapping[str, Any],
    output: Reporter,
    *,
    target: Path | None,
    stored: str | None,
) -> None:
    """A video that was there before. found: its recipe."""
    place = _place(target, stored)
    _say_stored(target, stored, output)
    data = {
        "output": place,
        "stored": stored,
        "backend": backend.name,
        "model_output": backend.model_output,
        "frames": summary.plan.frames,
        "fps": summary.plan.fps,
        "seconds": round(summary.plan.duration_s, 3),
        "seed": found.get("seed"),
        "price_usd": 0.0,
        "adjusted": list(summary.adjusted),
        "already_made": True,
    }
    output.succeed("generate", data, [place])
