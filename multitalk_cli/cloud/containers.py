"""The containers of the deployed app: their number, and one kept warm."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from multitalk_cli import contract
from multitalk_cli.cloud.call_result import CallRecord, await_answer
from multitalk_cli.errors import MultitalkError
from multitalk_cli.planning.cost import price_of

if TYPE_CHECKING:
    from multitalk_cli.cloud.client import Cloud, PoolStats
    from multitalk_cli.reporting.reporter import Reporter

MAX_WARM_S = 3600
_LONGEST_START_S = 1800.0
IDLE_S = 30
"""How long a container of the deployed app waits for another job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AppStatus:
    """The deployed app. record: of the last deploy. idle_usd_per_minute: for each container."""

    record: Mapping[str, Any]
    pool: PoolStats
    idle_usd_per_minute: float


def read_status(cloud: Cloud, stack: str, gpu: str) -> AppStatus:
    """The status of the app. Raises SetupError E_NOT_DEPLOYED if there is none."""
    return AppStatus(
        record=cloud.require_deployment(),
        pool=cloud.pool_stats(stack, gpu),
        idle_usd_per_minute=price_of(gpu, 60),
    )


def start_warm(
    cloud: Cloud, stack: str, gpu: str, *, idle_s: int, record: CallRecord, reporter: Reporter
) -> float:
    """Starts a container that waits so long for jobs; returns the seconds that loading took.

    Where that is stopped or fails, no container waits longer than before.
    """
    cloud.set_idle_window(stack, gpu, idle_s)
    try:
        with reporter.progress() as progress:
            answer = await_answer(
                cloud,
                lambda: record.spawned(cloud.spawn_warm(stack, gpu)),
                lambda: progress.show(contract.Stage(name="starting")),
                reporter,
                limit_s=_LONGEST_START_S,
            )
    except BaseException:
        with suppress(MultitalkError):
            cloud.set_idle_window(stack, gpu, IDLE_S)
        raise
    load_s = float(answer["seconds"])
    # What it costs at most: jobs that come meanwhile pay for themselves.
    record.ran(load_s + idle_s)
    return load_s
