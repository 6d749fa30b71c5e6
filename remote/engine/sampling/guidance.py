"""Guidance: which branches a step runs, and how their velocities become one."""

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor


class Branch(enum.StrEnum):
    """One forward of a step, by what it is conditioned on."""

    COND = "cond"  # text and voices
    DROP_TEXT = "drop_text"  # negative text and voices
    UNCOND = "uncond"  # negative text and no voice
    DROP_AUDIO = "drop_audio"  # text and no voice

    @property
    def is_negative(self) -> bool:
        return self in (Branch.DROP_TEXT, Branch.UNCOND)

    @property
    def is_voiced(self) -> bool:
        return self in (Branch.COND, Branch.DROP_TEXT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """Projected guidance: a running average of each difference, limited in length, and without
    the part that points along the prediction itself."""

    momentum: float = -0.75
    threshold: float = 55.0

    def __post_init__(self) -> None:
        if self.threshold <= 0:
            raise ValueError(f"threshold is {self.threshold}, not positive")


@dataclass(frozen=True, slots=True, kw_only=True)
class Guidance:
    """Strengths of text and voice. A text scale of 1 needs two branches only."""

    text_scale: float = 5.0
    audio_scale: float = 4.0
    projection: Projection | None = None

    @property
    def branches(self) -> tuple[Branch, ...]:
        if math.isclose(self.text_scale, 1.0):
            return (Branch.COND, Branch.DROP_AUDIO)
        return (Branch.COND, Branch.DROP_TEXT, Branch.UNCOND)


@dataclass(slots=True, kw_only=True)
class Guide:
    """Combines the branches of one window's steps; keeps the projection's running averages."""

    guidance: Guidance
    _averages: dict[str, Tensor] = field(default_factory=dict)

    def combine(self, velocities: Mapping[Branch, Tensor]) -> Tensor:
        """velocities: one tensor per branch of the guidance, all of one shape."""
        text, audio = self.guidance.text_scale, self.guidance.audio_scale
        cond = velocities[Branch.COND]
        if Branch.DROP_AUDIO in velocities:
            drop = velocities[Branch.DROP_AUDIO]
            if self.guidance.projection is None:
                return drop + audio * (cond - drop)
            return cond + (audio - 1) * self._projected("audio", cond - drop, cond)
        drop, uncond = velocities[Branch.DROP_TEXT], velocities[Branch.UNCOND]
        if self.guidance.projection is None:
            return uncond + text * (cond - drop) + audio * (drop - uncond)
        by_text = self._projected("text", cond - drop, cond)
        by_audio = self._projected("audio", drop - uncond, cond)
        return cond + (text - 1) * by_text + (audio - 1) * by_audio

    def _projected(self, name: str, difference: Tensor, cond: Tensor) -> Tensor:
        """Averages, shortens, and removes what lies along cond, in float64."""
        projection = self.guidance.projection
        if projection is None:
            return difference
        if name in self._averages:
            difference = difference + projection.momentum * self._averages[name]
        self._averages[name] = difference
        length = difference.norm()
        shortened = difference * torch.clamp(projection.threshold / length, max=1.0)
        along = cond.double() / cond.double().norm().clamp(min=1e-12)
        exact = shortened.double()
        return (exact - (exact * along).sum() * along).to(difference.dtype)
