"""Retries: which pauses are made, and when the last attempt was the last."""

import pytest

from multitalk_cli.storage.retry import RetryPolicy
from tests.storage.clock import FakeClock


@pytest.fixture
def clock():
    return FakeClock()


def test_each_pause_is_made_once(clock):
    retry = RetryPolicy(pauses_s=(1, 2, 4)).start(clock.clock)

    assert [retry.wait() for _ in range(4)] == [True, True, True, False]
    assert clock.slept_s == [1, 2, 4]


def test_a_success_begins_with_the_first_pause_again(clock):
    retry = RetryPolicy(pauses_s=(1, 2)).start(clock.clock)
    retry.wait()
    retry.wait()

    retry.succeed()

    assert not retry.has_failed
    assert retry.wait()
    assert clock.slept_s == [1, 2, 1]


def test_a_limit_repeats_the_last_pause_until_it_is_over(clock):
    retry = RetryPolicy(pauses_s=(1, 3), limit_s=10).start(clock.clock)

    while retry.wait():
        pass

    assert clock.slept_s == [1, 3, 3, 3, 3]


def test_a_limit_counts_from_the_first_failure(clock):
    retry = RetryPolicy(pauses_s=(1,), limit_s=2).start(clock.clock)
    clock.advance(100)

    assert retry.wait()


def test_no_pauses_is_no_further_attempt(clock):
    assert not RetryPolicy(pauses_s=()).start(clock.clock).wait()
