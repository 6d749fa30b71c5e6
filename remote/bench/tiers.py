"""Tiers side by side: seconds of a forward, and how far velocities and their differences move."""

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import cast

from torch import Tensor

from remote.bench.clock import Clock
from remote.bench.hardware import ceilings, machine
from remote.bench.measure import bench_device, make_request, profile_forward
from remote.bench.networks import packed_networks, random_networks
from remote.bench.options import BenchOptions, Report
from remote.engine.config import ModelConfig
from remote.engine.errors import BackendUnavailableError
from remote.engine.kernels.attention import load_backend
from remote.engine.kernels.select8 import load_tier
from remote.engine.networks.eight import quantize_blocks
from remote.engine.networks.layers import Block
from remote.engine.pipeline import Engine, Networks
from remote.engine.request import RenderRequest
from remote.engine.sampling.guidance import Branch, Guidance
from remote.engine.tiers import EXACT, NEAR, TURBO, Tier

TIMES = (950.0, 700.0, 350.0)
_BRANCHES = (Branch.COND, Branch.DROP_TEXT, Branch.UNCOND)  # of a step with guidance by the text
_FLOOR_KERNEL = "sdpa-cudnn"
# Each has all 8-bit layers of the one before: weights are turned to 8 bits where they lie.
VARIANTS = (
    EXACT,
    Tier(name="exact, attention in 8 bits", attention=True),
    Tier(name="feed-forward", layers=("ffn.0", "ffn.2")),
    NEAR,
    Tier(name="near, attention in 8 bits", layers=NEAR.layers, attention=True),
    Tier(name="near, cross-attention queries", layers=(*NEAR.layers, "cross_attn.q")),
    Tier(name="turbo, attention in 16 bits", layers=TURBO.layers),
    TURBO,
)
_Velocities = Mapping[tuple[int, Branch], Tensor]
_Quantity = Callable[[Mapping[Branch, Tensor]], Tensor]


def _guided(text: float, audio: float) -> _Quantity:
    def guided(v: Mapping[Branch, Tensor]) -> Tensor:
        by_text = v[Branch.COND] - v[Branch.DROP_TEXT]
        return v[Branch.UNCOND] + text * by_text + audio * (v[Branch.DROP_TEXT] - v[Branch.UNCOND])

    return guided


