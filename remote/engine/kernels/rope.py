"""Rotary positions: three axes for the video tokens, one for the persons' labels.

Rotation pairs are interleaved (channels 0 and 1, 2 and 3, ...), as the published weights expect.
"""

import functools
from typing import NamedTuple

import torch
from torch import Tensor

_THETA = 10000.0


class Rotation(NamedTuple):
    """Cosines and sines of a token's angles, each [L, D/2] float32."""

    cos: Tensor
    sin: Tensor


@functools.lru_cache(maxsize=8)
def _frequencies(dim: int, device: torch.device | None = None) -> Tensor:
    """dim/2 falling angular frequencies, float64."""
    exponents = torch.arange(0, dim, 2, dtype=torch.float64, device=device) / dim
    return torch.pow(torch.tensor(_THETA, dtype=torch.float64, device=device), -exponents)


@functools.lru_cache(maxsize=8)
def video_rotation(
    frames: int, rows: int, columns: int, head_dim: int, device: torch.device
) -> Rotation:
    """The rotation of every token of a latent video, in (frame, row, column) order.

    The head's channels are split over the three axes: what two thirds (rounded down to pairs,
    half of it each for rows and columns) leave is for the frames. Angles are made in float64.
    """
    side = 2 * (head_dim // 6)
    axes = ((frames, head_dim - 2 * side), (rows, side), (columns, side))
    parts = []
    for axis, (length, dim) in enumerate(axes):
        angles = torch.outer(torch.arange(length, dtype=torch.float64), _frequencies(dim))
        shape = [1, 1, 1, dim // 2]
        shape[axis] = length
        parts.append(angles.view(shape).expand(frames, rows, columns, dim // 2))
    angles = torch.cat(parts, dim=-1).reshape(frames * rows * columns, head_dim // 2)
    return Rotation(angles.cos().float().to(device), angles.sin().float().to(device))


def label_rotation(positions: Tensor, head_dim: int) -> Rotation:
    """The rotation of tokens that carry one label each. positions: [L]."""
    angles = torch.outer(positions.double(), _frequencies(head_dim, positions.device))
    return Rotation(angles.cos().float(), angles.sin().float())


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Rotates each pair of channels by its token's angle. x: [B, L, H, D]; returns float32."""
    cos, sin = rotation.cos[:, None], rotation.sin[:, None]
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)
