"""The denoising loop of one window, apart from the model that it drives.

Axes: C channels of the latents, T latent frames, M of them motion, h w rows and columns.
"""

import hashlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from remote.engine.sampling.guidance import Branch, Guide
from remote.engine.sampling.schedule import TIME_SCALE, euler_step, renoised

Predict = Callable[[Branch, int, Tensor], Tensor]  # branch, step, latents -> velocity
Draw = Callable[[tuple[int, ...]], Tensor]  # shape -> normal noise, float32 on the CPU
NoiseSource = Callable[[int], Draw]  # window, from 0 -> its noise


def seeded_noise(seed: int) -> NoiseSource:
    """A source of noise for each window, the same on every machine."""

    def of_window(window: int) -> Draw:
        digest = hashlib.sha256(f"{seed}:{window}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        return lambda shape: torch.randn(shape, generator=generator)

    return of_window


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardDone:
    """A branch of a step is done."""

    step: int
    branch: Branch


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDone:
    """A step is done.

    latents: [C, T, h, w], what the next step starts from; clean after the last one.
    estimate: [C, T, h, w], the clean latents that the step points to.
    """

    step: int
    latents: Tensor
    estimate: Tensor


def sample(
    predict: Predict,
    times: Tensor,
    guide: Guide,
    draw: Draw,
    shape: tuple[int, int, int, int],
    motion: Tensor | None,
) -> Iterator[ForwardDone | StepDone]:
    """Denoises one window from drawn noise, step by step.

    times: [steps + 1], the last 0, on the latents' device; shape: (C, T, h, w).
    motion: [C, M, h, w] clean latents of the frames that the window starts with, noised again
    before the first and after each step; None for a first window.
    """
    steps = times.tolist()
    latents = draw(shape).to(times.device)
    if motion is not None:
        latents = _with_motion(latents, motion, draw, steps[0])
    for step, (t, t_next) in enumerate(itertools.pairwise(steps)):
        velocities = {}
        for branch in guide.guidance.branches_at(step):
            velocities[branch] = predict(branch, step, latents)
            yield ForwardDone(step=step, branch=branch)
        velocity = guide.combine(velocities)
        estimate = latents - velocity * (t / TIME_SCALE)
        latents = euler_step(latents, velocity, t, t_next)
        if motion is not None:
            latents = _with_motion(latents, motion, draw, t_next)
        yield StepDone(step=step, latents=latents, estimate=estimate)


def _with_motion(latents: Tensor, motion: Tensor, draw: Draw, t: float) -> Tensor:
    noise = draw(tuple(motion.shape)).to(motion)
    return torch.cat((renoised(motion, noise, t), latents[:, motion.shape[1] :]), dim=1)
