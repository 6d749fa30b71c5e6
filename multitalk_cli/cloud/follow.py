"""Calls in the cloud, followed until they end: polls, lost connections, requests to stop."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from multitalk_cli.cloud.client import CallStatus
from multitalk_cli.errors import TemporaryError
from multitalk_cli.reporting.reporter import StoppedError
from multitalk_cli.storage.retry import SYSTEM_CLOCK, Clock, Retry, RetryPolicy

if TYPE_CHECKING:
    from multitalk_cli.cloud.client import Cloud
    from multitalk_cli.errors.exceptions import Fact
    from multitalk_cli.reporting.reporter import Reporter, StopRequests

POLL_S = 1.0
CONFIRM_S, _CONFIRM_POLL_S = 30.0, 0.5
RECONNECTING = RetryPolicy(pauses_s=(1.0,), limit_s=600.0)

ShouldAbort = Callable[[], bool]
"""Whether to stop waiting, since a second request to stop came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowPolicy:
    """The rules for following the calls of one piece of work.

    cancel(should_abort): cancels the work where the user stops it; returns whether that stopped it,
    False for work that had finished and is followed to its result.
    name: of work that keeps running without its follower, such as "job 7f3a"; else empty.
    facts: of the error for a connection that stays lost.
    question: the meaning of detaching and cancelling, with `detach`, the exception that leaves the
    work running. Neither for work that can only be cancelled.
    """

    cancel: Callable[[ShouldAbort], bool]
    name: str = ""
    facts: Mapping[str, Fact] = field(default_factory=dict)
    question: str | None = None
    detach: Exception | None = None
    poll_s: float = POLL_S
    retries: RetryPolicy = RECONNECTING


class CallFollower:
    """Follows the calls of one piece of work, one after the other.

    call_id: of the call that is polled, empty while none is known. Its user replaces it between
    polls where another call continues the work.
    """

    def __init__(
        self,
        cloud: Cloud,
        reporter: Reporter,
        policy: FollowPolicy,
        call_id: str = "",
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._cloud, self._reporter, self._policy = cloud, reporter, policy
        self._clock = clock
        self._has_finished = False
        self.call_id = call_id

    def start(self, spawn: Callable[[], str]) -> None:
        """Makes the first call. A request to stop waits for its id, by which it is cancelled."""
        with self._reporter.stop_requests(look_s=0.0) as requests:
            self.call_id = spawn()
            self._stop_if_asked(requests)

    def polls(self) -> Generator[CallStatus, None, None]:
        """Polls the call until the iterator is closed.

        "unclaimed" without a call id, "unreachable" after each failed attempt; else the status of
        the call. Raises StoppedError, or the policy's `detach`, where the user stops,
        TemporaryError E_NETWORK where the connection stays lost.
        """
        retry = self._policy.retries.start(self._clock)
        with self._reporter.stop_requests() as requests:
            while True:
                self._stop_if_asked(requests)
                if not self.call_id:
                    yield CallStatus(outcome="unclaimed")
                    if not self.call_id:
                        self._clock.sleep(self._policy.poll_s)
                    continue
                try:
                    status = self._cloud.poll(self.call_id, self._policy.poll_s)
                except TemporaryError as error:
                    self._reconnect(retry, error)
                    yield CallStatus(outcome="unreachable", text=error.message)
                    continue
                if retry.has_failed:
                    self._reporter.note("reconnected")
                    retry.succeed()
                yield status

    def _reconnect(self, retry: Retry, error: TemporaryError) -> None:
        """Waits before the next attempt. Raises TemporaryError where none is due."""
        name = self._policy.name
        if not retry.has_failed:
            state = f"{name} is still running, reconnecting" if name else "reconnecting"
            self._reporter.warn(f"{error.message}; {state}")
        if retry.wait():
            return
        if not name:
            raise error
        raise TemporaryError(
            f"{error.message}; {name} is still running",
            code="E_NETWORK",
            facts=self._policy.facts,
        ) from error

    def _stop_if_asked(self, requests: StopRequests) -> None:
        if self._has_finished or not requests.is_pending:
            return
        choice = requests.choose(self._policy.question)
        if choice == "watch":
            return
        if choice == "detach" and self._policy.detach is not None:
            raise self._policy.detach
        if self._policy.cancel(lambda: requests.is_urgent):
            raise StoppedError
        self._has_finished = True


def wait_for_end(
    cloud: Cloud,
    call_id: str,
    should_abort: ShouldAbort,
    clock: Clock = SYSTEM_CLOCK,
) -> CallStatus | None:
    """The end of a call that was cancelled; None where Modal has not confirmed it in time."""
    end_s = clock.now_s() + CONFIRM_S
    while clock.now_s() < end_s and not should_abort():
        status = cloud.poll(call_id, _CONFIRM_POLL_S)
        if status.outcome != "waiting":
            return status
    return None
