"""The tables of the ledger, and how a file of an older format becomes one of today's.

A file has the number of its format in `user_version`. Each migration leads from one format to the
next, in the one transaction that the file is opened with: two commands that start at the same time
make or migrate it once, and a command that is killed leaves it as it was.
"""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multitalk_cli.errors import FileError

if TYPE_CHECKING:
    from multitalk_cli.errors.exceptions import Fact

FORMAT = 5

_FIRST_JOBS = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT, fingerprint TEXT, app TEXT, environment TEXT, stack TEXT, gpu TEXT, seed INTEGER,
    target TEXT, label TEXT, recipe TEXT, state TEXT, call_id TEXT, link INTEGER, price_usd REAL,
    result TEXT, error TEXT, created_s REAL, updated_s REAL, PRIMARY KEY (id)
)
"""
_ADDED_COLUMNS = (
    "kind TEXT NOT NULL DEFAULT 'generate'",
    "request TEXT NOT NULL DEFAULT ''",
    "prompt TEXT NOT NULL DEFAULT ''",
    "error_text TEXT NOT NULL DEFAULT ''",
    "gpu_seconds REAL",
    "started_s REAL",
    "ended_s REAL",
    "fetched_s REAL",
)
_ADDED_TABLES = (
    # The private list of inputs: where a picture or voice with this content was seen.
    "CREATE TABLE inputs (sha256 TEXT, location TEXT, seen_s REAL, PRIMARY KEY (sha256, location))",
    # Position 0 is the picture; a job of format 1 has inputs without a location.
    "CREATE TABLE job_inputs (job_id TEXT, position INTEGER, sha256 TEXT, location TEXT,"
    " PRIMARY KEY (job_id, position))",
    "CREATE TABLE calls (job_id TEXT, call_id TEXT, attempt INTEGER, noted_s REAL,"
    " PRIMARY KEY (job_id, call_id))",
)
_INDICES = (
    "CREATE INDEX IF NOT EXISTS same ON jobs (fingerprint)",
    "CREATE INDEX jobs_by_age ON jobs (created_s)",
    "CREATE INDEX jobs_by_state ON jobs (state, created_s)",
    "CREATE INDEX jobs_by_target ON jobs (target)",
    "CREATE INDEX jobs_by_call ON calls (call_id)",
    "CREATE INDEX jobs_by_input ON job_inputs (sha256)",
)
_DERIVED_COLUMNS = ("preset TEXT NOT NULL DEFAULT ''", "made_on TEXT NOT NULL DEFAULT ''")
"""See `preset_of` and `made_on`: what money is divided by, without reading JSON for each row."""
_COVERING = (
    "DROP INDEX IF EXISTS jobs_by_money",
    "DROP INDEX IF EXISTS jobs_by_text",
    "CREATE INDEX jobs_summed ON jobs (created_s, kind, state, price_usd, gpu_seconds, started_s,"
    " ended_s, updated_s, fetched_s, app, environment, gpu, made_on, preset, target)",
    "CREATE INDEX jobs_searched ON jobs (created_s, id, kind, state, price_usd, gpu_seconds,"
    " started_s, ended_s, updated_s, fetched_s, label, target, error, prompt)",
)
"""All that is added up, and all that is searched: the long texts of rows are not read for it."""


_DAMAGED = ("SQLITE_NOTADB", "SQLITE_CORRUPT")


class NewerFormatError(sqlite3.DatabaseError):
    """A file of a later version."""


def prepare(db: sqlite3.Connection) -> None:
    """Makes the tables, or brings them to today's format. Raises NewerFormatError."""
    if _format_of(db) == FORMAT:
        return
    db.execute("BEGIN IMMEDIATE")
    # Another command may have been faster.
    found = _format_of(db)
    if found > FORMAT:
        raise NewerFormatError(f"a newer multitalk wrote it (format {found})")
    if found < 2:
        _add_second_format(db)
    if found < 3:
        db.execute("ALTER TABLE jobs ADD COLUMN first TEXT NOT NULL DEFAULT ''")
    if found < FORMAT:
        _add_derived_columns(db)
        for statement in _COVERING:
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {FORMAT}")
    db.execute("COMMIT")


