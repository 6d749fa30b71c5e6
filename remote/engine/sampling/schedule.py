"""The flow-matching schedule: step times, Euler steps, and motion frames kept on course."""

from collections.abc import Sequence

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


def require_times(times: Sequence[float]) -> None:
    """Raises ValueError unless the times of steps, without the final 0, fall from 1000 at most."""
    later = (*times[1:], 0.0)
    if not times or times[0] > TIME_SCALE or any(a <= b for a, b in zip(times, later, strict=True)):
        raise ValueError(f"times {tuple(times)} do not fall from {TIME_SCALE:g} to above 0")


def listed_times(times: Sequence[float]) -> Tensor:
    """Those times and a final 0, [steps + 1] float32 on the CPU."""
    require_times(times)
    return torch.tensor([*times, 0.0], dtype=torch.float32)


def euler_step(latents: Tensor, velocity: Tensor, t: float, t_next: float) -> Tensor:
    """Moves latents from time t to the earlier t_next."""
    return latents - velocity * ((t - t_next) / TIME_SCALE)


def renoised(clean: Tensor, noise: Tensor, t: float) -> Tensor:
    """Clean latents with the noise of time t; exactly unchanged at t = 0."""
    level = t / TIME_SCALE
    return clean * (1 - level) + noise * level
