"""`multitalk bench`: its task, its cost, and its result compared with the rates."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from multitalk_cli import contract, settings
from multitalk_cli.cloud.call_result import CallRecord, await_answer, read_progress
from multitalk_cli.cloud.readiness import check_quality, check_ready
from multitalk_cli.contract.bench_task import PERSONS, WINDOWS, BenchTask
from multitalk_cli.errors import UsageError
from multitalk_cli.planning import cost as planning_cost
from multitalk_cli.planning import gpus, rates, windows
from multitalk_cli.planning.presets import Denoising

if TYPE_CHECKING:
    from multitalk_cli.cloud.client import Cloud
    from multitalk_cli.planning.rates import GpuRate
    from multitalk_cli.reporting.reporter import Reporter

DEFAULT_SIZE = "{}x{}".format(*contract.DEFAULT_SIZE_PX)
TIMED_STEPS = 3
SPEECH_S = 10.0
"""Length of the video whose price is compared."""
COMPARED_FORWARDS = 16
"""Forwards of a tier for `--quality`: four branches at three noise levels, and at the gate."""
_REREAD_S = 30.0  # of the transformer, for each other tier: not measured
# Attention kernels, the smaller networks, and a short video twice: not measured.
_OTHER_FORWARDS = 15
_SHORTEST_WAIT_S, _SLACK = 1800.0, 5.0


def make_task(
    size: str, persons: str, steps: int | None, gpu: str, attention: str, *, quality: bool = False
) -> BenchTask:
    """The task for a GPU. Raises UsageError E_RANGE, and E_CONFLICT for steps where none is timed.

    steps: to time; None for the usual number. quality: whether to compare tiers instead.
    """
    if quality and steps is not None:
        raise UsageError(
            "--steps is for times, and --quality compares at three noise levels",
            code="E_CONFLICT",
            facts={"options": ("--quality", "--steps")},
        )
    prompts = (settings.DEFAULT_PROMPT, settings.NEGATIVE_PROMPT) if quality else ("", "")
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", size)
    if match is None:
        raise UsageError(
            f"--size is WIDTHxHEIGHT such as {DEFAULT_SIZE}, not {size!r}",
            code="E_RANGE",
            facts={"option": "--size", "example": DEFAULT_SIZE},
        )
    if persons not in PERSONS:
        raise UsageError(
            f"--persons must be one of {', '.join(PERSONS)}, not {persons!r}",
            code="E_RANGE",
            facts={"option": "--persons", "example": "both"},
        )
    try:
        return BenchTask(
            job_id=secrets.token_hex(8),
            width_px=int(match[1]),
            height_px=int(match[2]),
            persons=PERSONS[persons],
            steps=TIMED_STEPS if steps is None else steps,
            persistent_params=gpus.find_gpu(gpu).persistent_params,
            attention=attention,
            quality=quality,
            prompt=prompts[0],
            negative_prompt=prompts[1],
        )
    except contract.ContractError as error:
        # It names its fields; a user knows the options.
        text = re.sub(r"^(width_px|height_px)", f"a side of --size {size}", f"{error}")
        text = re.sub(r"^steps", "--steps", text)
        raise UsageError(text, code="E_RANGE", facts={"option": "--size or --steps"}) from None


def describe(task: BenchTask) -> str:
    """The task in the list of jobs: `896x448`, `896x448, errors of tiers`."""
    size = f"{task.width_px}x{task.height_px}"
    return f"{size}, errors of tiers" if task.quality else size


def check_app(cloud: Cloud, task: BenchTask, stack: str) -> None:
    """Raises SetupError if the deployed app could not do the task."""
    check_ready(cloud, stack)
    if task.quality:
        check_quality(cloud)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Time and price of a benchmark, roughly, with the start of its container.

    quality: whether it compares tiers.
    """

    gpu: str
    seconds: float
    price_usd: float
    note: str
    quality: bool


def estimate(task: BenchTask, gpu: str, stack: str) -> Cost:
    """Time and price of the task. Raises RefusedError for a GPU that cannot do it."""
    chosen, table = gpus.find_gpu(gpu), rates.load()
    plans = [_measured_plan(task, persons) for persons in task.persons]
    gpus.check_gpu(chosen, stack, plans[-1])
    gpus.check_attention(task.attention, chosen, stack)
    asked = planning_cost.Setup(stack=stack, attention=task.attention)
    estimates = [
        planning_cost.estimate_cost(plan, table, chosen.name, asked=asked) for plan in plans
    ]
    rate = table.gpu(chosen.name)
    seconds = estimates[0].start.most_s
    if task.quality:
        seconds += _compared_s(plans, chosen, rate, table, stack)
    else:
        tokens = plans[0].tokens(plans[0].windows[0])
        forward_s = planning_cost.seconds_per_forward(tokens, 1, rate, table, stack)
        seconds += sum(each.seconds_run for each in estimates) + _OTHER_FORWARDS * forward_s
    paid_s = seconds + table.idle.scaledown_s
    return Cost(
        gpu=chosen.name,
        seconds=seconds,
        price_usd=paid_s * table.price_per_s_usd(rate),
        note=estimates[0].note,
        quality=task.quality,
    )


