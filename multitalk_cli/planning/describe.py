"""Plans and prices in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from multitalk_cli.planning.cost import Estimate, with_article
from multitalk_cli.planning.windows import Plan
from multitalk_cli.reporting.formatting import (
    human_count,
    human_duration,
    human_money,
    human_span,
)

if TYPE_CHECKING:
    from multitalk_cli.planning.rates import Rates


_WINDOWS_LISTED = 12


def describe_plan(plan: Plan) -> str:
    """One line: `298 frames at 24 fps in 5 windows, 20 steps, exact`."""
    frames, windows = human_count(plan.frames, "frame"), human_count(len(plan.windows), "window")
    steps = human_count(plan.sample_steps, "step")
    return f"{frames} at {plan.fps} fps in {windows}, {steps}, exact"


def describe_price(estimate: Estimate, rates: Rates) -> str:
    """One line: `about $0.80 on an H100 (12 min), rates of 2026-07-01`."""
    line = (
        f"about {human_money(estimate.price_usd)} on {with_article(estimate.gpu)} "
        f"({human_duration(estimate.seconds)}), rates of {rates.prices.date.isoformat()}"
    )
    return f"{line}, {estimate.note}" if estimate.note else line


def describe_money(estimate: Estimate) -> str:
    """One line that keeps the three kinds of money apart."""
    return (
        f"{human_money(estimate.price_run_usd)} for the run, "
        f"{human_money(estimate.price_start_usd)} for a cold start "
        f"({human_duration(estimate.seconds_start)}), "
        f"{human_money(estimate.price_idle_usd)} idle afterwards"
    )


def describe_windows(plan: Plan) -> tuple[str, ...]:
    """One entry a window: `1: 0.0 to 3.4 s`; the middle of a long list is left out."""
    entries = [
        f"{number}: {human_span(*span)}" for number, span in enumerate(plan.fresh_spans, start=1)
    ]
    if len(entries) <= _WINDOWS_LISTED:
        return tuple(entries)
    return (*entries[: _WINDOWS_LISTED - 2], "...", entries[-1])


def describe_estimates(estimates: Sequence[Estimate]) -> tuple[tuple[str, str, str, str], ...]:
    """One row a card: its name, the time, the price, and what to know about them."""
    return tuple(
        (
            estimate.gpu,
            human_duration(estimate.seconds),
            human_money(estimate.price_usd),
            estimate.note,
        )
        for estimate in estimates
    )
