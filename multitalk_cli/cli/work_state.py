"""Events of a job as pieces of work, with a share, a time left and a price."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from multitalk_cli import contract
from multitalk_cli.contract.events import BYTE_STAGES
from multitalk_cli.reporting.formatting import (
    human_bytes,
    human_bytes_of,
    human_duration,
    human_money,
)

Clock = Callable[[], float]

SHORTEST_S = 0.5
"""Less time than this is too short to measure speed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A piece of work, as an event describes it.

    total: 0 where it cannot be counted. short_detail: the detail for a line with a bar. left: the
    time left; empty while unknown. spent: what the run has cost so far, if known.
    """

    label: str
    done: int
    total: int
    detail: str = ""
    short_detail: str = ""
    left: str = ""
    spent: str = ""


class WorkState:
    """The state of the work, read off the events.

    Steps of all windows are one piece of work, since they take equally long.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._name = ""
        self._began_s = clock()
        self._first_done = 0

    def read(self, event: contract.Event, spent_usd: float | None = None) -> Work:
        """The piece of work that the event belongs to."""
        spent = "" if spent_usd is None else human_money(spent_usd)
        match event:
            case contract.Queued():
                return self._work("waiting", 0, 0, "for a GPU", spent=spent)
            case contract.Loading():
                return self._bytes("loading", event.done_bytes, event.total_bytes, spent)
            case contract.Fetching():
                return self._bytes(
                    "fetching", event.done_bytes, event.total_bytes, spent, with_speed=True
                )
            case contract.Stage() if event.name in BYTE_STAGES and event.total:
                return self._bytes(event.name, event.done, event.total, spent)
            case contract.Stage():
                detail = f"{event.done}/{event.total}" if event.total else ""
                return self._work(event.name, event.done, event.total, detail, spent=spent)
            case contract.Step():
                done = (event.window - 1) * event.steps + event.step
                return self._work(
                    "steps",
                    done,
                    event.windows * event.steps,
                    f"step {event.step}/{event.steps}",
                    label=f"window {event.window}/{event.windows}",
                    spent=spent,
                )
            case contract.WindowDone():
                # Kept windows are no steps: the time left cannot be estimated from them.
                return Work(label="kept", done=event.window, total=event.windows)
            case contract.Done() | contract.Failed():
                return self._work(event.kind, 1, 1, "", spent=spent)

    def _bytes(
        self, name: str, done: int, total: int, spent: str, *, with_speed: bool = False
    ) -> Work:
        """Work that is counted in bytes."""
        self._begin(name, done)
        elapsed_s, gained = self._clock() - self._began_s, done - self._first_done
        has_speed = with_speed and gained > 0 and elapsed_s >= SHORTEST_S
        speed = f", {human_bytes(gained / elapsed_s)}/s" if has_speed else ""
        return self._work(
            name,
            done,
            total,
            f"{human_bytes(done)} of {human_bytes(total)}{speed}",
            short_detail=f"{human_bytes_of(done, total)}{speed}",
            spent=spent,
        )

    def _work(
        self,
        name: str,
        done: int,
        total: int,
        detail: str,
        *,
        spent: str,
        label: str = "",
        short_detail: str = "",
    ) -> Work:
        self._begin(name, done)
        return Work(
            label=label if label else name,
            done=done,
            total=total,
            detail=detail,
            short_detail=short_detail if short_detail else detail,
            left=self._left(done, total),
            spent=spent,
        )

    def _begin(self, name: str, done: int) -> None:
        if name != self._name:
            self._name, self._began_s, self._first_done = name, self._clock(), done

    def _left(self, done: int, total: int) -> str:
        elapsed_s, gained = self._clock() - self._began_s, done - self._first_done
        if gained <= 0 or total <= done or elapsed_s < SHORTEST_S:
            return ""
        return f"{human_duration(elapsed_s / gained * (total - done))} left"
