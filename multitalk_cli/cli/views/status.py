"""Results of `multitalk status`, `warm` and `cool` as lines and JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from multitalk_cli.cli.layout import Block, Table
from multitalk_cli.reporting.formatting import (
    human_count,
    human_duration,
    human_money,
    human_rate,
)

if TYPE_CHECKING:
    from multitalk_cli.cloud.containers import AppStatus


def status_data(status: AppStatus) -> dict[str, Any]:
    """The JSON of `status`."""
    return {
        "deployed": dict(status.record),
        "containers": status.pool.containers,
        "waiting": status.pool.backlog,
        "running": status.pool.running,
        "idle_usd_per_minute": round(status.idle_usd_per_minute, 4),
    }


def status_blocks(status: AppStatus) -> list[Block]:
    """The deployed version, its containers and their price."""
    record, pool = status.record, status.pool
    containers = human_count(pool.containers, "container")
    jobs = human_count(pool.backlog, "job")
    rows = [
        ("deployed", f"version {record['client']}, stacks {', '.join(record['stacks'])}"),
        ("containers", f"{containers} ({pool.running} busy), {jobs} queued"),
        ("idle", f"{human_rate(status.idle_usd_per_minute)} a minute for each container"),
    ]
    return [Table(rows=rows)]


def warm_text(idle_s: int, price_usd: float) -> str:
    """The promise of `warm`, and the most that it costs."""
    duration, most = human_duration(idle_s), human_money(price_usd)
    return f"keeps a GPU container for {duration} after the last job (up to {most})"


def cool_text(idle_s: int) -> str:
    """The effect of `cool`."""
    return f"idle containers stop after {idle_s} s"
