"""A plan and its price in one line each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multitalk_cli.contract import EXACT_TIER
from multitalk_cli.planning.cost import Estimate, Pace, on_gpu
from multitalk_cli.planning.presets import Denoising
from multitalk_cli.planning.windows import Plan
from multitalk_cli.reporting.formatting import (
    human_count,
    human_duration,
    human_money,
    human_range,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from multitalk_cli.planning.rates import Rates

_ALMOST = 0.95


def describe_plan(plan: Plan) -> str:
    """`298 frames at 24 fps in 5 windows`."""
    frames, windows = human_count(plan.frames, "frame"), human_count(len(plan.windows), "window")
    return f"{frames} at {plan.fps} fps in {windows}"


def describe_denoising(denoising: Denoising) -> str:
    """`20 steps`, and what is not as published: `4 steps, tier near, LoRA lightx2v`."""
    parts = [human_count(denoising.sample_steps, "step")]
    parts += [] if denoising.tier == EXACT_TIER else [f"tier {denoising.tier}"]
    parts += [f"LoRA {denoising.lora}"] if denoising.lora else []
    if denoising.text_steps is not None:
        parts.append(f"text guidance kept after step {denoising.text_steps}")
    return ", ".join(parts)


def describe_price(estimate: Estimate, rates: Rates) -> str:
    """`$0.65 to $0.80 on an H100 (10 to 12 min), rates of 2026-07-01`."""
    line = (
        f"{price_range(estimate)} on {on_gpu(estimate)} ({time_range(estimate)}), "
        f"rates of {rates.prices.date.isoformat()}"
    )
    remarks = (line, describe_paces(estimate.paces), estimate.note)
    return ", ".join(remark for remark in remarks if remark)


def describe_paces(paces: Sequence[Pace]) -> str:
    """`as your last 5 videos on h100 took`; empty where none are known."""
    if not paces:
        return ""
    last = (f"your last {pace.known} videos on {pace.gpu}" for pace in paces)
    return f"as {' and '.join(last)} took"


def price_range(estimate: Estimate) -> str:
    """`$0.65 to $0.80`."""
    return money_range(estimate.price_least_usd, estimate.price_usd)


def money_range(least_usd: float, most_usd: float) -> str:
    """`$0.65 to $0.80`; one amount where both are almost the same."""
    return _range(least_usd, most_usd, human_money)


def time_range(estimate: Estimate) -> str:
    """`10 to 12 min`."""
    return span_range(estimate.seconds_least, estimate.seconds)


def span_range(least_s: float, most_s: float) -> str:
    """`10 to 12 min`; one time where both are almost the same."""
    return _range(least_s, most_s, human_duration)


def _range(least: float, most: float, words: Callable[[float], str]) -> str:
    """Only the most where the least is almost that."""
    return human_range(words(most if least > _ALMOST * most else least), words(most))


def describe_start(estimate: Estimate) -> str:
    """`30 s to 2 min 10 s in a new container, ...`: where the range comes from."""
    start = estimate.start
    span = _range(start.least_s, start.most_s, human_duration)
    if start.known:
        return f"{span} in a new container, included above; by this account's last {start.known}"
    return (
        f"{span} in a new container, included above; as others report, until this account's own "
        "starts are known"
    )
