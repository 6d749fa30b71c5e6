"""Time and price of a plan, and the cost guard."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from multitalk_cli.contract import (
    Window,
)
from multitalk_cli.errors import (
    RefusedError,
)
from multitalk_cli.planning import gpus, rates
from multitalk_cli.planning.windows import Plan
from multitalk_cli.reporting.formatting import (
    human_duration,
    human_length,
    human_money,
)

if TYPE_CHECKING:
    from multitalk_cli.planning.rates import FixedWork, GpuRate, Rates


def price_of(gpu: str, seconds: float) -> float:
    """What a card costs for so long, its container included."""
    table = rates.load()
    return seconds * table.price_per_s_usd(table.gpu(gpus.find_gpu(gpu).name))


ASK_ABOVE_SPEECH_S = 60.0
ASK_ABOVE_USD = 5.0
MIN_CHEAPER_STEPS = 10
NOT_MEASURED = "estimate: not measured on this card"


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Time and money for one plan on one card, the exact tier.

    start: a cold container until its first step; a warm one needs none. idle: what the container
    costs after the run until it is let go. seconds_denoise: the part of seconds_run that grows
    with the steps. measured: whether the speed was timed on this card.
    """

    gpu: str
    seconds_run: float
    seconds_denoise: float
    seconds_start: float
    price_run_usd: float
    price_start_usd: float
    price_idle_usd: float
    measured: bool

    @property
    def seconds(self) -> float:
        """From the call to the video, in a cold container."""
        return self.seconds_start + self.seconds_run

    @property
    def price_usd(self) -> float:
        """All that a single cold run costs."""
        return self.price_start_usd + self.price_run_usd + self.price_idle_usd

    @property
    def note(self) -> str:
        """What to know about the figures; empty where they were measured."""
        return "" if self.measured else NOT_MEASURED


def seconds_per_forward(tokens: int, persons: int, gpu: GpuRate, rates: Rates) -> float:
    """One pass through the model: a L + b L^2, more for two people, scaled to the card."""
    speed = rates.speed
    seconds = speed.per_token_s * tokens + speed.per_token_pair_s * tokens**2
    if persons > 1:
        seconds *= speed.two_person_factor
    return seconds * gpu.slowness


def estimate_cost(plan: Plan, rates: Rates, gpu_name: str) -> Estimate:
    """Time and money for the plan on that card; KeyError for a card without rates."""
    gpu = rates.gpu(gpu_name)
    price_per_s = rates.price_per_s_usd(gpu)
    fixed, windows = rates.speed.fixed, plan.windows
    denoise_s = plan.forwards_per_window * sum(
        seconds_per_forward(plan.tokens(window), plan.persons, gpu, rates) for window in windows
    )
    around_s = fixed.text_s + sum(_seconds_around(plan, window, fixed) for window in windows)
    run_s = denoise_s + around_s * gpu.slowness
    start = rates.start
    start_s = start.read_bytes / start.read_bytes_per_s + start.beside_reading_s
    return Estimate(
        gpu=gpu.name,
        seconds_run=run_s,
        seconds_denoise=denoise_s,
        seconds_start=start_s,
        price_run_usd=run_s * price_per_s,
        price_start_usd=start_s * price_per_s,
        price_idle_usd=rates.idle.scaledown_s * price_per_s,
        measured=gpu.measured,
    )


def _seconds_around(plan: Plan, window: Window, fixed: FixedWork) -> float:
    """What a window takes beside its forwards on the reference card: encoders and VAE."""
    pixels = plan.width_px * plan.height_px * window.frames
    share = pixels / (fixed.vae_width_px * fixed.vae_height_px * fixed.vae_frames)
    return fixed.vae_s * share + fixed.image_s


