"""Following calls: polls, lost connections, requests to stop, and answers that are waited for."""

from contextlib import closing
from itertools import islice

import pytest

from multitalk_cli import contract
from multitalk_cli.cloud.call_result import as_answer, await_answer
from multitalk_cli.cloud.client import CallStatus
from multitalk_cli.cloud.follow import CONFIRM_S, CallFollower, FollowPolicy, wait_for_end
from multitalk_cli.errors import MultitalkError, TemporaryError
from tests.cloud.calls import LOST, WAITING, ScriptedCloud, StoppableReporter, answered


class LeftError(Exception):
    """Raised by detaching."""


@pytest.fixture
def reporter():
    return StoppableReporter()


def follower_of(cloud, reporter, call_id="fc-1", **changes):
    """Follows a call of work that can be detached from."""
    values = {
        "cancel": lambda _should_abort: cloud.cancel_call("work") is None,
        "name": "job 7f3a",
        "facts": {"job": "7f3a"},
        "question": "d or c?",
        "detach": LeftError(),
    }
    return CallFollower(cloud, reporter, FollowPolicy(**values | changes), call_id, cloud.clock)


def outcomes(follower, count):
    """The outcomes of the first polls."""
    with closing(follower.polls()) as polls:
        return [status.outcome for status in islice(polls, count)]


def test_a_call_is_polled_until_it_ends(reporter):
    cloud = ScriptedCloud(WAITING, WAITING, answered(done=True))

    assert outcomes(follower_of(cloud, reporter), 3) == ["waiting", "waiting", "answer"]
    assert cloud.slept_s == []


def test_another_call_may_continue_the_work(reporter):
    cloud = ScriptedCloud(CallStatus(outcome="timeout"), WAITING)
    follower = follower_of(cloud, reporter)

    with closing(follower.polls()) as polls:
        next(polls)
        follower.call_id = "fc-2"
        next(polls)

    assert cloud.polled == ["fc-1", "fc-2"]


def test_a_call_that_is_not_known_yet_is_looked_for_by_the_work(reporter):
    cloud = ScriptedCloud(WAITING)
    follower = follower_of(cloud, reporter, call_id="")

    with closing(follower.polls()) as polls:
        seen = [next(polls).outcome, next(polls).outcome]
        follower.call_id = "fc-1"
        seen.append(next(polls).outcome)

    assert seen == ["unclaimed", "unclaimed", "waiting"]
    assert (cloud.slept_s, cloud.polled) == ([1.0], ["fc-1"])


# Lost connections


def test_a_lost_connection_is_reported_once_and_waited_for(reporter):
    cloud = ScriptedCloud(LOST, LOST, WAITING, LOST, WAITING)

    seen = outcomes(follower_of(cloud, reporter), 5)

    assert seen == ["unreachable", "unreachable", "waiting", "unreachable", "waiting"]
    assert reporter.warnings == ["gone; job 7f3a is still running, reconnecting"] * 2
    assert reporter.notes == ["reconnected"] * 2
    assert cloud.slept_s == [1.0, 1.0, 1.0]


def test_a_connection_that_stays_lost_ends_with_what_brings_the_work_back(reporter):
    cloud = ScriptedCloud(LOST)

    with pytest.raises(TemporaryError, match="gone; job 7f3a is still running") as caught:
        outcomes(follower_of(cloud, reporter), 10_000)

    assert (caught.value.code, caught.value.facts) == ("E_NETWORK", {"job": "7f3a"})
    assert 600 <= cloud.now_s < 1300


# Requests to stop


def test_a_request_to_stop_cancels_the_work(reporter):
    cloud = ScriptedCloud(WAITING)
    reporter.stop()

    with pytest.raises(KeyboardInterrupt):
        outcomes(follower_of(cloud, reporter), 1)
    assert (cloud.cancelled, cloud.polled) == (["work"], [])
    assert reporter.questions == ["d or c?"]


def test_detaching_leaves_the_work_alone(reporter):
    cloud = ScriptedCloud(WAITING)
    reporter.stop("detach")

    with pytest.raises(LeftError):
        outcomes(follower_of(cloud, reporter), 1)
    assert cloud.cancelled == []


def test_watching_goes_on_watching(reporter):
    reporter.stop("watch")

    assert outcomes(follower_of(ScriptedCloud(WAITING), reporter), 1) == ["waiting"]


def test_a_request_to_stop_waits_for_the_id_of_a_call_that_is_being_made(reporter):
    cloud = ScriptedCloud(WAITING)
    follower = follower_of(cloud, reporter, call_id="")

    def spawn():
        reporter.stop()
        return "fc-1"

    with pytest.raises(KeyboardInterrupt):
        follower.start(spawn)
    assert (follower.call_id, cloud.cancelled) == ("fc-1", ["work"])


