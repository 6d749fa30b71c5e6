"""`multitalk generate`: from a picture and a voice to a video."""

from typing import Annotated

import typer

from multitalk_cli import generation, settings
from multitalk_cli.output import Output

ADVANCED = "Advanced"

EPILOG = """Examples:

multitalk generate host.jpg voice.wav -p "A woman presents the news"

multitalk generate duo.png first.wav second.wav --plan

multitalk generate duo.png --speaker right=voice.wav -o talk.mp4

for f in *.wav; do multitalk generate host.jpg "$f"; done
"""


def _help_all(ctx: typer.Context, asked: bool) -> None:
    if asked:
        for parameter in ctx.command.params:
            parameter.hidden = False  # type: ignore[attr-defined]
        output: Output = ctx.obj
        output.succeed("generate", {"help": ctx.get_help()}, [ctx.get_help()])
        raise typer.Exit


def generate(
    ctx: typer.Context,
    image: Annotated[str, typer.Argument(help="The picture: PNG, JPEG or WebP.")],
    voices: Annotated[
        list[str] | None, typer.Argument(help="One voice, or two for two people, left to right.")
    ] = None,
    prompt: Annotated[
        str, typer.Option("--prompt", "-p", help="What the video shows.")
    ] = generation.DEFAULT_PROMPT,
    output_path: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", metavar="PATH", help="File, folder/, or {image}-{seed}.mp4."
        ),
    ] = None,
    speaker: Annotated[
        list[str] | None,
        typer.Option(metavar="PLACE=VOICE", help="left, right, face:N or box:x0%,y0%,x1%,y1%."),
    ] = None,
    order: Annotated[str | None, typer.Option(help="Two voices: sequence or together.")] = None,
    size: Annotated[str | None, typer.Option(help="896x448, auto, 720p or WxH.")] = None,
    fit: Annotated[str | None, typer.Option(help="cover, contain or stretch.")] = None,
    fps: Annotated[int | None, typer.Option(help="Frames per second, 24 by default.")] = None,
    sample_steps: Annotated[
        int | None, typer.Option("--sample-steps", "--steps", help="10 to 50, 20 by default.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Drawn if absent, always reported.")] = None,
    plan: Annotated[
        bool, typer.Option("--plan", "--dry-run", help="Show plan, time and price; make nothing.")
    ] = False,
    max_cost: Annotated[
        float | None, typer.Option(metavar="DOLLARS", help="Refuse to spend more than this.")
    ] = None,
    backend: Annotated[str | None, typer.Option(help="auto or preview.")] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Overwrite the output.")] = False,
    negative_prompt: Annotated[
        str | None, typer.Option(help="What the video must not be.", hidden=True)
    ] = None,
    text_guidance: Annotated[
        float | None, typer.Option(help="Weight of the prompt, 5 by default.", hidden=True)
    ] = None,
    audio_guidance: Annotated[
        float | None, typer.Option(help="Weight of the voice, 4 by default.", hidden=True)
    ] = None,
    shift: Annotated[
        float | None, typer.Option(help="Noise schedule shift: 7, at 720p 11.", hidden=True)
    ] = None,
    background: Annotated[
        str | None, typer.Option(help="Colour behind transparency.", hidden=True)
    ] = None,
    loudness: Annotated[
        bool | None, typer.Option(help="Bring the voice to -23 LUFS for the model.", hidden=True)
    ] = None,
    sidecar: Annotated[
        bool | None, typer.Option(help="Write the full recipe beside the video.", hidden=True)
    ] = None,
    embed_prompt: Annotated[
        bool | None, typer.Option(help="Keep the prompt in the video's recipe.", hidden=True)
    ] = None,
    help_all: Annotated[
        bool,
        typer.Option("--help-all", is_eager=True, callback=_help_all, help="Show every option."),
    ] = False,
) -> None:
    """Make a talking video from a picture and one or two voices."""
    del help_all
    chosen = settings.load_settings(
        {name: value for name, value in ctx.params.items() if name in settings.SETTINGS}
    )
    asked = generation.Asked(
        image=image,
        voices=tuple(voices or ()),
        speakers=tuple(speaker or ()),
        prompt=prompt,
        seed=seed,
        output=output_path,
        plan=plan,
        force=force,
    )
    generation.generate(asked, chosen, ctx.obj)
