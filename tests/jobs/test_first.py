"""Jobs whose first window was made alone: their states, and what their next call is told."""

import time
from dataclasses import replace

import pytest

from multitalk_cli.contract import JOBS_KEPT_S
from multitalk_cli.errors import RemoteError
from multitalk_cli.jobs import first, states
from multitalk_cli.jobs import ledger as jobs_ledger
from multitalk_cli.jobs.call import call_wire
from multitalk_cli.jobs.ledger import ASKED, FIRST, MADE, Ledger
from multitalk_cli.planning.cost import seconds_for
from tests.jobs.test_ledger import job_of


@pytest.fixture
def job():
    return replace(job_of("a" * 16), gpu="h100", gpu_seconds=100.0, state=FIRST, first=MADE)


def test_only_a_first_window_that_is_asked_for_is_made_alone(job):
    asked = call_wire(replace(job, first=ASKED), None, keep_inputs=False)

    assert asked["first"] is True
    assert "first" not in call_wire(job, None, keep_inputs=False)


def test_the_limit_of_the_first_window_is_not_that_of_the_rest(job):
    assert "most_s" not in call_wire(job, None, keep_inputs=False)
    assert call_wire(job, None, keep_inputs=False, most_s=None)["most_s"] is None
    # What was paid for the first window is not in the price of the rest.
    assert first.seconds_left(job, 1.0) == seconds_for("h100", 1.0) + 100.0
    assert first.seconds_left(replace(job, first=ASKED), 1.0) == seconds_for("h100", 1.0)
    assert first.seconds_left(job, None) is None


@pytest.mark.parametrize(
    ("kind", "state"), [(MADE, FIRST), (ASKED, "cancelled"), ("", "cancelled")]
)
def test_a_cancelled_rest_leaves_the_first_window(job, kind, state):
    assert replace(job, first=kind).if_cancelled == state


def test_a_first_window_that_is_no_longer_kept_has_expired(job):
    ended_s = time.time() - JOBS_KEPT_S

    assert states.state_of(replace(job, ended_s=ended_s + 60)) == states.FIRST
    assert states.state_of(replace(job, ended_s=ended_s - 60)) == states.EXPIRED


def test_the_rest_is_asked_for_once(tmp_path, job):
    ledger = Ledger(tmp_path / "jobs.sqlite3")
    ledger.start(job)
    kept = ledger.get(job.id)

    resumed = [ledger.resume(kept, first=MADE), ledger.resume(kept, first=MADE)]

    assert (resumed[0].attempt, resumed[1]) == (kept.attempt + 1, None)
    assert ledger.get(job.id).state == jobs_ledger.SPAWNING


def test_a_first_window_in_the_making_is_said(job):
    with pytest.raises(RemoteError) as caught:
        first.require_whole(replace(job, state=jobs_ledger.RUNNING, first=ASKED))

    assert caught.value.hint == "multitalk jobs attach aaaaaaaa\nmultitalk finish aaaaaaaa"
    first.require_whole(replace(job, state=jobs_ledger.RUNNING, first=MADE))
