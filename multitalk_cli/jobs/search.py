"""Queries over all jobs of the ledger: filters, totals, money by day or kind."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from multitalk_cli.jobs import states
from multitalk_cli.jobs.ledger import job_from_row

if TYPE_CHECKING:
    import sqlite3

    from multitalk_cli.cloud.errors import AppRef
    from multitalk_cli.jobs.ledger import Job, Ledger

By = Literal["day", "utc_day", "preset", "gpu", "kind"]
_NAMES: dict[By, str] = {
    "day": "date(created_s, 'unixepoch', 'localtime')",
    "utc_day": "date(coalesce(started_s, created_s), 'unixepoch')",
    "gpu": "coalesce(json_extract(nullif(result, ''), '$.gpu'), nullif(gpu, ''), 'no GPU')",
    "kind": "kind",
    "preset": "coalesce(json_extract(nullif(request, ''), '$.settings.preset'),"
    " nullif(json_extract(nullif(recipe, ''), '$.size[0]', '$.size[1]', '$.sample_steps'),"
    " '[null,null,null]'), kind)",
}
"""What spending is divided by -> its name in SQL."""
_SUMS = (
    "count(*) AS jobs, total(gpu_seconds) AS gpu_seconds, total(price_usd) AS price_usd,"
    " total(price_usd IS NULL AND ended_s IS NOT NULL) AS unknown"
)
_TEXT = " || char(10) || ".join(("id", "label", "target", "prompt", "error", "kind"))


@dataclass(frozen=True, slots=True, kw_only=True)
class JobQuery:
    """The jobs that are asked for.

    states: see `jobs.states`; all of them where it is empty. since_s: in seconds since 1970.
    text: part of an id, name, path, prompt or input, in any case. kind: see `jobs.ledger.KINDS`;
    all of them where it is empty.
    """

    states: tuple[str, ...] = ()
    since_s: float = 0.0
    text: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """Jobs together. unknown: how many of those that ended have no known price."""

    jobs: int
    gpu_seconds: float
    price_usd: float
    unknown: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """What one day, GPU, preset or kind of call cost. name: of it."""

    name: str
    total: Total


def search(ledger: Ledger, query: JobQuery, limit: int = -1) -> list[Job]:
    """The jobs that match, the newest first."""
    where, values = _where(query)
    found: list[Job] = []
    rows: Iterable[sqlite3.Row]
    with ledger.reading() as db:
        if db is None:
            return found
        db.create_function("folded", 1, _folded, deterministic=True)
        if query.text:
            # Searched in an index, which is far smaller than the rows.
            statement = f"SELECT id FROM jobs WHERE {where} ORDER BY created_s DESC, id DESC"
            rows = (
                db.execute("SELECT * FROM jobs WHERE id = ?", each).fetchone()
                for each in db.execute(statement, values).fetchall()
            )
        else:
            statement = f"SELECT * FROM jobs WHERE {where} ORDER BY created_s DESC, rowid DESC"
            rows = db.execute(statement, values)
        for row in rows:
            if len(found) == limit:
                break
            job = job_from_row(row)
            # Whether a file is there is not in the ledger.
            if not query.states or any(states.has_state(job, each) for each in query.states):
                found.append(job)
    return found


def _where(query: JobQuery) -> tuple[str, list[Any]]:
    clauses: list[str] = ["created_s >= ?"]
    values: list[Any] = [query.since_s]
    recorded = {each for state in query.states for each in states.recorded_states(state)}
    if recorded:
        clauses.append(f"state IN ({', '.join('?' * len(recorded))})")
        values += sorted(recorded)
    if query.kind:
        clauses.append("kind = ?")
        values.append(query.kind)
    if query.text:
        # Text that UTF-8 lacks is kept as bytes, which only a cast keeps as they are.
        clauses.append(
            f"(instr(folded(CAST({_TEXT} AS BLOB)), ?) OR id IN"
            " (SELECT job_id FROM job_inputs WHERE instr(folded(location), ?)))"
        )
        values += [query.text.casefold()] * 2
    return " AND ".join(clauses), values


def _folded(value: str | bytes | None) -> str:
    """A text in one case. Names that UTF-8 lacks are kept as bytes."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").casefold()
    return "" if value is None else value.casefold()


def total(ledger: Ledger, query: JobQuery) -> Total:
    """All jobs that match together."""
    if query.states:
        # Some states are those of files.
        return total_of(search(ledger, query))
    where, values = _where(query)
    with ledger.reading() as db:
        if db is None:
            return total_of(())
        db.create_function("folded", 1, _folded, deterministic=True)
        return _total(db.execute(f"SELECT {_SUMS} FROM jobs WHERE {where}", values).fetchone())


def spending(ledger: Ledger, since_s: float, by: By, place: AppRef | None = None) -> list[Spending]:
    """The money of all calls since then, by day (the first one first) or the dearest first.

    place: only the calls of this app.
    """
    order = "name" if by in ("day", "utc_day") else "price_usd DESC, name"
    where = "created_s >= ?"
    values: tuple[float | str, ...] = (since_s,)
    if place is not None:
        where += " AND app = ? AND environment = ?"
        values = (since_s, place.app, place.environment)
    statement = (
        f"SELECT {_NAMES[by]} AS name, {_SUMS} FROM jobs WHERE {where} GROUP BY 1 ORDER BY {order}"
    )
    with ledger.reading() as db:
        rows = [] if db is None else db.execute(statement, values).fetchall()
    return [Spending(name=_named(str(row["name"])), total=_total(row)) for row in rows]


def _named(name: str) -> str:
    """A name of a day, GPU, kind or preset; `896x448, 20 steps` where there was no preset."""
    if not name.startswith("["):
        return name
    width, height, steps = json.loads(name)
    return f"{width}x{height}, {steps} steps"


def _total(row: sqlite3.Row) -> Total:
    return Total(
        jobs=row["jobs"],
        gpu_seconds=row["gpu_seconds"],
        price_usd=row["price_usd"],
        unknown=int(row["unknown"]),
    )


def add_up(totals: Sequence[Total]) -> Total:
    """Several totals together."""
    return Total(
        jobs=sum(each.jobs for each in totals),
        gpu_seconds=sum(each.gpu_seconds for each in totals),
        price_usd=sum(each.price_usd for each in totals),
        unknown=sum(each.unknown for each in totals),
    )


def total_of(jobs: Sequence[Job]) -> Total:
    """The jobs together, those that still run with what they cost so far."""
    return Total(
        jobs=len(jobs),
        gpu_seconds=sum(job.gpu_seconds or 0.0 for job in jobs),
        price_usd=sum(job.price_usd or 0.0 for job in jobs),
        unknown=sum(job.price_usd is None and job.ended_s is not None for job in jobs),
    )
