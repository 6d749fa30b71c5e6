"""Events of a running job, and its result."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Literal, get_args, get_type_hints

from multitalk_cli.contract.codec import ADDED, from_plain
from multitalk_cli.contract.limits import (
    ERROR_CODE,
    MAX_FPS,
    MAX_SEED,
    MIN_FPS,
    require,
    require_amount,
    require_counted,
    seconds_from_frames,
)
from multitalk_cli.contract.names import FIRST_WINDOW


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Figures measured on the finished video.

    av_offset_frames: frames by which the mouths trail the sound; None where that was not found.
    mouth_correlation: per speaker, of the voice's level with the mouth's opening, at the offset
    where they agree best; None where it could not be measured.
    color_drift: per window, mean Lab distance of its frames from the picture, as the model made
    them; empty where not every window was measured.
    correlation_floor: per speaker, what `mouth_correlation` reaches with a sound that was not
    spoken. color_spread, sharpness, face_stretch: per window, the change of the colours' deviation
    in percent, doublings of fine detail, and how far faces are stretched.
    """

    av_offset_frames: float | None
    mouth_correlation: tuple[float | None, ...]
    color_drift: tuple[float, ...]
    correlation_floor: tuple[float | None, ...] = field(default=(), metadata={ADDED: True})
    color_spread: tuple[float | None, ...] = field(default=(), metadata={ADDED: True})
    sharpness: tuple[float | None, ...] = field(default=(), metadata={ADDED: True})
    face_stretch: tuple[float | None, ...] = field(default=(), metadata={ADDED: True})

    def __post_init__(self) -> None:
        figures: list[float | None] = [self.av_offset_frames, *self.mouth_correlation]
        figures += [*self.color_drift, *self.correlation_floor, *self.color_spread]
        figures += [*self.sharpness, *self.face_stretch]
        for value in figures:
            is_figure = value is None or math.isfinite(value)
            require(is_figure, "quality", "finite figures", value)

    def first_figures(self) -> Quality:
        """Those of the first release, which every client can read."""
        return Quality(
            av_offset_frames=self.av_offset_frames,
            mouth_correlation=self.mouth_correlation,
            color_drift=self.color_drift,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A finished video, for the report and for the job's record.

    model_output is False for a preview. gpu_seconds and price_usd are None where nothing was paid.
    stored: the address of the video in the user's store. start_s: how long its container took from
    its first import until the weights were loaded; None where they were loaded before.
    """

    job_id: str
    backend: str
    model_output: bool
    frames: int
    fps: int
    width_px: int
    height_px: int
    size_bytes: int
    seed: int
    recipe: str
    adjusted: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    gpu: str | None = None
    gpu_seconds: float | None = None
    price_usd: float | None = None
    start_s: float | None = field(default=None, metadata={ADDED: True})
    quality: Quality | None = None
    stored: str | None = None

    def __post_init__(self) -> None:
        for name in ("frames", "width_px", "height_px", "size_bytes"):
            require(getattr(self, name) >= 1, name, "1 or more", getattr(self, name))
        require(MIN_FPS <= self.fps <= MAX_FPS, "fps", f"{MIN_FPS} to {MAX_FPS}", self.fps)
        require(0 <= self.seed <= MAX_SEED, "seed", f"0 to {MAX_SEED}", self.seed)
        require_amount("gpu_seconds", self.gpu_seconds)
        require_amount("price_usd", self.price_usd)
        require_amount("start_s", self.start_s)

    @property
    def duration_s(self) -> float:
        """The duration of the video."""
        return seconds_from_frames(self.frames, self.fps)

    @property
    def is_first_window(self) -> bool:
        """Whether it is the first window of a longer video, whose rest can be made."""
        try:
            recipe = json.loads(self.recipe)
        except (ValueError, RecursionError):
            return False
        return isinstance(recipe, dict) and recipe.get(FIRST_WINDOW) is True

    @property
    def figures(self) -> Quality | None:
        """All quality figures: those that came later are in the recipe alone.

        Clients of older versions refuse a `quality` with fields that they do not know.
        """
        try:
            return from_plain(Quality, json.loads(self.recipe)["quality"], use_defaults=True)
        except (ValueError, KeyError, TypeError, RecursionError):
            return self.quality


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """Waiting for a container."""

    kind: Literal["queued"] = "queued"


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """Reading weights."""

    done_bytes: int
    total_bytes: int
    kind: Literal["loading"] = "loading"

    def __post_init__(self) -> None:
        require_counted("done_bytes", 0, self.done_bytes, self.total_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetching:
    """Fetching published weights: file `number` of `count`, and all of them together."""

    name: str
    number: int
    count: int
    file_bytes: int
    file_total_bytes: int
    done_bytes: int
    total_bytes: int
    kind: Literal["fetching"] = "fetching"

    def __post_init__(self) -> None:
        require_counted("number", 1, self.number, self.count)
        require_counted("file_bytes", 0, self.file_bytes, self.file_total_bytes)
        require_counted("done_bytes", 0, self.done_bytes, self.total_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A named piece of work, `done` of `total` units; total 0 where it cannot be counted."""

    name: str
    done: int = 0
    total: int = 0
    kind: Literal["stage"] = "stage"

    def __post_init__(self) -> None:
        require(self.total >= 0, "total", "0 or more", self.total)
        require_counted("done", 0, self.done, self.total if self.total else self.done)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Denoising: `step` of `steps` finished in window `window` of `windows`, all counted from 1."""

    window: int
    windows: int
    step: int
    steps: int
    kind: Literal["step"] = "step"

    def __post_init__(self) -> None:
        require_counted("window", 1, self.window, self.windows)
        require_counted("step", 1, self.step, self.steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowDone:
    """A window's frames are encoded and kept; a re-run continues after it."""

    window: int
    windows: int
    kind: Literal["window"] = "window"

    def __post_init__(self) -> None:
        require_counted("window", 1, self.window, self.windows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The video is complete."""

    result: Result
    kind: Literal["done"] = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """An expected failure: a stable code, what happened, and what to do next."""

    code: str
    message: str
    hint: str = ""
    kind: Literal["failed"] = "failed"

    def __post_init__(self) -> None:
        require(bool(ERROR_CODE.fullmatch(self.code)), "code", "an error code", self.code)


Event = Queued | Loading | Fetching | Stage | Step | WindowDone | Done | Failed
EVENTS: dict[str, type] = {
    get_args(get_type_hints(event)["kind"])[0]: event for event in get_args(Event)
}
FINAL_FAILURES = ("E_CANCELLED", "E_NOT_FINITE", "E_BLACK", "E_FROZEN", "E_EXPIRED", "E_REQUEST")
"""Codes of failures that a job would meet again wherever it resumes: another job is needed."""
DOWNLOADING, UPLOADING = "downloading", "uploading"
PACKING, QUANTIZING = "packing", "quantizing"
BYTE_STAGES = (DOWNLOADING, UPLOADING, "checking", PACKING, QUANTIZING)
"""The stages whose units are bytes."""
THROTTLED = "throttled"
"""The stage of a pause that the hub asked for; its units are seconds."""
