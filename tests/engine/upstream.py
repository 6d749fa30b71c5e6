"""The published pipeline's schedule, as recorded: what our own deliberately does not do.

Frames are counted at the published 25 per second.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from remote.engine.networks.labels import PersonRegions

FPS = 25
TRIMMED_FRAMES = 3


class LostRegions(PersonRegions):
    """An empty background: its not-a-number row wins everywhere, every token becomes background."""

    def positions(self, attention_map: Tensor) -> Tensor:
        return torch.full_like(attention_map[0], self.background)


class TooShortError(ValueError):
    """The published code refuses a voice no longer than one clip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Clips by their first frame; for each person the source of every frame, mirrored tail too."""

    starts: tuple[int, ...]
    frames: int
    motion: int
    sources: tuple[Tensor, ...]
    out_frames: int

    def frame_sources(self) -> Tensor:
        """Gives the clip and the frame in the clip of every frame of the result, [T, 2]."""
        rows = [
            (clip, frame)
            for clip in range(len(self.starts))
            for frame in range(0 if clip == 0 else self.motion, self.frames)
        ]
        return torch.tensor(rows[: self.out_frames])


def frame_count(samples: int) -> int:
    """The published count goes through a float and loses a frame now and then."""
    return int(samples / 16000 * FPS)


def schedule(lengths: list[int], frames: int, motion: int, limit: int) -> Schedule:
    """Gives the clips for voices of these lengths, in frames.

    Raises TooShortError as the published code does. The clips follow person 1; the last one sees
    a mirrored tail; what the voice missed of it, and three frames more, are cut off the result.
    """
    if min(lengths) <= frames:
        raise TooShortError(f"{lengths} frames, more than {frames} are needed")
    starts = [0]
    while starts[-1] + frames < min(limit, lengths[0]) and limit > frames:
        starts.append(starts[-1] + frames - motion)
    end = starts[-1] + frames
    missing = [end - length + TRIMMED_FRAMES if end >= length else 0 for length in lengths]
    sources = (torch.arange(length) for length in lengths)
    return Schedule(
        starts=tuple(starts),
        frames=frames,
        motion=motion,
        sources=tuple(
            torch.cat((source, source.flip(0)[:miss]))
            for source, miss in zip(sources, missing, strict=True)
        ),
        out_frames=min(end, limit) - missing[0],
    )


def cache_slots(steps: int, branches: list[str]) -> list[tuple[int, str, int]]:
    """The published step cache counts calls by threes, whatever the number of branches.

    Gives step, branch and the slot of the residual that the call reads or writes.
    """
    calls = [(step, branch) for step in range(steps) for branch in branches]
    return [(step, branch, count % 3) for count, (step, branch) in enumerate(calls)]
