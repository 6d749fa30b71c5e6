"""Requests to the engine, and the events that it yields.

Axes: T video frames, H W rows and columns of the video in pixels.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from remote.engine.config import LATENT_STRIDE, DiTConfig
from remote.engine.kernels.attention import AUTO
from remote.engine.networks.memory import Workload, workload
from remote.engine.sampling.cache import CacheSettings
from remote.engine.sampling.guidance import Guidance
from remote.engine.sampling.masks import PixelBox
from remote.engine.sampling.schedule import listed_times, require_times, step_times
from remote.engine.tiers import EXACT, TIERS


def _require_4n_plus_1(name: str, frames: int) -> None:
    if frames < 1 or frames % LATENT_STRIDE[0] != 1:
        raise ValueError(f"{name} is {frames}, not {LATENT_STRIDE[0]}n+1")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipWindow:
    """One run of the model: video frames start to start + frames."""

    start: int
    frames: int

    def __post_init__(self) -> None:
        _require_4n_plus_1("frames of a window", self.frames)
        if self.start < 0:
            raise ValueError(f"a window starts at frame {self.start}")

    @property
    def end(self) -> int:
        return self.start + self.frames


class LoraUse(NamedTuple):
    """A LoRA by the name of its file, and how much of it is merged."""

    name: str
    strength: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderRequest:
    """Everything that decides the frames of one video.

    picture: [3, any H, any W] uint8; it is fitted to the video's size.
    voices: one 16 kHz wave [samples] for each person, None for a silent one.
    boxes: one for each person, in the picture's pixels; None for the picture's halves.
    prompt_ids, negative_ids: tokens with the end token, without padding.
    frames: length of the video; the windows cover it and overlap by motion_frames.
    times: of each step, falling from 1000 at most, without the final 0; empty for the published
    schedule of so many steps with this shift.
    color_strength: 0 to 1, how much of the picture's colours each frame takes back.
    cache: of steps; None computes every step. attention: the name of a kernel, by which the engine
    is set up before the run; AUTO for the one that suits the GPU. tier: how exactly it computes.
    loras: merged into its weights. By both the transformer is loaded before the run.
    """

    picture: Tensor
    height_px: int
    width_px: int
    voices: tuple[Tensor | None, ...]
    boxes: tuple[PixelBox, ...] | None = None
    prompt_ids: tuple[int, ...]
    negative_ids: tuple[int, ...]
    fps: int
    frames: int
    windows: tuple[ClipWindow, ...]
    motion_frames: int
    steps: int
    shift: float
    times: tuple[float, ...] = ()
    guidance: Guidance = field(default_factory=Guidance)
    color_strength: float = 1.0
    seed: int = 42
    cache: CacheSettings | None = None
    attention: str = AUTO
    tier: str = EXACT.name
    loras: tuple[LoraUse, ...] = ()

    def __post_init__(self) -> None:
        if len(self.voices) not in (1, 2) or all(voice is None for voice in self.voices):
            raise ValueError(f"{len(self.voices)} voices: one or two persons, one with a voice")
        for voice in self.voices:
            if voice is not None and (
                voice.ndim != 1 or not voice.isfinite().all() or not len(voice)
            ):
                raise ValueError(f"a voice {tuple(voice.shape)} is no wave of finite samples")
        if not self.prompt_ids or not self.negative_ids:
            raise ValueError("a prompt has at least the end token")
        if self.boxes is not None and len(self.boxes) != len(self.voices):
            raise ValueError(f"{len(self.boxes)} boxes for {len(self.voices)} voices")
        if self.height_px % 16 or self.width_px % 16 or min(self.height_px, self.width_px) < 16:
            raise ValueError(f"{self.width_px}x{self.height_px} px are no multiples of 16")
        if self.steps < 1 or self.fps < 1 or self.frames < 1:
            raise ValueError(f"{self.steps} steps, {self.fps} fps, {self.frames} frames")
        if self.tier not in TIERS:
            raise ValueError(f"tier is {self.tier!r}, not one of {', '.join(TIERS)}")
        if not 0 <= self.color_strength <= 1:
            raise ValueError(f"color_strength is {self.color_strength}, not 0 to 1")
        self._check_steps()
        self._check_windows()

    def workload(self, config: DiTConfig) -> Workload:
        """The workload of the largest window."""
        frames = max(window.frames for window in self.windows)
        return workload(config, frames, self.height_px, self.width_px)

    @property
    def forwards(self) -> int:
        """The number of forwards of one window, but for those that the step cache spares."""
        return self.guidance.forwards(self.steps)

    def step_times(self) -> Tensor:
        """The times of all steps and a final 0, [steps + 1] float32 on the CPU."""
        return listed_times(self.times) if self.times else step_times(self.steps, self.shift)

    def _check_steps(self) -> None:
        if self.times:
            require_times(self.times)
            if len(self.times) != self.steps:
                raise ValueError(f"{len(self.times)} times for {self.steps} steps")
        if self.cache is not None and self.guidance.text_steps is not None:
            raise ValueError("the step cache needs the same branches in every step")

    def _check_windows(self) -> None:
        _require_4n_plus_1("motion_frames", self.motion_frames)
        if not self.windows or self.windows[0].start != 0:
            raise ValueError(f"windows {self.windows} do not start at frame 0")
        for before, after in zip(self.windows, self.windows[1:], strict=False):
            overlap = before.end - after.start
            if overlap != self.motion_frames or after.frames <= overlap:
                raise ValueError(f"{after} does not follow {before} by {self.motion_frames} frames")
        if self.windows[-1].end < self.frames:
            raise ValueError(f"windows end at {self.windows[-1].end}, before {self.frames} frames")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Some of a stage is done. window counts from 0; stages before the windows have None."""

    stage: str
    done: int
    total: int
    window: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFinished:
    """All branches of a step are done; window and step count from 0."""

    window: int
    step: int
    steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowFinished:
    """The new frames of a window, and what the next window starts from.

    frames: [3, T, H, W] float32 in -1..1, the motion frames left out, cut to the video's length.
    motion: [3, motion frames, H, W] float32; kept exactly, it lets a later run continue.
    unanchored: [3, a few, H, W], of `frames` before they took the picture's colours, which hides
    how far the model drifted.
    """

    window: int
    frames: Tensor
    motion: Tensor
    unanchored: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """The start of a resumed run: the first window to compute, and the motion before it."""

    window: int
    motion: Tensor


Event = Progress | StepFinished | WindowFinished
