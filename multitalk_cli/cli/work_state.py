"""Events of a job as pieces of work, with a share, a time left and a price."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from multitalk_cli import contract
from multitalk_cli.contract.events import BYTE_STAGES, THROTTLED
from multitalk_cli.reporting.formatting import (
    human_bytes,
    human_bytes_of,
    human_duration,
    human_money,
)

Clock = Callable[[], float]

WAITING = "waiting"
WAITS = (WAITING, "starting", "reconnecting", THROTTLED)
"""Groups in which nothing is worked on."""
SHORTEST_S = 0.5
"""Less time than this is too short to measure speed."""
SHORTEST_WAIT_S = 2.0
"""Less time than this is no wait that a person asks about."""
USUAL_WAIT = "usually 1-2 min"
"""For a GPU."""
USUAL_OF_STAGES = {"examining": "usually 1-3 min"}
"""Stages that take long and cannot be counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A piece of work, as an event describes it.

    group: what this event and others are about; steps of all windows are one, since they take
    equally long. total: 0 where it cannot be counted. short_detail, whole: the detail for a line
    with a bar, and that of the finished work. usual: the usual time of a wait.

    Known to `WorkState`: began_s, when the group began, by the clock; speed and left, the time
    left, both empty while unknown; spent, the cost of the run so far, if known.
    """

    group: str
    label: str
    done: int = 0
    total: int = 0
    detail: str = ""
    short_detail: str = ""
    whole: str = ""
    usual: str = ""
    began_s: float = 0.0
    speed: str = ""
    left: str = ""
    spent: str = ""


class WorkState:
    """The state of the work, read off the events."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._group = ""
        self._began_s = clock()
        self._first_done = 0

    def read(self, event: contract.Event, spent_usd: float | None = None) -> Work | None:
        """The piece of work that the event belongs to; None for the end of a window or a run."""
        work = _describe(event)
        if work is None:
            return None
        now_s = self._clock()
        if work.group != self._group:
            self._group, self._began_s, self._first_done = work.group, now_s, work.done
        elapsed_s, gained = now_s - self._began_s, work.done - self._first_done
        work = replace(
            work,
            began_s=self._began_s,
            spent="" if spent_usd is None else human_money(spent_usd),
        )
        if gained <= 0 or elapsed_s < SHORTEST_S or work.group in WAITS:
            return work
        is_fetching = isinstance(event, contract.Fetching)
        left_s = elapsed_s / gained * (work.total - work.done)
        return replace(
            work,
            speed=f"{human_bytes(gained / elapsed_s)}/s" if is_fetching else "",
            left=f"{human_duration(left_s)} left" if work.total > work.done else "",
        )


def _describe(event: contract.Event) -> Work | None:
    """The event without what came before it."""
    match event:
        case contract.Queued():
            return Work(group=WAITING, label=WAITING, detail="for a GPU", usual=USUAL_WAIT)
        case contract.Loading():
            return count_bytes("loading", event.done_bytes, event.total_bytes)
        case contract.Fetching():
            # A LoRA is one file, and fetched after the weights, which have a bar of their own.
            label = "fetching" if event.count > 1 else "LoRA"
            return count_bytes(label, event.done_bytes, event.total_bytes)
        case contract.Stage(total=0):
            usual = USUAL_OF_STAGES.get(event.name, "")
            return Work(group=event.name, label=event.name, usual=usual)
        case contract.Stage() if event.name == THROTTLED:
            rest = f"retrying in {human_duration(event.total - event.done)}"
            return Work(
                group=THROTTLED,
                label=THROTTLED,
                done=event.done,
                total=event.total,
                detail=f"the hub is throttling, {rest}",
                short_detail=f"by the hub, {rest}",
            )
        case contract.Stage() if event.name in BYTE_STAGES:
            return count_bytes(event.name, event.done, event.total)
        case contract.Stage():
            detail = f"{event.done}/{event.total}"
            return Work(
                group=event.name,
                label=event.name,
                done=event.done,
                total=event.total,
                detail=detail,
                short_detail=detail,
                whole=f"{event.total}/{event.total}",
            )
        case contract.Step():
            detail = f"step {event.step}/{event.steps}"
            return Work(
                group="steps",
                label=f"window {event.window}/{event.windows}",
                done=(event.window - 1) * event.steps + event.step,
                total=event.windows * event.steps,
                detail=detail,
                short_detail=detail,
                whole=f"step {event.steps}/{event.steps}",
            )
        case contract.WindowDone() | contract.Done() | contract.Failed():
            # Kept windows are no steps: the time left cannot be estimated from them.
            return None


def count_bytes(label: str, done: int, total: int) -> Work:
    """Work that is counted in bytes."""
    return Work(
        group=label,
        label=label,
        done=done,
        total=total,
        detail=f"{human_bytes(done)} of {human_bytes(total)}",
        short_detail=human_bytes_of(done, total),
        whole=human_bytes_of(total, total),
    )


def describe_wait(detail: str, elapsed_s: float) -> str:
    """The detail of work that cannot be counted, and its time so far: `for a GPU, 42 s`."""
    elapsed = human_duration(elapsed_s) if elapsed_s >= SHORTEST_WAIT_S else ""
    return ", ".join(part for part in (detail, elapsed) if part)
