"""A job followed to its end: its calls, the events that are shown, and the ledger meanwhile."""

from dataclasses import replace

import pytest

from multitalk_cli import __version__, contract
from multitalk_cli.cli.next_command import next_command
from multitalk_cli.cloud.client import CallStatus, PoolStats
from multitalk_cli.errors import SetupError, TemporaryError
from multitalk_cli.jobs import ledger as jobs_ledger
from multitalk_cli.jobs.follow import DetachedError, Follower
from multitalk_cli.jobs.ledger import Ledger
from multitalk_cli.jobs.spawning import spawn_lock
from multitalk_cli.planning.cost import price_of
from tests.cloud.calls import LOST, WAITING, ScriptedCloud, StoppableReporter, answered
from tests.jobs.test_ledger import job_of

JOB = "a" * 8
TIMEOUT = CallStatus(outcome="timeout")
RESULT = contract.Result(
    job_id=JOB, backend="modal", model_output=True, frames=5, fps=24, width_px=32, height_px=32,
    size_bytes=2010, seed=0, recipe="{}", gpu_seconds=100.0,
)  # fmt: skip
DONE = answered(event=contract.to_wire(contract.Done(result=RESULT)), parts=[], video=b"v")
STEP = contract.Step(window=1, windows=2, step=3, steps=4)


def failed(code, **more):
    event = contract.to_wire(contract.Failed(code=code, message="it failed"))
    return answered(event=event, **more)


class JobCloud(ScriptedCloud):
    """Also has the states of one job, and who runs it."""

    def __init__(self, *statuses):
        super().__init__(*statuses)
        self.owners, self.spawned, self.indexed_names = {}, [], []
        self.newest, self.is_stopped = None, False
        self.stats = PoolStats(backlog=0, containers=1, running=0)

    def owner(self, _job_id, attempt):
        return self.owners.get(attempt, "")

    def state(self, _job_id):
        return self.newest

    def pool_stats(self, _stack, _gpu):
        return self.stats

    def is_cancelled(self, _job_id):
        return self.is_stopped

    def index(self, entry):
        self.indexed_names.append(entry["name"])

    def cancel(self, _job_id, call_id):
        self.cancelled.append(call_id)
        self.statuses = [CallStatus(outcome="ended", text="cancelled")]

    def remove_folder(self, _volume, _folder):
        pass

    def read_file(self, _volume, path):
        raise FileNotFoundError(path)

    def report(self, event, windows=0):
        """Records the state of the container."""
        wire = contract.to_wire(event)
        self.newest = {"event": wire, "run_s": 10.0, "windows": windows}
        return WAITING


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(tmp_path / "jobs.sqlite3")
    ledger.start(job_of(JOB))
    return ledger


@pytest.fixture
def reporter():
    return StoppableReporter()


def follower_of(cloud, ledger, reporter, **changes):
    values = {"call_id": "fc-0", "state": jobs_ledger.RUNNING} | changes
    ledger.update(JOB, **values)

    def spawn(job):
        cloud.spawned.append(job.attempt)
        return f"fc-{job.attempt}"

    job = replace(ledger.find(JOB))
    return Follower(cloud, ledger, reporter, job, spawn, cloud.clock)


def end_of(follower):
    """The last event."""
    return list(follower.events())[-1]


def test_each_event_is_shown_once(ledger, reporter):
    cloud = JobCloud()
    cloud.statuses = [lambda: cloud.report(STEP), lambda: cloud.report(STEP), DONE]

    follower = follower_of(cloud, ledger, reporter)
    *events, done = follower.events()

    assert (events, done.result) == ([STEP], RESULT)
    assert follower.spent_usd > 0
    assert follower.finished().answer == DONE.answer


def test_progress_that_only_a_newer_client_knows_shows_nothing(ledger, reporter):
    cloud = JobCloud()

    def report():
        cloud.report(STEP)
        cloud.newest["event"] |= {"mood": "calm"}
        return WAITING

    cloud.statuses = [report, DONE]

    (done,) = follower_of(cloud, ledger, reporter).events()

    assert done.result == RESULT
    assert not cloud.cancelled


def test_a_video_that_only_a_newer_client_can_read_is_kept_for_it(ledger, reporter):
    event = contract.to_wire(contract.Done(result=RESULT))
    event |= {"client": "9.9", "result": {**event["result"], "mood": "calm"}}
    cloud = JobCloud(answered(event=event, parts=[], video=b"v"))

    with pytest.raises(SetupError) as caught:
        end_of(follower_of(cloud, ledger, reporter))

    assert caught.value.code == "E_CONTRACT"
    assert caught.value.message == (
        f"the deployed app (version 9.9) is newer than this client (version {__version__}), "
        "which does not know Done.result.mood"
    )
    assert next_command(caught.value, ["generate", "a.png", "b.wav"]).splitlines() == [
        "install the newer version: pipx install --force . in its checkout",
        f"multitalk jobs attach {JOB}",
    ]
    assert ledger.find(JOB).state == jobs_ledger.RUNNING
    assert not cloud.cancelled