def _compared_s(
    plans: Sequence[windows.Plan], gpu: gpus.Gpu, rate: GpuRate, table: rates.Rates, stack: str
) -> float:
    """Seconds to compute all tiers of the GPU, and exact once more with another kernel.

    Raises RefusedError where it has the exact tier alone.
    """
    exact, near, *_ = contract.TIERS
    gpus.check_tier(near, gpu, stack)
    others = [tier for tier in contract.TIERS[1:] if gpus.has_tier(tier, gpu, stack)]
    seconds = _REREAD_S * len(others)
    for plan in plans:
        tokens = plan.tokens(plan.windows[0])
        seconds += COMPARED_FORWARDS * sum(
            planning_cost.seconds_per_forward(tokens, plan.persons, rate, table, stack, tier)
            for tier in (exact, exact, *others)
        )
    return seconds


def _measured_plan(task: BenchTask, persons: int) -> windows.Plan:
    fresh = contract.DEFAULT_WINDOW_FRAMES - contract.DEFAULT_MOTION_FRAMES
    return windows.make_plan(
        fresh * WINDOWS + contract.DEFAULT_MOTION_FRAMES,
        contract.DEFAULT_FPS,
        size=(task.width_px, task.height_px),
        persons=persons,
        denoising=Denoising(sample_steps=task.steps),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A measured speed and the one by the rates, on which estimates rest.

    gpu: of the container; empty for a CPU, which has no rates. seconds_per_video_s: of a warm
    container, at 20 steps.
    """

    gpu: str
    persons: int
    forward_s: float
    expected_s: float | None
    ratio: float | None
    seconds_per_video_s: float
    usd_per_video_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchResult:
    """The report of a container, its table for people, and a comparison for each of its rows.

    quality: whether it is a report of the tiers' errors, which has neither of these.
    """

    report: Mapping[str, Any]
    table: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    quality: bool = False


def run(
    cloud: Cloud,
    stack: str,
    gpu: str,
    task: BenchTask,
    cost: Cost,
    record: CallRecord,
    reporter: Reporter,
) -> BenchResult:
    """The result of a benchmark. Whatever else ends the waiting cancels it."""
    with reporter.progress() as progress:

        def show() -> None:
            state = cloud.state(task.job_id)
            if state is None:
                progress.show(contract.Queued())
                return
            record.ran(float(state["run_s"]))
            spent_usd = planning_cost.price_of(gpu, state["run_s"])
            event = read_progress(state["event"])
            if event is not None:
                progress.show(event, spent_usd)

        answer = await_answer(
            cloud,
            lambda: record.spawned(cloud.spawn_bench(stack, gpu, contract.to_wire(task))),
            show,
            reporter,
            limit_s=max(_SHORTEST_WAIT_S, _SLACK * cost.seconds),
        )
        show()
    report = answer["report"]
    return BenchResult(
        report=report,
        table=tuple(answer["lines"]),
        comparisons=() if task.quality else compare(report, task, gpu, stack),
        quality=task.quality,
    )


def compare(
    report: Mapping[str, Any], task: BenchTask, gpu: str, stack: str
) -> tuple[Comparison, ...]:
    """The report's rows, compared with the rates of the GPU that the container had."""
    device = report["machine"]["device"]
    seen = "" if device == "cpu" else gpus.gpu_from_device(device, gpu)
    paid = gpus.paid_gpu(device, gpu)
    return tuple(_compare(row, task, seen, paid, stack) for row in report["runs"])


def _compare(
    row: Mapping[str, Any], task: BenchTask, gpu: str, paid: str, stack: str
) -> Comparison:
    persons, forward_s = row["persons"], row["forward"]["median"]
    per_s = _seconds_per_video_s(row["prices"])
    expected_s = ratio = usd = None
    if gpu:
        measured, table = _measured_plan(task, persons), rates.load()
        tokens = measured.tokens(measured.windows[0])
        rate = table.gpu(gpu)
        expected_s = planning_cost.seconds_per_forward(tokens, persons, rate, table, stack)
        ratio, usd = forward_s / expected_s, planning_cost.price_of(paid, per_s)
    return Comparison(
        gpu=gpu,
        persons=persons,
        forward_s=forward_s,
        expected_s=expected_s,
        ratio=ratio,
        seconds_per_video_s=per_s,
        usd_per_video_s=usd,
    )


def _seconds_per_video_s(prices: Sequence[Mapping[str, Any]]) -> float:
    (job,) = (job for job in prices if job["speech_s"] == SPEECH_S and not job["is_cold"])
    return float(job["seconds_per_s"])
