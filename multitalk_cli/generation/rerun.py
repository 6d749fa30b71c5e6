"""Jobs run again from what the ledger recorded: arguments, settings, inputs by their content."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from multitalk_cli.errors import FileError, MultitalkError, RefusedError, UsageError
from multitalk_cli.files import open_input, sha256_of
from multitalk_cli.generation import run
from multitalk_cli.generation.arguments import restore_arguments
from multitalk_cli.generation.finish import plan_of
from multitalk_cli.generation.job import estimate_plan, open_job
from multitalk_cli.generation.result import Video
from multitalk_cli.jobs import ledger as jobs_ledger
from multitalk_cli.jobs import states
from multitalk_cli.jobs.control import fetch_many
from multitalk_cli.jobs.wait import wait
from multitalk_cli.planning import cost
from multitalk_cli.reporting.formatting import human_count, human_money
from multitalk_cli.reporting.reporter import QuietReporter
from multitalk_cli.storage.address import is_stored

if TYPE_CHECKING:
    from multitalk_cli.generation.spec import GenerateArgs
    from multitalk_cli.jobs.ledger import Job, KnownInput, Ledger
    from multitalk_cli.planning.cost import Estimate
    from multitalk_cli.reporting.reporter import Reporter
    from multitalk_cli.settings import Settings

_TOLERANCE = 1.2
_PAID = (states.QUEUED, states.RUNNING, states.FIRST, states.DONE, states.NOT_FETCHED)
"""States of jobs that need no money for their video."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rerun:
    """One job that is to run again. estimate: None for what is paid for already."""

    job: Job
    args: GenerateArgs
    settings: Settings
    estimate: Estimate | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RerunOutcome:
    """What became of one job.

    job_id: of the one that makes its video now. place: path or address of the video, once it is
    there. error: what prevented it.
    """

    job: Job
    job_id: str
    place: str | None = None
    error: MultitalkError | None = None


def prepare_rerun(ledger: Ledger, job: Job, given: Mapping[str, object]) -> Rerun:
    """A job as it will run again. given: settings in place of the recorded ones.

    Raises UsageError for a job without a record of its arguments, FileError for an input that is
    nowhere to be found.
    """
    if job.kind != jobs_ledger.GENERATE:
        raise UsageError(
            f"job {job.id} is a {job.kind}, not a video: run multitalk {job.kind} again",
            code="E_NO_ARGUMENTS",
            hint=f"multitalk {job.kind}",
        )
    places = {each.location: _find_input(ledger, job, each) for each in ledger.inputs_of(job.id)}
    output = job.target if job.target and not is_stored(job.target) else None
    args, settings = restore_arguments(job.request, places, output, given)
    args = replace(args, first=job.is_first)
    is_paid = states.state_of(job) in _PAID
    estimate = None if is_paid else estimate_job(job, settings)
    return Rerun(job=job, args=args, settings=settings, estimate=estimate)


def _find_input(ledger: Ledger, job: Job, wanted: KnownInput) -> str:
    """Where a file with the input's content is now. Raises FileError E_FILE_MISSING."""
    if is_stored(wanted.location):
        return wanted.location
    seen = [wanted.location, *(each.location for each in ledger.find_inputs(wanted.sha256))]
    for location in dict.fromkeys(seen):
        if not is_stored(location) and _has_content(Path(location), wanted.sha256):
            return location
    raise FileError(
        f"{wanted.location!r}, an input of job {job.id}, is gone or has changed, and no other file "
        "with its content is known",
        code="E_FILE_MISSING",
    )


def _has_content(path: Path, sha256: str) -> bool:
    try:
        with open_input(path) as file:
            return sha256_of(file) == sha256
    except MultitalkError:
        return False


def estimate_job(job: Job, settings: Settings) -> Estimate:
    """The price of a job from its recipe, without its inputs."""
    plan = plan_of(job)
    return estimate_plan(settings, plan.first_window if job.is_first else plan)


