"""`multitalk demo`: a first video from the portrait and the voice in the package."""

import typer

from multitalk_cli import settings
from multitalk_cli.cli.console import Console
from multitalk_cli.cli.options import Force

OUTPUT = "multitalk-demo.preview.mp4"


def demo(
    ctx: typer.Context,
    force: Force = False,
) -> None:
    """Make a first video on this machine: a preview from an example portrait and voice."""
    from importlib import resources

    from multitalk_cli.cli.commands.generate import make_video
    from multitalk_cli.generation.spec import GenerateArgs

    console: Console = ctx.obj
    chosen = settings.load_settings({"backend": "preview"})
    examples = resources.files("multitalk_cli") / "examples"
    with (
        resources.as_file(examples / "portrait.png") as image,
        resources.as_file(examples / "voice.wav") as voice,
    ):
        args = GenerateArgs(
            image=str(image),
            voices=(str(voice),),
            speakers=(),
            prompt=settings.DEFAULT_PROMPT,
            seed=None,
            output=OUTPUT,
            force=force,
        )
        make_video(args, chosen, console, command="demo")
    console.note()
    console.note(
        "This was a preview: it shows framing, timing and who speaks, not the real result."
    )
    console.note("With your own files:  multitalk generate IMAGE VOICE --backend preview")
