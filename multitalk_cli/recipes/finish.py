"""The whole video of a first window's file: its job, or the arguments that make it here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from multitalk_cli.errors import UsageError
from multitalk_cli.files import shown_path
from multitalk_cli.media.video.names import SUFFIX, whole_of
from multitalk_cli.recipes.redo import SAME, Changes, redo_arguments
from multitalk_cli.recipes.video import read_video
from multitalk_cli.reporting.formatting import shell_word

if TYPE_CHECKING:
    from multitalk_cli.generation.spec import GenerateArgs
    from multitalk_cli.reporting.reporter import Reporter
    from multitalk_cli.settings import Settings

_PAID = "modal"


def find_job(word: str) -> str:
    """The id of the job that is meant by an id or a file; empty for a file that was made here.

    Raises as `job_of_file`.
    """
    return job_of_file(Path(word)) if word.endswith(SUFFIX) or "/" in word else word


def job_of_file(path: Path) -> str:
    """The id of the job that made this first window; empty for one that was made here.

    Raises FileError for what is no video of multitalk, UsageError E_NOT_FIRST for a whole one.
    """
    video = read_video(path)
    recipe = video.require_recipe()
    if not recipe.first_window:
        raise UsageError(
            f"{shown_path(path)} is a whole video: it has no rest to make",
            code="E_NOT_FIRST",
            hint=f"multitalk inspect {shell_word(str(path))}",
        )
    if recipe.backend != _PAID:
        return ""
    return recipe.job or video.job or ""


def finish_arguments(
    path: Path, chosen: Settings, reporter: Reporter
) -> tuple[GenerateArgs, Settings]:
    """What makes the whole video of a first window that was made here, with the same seed.

    chosen: the settings of this user. Raises as `redo_arguments`.
    """
    recipe = read_video(path).require_recipe()
    args, settings = redo_arguments(path, Changes(seed=SAME), chosen, reporter)
    whole = whole_of(path)
    args = replace(
        args,
        output=str(whole),
        name=None,
        maybe_made=None,
        seed_is_drawn=recipe.seed_drawn,
    )
    return args, settings.having("backend", recipe.backend)
