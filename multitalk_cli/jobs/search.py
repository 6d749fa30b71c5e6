"""Queries over all jobs of the ledger: filters, totals, money by day or kind."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from multitalk_cli.jobs import schema, states
from multitalk_cli.jobs.ledger import job_from_row

if TYPE_CHECKING:
    import sqlite3

    from multitalk_cli.cloud.errors import AppRef
    from multitalk_cli.jobs.ledger import Job, Ledger

By = Literal["day", "utc_day", "preset", "gpu", "kind"]
_NAMES: dict[By, str] = {
    "day": "date(created_s, 'unixepoch', 'localtime')",
    "utc_day": "date(coalesce(started_s, created_s), 'unixepoch')",
    "gpu": "coalesce(nullif(made_on, ''), nullif(gpu, ''), 'no GPU')",
    "kind": "kind",
    "preset": "preset",
}
"""What spending is divided by -> its name in SQL."""
_SUMS = (
    "count(*) AS jobs, total(gpu_seconds) AS gpu_seconds, total(price_usd) AS price_usd,"
    " total(price_usd IS NULL AND ended_s IS NOT NULL) AS unknown"
)
_SEARCHED = ("id", "label", "target", "prompt", "error", "kind")


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
    values["limit"] = limit
    with _reading(ledger) as db:
        if db is None:
            return []
        if not query.text:
            order = "ORDER BY created_s DESC, rowid DESC LIMIT :limit"
            rows = db.execute(f"SELECT * FROM jobs WHERE {where} {order}", values)
            return [job_from_row(row) for row in rows]
        # Searched in an index, which is far smaller than the rows.
        order = "ORDER BY created_s DESC, id DESC LIMIT :limit"
        statement = f"SELECT id FROM jobs INDEXED BY jobs_searched WHERE {where} {order}"
        select = "SELECT * FROM jobs WHERE id = ?"
        found = db.execute(statement, values).fetchall()
        return [job_from_row(db.execute(select, tuple(each)).fetchone()) for each in found]


@contextmanager
def _reading(ledger: Ledger) -> Iterator[sqlite3.Connection | None]:
    """The database with the functions that conditions need; None where there is no file."""
    with ledger.reading() as db:
        if db is not None:
            db.create_function("folded", 1, _folded, deterministic=True)
            db.create_function("is_here", 1, _is_here)
        yield db


def _where(query: JobQuery) -> tuple[str, dict[str, Any]]:
    """The condition, and the values that it names."""
    clauses = ["created_s >= :since_s"]
    values: dict[str, Any] = {"since_s": query.since_s}
    if query.states:
        clauses.append(states.where(query.states))
        values["gone_s"] = states.gone_before_s()
    if query.kind:
        clauses.append("kind = :kind")
        values["kind"] = query.kind
    if query.text:
        inputs = f"SELECT job_id FROM job_inputs WHERE {_matches('location')}"
        clauses.append(f"({' OR '.join(map(_matches, _SEARCHED))} OR id IN ({inputs}))")
        values["text"] = text = query.text.casefold()
        values["like"] = "%" + re.sub("([%_!])", r"!\1", text) + "%"
    return " AND ".join(clauses), values


def _matches(column: str) -> str:
    """The condition of a column with the text, in any case.

    LIKE knows the case of ASCII alone, and `folded` takes four times as long. Text that UTF-8
    lacks is kept as bytes, which only a cast keeps as they are.
    """
    is_ascii = f"length(CAST({column} AS TEXT)) = length(CAST({column} AS BLOB))"
    is_found = f"instr(folded(CAST({column} AS BLOB)), :text)"
    return f"({column} LIKE :like ESCAPE '!' OR NOT {is_ascii} AND {is_found})"


def _folded(value: str | bytes | None) -> str:
    """A text in one case. Names that UTF-8 lacks are kept as bytes."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").casefold()
    return "" if value is None else value.casefold()


def _is_here(target: str | bytes) -> bool:
    return states.is_here(schema.from_sql(target))


def total(ledger: Ledger, query: JobQuery) -> Total:
    """All jobs that match together."""
    where, values = _where(query)
    index = "jobs_searched" if query.text else "jobs_summed"
    statement = f"SELECT {_SUMS} FROM jobs INDEXED BY {index} WHERE {where}"
    with _reading(ledger) as db:
        return total_of(()) if db is None else _total(db.execute(statement, values).fetchone())


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
    return [Spending(name=str(row["name"]), total=_total(row)) for row in rows]


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
