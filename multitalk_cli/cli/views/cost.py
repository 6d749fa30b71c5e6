"""Results of `multitalk jobs cost` as lines and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from multitalk_cli.cli.layout import Block, Line, Style, Table
from multitalk_cli.cli.views.jobs import total_data
from multitalk_cli.reporting.formatting import human_duration, human_money

if TYPE_CHECKING:
    from multitalk_cli.jobs.costs import ComparedDay, Costs
    from multitalk_cli.jobs.search import Total

NOT_COUNTED = (
    "Modal's figures include what no job has: starts of containers before their work, idle time "
    "after it, functions without a GPU, storage, and jobs of other machines."
)


def cost_data(costs: Costs) -> dict[str, Any]:
    """The JSON of `jobs cost`."""
    return {
        "since_s": costs.since_s,
        "by": costs.by,
        "rows": [{"name": each.name, **total_data(each.total)} for each in costs.rows],
        "total": total_data(costs.total),
        "is_current": not costs.problem,
    }


def cost_blocks(costs: Costs) -> list[Block]:
    """A row for each day, GPU, preset or kind, and the sum."""
    rows = [(each.name, *_columns(each.total)) for each in costs.rows]
    sums = ("total", *_columns(costs.total))
    return [
        Table(
            rows=[*rows, sums],
            titles=(costs.by, "jobs", "gpu time", "price"),
            right=(1, 2, 3),
            gives_way=(0,),
            styles=_last_bold(len(rows)),
        )
    ]


def _last_bold(rows: int) -> list[Style]:
    """The styles of so many rows and their sum."""
    plain: list[Style] = [""] * rows
    return [*plain, "bold"]


def _columns(total: Total) -> tuple[str, str, str]:
    price = human_money(total.price_usd)
    if total.unknown:
        price = f"{price} + {total.unknown} unknown"
    return (f"{total.jobs:,}", human_duration(total.gpu_seconds), price)


def compared_data(days: Sequence[ComparedDay]) -> dict[str, Any]:
    """The JSON of `jobs cost --check`."""
    return {
        "days": [
            {
                "day": each.day,
                "ledger_usd": round(each.ledger_usd, 4),
                "billed_usd": round(each.billed_usd, 4),
                "others_usd": round(each.others_usd, 4),
            }
            for each in days
        ]
    }


def compared_blocks(days: Sequence[ComparedDay]) -> list[Block]:
    """What the ledger counts next to what Modal bills, for each whole day."""
    if not days:
        return [Line("Modal bills nothing yet for whole days since then")]
    rows = [(each.day, *_money(each.ledger_usd, each.billed_usd, each.others_usd)) for each in days]
    sums = _money(
        sum(each.ledger_usd for each in days),
        sum(each.billed_usd for each in days),
        sum(each.others_usd for each in days),
    )
    table = Table(
        rows=[*rows, ("total", *sums)],
        titles=("day (UTC)", "this list", "Modal", "other apps"),
        right=(1, 2, 3),
        styles=_last_bold(len(rows)),
    )
    return [table, Line(NOT_COUNTED, "dim")]


def _money(*amounts: float) -> tuple[str, ...]:
    return tuple(map(human_money, amounts))
