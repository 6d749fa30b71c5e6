"""A plan and its price in one line each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multitalk_cli.planning.cost import Estimate, with_article
from multitalk_cli.planning.windows import Plan
from multitalk_cli.reporting.formatting import human_count, human_duration, human_money

if TYPE_CHECKING:
    from multitalk_cli.planning.rates import Rates


def describe_plan(plan: Plan) -> str:
    """`298 frames at 24 fps in 5 windows, 20 steps`."""
    frames, windows = human_count(plan.frames, "frame"), human_count(len(plan.windows), "window")
    steps = human_count(plan.sample_steps, "step")
    return f"{frames} at {plan.fps} fps in {windows}, {steps}"


def describe_price(estimate: Estimate, rates: Rates) -> str:
    """`about $0.80 on an H100 (12 min), rates of 2026-07-01`."""
    line = (
        f"about {human_money(estimate.price_usd)} on {with_article(estimate.gpu)} "
        f"({human_duration(estimate.seconds)}), rates of {rates.prices.date.isoformat()}"
    )
    return f"{line}, {estimate.note}" if estimate.note else line