QUANTITIES: Mapping[str, _Quantity] = {
    "one branch": lambda v: v[Branch.COND],
    "guided 5/4": _guided(5.0, 4.0),
    "guided 1/2": lambda v: 2 * v[Branch.COND] - v[Branch.DROP_AUDIO],
    "dText": lambda v: v[Branch.COND] - v[Branch.DROP_TEXT],
    "dAudio": lambda v: v[Branch.DROP_TEXT] - v[Branch.UNCOND],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """The velocities of an engine on the CPU, and the seconds of each forward by branch."""

    velocities: _Velocities
    seconds: Mapping[Branch, list[float]]
    peak_gib: float

    @property
    def forward_s(self) -> float:
        """A forward of a step with guidance by the text; the first step warms up."""
        return statistics.fmean(statistics.median(self.seconds[each][1:]) for each in _BRANCHES)


def measure_tiers(
    config: ModelConfig,
    options: BenchOptions,
    weights: Path | None,
    show: Callable[[list[str]], None],
) -> Report:
    """Compares the tiers with networks of random weights, or of a pack.

    show: receives the lines of each part once it is measured.
    """
    device = bench_device(options)
    clock = Clock(device)
    networks = (
        random_networks(config, device) if weights is None else packed_networks(weights, device)
    )
    report: Report = {
        "machine": machine(device),
        "options": asdict(options),
        "ceilings": ceilings(clock, options.dtype),
        "rows": [],
    }
    show(_head_lines(report))
    for row in compare_tiers(networks, options, clock):
        report["rows"].append(row)
        show(_row_lines(row))
    return report


def compare_tiers(networks: Networks, options: BenchOptions, clock: Clock) -> Iterator[Report]:
    """A row for each tier and number of persons, and one for exact with another attention kernel.

    The networks' weights are in 8 bits afterwards.
    """
    engine = Engine(networks)
    requests = {persons: _request(options, persons, engine) for persons in options.persons}
    exact = {persons: _run(engine, request, clock) for persons, request in requests.items()}
    yield from (_row("exact", persons, run, run) for persons, run in exact.items())
    yield from _floor_rows(engine, requests, exact, clock)
    for tier in VARIANTS[1:]:
        try:
            changed = _engine_of(engine, tier)
        except BackendUnavailableError as error:
            yield {"tier": tier.name, "refused": str(error)}
            continue
        for persons, request in requests.items():
            yield _row(tier.name, persons, _run(changed, request, clock), exact[persons])
        if options.profile:
            yield {"tier": tier.name, "profile": profile_forward(changed, options)}


def _request(options: BenchOptions, persons: int, engine: Engine) -> RenderRequest:
    """A window of three steps that needs all branches."""
    config = engine.networks.config
    whole = make_request(replace(options, measured_steps=len(TIMES)), persons, 1, config)
    # The last steps do without the text, so that the branch without voices is there as well.
    return replace(whole, times=TIMES, guidance=Guidance(text_steps=1))


def _engine_of(engine: Engine, tier: Tier) -> Engine:
    """An engine of the same networks, whose layers of that tier are turned to 8 bits."""
    dit = engine.networks.dit
    kernels8 = load_tier(tier, engine.device, dit.dtype, dit.config)
    quantize_blocks(cast("list[Block]", dit.blocks), tier.layers)
    return Engine(
        engine.networks, backend=engine.backend, operations=engine.operations, kernels8=kernels8
    )


def _run(engine: Engine, request: RenderRequest, clock: Clock) -> _Run:
    clock.forget_peak()
    velocities: dict[tuple[int, Branch], Tensor] = {}
    seconds: defaultdict[Branch, list[float]] = defaultdict(list)
    last = clock.now()
    for step, branch, velocity in engine.velocities(request):
        now = clock.now()
        seconds[branch].append(now - last)
        velocities[step, branch] = velocity.float().cpu()
        last = clock.now()
    return _Run(velocities=velocities, seconds=seconds, peak_gib=clock.peak_gib())


def _floor_rows(
    engine: Engine,
    requests: Mapping[int, RenderRequest],
    exact: Mapping[int, _Run],
    clock: Clock,
) -> list[Report]:
    """How much exact kernels differ among each other."""
    name = f"exact, {_FLOOR_KERNEL}"
    chosen, dit = engine.backend, engine.networks.dit
    try:
        other = load_backend(_FLOOR_KERNEL, engine.device, dit.dtype, dit.config.head_dim)
    except BackendUnavailableError as error:
        return [{"tier": name, "refused": str(error)}]
    engine.attend_with(other)
    rows = [
        _row(name, persons, _run(engine, request, clock), exact[persons])
        for persons, request in requests.items()
    ]
    engine.attend_with(chosen)
    return rows


def _row(name: str, persons: int, run: _Run, exact: _Run) -> Report:
    errors = {
        what: [
            _error(quantity, run.velocities, exact.velocities, step) for step in range(len(TIMES))
        ]
        for what, quantity in QUANTITIES.items()
    }
    return {
        "tier": name,
        "persons": persons,
        "forward_s": run.forward_s,
        "of_exact": run.forward_s / exact.forward_s,
        "peak_gib": run.peak_gib,
        "times": TIMES,
        "errors": errors,
    }


def _error(quantity: _Quantity, ours: _Velocities, exact: _Velocities, step: int) -> float:
    """The root-mean-square difference of a quantity, relative to it."""
    one, other = (
        quantity({branch: each[step, branch] for branch in Branch}) for each in (ours, exact)
    )
    difference = (one - other).norm()
    return float(difference / other.norm()) if difference else 0.0


def _head_lines(report: Report) -> list[str]:
    times = " / ".join(f"{t:g}" for t in TIMES)
    return [
        "{device}, torch {torch}, CUDA {cuda}, triton {triton}, fa3_fwd {fa3_fwd}".format(
            **report["machine"]
        ),
        "matmul {matmul_tflops:.0f} TFLOP/s, copy {copy_gb_per_s:.0f} GB/s".format(
            **report["ceilings"]
        ),
        f"errors against exact in %, at times {times}",
    ]


def _row_lines(row: Report) -> list[str]:
    if "refused" in row:
        return [f"{row['tier']}: not here: {row['refused']}"]
    if "profile" in row:
        return []  # too long for a screen; the report has it
    return [
        f"{row['tier']}, {row['persons']} person(s): {row['forward_s']:.3f} s a forward, "
        f"{row['of_exact']:.3f} of exact, peak {row['peak_gib']:.1f} GiB",
        *(
            f"    {what:11s} " + " / ".join(f"{100 * error:.2f}" for error in errors)
            for what, errors in row["errors"].items()
        ),
    ]
