"""Waiting for what a call in the cloud answers, for calls that end within minutes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from multitalk_cli import contract
from multitalk_cli.errors import RemoteError, TemporaryError, error_from_code
from multitalk_cli.reporting.formatting import human_duration
from multitalk_cli.reporting.reporter import StoppedError

if TYPE_CHECKING:
    from multitalk_cli.cloud.client import Cloud
    from multitalk_cli.reporting.reporter import Reporter

_POLL_S, _PATIENCE_S = 1.0, 60.0


def await_answer(
    cloud: Cloud,
    spawn: Callable[[], str],
    look: Callable[[], None],
    reporter: Reporter,
    *,
    longest_s: float,
) -> Mapping[str, Any]:
    """The answer of a call that did its work. Whatever else ends the waiting ends the call.

    spawn: starts the call and gives its id. look: is called about once a second. Raises the error
    that the call answered.
    """
    with reporter.stop_requests() as held:  # a call whose id is unknown could not be ended
        call_id = spawn()
        if held.is_pending:
            cloud.cancel_call(call_id)
            raise StoppedError
    is_over = False
    try:
        for answer in _answers(cloud, call_id, look, longest_s):
            if answer is not None:
                is_over = True
                raise_failure(answer)
                return answer
    finally:
        if not is_over:
            cloud.cancel_call(call_id)
    raise RemoteError(f"no answer within {human_duration(longest_s)}", code="E_TIMEOUT")


def _answers(
    cloud: Cloud, call_id: str, look: Callable[[], None], longest_s: float
) -> Iterator[Mapping[str, Any] | None]:
    """The answer once it is there; None each time that it is not yet."""
    began_s = seen_s = time.monotonic()
    while time.monotonic() - began_s < longest_s:
        try:
            polled = cloud.poll(call_id, _POLL_S)
            look()
        except TemporaryError:
            if time.monotonic() - seen_s > _PATIENCE_S:
                raise
            time.sleep(_POLL_S)
            continue
        seen_s = time.monotonic()
        if polled.outcome == "timeout":
            raise RemoteError("the call ran out of time", code="E_TIMEOUT")
        if polled.outcome not in ("answer", "waiting"):
            code = "E_OUT_OF_MEMORY" if "memory" in polled.text.lower() else "E_REMOTE"
            raise RemoteError(f"the container ended: {polled.text}", code=code)
        yield polled.answer


def raise_failure(answer: Mapping[str, Any]) -> None:
    """Raises the error that a container answered with, if it did."""
    if answer.get("event") is None:
        return
    event = contract.event_from_wire(answer["event"])
    if isinstance(event, contract.Failed):
        raise error_from_code(event.code, event.message, event.hint)
