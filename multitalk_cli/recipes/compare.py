"""Two videos next to each other: how alike their frames are, their figures, their recipes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multitalk_cli.contract import Stage
from multitalk_cli.media.video.figures import VideoFigures, measure_video
from multitalk_cli.media.video.likeness import Likeness, measure_likeness
from multitalk_cli.recipes.recipe import Recipe
from multitalk_cli.recipes.video import KnownVideo, read_video

if TYPE_CHECKING:
    from multitalk_cli.reporting.reporter import Progress, Reporter


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredVideo:
    """A video with what was measured on its frames and sound."""

    video: KnownVideo
    figures: VideoFigures


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """An entry of the recipes that differs; None where a recipe does not have it."""

    name: str
    first: Any
    second: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedVideos:
    """Two videos, compared.

    likeness: of their frames; None where one has none. differences: of their recipes, where both
    have one.
    """

    first: MeasuredVideo
    second: MeasuredVideo
    likeness: Likeness | None
    differences: tuple[Difference, ...]

    @property
    def has_same_sound(self) -> bool:
        """Whether the sound tracks are the same as they are stored."""
        return self.first.video.packets.sound == self.second.video.packets.sound

    @property
    def has_same_frames(self) -> bool:
        """Whether all frames are the same as they are shown."""
        counts = self.first.video.info.frames, self.second.video.info.frames
        is_identical = self.likeness is not None and self.likeness.psnr_db is None
        return is_identical and counts[0] == counts[1]


def compare(first: Path, second: Path, reporter: Reporter) -> ComparedVideos:
    """Compares two MP4s. Raises FileError for what cannot be decoded or has an absurd recipe."""
    videos = read_video(first), read_video(second)
    with reporter.progress() as progress:
        progress.show(Stage(name="comparing"))
        likeness = measure_likeness(first, second)
        measured = _measure(videos, progress)
    recipes = [video.recipe for video in videos if video.recipe is not None]
    return ComparedVideos(
        first=measured[0],
        second=measured[1],
        likeness=likeness,
        differences=tuple(_differences(*recipes)) if len(recipes) == 2 else (),
    )


def _measure(videos: tuple[KnownVideo, KnownVideo], progress: Progress) -> list[MeasuredVideo]:
    total = sum(video.info.frames for video in videos)
    measured: list[MeasuredVideo] = []

    def show(frames: int, _of: int) -> None:
        done = frames + sum(each.video.info.frames for each in measured)
        progress.show(Stage(name="measuring", done=min(done, total), total=total))

    for video in videos:
        measured.append(MeasuredVideo(video=video, figures=measure_video(video.path, show)))
    return measured


def _differences(first: Recipe, second: Recipe) -> Iterator[Difference]:
    one, other = _entries(first), _entries(second)
    for name in {**one, **other}:
        if one.get(name) != other.get(name):
            yield Difference(name=name, first=one.get(name), second=other.get(name))


def _entries(recipe: Recipe) -> dict[str, Any]:
    """What may differ between two recipes, by the words for it."""
    return {
        "image": recipe.image_sha256,
        "voices": recipe.voices_sha256,
        "speakers": recipe.speakers,
        "prompt": recipe.prompt_sha256,
        "negative prompt": recipe.negative_prompt_sha256,
        "seed": recipe.seed,
        **{name.replace("_", " "): value for name, value in recipe.settings.items()},
        "windows": recipe.windows,
        "backend": recipe.backend,
        "client": recipe.client,
        "engine": recipe.engine.get("version"),
        "weights": recipe.weights,
        "gpu": recipe.gpu,
    }