def _format_of(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _add_second_format(db: sqlite3.Connection) -> None:
    db.execute(_FIRST_JOBS)
    for column in _ADDED_COLUMNS:
        db.execute(f"ALTER TABLE jobs ADD COLUMN {column}")
    for statement in (*_ADDED_TABLES, *_INDICES):
        db.execute(statement)
    rows = db.execute("SELECT id, recipe, result, call_id, link, updated_s FROM jobs").fetchall()
    for row in rows:
        _fill_from_recipe(db, row["id"], _object(row["recipe"]))
        _fill_from_result(db, row["id"], _object(row["result"]))
        if row["call_id"]:
            call = (row["id"], row["call_id"], row["link"], row["updated_s"])
            db.execute("INSERT OR IGNORE INTO calls VALUES (?, ?, ?, ?)", call)
    ended = "state IN ('done', 'failed', 'cancelled', 'lost')"
    db.execute(f"UPDATE jobs SET ended_s = updated_s WHERE {ended}")
    # Format 1 noted the result when the video was written, and none for what another had fetched.
    db.execute("UPDATE jobs SET fetched_s = updated_s WHERE state = 'done' AND result <> ''")


def _fill_from_recipe(db: sqlite3.Connection, job_id: str, recipe: dict[str, Any]) -> None:
    sums = [recipe.get("image_sha256", ""), *recipe.get("voices_sha256", ())]
    db.executemany(
        "INSERT OR IGNORE INTO job_inputs VALUES (?, ?, ?, '')",
        [(job_id, position, sha256) for position, sha256 in enumerate(sums) if sha256],
    )
    db.execute("UPDATE jobs SET prompt = ? WHERE id = ?", (recipe.get("prompt", ""), job_id))


def _fill_from_result(db: sqlite3.Connection, job_id: str, result: dict[str, Any]) -> None:
    db.execute("UPDATE jobs SET gpu_seconds = ? WHERE id = ?", (result.get("gpu_seconds"), job_id))


def _add_derived_columns(db: sqlite3.Connection) -> None:
    for column in _DERIVED_COLUMNS:
        db.execute(f"ALTER TABLE jobs ADD COLUMN {column}")
    rows = db.execute("SELECT id, kind, request, recipe, result FROM jobs").fetchall()
    db.executemany(
        "UPDATE jobs SET preset = ?, made_on = ? WHERE id = ?",
        [
            (
                preset_of(row["kind"], row["request"], row["recipe"]),
                made_on(row["result"]),
                row["id"],
            )
            for row in rows
        ],
    )


def preset_of(kind: str, request: str | bytes, recipe: str | bytes) -> str:
    """The preset that a call counts under; size and steps for a video made without one."""
    preset = named_preset(request)
    if preset:
        return preset
    made = _object(recipe)
    size, steps = made.get("size"), made.get("sample_steps")
    if not isinstance(size, list) or len(size) != 2 or steps is None:
        return kind
    return f"{size[0]}x{size[1]}, {steps} steps"


def named_preset(request: str | bytes) -> str:
    """The preset that a video was asked for with; empty where earlier versions had none."""
    settings = _object(request).get("settings")
    preset = settings.get("preset") if isinstance(settings, dict) else None
    return preset if isinstance(preset, str) else ""


def made_on(result: str | bytes) -> str:
    """The GPU that a result names; empty where it names none."""
    gpu = _object(result).get("gpu")
    return gpu if isinstance(gpu, str) else ""


def _object(text: str | bytes) -> dict[str, Any]:
    """A JSON object of a row; an empty one for a text that is none."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


# Values


def to_sql(value: Any) -> Any:
    """A value as SQLite takes it: text that UTF-8 lacks, as in the name of a file, as bytes."""
    if not isinstance(value, str):
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogatepass")
    return value


def from_sql(value: Any) -> Any:
    """A value as it was before `to_sql`."""
    return value.decode("utf-8", "surrogatepass") if isinstance(value, bytes) else value


def unusable(path: Path, error: Exception) -> FileError:
    """The error for a ledger that cannot be used, with what helps."""
    facts: dict[str, Fact] = {"is_newer": True} if isinstance(error, NewerFormatError) else {}
    if getattr(error, "sqlite_errorname", "") in _DAMAGED:
        facts = {"damaged": str(path)}
    return FileError(f"{path} cannot be used: {error}", code="E_LEDGER", facts=facts)
