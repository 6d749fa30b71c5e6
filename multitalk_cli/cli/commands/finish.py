"""`multitalk finish`: the rest of videos whose first window was made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from multitalk_cli import settings
from multitalk_cli.cli.console import Console
from multitalk_cli.cli.options import AppName, Environment, Force, OutputPath
from multitalk_cli.errors import ExitCode, UsageError
from multitalk_cli.reporting.formatting import shell_line

if TYPE_CHECKING:
    from multitalk_cli.generation.finish import Unfinished
    from multitalk_cli.settings import Settings

EXAMPLES = (
    "multitalk generate host.jpg voice.wav --first",
    "multitalk finish 7f3a",
    "multitalk finish voice.first.mp4 --max-cost 3",
)
Videos = Annotated[
    list[str],
    typer.Argument(metavar="ID|VIDEO...", help="Ids of jobs, or files of first windows."),
]
MaxCost = Annotated[
    str | None, typer.Option(metavar="DOLLARS", help="Highest price of the rest of each.")
]
Weights = Annotated[
    str | None,
    typer.Option(metavar="DIR", help="Of the model, for what was made on this machine."),
]
Detach = Annotated[bool, typer.Option("--detach", help="Print the ids and leave.")]


def finish(
    ctx: typer.Context,
    videos: Videos,
    output_path: OutputPath = None,
    max_cost: MaxCost = None,
    detach: Detach = False,
    force: Force = False,
    weights: Weights = None,
    app_name: AppName = None,
    environment: Environment = None,
) -> None:
    """Make the rest of videos whose first window was made with --first.

    The first window is not paid again, and the video is the one that a single run would have made.
    """
    given = {"max_cost": max_cost, "weights": weights}
    given |= {"app": app_name, "environment": environment}
    chosen, console = settings.load_settings(given), ctx.obj
    if len(videos) > 1 and output_path is not None:
        raise UsageError(
            "-o is for one video; several go where their first command said",
            code="E_CONFLICT",
            facts={"options": ("several videos", "-o")},
        )
    jobs, files = _sort(videos)
    if files and jobs:
        raise UsageError(
            f"{files[0]} was made on this machine, job {jobs[0]} in the cloud: finish them apart",
            code="E_USAGE",
            hint=shell_line(["multitalk", "finish", *map(str, files)]),
        )
    if files:
        _finish_here(files, output_path, chosen, console, force=force, detach=detach)
    else:
        _finish_jobs(jobs, output_path, chosen, console, force=force, detach=detach)


def _sort(videos: Sequence[str]) -> tuple[list[str], list[Path]]:
    """The ids of jobs, each once, and the files that this machine made."""
    from multitalk_cli.recipes.finish import find_job

    jobs: list[str] = []
    files: list[Path] = []
    for each in videos:
        if job := find_job(each):
            jobs.append(job)
        else:
            files.append(Path(each))
    return list(dict.fromkeys(jobs)), files


def _finish_here(
    files: Sequence[Path],
    output: str | None,
    chosen: Settings,
    console: Console,
    *,
    force: bool,
    detach: bool,
) -> None:
    """Makes whole videos on this machine, one after the other."""
    from multitalk_cli.cli.commands.generate import show_facts
    from multitalk_cli.cli.views import generate as view
    from multitalk_cli.generation import run
    from multitalk_cli.recipes.finish import finish_arguments

    made = []
    for path in files:
        args, settings_of_file = finish_arguments(path, chosen, console)
        args = replace(args, output=output or args.output, force=force, detach=detach)
        made.append(run.generate(args, settings_of_file, console))
        show_facts(made[-1], console)
    rows = [view.data(each) for each in made]
    lines = [line for each in made for line in view.lines(each)]
    console.succeed("finish", rows[0] if len(rows) == 1 else {"videos": rows}, lines)


def _finish_jobs(
    ids: Sequence[str],
    output: str | None,
    chosen: Settings,
    console: Console,
    *,
    force: bool,
    detach: bool,
) -> None:
    from multitalk_cli.cloud.errors import AppRef
    from multitalk_cli.generation import finish as generation

    place = AppRef(app=chosen["app"], environment=chosen["environment"])
    found = [generation.find_unfinished(place, each, output, force=force) for each in ids]
    # Two beginnings of one id are one job.
    found = list({each.job.id: each for each in found}.values())
    generation.agree(found, chosen["max_cost"], console)
    if detach:
        started = [generation.start(each, chosen["max_cost"], console) for each in found]
        _show_detached([each.job.id for each in started], console)
    elif len(found) == 1:
        _finish_one(found[0], chosen["max_cost"], console, force=force)
    else:
        _finish_many(found, chosen["max_cost"], console, force=force)


def _show_detached(ids: Sequence[str], console: Console) -> None:
    from multitalk_cli.cli.commands.generate import show_detached
    from multitalk_cli.cli.views import jobs as view

    for each in ids:
        show_detached(each, console)
    rows = [view.detached_data(each) for each in ids]
    console.succeed("finish", rows[0] if len(rows) == 1 else {"videos": rows}, ids)


def _finish_one(
    found: Unfinished, max_cost: float | None, console: Console, *, force: bool
) -> None:
    from multitalk_cli.cli.views import jobs as view
    from multitalk_cli.generation import finish as generation
    from multitalk_cli.jobs.follow import DetachedError

    try:
        video = generation.finish(found, max_cost, console, force=force)
    except DetachedError as left:
        _show_detached([left.job_id], console)
        return
    for label, text in view.video_facts(video):
        console.fact(label, text)
    console.succeed("finish", view.video_data(video), view.video_lines(video))


def _finish_many(
    found: Sequence[Unfinished], max_cost: float | None, console: Console, *, force: bool
) -> None:
    from multitalk_cli.cli.views import outcomes as view
    from multitalk_cli.generation import finish as generation

    outcomes = generation.finish_all(found, max_cost, console, force=force)
    errors = view.error_rows(outcomes, console.typed)
    console.succeed("finish", view.fetched_data(outcomes), view.fetched_lines(outcomes), errors)
    if errors:
        raise typer.Exit(int(ExitCode.REMOTE))
