"""Time and price of a plan, and the cost guard."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import TYPE_CHECKING, Literal

from multitalk_cli.contract import AUTO_ATTENTION, EXACT_TIER, Window
from multitalk_cli.errors import RefusedError
from multitalk_cli.planning import containers, gpus, rates
from multitalk_cli.planning.presets import PRESETS, Denoising, default_shift, name_of
from multitalk_cli.planning.windows import Plan
from multitalk_cli.reporting.formatting import human_duration, human_length, human_money

if TYPE_CHECKING:
    from multitalk_cli.errors.exceptions import Fact
    from multitalk_cli.planning.rates import FixedWork, GpuRate, Rates

ASK_ABOVE_SPEECH_S = 60.0
ASK_ABOVE_USD = 5.0
MIN_CHEAPER_STEPS = 10
MIN_KNOWN_STARTS = 3
MIN_KNOWN_VIDEOS = 3
LEAST_PACE, MOST_PACE = 0.5, 3.0
NOT_MEASURED = "estimate: not measured on this GPU"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What is asked for and decides speed and memory on a GPU.

    persistent_params: the most parameters that stay on the GPU; None for the GPU's own. tier: one
    of contract.TIERS.
    """

    stack: str = gpus.DEFAULT_STACK
    attention: str = AUTO_ATTENTION
    persistent_params: int | None = None
    tier: str = EXACT_TIER

    def note(self, gpu: GpuRate, rates: Rates) -> str:
        """What of it was not measured; empty for what was."""
        if not gpu.measured:
            return NOT_MEASURED
        if not rates.tier(self.tier).measured:
            return f"estimate: not measured in the tier {self.tier}"
        if self.stack not in rates.speeds:
            return f"estimate: not measured with the stack {self.stack}"
        if self.attention not in (AUTO_ATTENTION, rates.speed_of(self.stack).attention):
            return f"estimate: not measured with --attention {self.attention}"
        return ""


DEFAULT_SETUP = Setup()


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRange:
    """How long a cold container takes until its first step.

    known: the starts of this account that it is made of; 0 for the range of the rates.
    """

    least_s: float
    most_s: float
    known: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Experience:
    """What this account's own finished videos took.

    starts: seconds of new containers until their first step. ratios: GPU and setup -> seconds of
    the newest videos made so, each over its estimate.
    """

    starts: Sequence[float] = ()
    ratios: Mapping[tuple[str, Setup], Sequence[float]] = field(default_factory=dict)


