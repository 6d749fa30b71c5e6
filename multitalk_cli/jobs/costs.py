"""Money of this machine's calls: added up, and compared with what Modal bills."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from multitalk_cli.jobs import search as jobs_search
from multitalk_cli.jobs.ledger import Ledger
from multitalk_cli.jobs.listing import refresh_all

if TYPE_CHECKING:
    from multitalk_cli.cloud.billing import BilledDay
    from multitalk_cli.cloud.errors import AppRef
    from multitalk_cli.jobs.search import By, Spending, Total


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Money since a moment. problem: why running jobs may cost more; empty where they do not."""

    since_s: float
    by: By
    rows: tuple[Spending, ...]
    total: Total
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedDay:
    """One whole day, by UTC. ledger_usd: what this machine counts. others_usd: of other apps."""

    day: str
    ledger_usd: float
    billed_usd: float
    others_usd: float


def add_up(since_s: float, by: By) -> Costs:
    """The money of all calls that began since then, once Modal was asked about those that run."""
    ledger = Ledger()
    newest = refresh_all(ledger, ledger.unfinished())
    rows = jobs_search.spending(ledger, since_s, by)
    total = jobs_search.add_up([each.total for each in rows])
    return Costs(since_s=since_s, by=by, rows=tuple(rows), total=total, problem=newest.problem)


def compare(place: AppRef, since_s: float) -> list[ComparedDay]:
    """The whole days since then, by UTC. Raises SetupError E_BILLING without Modal's report."""
    from multitalk_cli.cloud.billing import billed_days
    from multitalk_cli.cloud.client import Cloud

    billed = {each.day: each for each in billed_days(Cloud.reachable(place), since_s)}
    counted = {
        each.name: each.total.price_usd
        for each in jobs_search.spending(Ledger(), since_s, "utc_day", place)
    }
    last = max(billed, default="")
    days = sorted(billed.keys() | {day for day in counted if day <= last})
    return [_compared(day, counted.get(day, 0.0), billed.get(day)) for day in days]


def _compared(day: str, ledger_usd: float, billed: BilledDay | None) -> ComparedDay:
    return ComparedDay(
        day=day,
        ledger_usd=ledger_usd,
        billed_usd=0.0 if billed is None else billed.app_usd,
        others_usd=0.0 if billed is None else billed.other_usd,
    )
