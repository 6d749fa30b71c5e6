"""`multitalk jobs`: jobs in the cloud, from this machine or another."""

import difflib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from multitalk_cli import settings
from multitalk_cli.cli.commands.generate import make_video
from multitalk_cli.cli.console import Console
from multitalk_cli.cli.dates import parse_since
from multitalk_cli.cli.help import PagedCommand, PagedGroup, epilog
from multitalk_cli.cli.options import AppName, Environment, Force, Gpu, OutputPath, Yes
from multitalk_cli.cli.streams import has_reader
from multitalk_cli.errors import ExitCode, RefusedError, UsageError

if TYPE_CHECKING:
    from multitalk_cli.cloud.errors import AppRef
    from multitalk_cli.cloud.logs import LogLine
    from multitalk_cli.jobs.control import FetchedVideo, FetchOutcome
    from multitalk_cli.jobs.refresh import ListedJob
    from multitalk_cli.jobs.search import By, JobQuery

app = typer.Typer(
    cls=PagedGroup,
    no_args_is_help=True,
    help="Show, follow, fetch, cancel and rerun jobs; add up what they cost.",
    epilog=epilog(
        "multitalk jobs ls --since 2d --total",
        "multitalk jobs attach 7f3a",
        "multitalk jobs wait && multitalk jobs fetch --all",
        "multitalk jobs rerun --failed",
        "multitalk jobs cost --since 30d --by gpu",
    ),
)

STATE_HELP = (
    "queued, running, first-window, done, not-fetched, file-missing, expired, failed, "
    "cancelled or stopped."
)
BY = ("day", "preset", "gpu", "kind")
JobId = Annotated[str, typer.Argument(metavar="ID", help="A job's id, or its beginning.")]
JobIds = Annotated[
    list[str] | None, typer.Argument(metavar="ID...", help="Ids of jobs, or their beginnings.")
]
CancelledIds = Annotated[
    list[str], typer.Argument(metavar="ID...", help="Ids of jobs, or their beginnings.")
]
Since = Annotated[
    str | None, typer.Option(metavar="AGE|DATE", help="Since 2d, 12h, 3w, today or a date.")
]


def _place(app_name: str | None, environment: str | None) -> "AppRef":
    from multitalk_cli.cloud.errors import AppRef

    chosen = settings.load_settings({"app": app_name, "environment": environment})
    return AppRef(app=chosen["app"], environment=chosen["environment"])


