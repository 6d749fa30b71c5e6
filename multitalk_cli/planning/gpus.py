"""The GPUs that a video can be made on: names, memory, stacks, and whether a plan fits."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from multitalk_cli.contract import (
    AUTO_ATTENTION,
    EXACT_TIER,
    STACK_ATTENTIONS,
    STACK_CLASSES,
    TIERS,
    Window,
)
from multitalk_cli.errors import RefusedError
from multitalk_cli.reporting.formatting import human_choice

AUTO = "auto"
DEFAULT_STACK = "current"

_OLD_ATTENTIONS = ("xformers", "sdpa")
_UP_TO_NEAR = TIERS[:2]
_REPORTED = ("b200", "h200", "h100", "l40s", "l4", "a10g", "a10", "t4")

# The transformer's blocks are streamed to GPUs that do not hold them all. A GPU must hold, as in
# `remote.engine.networks.memory`: two blocks, the other networks, and the larger of a block's work
# and the VAE's.
LAYERS, SLOTS = 40, 2
_BLOCK_PARAMETERS = 464_162_304
_BLOCK_BYTES = 2 * _BLOCK_PARAMETERS
BLOCK_GIB = _BLOCK_BYTES / 2**30
_OTHER_NETWORKS_BYTES = 15 * 2**29
_BYTES_PER_TOKEN = 2 * (11 * 5120 + 13_824)
_VAE_BYTES_PER_PIXEL = 12_200


class Sizes(Protocol):
    """What of a plan decides how much memory it needs."""

    @property
    def width_px(self) -> int: ...

    @property
    def height_px(self) -> int: ...

    @property
    def windows(self) -> tuple[Window, ...]: ...

    def tokens(self, window: Window) -> int:
        """Tokens of one forward over that window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One kind of GPU.

    modal_name: Modal's name for it. usable_gib: its memory less what the driver needs.
    stacks: those that it runs with. aliases: other names that users give it.
    persistent_params: the default of the most parameters that stay on it; None for as many as fit.
    has_bf16: as all from Ampere on; kernels of attention other than `_OLD_ATTENTIONS` need it.
    tiers: those of contract.TIERS that it computes: 8-bit products need Ada or later, 8-bit
    attention Hopper.
    """

    name: str
    modal_name: str
    usable_gib: float
    stacks: tuple[str, ...] = tuple(STACK_CLASSES)
    aliases: tuple[str, ...] = ()
    persistent_params: int | None = None
    has_bf16: bool = True
    tiers: tuple[str, ...] = (EXACT_TIER,)


GPUS = (
    Gpu(name="t4", modal_name="T4", usable_gib=14.6, has_bf16=False),
    Gpu(name="l4", modal_name="L4", usable_gib=22.0, tiers=_UP_TO_NEAR),
    Gpu(
        name="a10g",
        modal_name="A10",
        usable_gib=22.0,
        aliases=("a10",),
        persistent_params=8_000_000_000,
    ),
    Gpu(name="l40s", modal_name="L40S", usable_gib=44.4, tiers=_UP_TO_NEAR),
    Gpu(
        name="a100-40gb",
        modal_name="A100-40GB",
        usable_gib=39.4,
        aliases=("a100",),
        persistent_params=11_000_000_000,
    ),
    Gpu(
        name="a100-80gb",
        modal_name="A100-80GB",
        usable_gib=79.2,
        persistent_params=22_000_000_000,
    ),
    # CUDA 12.1 was built before its architecture.
    Gpu(
        name="rtx-pro-6000",
        modal_name="RTX-PRO-6000",
        usable_gib=94.9,
        stacks=("current",),
        tiers=_UP_TO_NEAR,
    ),
    Gpu(name="h100", modal_name="H100", usable_gib=79.1, tiers=TIERS),
    Gpu(name="h200", modal_name="H200", usable_gib=139.8, tiers=TIERS),
    # CUDA 12.1 was built before this architecture.
    Gpu(name="b200", modal_name="B200", usable_gib=178.3, stacks=("current",), tiers=_UP_TO_NEAR),
)
FALLBACKS = ("h100", "h200")
"""The choices of `auto`, in this order: cheaper for a video than A10G or A100 by the rates."""

NAMES = tuple(name for gpu in GPUS for name in (gpu.name, *gpu.aliases))


def find_gpu(name: str) -> Gpu:
    """The GPU of that name or alias, `auto` being the first choice; KeyError for any other."""
    wanted = FALLBACKS[0] if name == AUTO else name
    for gpu in GPUS:
        if wanted == gpu.name or wanted in gpu.aliases:
            return gpu
    raise KeyError(name)


def names_of(modal_names: Collection[str]) -> tuple[str, ...]:
    """The GPUs that Modal calls so."""
    return tuple(gpu.name for gpu in GPUS if gpu.modal_name in modal_names)


def gpu_from_device(device: str | None, wanted: str) -> str:
    """The name of the GPU that a container reported; the wanted one, if it is unknown."""
    reported = (device or "").lower().replace("-", " ")
    words = reported.split()
    if "rtx pro 6000" in reported:
        return "rtx-pro-6000"
    if "a100" in reported:
        return "a100-80gb" if "80gb" in words else "a100-40gb"
    names = (name for name in _REPORTED if name in words)
    return find_gpu(next(names, wanted)).name


def paid_gpu(device: str | None, asked: str) -> str:
    """The GPU whose price is paid: the one asked for, which Modal may serve with a better one.

    With `auto` the one that the container reported.
    """
    return gpu_from_device(device, asked) if asked == AUTO else find_gpu(asked).name


def needed_gib(plan: Sizes) -> float:
    """The memory that a GPU needs for the largest window of the plan."""
    block = _BYTES_PER_TOKEN * max(plan.tokens(window) for window in plan.windows)
    work = max(block, _VAE_BYTES_PER_PIXEL * plan.width_px * plan.height_px)
    return (SLOTS * _BLOCK_BYTES + _OTHER_NETWORKS_BYTES + work) / 2**30


def streamed_blocks(gpu: Gpu, plan: Sizes, persistent_params: int | None = None) -> int:
    """The blocks that stay in main memory, as `remote.engine.networks.memory` divides them.

    persistent_params: the user's limit of parameters on the GPU, None for the GPU's own.
    """
    free_gib = gpu.usable_gib - needed_gib(plan) + SLOTS * BLOCK_GIB
    fitting = max(SLOTS, int(free_gib // BLOCK_GIB))
    resident = LAYERS if fitting >= LAYERS else fitting - SLOTS
    limit = gpu.persistent_params if persistent_params is None else persistent_params
    if limit is not None:
        resident = min(resident, limit // _BLOCK_PARAMETERS)
    return LAYERS - resident


def can_run(gpu: Gpu, stack: str, plan: Sizes) -> bool:
    """Whether the stack supports the GPU, and the plan fits into its memory."""
    return stack in gpu.stacks and needed_gib(plan) <= gpu.usable_gib


def check_gpu(gpu: Gpu, stack: str, plan: Sizes) -> None:
    """Raises RefusedError for a GPU that the stack does not support or the plan does not fit.

    Facts: the `stack` or the `gpu` that does it.
    """
    if stack not in gpu.stacks:
        raise RefusedError(
            f"{gpu.name} does not run with the stack {stack}",
            code="E_GPU_STACK",
            facts={"stack": gpu.stacks[0]},
        )
    if can_run(gpu, stack, plan):
        return
    # The largest size of the contract fits on some GPU of every stack.
    fitting = min(
        (other for other in GPUS if can_run(other, stack, plan)),
        key=lambda other: other.usable_gib,
    )
    raise RefusedError(
        f"{plan.width_px}x{plan.height_px} needs {needed_gib(plan):.0f} GB, "
        f"{gpu.name} has {gpu.usable_gib:.0f} GB",
        code="E_GPU_TOO_SMALL",
        facts={"gpu": fitting.name},
    )


def attentions_of(gpu: Gpu, stack: str) -> tuple[str, ...]:
    """The attention kernels that the stack has for the GPU."""
    return tuple(
        name for name in STACK_ATTENTIONS[stack] if gpu.has_bf16 or name in _OLD_ATTENTIONS
    )


def has_tier(tier: str, gpu: Gpu, stack: str) -> bool:
    """Whether the GPU computes in the tier; the stack of before 8-bit products in the exact one."""
    return tier == EXACT_TIER or (stack == DEFAULT_STACK and tier in gpu.tiers)


def check_tier(tier: str, gpu: Gpu, stack: str, preset: str = "") -> None:
    """Raises RefusedError for a tier that the GPU or the stack does not compute in.

    preset: the one that set the tier, for the message. Facts: the `stack` or the `gpu` that does
    it.
    """
    if has_tier(tier, gpu, stack):
        return
    if tier in gpu.tiers:
        facts, where = {"stack": DEFAULT_STACK}, f"the stack {stack}"
        able = f"the stack {DEFAULT_STACK}"
    else:
        facts, where = {"gpu": FALLBACKS[0]}, gpu.name
        able = human_choice(each.name for each in GPUS if tier in each.tiers)
    message = f"no tier {tier} on {where}"
    if preset:
        message = f"preset {preset} needs {able}: {message}"
    raise RefusedError(message, code="E_TIER", facts=facts)


def check_attention(name: str, gpu: Gpu, stack: str) -> None:
    """Raises RefusedError for a kernel of attention that the stack does not have for the GPU.

    Facts: the `stack` that has it, or else the `attention` that suits.
    """
    has = attentions_of(gpu, stack)
    if name == AUTO_ATTENTION or name in has:
        return
    others = [other for other in gpu.stacks if name in attentions_of(gpu, other)]
    raise RefusedError(
        f"no attention {name} on {gpu.name} with the stack {stack}, which has {', '.join(has)}",
        code="E_ATTENTION_STACK",
        facts={"stack": others[0]} if others else {"attention": AUTO_ATTENTION},
    )