def estimate_all(plan: Plan, rates: Rates, first: str | None = None) -> tuple[Estimate, ...]:
    """One estimate a card, the quickest on top; `first` names the card that is to lead."""
    estimates = [estimate_cost(plan, rates, gpu.name) for gpu in rates.gpus]
    estimates.sort(key=lambda estimate: (estimate.gpu != first, estimate.seconds))
    return tuple(estimates)


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardDecision:
    """What the cost guard says: go on, or ask this question first."""

    action: Literal["go", "ask"]
    question: str = ""


def check_cost(
    plan: Plan,
    estimate: Estimate,
    max_cost: float | None,
    *,
    interactive: bool,
    others: Sequence[Estimate] = (),
) -> GuardDecision:
    """Whether the run may start, must be agreed to first, or is refused with RefusedError.

    max_cost: what the user allows in dollars, or None where nothing was said. others: estimates
    for cards that the user could choose with --gpu, named where they are cheaper.
    """
    price, said = estimate.price_usd, human_money(estimate.price_usd)
    if max_cost is not None:
        # Written so that a limit that is not a number refuses.
        if price <= max_cost:
            return GuardDecision(action="go")
        raise RefusedError(
            f"the estimate is {_apart(said, max_cost, price)}, above --max-cost "
            f"{_plain_money(max_cost)}",
            code="E_COST",
            hint=_hint(plan, estimate, others),
        )
    reasons = _reasons(plan, estimate)
    if not reasons:
        return GuardDecision(action="go")
    about = f"about {said}, {human_duration(estimate.seconds)} on {with_article(estimate.gpu)}"
    if interactive:
        return GuardDecision(action="ask", question=f"{about}: {' and '.join(reasons)}. Go on?")
    raise RefusedError(
        f"{about}: {' and '.join(reasons)} needs --max-cost",
        code="E_COST",
        hint=_hint(plan, estimate, others),
    )


def _reasons(plan: Plan, estimate: Estimate) -> list[str]:
    reasons = []
    if plan.duration_s > ASK_ABOVE_SPEECH_S:
        reasons.append(
            f"{human_length(plan.duration_s)} of speech (more than {ASK_ABOVE_SPEECH_S:.0f} s)"
        )
    if estimate.price_usd > ASK_ABOVE_USD:
        reasons.append(f"a price above {_plain_money(ASK_ABOVE_USD)}")
    return reasons


def _apart(said: str, limit: float, price: float) -> str:
    """The price in as many digits as it takes to tell it from the limit."""
    return f"${price:.4f}" if abs(price - limit) < 0.06 * price else said


def _plain_money(usd: float) -> str:
    """An amount that the user typed, unrounded: $0.75, $5."""
    return f"${usd:g}"


def with_article(gpu: str) -> str:
    """The card's name in a sentence: `an H100`, `a B200`."""
    article = "an" if gpu[0] in "ahl" else "a"
    return f"{article} {gpu.upper()}"


def cheaper_choices(
    plan: Plan, estimate: Estimate, others: Sequence[Estimate] = ()
) -> tuple[str, ...]:
    """Options that make the same video for less, the cheapest first, with what it would cost."""
    choices = [(other.price_usd, f"--gpu {other.gpu}") for other in others]
    if plan.sample_steps > MIN_CHEAPER_STEPS:
        spared = 1 - MIN_CHEAPER_STEPS / plan.sample_steps
        share = estimate.seconds_denoise / estimate.seconds_run
        saved = estimate.price_run_usd * share * spared
        choices.append((estimate.price_usd - saved, f"--sample-steps {MIN_CHEAPER_STEPS}"))
    cheaper = sorted(choice for choice in choices if choice[0] < estimate.price_usd)
    return tuple(f"{option} (about {human_money(price)})" for price, option in cheaper[:3])


def _hint(plan: Plan, estimate: Estimate, others: Sequence[Estimate]) -> str:
    """An amount that is enough, and what costs less."""
    enough = math.ceil(estimate.price_usd * 10 + 1e-9) / 10
    lines = [f"add --max-cost {enough:g} to allow it"]
    choices = cheaper_choices(plan, estimate, others)
    if choices:
        lines.append("cheaper: " + ", ".join(choices))
    return "\n".join(lines)
