"""Tiers side by side, with random weights or a pack: `python -m remote.bench --tiers`."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import cast

from torch import Tensor

from multitalk_cli.reporting.formatting import human_count
from remote.bench.clock import Clock
from remote.bench.hardware import ceilings, machine
from remote.bench.measure import bench_device, make_request, profile_forward
from remote.bench.networks import packed_networks, random_networks
from remote.bench.options import BenchOptions, Report
from remote.bench.quality import TIMES, Candidate, compare, compared_request, find_floor_kernel
from remote.engine.config import ModelConfig
from remote.engine.kernels.attention import load_backend
from remote.engine.kernels.quantize import FP8_LAYERS
from remote.engine.kernels.select8 import load_tier
from remote.engine.networks.eight import quantize_blocks
from remote.engine.networks.layers import Block
from remote.engine.pipeline import Engine, Networks
from remote.engine.request import RenderRequest
from remote.engine.sampling.guidance import Branch
from remote.engine.tiers import EIGHT_BIT_LAYERS, EXACT, NEAR, TURBO, Tier

# Each has all 8-bit layers of the one before: weights are turned to 8 bits where they lie.
VARIANTS = (
    EXACT,
    Tier(name="exact, attention in 8 bits", attention=True),
    Tier(name="feed-forward", layers=("ffn.0", "ffn.2")),
    Tier(name="feed-forward, self-attention", layers=FP8_LAYERS),
    NEAR,
    TURBO,
    Tier(name="turbo, cross-attention outputs", layers=EIGHT_BIT_LAYERS, attention=True),
)


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
    engines = _Engines(networks)
    requests = {
        persons: compared_request(make_request(options, persons, 1, networks.config))
        for persons in options.persons
    }
    floor, refused = engines.floor()
    if floor is None:
        yield {"tier": "another exact kernel", "refused": refused}
    exact, *others = (engines.candidate(tier) for tier in VARIANTS)
    for row in compare(exact, floor, others, requests, clock):
        yield row
        is_last = row.get("persons") == options.persons[-1]
        if options.profile and is_last and row["tier"] == engines.engine.kernels8.tier.name:
            yield {"tier": row["tier"], "profile": profile_forward(engines.engine, options)}


class _Engines:
    """Engines of the same networks, one after the other, with ever more layers in 8 bits."""

    def __init__(self, networks: Networks) -> None:
        self.engine = Engine(networks)

    def candidate(self, tier: Tier) -> Candidate:
        def velocities(request: RenderRequest) -> Iterator[tuple[int, Branch, Tensor]]:
            if self.engine.kernels8.tier != tier:
                self._quantize(tier)
            return self.engine.velocities(self.engine.prepare(request))

        return Candidate(name=tier.name, velocities=velocities)

    def _quantize(self, tier: Tier) -> None:
        """Turns the layers of that tier to 8 bits. Raises BackendUnavailableError."""
        before, dit = self.engine, self.engine.networks.dit
        kernels8 = load_tier(tier, before.device, dit.dtype, dit.config)
        quantize_blocks(cast("list[Block]", dit.blocks), tier.layers)
        self.engine = Engine(
            before.networks,
            backend=before.backend,
            operations=before.operations,
            kernels8=kernels8,
        )

    def floor(self) -> tuple[Candidate | None, str]:
        """Exact with another kernel; without one, the reasons."""
        engine, dit = self.engine, self.engine.networks.dit
        found = (engine.device, dit.dtype, dit.config.head_dim)
        name, refused = find_floor_kernel(engine.backend, *found)
        if not name:
            return None, "; ".join(f"{other}: {reason}" for other, reason in refused.items())

        def velocities(request: RenderRequest) -> Iterator[tuple[int, Branch, Tensor]]:
            chosen = engine.backend
            engine.attend_with(load_backend(name, *found))
            yield from engine.velocities(engine.prepare(request))
            engine.attend_with(chosen)

        return Candidate(name=f"exact, {name}", velocities=velocities), ""


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
        f"{row['tier']}, {human_count(row['persons'], 'person')}: "
        f"{row['forward_s']:.3f} s a forward, {row['of_exact']:.3f} of exact, "
        f"peak {row['peak_gib']:.1f} GiB",
        *(
            f"    {what:11s} " + " / ".join(f"{100 * error:.2f}" for error in errors)
            for what, errors in row["errors"].items()
        ),
    ]