def test_waiting_for_a_gpu_differs_from_a_container_that_starts(ledger, reporter):
    cloud = JobCloud(WAITING, WAITING, WAITING, WAITING, DONE)
    cloud.stats = PoolStats(backlog=1, containers=0, running=0)
    events = follower_of(cloud, ledger, reporter).events()

    first = next(events)
    cloud.stats = PoolStats(backlog=0, containers=1, running=0)

    assert (first, next(events)) == (contract.Queued(), contract.Stage(name="starting"))
    events.close()


def test_a_lost_connection_is_shown(ledger, reporter):
    events = list(follower_of(JobCloud(LOST, DONE), ledger, reporter).events())

    assert events[0] == contract.Stage(name="reconnecting")
    assert reporter.warnings == [f"gone; job {JOB} is still running, reconnecting"]


# Calls


def test_a_call_is_made_once_the_job_is_in_the_index(ledger, reporter):
    cloud = JobCloud(DONE)
    follower = follower_of(cloud, ledger, reporter, call_id="", state=jobs_ledger.SPAWNING)

    follower.start("v.mp4")

    assert (cloud.indexed_names, cloud.spawned) == (["v.mp4"], [0])
    assert (ledger.find(JOB).call_id, ledger.find(JOB).state) == ("fc-0", jobs_ledger.RUNNING)
    assert isinstance(end_of(follower), contract.Done)


def test_the_call_of_a_command_that_died_is_found(ledger, reporter):
    cloud = JobCloud(DONE)
    cloud.owners[0] = "fc-9"
    follower = follower_of(cloud, ledger, reporter, call_id="", state=jobs_ledger.SPAWNING)

    assert isinstance(end_of(follower), contract.Done)
    assert (cloud.polled, cloud.spawned) == (["fc-9"], [])


def test_without_any_call_that_could_be_the_job_s_another_is_made(ledger, reporter):
    cloud = JobCloud(DONE)
    cloud.stats = PoolStats(backlog=1, containers=0, running=0)
    follower = follower_of(cloud, ledger, reporter, call_id="", state=jobs_ledger.SPAWNING)
    events = follower.events()

    first = next(events)
    cloud.stats = PoolStats(backlog=0, containers=0, running=0)

    assert first == contract.Queued()
    assert isinstance(list(events)[-1], contract.Done)
    assert cloud.spawned == [0]


def test_a_call_that_another_one_preceded_leads_to_that(ledger, reporter):
    cloud = JobCloud(failed("E_DUPLICATE", owner="fc-7"), DONE)

    assert isinstance(end_of(follower_of(cloud, ledger, reporter)), contract.Done)
    assert cloud.polled == ["fc-0", "fc-7"]


def test_the_next_call_of_a_long_job_is_followed(ledger, reporter):
    cloud = JobCloud(failed("E_DUPLICATE", owner="fc-8", link=1), DONE)

    assert isinstance(end_of(follower_of(cloud, ledger, reporter)), contract.Done)
    assert cloud.polled == ["fc-0", "fc-8"] and cloud.spawned == []
    assert (ledger.find(JOB).attempt, ledger.find(JOB).call_id) == (1, "fc-8")


@pytest.mark.parametrize(
    ("code", "windows", "state"),
    [
        ("E_DISK_FULL", 1, jobs_ledger.LOST),
        ("E_GPU_FAILED", 2, jobs_ledger.LOST),
        ("E_DISK_FULL", 0, jobs_ledger.FAILED),
        ("E_NOT_FINITE", 1, jobs_ledger.FAILED),
        ("E_CANCELLED", 1, jobs_ledger.CANCELLED),
    ],
)
def test_the_same_command_resumes_what_failed_after_a_window(
    ledger, reporter, code, windows, state
):
    cloud = JobCloud(failed(code))
    cloud.report(STEP, windows=windows)

    assert end_of(follower_of(cloud, ledger, reporter)).code == code
    kept = ledger.find(JOB)
    assert (kept.state, kept.error, kept.error_text) == (state, code, "it failed")
    assert (kept.gpu_seconds, kept.price_usd) == (10.0, pytest.approx(price_of("h100", 10.0)))


def test_time_limits_are_followed_by_calls_while_windows_are_finished(ledger, reporter):
    cloud = JobCloud(TIMEOUT, TIMEOUT, TIMEOUT)
    cloud.report(STEP, windows=1)

    ended = end_of(follower_of(cloud, ledger, reporter))

    assert (ended.code, cloud.spawned) == ("E_TIMEOUT", [1])
    assert (ledger.find(JOB).attempt, ledger.find(JOB).state) == (1, jobs_ledger.LOST)


# Ends


