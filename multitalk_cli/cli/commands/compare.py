"""`multitalk compare`: two videos next to each other."""

from pathlib import Path
from typing import Annotated

import typer

from multitalk_cli.cli.console import Console


def compare(
    ctx: typer.Context,
    first: Annotated[Path, typer.Argument(metavar="VIDEO", help="An MP4.")],
    second: Annotated[Path, typer.Argument(metavar="VIDEO", help="Another one.")],
) -> None:
    """Compare two videos: frames, lips, motion, colours, recipes."""
    from multitalk_cli.cli.views import compare as view
    from multitalk_cli.recipes.compare import compare as compare_videos

    console: Console = ctx.obj
    compared = compare_videos(first, second, console)
    console.succeed("compare", view.data(compared), view.blocks(compared))