def test_the_end_of_a_cancelled_call_is_waited_for(reporter):
    ended = CallStatus(outcome="ended", text="cancelled")
    cloud = ScriptedCloud(WAITING, ended)

    assert wait_for_end(cloud, "fc-1", lambda: False, cloud.clock) == ended


@pytest.mark.parametrize("should_abort", [lambda: False, lambda: True])
def test_an_end_that_does_not_come_is_not_waited_for_forever(should_abort):
    cloud = ScriptedCloud(WAITING)

    assert wait_for_end(cloud, "fc-1", should_abort, cloud.clock) is None
    assert cloud.now_s <= CONFIRM_S + 1


# Answers


def wait(cloud, reporter, spawn=lambda: "fc-1", limit_s=60.0):
    """The answer, and how often the work looked meanwhile."""
    seen = []
    answer = await_answer(
        cloud, spawn, lambda: seen.append(1), reporter, limit_s=limit_s, clock=cloud.clock
    )
    return answer, len(seen)


def test_an_answer_is_waited_for_and_its_call_left_alone(reporter):
    cloud = ScriptedCloud(WAITING, WAITING, answered(lines=[]))

    assert wait(cloud, reporter) == ({"lines": []}, 2)
    assert not cloud.cancelled


def test_a_call_that_cannot_be_detached_from_is_reconnected_to_for_a_minute(reporter):
    assert wait(ScriptedCloud(LOST, LOST, answered()), reporter)[0] == {}

    lost = ScriptedCloud(LOST)
    with pytest.raises(TemporaryError) as caught:
        wait(lost, reporter, limit_s=600.0)
    assert caught.value is LOST
    assert lost.cancelled == ["fc-1"]


def test_stopping_while_the_call_is_made_cancels_that_call(reporter):
    cloud = ScriptedCloud(WAITING)

    def interrupted():
        reporter.stop()
        return "fc-1"

    with pytest.raises(KeyboardInterrupt):
        wait(cloud, reporter, interrupted)
    assert cloud.cancelled == ["fc-1"]


def test_stopping_while_it_is_waited_for_cancels_the_call_once(reporter):
    cloud = ScriptedCloud(lambda: reporter.stop() or WAITING)

    with pytest.raises(KeyboardInterrupt):
        wait(cloud, reporter)
    assert cloud.cancelled == ["fc-1"]
    assert reporter.leaving == "interrupted; the call in the account was cancelled"


def test_a_mistake_while_waiting_cancels_the_call(reporter):
    def mistake():
        raise ZeroDivisionError

    cloud = ScriptedCloud(mistake)
    with pytest.raises(ZeroDivisionError):
        wait(cloud, reporter)
    assert cloud.cancelled == ["fc-1"]


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (CallStatus(outcome="ended", text="Worker ran out of memory"), "E_OUT_OF_MEMORY"),
        (CallStatus(outcome="lost", text="preempted"), "E_REMOTE"),
        (CallStatus(outcome="timeout"), "E_TIMEOUT"),
    ],
)
def test_a_call_that_ends_without_an_answer_is_an_error(reporter, status, code):
    with pytest.raises(MultitalkError) as caught:
        wait(ScriptedCloud(WAITING, status), reporter)

    assert caught.value.code == code


def test_an_answer_that_does_not_come_is_not_waited_for_forever(reporter):
    cloud = ScriptedCloud(WAITING)

    with pytest.raises(MultitalkError, match="no answer within 5 s") as caught:
        wait(cloud, reporter, limit_s=5)
    assert (caught.value.code, cloud.cancelled) == ("E_TIMEOUT", ["fc-1"])


FAILED = contract.to_wire(contract.Failed(code="E_OUT_OF_MEMORY", message="too small", hint="h"))


@pytest.mark.parametrize("wire", [FAILED, {"event": FAILED, "run_s": 1.0}])
def test_a_failure_is_raised_with_the_facts_of_its_caller(wire):
    with pytest.raises(MultitalkError, match="too small") as caught:
        as_answer(wire, {"job": "7f3a"})

    assert (caught.value.code, caught.value.hint) == ("E_OUT_OF_MEMORY", "h")
    assert caught.value.facts == {"job": "7f3a"}


@pytest.mark.parametrize("wire", [{}, {"seconds": 3}, {"event": None}])
def test_anything_else_is_the_answer(wire):
    assert as_answer(wire) == wire