NO_EXPERIENCE = Experience()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How many times as long as estimated videos take on a GPU, by `known` of this account's own.

    A factor below 1 makes only the least of an estimate less: what limits money counts the most.
    """

    gpu: str
    factor: float = 1.0
    known: int = 0

    @property
    def most(self) -> float:
        """The factor of what an estimate says at most."""
        return max(1.0, self.factor)


def pace_of(gpu: str, ratios: Sequence[float]) -> Pace:
    """The median of the ratios, within bounds, once there are enough of them; until then 1."""
    if len(ratios) < MIN_KNOWN_VIDEOS:
        return Pace(gpu=gpu)
    factor = min(max(median(ratios), LEAST_PACE), MOST_PACE)
    return Pace(gpu=gpu, factor=factor, known=len(ratios))


def start_range(rates: Rates, known: Sequence[float] = ()) -> StartRange:
    """The range of this account's own starts once there are enough, until then of the rates."""
    if len(known) < MIN_KNOWN_STARTS:
        return StartRange(least_s=rates.start.least_s, most_s=rates.start.most_s)
    return StartRange(least_s=min(known), most_s=max(known), known=len(known))


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Time and money for one plan on one GPU: the most, and the least of the sums.

    start: a cold container until its first step; a warm one needs none. price_idle_usd: of the
    container after the run, until it is stopped. seconds_denoise: the part of seconds_run that
    grows with the steps. note: a remark on a speed that was not timed so. other_gpu: what may run
    it instead, at its own price; empty where one GPU was asked for. paces: of this account's own
    videos, of each GPU of which enough are known.
    """

    gpu: str
    seconds_run: float
    seconds_denoise: float
    start: StartRange
    seconds_least: float
    price_least_usd: float
    price_run_usd: float
    price_start_usd: float
    price_idle_usd: float
    note: str = ""
    other_gpu: str = ""
    paces: tuple[Pace, ...] = ()

    @property
    def seconds(self) -> float:
        """The longest time from the call to the video, in a cold container."""
        return self.start.most_s + self.seconds_run

    @property
    def price_usd(self) -> float:
        """The most that a single cold run costs."""
        return self.price_start_usd + self.price_run_usd + self.price_idle_usd

    @property
    def measured(self) -> bool:
        """Whether the speed was timed on this GPU, with this stack and attention."""
        return not self.note


def price_of(gpu: str, seconds: float) -> float:
    """The price in dollars of a container with that GPU for so many seconds."""
    table = rates.load()
    return seconds * table.price_per_s_usd(table.gpu(gpus.find_gpu(gpu).name))


def price_without_gpu(cores: float, memory_gib: float, seconds: float) -> float:
    """The price in dollars of a container without a GPU for so many seconds."""
    prices = rates.load().prices
    return seconds * (cores * prices.core_per_s_usd + memory_gib * prices.gib_per_s_usd)


def seconds_for(gpu: str, max_usd: float | None) -> float | None:
    """How long a job may run with that GPU for so much money, and then idle; None without a limit.

    Its start is not counted, which a warm container does not have.
    """
    if max_usd is None:
        return None
    table = rates.load()
    price_per_s = table.price_per_s_usd(table.gpu(gpus.find_gpu(gpu).name))
    return max(0.0, max_usd / price_per_s - table.idle.scaledown_s)


def seconds_per_forward(
    tokens: int,
    persons: int,
    gpu: GpuRate,
    rates: Rates,
    stack: str = gpus.DEFAULT_STACK,
    tier: str = EXACT_TIER,
) -> float:
    """One pass through the model: a L + b L^2, more for two people, scaled to GPU and tier."""
    exact_s = rates.speed_of(stack).seconds_per_forward(tokens, persons) * gpu.slowness
    return exact_s * rates.tier(tier).factor


def estimate_cost(
    plan: Plan,
    rates: Rates,
    gpu_name: str,
    asked: Setup = DEFAULT_SETUP,
    known: Experience = NO_EXPERIENCE,
) -> Estimate:
    """Time and money for the plan on that GPU; KeyError for a GPU without rates.

    gpu_name: `auto` for whichever of its choices is free.
    """
    if gpu_name != gpus.AUTO:
        return _estimate(plan, rates, gpu_name, asked, known)
    first, other = (_estimate(plan, rates, name, asked, known) for name in gpus.FALLBACKS)
    slower = max(first, other, key=lambda each: each.seconds_run)
    return replace(
        first,
        seconds_run=slower.seconds_run,
        seconds_denoise=slower.seconds_denoise,
        seconds_least=min(first.seconds_least, other.seconds_least),
        price_least_usd=min(first.price_least_usd, other.price_least_usd),
        price_run_usd=max(first.price_run_usd, other.price_run_usd),
        price_start_usd=max(first.price_start_usd, other.price_start_usd),
        price_idle_usd=max(first.price_idle_usd, other.price_idle_usd),
        other_gpu=other.gpu,
        paces=(*first.paces, *other.paces),
    )


def _estimate(plan: Plan, rates: Rates, gpu_name: str, asked: Setup, known: Experience) -> Estimate:
    gpu, start = rates.gpu(gpu_name), start_range(rates, known.starts)
    pace = pace_of(gpu.name, known.ratios.get((gpu.name, asked), ()))
    memory_gib = containers.billed_gib(plan, gpus.find_gpu(gpu_name), asked.persistent_params)
    price_per_s = rates.price_per_s_usd(gpu, memory_gib)
    fixed, windows = rates.speed_of(asked.stack).fixed, plan.windows
    denoise_s = plan.forwards_per_window * sum(
        seconds_per_forward(plan.tokens(window), plan.persons, gpu, rates, asked.stack, asked.tier)
        for window in windows
    )
    around_s = fixed.text_s + sum(_seconds_around(plan, window, fixed) for window in windows)
    usual_s = denoise_s + around_s * gpu.slowness
    run_s, least_s = usual_s * pace.most, start.least_s + usual_s * pace.factor
    return Estimate(
        gpu=gpu.name,
        seconds_run=run_s,
        seconds_denoise=denoise_s * pace.most,
        start=start,
        seconds_least=least_s,
        price_least_usd=(least_s + rates.idle.scaledown_s) * price_per_s,
        price_run_usd=run_s * price_per_s,
        price_start_usd=start.most_s * price_per_s,
        price_idle_usd=rates.idle.scaledown_s * price_per_s,
        note="" if pace.known else asked.note(gpu, rates),
        paces=(pace,) if pace.known else (),
    )


def _seconds_around(plan: Plan, window: Window, fixed: FixedWork) -> float:
    """The work of a window around its forwards on the reference GPU: encoders and VAE."""
    pixels = plan.width_px * plan.height_px * window.frames
    share = pixels / (fixed.vae_width_px * fixed.vae_height_px * fixed.vae_frames)
    return fixed.vae_s * share + fixed.image_s


def can_run(plan: Plan, gpu: gpus.Gpu, asked: Setup) -> bool:
    """Whether the GPU has the memory for the plan, and the stack and the tier."""
    return gpus.can_run(gpu, asked.stack, plan) and gpus.has_tier(asked.tier, gpu, asked.stack)


@dataclass(frozen=True, slots=True, kw_only=True)
class PresetEstimate:
    """A preset, or denoising as asked, for one plan. name: empty for no preset.

    estimate: None where the GPU cannot run it.
    """

    name: str
    denoising: Denoising
    plan: Plan
    estimate: Estimate | None
    is_chosen: bool


def estimate_presets(
    plan: Plan,
    rates: Rates,
    gpu_name: str,
    chosen: Denoising,
    *,
    asked: Setup = DEFAULT_SETUP,
    known: Experience = NO_EXPERIENCE,
) -> tuple[PresetEstimate, ...]:
    """The plan in every preset on one GPU, after what is chosen, if that is none of them.

    gpu_name, asked, known: as of `estimate_cost`.
    """
    chosen_name = name_of(chosen, default_shift(plan.width_px, plan.height_px))
    ways = {} if chosen_name else {"": chosen}
    rows = []
    for name, denoising in (ways | dict(PRESETS)).items():
        other, setup = plan.denoised(denoising), replace(asked, tier=denoising.tier)
        is_able = can_run(other, gpus.find_gpu(gpu_name), setup)
        found = estimate_cost(other, rates, gpu_name, setup, known) if is_able else None
        rows.append(
            PresetEstimate(
                name=name,
                denoising=denoising,
                plan=other,
                estimate=found,
                is_chosen=name == chosen_name,
            )
        )
    return tuple(rows)


def estimate_all(
    plan: Plan,
    rates: Rates,
    first: str | None = None,
    *,
    asked: Setup = DEFAULT_SETUP,
    known: Experience = NO_EXPERIENCE,
) -> tuple[Estimate, ...]:
    """An estimate for each GPU that can run it, the fastest first; but `first`, if given, leads.

    first: a name, an alias or `auto`. asked, known: as of `estimate_cost`.
    """
    leading = None if first is None else gpus.find_gpu(first).name
    able = (gpu.name for gpu in rates.gpus if can_run(plan, gpus.find_gpu(gpu.name), asked))
    estimates = [
        estimate_cost(
            plan,
            rates,
            gpus.AUTO if first == gpus.AUTO and name == leading else name,
            asked,
            known,
        )
        for name in able
    ]
    estimates.sort(key=lambda estimate: (estimate.gpu != leading, estimate.seconds))
    return tuple(estimates)


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardDecision:
    """The cost guard's decision: start, or ask this question first."""

    action: Literal["go", "ask"]
    question: str = ""