def check_total(reruns: Sequence[Rerun], reporter: Reporter, *, assume_yes: bool) -> list[Rerun]:
    """The same, each allowed to cost what was estimated, once the price of all was agreed to.

    Asks where a single video would. Raises RefusedError E_DECLINED, UsageError in a script.
    """
    priced = [(rerun, rerun.estimate) for rerun in reruns if rerun.estimate is not None]
    most_usd = sum(estimate.price_usd for _, estimate in priced)
    if not priced:
        reporter.fact("price", "nothing: all of it is paid for")
        return [_allowed(rerun) for rerun in reruns]
    about = f"up to {human_money(most_usd)} for {human_count(len(priced), 'video')}"
    reporter.fact("price", about)
    is_limited = all(rerun.settings["max_cost"] is not None for rerun, _ in priced)
    needs_consent = most_usd > cost.ASK_ABOVE_USD and not is_limited
    if needs_consent and not assume_yes:
        if not reporter.can_ask:
            raise UsageError(
                f"costs {about}: pass --yes, or --max-cost for each of them",
                code="E_USAGE",
                facts={"option": "--yes"},
            )
        if not reporter.confirm(f"Make them again, {about}?"):
            raise RefusedError("nothing was started or paid", code="E_DECLINED")
    return [_allowed(rerun) for rerun in reruns]


def _allowed(rerun: Rerun) -> Rerun:
    """The job with its estimate as its limit, where it has none: nobody is asked once more."""
    if rerun.estimate is None:
        # What turns out to cost money after all is refused.
        return replace(rerun, settings=rerun.settings.having("max_cost", 0.0))
    if rerun.settings["max_cost"] is not None:
        return rerun
    # Containers may have started more slowly since.
    limit_usd = math.ceil(rerun.estimate.price_usd * _TOLERANCE * 100) / 100
    return replace(rerun, settings=rerun.settings.having("max_cost", limit_usd))


def start_rerun(rerun: Rerun, reporter: Reporter) -> RerunOutcome:
    """Starts a job again and leaves it running. What prevents it is in the result."""
    try:
        with open_job(rerun.args, rerun.settings, reporter) as job:
            existing = run.find_existing(job, reporter)
            if isinstance(existing, Video):
                return RerunOutcome(job=rerun.job, job_id=rerun.job.id, place=existing.place)
            run.check_price(job, reporter, existing)
            started = run.start(job, reporter)
            return RerunOutcome(job=rerun.job, job_id=started.job_id)
    except MultitalkError as error:
        return RerunOutcome(job=rerun.job, job_id=rerun.job.id, error=error)


def rerun_all(
    ledger: Ledger,
    jobs: Sequence[Job],
    given: Mapping[str, object],
    reporter: Reporter,
    *,
    assume_yes: bool,
    detach: bool,
) -> list[RerunOutcome]:
    """Runs jobs again: all are started, then waited for, then their videos are written.

    One that cannot be run stops no other. given: settings in place of the recorded ones.
    """
    ready: list[Rerun] = []
    outcomes: dict[str, RerunOutcome] = {}
    for job in jobs:
        try:
            ready.append(prepare_rerun(ledger, job, given))
        except MultitalkError as error:
            outcomes[job.id] = RerunOutcome(job=job, job_id=job.id, error=error)
    for rerun in check_total(ready, reporter, assume_yes=assume_yes):
        outcomes[rerun.job.id] = start_rerun(rerun, QuietReporter())
    for each in outcomes.values():
        reporter.note(_describe(each))
    if not detach:
        started = [each for each in outcomes.values() if each.place is None and each.error is None]
        outcomes |= {each.job.id: each for each in _finished(ledger, started, reporter)}
    return [outcomes[job.id] for job in jobs]


def _describe(outcome: RerunOutcome) -> str:
    job = f"job {outcome.job.id}"
    if outcome.error is not None:
        return f"{job} is not run again: {outcome.error.message}"
    if outcome.place is not None:
        return f"{job} is already made: {outcome.place}"
    if outcome.job_id == outcome.job.id:
        return f"{job} continues" if outcome.job.is_unfinished else f"{job} is made; fetching it"
    return f"{job} is made again by job {outcome.job_id}"


def _finished(
    ledger: Ledger, started: Sequence[RerunOutcome], reporter: Reporter
) -> Iterator[RerunOutcome]:
    """The jobs once they have ended, with their videos written."""
    running = [job for each in started if (job := ledger.get(each.job_id)) is not None]
    unfinished = [job for job in running if states.state_of(job) in (states.QUEUED, states.RUNNING)]
    wait(ledger, unfinished, reporter, lambda _listed: None)
    now = [job for each in started if (job := ledger.get(each.job_id)) is not None]
    fetched = {each.job.id: each for each in fetch_many(now, None, False, reporter)}
    for each in started:
        found = fetched.get(each.job_id)
        if found is None:
            yield each
        elif found.video is None:
            yield replace(each, error=found.error)
        else:
            path, stored = found.video.path, found.video.result.stored
            yield replace(each, place=stored if path is None else str(path))
