"""`multitalk ffmpeg`: the included ffmpeg, for sounds that must be split or converted first."""

from typing import Annotated

import typer

from multitalk_cli.cli.console import Console

EXAMPLES = (
    "multitalk ffmpeg -i voice.wma voice.wav",
    "multitalk ffmpeg -i quiet.wav -af volume=20dB louder.wav",
)


def ffmpeg(
    ctx: typer.Context,
    arguments: Annotated[
        list[str], typer.Argument(metavar="ARGUMENT...", help="Passed to ffmpeg as they are.")
    ],
) -> None:
    """Run the included ffmpeg, to convert or split a sound.

    It asks nothing: an output that exists is kept, unless -y is among the arguments.
    """
    from multitalk_cli.media.video.ffmpeg import run_by_hand

    console: Console = ctx.obj
    run_by_hand(arguments, is_quiet=console.is_quiet, keeps_stdout=console.options.json)
    console.succeed("ffmpeg", {"arguments": arguments})
