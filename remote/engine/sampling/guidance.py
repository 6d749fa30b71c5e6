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
    """Strengths of text and voice. A scale of 1 needs one branch less.

    text_steps: the first so many steps compute the guidance by the text; the others keep its last
    difference, which changes little by then, and need two branches. None for all steps.
    """

    text_scale: float = 5.0
    audio_scale: float = 4.0
    projection: Projection | None = None
    text_steps: int | None = None

    def __post_init__(self) -> None:
        if self.text_steps is None:
            return
        if self.text_steps < 1:
            raise ValueError(f"text_steps is {self.text_steps}, not positive")
        if self.projection is not None:
            raise ValueError("projected guidance is computed in every step")

    @property
    def branches(self) -> tuple[Branch, ...]:
        """The branches of the first step."""
        return self.branches_at(0)

    def branches_at(self, step: int) -> tuple[Branch, ...]:
        """The branches of a step, which counts from 0."""
        if self.is_by_text(step):
            return (Branch.COND, Branch.DROP_TEXT, Branch.UNCOND)
        if math.isclose(self.audio_scale, 1.0) and self.projection is None:
            return (Branch.COND,)
        return (Branch.COND, Branch.DROP_AUDIO)

    def is_by_text(self, step: int) -> bool:
        """Whether a step computes the guidance by the text."""
        is_computed = self.text_steps is None or step < self.text_steps
        return is_computed and not math.isclose(self.text_scale, 1.0)

    def branches_of(self, steps: int) -> tuple[Branch, ...]:
        """The branches that a run of so many steps needs, each once."""
        return tuple(dict.fromkeys((*self.branches, *self.branches_at(steps - 1))))

    def forwards(self, steps: int) -> int:
        """The number of forwards of so many steps."""
        return sum(len(self.branches_at(step)) for step in range(steps))


@dataclass(slots=True, kw_only=True)
class Guide:
    """Combines the branches of one window's steps; keeps the projection's running averages."""

    guidance: Guidance
    _averages: dict[str, Tensor] = field(default_factory=dict)
    _by_text: Tensor | None = None

    def combine(self, velocities: Mapping[Branch, Tensor]) -> Tensor:
        """velocities: one tensor per branch of the step, all of one shape."""
        text, audio = self.guidance.text_scale, self.guidance.audio_scale
        cond = velocities[Branch.COND]
        if Branch.DROP_TEXT not in velocities:
            return self._without_text(cond, velocities.get(Branch.DROP_AUDIO))
        drop, uncond = velocities[Branch.DROP_TEXT], velocities[Branch.UNCOND]
        if self.guidance.text_steps is not None:
            self._by_text = cond - drop
        if self.guidance.projection is None:
            return uncond + text * (cond - drop) + audio * (drop - uncond)
        by_text = self._projected("text", cond - drop, cond)
        by_audio = self._projected("audio", drop - uncond, cond)
        return cond + (text - 1) * by_text + (audio - 1) * by_audio

    def _without_text(self, cond: Tensor, drop: Tensor | None) -> Tensor:
        """The guidance of a step without a negative prompt. drop: without voices, if computed."""
        audio = self.guidance.audio_scale
        if drop is None:
            guided = cond
        elif self.guidance.projection is None:
            guided = drop + audio * (cond - drop)
        else:
            guided = cond + (audio - 1) * self._projected("audio", cond - drop, cond)
        if self._by_text is None:
            return guided
        return guided + (self.guidance.text_scale - 1) * self._by_text

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
