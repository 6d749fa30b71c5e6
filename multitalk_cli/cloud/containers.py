"""The containers of the deployed app: their number, and one kept warm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from multitalk_cli.cloud.call_result import as_answer
from multitalk_cli.planning.cost import price_of

if TYPE_CHECKING:
    from multitalk_cli.cloud.client import Cloud, PoolStats

MAX_WARM_S = 3600
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


def start_warm(cloud: Cloud, stack: str, gpu: str, *, idle_s: int) -> float:
    """Starts a container that waits so long for jobs; returns the seconds that loading took."""
    return float(as_answer(cloud.warm(stack, gpu, idle_s=idle_s))["seconds"])
