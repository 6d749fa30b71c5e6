"""`multitalk jobs`: jobs in the cloud, from this machine or another."""

import difflib
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from multitalk_cli import settings
from multitalk_cli.cli.console import Console
from multitalk_cli.cli.dates import parse_since
from multitalk_cli.cli.help import PagedCommand, PagedGroup, epilog
from multitalk_cli.cli.options import AppName, Environment, Force, OutputPath
from multitalk_cli.errors import UsageError

if TYPE_CHECKING:
    from multitalk_cli.cloud.errors import AppRef
    from multitalk_cli.jobs.control import FetchedVideo
    from multitalk_cli.jobs.search import JobQuery

app = typer.Typer(
    cls=PagedGroup,
    no_args_is_help=True,
    help="Show, follow, fetch, cancel and rerun jobs; add up what they cost.",
    epilog=epilog("multitalk jobs ls", "multitalk jobs attach 7f3a"),
)

STATE_HELP = (
    "queued, running, done, not-fetched, file-missing, expired, failed, cancelled or stopped."
)
JobId = Annotated[str, typer.Argument(metavar="ID", help="A job's id, or its beginning.")]


def _place(app_name: str | None, environment: str | None) -> "AppRef":
    from multitalk_cli.cloud.errors import AppRef

    chosen = settings.load_settings({"app": app_name, "environment": environment})
    return AppRef(app=chosen["app"], environment=chosen["environment"])


@app.command("ls", cls=PagedCommand)
def list_jobs(
    ctx: typer.Context,
    state: Annotated[list[str] | None, typer.Option(metavar="STATE", help=STATE_HELP)] = None,
    since: Annotated[
        str | None, typer.Option(metavar="AGE|DATE", help="Since 2d, 12h, 3w, today or a date.")
    ] = None,
    search: Annotated[
        str, typer.Option(metavar="TEXT", help="With TEXT in a name, a path or the prompt.")
    ] = "",
    total: Annotated[
        bool, typer.Option("--total", help="Add up time and money of all that match.")
    ] = False,
    remote: Annotated[
        bool, typer.Option("--remote", help="Include jobs of other machines, listed by Modal.")
    ] = False,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="Show at most N.")] = 20,
    app_name: AppName = None,
    environment: Environment = None,
) -> None:
    """List calls that cost money, the newest first; asks Modal about those that run."""
    from multitalk_cli.cli.views import jobs as view
    from multitalk_cli.jobs import listing
    from multitalk_cli.jobs import search as jobs_search
    from multitalk_cli.jobs.ledger import Ledger

    console: Console = ctx.obj
    query = _query(state or (), since, search)
    place = _place(app_name, environment)
    found = listing.list_remote(place, query) if remote else listing.list_local(query, limit)
    if found.problem:
        console.warn(f"{found.problem}; running jobs have the state that was seen last")
    if not found.jobs:
        console.note(_nothing_found(query))
    sums = None
    if total:
        is_whole = remote or len(found.jobs) < limit
        jobs = [each.job for each in found.jobs]
        sums = jobs_search.total_of(jobs) if is_whole else jobs_search.total(Ledger(), query)
    shown = listing.JobList(jobs=found.jobs[:limit], problem=found.problem)
    console.succeed(
        "jobs", view.list_data(shown, sums), view.list_blocks(shown.jobs, time.time(), sums)
    )


def _query(state: Sequence[str], since: str | None, text: str) -> "JobQuery":
    """The filters, checked. Raises UsageError."""
    from multitalk_cli.jobs.search import JobQuery
    from multitalk_cli.jobs.states import STATES

    for each in state:
        if each not in STATES:
            close = difflib.get_close_matches(each, STATES, n=1)
            raise UsageError(
                f"--state must be one of {', '.join(STATES)}, not {each!r}",
                code="E_RANGE",
                facts={"option": "--state", "example": close[0] if close else STATES[0]},
            )
    since_s = 0.0 if since is None else parse_since("--since", since)
    return JobQuery(states=tuple(state), since_s=since_s, text=text)


def _nothing_found(query: "JobQuery") -> str:
    is_filtered = query.states or query.since_s or query.text
    return "no job matches" if is_filtered else "no jobs yet; multitalk generate starts one"


@app.command("show", cls=PagedCommand)
def show(
    ctx: typer.Context, job_id: JobId, app_name: AppName = None, environment: Environment = None
) -> None:
    """Show a job: inputs, settings, times, money and file."""
    from multitalk_cli.cli.views import jobs as view
    from multitalk_cli.jobs import listing

    console: Console = ctx.obj
    listed = listing.find(_place(app_name, environment), job_id)
    if not listed.is_current:
        console.warn("Modal was not reached: this is the state that was seen last")
    console.succeed("jobs", view.show_data(listed), view.show_blocks(listed, time.time()))
    console.next(view.next_step(listed))


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
