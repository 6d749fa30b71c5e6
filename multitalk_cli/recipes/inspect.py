"""What is known of a video, and whether it is as it was made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from multitalk_cli.files import shown_path
from multitalk_cli.recipes.checks import Check, check_video
from multitalk_cli.recipes.inputs import FoundInput, find_inputs, input_digests, sha256_of_path
from multitalk_cli.recipes.recipe import Recipe
from multitalk_cli.recipes.video import KnownVideo, read_video


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectedVideo:
    """A video with its recipe, its inputs as far as they are here, and how it changed since."""

    video: KnownVideo
    inputs: tuple[FoundInput, ...]
    checks: tuple[Check, ...]

    @property
    def recipe(self) -> Recipe | None:
        """What it was made from; None for a video without a recipe."""
        return self.video.recipe

    @property
    def changes(self) -> tuple[Check, ...]:
        """What is not as it was when the video was made."""
        return tuple(check for check in self.checks if check.verdict in ("differs", "note"))


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedVideo:
    """A video, and files given as its inputs, compared with the recipe."""

    video: KnownVideo
    checks: tuple[Check, ...]

    @property
    def differences(self) -> tuple[Check, ...]:
        """What differs from the recipe."""
        return tuple(check for check in self.checks if check.verdict == "differs")


def inspect(path: Path) -> InspectedVideo:
    """What is known of a video. Raises FileError for what is no MP4 or has an absurd recipe."""
    video = read_video(path)
    if video.recipe is None:
        return InspectedVideo(video=video, inputs=(), checks=())
    return InspectedVideo(
        video=video,
        inputs=find_inputs(video.recipe, path.parent),
        checks=check_video(video),
    )


def verify(path: Path, inputs: Sequence[Path] = ()) -> VerifiedVideo:
    """Compares a video, and its inputs, with the recipe.

    Raises FileError for what is no MP4 or has no usable recipe, and for inputs that cannot be read.
    """
    video = read_video(path)
    checks = check_video(video)
    roles = {sha256: role for role, sha256 in input_digests(video.require_recipe()).items()}
    given = tuple(_check_input(each, roles.get(sha256_of_path(each))) for each in inputs)
    return VerifiedVideo(video=video, checks=(*checks, *given))


def _check_input(path: Path, role: str | None) -> Check:
    return Check(
        name=shown_path(path),
        recorded="an input",
        found="none of the inputs" if role is None else f"the {role}",
        verdict="differs" if role is None else "same",
    )
