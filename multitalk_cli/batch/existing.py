"""What exists already of a batch's videos: their files, and jobs of earlier runs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from multitalk_cli.batch.rows import PREVIEW, BatchRow
from multitalk_cli.contract import FIRST_WINDOW
from multitalk_cli.generation import reuse
from multitalk_cli.generation.arguments import known_inputs
from multitalk_cli.generation.output_path import recorded_path
from multitalk_cli.generation.run import existing_video
from multitalk_cli.jobs import ledger as jobs_ledger
from multitalk_cli.jobs import states
from multitalk_cli.jobs.fetch import copied_video
from multitalk_cli.media.video.names import first_of
from multitalk_cli.media.video.recipe import read_recipe

if TYPE_CHECKING:
    from pathlib import Path

    from multitalk_cli.generation.prepared_inputs import PreparedInputs
    from multitalk_cli.generation.result import Video
    from multitalk_cli.jobs.ledger import Job
    from multitalk_cli.planning.inputs import GenerateSpec
    from multitalk_cli.planning.summary import Summary

Known = Literal["", "made", "whole", "finished", "running"]
"""What exists of a video: nothing, its file, that of the whole where the first window is asked for,
a job whose video is kept, or a job that runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Existing:
    """What exists of a video.

    video: where its file is all that was asked for. begun: the job that made its first window,
    where only the rest is to be made.
    """

    known: Known = ""
    video: Video | None = None
    begun: Job | None = None


def has_trace(
    row: BatchRow, spec: GenerateSpec, inputs: PreparedInputs, target: Path | None
) -> bool:
    """Whether something may exist of the video. Quick, without a network."""
    if target is not None and any(each.is_file() for each in (target, first_of(target))):
        return True
    return row.is_paid and not spec.stored and _has_jobs(spec, inputs, target)


def _has_jobs(spec: GenerateSpec, inputs: PreparedInputs, target: Path | None) -> bool:
    sums = [each.sha256 for each in known_inputs(spec, inputs.summary)]
    return jobs_ledger.Ledger().concerns(recorded_path(target), sums)


def find_existing(
    row: BatchRow,
    spec: GenerateSpec,
    inputs: PreparedInputs,
    target: Path | None,
    recipe: dict[str, Any],
    *,
    first: bool,
) -> Existing:
    """What exists of the video, as far as this machine knows. Raises FileError for another file."""
    if target is not None:
        video = _find_file(row, inputs.summary, target, recipe, first=first)
        if video is not None:
            is_all = not row.args.upload and row.args.upload_to is None
            is_all &= row.settings["fail_under"] is None
            is_whole = first and video.path is not None and video.path.name == target.name
            known: Known = "whole" if is_whole else "made"
            return Existing(known=known, video=video if is_all and not first else None)
    if not row.is_paid or row.args.force or spec.stored or not _has_jobs(spec, inputs, target):
        return Existing()
    return _find_job(row, inputs, target, recipe, first=first)


def _find_file(
    row: BatchRow, summary: Summary, target: Path, recipe: dict[str, Any], *, first: bool
) -> Video | None:
    """The video in its file; the whole one, where it is there, in place of its first window."""
    found = read_recipe(target) if target.is_file() else None
    if first and not reuse.is_same(found, recipe):
        recipe, target = {**recipe, FIRST_WINDOW: True}, first_of(target)
        found = read_recipe(target) if target.is_file() else None
    if not reuse.is_already_made(target, recipe, found, force=row.args.force):
        return None
    return existing_video(
        summary, row.backend, found or {}, target, model_output=row.backend != PREVIEW
    )


def _find_job(
    row: BatchRow,
    inputs: PreparedInputs,
    target: Path | None,
    recipe: dict[str, Any],
    *,
    first: bool,
) -> Existing:
    """What the ledger knows of the video. Raises FileError where another job is to write it."""
    ledger = jobs_ledger.Ledger()
    path = recorded_path(target)
    inputs.start_encoding()
    names = inputs.build_request("0" * 16, recipe).fingerprints
    for holder in ledger.holders(path, names):
        if holder.state == jobs_ledger.DONE:
            raise jobs_ledger.taken(path, holder)
    job = ledger.find_same(row.settings["app"], row.settings["environment"], names)
    if job is None or job.state == jobs_ledger.LOST or not _is_kept(job, recipe):
        return Existing()
    if job.state == jobs_ledger.FIRST and not first:
        return Existing(begun=job)
    is_ended = job.state in (jobs_ledger.DONE, jobs_ledger.FIRST)
    return Existing(known="finished" if is_ended else "running")


def _is_kept(job: Job, recipe: dict[str, Any]) -> bool:
    """Whether what a job made, if it has ended, can still be fetched, and is of the LoRA's file."""
    if job.state not in (jobs_ledger.DONE, jobs_ledger.FIRST):
        return True
    if states.is_gone(job) and copied_video(job) is None:
        return False
    made = json.loads(job.result) if job.result else {}
    return reuse.has_same_lora(json.loads(made.get("recipe", "{}")), recipe)
