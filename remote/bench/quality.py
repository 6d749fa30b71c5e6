"""How far tiers move velocities from the exact ones, beside how far two exact kernels differ."""

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from multitalk_cli.contract.bench_task import (
    BY_PROMPT,
    BY_VOICE,
    FEW_STEPS,
    GATED,
    GUIDED,
    ONE_BRANCH,
)
from multitalk_cli.planning.presets import PRESETS
from remote.bench.clock import Clock
from remote.bench.options import Report
from remote.engine.errors import BackendUnavailableError, NotANumberError
from remote.engine.kernels.attention import LOADERS, AttentionBackend, load_backend
from remote.engine.request import RenderRequest
from remote.engine.sampling.guards import check_finite
from remote.engine.sampling.guidance import Branch, Guidance, Guide
from remote.engine.sampling.schedule import step_times

TIMES = (950.0, 700.0, 350.0)
"""The noise levels at which velocities are compared."""
Velocities = Callable[[RenderRequest], Iterator[tuple[int, Branch, Tensor]]]
Errors = Mapping[str, Sequence[float | None]]
"""Quantity -> its error at each of TIMES; None where the exact quantity is zero, as no error is a
share of that."""

_GATED = PRESETS["balanced"]
_BRANCHES = (Branch.COND, Branch.DROP_TEXT, Branch.UNCOND)  # of a step with guidance by the text
_Step = Mapping[Branch, Tensor]
_Quantity = Callable[[_Step], Tensor]
_COMPARED_SHAPE = (1, 512, 2)  # tokens and heads that tell two kernels apart


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A way to compute the branches' velocities of a request.

    velocities: raises BackendUnavailableError where this way does not run here.
    """

    name: str
    velocities: Velocities


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """Velocities on the CPU by step, and the seconds of each forward by branch."""

    steps: Sequence[_Step]
    seconds: Mapping[Branch, list[float]]
    peak_gib: float

    @property
    def forward_s(self) -> float:
        """A forward of a step with guidance by the text; the first step warms up."""
        return statistics.fmean(statistics.median(self.seconds[each][1:]) for each in _BRANCHES)


def _guided(text: float, audio: float) -> _Quantity:
    def guided(step: _Step) -> Tensor:
        guide = Guide(guidance=Guidance(text_scale=text, audio_scale=audio))
        return guide.combine({branch: step[branch] for branch in guide.guidance.branches})

    return guided


_OF_A_STEP: Mapping[str, _Quantity] = {
    ONE_BRANCH: lambda step: step[Branch.COND],
    GUIDED: _guided(5.0, 4.0),
    FEW_STEPS: _guided(1.0, 2.0),
    BY_PROMPT: lambda step: step[Branch.COND] - step[Branch.DROP_TEXT],
    BY_VOICE: lambda step: step[Branch.DROP_TEXT] - step[Branch.UNCOND],
}


def compared_request(window: RenderRequest) -> RenderRequest:
    """A request of one window with a step at each noise level, in which all branches run.

    One more step is where the preset with gating computes the text difference that it keeps.
    """
    times = tuple(sorted((*TIMES, gate_time(window.shift)), reverse=True))
    # The last steps do without the text, so that the branch without voices is there as well.
    return replace(window, steps=len(times), times=times, guidance=Guidance(text_steps=1))


def gate_time(shift: float) -> float:
    """The time of the last step that computes the text difference, with gating."""
    last = _GATED.sample_steps if _GATED.text_steps is None else _GATED.text_steps
    return float(step_times(_GATED.sample_steps, shift)[last - 1])


def compare(
    exact: Candidate,
    floor: Candidate | None,
    others: Sequence[Candidate],
    requests: Mapping[int, RenderRequest],
    clock: Clock,
) -> Iterator[Report]:
    """A row for each candidate and number of persons, exact and the floor first.

    floor: computes exactly with another kernel; None where none runs. requests: by number of
    persons, as of `compared_request`.
    """

    def run(candidate: Candidate) -> dict[int, _Run]:
        return {n: _run(candidate, request, clock) for n, request in requests.items()}

    reference = run(exact)
    floors: dict[int, Errors] = {}
    rows: list[Report] = []
    if floor is not None:
        runs = run(floor)
        floors = {n: _errors(each, reference[n], requests[n]) for n, each in runs.items()}
        rows = [_row(floor.name, n, runs[n], reference[n], floors[n]) for n in requests]
    for persons, each in reference.items():
        errors = _errors(each, each, requests[persons])
        row = _row(exact.name, persons, each, each, errors)
        yield {**row, "of_floor": _of_floor(errors, floors.get(persons))}
    yield from rows
    for candidate in others:
        try:
            runs = run(candidate)
        except (BackendUnavailableError, NotANumberError) as error:
            yield {"tier": candidate.name, "refused": str(error)}
            continue
        for persons, each in runs.items():
            errors = _errors(each, reference[persons], requests[persons])
            row = _row(candidate.name, persons, each, reference[persons], errors)
            yield {**row, "of_floor": _of_floor(errors, floors.get(persons))}


def _run(candidate: Candidate, request: RenderRequest, clock: Clock) -> _Run:
    clock.forget_peak()
    steps: list[dict[Branch, Tensor]] = [{} for _ in request.times]
    seconds: defaultdict[Branch, list[float]] = defaultdict(list)
    last = clock.now()
    for step, branch, velocity in candidate.velocities(request):
        now = clock.now()
        seconds[branch].append(now - last)
        check_finite(velocity, f"{candidate.name}, at time {request.times[step]:g}")
        steps[step][branch] = velocity.float().cpu()
        last = clock.now()
    return _Run(steps=steps, seconds=seconds, peak_gib=clock.peak_gib())


def _row(name: str, persons: int, run: _Run, exact: _Run, errors: Errors) -> Report:
    return {
        "tier": name,
        "persons": persons,
        "forward_s": run.forward_s,
        "of_exact": run.forward_s / exact.forward_s,
        "peak_gib": run.peak_gib,
        "times": TIMES,
        "errors": errors,
    }


def _errors(run: _Run, exact: _Run, request: RenderRequest) -> Errors:
    places = [request.times.index(time) for time in TIMES]
    errors = {
        what: [_error(quantity(run.steps[at]), quantity(exact.steps[at])) for at in places]
        for what, quantity in _OF_A_STEP.items()
    }
    gate = request.times.index(gate_time(request.shift))
    guided = _OF_A_STEP[GUIDED]
    errors[GATED] = [_error(_gated(run.steps, gate, at), guided(exact.steps[at])) for at in places]
    return errors


def _gated(steps: Sequence[_Step], gate: int, at: int) -> Tensor:
    """The guided velocity of a step with gating, which begins after the step `gate`."""
    guidance = Guidance(text_steps=1)
    guide = Guide(guidance=guidance)
    if at <= gate:
        return guide.combine({branch: steps[at][branch] for branch in guidance.branches})
    guide.combine({branch: steps[gate][branch] for branch in guidance.branches})
    return guide.combine({branch: steps[at][branch] for branch in guidance.branches_at(1)})


def _error(ours: Tensor, exact: Tensor) -> float | None:
    """The root-mean-square difference of a quantity, relative to it."""
    difference, whole = (ours - exact).norm(), exact.norm()
    if not difference:
        return 0.0
    return float(difference / whole) if whole else None


def _of_floor(errors: Errors, floor: Errors | None) -> dict[str, list[float | None]] | None:
    """Errors as multiples of the floor's; gating has no floor but that of what it replaces."""
    if floor is None:
        return None
    floors = {**floor, GATED: floor[GUIDED]}
    return {
        what: [
            error / least if least and error is not None else None
            for error, least in zip(values, floors[what], strict=True)
        ]
        for what, values in errors.items()
    }


def find_floor_kernel(
    chosen: AttentionBackend, device: torch.device, dtype: torch.dtype, head_dim: int
) -> tuple[str, dict[str, str]]:
    """The name of another exact kernel that runs here, and why those before it are none.

    The name is empty where there is none.
    """
    refused: dict[str, str] = {}
    generator = torch.Generator().manual_seed(0)
    shape = (3, *_COMPARED_SHAPE, head_dim)
    q, k, v = torch.randn(shape, generator=generator).to(device, dtype).unbind(0)
    ours = chosen.kernel(q, k, v)
    for name in LOADERS:
        if name == chosen.name:
            continue
        try:
            other = load_backend(name, device, dtype, head_dim)
        except BackendUnavailableError as error:
            refused[name] = str(error)
            continue
        if not torch.equal(other.kernel(q, k, v), ours):
            return name, refused
        refused[name] = f"computes the same as {chosen.name}"
    return "", refused
