"""The plan of a video: a table, and the same as data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from multitalk_cli.cli.layout import Block, Line, Row, Table
from multitalk_cli.contract.loras import source_of
from multitalk_cli.planning.cost import NOT_MEASURED, on_gpu
from multitalk_cli.planning.describe import describe_start, money_range, price_range, time_range
from multitalk_cli.planning.gpus import AUTO, DEFAULT_STACK, find_gpu
from multitalk_cli.reporting.formatting import human_length, human_span

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from multitalk_cli.generation.result import VideoPlan
    from multitalk_cli.planning.cost import Estimate, PresetEstimate
    from multitalk_cli.planning.summary import Summary
    from multitalk_cli.planning.windows import Plan

_WINDOWS_LISTED = 12
_GAP = "   "
_CLASSES = (
    "exact computes as published; near rounds to 8 bits or reuses guidance; lossy moves less and "
    "follows the prompt less"
)


def blocks(video: VideoPlan, picture: Path | None) -> list[Block]:
    """The table for a person. picture: where the plan's picture is, None where there is none."""
    summary, rates = video.summary, video.rates
    shown: list[Block] = [
        Row("windows", _GAP.join(_windows(summary.plan)), separator=_GAP),
        Row("frames", describe_frames(summary.plan)),
    ]
    if len(summary.voices) > 1:
        shown.insert(0, Row("order", _describe_order(summary, video.options.order), separator=_GAP))
    shown += [
        Row(
            "LoRA",
            f"{lora.name}, if it is not there yet: "
            f"multitalk download --lora {source_of(lora.name)}",
        )
        for lora in video.options.denoising.loras
    ]
    table = Table(
        rows=_estimates(video.estimates),
        titles=("GPU", "time", "price", "note"),
        gives_way=(3,),
    )
    below: list[Block] = [*_first_rows(video), Row("class", _CLASSES)]
    listed = {estimate.gpu for estimate in video.estimates}
    unable = [gpu.name for gpu in rates.gpus if gpu.name not in listed]
    if unable:
        below.append(Row("not listed", f"{', '.join(unable)}: cannot run this plan"))
    below += _rule_of_cheapest(video.estimates)
    below += [
        Row("start", describe_start(video.estimates[0])),
        *_own_videos(video.estimates),
        Row("estimate", _meaning_of_estimate(video)),
        Row("rates of", f"{rates.prices.date.isoformat()}, {rates.prices.source}"),
    ]
    below += [] if picture is None else [Row("picture", str(picture))]
    return [*shown, Line(""), _presets(video), Line(""), table, Line(""), *below]


def _first_rows(video: VideoPlan) -> list[Block]:
    """The price of the first window, of the rest, and of both, on the chosen GPU."""
    first, rest = video.first, video.rest
    if first is None or rest is None:
        return []
    length = human_length(video.summary.plan.first_window.duration_s)
    both = money_range(
        first.price_least_usd + rest.price_least_usd, first.price_usd + rest.price_usd
    )
    return [
        Row("--first", f"{price_range(first)} ({time_range(first)}) for {length}"),
        Row("the rest", f"{price_range(rest)} ({time_range(rest)}), with multitalk finish"),
        Row("both", f"{both} on {on_gpu(first)}, a start for each included"),
    ]


def describe_frames(plan: Plan) -> str:
    """A sum: `118 of the video + 3 cut at the end = 121 generated`."""
    parts = (
        (plan.frames, "of the video"),
        (plan.repeated_frames, "repeated where windows overlap"),
        (plan.dropped_frames, "cut at the end"),
    )
    terms = [f"{count:,} {what}" for count, what in parts if count]
    if len(terms) == 1:
        return f"{plan.frames:,} generated, all of the video"
    return f"{' + '.join(terms)} = {plan.generated_frames:,} generated"


def _windows(plan: Plan) -> list[str]:
    """The part of the video that each adds; the middle of a long list is left out."""
    entries = [
        f"{number}: {human_span(*span)}" for number, span in enumerate(plan.fresh_spans, start=1)
    ]
    if len(entries) <= _WINDOWS_LISTED:
        return entries
    return [*entries[: _WINDOWS_LISTED - 2], "...", entries[-1]]


