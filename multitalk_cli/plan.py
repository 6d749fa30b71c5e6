"""From the length of the speech to windows, time and price: pure arithmetic.

The only place that decides windows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from multitalk_cli.contract import (
    DEFAULT_MOTION_FRAMES,
    DEFAULT_WINDOW_FRAMES,
    MAX_SPEAKERS,
    MAX_WINDOW_FRAMES,
    MIN_WINDOW_FRAMES,
    Window,
    clip_frames,
    is_frame_count,
    seconds_from_frames,
)
from multitalk_cli.errors import RefusedError
from multitalk_cli.wording import human_count, human_duration, human_length, human_money, human_span

if TYPE_CHECKING:
    from multitalk_cli.rates import FixedWork, GpuRate, Rates

ASK_ABOVE_SPEECH_S = 60.0
ASK_ABOVE_USD = 5.0
MIN_CHEAPER_STEPS = 10
NOT_MEASURED = "estimate: not measured on this card"
_PIXELS_PER_TOKEN_SIDE = 16
_FRAMES_PER_LATENT = 4
_WINDOWS_LISTED = 12


def plan_windows(
    frames: int,
    *,
    window_frames: int = DEFAULT_WINDOW_FRAMES,
    motion_frames: int = DEFAULT_MOTION_FRAMES,
) -> tuple[Window, ...]:
    """The windows that together make `frames` frames, or up to three more.

    As few windows of at most `window_frames` as possible, overlapping by `motion_frames`, as equal
    in size as 4n+1 allows, the longer ones first.
    """
    if frames < 1:
        raise ValueError(f"frames must be 1 or more, not {frames}")
    _check_window_sizes(window_frames, motion_frames)
    clip = clip_frames(frames)
    if clip <= window_frames:
        return (Window(start=0, frames=clip),)
    fresh = window_frames - motion_frames
    count = -(-(clip - motion_frames) // fresh)
    # In groups of four after each window's first frame every size and overlap is a whole number.
    groups = clip // _FRAMES_PER_LATENT + motion_frames // _FRAMES_PER_LATENT * (count - 1)
    each, longer = divmod(groups, count)
    windows, start = [], 0
    for number in range(count):
        size = _FRAMES_PER_LATENT * (each + (number < longer)) + 1
        windows.append(Window(start=start, frames=size))
        start += size - motion_frames
    return tuple(windows)


def _check_window_sizes(window_frames: int, motion_frames: int) -> None:
    if not (
        is_frame_count(window_frames) and MIN_WINDOW_FRAMES <= window_frames <= MAX_WINDOW_FRAMES
    ):
        raise ValueError(
            f"window_frames must be 4n+1 from {MIN_WINDOW_FRAMES} to {MAX_WINDOW_FRAMES}, "
            f"not {window_frames}"
        )
    if not (is_frame_count(motion_frames) and motion_frames < window_frames):
        raise ValueError(
            f"motion_frames must be 4n+1 and fewer than the window's {window_frames}, "
            f"not {motion_frames}"
        )


def guidance_branches(text_guidance: float) -> int:
    """How many forwards one step takes: a text guidance of 1 spares one of three."""
    return 2 if math.isclose(text_guidance, 1.0) else 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What will be computed: the windows, and everything that decides how long they take.

    frames: how many frames the video has. persons: how many the model binds to a track.
    """

    frames: int
    fps: int
    width_px: int
    height_px: int
    sample_steps: int
    branches: int
    persons: int
    motion_frames: int
    windows: tuple[Window, ...]

    @property
    def duration_s(self) -> float:
        """How long the video plays."""
        return seconds_from_frames(self.frames, self.fps)

    @property
    def generated_frames(self) -> int:
        """Frames that the model makes, motion frames counted in each window that repeats them."""
        return sum(window.frames for window in self.windows)

    @property
    def dropped_frames(self) -> int:
        """Frames made beyond the end of the speech."""
        return self.windows[-1].end - self.frames

    @property
    def forwards_per_window(self) -> int:
        """Passes through the model for one window."""
        return self.sample_steps * self.branches

    @property
    def forwards(self) -> int:
        """Passes through the model for the whole video."""
        return self.forwards_per_window * len(self.windows)

    @property
    def fresh_spans(self) -> tuple[tuple[float, float], ...]:
        """From when to when each window adds to the video, in seconds."""
        ends = [min(window.end, self.frames) for window in self.windows]
        starts = [0, *ends[:-1]]
        return tuple(
            (seconds_from_frames(start, self.fps), seconds_from_frames(end, self.fps))
            for start, end in zip(starts, ends, strict=True)
        )

    def tokens(self, window: Window) -> int:
        """Tokens of one forward over that window."""
        latent_frames = window.frames // _FRAMES_PER_LATENT + 1
        rows, columns = (side // _PIXELS_PER_TOKEN_SIDE for side in (self.height_px, self.width_px))
        return latent_frames * rows * columns


def make_plan(
    frames: int,
    fps: int,
    *,
    size: tuple[int, int],
    sample_steps: int,
    text_guidance: float,
    persons: int,
    window_frames: int = DEFAULT_WINDOW_FRAMES,
    motion_frames: int = DEFAULT_MOTION_FRAMES,
) -> Plan:
    """The plan for `frames` frames of speech; size is width and height in pixels."""
    if not 1 <= persons <= MAX_SPEAKERS:
        raise ValueError(f"persons must be 1 to {MAX_SPEAKERS}, not {persons}")
    return Plan(
        frames=frames,
        fps=fps,
        width_px=size[0],
        height_px=size[1],
        sample_steps=sample_steps,
        branches=guidance_branches(text_guidance),
        persons=persons,
        motion_frames=motion_frames,
        windows=plan_windows(frames, window_frames=window_frames, motion_frames=motion_frames),
    )


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
    about = f"about {said}, {human_duration(estimate.seconds)} on {_a_card(estimate.gpu)}"
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


def describe_plan(plan: Plan) -> str:
    """One line: `298 frames at 24 fps in 5 windows, 20 steps, exact`."""
    frames, windows = human_count(plan.frames, "frame"), human_count(len(plan.windows), "window")
    steps = human_count(plan.sample_steps, "step")
    return f"{frames} at {plan.fps} fps in {windows}, {steps}, exact"


def _a_card(gpu: str) -> str:
    """The card's name in a sentence: `an H100`, `a B200`."""
    article = "an" if gpu[0] in "ahl" else "a"
    return f"{article} {gpu.upper()}"


def describe_price(estimate: Estimate, rates: Rates) -> str:
    """One line: `about $0.80 on an H100 (12 min), rates of 2026-07-01`."""
    line = (
        f"about {human_money(estimate.price_usd)} on {_a_card(estimate.gpu)} "
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
