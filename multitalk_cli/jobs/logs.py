"""What a job's containers print: as far as Modal keeps it, or line by line until the job ends."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from multitalk_cli.cloud.follow import RECONNECTING
from multitalk_cli.cloud.logs import LogLine, call_log
from multitalk_cli.errors import TemporaryError
from multitalk_cli.jobs import ledger as jobs_ledger
from multitalk_cli.jobs.call import latest_attempt
from multitalk_cli.jobs.control import open_job
from multitalk_cli.jobs.refresh import ListedJob, refresh
from multitalk_cli.storage.retry import SYSTEM_CLOCK

if TYPE_CHECKING:
    from multitalk_cli.cloud.client import Cloud
    from multitalk_cli.cloud.errors import AppRef
    from multitalk_cli.jobs.ledger import Job
    from multitalk_cli.reporting.reporter import Reporter

_POLL_S = 2.0


def read_log(place: AppRef, prefix: str) -> tuple[Job, list[LogLine]]:
    """What the containers of all calls of a job printed, as far as Modal keeps it."""
    ledger = jobs_ledger.Ledger()
    cloud, job = open_job(place, ledger, prefix)
    calls = ledger.calls_of(job.id)
    if not calls:
        newest = latest_attempt(cloud, job).call_id
        calls = [newest] if newest else []
    until_s = time.time() if job.ended_s is None else job.ended_s
    lines = [line for call in calls for line in call_log(cloud, call, job.created_s, until_s)]
    return job, lines


def follow_log(
    place: AppRef, prefix: str, reporter: Reporter, show: Callable[[LogLine], bool]
) -> ListedJob:
    """Shows what a job's containers printed, and what they print until it ends; returns its end.

    show: receives each line; False ends the following. The job stays as it is. Raises
    TemporaryError where Modal stays out of reach.
    """
    ledger = jobs_ledger.Ledger()
    cloud, job = open_job(place, ledger, prefix)
    reporter.leaving = "the job is left as it is; the same command follows its log again"
    log, listed, was_running = _Log(cloud, job), ListedJob(job=job), False
    retry = RECONNECTING.start(SYSTEM_CLOCK)
    while True:
        try:
            if listed.job.is_unfinished:
                listed = refresh(cloud, ledger, listed.job)
            log.note_calls(*ledger.calls_of(job.id), listed.job.call_id)
            for line in log.new_lines():
                if not show(line):
                    return listed
        except TemporaryError as error:
            if not retry.has_failed:
                reporter.warn(f"{error.message}; reconnecting")
            if not retry.wait():
                raise
            continue
        retry.succeed()
        is_running = listed.job.state in (jobs_ledger.SPAWNING, jobs_ledger.RUNNING)
        if not is_running and not was_running:
            return listed
        # The last lines arrive late: once more after its end.
        was_running = is_running
        time.sleep(_POLL_S)


class _Log:
    """The lines of a job's calls, each given once: Modal is asked for stretches of time."""

    def __init__(self, cloud: Cloud, job: Job) -> None:
        self._cloud, self._job = cloud, job
        self._newest_s: dict[str, float] = {}
        self._given: Counter[tuple[str, LogLine]] = Counter()

    def note_calls(self, *calls: str) -> None:
        """From now on these calls are read too; an empty id is none."""
        for call in filter(None, calls):
            self._newest_s.setdefault(call, self._job.created_s)

    def new_lines(self) -> Iterator[LogLine]:
        """What all calls printed since the last time."""
        for call, newest_s in self._newest_s.items():
            found: Counter[LogLine] = Counter()
            for line in call_log(self._cloud, call, newest_s, time.time()):
                found[line] += 1
                self._newest_s[call] = max(self._newest_s[call], line.time_s)
                if found[line] > self._given[call, line]:
                    self._given[call, line] += 1
                    yield line