def _estimates(estimates: Sequence[Estimate]) -> list[tuple[str, str, str, str]]:
    """A row for each, the first marked as the chosen one."""
    default = find_gpu(AUTO).name
    cheapest = _cheapest(estimates)
    rows = []
    for number, estimate in enumerate(estimates):
        marks = {
            "chosen": number == 0 and estimate.gpu != default,
            "default": estimate.gpu == default,
            f"or {estimate.other_gpu}": bool(estimate.other_gpu),
            "cheapest": estimate is cheapest,
            "estimate": not estimate.measured,
        }
        time, price = time_range(estimate), price_range(estimate)
        shown = ", ".join(mark for mark, is_set in marks.items() if is_set)
        rows.append((estimate.gpu, time, price, shown))
    return rows


def _presets(video: VideoPlan) -> Table:
    """A row for each preset on the chosen GPU, and for what is chosen, if that is none of them.

    Whether they are estimates is in the first row of the GPUs.
    """
    gpu = video.estimates[0].gpu
    return Table(
        rows=[_preset_row(each, gpu) for each in video.presets],
        titles=("preset", "forwards", "time", "price", "class"),
        right=(1,),
        gives_way=(4,),
    )


def _preset_row(row: PresetEstimate, gpu: str) -> tuple[str, ...]:
    estimate, found = row.estimate, ("", f"not on {gpu}")
    marks: list[str] = [row.denoising.grade]
    marks += ["chosen"] if row.is_chosen else []
    if estimate is not None:
        found = (time_range(estimate), price_range(estimate))
    return (row.name or "as asked", f"{row.plan.forwards:,}", *found, ", ".join(marks))


def _cheapest(estimates: Sequence[Estimate]) -> Estimate:
    """The one that costs the least at most, which is what --max-cost compares."""
    return min(estimates, key=lambda estimate: estimate.price_usd)


def _rule_of_cheapest(estimates: Sequence[Estimate]) -> list[Block]:
    """What cheapest means, where another GPU may cost less than the cheapest at its least."""
    least = _cheapest(estimates).price_least_usd
    if all(estimate.price_least_usd >= least for estimate in estimates):
        return []
    return [Row("cheapest", "has the lowest upper price, the one that --max-cost compares")]


def _own_videos(estimates: Sequence[Estimate]) -> list[Block]:
    """How long this account's own videos took, where estimates follow them."""
    paces = dict.fromkeys(pace for estimate in estimates for pace in estimate.paces)
    parts = [
        f"{pace.factor:.2g} times the usual time by your last {pace.known} videos on {pace.gpu}"
        for pace in paces
    ]
    return [Row("speed", "; ".join(parts))] if parts else []


def _meaning_of_estimate(video: VideoPlan) -> str:
    """What the mark says: the GPU, the stack, the attention kernel or the tier was not measured."""
    notes = {estimate.note for estimate in video.estimates} - {"", NOT_MEASURED}
    tiers = [name for name, tier in video.rates.tiers.items() if not tier.measured]
    meaning = "scaled from the speed of an H100, not measured on this GPU"
    if notes and video.options.tier not in tiers:
        note = notes.pop().removeprefix("estimate: ")
        meaning = f"{note}: planned with the speed of an H100 and the stack {DEFAULT_STACK}"
    if tiers:
        meaning += (
            f"; {' and '.join(tiers)} by a share of the exact tier's time that was not measured"
        )
    return meaning


def _describe_order(summary: Summary, order: str) -> str:
    spans = [f"{voice.name} {human_span(voice.start_s, voice.end_s)}" for voice in summary.voices]
    lengths = [voice.duration_s for voice in summary.voices]
    if order == "sequence":
        other = f"(--order together would be {human_length(max(lengths))})"
    else:
        other = f"(--order sequence would be {human_length(sum(lengths))})"
    return f"{order}: {_GAP.join([*spans, other])}"


