"""Lists of jobs with their newest state, from the ledger or from the index of all machines."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from multitalk_cli.errors import MultitalkError
from multitalk_cli.jobs import search as jobs_search
from multitalk_cli.jobs import states
from multitalk_cli.jobs.ledger import Ledger
from multitalk_cli.jobs.refresh import ListedJob, refresh
from multitalk_cli.jobs.search import JobQuery

if TYPE_CHECKING:
    from multitalk_cli.cloud.client import Cloud
    from multitalk_cli.cloud.errors import AppRef
    from multitalk_cli.jobs.ledger import Job

MOST_REFRESHED, REFRESHED_WITHIN_S, _AT_ONCE = 200, 10.0, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class JobList:
    """Jobs, the newest first. problem: why some have an old state; empty where all are current."""

    jobs: tuple[ListedJob, ...]
    problem: str = ""


def list_local(query: JobQuery, limit: int = -1) -> JobList:
    """The ledger's jobs that match, once Modal was asked about those that run."""
    ledger = Ledger()
    newest = refresh_all(ledger, ledger.unfinished())
    found = jobs_search.search(ledger, query, limit)
    return JobList(
        jobs=with_inputs(ledger, [newest.of(job) for job in found]), problem=newest.problem
    )


def with_inputs(ledger: Ledger, jobs: Sequence[ListedJob]) -> tuple[ListedJob, ...]:
    """The same with their pictures and voices."""
    inputs = ledger.inputs_of_all([each.job.id for each in jobs])
    return tuple(
        replace(each, inputs=tuple(known)) for each, known in zip(jobs, inputs, strict=True)
    )


def list_remote(place: AppRef, query: JobQuery) -> JobList:
    """The jobs of all machines that match. Raises SetupError, TemporaryError offline."""
    from multitalk_cli.cloud.client import Cloud
    from multitalk_cli.jobs.control import job_from_entry

    ledger = Ledger()
    entries = Cloud.reachable(place).indexed()
    known = {job.id: job for job in ledger.newest()}
    jobs = [known.get(entry["id"]) or job_from_entry(place, entry) for entry in entries]
    jobs = [job for job in jobs if job.created_s >= query.since_s and _has_text(job, query.text)]
    newest = refresh_all(ledger, [job for job in jobs if job.is_unfinished])
    listed = [newest.of(job) for job in jobs]
    if query.states:
        listed = [
            each
            for each in listed
            if any(states.has_state(each.job, state) for state in query.states)
        ]
    return JobList(jobs=with_inputs(ledger, listed), problem=newest.problem)


def _has_text(job: Job, text: str) -> bool:
    texts = (job.id, job.label, job.target, job.prompt)
    return any(text.casefold() in each.casefold() for each in texts)


def resolve(place: AppRef, prefixes: Sequence[str]) -> list[Job]:
    """The jobs with these ids or beginnings of ids, each once. Raises UsageError E_NO_JOB."""
    from multitalk_cli.jobs.control import open_job

    ledger, found = Ledger(), []
    for prefix in prefixes:
        known = ledger.find(prefix)
        found.append(open_job(place, ledger, prefix)[1] if known is None else known)
    return list({job.id: job for job in found}.values())


def find(place: AppRef, prefix: str) -> ListedJob:
    """One job with its newest state; a finished one of the ledger needs no network.

    Raises UsageError E_NO_JOB.
    """
    from multitalk_cli.jobs.control import open_job

    ledger = Ledger()
    known = ledger.find(prefix)
    if known is None:
        cloud, job = open_job(place, ledger, prefix)
        return refresh(cloud, ledger, job)
    newest = refresh_all(ledger, [known] if known.is_unfinished else [])
    return replace(
        newest.of(known),
        is_current=not newest.problem,
        inputs=tuple(ledger.inputs_of(known.id)),
        calls=tuple(ledger.calls_of(known.id)),
    )


# The newest states


@dataclass(frozen=True, slots=True, kw_only=True)
class Refreshed:
    """Jobs that Modal was asked about.

    problem: why some were not; empty where all were. error: what kept it from being asked.
    """

    jobs: Mapping[str, ListedJob]
    problem: str = ""
    error: MultitalkError | None = None

    def of(self, job: Job) -> ListedJob:
        """The job with its newest state, where that is known."""
        return self.jobs.get(job.id) or ListedJob(job=job)


def refresh_all(
    ledger: Ledger,
    jobs: Sequence[Job],
    within_s: float = REFRESHED_WITHIN_S,
    most: int = MOST_REFRESHED,
) -> Refreshed:
    """The newest states of unfinished jobs, in parallel and within a limit of time and number."""
    if not jobs:
        return Refreshed(jobs={})
    asked = jobs[:most]
    work = _Refreshing(ledger, asked)
    try:
        work.connect()
    except MultitalkError as error:
        return Refreshed(jobs={}, problem=error.message, error=error)
    done = work.run(within_s)
    return Refreshed(jobs=done, problem=work.problem(len(jobs)), error=work.error)


class _Refreshing:
    """Threads that ask Modal about jobs, one after the other each. error: the last that came."""

    def __init__(self, ledger: Ledger, jobs: Sequence[Job]) -> None:
        self._ledger, self._jobs = ledger, jobs
        self._waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._ended: queue.SimpleQueue[ListedJob | Exception] = queue.SimpleQueue()
        self._clouds: dict[tuple[str, str], Cloud] = {}
        self._done: dict[str, ListedJob] = {}
        self.error: MultitalkError | None = None
        for job in jobs:
            self._waiting.put(job)

    def connect(self) -> None:
        """Raises SetupError without a token, TemporaryError offline."""
        from multitalk_cli.cloud.client import Cloud
        from multitalk_cli.cloud.errors import AppRef

        for job in self._jobs:
            place = (job.app, job.environment)
            if place not in self._clouds:
                ref = AppRef(app=job.app, environment=job.environment)
                # The first one is reached for all.
                self._clouds[place] = Cloud(ref) if self._clouds else Cloud.reachable(ref)

    def run(self, within_s: float) -> Mapping[str, ListedJob]:
        """The jobs that were answered in time."""
        for _ in range(min(_AT_ONCE, len(self._jobs))):
            # Daemons: a connection that hangs delays neither the list nor the end.
            threading.Thread(target=self._ask, daemon=True).start()
        end_s = time.monotonic() + within_s
        for _ in self._jobs:
            try:
                ended = self._ended.get(timeout=max(0.0, end_s - time.monotonic()))
            except queue.Empty:
                break
            if isinstance(ended, ListedJob):
                self._done[ended.job.id] = ended
            elif isinstance(ended, MultitalkError):
                self.error = ended
            else:
                raise ended
        return self._done

    def _ask(self) -> None:
        while True:
            try:
                job = self._waiting.get_nowait()
            except queue.Empty:
                return
            try:
                cloud = self._clouds[job.app, job.environment]
                self._ended.put(refresh(cloud, self._ledger, job))
            except Exception as error:  # noqa: BLE001 - judged in the thread that waits
                self._ended.put(error)

    def problem(self, asked_for: int) -> str:
        """Why not all jobs were answered."""
        missing = asked_for - len(self._done)
        if not missing:
            return ""
        if self.error is not None:
            return self.error.message
        return f"Modal has not answered for {missing} of {asked_for} running jobs"