def check_cost(
    plan: Plan,
    estimate: Estimate,
    max_cost: float | None,
    *,
    interactive: bool,
    others: Sequence[Estimate] = (),
    presets: Sequence[PresetEstimate] = (),
) -> GuardDecision:
    """Decides whether the run may start, needs consent, or is rejected with RefusedError E_COST.

    max_cost: the user's limit in dollars, or None without one. others: estimates for GPUs that the
    user could choose with --gpu. presets: those of the chosen GPU. Facts of the error:
    `enough_usd`, a limit that allows the run; `cheaper`, options that make the video for less.
    """
    price_usd = estimate.price_usd
    facts: dict[str, Fact] = {
        "enough_usd": math.ceil(price_usd * 10 + 1e-9) / 10,
        "cheaper": (
            *cheaper_choices(plan, estimate, others, max_cost),
            *_cheaper_preset(estimate, presets, max_cost),
        ),
    }
    if max_cost is not None:
        # Written so that NaN as the limit rejects.
        if price_usd <= max_cost:
            return GuardDecision(action="go")
        is_close = abs(price_usd - max_cost) < 0.06 * price_usd
        shown = f"${price_usd:.4f}" if is_close else human_money(price_usd)
        raise RefusedError(
            f"the estimate is up to {shown}, above --max-cost {_plain_money(max_cost)}",
            code="E_COST",
            facts=facts,
        )
    reasons = " and ".join(_reasons(plan, estimate))
    if not reasons:
        return GuardDecision(action="go")
    about = (
        f"up to {human_money(price_usd)}, {human_duration(estimate.seconds)} "
        f"on {on_gpu(estimate)}: {reasons}"
    )
    if interactive:
        return GuardDecision(action="ask", question=f"{about}. Continue?")
    raise RefusedError(f"{about} needs --max-cost", code="E_COST", facts=facts)


