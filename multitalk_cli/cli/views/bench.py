"""The cost and the result of `multitalk bench` as lines and JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from multitalk_cli.cli.layout import Block, Line
from multitalk_cli.cli.views.quality import quality_blocks
from multitalk_cli.reporting.formatting import (
    human_count,
    human_duration,
    human_money,
    human_rate,
)

if TYPE_CHECKING:
    from multitalk_cli.cloud.bench import BenchResult, Comparison, Cost

_TRUE_TO_RATES = (0.8, 1.25)


def cost_line(cost: Cost) -> str:
    """The work and price of a benchmark, to agree to."""
    about = f"up to {human_duration(cost.seconds)}, {human_money(cost.price_usd)}"
    read = "reads the weights in every tier and compares"
    work = read if cost.quality else "reads the weights and measures"
    line = f"{cost.gpu}: starts a container, {work}, {about}"
    return f"{line} ({cost.note})" if cost.note else line


def data(result: BenchResult) -> dict[str, Any]:
    """The JSON of `bench`."""
    return {**result.report, "rates": [_comparison_data(each) for each in result.comparisons]}


def blocks(result: BenchResult) -> list[Block]:
    """The container's own table, then the comparisons of its speed with the rates; or errors."""
    if result.quality:
        return quality_blocks(result.report)
    rows = [Line(row.lstrip(), indent=len(row) - len(row.lstrip())) for row in result.table]
    return [*rows, *(Line(comparison_line(each)) for each in result.comparisons)]


def _comparison_data(comparison: Comparison) -> dict[str, Any]:
    values = asdict(comparison)
    return {"card": values.pop("gpu"), **values}


def comparison_line(comparison: Comparison) -> str:
    """A measured speed, the one expected by the rates, and whether estimates hold."""
    persons = human_count(comparison.persons, "person")
    expected_s, ratio, usd = comparison.expected_s, comparison.ratio, comparison.usd_per_video_s
    forward = f"{comparison.forward_s:.3f} s a forward"
    if expected_s is None or ratio is None or usd is None:
        return f"cpu, {persons}: {forward}; the rates are for GPUs only"
    low, high = _TRUE_TO_RATES
    verdict = "estimates hold"
    if not low <= ratio <= high:
        verdict = "estimates are too low" if ratio > high else "estimates are too high"
    return (
        f"{comparison.gpu}, {persons}: {forward}, {expected_s:.3f} s by the "
        f"rates, {ratio:.2f} times as long: {verdict}; "
        f"{comparison.seconds_per_video_s:.1f} s and {human_rate(usd)} for a second of video"
    )
