"""The GPU: its versions, its rates, its attention kernels, and streaming into its memory."""

import platform
from collections.abc import Iterable
from dataclasses import asdict
from functools import partial
from importlib import metadata
from typing import cast

import torch
from torch import nn

from remote.bench.clock import Clock
from remote.bench.options import BenchOptions, Report
from remote.engine.config import DiTConfig
from remote.engine.errors import BackendUnavailableError
from remote.engine.kernels.attention import (
    LOADERS,
    load_backend,
)
from remote.engine.networks.dit import DiT
from remote.engine.networks.memory import plan_memory, workload
from remote.engine.networks.offload import StreamedBlocks, stream_blocks

_MATMUL_SIDE = 8192
_COPY_BYTES = 2**31


def machine(device: torch.device) -> Report:
    """The GPU and the versions of the software."""
    versions: Report = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "device": "cpu",
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        versions |= {
            "device": properties.name,
            "memory_gib": properties.total_memory / 2**30,
            "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        }
    for package in ("triton", "fa3_fwd"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return versions


def ceilings(clock: Clock, dtype: torch.dtype) -> Report:
    """The rates of a large matrix product and of a large copy, on random data."""
    is_gpu = clock.device.type == "cuda"
    side = _MATMUL_SIDE if is_gpu else 256
    a, b = (torch.randn(side, side, device=clock.device).to(dtype) for _ in range(2))
    product = clock.time(lambda: [a @ b for _ in range(10)], repeats=5)
    source = torch.randn((_COPY_BYTES if is_gpu else 2**20) // 4, device=clock.device)
    target = torch.empty_like(source)
    copy = clock.time(lambda: [target.copy_(source) for _ in range(10)], repeats=5)
    return {
        "matmul_tflops": 10 * 2 * side**3 / product.median / 1e12,
        "copy_gb_per_s": 10 * 2 * source.numel() * 4 / copy.median / 1e9,
    }


def attention_backends(
    clock: Clock, config: DiTConfig, tokens: int, dtype: torch.dtype
) -> list[Report]:
    """Times of a window's self-attention with every kernel, or the reason why it does not run."""
    shape = (1, tokens, config.heads, config.head_dim)
    q, k, v = (torch.randn(shape, device=clock.device).to(dtype) for _ in range(3))
    flops = 4 * tokens**2 * config.dim
    rows: list[Report] = []
    for name in LOADERS:
        try:
            backend = load_backend(name, clock.device, dtype, config.head_dim)
        except BackendUnavailableError as reason:
            rows.append({"name": name, "refused": str(reason)})
            continue
        taken = clock.time(partial(backend.kernel, q, k, v), repeats=5, warmups=2)
        rows.append(
            {
                "name": name,
                "seconds": asdict(taken),
                "tflops": flops / taken.median / 1e12,
                "error": backend.error,
            }
        )
    return rows


def shrink_gpu(dit: DiT, options: BenchOptions, clock: Clock) -> Report:
    """Streams the blocks that would not fit, and limits this process to the smaller memory."""
    device, gpu_gib = clock.device, options.gpu_gib or 0.0
    work = workload(dit.config, options.frames, options.height_px, options.width_px)
    plan = plan_memory(dit.config, work, int(gpu_gib * 2**30))
    if plan.is_streamed:
        stream_blocks(dit, plan, device)
    clock.forget_peak()
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(gpu_gib * 2**30 / total, 1.0), device)
    return describe_streaming(dit, int(gpu_gib * 2**30), clock)


def describe_streaming(dit: DiT, gpu_bytes: int, clock: Clock) -> Report:
    """The number of blocks that stay on the GPU, and the time to copy the others alone."""
    blocks, layers = dit.blocks, dit.config.layers
    return {
        "card_gib": round(gpu_bytes / 2**30, 1),
        "resident": blocks.resident if isinstance(blocks, StreamedBlocks) else layers,
        "layers": layers,
        "streamed_gb": blocks.hosted_bytes / 1e9 if isinstance(blocks, StreamedBlocks) else 0.0,
        "copy": asdict(clock.time(lambda: list(cast(Iterable[nn.Module], blocks)))),
    }