def _reasons(plan: Plan, estimate: Estimate) -> list[str]:
    reasons = []
    if plan.duration_s > ASK_ABOVE_SPEECH_S:
        reasons.append(
            f"{human_length(plan.duration_s)} of speech (more than {ASK_ABOVE_SPEECH_S:.0f} s)"
        )
    if estimate.price_usd > ASK_ABOVE_USD:
        reasons.append(f"a price above {_plain_money(ASK_ABOVE_USD)}")
    return reasons


def _plain_money(usd: float) -> str:
    """An amount that the user typed, unrounded: $0.75, $5."""
    return f"${usd:g}"


def with_article(gpu: str) -> str:
    """The GPU's name in a sentence: `an H100`, `a B200`."""
    article = "an" if gpu[0] in "ahlr" else "a"
    return f"{article} {gpu.upper()}"


def on_gpu(estimate: Estimate) -> str:
    """Where it runs, in a sentence: `an H100`, with `auto` `an H100 or H200`."""
    other = f" or {estimate.other_gpu.upper()}" if estimate.other_gpu else ""
    return f"{with_article(estimate.gpu)}{other}"


def cheaper_choices(
    plan: Plan,
    estimate: Estimate,
    others: Sequence[Estimate] = (),
    max_cost: float | None = None,
) -> tuple[str, ...]:
    """Options that make the same video for less, with the price of each, the cheapest first.

    max_cost: the limit; if any of them is within it, the others are left out.
    """
    choices = [(other.price_usd, f"--gpu {other.gpu}") for other in others]
    if plan.sample_steps > MIN_CHEAPER_STEPS:
        spared = 1 - MIN_CHEAPER_STEPS / plan.sample_steps
        share = estimate.seconds_denoise / estimate.seconds_run
        saved = estimate.price_run_usd * share * spared
        choices.append((estimate.price_usd - saved, f"--steps {MIN_CHEAPER_STEPS}"))
    cheaper = sorted(choice for choice in choices if choice[0] < estimate.price_usd)
    limit = math.inf if max_cost is None else max_cost
    named = [choice for choice in cheaper if choice[0] <= limit] or cheaper
    return tuple(f"{option} (about {human_money(price)})" for price, option in named[:3])


def _cheaper_preset(
    estimate: Estimate, presets: Sequence[PresetEstimate], max_cost: float | None
) -> tuple[str, ...]:
    """The preset that loses least of those that cost less, and no more than the limit."""
    limit = math.inf if max_cost is None else max_cost
    prices = [(row.name, row.estimate.price_usd) for row in presets if row.name and row.estimate]
    fitting = (each for each in prices if each[1] < estimate.price_usd and each[1] <= limit)
    return tuple(f"--preset {name} (about {human_money(usd)})" for name, usd in [*fitting][:1])
