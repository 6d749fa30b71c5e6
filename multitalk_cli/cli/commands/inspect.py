"""`multitalk inspect` and `multitalk verify`: what made a video, and what changed since."""

from pathlib import Path
from typing import Annotated

import typer

from multitalk_cli.cli.console import Console
from multitalk_cli.errors import ExitCode

VideoPath = Annotated[Path, typer.Argument(metavar="VIDEO", help="An MP4 made by multitalk.")]


def inspect(ctx: typer.Context, video: VideoPath) -> None:
    """Show what a video was made from, and how it changed since."""
    from multitalk_cli.cli.views import recipes as view
    from multitalk_cli.recipes.inspect import inspect as inspect_video

    console: Console = ctx.obj
    inspected = inspect_video(video)
    console.succeed("inspect", view.inspect_data(inspected), view.inspect_blocks(inspected))


def verify(
    ctx: typer.Context,
    video: VideoPath,
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FILE...", help="Pictures and voices that it was made from."),
    ] = None,
) -> None:
    """Compare a video, and its inputs, with its recipe.

    Exit code 8 if length, frames, sound or an input differ.
    """
    from multitalk_cli.cli.views import recipes as view
    from multitalk_cli.recipes.inspect import verify as verify_video

    console: Console = ctx.obj
    verified = verify_video(video, inputs or ())
    console.succeed(
        "verify",
        view.verify_data(verified),
        view.verify_blocks(verified),
        view.verify_errors(verified),
    )
    if verified.differences:
        raise typer.Exit(int(ExitCode.REFUSED))
