"""What `multitalk bench` asks of a card, what that costs, and what its report says of the rates."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from multitalk_cli import contract
from multitalk_cli.cloud.call_result import await_answer
from multitalk_cli.contract.bench_task import PERSONS, WINDOWS, BenchTask
from multitalk_cli.errors import UsageError
from multitalk_cli.planning import cost as planning_cost
from multitalk_cli.planning import gpus, rates, windows
from multitalk_cli.reporting.formatting import human_duration, human_money

if TYPE_CHECKING:
    from multitalk_cli.cloud.client import Cloud
    from multitalk_cli.reporting.reporter import Reporter

DEFAULT_SIZE = "{}x{}".format(*contract.DEFAULT_SIZE_PX)
SPEECH_S = 10.0
"""Of the video whose price is told."""
_TEXT_GUIDANCE = 5.0
# Attention kernels, networks beside the transformer, and a short video twice: not measured.
_OTHER_FORWARDS = 15
_SHORTEST_WAIT_S, _SLACK = 1800.0, 5.0
_TRUE_TO_RATES = (0.8, 1.25)


def make_task(size: str, persons: str, steps: int, gpu: str) -> BenchTask:
    """What is asked of that card. Raises UsageError E_RANGE."""
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", size)
    if match is None:
        raise UsageError(
            f"--size is WIDTHxHEIGHT such as {DEFAULT_SIZE}, not {size!r}",
            code="E_RANGE",
            hint=f"multitalk bench --size {DEFAULT_SIZE}",
        )
    if persons not in PERSONS:
        raise UsageError(
            f"--persons is {', '.join(PERSONS)}, not {persons!r}",
            code="E_RANGE",
            hint="multitalk bench --persons both",
        )
    try:
        return BenchTask(
            job_id=secrets.token_hex(8),
            width_px=int(match[1]),
            height_px=int(match[2]),
            persons=PERSONS[persons],
            steps=steps,
            persistent_params=gpus.find_gpu(gpu).persistent_params,
        )
    except contract.ContractError as error:
        # It names its fields; a user knows the options.
        text = re.sub(r"^(width_px|height_px)", f"a side of --size {size}", f"{error}")
        text = re.sub(r"^steps", "--steps", text)
        raise UsageError(text, code="E_RANGE", hint="multitalk bench --help") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a benchmark takes, roughly, in a container that starts for it."""

    card: str
    seconds: float
    price_usd: float
    note: str

    def describe(self) -> str:
        """One line to agree to."""
        about = f"about {human_duration(self.seconds)}, {human_money(self.price_usd)}"
        line = f"{self.card}: starts a container, reads the weights and measures, {about}"
        return f"{line} ({self.note})" if self.note else line


def estimate(task: BenchTask, gpu: str, stack: str) -> Cost:
    """Time and price of the task. Raises RefusedError for a card that cannot do it."""
    card, table = gpus.find_gpu(gpu), rates.load()
    plans = [_measured_plan(task, persons) for persons in task.persons]
    gpus.check_gpu(card, stack, plans[-1])
    each = [planning_cost.estimate_cost(every, table, card.name) for every in plans]
    rate = table.gpu(card.name)
    tokens = plans[0].tokens(plans[0].windows[0])
    other_s = _OTHER_FORWARDS * planning_cost.seconds_per_forward(tokens, 1, rate, table)
    seconds = each[0].seconds_start + sum(one.seconds_run for one in each) + other_s
    paid_s = seconds + table.idle.scaledown_s
    return Cost(
        card=card.name,
        seconds=seconds,
        price_usd=paid_s * table.price_per_s_usd(rate),
        note=each[0].note,
    )


def _measured_plan(task: BenchTask, persons: int) -> windows.Plan:
    fresh = contract.DEFAULT_WINDOW_FRAMES - contract.DEFAULT_MOTION_FRAMES
    return windows.make_plan(
        fresh * WINDOWS + contract.DEFAULT_MOTION_FRAMES,
        contract.DEFAULT_FPS,
        size=(task.width_px, task.height_px),
        sample_steps=task.steps,
        text_guidance=_TEXT_GUIDANCE,
        persons=persons,
    )


def ask(
    cloud: Cloud, stack: str, gpu: str, task: BenchTask, reporter: Reporter
) -> Mapping[str, Any]:
    """The container's answer: "report", and "lines" to read. Whatever ends the waiting ends it."""
    cost = estimate(task, gpu, stack)
    with reporter.progress() as progress:

        def spawn() -> str:
            return cloud.spawn_bench(stack, gpu, contract.to_wire(task))

        def look() -> None:
            state = cloud.state(task.job_id)
            if state is None:
                progress.show(contract.Queued())
                return
            spent_usd = planning_cost.price_of(gpu, state["run_s"])
            progress.show(contract.event_from_wire(state["event"]), spent_usd)

        limit_s = max(_SHORTEST_WAIT_S, _SLACK * cost.seconds)
        return await_answer(cloud, spawn, look, reporter, limit_s=limit_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A measured speed beside that of the rates, by which videos are estimated.

    card: as the container saw it, empty for a CPU, of which the rates know nothing.
    seconds_per_video_s: of a warm container, at 20 steps.
    """

    card: str
    persons: int
    forward_s: float
    expected_s: float | None
    ratio: float | None
    seconds_per_video_s: float
    usd_per_video_s: float | None

    def describe(self) -> str:
        """One line."""
        who = "1 person" if self.persons == 1 else f"{self.persons} persons"
        if self.expected_s is None or self.ratio is None or self.usd_per_video_s is None:
            return f"cpu, {who}: {self.forward_s:.3f} s a forward; the rates are of cards only"
        low, high = _TRUE_TO_RATES
        verdict = "estimates hold"
        if not low <= self.ratio <= high:
            verdict = "estimates are too low" if self.ratio > high else "estimates are too high"
        return (
            f"{self.card}, {who}: {self.forward_s:.3f} s a forward, {self.expected_s:.3f} s by the "
            f"rates, {self.ratio:.2f} times as long: {verdict}; "
            f"{self.seconds_per_video_s:.1f} s and {human_money(self.usd_per_video_s)} "
            "for a second of video"
        )

    def data(self) -> dict[str, Any]:
        """The same for a program."""
        return asdict(self)


def compare(report: Mapping[str, Any], task: BenchTask, gpu: str) -> list[Comparison]:
    """The report's rows beside the rates of the card that the container had."""
    device = report["machine"]["device"]
    card = "" if device == "cpu" else gpus.gpu_from_device(device, gpu)
    return [_compare(row, task, card) for row in report["runs"]]


def _compare(row: Mapping[str, Any], task: BenchTask, card: str) -> Comparison:
    persons, forward_s = row["persons"], row["forward"]["median"]
    per_s = _seconds_per_video_s(row["prices"])
    expected_s = ratio = usd = None
    if card:
        measured, table = _measured_plan(task, persons), rates.load()
        tokens = measured.tokens(measured.windows[0])
        expected_s = planning_cost.seconds_per_forward(tokens, persons, table.gpu(card), table)
        ratio, usd = forward_s / expected_s, planning_cost.price_of(card, per_s)
    return Comparison(
        card=card,
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
