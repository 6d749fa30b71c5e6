"""`multitalk generate`: from a picture and a voice to a video."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from multitalk_cli import settings
from multitalk_cli.cli.console import Console
from multitalk_cli.cli.options import (
    AdvancedAppName,
    AdvancedEnvironment,
    AdvancedStack,
    Force,
    Gpu,
    advanced,
)

if TYPE_CHECKING:
    from multitalk_cli.generation.spec import GenerateArgs

EXAMPLES = (
    'multitalk generate host.jpg voice.wav -p "A woman presents the news"',
    "multitalk generate duo.png first.wav second.wav --plan",
    "multitalk generate duo.png --speaker right=voice.wav -o talk.mp4",
    'for f in *.wav; do multitalk generate host.jpg "$f"; done',
)


def _help_all(ctx: typer.Context, asked: bool) -> None:
    if asked:
        hidden: list[Any] = [each for each in ctx.command.params if getattr(each, "hidden", False)]
        for parameter in hidden:
            parameter.hidden = False
        try:
            ctx.get_help()
        finally:
            for parameter in hidden:
                parameter.hidden = True


def generate(
    ctx: typer.Context,
    image: Annotated[
        str, typer.Argument(metavar="IMAGE", help="PNG, JPEG or WebP; a file or s3://.")
    ],
    voices: Annotated[
        list[str] | None,
        typer.Argument(metavar="VOICE [VOICE2]", help="Who speaks, from left to right."),
    ] = None,
    prompt: Annotated[
        str,
        typer.Option("--prompt", "-p", metavar="TEXT", help="What the video shows."),
    ] = settings.DEFAULT_PROMPT,
    output_path: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="FILE, FOLDER/, {image}-{voice}-{seed}-{n}.mp4 or s3://.",
        ),
    ] = None,
    speaker: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PLACE=VOICE",
            help="left, right, face:N or box:x0%,y0%,x1%,y1%.",
        ),
    ] = None,
    order: Annotated[
        str | None,
        typer.Option(metavar="ORDER", help="Two voices in sequence (default) or together."),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="896x448 (default), auto, 720p or WIDTHxHEIGHT."),
    ] = None,
    fit: Annotated[
        str | None,
        typer.Option(metavar="FIT", help="cover (default), contain or stretch."),
    ] = None,
    fps: Annotated[
        str | None, typer.Option(metavar="N", help="Frames per second, 24 by default.")
    ] = None,
    sample_steps: Annotated[
        str | None,
        typer.Option("--sample-steps", "--steps", metavar="N", help="10 to 50, 20 by default."),
    ] = None,
    seed: Annotated[
        str | None,
        typer.Option(metavar="N", help="Drawn if absent; the result names it."),
    ] = None,
    plan: Annotated[
        bool,
        typer.Option("--plan", "--dry-run", help="Show plan, time and price; make nothing."),
    ] = False,
    max_cost: Annotated[
        str | None, typer.Option(metavar="DOLLARS", help="Refuse to spend more than this.")
    ] = None,
    backend: Annotated[
        str | None, typer.Option(metavar="BACKEND", help="auto (default), modal, local or preview.")
    ] = None,
    gpu: Gpu = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Print the job's id and leave; see jobs --help.")
    ] = False,
    fail_under: Annotated[
        str | None, typer.Option(metavar="X", help="Exit 8 if lips follow less, 0 to 1.")
    ] = None,
    upload: Annotated[
        bool, typer.Option("--upload", help="Store it in your bucket as well, in outputs/.")
    ] = False,
    upload_to: Annotated[
        str | None,
        typer.Option(metavar="S3", help="Store it there as well: s3://BUCKET/KEY or /FOLDER/."),
    ] = None,
    force: Force = False,
    negative_prompt: Annotated[
        str | None, advanced("What the video must not show.", "TEXT")
    ] = None,
    text_guidance: Annotated[
        str | None, advanced("Weight of the prompt, 5 by default.", "X")
    ] = None,
    audio_guidance: Annotated[
        str | None, advanced("Weight of the voice, 4 by default.", "X")
    ] = None,
    shift: Annotated[str | None, advanced("Noise schedule shift: 7, at 720p 11.", "X")] = None,
    background: Annotated[
        str | None, advanced("Colour behind transparency, white by default.", "COLOUR")
    ] = None,
    loudness: Annotated[
        bool | None, advanced("Speech track at -23 LUFS; the model ignores the level.")
    ] = None,
    weights: Annotated[
        str | None, advanced("Folder of weights, for --backend local.", "DIR")
    ] = None,
    device: Annotated[
        str | None, advanced("For --backend local: auto (default), cuda or cpu.", "DEVICE")
    ] = None,
    stack: AdvancedStack = None,
    app: AdvancedAppName = None,
    environment: AdvancedEnvironment = None,
    persistent_params: Annotated[
        str | None,
        advanced(
            "Most parameters that stay on the card; the others are streamed.",
            "N",
            "--persistent-params",
            "--vram-params",
        ),
    ] = None,
    keep_inputs: Annotated[
        bool | None, advanced("Leave the job's inputs in the cloud for 7 days.")
    ] = None,
    sidecar: Annotated[bool | None, advanced("Write the full recipe beside the video.")] = None,
    embed_prompt: Annotated[bool | None, advanced("Keep the prompt in the video's recipe.")] = None,
    help_all: Annotated[
        bool,
        typer.Option("--help-all", is_eager=True, callback=_help_all, help="Show every option."),
    ] = False,
) -> None:
    """Make a talking video from a picture and one or two voices."""
    from multitalk_cli.generation.spec import GenerateArgs

    del help_all
    chosen = settings.load_settings(
        {name: value for name, value in ctx.params.items() if name in settings.SETTINGS}
    )
    args = GenerateArgs(
        image=image,
        voices=tuple(voices or ()),
        speakers=tuple(speaker or ()),
        prompt=prompt,
        seed=None if seed is None else settings.parse_whole("--seed", seed),
        output=output_path,
        force=force,
        detach=detach,
        upload=upload,
        upload_to=upload_to,
    )
    (show_plan if plan else make_video)(args, chosen, ctx.obj)


def show_plan(args: "GenerateArgs", chosen: settings.Settings, console: Console) -> None:
    """Prints the plan of a video, and writes its picture."""
    from multitalk_cli.cli.views import plan as view
    from multitalk_cli.generation import plan

    video = plan.make_plan(args, chosen, console)
    picture = plan.save_picture(video, args.output)
    console.succeed("generate", view.data(video, picture), view.lines(video, picture))


def make_video(args: "GenerateArgs", chosen: settings.Settings, console: Console) -> None:
    """Makes a video and prints its path, or the id of the job that continues."""
    from multitalk_cli.cli.views import generate as view
    from multitalk_cli.generation import run
    from multitalk_cli.generation.result import DetachedJob

    outcome = run.generate(args, chosen, console)
    for label, text in view.facts(outcome):
        console.fact(label, text)
    if isinstance(outcome, DetachedJob):
        job = outcome.job_id
        console.note(f"job {job} is still running; get it with:  multitalk jobs attach {job}")
    console.succeed("generate", view.data(outcome), view.lines(outcome))
