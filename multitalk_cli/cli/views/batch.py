"""A batch: its plan, a video of it that has ended, and all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from multitalk_cli.batch.rows import PAID, PREVIEW
from multitalk_cli.cli.layout import Block, Line, Row, Style, Table
from multitalk_cli.cli.next_command import next_command
from multitalk_cli.cli.typed_words import option_values, typed_again
from multitalk_cli.cli.views.generate import first_data
from multitalk_cli.cli.views.jobs import short_path
from multitalk_cli.errors import RemoteError
from multitalk_cli.jobs.ledger import SHORT_ID
from multitalk_cli.planning.describe import describe_paces, money_range, span_range
from multitalk_cli.reporting.formatting import (
    human_count,
    human_duration,
    human_length,
    human_money,
    shell_line,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from multitalk_cli.batch.plan import BatchPlan, Budget, PlannedVideo
    from multitalk_cli.batch.run import BatchResult, VideoResult
    from multitalk_cli.errors.exceptions import Fact
    from multitalk_cli.generation.result import FirstWindow, Video

_KNOWN = {
    "made": "already made",
    "whole": "the whole video is made",
    "finished": "finished, to be fetched",
    "running": "already running",
    "": "new",
}
_FINISHED_SHOWN = 5
_STYLES: dict[str, Style] = {"failed": "red", "not started": "yellow", "cancelled": "yellow"}


# The plan


def plan_data(plan: BatchPlan) -> dict[str, Any]:
    """The JSON of `batch --plan`."""
    return {
        "manifest": plan.name,
        "videos": len(plan.videos),
        "new": sum(video.is_new for video in plan.videos),
        "seconds": round(sum(video.seconds for video in plan.videos), 3),
        "price_least_usd": round(plan.price_least_usd, 4),
        "price_usd": round(plan.price_usd, 4),
        "gpu_seconds": [round(seconds, 1) for seconds in plan.gpu_s_range],
        "rows": [_planned_data(video) for video in plan.videos],
        "unpaired": list(plan.unpaired),
    }


def _planned_data(video: PlannedVideo) -> dict[str, Any]:
    return {
        **_inputs_data(video),
        "output": _output(video),
        "backend": video.row.backend,
        "gpu": video.gpu,
        "preset": video.row.settings["preset"],
        "seed": video.seed,
        "seconds": round(video.seconds, 3),
        "known": video.known,
        "same_as_row": None if video.same_as is None else video.same_as.row.number,
        "price_least_usd": round(video.price_least_usd, 4),
        "price_usd": round(video.price_usd, 4),
    }


def _inputs_data(video: PlannedVideo) -> dict[str, Any]:
    args = video.row.args
    return {
        "row": video.row.number,
        "id": video.id,
        "image": args.image,
        "voices": [*args.voices, *args.speakers],
    }


def _output(video: PlannedVideo) -> str:
    return video.name if video.target is None else str(video.target.absolute())


def plan_blocks(plan: BatchPlan, words: Sequence[str], budget: Budget | None = None) -> list[Block]:
    """The table of a plan: a line a video, and the whole price. words: that were typed.

    Presets are shown where rows differ in theirs.
    """
    presets = [video.row.settings["preset"] for video in plan.videos]
    differ = len(set(presets)) > 1
    rows = [
        (
            video.id,
            _name(video),
            human_length(video.seconds),
            *([preset] if differ else []),
            video.gpu or video.row.backend,
            _price(video) if video.row.is_paid else "nothing",
            _plan_state(video),
        )
        for video, preset in zip(plan.videos, presets, strict=True)
    ]
    table = Table(
        rows=rows,
        titles=("id", "video", "length", *(["preset"] if differ else []), "GPU", "price", "state"),
        right=(2,),
        gives_way=(1, 0),
    )
    return [table, Line(""), *_totals(plan, words, budget)]


def _plan_state(video: PlannedVideo) -> str:
    if video.same_as is not None:
        return f"same as row {video.same_as.row.number}, paid once"
    return _KNOWN[video.known]


def _name(video: PlannedVideo) -> str:
    return video.name if video.target is None else video.target.name


def _price(video: PlannedVideo) -> str:
    if not video.is_new:
        return "nothing"
    return money_range(video.price_least_usd, video.price_usd)


def _totals(plan: BatchPlan, words: Sequence[str], budget: Budget | None) -> list[Block]:
    known = sum(bool(video.known) for video in plan.videos)
    seconds = sum(video.seconds for video in plan.videos)
    there = f", {known} of them made or started" if known else ""
    total = f"{human_count(len(plan.videos), 'video')}, {human_length(seconds)}{there}"
    rows: list[Block] = [Row("videos", total), *_time_rows(plan), *_price_rows(plan, words)]
    rows += [] if budget is None else _budget_rows(plan, budget)
    rows += [Row("estimate", describe_paces(plan.paces))] if plan.paces else []
    return [*rows, *unpaired_rows(plan)]


def _time_rows(plan: BatchPlan) -> list[Row]:
    """The time of containers, which runs side by side; nothing where all is made here."""
    least_s, most_s = plan.gpu_s_range
    return [Row("GPU time", f"{span_range(least_s, most_s)} in all")] if most_s else []


def _budget_rows(plan: BatchPlan, budget: Budget) -> list[Row]:
    """Whether all that is still to be made fits into the budget."""
    if budget.limit_usd is None or not plan.is_paid:
        return []
    spent = f", {human_money(budget.paid_usd)} of it spent before" if budget.paid_usd else ""
    limit = f"{human_money(budget.limit_usd)}{spent}"
    if budget.fits(plan.price_usd):
        return [Row("budget", f"{limit}: enough for all")]
    most = human_money(budget.paid_usd + plan.price_usd)
    return [Row("budget", f"{limit}: may not do for all, which need up to {most}", "yellow")]


def _price_rows(plan: BatchPlan, words: Sequence[str]) -> list[Block]:
    """The price; where all are previews, the command that shows that of the videos."""
    price = describe_price(plan)
    is_preview = all(video.row.backend == PREVIEW for video in plan.videos)
    if not is_preview or option_values(words, "--backend")[-1:] == [PAID]:
        # Rows that say themselves that they are previews stay it.
        return [Row("price", price)]
    command = typed_again(words, "--backend", PAID)
    return [Row("price", f"{price}; that of the videos:"), Row("", command, "bold", wraps=False)]


def describe_price(plan: BatchPlan) -> str:
    """The whole price as a range."""
    if not plan.is_paid:
        return "nothing, made on this machine"
    if not plan.price_usd:
        return "nothing, all is paid"
    most = money_range(plan.price_least_usd, plan.price_usd)
    return f"{most}; the most if every video starts a container of its own"


def unpaired_rows(plan: BatchPlan) -> list[Row]:
    """Files of a folder of which no pair was made."""
    if not plan.unpaired:
        return []
    shown, more = plan.unpaired[:5], len(plan.unpaired) - 5
    names = ", ".join(shown) + (f" and {more} more" if more > 0 else "")
    return [Row("left out", f"no partner of the same name: {names}", "yellow")]


# Results


def row_data(result: VideoResult) -> dict[str, Any]:
    """One video that has ended, as JSON."""
    video, planned = result.video, result.planned
    return {
        **_inputs_data(planned),
        "output": _output(planned) if video is None else video.place,
        "stored": None if video is None else video.stored,
        "state": result.state,
        "job": result.job_id,
        "backend": planned.row.backend,
        "gpu": planned.gpu,
        "seed": planned.seed if video is None else video.seed,
        "seconds": round(planned.seconds, 3),
        "already_made": video is not None and video.already_made,
        "price_usd": result.price_usd,
        "took_s": round(result.took_s, 3),
        **_first_data(video),
        "error": None if not result.code else {"code": result.code, "message": result.reason},
        "reason": result.reason,
    }


def _first_data(video: Video | None) -> dict[str, Any]:
    if video is None or video.first is None:
        return {}
    return {"first_window": first_data(video, video.first)}


def finish_command(batch: BatchResult) -> str:
    """The command that makes the rests of all first windows; empty where there are none."""
    words = [first.job_id[:SHORT_ID] or short_path(video.place) for video, first in _firsts(batch)]
    if len(words) > _FINISHED_SHOWN:
        words = [*words[:_FINISHED_SHOWN], "..."]
    return shell_line(["multitalk", "finish", *words]) if words else ""


def describe_rest(batch: BatchResult) -> str:
    """What all rests cost together."""
    rests = [first.rest for _, first in _firsts(batch) if first.rest is not None]
    if not rests:
        return "not made yet; made on this machine, for nothing"
    price = money_range(
        sum(each.price_least_usd for each in rests), sum(each.price_usd for each in rests)
    )
    return f"{price} for all {len(rests)}: finish those that you choose, within 7 days"


def _firsts(batch: BatchResult) -> list[tuple[Video, FirstWindow]]:
    videos = [each.video for each in batch.results if each.video is not None]
    return [(video, video.first) for video in videos if video.first is not None]


def describe(result: VideoResult) -> str:
    """How a video ended, in a line."""
    video = result.video
    if video is None:
        job = f"; multitalk jobs attach {result.job_id}" if result.state == "running" else ""
        code = f" ({result.code})" if result.code else ""
        reason = f": {result.reason.partition(chr(10))[0]}" if result.reason else ""
        return f"{result.state}{reason}{code}{job}"
    if video.already_made:
        return f"already made, {video.place}"
    return ", ".join(["done", human_length(video.duration_s), *_money(result), video.place])


def _money(result: VideoResult) -> list[str]:
    return [] if result.price_usd is None else [human_money(result.price_usd)]


def data(batch: BatchResult, report: Path | None) -> dict[str, Any]:
    """The JSON of `batch`."""
    return {
        "manifest": batch.plan.name,
        "videos": len(batch.results),
        "done": batch.count("done"),
        "failed": batch.count("failed"),
        "running": batch.count("running"),
        "cancelled": batch.count("cancelled"),
        "not_started": batch.count("not started"),
        "price_usd": round(batch.paid_usd, 4),
        "paid_before_usd": round(sum(batch.paid_before_usd.values()), 4),
        "took_s": round(batch.took_s, 3),
        "report": None if report is None else str(report),
        "rows": [row_data(result) for result in batch.results],
    }


def blocks(batch: BatchResult) -> list[Block]:
    """The table for a person."""
    rows = [
        (
            result.planned.id,
            _state(result),
            human_length(result.planned.seconds),
            "".join(_money(result)) if result.planned.row.is_paid else "",
            _outcome(result),
        )
        for result in batch.results
    ]
    titles = ("id", "state", "length", "price", "video")
    styles = [_STYLES.get(result.state, "") for result in batch.results]
    return [Table(rows=rows, titles=titles, right=(2, 3), gives_way=(4, 0), styles=styles)]


def _state(result: VideoResult) -> str:
    is_old = result.video is not None and result.video.already_made
    return "already made" if is_old else result.state


def _outcome(result: VideoResult) -> str:
    if result.video is not None:
        name = result.video.place.rpartition("/")[2]
        first = result.video.first
        return f"{name}  {first.job_id[:SHORT_ID]}" if first is not None else name
    code = f" ({result.code})" if result.code else ""
    return f"{result.reason.partition(chr(10))[0]}{code}" or result.job_id


def summary(batch: BatchResult) -> str:
    """`18 of 20 done (3 already made), 2 failed, $4.20, 1 h 2 min`."""
    old = sum(each.video is not None and each.video.already_made for each in batch.results)
    text = f"{batch.count('done')} of {human_count(len(batch.results), 'video')} done"
    parts = [f"{text} ({old} already made)" if old else text]
    for state in ("failed", "cancelled", "running", "not started"):
        count = batch.count(state)
        parts += [f"{count} {'still running' if state == 'running' else state}"] if count else []
    parts += [human_money(batch.paid_usd)] if batch.plan.is_paid else []
    return ", ".join([*parts, human_duration(batch.took_s)])


def facts(plan: BatchPlan) -> list[tuple[str, str]]:
    """What is shown before a batch is started."""
    known = sum(bool(video.known) for video in plan.videos)
    count = human_count(len(plan.videos), "video")
    there = f", {known} made or started before" if known else ""
    shown = [("batch", f"{count} of {plan.name}{there}"), ("price", describe_price(plan))]
    return shown + [(row.label, row.text) for row in unpaired_rows(plan)]


def errors(batch: BatchResult, words: Sequence[str]) -> list[dict[str, Any]]:
    """The failure of a batch of which videos are missing, for its JSON. words: that were typed."""
    if batch.is_complete:
        return []
    error = missing_error(batch)
    hint, exit_code = next_command(error, [*words]), int(error.exit_code)
    return [{"code": error.code, "message": error.message, "hint": hint, "exit_code": exit_code}]


def missing_error(batch: BatchResult) -> RemoteError:
    """The error of a batch of which videos are missing."""
    missing = sum(not each.is_done for each in batch.results)
    verb = "is" if missing == 1 else "are"
    message = f"{missing} of {human_count(len(batch.results), 'video')} {verb} missing"
    facts: dict[str, Fact] = {}
    if batch.enough_usd is not None:
        enough_usd = round(batch.enough_usd + 0.05, 1)
        facts = {"enough_usd": enough_usd, "cheaper": (), "option": "--budget"}
    return RemoteError(message, code="E_ROWS", facts=facts)
