"""Masks of two persons and the background, on the picture and its grids.

Axes: C classes (person 1, person 2, background), H W rows and columns of the picture in pixels.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from remote.engine.config import LATENT_STRIDE
from remote.engine.errors import PlacesError
from remote.engine.networks.image import fit_masks

DEFAULT_MARGIN = 0.05  # of each half, left free on every side


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelBox:
    """A rectangle of the picture in pixels, rows from the top, columns from the left."""

    top: float
    left: float
    bottom: float
    right: float

    def __post_init__(self) -> None:
        edges = (self.top, self.left, self.bottom, self.right)
        if not all(math.isfinite(edge) for edge in edges):
            raise ValueError(f"{self} has an edge that is not finite")
        if self.top >= self.bottom or self.left >= self.right:
            raise ValueError(f"{self} is empty or has its edges swapped")


def half_masks(height: int, width: int, margin: float = DEFAULT_MARGIN) -> Tensor:
    """Masks of the left half for person 1 and the right one for person 2, less a margin."""
    middle = width // 2
    rows = (int(height * margin), int(height * (1 - margin)))
    starts = (int(middle * margin), int(middle * margin + middle))
    ends = (int(middle * (1 - margin)), int(middle * (1 - margin) + middle))
    spans = [(*rows, *columns) for columns in zip(starts, ends, strict=True)]
    return _masks(height, width, spans)


def box_masks(height: int, width: int, boxes: tuple[PixelBox, ...]) -> Tensor:
    """Masks of a box for each person, in their order; boxes may overlap.

    Edges are cut to whole pixels and to the picture. Raises PlacesError for a box outside it, one
    smaller than a pixel, and for boxes that leave no background.
    """
    spans = []
    for box in boxes:
        rows = int(max(box.top, 0)), int(min(box.bottom, height))
        columns = int(max(box.left, 0)), int(min(box.right, width))
        if rows[0] >= rows[1] or columns[0] >= columns[1]:
            raise PlacesError(f"{box} holds no pixel of the {width}x{height} picture")
        spans.append((*rows, *columns))
    masks = _masks(height, width, spans)
    if not masks[-1].any():
        raise PlacesError(f"the boxes {boxes} cover all of the {width}x{height} picture")
    return masks


def latent_masks(masks: Tensor, target: tuple[int, int]) -> Tensor:
    """Takes masks [C, H, W] of the picture to the latent grid of a video of target pixels."""
    fitted, (_, down, across) = fit_masks(masks, *target), LATENT_STRIDE
    return _shrink(fitted, (target[0] // down, target[1] // across))


def token_masks(masks: Tensor, patch: tuple[int, int]) -> Tensor:
    """Takes masks [C, rows, columns] of the latent grid to the token grid."""
    return _shrink(masks, (masks.shape[1] // patch[0], masks.shape[2] // patch[1]))


def check_classes(masks: Tensor) -> None:
    """Raises PlacesError if a class has no token: a box was too small, or all were too large."""
    names = ("person 1", "person 2", "the background")
    for name, mask in zip(names, masks, strict=True):
        if not mask.any():
            raise PlacesError(f"{name} covers none of the {tuple(masks.shape[1:])} tokens")


def _masks(height: int, width: int, spans: list[tuple[int, int, int, int]]) -> Tensor:
    masks = torch.zeros(len(spans) + 1, height, width, dtype=torch.uint8)
    for mask, (top, bottom, left, right) in zip(masks, spans, strict=False):
        mask[top:bottom, left:right] = 1
    masks[-1] = (masks[:-1].sum(dim=0) == 0).to(torch.uint8)
    return masks


def _shrink(masks: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(masks[None].float(), size=size, mode="nearest")[0].to(masks.dtype)