def data(video: VideoPlan, picture: Path | None) -> dict[str, Any]:
    """The plan for a program."""
    summary, options = video.summary, video.options
    plan = summary.plan
    return {
        "plan": {
            "seconds": round(plan.duration_s, 3),
            "frames": plan.frames,
            "generated_frames": plan.generated_frames,
            "repeated_frames": plan.repeated_frames,
            "dropped_frames": plan.dropped_frames,
            "fps": plan.fps,
            "width": plan.width_px,
            "height": plan.height_px,
            "sample_steps": plan.sample_steps,
            "tier": options.tier,
            "lora": options.lora or None,
            "forwards": plan.forwards,
            "forwards_gated": plan.gated_forwards * len(plan.windows),
            "seed": options.seed,
            "windows": [{"start": w.start, "frames": w.frames} for w in plan.windows],
        },
        "crop": [round(edge, 1) for edge in summary.crop],
        "faces": [[round(edge, 1) for edge in box] for box in summary.faces],
        "speakers": [
            {
                "place": person.place,
                "voice": None if person.voice is None else summary.voices[person.voice].text,
                "box": None
                if person.box is None
                else [person.box.x0, person.box.y0, person.box.x1, person.box.y1],
            }
            for person in summary.people
        ],
        "order": options.order,
        "voices": [
            {
                "path": voice.text,
                "start_s": round(voice.start_s, 3),
                "end_s": round(voice.end_s, 3),
            }
            for voice in summary.voices
        ],
        "estimates": [_estimate_data(estimate) for estimate in video.estimates],
        "presets": [_preset_data(row) for row in video.presets],
        **_first_data(video),
        "adjusted": list(summary.adjusted),
        "picture": None if picture is None else str(picture.absolute()),
    }


def _first_data(video: VideoPlan) -> dict[str, Any]:
    if video.first is None or video.rest is None:
        return {}
    first = video.summary.plan.first_window
    return {
        "first_window": {
            "seconds": round(first.duration_s, 3),
            "frames": first.frames,
            "estimate": _estimate_data(video.first),
            "rest": _estimate_data(video.rest),
        }
    }


def _preset_data(row: PresetEstimate) -> dict[str, Any]:
    """A preset on the chosen GPU; times and prices are null where that cannot run it."""
    estimate, denoising = row.estimate, row.denoising
    return {
        "preset": row.name or None,
        "chosen": row.is_chosen,
        "class": denoising.grade,
        "tier": denoising.tier,
        "sample_steps": denoising.sample_steps,
        "lora": denoising.lora or None,
        "forwards": row.plan.forwards,
        "seconds": None if estimate is None else round(estimate.seconds, 1),
        "seconds_least": None if estimate is None else round(estimate.seconds_least, 1),
        "price_usd": None if estimate is None else round(estimate.price_usd, 4),
        "price_least_usd": None if estimate is None else round(estimate.price_least_usd, 4),
        "price_run_usd": None if estimate is None else round(estimate.price_run_usd, 4),
        "measured": estimate is not None and estimate.measured,
    }


def _estimate_data(estimate: Estimate) -> dict[str, Any]:
    """Times and prices are the most; those that are called least are of the quickest start."""
    start = estimate.start
    return {
        "gpu": estimate.gpu,
        "other_gpu": estimate.other_gpu or None,
        "seconds": round(estimate.seconds, 1),
        "seconds_least": round(estimate.seconds_least, 1),
        "start_seconds": [round(start.least_s, 1), round(start.most_s, 1)],
        "starts_known": start.known,
        "price_usd": round(estimate.price_usd, 4),
        "price_least_usd": round(estimate.price_least_usd, 4),
        "price_run_usd": round(estimate.price_run_usd, 4),
        "price_start_usd": round(estimate.price_start_usd, 4),
        "price_idle_usd": round(estimate.price_idle_usd, 4),
        "measured": estimate.measured,
        "own_videos": [
            {"gpu": pace.gpu, "factor": round(pace.factor, 3), "videos": pace.known}
            for pace in estimate.paces
        ],
    }