@app.command("ls", cls=PagedCommand)
def list_jobs(
    ctx: typer.Context,
    state: Annotated[list[str] | None, typer.Option(metavar="STATE", help=STATE_HELP)] = None,
    since: Since = None,
    search: Annotated[
        str,
        typer.Option(
            metavar="TEXT", help="With TEXT in a name, a path or the prompt.", show_default=False
        ),
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
    if step := view.next_step(listed):
        console.next(step)


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
    from multitalk_cli.cli.commands.generate import show_detached
    from multitalk_cli.cli.views import jobs as view
    from multitalk_cli.jobs import control
    from multitalk_cli.jobs.follow import DetachedError

    console: Console = ctx.obj
    place = _place(app_name, environment)
    try:
        video = control.attach(place, job_id, output_path, force, console)
    except DetachedError as left:
        show_detached(left.job_id, console)
        console.succeed("jobs", view.detached_data(left.job_id), [left.job_id])
        return
    _show_video(video, console)


@app.command("wait", cls=PagedCommand)
def wait(
    ctx: typer.Context,
    job_ids: JobIds = None,
    app_name: AppName = None,
    environment: Environment = None,
) -> None:
    """Wait until jobs have ended, by default all that run; exit code 5 if one failed."""
    from multitalk_cli.cli.views import outcomes as view
    from multitalk_cli.jobs import listing
    from multitalk_cli.jobs import wait as jobs_wait
    from multitalk_cli.jobs.ledger import Ledger

    console: Console = ctx.obj
    ledger = Ledger()
    if job_ids:
        jobs = listing.resolve(_place(app_name, environment), job_ids)
    else:
        jobs = ledger.unfinished()
    if not jobs:
        console.note("no job is running")
    ended = jobs_wait.wait(ledger, jobs, console, lambda each: _report_end(each, console))
    _show_jobs(listing.with_inputs(ledger, ended), view.ended_badly(ended, console.typed), console)


def _report_end(listed: "ListedJob", console: Console) -> None:
    from multitalk_cli.cli.views import jobs as view

    console.note(view.end_line(listed))


def _show_jobs(
    jobs: "Sequence[ListedJob]", errors: "Sequence[Mapping[str, Any]]", console: Console
) -> None:
    """Prints jobs as `ls` does, and ends with exit code 5 if some failed."""
    from multitalk_cli.cli.views import jobs as view
    from multitalk_cli.jobs.listing import JobList

    data = view.list_data(JobList(jobs=tuple(jobs)))
    console.succeed("jobs", data, view.list_blocks(jobs, time.time()), errors)
    if errors:
        raise typer.Exit(int(ExitCode.REMOTE))


@app.command("fetch", cls=PagedCommand)
def fetch(
    ctx: typer.Context,
    job_ids: JobIds = None,
    every: Annotated[
        bool, typer.Option("--all", help="Every finished video that was not fetched.")
    ] = False,
    output_path: OutputPath = None,
    force: Force = False,
    app_name: AppName = None,
    environment: Environment = None,
) -> None:
    """Write the videos of finished jobs, for the first time or once more."""
    from multitalk_cli.jobs import control, listing
    from multitalk_cli.jobs.search import JobQuery
    from multitalk_cli.jobs.states import NOT_FETCHED

    console: Console = ctx.obj
    _require_ids(job_ids, "--all", is_given=every)
    place = _place(app_name, environment)
    if job_ids is not None and len(job_ids) == 1:
        _show_video(control.fetch(place, job_ids[0], output_path, force, console), console)
        return
    _require_folder(output_path)
    if every:
        found = listing.list_local(JobQuery(states=(NOT_FETCHED,)))
        if found.problem:
            console.warn(f"{found.problem}; jobs that ended since are left out")
        jobs = [each.job for each in found.jobs]
    else:
        jobs = listing.resolve(place, job_ids or ())
    _show_fetched(control.fetch_many(jobs, output_path, force, console), console)


def _require_ids(job_ids: Sequence[str] | None, option: str, *, is_given: bool) -> None:
    """Raises UsageError unless there are either ids or the option that stands for them."""
    if bool(job_ids) == is_given:
        problem = f"ids and {option} exclude each other" if is_given else f"no ID, and no {option}"
        raise UsageError(problem, code="E_USAGE", facts={"option": option})


def _require_folder(output_path: str | None) -> None:
    """Raises UsageError for a file as the place of several videos."""
    if output_path is not None and not output_path.endswith("/") and not os.path.isdir(output_path):  # noqa: PTH112
        raise UsageError(
            f"several videos need a folder: {output_path!r} is none",
            code="E_OUTPUT_NAME",
            facts={"folder": f"{output_path}/"},
        )


def _show_fetched(outcomes: "Sequence[FetchOutcome]", console: Console) -> None:
    from multitalk_cli.cli.views import outcomes as view

    errors = view.error_rows(outcomes, console.typed)
    if not outcomes:
        console.note("nothing to fetch: every finished video was fetched")
    console.succeed("jobs", view.fetched_data(outcomes), view.fetched_lines(outcomes), errors)
    if errors:
        raise typer.Exit(int(ExitCode.REMOTE))


def _show_video(video: "FetchedVideo", console: Console) -> None:
    from multitalk_cli.cli.views import jobs as view

    for label, text in view.video_facts(video):
        console.fact(label, text)
    console.succeed("jobs", view.video_data(video), view.video_lines(video))
    if video.result.is_first_window:
        console.next(view.finish_command(video.job))


@app.command("cancel", cls=PagedCommand)
def cancel(
    ctx: typer.Context,
    job_ids: CancelledIds,
    app_name: AppName = None,
    environment: Environment = None,
) -> None:
    """Cancel jobs and free their GPUs."""
    from multitalk_cli.cli.views import outcomes as view
    from multitalk_cli.jobs import control

    console: Console = ctx.obj
    place = _place(app_name, environment)
    cancelled = [control.cancel(place, each, console) for each in job_ids]
    console.succeed("jobs", view.all_cancelled_data(cancelled), [each.job_id for each in cancelled])


@app.command("rerun", cls=PagedCommand)
def rerun(
    ctx: typer.Context,
    job_ids: JobIds = None,
    failed: Annotated[
        bool, typer.Option("--failed", help="Every video that failed and is not made since.")
    ] = False,
    since: Since = None,
    gpu: Gpu = None,
    max_cost: Annotated[
        str | None, typer.Option(metavar="DOLLARS", help="Highest price of each video.")
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Print the ids and leave; do not fetch the videos.")
    ] = False,
    yes: Yes = False,
    app_name: AppName = None,
    environment: Environment = None,
) -> None:
    """Run jobs again with their arguments and inputs; pays only for what is not done."""
    from multitalk_cli.cli.views import outcomes as view
    from multitalk_cli.generation import rerun as generation_rerun
    from multitalk_cli.jobs import listing
    from multitalk_cli.jobs.ledger import Ledger

    console: Console = ctx.obj
    _require_ids(job_ids, "--failed", is_given=failed)
    given = {"gpu": gpu, "max_cost": max_cost}
    since_s = 0.0 if since is None else parse_since("--since", since)
    ledger = Ledger()
    if failed:
        listing.refresh_all(ledger, ledger.unfinished())
        jobs = ledger.failed(since_s)
    else:
        jobs = listing.resolve(_place(app_name, environment), job_ids or ())
    if len(jobs) == 1 and not failed:
        again = generation_rerun.prepare_rerun(ledger, jobs[0], given)
        make_video(replace(again.args, detach=detach), again.settings, console)
        return
    if not jobs:
        console.note("no video failed that is not made since")
        console.succeed("jobs", view.rerun_data([]), [])
        return
    outcomes = generation_rerun.rerun_all(
        ledger, jobs, given, console, assume_yes=yes, detach=detach
    )
    errors = view.error_rows(outcomes, console.typed)
    console.succeed("jobs", view.rerun_data(outcomes), view.rerun_lines(outcomes), errors)
    if errors:
        raise typer.Exit(int(ExitCode.REMOTE))


@app.command("logs", cls=PagedCommand)
def logs(
    ctx: typer.Context,
    job_id: JobId,
    follow: Annotated[
        bool, typer.Option("--follow", help="Print new lines too, until the job ends.")
    ] = False,
    app_name: AppName = None,
    environment: Environment = None,
) -> None:
    """Print what the job's containers logged, as far as Modal keeps it."""
    from multitalk_cli.cli.views import logs as view
    from multitalk_cli.cli.views.jobs import end_line
    from multitalk_cli.jobs import logs as jobs_logs

    console: Console = ctx.obj
    place = _place(app_name, environment)
    if follow:
        ended = jobs_logs.follow_log(place, job_id, console, lambda each: _show_line(each, console))
        if has_reader():
            console.note(end_line(ended))
            console.succeed("jobs", view.followed_data(ended))
        return
    job, lines = jobs_logs.read_log(place, job_id)
    if not lines:
        console.note(f"Modal keeps no log of job {job.id}, or none yet")
    console.succeed("jobs", view.log_data(job, lines), view.log_lines(lines))


def _show_line(line: "LogLine", console: Console) -> bool:
    """Prints a line of a log, or an object on a line of its own; whether anybody reads it."""
    from multitalk_cli.cli.views import logs as view

    if console.options.json:
        console.result_line(view.line_data(line))
    else:
        console.succeed("jobs", {}, view.log_lines([line]))
    return has_reader()


@app.command("prune", cls=PagedCommand)
def prune(
    ctx: typer.Context,
    older_than: Annotated[
        str, typer.Option(metavar="AGE|DATE", help="Ended longer ago: 30d, 12w or a date.")
    ] = "90d",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove old jobs from the list, never one that runs; their videos stay where they are.

    What is removed no longer counts in jobs cost, and is paid for again if it is made again.
    """
    from multitalk_cli.cli.views import jobs as view
    from multitalk_cli.jobs.ledger import Ledger
    from multitalk_cli.jobs.search import total_of

    console: Console = ctx.obj
    ledger = Ledger()
    before_s = parse_since("--older-than", older_than)
    if before_s > time.time():
        raise UsageError(
            f"--older-than must be an age or a date in the past, not {older_than!r}",
            code="E_RANGE",
            facts={"option": "--older-than", "example": "90d"},
        )
    jobs = ledger.ended_before(before_s)
    about = view.prune_text(total_of(jobs))
    if jobs and not yes:
        if not console.can_ask:
            message = f"{about}: this is not a terminal, pass --yes"
            raise UsageError(message, code="E_USAGE", facts={"option": "--yes"})
        if not console.confirm("Remove them from the list?", about=about):
            raise RefusedError("nothing was removed", code="E_DECLINED")
    ledger.remove([job.id for job in jobs])
    console.note(f"removed: {about}" if jobs else "no job ended that long ago")
    console.succeed("jobs", {"removed": [job.id for job in jobs]})


@app.command("cost", cls=PagedCommand)
def cost(
    ctx: typer.Context,
    since: Annotated[
        str, typer.Option(metavar="AGE|DATE", help="Since 30d, 12w, today or a date.")
    ] = "30d",
    by: Annotated[str, typer.Option(metavar="WHAT", help=f"{', '.join(BY)}.")] = "day",
    check: Annotated[
        bool, typer.Option("--check", help="Compare with what Modal bills, by whole UTC days.")
    ] = False,
    app_name: AppName = None,
    environment: Environment = None,
) -> None:
    """Add up what this machine's calls cost."""
    from multitalk_cli.cli.views import cost as view
    from multitalk_cli.jobs import costs

    console: Console = ctx.obj
    if by not in BY:
        close = difflib.get_close_matches(by, BY, n=1)
        raise UsageError(
            f"--by must be one of {', '.join(BY)}, not {by!r}",
            code="E_RANGE",
            facts={"option": "--by", "example": close[0] if close else BY[0]},
        )
    since_s = parse_since("--since", since)
    if check:
        compared = costs.compare(_place(app_name, environment), since_s)
        console.succeed("jobs", view.compared_data(compared), view.compared_blocks(compared))
        return
    found = costs.add_up(since_s, cast("By", by))
    if found.problem:
        console.warn(f"{found.problem}; running jobs count with what was seen last")
    console.succeed("jobs", view.cost_data(found), view.cost_blocks(found))
