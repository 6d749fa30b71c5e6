"""`multitalk jobs`: what was started in the cloud, from this machine or another."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from multitalk_cli import settings
from multitalk_cli.cli.console import Console
from multitalk_cli.cli.help import PagedCommand, PagedGroup, epilog
from multitalk_cli.cli.options import AppName, Environment, Force, OutputPath
from multitalk_cli.reporting.formatting import align

if TYPE_CHECKING:
    from multitalk_cli.cloud.errors import AppRef

app = typer.Typer(
    cls=PagedGroup,
    no_args_is_help=True,
    help="Show, follow, cancel and fetch jobs.",
    epilog=epilog("multitalk jobs ls", "multitalk jobs attach 7f3a"),
)

JobId = Annotated[str, typer.Argument(metavar="ID", help="A job's id, or how it begins.")]


def _place(app_name: str | None, environment: str | None) -> "AppRef":
    from multitalk_cli.cloud.errors import AppRef

    chosen = settings.load_settings({"app": app_name, "environment": environment})
    return AppRef(app=chosen["app"], environment=chosen["environment"])


@app.command("ls", cls=PagedCommand)
def list_jobs(
    ctx: typer.Context,
    remote: Annotated[
        bool, typer.Option("--remote", help="Also those of other machines; asks Modal.")
    ] = False,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="How many, 20 by default.")] = 20,
    app_name: AppName = None,
    environment: Environment = None,
) -> None:
    """List jobs, the newest first."""
    from multitalk_cli.cli.views import jobs

    output: Console = ctx.obj
    place = _place(app_name, environment)
    rows = jobs.remote_rows(place, limit) if remote else jobs.local_rows(limit)
    lines = align([jobs.HEADER, *map(jobs.columns, rows)]) if rows else []
    if not rows:
        output.note("no jobs yet; multitalk generate starts one")
    output.succeed("jobs", {"jobs": rows}, lines)


@app.command("show", cls=PagedCommand)
def show(
    ctx: typer.Context, job_id: JobId, app_name: AppName = None, environment: Environment = None
) -> None:
    """Show what is known of a job."""
    from multitalk_cli.cli.views import jobs

    output: Console = ctx.obj
    facts: dict[str, Any] = jobs.describe(_place(app_name, environment), job_id)
    shown = [(name, str(value)) for name, value in facts.items() if value not in ("", None)]
    output.succeed("jobs", {"job": facts}, align(shown))


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
    from multitalk_cli.jobs import control

    control.attach(_place(app_name, environment), job_id, output_path, force, ctx.obj)


@app.command("fetch", cls=PagedCommand)
def fetch(
    ctx: typer.Context,
    job_id: JobId,
    output_path: OutputPath = None,
    force: Force = False,
    app_name: AppName = None,
    environment: Environment = None,
) -> None:
    """Write the video of a finished job once more."""
    from multitalk_cli.jobs import control

    control.fetch(_place(app_name, environment), job_id, output_path, force, ctx.obj)


@app.command("cancel", cls=PagedCommand)
def cancel(
    ctx: typer.Context, job_id: JobId, app_name: AppName = None, environment: Environment = None
) -> None:
    """Cancel a job and free its GPU."""
    from multitalk_cli.jobs import control

    control.cancel(_place(app_name, environment), job_id, ctx.obj)
