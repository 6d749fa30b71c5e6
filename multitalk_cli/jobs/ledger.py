"""The local ledger of jobs, by which each is found again and paid for once.

One SQLite file in the user's state folder, readable by the user alone. Every change is one
transaction, so that several processes may use it at the same time.
"""

import json
import os
import sqlite3
import time
from collections.abc import Collection, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from multitalk_cli.errors import FileError, UsageError
from multitalk_cli.files import is_there, user_folder

SPAWNING, RUNNING, DONE, FAILED, CANCELLED = "spawning", "running", "done", "failed", "cancelled"
LOST = "lost"
"""Ended with its container: another call resumes after the last window that is kept."""
UNFINISHED = (SPAWNING, RUNNING, LOST)
SHORT_ID = 8
_BUSY_S = 10.0
_RECENT_JOBS, _RECENT_STARTS = 200, 10
_SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job.

    fingerprint: of the prepared inputs and the options as given. label: a name for people.
    attempt: number of its newest call, from 0. call_id: that call's id at Modal, empty until the
    spawn was answered. target: path of the video. recipe: a JSON object. result: of the finished
    job, its wire form as JSON.
    """

    id: str
    fingerprint: str
    app: str
    environment: str
    stack: str
    gpu: str
    seed: int
    target: str
    label: str
    recipe: str
    state: str = SPAWNING
    call_id: str = ""
    attempt: int = 0
    price_usd: float | None = None
    result: str = ""
    error: str = ""
    created_s: float = 0.0
    updated_s: float = 0.0

    @property
    def is_unfinished(self) -> bool:
        """Whether it may still be running."""
        return self.state in UNFINISHED


_COLUMNS = {field.name: field.name for field in fields(Job)} | {"attempt": "link"}
"""Field -> its column; columns keep their names, since older ledgers have them."""
_FIELDS = {column: name for name, column in _COLUMNS.items()}
_TYPES = {"seed": "INTEGER", "link": "INTEGER", "price_usd": "REAL"} | dict.fromkeys(
    ("created_s", "updated_s"), "REAL"
)


def _job(row: sqlite3.Row) -> Job:
    return Job(**{_FIELDS[column]: _from_sql(value) for column, value in dict(row).items()})


def _to_sql(value: Any) -> Any:
    """A value as SQLite takes it: text that UTF-8 lacks, as in the name of a file, as bytes."""
    if not isinstance(value, str):
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogatepass")
    return value


def _from_sql(value: Any) -> Any:
    return value.decode("utf-8", "surrogatepass") if isinstance(value, bytes) else value


def _marks(values: Collection[str]) -> str:
    return ", ".join("?" * len(values))


def ledger_path() -> Path:
    """The path of the ledger, whether or not it exists."""
    return user_folder("state") / "jobs.sqlite3"


class Ledger:
    """The jobs of this machine. Raises FileError E_LEDGER where the file cannot be used."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = ledger_path() if path is None else path

    def start(
        self, job: Job, fingerprints: Sequence[str] = (), *, force: bool = False
    ) -> tuple[Job, bool]:
        """Adds the job, unless the same one is unfinished or done; returns that, or the new one.

        fingerprints: all names that the job may be recorded under, if its own is not the only one.
        force: adds it in any case. The second value tells whether the job is new.
        """
        with self._transaction() as db:
            known = None if force else self._same(db, job, {job.fingerprint, *fingerprints})
            if known is not None:
                return known, False
            now_s = time.time()
            added = replace(job, created_s=now_s, updated_s=now_s)
            row = {column: _to_sql(getattr(added, name)) for name, column in _COLUMNS.items()}
            marks = ", ".join(f":{column}" for column in row)
            db.execute(f"INSERT INTO jobs ({', '.join(row)}) VALUES ({marks})", row)
            return added, True

    def _same(self, db: sqlite3.Connection, job: Job, fingerprints: Set[str]) -> Job | None:
        row = db.execute(
            f"SELECT * FROM jobs WHERE fingerprint IN ({_marks(fingerprints)}) AND app = ?"
            " AND environment = ? AND state IN (?, ?, ?, ?)"
            " ORDER BY state = ?, created_s DESC LIMIT 1",
            (*fingerprints, job.app, job.environment, *UNFINISHED, DONE, DONE),
        ).fetchone()
        return None if row is None else _job(row)

    def find_completed(self, fingerprints: Collection[str]) -> Job | None:
        """The newest finished job that is recorded under one of these names."""
        if not is_there(self._path):
            return None
        with self._transaction() as db:
            row = db.execute(
                f"SELECT * FROM jobs WHERE fingerprint IN ({_marks(fingerprints)}) AND state = ?"
                " ORDER BY created_s DESC",
                (*fingerprints, DONE),
            ).fetchone()
        return None if row is None else _job(row)

    def start_seconds(self, app: str, environment: str) -> list[float]:
        """How long the containers of this app's newest finished jobs took to start."""
        if not self._path.exists():
            return []
        with self._transaction() as db:
            rows = db.execute(
                "SELECT result FROM jobs WHERE app = ? AND environment = ? AND state = ?"
                " AND result <> '' ORDER BY updated_s DESC, rowid DESC LIMIT ?",
                (app, environment, DONE, _RECENT_JOBS),
            ).fetchall()
        found = [json.loads(_from_sql(row["result"])).get("start_s") for row in rows]
        return [float(seconds) for seconds in found if seconds is not None][:_RECENT_STARTS]

    def update(self, job_id: str, **changes: Any) -> None:
        """Changes fields of a job; one that is not in the ledger is no error."""
        row = {_COLUMNS[name]: _to_sql(value) for name, value in changes.items()}
        row["updated_s"] = time.time()
        columns = ", ".join(f"{column} = :{column}" for column in row)
        with self._transaction() as db:
            db.execute(f"UPDATE jobs SET {columns} WHERE id = :job_id", {**row, "job_id": job_id})

    def list(self, limit: int = -1) -> list[Job]:
        """The jobs, the newest first."""
        if not is_there(self._path):
            return []
        with self._transaction() as db:
            rows = db.execute(
                "SELECT * FROM jobs ORDER BY created_s DESC, rowid DESC LIMIT ?", (limit,)
            ).fetchall()
        return [_job(row) for row in rows]

    def find(self, prefix: str) -> Job | None:
        """The job whose id has this prefix. Raises UsageError E_NO_JOB where several have."""
        found = [job for job in self.list() if prefix and job.id.startswith(prefix)]
        exact = [job for job in found if job.id == prefix]
        if len(found) > 1 and not exact:
            ids = ", ".join(job.id for job in found[:3])
            raise UsageError(
                f"{prefix!r} matches several jobs: {ids}",
                code="E_NO_JOB",
                facts={"job_prefix": prefix, "is_local": True},
            )
        return next(iter(exact or found), None)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            db = self._open()
            try:
                db.execute("BEGIN IMMEDIATE")
                yield db
                db.execute("COMMIT")
            finally:
                db.close()
        except (OSError, sqlite3.Error) as error:
            raise FileError(f"{self._path} cannot be used: {error}", code="E_LEDGER") from error

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # Created here, because SQLite would make it readable by everyone.
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        db = sqlite3.connect(self._path, timeout=_BUSY_S, isolation_level=None)
        try:
            db.row_factory = sqlite3.Row
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version > _SCHEMA_VERSION:
                raise sqlite3.DatabaseError(f"a newer multitalk wrote it (format {version})")
            if version < _SCHEMA_VERSION:
                self._create(db)
        except BaseException:
            db.close()
            raise
        return db

    def _create(self, db: sqlite3.Connection) -> None:
        columns = ", ".join(f"{name} {_TYPES.get(name, 'TEXT')}" for name in _FIELDS)
        db.execute("BEGIN IMMEDIATE")
        db.execute(f"CREATE TABLE IF NOT EXISTS jobs ({columns}, PRIMARY KEY (id))")
        db.execute("CREATE INDEX IF NOT EXISTS same ON jobs (fingerprint)")
        db.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
        db.execute("COMMIT")
