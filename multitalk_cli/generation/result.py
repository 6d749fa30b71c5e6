"""Results of `generate`: a finished video, a job that is still running, or a plan."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multitalk_cli.contract import Result, Window
    from multitalk_cli.generation.prepared_inputs import PreparedInputs
    from multitalk_cli.planning.cost import Estimate, PresetEstimate
    from multitalk_cli.planning.inputs import GenerateOptions
    from multitalk_cli.planning.rates import Rates
    from multitalk_cli.planning.summary import PersonFacts, PictureFacts, Summary, VoiceFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstWindow:
    """What a video is that is the first window of a longer one, whose rest is not made.

    job_id: for `finish`; empty for a video of this machine, whose path is given instead. windows,
    whole_s: of the whole video. rest: what is left to pay; None where nothing is.
    """

    job_id: str
    windows: int
    whole_s: float
    rest: Estimate | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    """A finished video.

    path: absolute; None where the video is only in the store. stored: its address there, None where
    it is not in the store. seed: None where a video that existed does not name it. price_usd: 0.0
    for a video that existed or is only fetched, None where its backend costs nothing. adjusted:
    what was changed automatically. made: the run that made it, with GPU, quality and size; None for
    a video that existed before. first: None for a whole video.
    """

    path: Path | None
    stored: str | None
    backend: str
    model_output: bool
    frames: int
    fps: int
    duration_s: float
    seed: int | None
    price_usd: float | None
    adjusted: tuple[str, ...]
    warnings: tuple[str, ...]
    made: Result | None
    first: FirstWindow | None = None

    @property
    def already_made(self) -> bool:
        """Whether it existed before, so that nothing was made or paid."""
        return self.made is None

    @property
    def place(self) -> str:
        """The path, or the address of a video that is only in the store."""
        return str(self.stored) if self.path is None else str(self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class DetachedJob:
    """A job that continues without this process."""

    job_id: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VideoPlan:
    """A video as it would be made.

    summary: the inputs as read, the people, the crop and the windows. estimates: time and price on
    each GPU that can make it, the chosen one first. presets: the same on that GPU in each preset.
    first, rest: of its first window and what is left on the chosen GPU, where the first window
    alone is asked for; both start a container.
    """

    summary: Summary
    options: GenerateOptions
    estimates: tuple[Estimate, ...]
    presets: tuple[PresetEstimate, ...]
    rates: Rates
    inputs: PreparedInputs
    first: Estimate | None = None
    rest: Estimate | None = None

    @property
    def image(self) -> PictureFacts:
        """The picture."""
        return self.summary.picture

    @property
    def voices(self) -> tuple[VoiceFacts, ...]:
        """The recordings, and when each is heard."""
        return self.summary.voices

    @property
    def people(self) -> tuple[PersonFacts, ...]:
        """Everyone whom the model animates."""
        return self.summary.people

    @property
    def windows(self) -> tuple[Window, ...]:
        """The pieces that the model makes one after the other."""
        return self.summary.plan.windows

    @property
    def frames(self) -> int:
        """Frames of the video."""
        return self.summary.plan.frames

    @property
    def fps(self) -> int:
        """Frames a second."""
        return self.summary.plan.fps

    @property
    def duration_s(self) -> float:
        """The length of the video."""
        return self.summary.plan.duration_s

    @property
    def price_usd(self) -> float:
        """The most that it costs on the chosen GPU, the longest start and idle time included."""
        return self.estimates[0].price_usd

    @property
    def adjusted(self) -> tuple[str, ...]:
        """Automatic adjustments of the inputs."""
        return self.summary.adjusted

    @property
    def warnings(self) -> tuple[str, ...]:
        """Causes for a poor result."""
        return self.summary.warnings

    def save_picture(self, path: str | PathLike[str]) -> Path:
        """Draws crop, speakers and timing as a PNG at `path`, which is returned."""
        from multitalk_cli.files import write_atomically

        picture = Path(path)
        write_atomically(picture, self.inputs.draw_plan())
        return picture
