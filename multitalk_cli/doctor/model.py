"""`doctor --model`: parts of the model against references, with the weights in the account."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from multitalk_cli import __version__, contract
from multitalk_cli.cloud.client import Cloud
from multitalk_cli.cloud.deploy import deploy_proof
from multitalk_cli.contract import proof
from multitalk_cli.contract.codec import from_plain
from multitalk_cli.contract.proof import ProofRow
from multitalk_cli.doctor.check import CheckResult, Outcome
from multitalk_cli.doctor.container import call_container
from multitalk_cli.errors import MultitalkError
from multitalk_cli.planning import cost, gpus, rates
from multitalk_cli.reporting.formatting import (
    human_count,
    human_duration,
    human_figure,
    human_money,
    human_range,
)

if TYPE_CHECKING:
    from multitalk_cli.reporting.reporter import Reporter
    from multitalk_cli.settings import Settings

GROUP = "model"
ENCODERS, STEP = "encoders", "step"
"""The check of the container without a GPU, and that of the one with it."""
_LIBRARIES = ("transformers", "diffusers", "librosa")
_STAGE = "comparing"
# Without the start of the container with the GPU; at least and at most. Assumed, not measured.
_ENCODERS_S, _STEP_S = (60.0, 300.0), (20.0, 60.0)
_REPORT = "multitalk doctor --model --report report.md"
_SHOW_BUILD = "multitalk doctor --model --debug"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """All rows. facts: name of a check -> what its container ran with."""

    rows: tuple[ProofRow, ...] = ()
    facts: Mapping[str, Mapping[str, Any]]


def question(chosen: Settings) -> str:
    """The work of `prove`, and an estimate of its time and price."""
    gpu, table = gpus.find_gpu(chosen["gpu"]).name, rates.load()
    start, rate, prices = cost.start_range(table), table.gpu(gpu), table.prices
    host_usd = proof.CORES * prices.core_per_s_usd
    host_usd += proof.MEMORY_MIB / 1024 * prices.gib_per_s_usd
    seconds, dollars = [], []
    for start_s, encoders_s, work_s in zip(
        (start.least_s, start.most_s), _ENCODERS_S, _STEP_S, strict=True
    ):
        step_s = start_s + rate.slowness * work_s
        seconds.append(human_duration(encoders_s + step_s))
        paid_usd = cost.price_of(gpu, step_s + table.idle.scaledown_s)
        dollars.append(human_money(encoders_s * host_usd + paid_usd))
    return (
        f"{gpu}: compares parts of the model with transformers, diffusers, librosa and float32, "
        f"in a container without a GPU and in one with it, {human_range(*seconds)}, "
        f"{human_range(*dollars)}"
    )


def prove(
    cloud: Cloud, chosen: Settings, reporter: Reporter, *, shows_log: bool = False
) -> tuple[list[CheckResult], Proof]:
    """A check of each container, and the rows of both.

    shows_log: whether the build log of the image is reported as it comes.
    """
    wire = {
        "contract": contract.CONTRACT_VERSION,
        "client": __version__,
        "prompt": "A person talks to the camera",
        "negative_prompt": chosen["negative_prompt"],
    }

    def encoders() -> Mapping[str, Any]:
        with reporter.redirect_stdout():
            other = Cloud(deploy_proof(cloud.place, reporter, shows_log=shows_log))
        return call_container(
            other,
            lambda _job: other.spawn_function(contract.PROOF_FUNCTION, wire),
            reporter,
            option="--model",
            stage=_STAGE,
        )

    def step() -> Mapping[str, Any]:
        stack, gpu = chosen["stack"], chosen["gpu"]
        return call_container(
            cloud,
            lambda job: cloud.spawn_proof(stack, gpu, {**wire, "job": job}),
            reporter,
            option="--model",
            stage=_STAGE,
            gpu=gpu,
            stack=stack,
        )

    return run_parts({ENCODERS: encoders, STEP: step})


def run_parts(
    parts: Mapping[str, Callable[[], Mapping[str, Any]]],
) -> tuple[list[CheckResult], Proof]:
    """A check for each part, and all rows. parts: name of a check -> the answer of its container.

    A container that fails leaves the other parts as they are.
    """
    outcomes: dict[str, Outcome] = {}
    rows: list[ProofRow] = []
    facts: dict[str, Mapping[str, Any]] = {}
    for name, call in parts.items():
        try:
            answer = call()
        except MultitalkError as error:
            remedy = _SHOW_BUILD if error.code == "E_DEPLOY" else ""
            outcomes[name] = replace(Outcome.from_error(error), remedy=remedy)
            continue
        found = [from_plain(ProofRow, row) for row in answer["rows"]]
        facts[name] = answer["facts"]
        outcomes[name] = _judge(found, _reference(name, facts[name]))
        rows += found
    checks = [CheckResult(name=name, group=GROUP, outcome=seen) for name, seen in outcomes.items()]
    return checks, Proof(rows=tuple(rows), facts=facts)


def _judge(rows: Sequence[ProofRow], reference: str) -> Outcome:
    outside = [row for row in rows if row.is_within is False]
    if not outside:
        compared = sum(row.is_within is not None for row in rows)
        return Outcome(text=f"{human_count(compared, 'part')} compared with {reference}")
    texts = [
        f"{row.part} differs by {human_figure(row.difference)} (limit {human_figure(row.limit)})"
        for row in outside
    ]
    text = f"{', '.join(texts)} from {reference}"
    return Outcome(text=text, state="fail", remedy=_REPORT, code="E_MODEL_DIFFERS")


def _reference(name: str, facts: Mapping[str, Any]) -> str:
    if name == ENCODERS:
        return ", ".join(f"{name} {facts[name]}" for name in _LIBRARIES)
    return f"float32 ({facts['gpu']}, {facts['type']}, attention {facts['attention']})"
