"""`multitalk redo`: a video made again, with something changed."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from multitalk_cli import settings
from multitalk_cli.cli.commands.generate import generate, make
from multitalk_cli.cli.commands.inspect import VideoPath
from multitalk_cli.cli.options import options_of
from multitalk_cli.errors import UsageError

EXAMPLES = (
    "multitalk redo voice.mp4",
    "multitalk redo voice.mp4 --seed same --steps 40",
    "multitalk redo voice.preview.mp4 --backend modal --plan",
)
_SEEDS = ("new", "same")


@options_of(generate, without=("image", "voices"), optional=("prompt",))
def redo(
    ctx: typer.Context,
    given: Mapping[str, Any],
    video: VideoPath,
    image: Annotated[
        str | None, typer.Option(metavar="IMAGE", help="Another picture, or where it is now.")
    ] = None,
    voice: Annotated[
        list[str] | None,
        typer.Option(metavar="VOICE", help="Another voice, or where it is now; once for each."),
    ] = None,
    seed: Annotated[
        str, typer.Option(metavar="SEED", help="new, same (as the video's) or N.")
    ] = "new",
) -> None:
    """Make a video again by its recipe, with a new seed and other options.

    An option that is given replaces the recipe's. The output is VIDEO-SEED.mp4 by default.
    """
    from dataclasses import replace

    from multitalk_cli.recipes.redo import Changes, redo_arguments

    options = {name: value for name, value in given.items() if name in settings.SETTINGS}
    changes = Changes(
        seed=_parse_seed(seed),
        image=image,
        voices=tuple(voice or ()),
        speakers=tuple(given["speaker"] or ()),
        prompt=given["prompt"],
        settings=[name for name, value in options.items() if value is not None],
        is_series=given["seeds"] is not None,
    )
    chosen = settings.load_settings(options)
    args, chosen = redo_arguments(video, changes, chosen, ctx.obj)
    args = replace(
        args,
        output=given["output_path"],
        **{name: given[name] for name in ("force", "first", "detach", "upload", "upload_to")},
    )
    make(args, chosen, ctx.obj, plan=given["plan"], seeds=given["seeds"], command="redo")


def _parse_seed(text: str) -> Any:
    """A word or a number. Raises UsageError E_RANGE."""
    if text in _SEEDS:
        return text
    if not text.lstrip("+-").isdigit():
        raise UsageError(
            f"--seed must be new, same or a whole number, not {text!r}",
            code="E_RANGE",
            facts={"option": "--seed", "example": "same"},
        )
    return settings.parse_whole("--seed", text)
