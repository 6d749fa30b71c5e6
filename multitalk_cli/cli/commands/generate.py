"""`multitalk generate`: from a picture and a voice to a video."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from multitalk_cli import settings
from multitalk_cli.cli.console import Console
from multitalk_cli.cli.options import STDOUT, First, Force, HelpAll, Seeds, setting_options
from multitalk_cli.errors import UsageError

if TYPE_CHECKING:
    from multitalk_cli.generation.result import DetachedJob, Video
    from multitalk_cli.generation.spec import GenerateArgs

EXAMPLES = (
    'multitalk generate host.jpg voice.wav -p "A woman presents the news"',
    "multitalk generate duo.png first.wav second.wav --plan",
    "multitalk generate duo.png --speaker right=voice.wav -o talk.mp4",
    'for f in *.wav; do multitalk generate host.jpg "$f"; done',
)


OUTPUT_HELP = "FILE, FOLDER/, s3://..., - (stdout) or with {image}, {voice}, {seed}, {n}."
SPEAKER_HELP = "left, right, face:N or box:x0%,y0%,x1%,y1%."


@setting_options(
    after={
        "speaker": ("order", "size", "fit", "fps", "preset", "sample_steps"),
        "plan": ("max_cost", "backend", "gpu"),
        "detach": ("fail_under",),
    },
    advanced=(
        "tier", "lora", "text_guidance", "text_gate", "audio_guidance", "shift",
        "negative_prompt", "background", "loudness", "rotate", "sound_level", "trim_silence",
        "audio_track",
        "weights", "device", "stack", "attention", "app", "environment", "persistent_params",
        "keep_inputs", "sidecar", "embed_prompt",
    ),
)  # fmt: skip
def generate(
    ctx: typer.Context,
    given: Mapping[str, object],
    image: Annotated[
        str, typer.Argument(metavar="IMAGE", help="PNG, JPEG or WebP; a file or s3://.")
    ],
    voices: Annotated[
        list[str] | None,
        typer.Argument(metavar="VOICE [VOICE2]", help="Who speaks, from left to right."),
    ] = None,
    prompt: Annotated[
        str, typer.Option("--prompt", "-p", metavar="TEXT", help="What the video shows.")
    ] = settings.DEFAULT_PROMPT,
    output_path: Annotated[
        str | None, typer.Option("--output", "-o", metavar="PATH", help=OUTPUT_HELP)
    ] = None,
    speaker: Annotated[
        list[str] | None, typer.Option(metavar="PLACE=VOICE", help=SPEAKER_HELP)
    ] = None,
    seed: Annotated[
        str | None, typer.Option(metavar="N", help="Random by default; the result names it.")
    ] = None,
    seeds: Seeds = None,
    plan: Annotated[
        bool, typer.Option("--plan", "--dry-run", help="Show plan, time and price only.")
    ] = False,
    first: First = False,
    detach: Annotated[
        bool, typer.Option("--detach", help="Print the job's id and leave; see jobs --help.")
    ] = False,
    upload: Annotated[
        bool, typer.Option("--upload", help="Store the video in outputs/ of your bucket too.")
    ] = False,
    upload_to: Annotated[
        str | None, typer.Option(metavar="S3", help="Store it at s3://BUCKET/KEY or s3://BUCKET/.")
    ] = None,
    force: Force = False,
    help_all: HelpAll = False,
) -> None:
    """Make a talking video from a picture and one or two voices."""
    from multitalk_cli.generation.spec import GenerateArgs

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
        first=first,
    )
    chosen = settings.load_settings(given)
    make(args, chosen, ctx.obj, plan=plan, seeds=seeds, command="generate")


def make(
    args: "GenerateArgs",
    chosen: settings.Settings,
    console: Console,
    *,
    plan: bool,
    seeds: str | None,
    command: str,
) -> None:
    """Makes a video, several with different seeds, or only the plan.

    command: the one that was typed.
    """
    if seeds is not None:
        make_variations(args, seeds, chosen, console, is_plan=plan, command=command)
    elif plan:
        show_plan(args, chosen, console, command=command)
    elif args.output == STDOUT:
        stream_video(args, chosen, console)
    else:
        make_video(args, chosen, console, command=command)


def show_plan(
    args: "GenerateArgs", chosen: settings.Settings, console: Console, *, command: str
) -> None:
    """Prints the plan of a video, and writes its picture. command: the one that was typed."""
    from multitalk_cli.cli.views import plan as view
    from multitalk_cli.generation import plan

    video = plan.make_plan(args, chosen, console)
    picture = plan.save_picture(video, args, console)
    console.succeed(command, view.data(video, picture), view.blocks(video, picture))


def make_video(
    args: "GenerateArgs", chosen: settings.Settings, console: Console, *, command: str = "generate"
) -> None:
    """Makes a video and prints its path, or the id of the job that continues.

    command: the one that was typed.
    """
    from multitalk_cli.cli.views import generate as view
    from multitalk_cli.generation import run

    outcome = run.generate(args, chosen, console)
    show_facts(outcome, console)
    console.succeed(command, view.data(outcome), view.lines(outcome))
    _show_next(outcome, console)


def make_variations(
    args: "GenerateArgs",
    seeds: str,
    chosen: settings.Settings,
    console: Console,
    *,
    is_plan: bool,
    command: str,
) -> None:
    """Makes several videos that differ in their seed, and prints their paths."""
    from multitalk_cli.batch.plan import plan_variations
    from multitalk_cli.batch.rows import parse_seeds
    from multitalk_cli.batch.run import RunOptions
    from multitalk_cli.cli.commands import batch
    from multitalk_cli.cli.views import batch as view

    for option in ("-o -",) if args.output == STDOUT else ("--detach",) if args.detach else ():
        raise UsageError(
            f"{option} is for one video, and --seeds makes several",
            code="E_CONFLICT",
            facts={"options": ("--seeds", option)},
        )
    plan = plan_variations(args, chosen, parse_seeds("--seeds", seeds), console)
    if is_plan:
        console.succeed(command, view.plan_data(plan), view.plan_blocks(plan, console.typed))
        return
    console.fact("price", view.describe_price(plan))
    options = RunOptions()
    batch.agree(plan, options, console)
    with console.stop_requests(look_s=batch.LOOK_S) as requests:
        ended = batch.run(plan, options, console, requests, in_lines=False)
        lines = [each.video.place for each in ended.results if each.video is not None]
        console.fact("videos", view.summary(ended))
        console.succeed(command, view.data(ended, None), lines, view.errors(ended, console.typed))
        batch.show_rest(ended, console)
        batch.end_if_stopped(ended)
    batch.require_complete(ended, "generate", console)


def show_facts(outcome: "Video | DetachedJob", console: Console) -> None:
    """Tells about a video before its path, and how to get one that is still being made."""
    from multitalk_cli.cli.views import generate as view
    from multitalk_cli.generation.result import DetachedJob

    for label, text in view.facts(outcome):
        console.fact(label, text)
    if isinstance(outcome, DetachedJob):
        show_detached(outcome.job_id, console)


def show_detached(job_id: str, console: Console) -> None:
    """Tells that a job is still running, and the command that returns to it."""
    from multitalk_cli.cli.views.jobs import detached_note

    note, command = detached_note(job_id)
    console.note(note)
    console.next(command)


def _show_next(outcome: "Video | DetachedJob", console: Console) -> None:
    """The command that makes the rest of a first window."""
    from multitalk_cli.cli.views import generate as view
    from multitalk_cli.generation.result import DetachedJob

    if not isinstance(outcome, DetachedJob) and outcome.first is not None:
        console.next(view.finish_command(outcome, outcome.first))


def stream_video(args: "GenerateArgs", chosen: settings.Settings, console: Console) -> None:
    """Makes a video and writes its bytes to stdout; everything else is on stderr."""
    from dataclasses import replace
    from tempfile import TemporaryDirectory

    from multitalk_cli.generation import run
    from multitalk_cli.generation.result import DetachedJob

    _check_stream(args, chosen, console)
    with TemporaryDirectory(prefix="multitalk-") as folder:
        args = replace(args, output=f"{folder}/", is_temporary=True)
        outcome = run.generate(args, chosen, console)
        show_facts(outcome, console)
        if not isinstance(outcome, DetachedJob) and outcome.path is not None:
            console.stream(outcome.path)
        _show_next(outcome, console)


def _check_stream(args: "GenerateArgs", chosen: settings.Settings, console: Console) -> None:
    """Raises UsageError for a terminal as stdout, and for what needs a file or writes text."""
    others = {
        "--json": console.options.json,
        "--sidecar": chosen["sidecar"],
        "--detach": args.detach,
    }
    for option in (option for option, is_given in others.items() if is_given):
        raise UsageError(
            f"-o - writes the video to stdout, and {option} needs a file",
            code="E_CONFLICT",
            facts={"options": ("-o -", option)},
        )
    if console.shows_results:
        raise UsageError(
            "-o - writes the video to stdout, which is a terminal: redirect it, or name a file",
            code="E_OUTPUT_NAME",
            facts={"problem": "terminal"},
        )
