"""`multitalk jobs`: jobs in the cloud, from this machine or another."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from multitalk_cli import settings
from multitalk_cli.cli.console import Console
from multitalk_cli.cli.help import PagedCommand, PagedGroup, epilog
from multitalk_cli.cli.options import AppName, Environment, Force, OutputPath

if TYPE_CHECKING:
    from multitalk_cli.cloud.errors import AppRef
    from multitalk_cli.jobs.control import FetchedVideo

app = typer.Typer(
    cls=PagedGroup,
    no_args_is_help=True,
    help="Show, follow, cancel and fetch jobs.",
    epilog=epilog("multitalk jobs ls", "multitalk jobs attach 7f3a"),
)

JobId = Annotated[str, typer.Argument(metavar="ID", help="A job's id, or its beginning.")]


def _place(app_name: str | None, environment: str | None) -> "AppRef":
    from multitalk_cli.cloud.errors import AppRef

    chosen = settings.load_settings({"app": app_name, "environment": environment})
    return AppRef(app=chosen["app"], environment=chosen["environment"])


@app.command("ls", cls=PagedCommand)
def list_jobs(
    ctx: typer.Context,
    remote: Annotated[
        bool, typer.Option("--remote", help="Include jobs of other machines, listed by Modal.")
    ] = False,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="Show at most N.")] = 20,
    app_name: AppName = None,
    environment: Environment = None,
) -> None:
    """List jobs, the newest first."""
    from multitalk_cli.cli.views import jobs as view
    from multitalk_cli.jobs import listing

    console: Console = ctx.obj
    place = _place(app_name, environment)
    jobs = listing.list_remote(place, limit) if remote else listing.list_local(limit)
    if not jobs:
        console.note("no jobs yet; multitalk generate starts one")
    console.succeed("jobs", view.list_data(jobs), view.list_blocks(jobs, time.time()))


@app.command("show", cls=PagedCommand)
def show(
    ctx: typer.Context, job_id: JobId, app_name: AppName = None, environment: Environment = None
) -> None:
    """Show all that is known of a job."""
    from multitalk_cli.cli.views import jobs as view
    from multitalk_cli.jobs import listing

    console: Console = ctx.obj
    listed = listing.find(_place(app_name, environment), job_id)
    console.succeed("jobs", view.show_data(listed), view.show_blocks(listed, time.time()))


@app.command("attach", cls=PagedCommand)
def attach(
    ctx: typer.Context,
    job_id: JobId,
    output_path: OutputPath = None,
    force: Force = False,
    app_name: AppName = None,
    environment: Environment = None,
) -> None:
    """Follow a job to its end, and write its video."""
    from multitalk_cli.cli.views import jobs as view
    from multitalk_cli.jobs import control
    from multitalk_cli.jobs.follow import DetachedError

    console: Console = ctx.obj
    place = _place(app_name, environment)
    try:
        video = control.attach(place, job_id, output_path, force, console)
    except DetachedError as left:
        console.note(view.detached_note(left.job_id))
        console.succeed("jobs", view.detached_data(left.job_id), [left.job_id])
        return
    _show_video(video, console)


@app.command("fetch", cls=PagedCommand)
def fetch(
    ctx: typer.Context,
    job_id: JobId,
    output_path: OutputPath = None,
    force: Force = False,
    app_name: AppName = None,
    environment: Environment = None,
) -> None:
    """Write the video of a finished job again."""
    from multitalk_cli.jobs import control

    place = _place(app_name, environment)
    _show_video(control.fetch(place, job_id, output_path, force, ctx.obj), ctx.obj)


def _show_video(video: "FetchedVideo", console: Console) -> None:
    from multitalk_cli.cli.views import jobs as view

    for label, text in view.video_facts(video):
        console.fact(label, text)
    console.succeed("jobs", view.video_data(video), view.video_lines(video))


@app.command("cancel", cls=PagedCommand)
def cancel(
    ctx: typer.Context, job_id: JobId, app_name: AppName = None, environment: Environment = None
) -> None:
    """Cancel a job and free its GPU."""
    from multitalk_cli.cli.views import jobs as view
    from multitalk_cli.jobs import control

    console: Console = ctx.obj
    cancelled = control.cancel(_place(app_name, environment), job_id, console)
    console.succeed("jobs", view.cancelled_data(cancelled), [cancelled.job_id])
