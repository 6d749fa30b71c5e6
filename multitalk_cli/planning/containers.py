"""A container with a GPU: the cores and the main memory that it reserves, and what it uses.

Modal bills the larger of what is reserved and what is used.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

from multitalk_cli.contract import (
    DEFAULT_FPS,
    DEFAULT_SIZE_PX,
    DEFAULT_WINDOW_FRAMES,
    Window,
)
from multitalk_cli.planning import gpus, rates, windows
from multitalk_cli.planning.gpus import AUTO, Gpu

_MEBIBYTES_PER_GIB = 1024
_STEP_GIB = 8

# As measured with a random pack in full size and torch 2.11, on a GPU whose memory was capped:
# 2.0 GiB with all blocks on it; with the text encoder in main memory 43.1 GiB beside 31 streamed
# blocks, 52.1 GiB beside all 40.
_PROCESS_GIB = 2.0
_SERVICE_GIB = 1.0  # the video's encoder and what measures it, not part of those runs
_BLOCK_GIB = 1.0  # 0.86 of weights; memory is pinned in powers of two
_TRANSFORMER_GIB = 34.6  # read as a whole before it is divided
_TEXT_ENCODER_GIB = 10.8
# A GPU encodes a prompt itself if it has room for the encoder, its work and the smaller networks.
_TEXT_ON_GPU_GIB = _TEXT_ENCODER_GIB + 1.0 + 3.0
_FEATURE_BYTES = 12 * 768 * 4  # of a frame of a voice: all layers of the speech encoder
_SPEECH_BYTES_PER_S = 16_000 * 4
_FRAME_COPIES = 3  # of a window, in 32 bits: as decoded, as kept, as encoded


class Work(gpus.Sizes, Protocol):
    """What of a plan decides how much main memory it needs."""

    @property
    def frames(self) -> int: ...

    @property
    def fps(self) -> int: ...

    @property
    def persons(self) -> int: ...


def used_gib(plan: Work, gpu: Gpu, persistent_params: int | None = None) -> float:
    """The most main memory that a container uses for the plan.

    persistent_params: the user's limit of parameters on the GPU, None for the GPU's own.
    """
    largest = max(window.frames for window in plan.windows)
    pictures = _FRAME_COPIES * 3 * 4 * largest * plan.width_px * plan.height_px
    # The layers are held one by one, and once more while they are stacked.
    voices = plan.persons * plan.frames * (2 * _FEATURE_BYTES + 2 * _SPEECH_BYTES_PER_S // plan.fps)
    held = gpus.streamed_blocks(gpu, plan, persistent_params)
    weights = _weights_gib(gpu, held)
    return _PROCESS_GIB + _SERVICE_GIB + weights + (pictures + voices) / 2**30


def _weights_gib(gpu: Gpu, streamed: int) -> float:
    """Weights in main memory: the most, while the model is loaded or a prompt is encoded."""
    if not streamed:
        return 0.0
    free_gib = gpu.usable_gib - gpus.BLOCK_GIB * (gpus.LAYERS - streamed + gpus.SLOTS)
    text_gib = 0.0 if free_gib >= _TEXT_ON_GPU_GIB else _TEXT_ENCODER_GIB
    return max(_TRANSFORMER_GIB, _BLOCK_GIB * streamed + text_gib)


def reserved_gib(name: str, persistent_params: int | None = None) -> float:
    """The main memory that a container with that GPU reserves, for a usual video.

    persistent_params: as of `used_gib`; a lower limit than usual needs more memory.
    """
    gpu = gpus.find_gpu(name)
    reserved = rates.load().gpu(gpu.name).memory_gib
    if persistent_params is None or persistent_params == gpu.persistent_params:
        return reserved
    return max(reserved, usual_gib(gpu, persistent_params))


def usual_gib(gpu: Gpu, persistent_params: int | None = None) -> float:
    """What a usual video uses, rounded up, so that kinds of containers stay few."""
    return float(_STEP_GIB * math.ceil(used_gib(_usual_plan(), gpu, persistent_params) / _STEP_GIB))


def _usual_plan() -> windows.Plan:
    """Two people who talk for a minute."""
    width_px, height_px = DEFAULT_SIZE_PX
    return windows.Plan(
        frames=60 * DEFAULT_FPS,
        fps=DEFAULT_FPS,
        width_px=width_px,
        height_px=height_px,
        sample_steps=1,
        branches=1,
        persons=2,
        motion_frames=1,
        windows=(Window(start=0, frames=DEFAULT_WINDOW_FRAMES),),
    )


def billed_gib(plan: Work, gpu: Gpu, persistent_params: int | None = None) -> float:
    """The main memory that is paid for: what is reserved, or used if that is more."""
    used = used_gib(plan, gpu, persistent_params)
    return max(reserved_gib(gpu.name, persistent_params), used)


def pool_options(name: str, persistent_params: int | None = None) -> dict[str, Any]:
    """Modal's options of containers with that GPU; none for AUTO, which the deploy decided.

    persistent_params: as of `used_gib`; with AUTO, of the GPU that is preferred.
    """
    options = reservation((name,), persistent_params)
    if name == AUTO:
        usual = reservation(gpus.FALLBACKS)
        return {} if options["memory"] <= usual["memory"] else {"memory": options["memory"]}
    return {"gpu": gpus.find_gpu(name).modal_name, **options}


def reservation(names: tuple[str, ...], persistent_params: int | None = None) -> dict[str, Any]:
    """Modal's options for the cores and the memory of containers with any of these GPUs."""
    known = [gpus.find_gpu(name).name for name in names]
    gib = max(reserved_gib(name, persistent_params) for name in known)
    cores = max(rates.load().gpu(name).cores for name in known)
    return {"cpu": cores, "memory": int(gib * _MEBIBYTES_PER_GIB)}
