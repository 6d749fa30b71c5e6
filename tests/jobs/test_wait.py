"""Waiting for jobs: each is reported as it ends, and a lost connection ends nothing."""

import pytest

from multitalk_cli.errors import SetupError, TemporaryError
from multitalk_cli.jobs import ledger as jobs_ledger
from multitalk_cli.jobs.ledger import Ledger
from multitalk_cli.jobs.listing import Refreshed
from multitalk_cli.jobs.refresh import ListedJob
from multitalk_cli.jobs.wait import wait
from multitalk_cli.reporting.reporter import QuietReporter
from tests.jobs.test_ledger import job_of
from tests.storage.clock import FakeClock

NETWORK = TemporaryError("cannot reach Modal", code="E_NETWORK")


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "jobs.sqlite3")


@pytest.fixture
def jobs(ledger):
    """Three that run."""
    started = [ledger.start(job_of(name * 8, name))[0] for name in "abc"]
    for job in started:
        ledger.update(job.id, state=jobs_ledger.RUNNING)
    return [ledger.get(job.id) for job in started]


def answers(*looks):
    """Tells at each look which jobs have ended; an error where Modal cannot be asked."""
    left = list(looks)

    def ask(ledger, jobs):
        ended = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(ended, Exception):
            return Refreshed(jobs={}, problem=ended.message, error=ended)
        for job in jobs:
            if job.id[0] in ended:
                ledger.update(job.id, state=jobs_ledger.DONE, price_usd=0.5)
        return Refreshed(jobs={job.id: ListedJob(job=ledger.get(job.id)) for job in jobs})

    return ask


class Reporter(QuietReporter):
    """Keeps what is shown."""

    def __init__(self):
        super().__init__()
        self.shown = []

    def show(self, event, spent_usd=None):
        self.shown.append((event.done, event.total, spent_usd))


def waited(ledger, jobs, *looks):
    ended, reporter = [], Reporter()
    found = wait(
        ledger, jobs, reporter, lambda each: ended.append(each.job.id[0]),
        clock=FakeClock().clock, ask=answers(*looks),
    )  # fmt: skip
    return found, "".join(ended), reporter


def test_each_job_is_reported_as_it_ends(ledger, jobs):
    found, ended, reporter = waited(ledger, jobs, "", "b", "", "ac")

    assert ended == "bac"
    assert [each.job.id for each in found] == [job.id for job in jobs]
    assert reporter.shown == [(0, 3, 0.0), (1, 3, 0.5), (1, 3, 0.5), (3, 3, 1.5)]
    assert "keep running" in reporter.leaving


def test_a_lost_connection_is_outlasted(ledger, jobs):
    assert waited(ledger, jobs, NETWORK, "a", NETWORK, "bc")[1] == "abc"


def test_a_connection_that_stays_lost_ends_the_waiting(ledger, jobs):
    with pytest.raises(TemporaryError, match="the jobs keep running"):
        waited(ledger, jobs, NETWORK)


def test_without_a_token_nobody_waits(ledger, jobs):
    error = SetupError("no Modal token", code="E_NO_TOKEN")

    with pytest.raises(SetupError) as caught:
        waited(ledger, jobs, error)
    assert caught.value is error


def test_nothing_to_wait_for(ledger):
    assert waited(ledger, [], "")[0] == []
