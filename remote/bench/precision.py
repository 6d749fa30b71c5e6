"""The error of a few transformer blocks against float32."""

from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor

from remote.bench.clock import Clock
from remote.bench.networks import random_module
from remote.bench.options import PROMPT_TOKENS, BenchOptions, Report, token_grid
from remote.engine.config import LATENT_STRIDE, ModelConfig
from remote.engine.kernels.attention import (
    SDPA,
    choose_backend,
)
from remote.engine.kernels.select import choose_operations
from remote.engine.networks.dit import Condition, DiT

_COMPARED_BLOCKS = 3
_COMPARED_LATENTS = 5


@torch.inference_mode()
def compare_with_float32(config: ModelConfig, options: BenchOptions, clock: Clock) -> list[Report]:
    """Runs a few blocks as the engine does, and in plain float32 on the same rounded weights.

    error: root-mean-square difference of the velocity, relative to it.
    """
    few = replace(config.dit, layers=min(_COMPARED_BLOCKS, config.dit.layers))
    dtype = options.dtype
    fast = cast(DiT, random_module("dit", replace(config, dit=few), clock.device, dtype))
    exact = cast(DiT, random_module("dit", replace(config, dit=few), clock.device, dtype))
    exact.float()
    rows = []
    for persons in options.persons:
        inputs = _few_blocks_input(options, config, persons, clock.device)
        fast.backend = choose_backend(clock.device, dtype, few.head_dim)
        if not options.float16:
            fast.fuse(choose_operations(clock.device, dtype, few), fast.backend)
        ours = inputs.velocity(fast)
        exact.backend = SDPA
        wanted = inputs.velocity(exact)
        error = ((ours - wanted).norm() / wanted.norm()).item()
        rows.append({"persons": persons, "blocks": few.layers, "error": error})
    return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class _Inputs:
    """The inputs of a forward, in float32."""

    latents: Tensor
    conditioning: Tensor
    text: Tensor
    image: Tensor
    audio: Tensor
    masks: Tensor | None

    def velocity(self, dit: DiT) -> Tensor:
        condition = Condition(
            text=dit.text_keys(self.text),
            image=dit.image_keys(self.image),
            audio=dit.audio_keys(self.audio),
            regions=None if self.masks is None else dit.regions(self.masks),
        )
        time_ = torch.tensor([900.0], device=self.latents.device)
        return cast(Tensor, dit(self.latents, self.conditioning, time_, condition))


def _few_blocks_input(
    options: BenchOptions, config: ModelConfig, persons: int, device: torch.device
) -> _Inputs:
    frames = min(_COMPARED_LATENTS, (options.frames - 1) // LATENT_STRIDE[0] + 1)
    short = replace(options, frames=(frames - 1) * LATENT_STRIDE[0] + 1)
    _, rows, columns = token_grid(short, config)
    dit, generator = config.dit, torch.Generator(device).manual_seed(7)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, device=device, generator=generator)

    size = (frames, rows * dit.patch[1], columns * dit.patch[2])
    masks = torch.zeros(3, rows, columns, device=device)
    masks[0, :, : columns // 3] = masks[1, :, -(columns // 3) :] = 1
    masks[2] = 1 - masks[0] - masks[1]
    return _Inputs(
        latents=normal(dit.out_channels, *size),
        conditioning=normal(dit.in_channels - dit.out_channels, *size),
        text=normal(min(PROMPT_TOKENS[0], dit.text_tokens), dit.text_dim),
        image=normal(1, dit.image_tokens, dit.image_dim),
        audio=normal(persons, short.frames, dit.audio_window, dit.audio_layers, dit.audio_channels),
        masks=masks if persons > 1 else None,
    )
