"""The newest state of jobs: what containers reported, and calls that ended without a word."""

import json
import time

import pytest

from multitalk_cli import contract
from multitalk_cli.cloud.client import CallStatus
from multitalk_cli.jobs import ledger as jobs_ledger
from multitalk_cli.jobs import states
from multitalk_cli.jobs.ledger import Ledger
from multitalk_cli.jobs.refresh import refresh
from multitalk_cli.planning.cost import price_of
from tests.cloud.calls import WAITING
from tests.jobs.test_follow import DONE as DONE_ANSWER
from tests.jobs.test_follow import JOB, RESULT, STEP, JobCloud, failed
from tests.jobs.test_ledger import job_of

TIMEOUT = CallStatus(outcome="timeout", text="Task's current input hit its timeout")


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(tmp_path / "jobs.sqlite3")
    ledger.start(job_of(JOB, target=str(tmp_path / "v.mp4")))
    ledger.update(JOB, state=jobs_ledger.RUNNING, call_id="fc-0")
    return ledger


def refreshed(cloud, ledger):
    """The listed job, once the ledger was seen to have the same."""
    listed = refresh(cloud, ledger, ledger.get(JOB))
    kept = ledger.get(JOB)
    assert (kept.state, kept.price_usd, kept.error) == (
        listed.job.state,
        listed.job.price_usd,
        listed.job.error,
    )
    return listed


def reported(event, windows=0, **more):
    cloud = JobCloud(WAITING)
    cloud.report(event, windows)
    cloud.newest |= more
    return cloud


def test_a_running_job_has_a_step_a_start_and_a_price_so_far(ledger):
    listed = refreshed(reported(STEP, windows=1, at_s=1000.0), ledger)

    assert (listed.event, listed.windows, states.state_of(listed.job)) == (STEP, 1, "running")
    assert (listed.job.started_s, listed.job.ended_s) == (990.0, None)
    assert listed.job.price_usd == pytest.approx(price_of("h100", 10.0))


def test_a_job_that_no_container_began_is_queued(ledger):
    listed = refreshed(JobCloud(WAITING), ledger)

    assert (states.state_of(listed.job), listed.event) == ("queued", None)


def test_a_detached_job_that_ended_is_done_and_not_fetched(ledger):
    listed = refreshed(reported(contract.Done(result=RESULT), windows=2, at_s=2000.0), ledger)

    ledger.update(JOB, ended_s=time.time())
    kept = ledger.get(JOB)
    assert (listed.job.ended_s, states.state_of(kept)) == (2000.0, "not-fetched")
    assert kept.price_usd == pytest.approx(price_of("h100", 100.0))
    assert json.loads(kept.result)["gpu_seconds"] == kept.gpu_seconds == 100.0


@pytest.mark.parametrize(
    ("code", "windows", "state"),
    [
        ("E_CANCELLED", 1, "cancelled"),
        ("E_BLACK", 1, "failed"),
        ("E_OUT_OF_MEMORY", 0, "failed"),
        ("E_GPU_FAILED", 1, "stopped"),
    ],
)
def test_a_job_that_failed_has_its_reason_and_its_price(ledger, code, windows, state):
    event = contract.Failed(code=code, message="it failed")

    listed = refreshed(reported(event, windows), ledger)

    assert states.state_of(listed.job) == state
    assert listed.job.price_usd > 0
    if state != "cancelled":
        assert (listed.job.error, listed.job.error_text) == (code, "it failed")


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (TIMEOUT, "E_TIMEOUT"),
        (CallStatus(outcome="lost", text="preempted"), "E_REMOTE"),
        (CallStatus(outcome="ended", text="killed\nTraceback"), "E_REMOTE"),
    ],
)
def test_a_call_that_ended_without_a_word_is_stopped(ledger, call, error):
    cloud = reported(STEP, windows=1)
    cloud.statuses, cloud.owners[0] = [call], "fc-0"

    listed = refreshed(cloud, ledger)

    assert (states.state_of(listed.job), listed.job.error, listed.event) == (
        "stopped", error, None,
    )  # fmt: skip
    assert "\n" not in listed.job.error_text
    assert listed.job.ended_s is not None


@pytest.mark.parametrize(("windows", "state"), [(0, "failed"), (1, "stopped")])
def test_a_container_without_memory_fails_the_job(ledger, windows, state):
    cloud = reported(STEP, windows=windows)
    cloud.statuses = [CallStatus(outcome="ended", text="Container killed: out of memory")]

    listed = refreshed(cloud, ledger)

    assert (states.state_of(listed.job), listed.job.error) == (state, "E_OUT_OF_MEMORY")


def test_a_call_that_was_cancelled_before_a_container_began_is_cancelled(ledger):
    cloud = JobCloud(CallStatus(outcome="ended", text="cancelled"))
    cloud.is_stopped = True

    assert states.state_of(refreshed(cloud, ledger).job) == "cancelled"


@pytest.mark.parametrize(
    ("answer", "state"), [(DONE_ANSWER, jobs_ledger.DONE), (failed("E_BLACK"), jobs_ledger.FAILED)]
)
def test_an_answer_tells_what_no_state_does(ledger, answer, state):
    assert refreshed(JobCloud(answer), ledger).job.state == state


def test_the_state_of_the_call_before_is_not_that_of_the_next(ledger):
    cloud = reported(contract.Failed(code="E_GPU_FAILED", message="broken"), windows=1, link=0)
    ledger.update(JOB, attempt=1, call_id="fc-1")

    listed = refreshed(cloud, ledger)

    assert (listed.job.state, listed.windows, listed.event) == (jobs_ledger.RUNNING, 1, None)


def test_a_job_that_modal_has_forgotten_failed_long_ago(ledger):
    cloud = JobCloud(CallStatus(outcome="expired", text="too old"))

    listed = refreshed(cloud, ledger)

    assert (states.state_of(listed.job), listed.job.error) == ("failed", "E_EXPIRED")


def test_an_old_job_without_any_trace_does_not_run_for_ever(ledger, monkeypatch):
    ledger.update(JOB, call_id="", state=jobs_ledger.SPAWNING)
    assert states.state_of(refreshed(JobCloud(WAITING), ledger).job) == "queued"

    week_later = time.time() + contract.JOBS_KEPT_S + 1
    monkeypatch.setattr(time, "time", lambda: week_later)

    assert refreshed(JobCloud(WAITING), ledger).job.error == "E_EXPIRED"


# Files


def test_done_done_not_fetched_and_file_missing_are_told_apart(ledger, tmp_path):
    def state(**changes):
        ledger.update(JOB, **changes)
        return states.state_of(ledger.get(JOB))

    assert state(state=jobs_ledger.DONE) == "not-fetched"
    assert state(fetched_s=1.0) == "file-missing"
    (tmp_path / "v.mp4").touch()
    assert state() == "done"
    assert state(target="") == state(target="s3://bucket/v.mp4") == "done"
    assert state(fetched_s=None, ended_s=1.0) == "expired"
    assert state(kind=jobs_ledger.BENCH) == "done"