@pytest.mark.parametrize(
    ("status", "code", "state"),
    [
        (failed("E_BLACK"), "E_BLACK", jobs_ledger.FAILED),
        (CallStatus(outcome="ended", text="out of memory"), "E_OUT_OF_MEMORY", jobs_ledger.FAILED),
        (CallStatus(outcome="lost", text="preempted"), "E_REMOTE", jobs_ledger.LOST),
        (CallStatus(outcome="ended", text=""), "E_REMOTE", jobs_ledger.LOST),
        (CallStatus(outcome="expired", text="too old"), "E_EXPIRED", jobs_ledger.FAILED),
    ],
)
def test_an_end_without_a_video_is_recorded(ledger, reporter, status, code, state):
    cloud = JobCloud(status)
    cloud.owners[0] = "fc-0"

    assert end_of(follower_of(cloud, ledger, reporter)).code == code
    assert (ledger.find(JOB).state, ledger.find(JOB).error) == (state, code)


def test_a_method_that_never_began_is_a_failed_start(ledger, reporter):
    cloud = JobCloud(CallStatus(outcome="ended", text="no image"))

    assert end_of(follower_of(cloud, ledger, reporter)).code == "E_START"


def test_a_job_that_was_cancelled_on_another_machine_is_cancelled(ledger, reporter):
    cloud = JobCloud(CallStatus(outcome="ended", text="cancelled"))
    cloud.is_stopped = True

    assert end_of(follower_of(cloud, ledger, reporter)).code == "E_CANCELLED"
    assert ledger.find(JOB).state == jobs_ledger.CANCELLED


# Stopping


def test_stopping_cancels_the_job_and_confirms_it(ledger, reporter):
    cloud = JobCloud(WAITING)
    cloud.report(STEP)
    reporter.stop()

    with pytest.raises(KeyboardInterrupt):
        end_of(follower_of(cloud, ledger, reporter))
    assert cloud.cancelled == ["fc-0"]
    assert ledger.find(JOB).state == jobs_ledger.CANCELLED
    assert ledger.find(JOB).price_usd == pytest.approx(price_of("h100", 10.0))
    assert reporter.notes[-1] == f"job {JOB} is cancelled, its GPU is free; $0.01 spent"


def test_a_job_that_finished_before_it_could_be_cancelled_is_delivered(ledger, reporter):
    cloud = JobCloud(WAITING)
    cloud.cancel = lambda _job_id, _call_id: setattr(cloud, "statuses", [DONE, LOST, DONE])
    reporter.stop()
    follower = follower_of(cloud, ledger, reporter)

    assert end_of(follower).result == RESULT
    assert follower.finished().answer == DONE.answer
    assert ledger.find(JOB).state == jobs_ledger.DONE
    assert len(reporter.questions) == 1


def test_a_cancelled_job_whose_end_is_not_seen_may_still_have_made_its_video(ledger, reporter):
    cloud = JobCloud(WAITING)
    cloud.cancel = lambda _job_id, _call_id: setattr(cloud, "statuses", [LOST])
    reporter.stop()

    with pytest.raises(TemporaryError, match="may still be running"):
        end_of(follower_of(cloud, ledger, reporter))
    # Else the same command would pay for another one.
    assert ledger.find(JOB).state == jobs_ledger.RUNNING


def test_detaching_leaves_the_job_running(ledger, reporter):
    cloud = JobCloud(WAITING)
    reporter.stop("detach")

    with pytest.raises(DetachedError) as caught:
        end_of(follower_of(cloud, ledger, reporter))
    assert (caught.value.job_id, cloud.cancelled) == (JOB, [])
    assert ledger.find(JOB).state == jobs_ledger.RUNNING


def test_a_job_that_was_cancelled_before_its_call_is_not_started(ledger, reporter):
    cloud = JobCloud(DONE)
    follower = follower_of(cloud, ledger, reporter, call_id="", state=jobs_ledger.SPAWNING)
    ledger.update(JOB, state=jobs_ledger.CANCELLED)

    assert (end_of(follower).code, cloud.spawned) == ("E_CANCELLED", [])


def test_a_call_that_another_process_noted_is_taken_over(ledger, reporter):
    cloud = JobCloud(DONE)
    follower = follower_of(cloud, ledger, reporter, call_id="", state=jobs_ledger.SPAWNING)
    ledger.update(JOB, state=jobs_ledger.RUNNING, call_id="fc-7")

    assert isinstance(end_of(follower), contract.Done)
    assert (cloud.polled, cloud.spawned) == (["fc-7"], [])


def test_no_call_is_made_while_another_process_makes_one(ledger, reporter):
    cloud = JobCloud(DONE)
    follower = follower_of(cloud, ledger, reporter, call_id="", state=jobs_ledger.SPAWNING)
    events = follower.events()

    with spawn_lock(ledger.folder, JOB):
        assert next(events) == contract.Queued()
    assert isinstance(list(events)[-1], contract.Done)
    assert cloud.spawned == [0]


def test_two_that_follow_a_job_to_a_time_limit_make_one_call(ledger, reporter):
    cloud = JobCloud(TIMEOUT, DONE)
    cloud.report(STEP, windows=1)
    follower = follower_of(cloud, ledger, reporter)
    ledger.update(JOB, attempt=1, call_id="fc-1")

    assert isinstance(end_of(follower), contract.Done)
    assert (cloud.polled, cloud.spawned) == (["fc-0", "fc-1"], [])
