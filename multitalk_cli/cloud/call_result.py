"""Answers of deployed methods: a value, or the failure that they report; and waiting for one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from multitalk_cli import __version__, contract
from multitalk_cli.cloud.follow import CallFollower, FollowPolicy, ShouldAbort
from multitalk_cli.errors import (
    MultitalkError,
    RemoteError,
    SetupError,
    TemporaryError,
    error_from_code,
)
from multitalk_cli.reporting.formatting import human_duration
from multitalk_cli.storage.retry import SYSTEM_CLOCK, Clock, RetryPolicy

if TYPE_CHECKING:
    from multitalk_cli.cloud.client import CallStatus, Cloud
    from multitalk_cli.errors.exceptions import Fact
    from multitalk_cli.reporting.reporter import Reporter

T = TypeVar("T")


class CallRecord(Protocol):
    """Where a call that costs money is noted. id: under which its container reports."""

    @property
    def id(self) -> str: ...

    def spawned(self, call_id: str) -> str:
        """Notes the id at Modal, and returns it."""

    def ran(self, seconds: float) -> None:
        """Notes how long its containers ran so far."""


class NoRecord:
    """Notes nothing."""

    id = ""

    def spawned(self, call_id: str) -> str:
        """Returns the id."""
        return call_id

    def ran(self, seconds: float) -> None:
        """Notes nothing."""


_RETRIES = RetryPolicy(pauses_s=(1.0,), limit_s=60.0)


def as_answer(
    wire: Mapping[str, Any], facts: Mapping[str, Fact] | None = None
) -> Mapping[str, Any]:
    """The answer of a deployed method that did its work. Raises the failure that it reports.

    wire: where it failed, {"event": the failure} or the failure itself. facts: of the error.
    """
    reported = wire.get("event", wire)
    if isinstance(reported, Mapping) and reported.get("kind") == "failed":
        raise to_error(read_answer(contract.Failed, reported), facts)
    return wire


def read_answer(kind: type[T], wire: Mapping[str, Any]) -> T:
    """Rebuilds what a container sent. Raises SetupError E_CONTRACT for that of another version."""
    with _version_errors():
        return contract.from_wire(kind, wire)


def read_event(wire: Mapping[str, Any], facts: Mapping[str, Fact] | None = None) -> contract.Event:
    """Rebuilds an event that ends a call; as `read_answer`."""
    with _version_errors(facts):
        return contract.event_from_wire(wire)


def read_progress(wire: Mapping[str, Any]) -> contract.Event | None:
    """Rebuilds an event of running work; None for that of another version, which shows nothing."""
    with suppress(contract.VersionMismatchError):
        return contract.event_from_wire(wire)
    return None


@contextmanager
def _version_errors(facts: Mapping[str, Fact] | None = None) -> Iterator[None]:
    try:
        yield
    except contract.NewerPeerError as error:
        raise SetupError(
            f"the deployed app (version {error.peer}) is newer than this client (version "
            f"{__version__}), which does not know {error.what}",
            code="E_CONTRACT",
            facts={"is_client_older": True, **({} if facts is None else facts)},
        ) from error
    except contract.VersionMismatchError as error:
        raise SetupError(str(error), code="E_CONTRACT", facts=facts) from error


def to_error(failed: contract.Failed, facts: Mapping[str, Fact] | None = None) -> MultitalkError:
    """The exception for a failure that a container reported."""
    return error_from_code(failed.code, failed.message, failed.hint, facts)


def await_answer(
    cloud: Cloud,
    spawn: Callable[[], str],
    on_poll: Callable[[], None],
    reporter: Reporter,
    *,
    limit_s: float,
    clock: Clock = SYSTEM_CLOCK,
) -> Mapping[str, Any]:
    """The answer of a call that ends within minutes. Whatever else ends the waiting cancels it.

    spawn: starts the call and returns its id. on_poll: runs about once a second meanwhile. Raises
    the failure that the call reports, RemoteError where it ends without an answer or takes longer
    than limit_s.
    """
    cancelled: list[str] = []

    def cancel(_should_abort: ShouldAbort) -> bool:
        if follower.call_id and not cancelled:
            cancelled.append(follower.call_id)
            cloud.cancel_call(follower.call_id)
            reporter.leaving = "interrupted; the call in the account was cancelled"
        return True

    policy = FollowPolicy(cancel=cancel, retries=_RETRIES)
    follower = CallFollower(cloud, reporter, policy, clock=clock)
    try:
        follower.start(spawn)
        status = _wait(follower, on_poll, limit_s, clock)
    except BaseException:
        cancel(lambda: False)
        raise
    if status.outcome == "answer":
        return as_answer({} if status.answer is None else status.answer)
    if status.outcome == "timeout":
        raise RemoteError("the call exceeded its time limit", code="E_TIMEOUT")
    code = "E_OUT_OF_MEMORY" if "memory" in status.text.lower() else "E_REMOTE"
    raise RemoteError(f"the container ended: {status.text}", code=code)


def _wait(
    follower: CallFollower, on_poll: Callable[[], None], limit_s: float, clock: Clock
) -> CallStatus:
    """The result of the call. Raises RemoteError E_TIMEOUT after limit_s."""
    end_s = clock.now_s() + limit_s
    with closing(follower.polls()) as polls:
        for status in polls:
            if status.outcome not in ("waiting", "unreachable"):
                return status
            if clock.now_s() > end_s:
                break
            # A connection that is lost shows in the next poll.
            with suppress(TemporaryError):
                on_poll()
    raise RemoteError(f"no answer within {human_duration(limit_s)}", code="E_TIMEOUT")
