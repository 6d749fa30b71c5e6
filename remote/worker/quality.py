"""The errors of the tiers in a container, with its weights and the included example."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from torch import Tensor

from multitalk_cli import contract
from multitalk_cli.contract.bench_task import BenchTask
from remote.bench.clock import Clock
from remote.bench.hardware import machine
from remote.bench.options import Report
from remote.bench.quality import (
    TIMES,
    Candidate,
    compare,
    compared_request,
    find_floor_kernel,
    gate_time,
)
from remote.engine.errors import BackendUnavailableError
from remote.engine.request import RenderRequest
from remote.engine.sampling.guidance import Branch
from remote.engine.tiers import EXACT, TIERS
from remote.service.decode import decode_request
from remote.service.run import Model
from remote.worker.examine import canary_request
from remote.worker.reporter import Reporter


def measure_quality(model: Model, task: BenchTask, reporter: Reporter) -> Report:
    """Each tier against exact, and two exact kernels against each other.

    The transformer is read again for each tier, as for a video.
    """
    requests = _requests(model, task)
    # The most persons first: memory that is left for them is enough for one.
    for event in model.load(requests[max(task.persons)], task.persistent_params):
        reporter.show(event)
    engine = model.engine
    dit = engine.networks.dit
    kernel, refused = find_floor_kernel(
        engine.backend, engine.device, dit.dtype, dit.config.head_dim
    )

    def candidate(name: str, tier: str, attention: str) -> Candidate:
        def velocities(request: RenderRequest) -> Iterator[tuple[int, Branch, Tensor]]:
            wanted = replace(request, tier=tier, attention=attention)
            for event in model.load(wanted, task.persistent_params):
                reporter.show(event)
            if model.machine.tier != tier:
                raise BackendUnavailableError("; ".join(model.notes))
            reporter.show(contract.Stage(name=name))
            return model.velocities(wanted)

        return Candidate(name=name, velocities=velocities)

    chosen = engine.backend.name
    exact = candidate(EXACT.name, EXACT.name, task.attention)
    floor = candidate("floor", EXACT.name, kernel) if kernel else None
    tiers = [candidate(name, name, task.attention) for name in TIERS if name != EXACT.name]
    rows = compare(exact, floor, tiers, requests, Clock(engine.device))
    first = next(iter(requests.values()))
    return {
        "machine": machine(engine.device),
        "revision": model.revision,
        "options": {
            "width_px": task.width_px,
            "height_px": task.height_px,
            "frames": first.windows[0].frames,
            "persons": task.persons,
        },
        "times": TIMES,
        "gate_time": gate_time(first.shift),
        "type": str(dit.dtype).removeprefix("torch."),
        "kernel": chosen,
        "floor_kernel": kernel or None,
        "floor_refused": refused,
        "rows": list(rows),
    }


def _requests(model: Model, task: BenchTask) -> dict[int, RenderRequest]:
    """The example as requests for one person, and for two, of whom one speaks backwards."""
    size = (task.width_px, task.height_px)
    whole = canary_request(size, task.prompt, task.negative_prompt)
    one = compared_request(decode_request(whole, model.tokenize))
    (voice,) = one.voices
    reversed_voice = None if voice is None else voice.flip(0)
    both = {1: one, 2: replace(one, voices=(voice, reversed_voice))}
    return {persons: both[persons] for persons in task.persons}
