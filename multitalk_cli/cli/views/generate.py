"""The result of `generate`: the facts about a video, and its path."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from multitalk_cli.cli.views.work import describe_run, usd_per_second, work_data
from multitalk_cli.generation.result import DetachedJob, Video
from multitalk_cli.jobs.ledger import SHORT_ID
from multitalk_cli.planning.cost import on_gpu
from multitalk_cli.planning.describe import price_range, time_range
from multitalk_cli.reporting.formatting import (
    human_bytes,
    human_money,
    shell_line,
)

if TYPE_CHECKING:
    from multitalk_cli.contract import Quality, Result
    from multitalk_cli.generation.result import FirstWindow

_IN_SYNC_FRAMES = 1.5  # 60 ms, less than anyone notices


def facts(outcome: Video | DetachedJob) -> list[tuple[str, str]]:
    """Labels and texts that are shown before the result."""
    if isinstance(outcome, DetachedJob):
        return []
    shown = []
    if outcome.made is not None:
        made, first = outcome.made, outcome.first
        whole = "" if first is None else f"{first.whole_s:.2f} s, window 1 of {first.windows}"
        name, is_paid_before = outcome.place.rpartition("/")[2], outcome.price_usd == 0
        shown += made_facts(name, made, whole, is_paid_before=is_paid_before)
    if outcome.path is not None and outcome.stored is not None:
        shown.append(("stored", outcome.stored))
    if outcome.first is not None:
        shown.append(("rest", describe_rest(outcome.first)))
    return shown


def made_facts(
    name: str, made: Result, whole: str, *, is_paid_before: bool = False
) -> list[tuple[str, str]]:
    """What was made, as labels and texts.

    whole: what it is a part of; empty for all. is_paid_before: whether the price is that of an
    earlier command.
    """
    before = " paid before" if is_paid_before else ""
    length = f"{made.duration_s:.2f} s"
    texts = [
        f"{length} of {whole}" if whole else length,
        f"{made.width_px}x{made.height_px}",
        f"{made.fps} fps",
        human_bytes(made.size_bytes),
        *([] if made.price_usd is None else [human_money(made.price_usd) + before]),
        *describe_sync(made.figures),
    ]
    work = [("work", _describe_made(made))] if made.model_output else []
    return [(name, ", ".join(texts)), *work]


def describe_rest(first: FirstWindow) -> str:
    """What the rest of a video costs, and until when it can be made."""
    if first.rest is None:
        return "not made yet; made on this machine, for nothing"
    return (
        f"{price_range(first.rest)} on {on_gpu(first.rest)} ({time_range(first.rest)}), "
        "a new start included; kept for 7 days"
    )


def finish_command(video: Video, first: FirstWindow) -> str:
    """The command that makes the rest."""
    return shell_line(["multitalk", "finish", first.job_id[:SHORT_ID] or video.place])


def _describe_made(made: Result) -> str:
    recipe = json.loads(made.recipe)
    return describe_run(recipe, made.gpu_seconds, made.price_usd, made.duration_s)


def describe_sync(quality: Quality | None) -> list[str]:
    """The fit of lips and sound; empty if it could not be measured."""
    if quality is None or quality.av_offset_frames is None:
        return []
    offset = abs(quality.av_offset_frames)
    if offset < _IN_SYNC_FRAMES:
        return [f"sound in sync ({offset:.1f} frames)"]
    way = "behind" if quality.av_offset_frames > 0 else "ahead of"
    return [f"lips {offset:.1f} frames {way} the sound"]


def lines(outcome: Video | DetachedJob) -> list[str]:
    """The path or address of a video, or the id of a job."""
    return [outcome.job_id if isinstance(outcome, DetachedJob) else outcome.place]


def data(outcome: Video | DetachedJob) -> dict[str, Any]:
    """The result for a program."""
    if isinstance(outcome, DetachedJob):
        return {"job": outcome.job_id, "detached": True}
    return {
        "output": outcome.place,
        "stored": outcome.stored,
        "backend": outcome.backend,
        "model_output": outcome.model_output,
        "frames": outcome.frames,
        "fps": outcome.fps,
        "seconds": round(outcome.duration_s, 3),
        "seed": outcome.seed,
        "price_usd": outcome.price_usd,
        "adjusted": list(outcome.adjusted),
        "already_made": outcome.already_made,
        **({} if outcome.first is None else {"first_window": first_data(outcome, outcome.first)}),
        **({} if outcome.made is None else _run_data(outcome.made)),
    }


def first_data(video: Video, first: FirstWindow) -> dict[str, Any]:
    """What a program must know of a first window. Prices are of the rest."""
    rest = first.rest
    return {
        "job": first.job_id or None,
        "windows": first.windows,
        "whole_seconds": round(first.whole_s, 3),
        "rest_price_least_usd": None if rest is None else round(rest.price_least_usd, 4),
        "rest_price_usd": None if rest is None else round(rest.price_usd, 4),
        "finish": finish_command(video, first),
    }


def _run_data(made: Result) -> dict[str, Any]:
    """Facts that only the run that made the video knows."""
    data: dict[str, Any] = {
        "job": made.job_id,
        "width": made.width_px,
        "height": made.height_px,
        "gpu": made.gpu,
        "gpu_seconds": made.gpu_seconds,
        "usd_per_second": usd_per_second(made.price_usd, made.duration_s),
    }
    if made.model_output:
        data |= work_data(json.loads(made.recipe))
    quality = made.figures
    if quality is not None:
        data["quality"] = {
            "av_offset_frames": quality.av_offset_frames,
            "mouth_correlation": list(quality.mouth_correlation),
            "correlation_floor": list(quality.correlation_floor),
            "color_drift": list(quality.color_drift),
            "color_spread": list(quality.color_spread),
            "sharpness": list(quality.sharpness),
            "face_stretch": list(quality.face_stretch),
        }
    return data
