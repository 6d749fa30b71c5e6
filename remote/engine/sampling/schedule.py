"""The flow-matching schedule: step times, Euler steps, and motion frames kept on course."""

import torch
from torch import Tensor

TIME_SCALE = 1000.0


def step_times(steps: int, shift: float) -> Tensor:
    """The shifted times of all steps and a final 0, [steps + 1] float32 on the CPU."""
    if steps < 1:
        raise ValueError(f"steps is {steps}, not positive")
    u = torch.linspace(TIME_SCALE, 1, steps, dtype=torch.float64).float() / TIME_SCALE
    shifted = shift * u / (1 + (shift - 1) * u) * TIME_SCALE
    return torch.cat((shifted, torch.zeros(1)))


def euler_step(latents: Tensor, velocity: Tensor, t: float, t_next: float) -> Tensor:
    """Moves latents from time t to the earlier t_next."""
    return latents - velocity * ((t - t_next) / TIME_SCALE)


def renoised(clean: Tensor, noise: Tensor, t: float) -> Tensor:
    """Clean latents with the noise of time t; exactly unchanged at t = 0."""
    level = t / TIME_SCALE
    return clean * (1 - level) + noise * level
