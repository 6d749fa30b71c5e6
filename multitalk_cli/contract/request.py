"""A request for one video."""

import json
import math
from dataclasses import dataclass, field, replace
from operator import gt

from multitalk_cli.contract.codec import ADDED
from multitalk_cli.contract.limits import (
    JOB_ID,
    MAX_FPS,
    MAX_SEED,
    MAX_SPEAKERS,
    MAX_STEPS,
    MAX_WINDOW_FRAMES,
    MIN_FPS,
    MIN_STEPS,
    MIN_WINDOW_FRAMES,
    check_side,
    is_frame_count,
    require,
    require_text,
)
from multitalk_cli.contract.loras import LORA_NAME, MAX_STRENGTH, is_strength
from multitalk_cli.contract.names import (
    ATTENTIONS,
    AUTO_ATTENTION,
    EXACT_TIER,
    FIRST_WINDOW,
    TIERS,
)

FIRST_TIME = 1000.0
"""The time of pure noise, from which a schedule goes down to 0."""


def require_attention(name: str) -> None:
    """Raises ContractError unless it is AUTO_ATTENTION or one of ATTENTIONS."""
    known = (AUTO_ATTENTION, *ATTENTIONS)
    require(name in known, "attention", f"one of {', '.join(known)}", name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A rectangle in fractions (0 to 1) of the prepared picture, x to the right, y downwards."""

    x0: float
    y0: float
    x1: float
    y1: float

    def __post_init__(self) -> None:
        for name in ("x0", "y0", "x1", "y1"):
            value = getattr(self, name)
            require(math.isfinite(value) and 0 <= value <= 1, f"box.{name}", "0 to 1", value)
        require(self.x0 < self.x1 and self.y0 < self.y1, "box", "x0 < x1 and y0 < y1", self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Speaker:
    """One person of the picture.

    audio: that person's voice, a FLAC or WAV file, 16 kHz mono, starting at frame 0; None for a
    silent person.
    box: place of the person; None for the published default (the whole picture, or its left or
    right half).
    """

    audio: bytes | None
    box: Box | None = None

    def __post_init__(self) -> None:
        require(self.audio != b"", "speaker.audio", "a sound file or None", b"")


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """One clip of the model on the output clock: frames [start, start + frames)."""

    start: int
    frames: int

    def __post_init__(self) -> None:
        require(self.start >= 0, "window.start", "0 or more", self.start)
        require(
            is_frame_count(self.frames) and MIN_WINDOW_FRAMES <= self.frames <= MAX_WINDOW_FRAMES,
            "window.frames",
            f"4n+1 from {MIN_WINDOW_FRAMES} to {MAX_WINDOW_FRAMES}",
            self.frames,
        )

    @property
    def end(self) -> int:
        """The first frame after the window."""
        return self.start + self.frames


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraChoice:
    """A LoRA to merge into the transformer. name: as the folder of weights records it."""

    name: str
    strength: float = 1.0

    def __post_init__(self) -> None:
        require(bool(LORA_NAME.fullmatch(self.name)), "lora.name", "a plain name", self.name)
        require(
            is_strength(self.strength),
            "lora.strength",
            f"-{MAX_STRENGTH:g} to {MAX_STRENGTH:g}",
            self.strength,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateRequest:
    """Everything that decides the pixels and the sound of one video.

    image: the prepared picture, a PNG of exactly width_px x height_px, RGB.
    sound: the sound track to mux, a FLAC file with the user's channels and rate, or None.
    frames: how many frames the video has; the windows cover at least these.
    recipe: a JSON object to keep in the MP4's metadata. attention: the kernel to compute with, one
    of ATTENTIONS; AUTO_ATTENTION for the one that suits the GPU. tier: one of TIERS. loras: merged
    before anything is quantised. times: of each step, from FIRST_TIME down, without the final 0;
    empty for the published schedule with `shift`. text_steps: the first so many steps compute the
    guidance by the prompt, the others keep its last difference; None for all.
    """

    job_id: str
    image: bytes
    width_px: int
    height_px: int
    speakers: tuple[Speaker, ...]
    sound: bytes | None
    prompt: str
    negative_prompt: str
    sample_steps: int
    seed: int
    text_guidance: float
    audio_guidance: float
    shift: float
    fps: int
    frames: int
    windows: tuple[Window, ...]
    motion_frames: int
    recipe: str
    attention: str = field(default=AUTO_ATTENTION, metadata={ADDED: True})
    tier: str = field(default=EXACT_TIER, metadata={ADDED: True})
    loras: tuple[LoraChoice, ...] = field(default=(), metadata={ADDED: True})
    times: tuple[float, ...] = field(default=(), metadata={ADDED: True})
    text_steps: int | None = field(default=None, metadata={ADDED: True})

    def __post_init__(self) -> None:
        require(bool(JOB_ID.fullmatch(self.job_id)), "job_id", "8 to 32 of a-z, 0-9", self.job_id)
        require(bool(self.image), "image", "a PNG", self.image)
        for name in ("width_px", "height_px"):
            check_side(name, getattr(self, name))
        self._check_speakers()
        require(
            MIN_STEPS <= self.sample_steps <= MAX_STEPS,
            "sample_steps",
            f"{MIN_STEPS} to {MAX_STEPS}",
            self.sample_steps,
        )
        require(0 <= self.seed <= MAX_SEED, "seed", f"0 to {MAX_SEED}", self.seed)
        for name in ("text_guidance", "audio_guidance"):
            value = getattr(self, name)
            require(math.isfinite(value) and 0 <= value <= 30, name, "0 to 30", value)
        require(
            math.isfinite(self.shift) and 0 < self.shift <= 100,
            "shift",
            "over 0, to 100",
            self.shift,
        )
        require(MIN_FPS <= self.fps <= MAX_FPS, "fps", f"{MIN_FPS} to {MAX_FPS}", self.fps)
        require_attention(self.attention)
        require(self.tier in TIERS, "tier", f"one of {', '.join(TIERS)}", self.tier)
        self._check_schedule()
        self._check_texts()
        self._check_windows()

    def new_frames(self, window: int) -> range:
        """The frames of the video that a window adds; the first window is 0."""
        start = self.windows[window - 1].end if window else 0
        return range(start, min(self.windows[window].end, self.frames))

    def _check_schedule(self) -> None:
        names = [lora.name for lora in self.loras]
        require(len(set(names)) == len(names), "loras", "different ones", names)
        steps = self.sample_steps
        if self.text_steps is not None:
            is_some = 1 <= self.text_steps <= steps
            require(is_some, "text_steps", f"1 to {steps}", self.text_steps)
        if self.times:
            require(len(self.times) == steps, "times", f"{steps} of them", len(self.times))
            later = (*self.times[1:], 0.0)
            is_falling = self.times[0] <= FIRST_TIME and all(map(gt, self.times, later))
            require(is_falling, "times", "from 1000 at most, falling, above 0", self.times)

    def first_window(self) -> "GenerateRequest":
        """The request for a video of the first window alone, as its recipe says."""
        recipe = json.dumps({**json.loads(self.recipe), FIRST_WINDOW: True}, separators=(",", ":"))
        frames = self.new_frames(0).stop
        return replace(self, frames=frames, windows=self.windows[:1], recipe=recipe)

    def _check_texts(self) -> None:
        for name in ("prompt", "negative_prompt", "recipe"):
            require_text(name, getattr(self, name))
        try:
            recipe = json.loads(self.recipe)
        except (ValueError, RecursionError):
            recipe = None
        require(isinstance(recipe, dict), "recipe", "a JSON object", self.recipe)

    def _check_speakers(self) -> None:
        count = len(self.speakers)
        require(1 <= count <= MAX_SPEAKERS, "speakers", f"1 to {MAX_SPEAKERS}", count)
        voiced = sum(speaker.audio is not None for speaker in self.speakers)
        require(voiced >= 1, "speakers", "at least one with a voice", voiced)

    def _check_windows(self) -> None:
        require(self.frames >= 1, "frames", "1 or more", self.frames)
        require(is_frame_count(self.motion_frames), "motion_frames", "4n+1", self.motion_frames)
        require(bool(self.windows), "windows", "one or more", self.windows)
        require(self.windows[0].start == 0, "windows[0].start", "0", self.windows[0].start)
        for before, window in zip(self.windows, self.windows[1:], strict=False):
            overlap = before.end - window.start
            require(
                overlap == self.motion_frames and window.frames > overlap,
                "windows",
                f"overlapping by the {self.motion_frames} motion frames",
                overlap,
            )
        require(
            self.windows[-1].end >= self.frames,
            "windows",
            f"covering {self.frames} frames",
            self.windows[-1].end,
        )
        before_last = self.windows[-2].end if len(self.windows) > 1 else 0
        require(
            before_last < self.frames,
            "windows",
            f"none beyond the {self.frames} frames",
            before_last,
        )
