"""From the length of the speech to windows and the work that they take: pure arithmetic.

The only place that decides windows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any

from multitalk_cli.contract import (
    DEFAULT_MOTION_FRAMES,
    DEFAULT_WINDOW_FRAMES,
    MAX_SPEAKERS,
    MAX_WINDOW_FRAMES,
    MIN_WINDOW_FRAMES,
    Window,
    clip_frames,
    is_frame_count,
    seconds_from_frames,
)
from multitalk_cli.contract.codec import ADDED
from multitalk_cli.planning import gpus, rates
from multitalk_cli.planning.presets import DEFAULT_PRESET, PRESETS, Denoising, denoising_of_recipe

LONGEST_SINGLE_FRAMES = 101
"""The most frames of a video in one window. The model was trained with 81 frames."""
_PIXELS_PER_TOKEN_SIDE = 16
_FRAMES_PER_LATENT = 4


def plan_windows(
    frames: int,
    *,
    window_frames: int = DEFAULT_WINDOW_FRAMES,
    motion_frames: int = DEFAULT_MOTION_FRAMES,
) -> tuple[Window, ...]:
    """The windows that together make `frames` frames, or up to three more.

    As few windows of at most `window_frames` as possible, overlapping by `motion_frames`, as equal
    in size as 4n+1 allows, the longer ones first.
    """
    if frames < 1:
        raise ValueError(f"frames must be 1 or more, not {frames}")
    _check_window_sizes(window_frames, motion_frames)
    clip = clip_frames(frames)
    if clip <= window_frames:
        return (Window(start=0, frames=clip),)
    fresh = window_frames - motion_frames
    count = -(-(clip - motion_frames) // fresh)
    # In groups of four after each window's first frame every size and overlap is a whole number.
    groups = clip // _FRAMES_PER_LATENT + motion_frames // _FRAMES_PER_LATENT * (count - 1)
    each, longer = divmod(groups, count)
    windows, start = [], 0
    for number in range(count):
        size = _FRAMES_PER_LATENT * (each + (number < longer)) + 1
        windows.append(Window(start=start, frames=size))
        start += size - motion_frames
    return tuple(windows)


def _check_window_sizes(window_frames: int, motion_frames: int) -> None:
    in_range = MIN_WINDOW_FRAMES <= window_frames <= MAX_WINDOW_FRAMES
    if not (in_range and is_frame_count(window_frames)):
        raise ValueError(
            f"window_frames must be 4n+1 from {MIN_WINDOW_FRAMES} to {MAX_WINDOW_FRAMES}, "
            f"not {window_frames}"
        )
    if not (is_frame_count(motion_frames) and motion_frames < window_frames):
        raise ValueError(
            f"motion_frames must be 4n+1 and fewer than the window's {window_frames}, "
            f"not {motion_frames}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The windows of a video, and everything else that decides how long they take.

    frames: of the video. branches: forwards of one step. persons: those that the model binds to a
    track. gated_forwards: those that are spared in a window.
    """

    frames: int
    fps: int
    width_px: int
    height_px: int
    sample_steps: int
    branches: int
    persons: int
    motion_frames: int
    windows: tuple[Window, ...]
    gated_forwards: int = field(default=0, metadata={ADDED: True})

    @property
    def duration_s(self) -> float:
        """The length of the video."""
        return seconds_from_frames(self.frames, self.fps)

    @property
    def generated_frames(self) -> int:
        """Frames that the model makes, motion frames counted in each window that repeats them."""
        return sum(window.frames for window in self.windows)

    @property
    def repeated_frames(self) -> int:
        """Frames made again at the start of a window, as the last ones of the window before it."""
        return self.generated_frames - self.windows[-1].end

    @property
    def dropped_frames(self) -> int:
        """Frames made beyond the end of the speech."""
        return self.windows[-1].end - self.frames

    @property
    def forwards_per_window(self) -> int:
        """Passes through the model for one window."""
        return self.sample_steps * self.branches - self.gated_forwards

    @property
    def forwards(self) -> int:
        """Passes through the model for the whole video."""
        return self.forwards_per_window * len(self.windows)

    @property
    def fresh_spans(self) -> tuple[tuple[float, float], ...]:
        """The part of the video that each window adds: start and end in seconds."""
        ends = [min(window.end, self.frames) for window in self.windows]
        starts = [0, *ends[:-1]]
        return tuple(
            (seconds_from_frames(start, self.fps), seconds_from_frames(end, self.fps))
            for start, end in zip(starts, ends, strict=True)
        )

    @property
    def first_window(self) -> Plan:
        """The plan of the first window alone."""
        return replace(self, windows=self.windows[:1], frames=min(self.windows[0].end, self.frames))

    def after(self, windows: int) -> Plan:
        """The plan of what is left once so many windows are made; at least one is."""
        return replace(self, windows=self.windows[windows:])

    def denoised(self, denoising: Denoising) -> Plan:
        """The same windows, denoised in another way."""
        return replace(self, **_work_of(denoising))

    def tokens(self, window: Window) -> int:
        """Tokens of one forward over that window."""
        latent_frames = window.frames // _FRAMES_PER_LATENT + 1
        rows, columns = (side // _PIXELS_PER_TOKEN_SIDE for side in (self.height_px, self.width_px))
        return latent_frames * rows * columns


def make_plan(
    frames: int,
    fps: int,
    *,
    size: tuple[int, int],
    persons: int,
    denoising: Denoising = PRESETS[DEFAULT_PRESET],
    window_frames: int = DEFAULT_WINDOW_FRAMES,
    motion_frames: int = DEFAULT_MOTION_FRAMES,
) -> Plan:
    """The plan for `frames` frames of speech. size: width and height in pixels.

    With the default windows a video may be one of up to LONGEST_SINGLE_FRAMES.
    """
    if not 1 <= persons <= MAX_SPEAKERS:
        raise ValueError(f"persons must be 1 to {MAX_SPEAKERS}, not {persons}")
    plan = Plan(
        frames=frames,
        fps=fps,
        width_px=size[0],
        height_px=size[1],
        persons=persons,
        motion_frames=motion_frames,
        windows=plan_windows(frames, window_frames=window_frames, motion_frames=motion_frames),
        **_work_of(denoising),
    )
    return _in_one_window(plan) if window_frames == DEFAULT_WINDOW_FRAMES else plan


def plan_of_recipe(recipe: Mapping[str, Any]) -> Plan | None:
    """The plan that a recipe of ours records; None for a recipe that lacks a part of it."""
    try:
        starts = accumulate(
            (frames - recipe["motion_frames"] for frames in recipe["windows"]), initial=0
        )
        return Plan(
            frames=recipe["frames"],
            fps=recipe["fps"],
            width_px=recipe["size"][0],
            height_px=recipe["size"][1],
            persons=len(recipe["speakers"]),
            motion_frames=recipe["motion_frames"],
            windows=tuple(
                Window(start=start, frames=frames)
                for start, frames in zip(starts, recipe["windows"], strict=False)
            ),
            **_work_of(denoising_of_recipe(recipe)),
        )
    except KeyError:
        return None


def _work_of(denoising: Denoising) -> dict[str, Any]:
    return {
        "sample_steps": denoising.sample_steps,
        "branches": denoising.branches,
        "gated_forwards": denoising.gated_forwards,
    }


def _in_one_window(plan: Plan) -> Plan:
    """The plan with one longer window, where that is less work and fits the same GPUs."""
    frames = clip_frames(plan.frames)
    if len(plan.windows) == 1 or frames > LONGEST_SINGLE_FRAMES:
        return plan
    single = replace(plan, windows=(Window(start=0, frames=frames),))
    is_less = _forward_seconds(single) < _forward_seconds(plan)
    needed_gib = gpus.needed_gib(plan)
    able = (gpu for gpu in gpus.GPUS if needed_gib <= gpu.usable_gib)
    fits = all(gpus.needed_gib(single) <= gpu.usable_gib for gpu in able)
    return single if is_less and fits else plan


def _forward_seconds(plan: Plan) -> float:
    speed = rates.load().speed
    return sum(speed.seconds_per_forward(plan.tokens(each), plan.persons) for each in plan.windows)
