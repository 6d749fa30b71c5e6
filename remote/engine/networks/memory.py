"""A GPU's memory: how many of the transformer's blocks stay in it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from remote.engine.config import DiTConfig
from remote.engine.networks.layers import Block

SLOTS = 2
"""Buffers on the GPU that streamed blocks take turns in."""

# Besides the blocks: the other networks (3 GiB), keys and values (2), and the gaps that the
# allocator leaves (2.5), as seen on an H100.
_OTHER_BYTES = 15 * 2**29
_VAE_BYTES_PER_PIXEL = 12_200  # of one frame, while two latents are decoded; measured too
_VALUES_PER_TOKEN = 11  # of the model's width, held at once in a block, and the wide layer's
_SPARED_BYTES = 15 * 2**30  # for all but the transformer's weights, when audio is folded


class GpuTooSmallError(ValueError):
    """Not even two blocks fit on the GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """The number of leading blocks that stay on the GPU; the others are streamed."""

    resident: int
    layers: int
    block_bytes: int

    @property
    def is_streamed(self) -> bool:
        return self.resident < self.layers


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """The size of a window: tokens, and pixels of one frame, which decide its memory."""

    tokens: int
    pixels: int

    def needed_bytes(self, config: DiTConfig) -> int:
        """The most memory that it and the networks other than the blocks need."""
        block = 2 * self.tokens * (_VALUES_PER_TOKEN * config.dim + config.ffn_dim)
        return _OTHER_BYTES + max(block, _VAE_BYTES_PER_PIXEL * self.pixels)


def workload(config: DiTConfig, frames: int, height_px: int, width_px: int) -> Workload:
    """The workload of a window of so many frames."""
    tokens = math.prod(config.token_grid(frames, height_px, width_px))
    return Workload(tokens=tokens, pixels=height_px * width_px)


def plan_memory(
    config: DiTConfig,
    work: Workload,
    gpu_bytes: int,
    persistent_params: int | None = None,
    layers: Sequence[str] = (),
) -> MemoryPlan:
    """Divides the blocks between a GPU of so many bytes and the host, for 16-bit weights.

    work: of the largest window. persistent_params: at most so many parameters stay on the GPU.
    layers: those in 8 bits. Raises GpuTooSmallError where not even two blocks fit.
    """
    parameters = block_parameters(config)
    size = block_bytes(config, layers)
    needed_bytes = work.needed_bytes(config)
    free = gpu_bytes - needed_bytes
    if free < SLOTS * size:
        raise GpuTooSmallError(
            f"{work.tokens} tokens need {(needed_bytes + SLOTS * size) / 2**30:.1f} GiB, the "
            f"GPU has {gpu_bytes / 2**30:.1f} GiB"
        )
    fitting = free // size
    resident = config.layers if fitting >= config.layers else fitting - SLOTS
    if persistent_params is not None:
        resident = min(resident, persistent_params // parameters)
    return MemoryPlan(resident=resident, layers=config.layers, block_bytes=size)


def has_room(
    config: DiTConfig, work: Workload, gpu_bytes: int, weight_bytes: int, extra_bytes: int
) -> bool:
    """Whether so many more bytes fit on a GPU next to the transformer's weights and a window.

    weight_bytes: of the whole transformer: one that is streamed fills the GPU already.
    """
    spared = max(_SPARED_BYTES, work.needed_bytes(config))
    return weight_bytes + spared + extra_bytes <= gpu_bytes


def block_parameters(config: DiTConfig) -> int:
    """Counts the parameters of one block."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in Block(config).parameters())


def block_bytes(config: DiTConfig, layers: Sequence[str] = ()) -> int:
    """The weights of one block in 16 bits, but for those layers in 8, with their scales."""
    with torch.device("meta"):
        block = Block(config)
    weights = [block.get_parameter(f"{name}.weight") for name in layers]
    return 2 * block_parameters(config) - sum(each.numel() - 4 * len(each) for each in weights)


def free_bytes(device: torch.device) -> int:
    """Memory that this process may still allocate on a GPU."""
    allocated = torch.cuda.memory_allocated(device)
    free = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device) - allocated
    return int(min(free, capacity_bytes(device) - allocated))


def capacity_bytes(device: torch.device) -> int:
    """Memory that this process may hold on a GPU that nobody else uses."""
    total = torch.cuda.mem_get_info(device)[1]
    if hasattr(torch.cuda, "get_per_process_memory_fraction"):  # from torch 2.8 on
        total = int(torch.cuda.get_per_process_memory_fraction(device) * total)
    return int(total)


def usable_bytes(device: torch.device) -> int:
    """Memory that this process may hold on a GPU, including what it holds already."""
    return free_bytes(device) + int(torch.cuda.memory_allocated(device))
