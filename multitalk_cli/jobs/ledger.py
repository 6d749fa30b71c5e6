"""The local ledger: every call that costs money, found again and paid for once.

One SQLite file in the user's state folder, readable by the user alone. Every change is one
transaction, so that several processes may use it at the same time.
"""

import os
import sqlite3
import time
from collections.abc import Collection, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from multitalk_cli import contract
from multitalk_cli.contract import proof, weights_task
from multitalk_cli.errors import FileError, UsageError
from multitalk_cli.files import is_there, user_folder
from multitalk_cli.jobs import schema
from multitalk_cli.planning.cost import price_of, price_without_gpu

SPAWNING, RUNNING, DONE, FAILED, CANCELLED = "spawning", "running", "done", "failed", "cancelled"
LOST = "lost"
"""Ended with its container: another call resumes after the last window that is kept."""
FIRST = "first"
"""Its first window is made and paid, and nothing runs: another call makes the rest."""
EXPIRED = "expired"
"""Done and paid, but its video is no longer kept anywhere: the same command makes it again."""
UNFINISHED = (SPAWNING, RUNNING, LOST)
ENDED = (DONE, FAILED, CANCELLED, LOST, FIRST)
RESUMABLE = (LOST, FIRST)
ASKED, MADE = "asked", "made"
"""Of a first window: it alone is to be made, or it was."""
GENERATE, BENCH, DOCTOR, DOWNLOAD, WARM = "generate", "bench", "doctor", "download", "warm"
KINDS = (GENERATE, BENCH, DOCTOR, DOWNLOAD, WARM)
"""The kinds of calls that cost money; a video is of the kind `GENERATE`."""
SHORT_ID = 8
_BUSY_S = 10.0
_LAST_CHARACTER = "\U0010ffff"
_WITH_INPUT = "SELECT job_id FROM job_inputs WHERE sha256 = ? AND position = ?"
_MADE = (SPAWNING, RUNNING, DONE, FIRST)
_STILL_FAILED = (
    "SELECT * FROM jobs AS mine WHERE kind = ? AND state IN (?, ?) AND created_s >= ?"
    " AND NOT EXISTS (SELECT 1 FROM jobs AS other WHERE other.fingerprint = mine.fingerprint"
    " AND other.app = mine.app AND other.environment = mine.environment AND other.id <> mine.id"
    " AND (other.state IN (?, ?, ?, ?) OR other.created_s > mine.created_s))"
    " ORDER BY created_s DESC, rowid DESC"
)
_NEWEST = "SELECT * FROM jobs ORDER BY created_s DESC, rowid DESC"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One call that costs money, or a chain of calls that continue each other.

    fingerprint: of the prepared inputs and the options as given. label: a name for people.
    attempt: number of its newest call, from 0. call_id: that call's id at Modal, empty until the
    spawn was answered. target: path of the video. recipe: a JSON object. result: of the finished
    job, its wire form as JSON.
    kind: see `KINDS`. request: the arguments as given, as JSON, for another run of the same.
    gpu_seconds, price_usd: so far, while it runs. error: a code; error_text: the message.
    started_s: when a container began; None while that is unknown. ended_s: None while unfinished.
    fetched_s: when its video was written to its file; None for a video that was not. first: `ASKED`
    while its calls make the first window alone, `MADE` from then on; empty for other jobs.
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
    kind: str = GENERATE
    request: str = ""
    prompt: str = ""
    error_text: str = ""
    gpu_seconds: float | None = None
    started_s: float | None = None
    ended_s: float | None = None
    fetched_s: float | None = None
    first: str = ""

    @property
    def is_first(self) -> bool:
        """Whether its video is, or will be, the first window alone."""
        return self.state == FIRST or self.first == ASKED

    @property
    def if_done(self) -> str:
        """Its state once its call has ended well."""
        return FIRST if self.first == ASKED else DONE

    @property
    def if_cancelled(self) -> str:
        """Its state once its call was cancelled: a first window that is paid stays so."""
        return FIRST if self.first == MADE else CANCELLED

    @property
    def is_unfinished(self) -> bool:
        """Whether it may still be running."""
        return self.state in UNFINISHED


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownInput:
    """A picture or voice by its content.

    location: its absolute path or s3:// address; empty where an older version did not record it.
    """

    sha256: str
    location: str

    @property
    def name(self) -> str:
        """The name of the file or object."""
        return self.location.rpartition("/")[2]


_COLUMNS = {field.name: field.name for field in fields(Job)} | {"attempt": "link"}
"""Field -> its column, which has the name that the first format gave it."""


def job_from_row(row: sqlite3.Row) -> Job:
    """The job of a row of the table."""
    values = {name: row[column] for name, column in _COLUMNS.items()}
    if bytes in map(type, values.values()):
        values = {name: schema.from_sql(value) for name, value in values.items()}
    return Job(**values)


def _input(row: sqlite3.Row) -> KnownInput:
    return KnownInput(sha256=row["sha256"], location=schema.from_sql(row["location"]))


def spent(job: Job, run_s: float) -> dict[str, Any]:
    """The fields of a job whose containers ran for so long."""
    if not job.gpu:
        host = proof if job.kind == DOCTOR else weights_task
        price = price_without_gpu(host.CORES, host.MEMORY_MIB / 1024, run_s)
        return {"price_usd": price}
    return {"gpu_seconds": run_s, "price_usd": price_of(job.gpu, run_s)}


def taken(target: str, holder: Job) -> FileError:
    """The error for a file that another job is to write."""
    doing = "is finished and not fetched" if holder.state == DONE else "is running"
    return FileError(
        f"{target!r} is the output of job {holder.id}, which {doing}, with other inputs or options",
        code="E_OUTPUT_TAKEN",
        facts={"holder": holder.id},
    )


def ledger_path() -> Path:
    """The path of the ledger, whether or not it exists."""
    return user_folder("state") / "jobs.sqlite3"


class Ledger:
    """The jobs of this machine. Raises FileError E_LEDGER where the file cannot be used."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = ledger_path() if path is None else path

    @property
    def folder(self) -> Path:
        """The folder of the file."""
        return self._path.parent

    # Changes

    def start(
        self,
        job: Job,
        fingerprints: Sequence[str] = (),
        *,
        inputs: Sequence[KnownInput] = (),
        force: bool = False,
        take_target: bool = False,
    ) -> tuple[Job, bool]:
        """Adds the job, unless the same one is unfinished or done; returns that, or the new one.

        fingerprints: all names that the job may be recorded under, if its own is not the only one.
        inputs: the picture, then the voices. force: adds it in any case. take_target: other jobs
        that were to write to its target no longer do. The second value tells whether it is new.
        Raises FileError E_OUTPUT_TAKEN where another job is to write to its target.
        """
        with self._transaction() as db:
            names = {job.fingerprint, *fingerprints}
            known = None if force else self._same(db, job, names)
            self._hold_target(db, job.target, names, take=take_target)
            if known is None:
                return self._add(db, job, inputs), True
            return self._retarget(db, known, job.target), False

    def add(self, job: Job) -> Job:
        """Adds a call that is no video and has no target."""
        with self._transaction() as db:
            return self._add(db, job, ())

    def _same(self, db: sqlite3.Connection, job: Job, fingerprints: Set[str]) -> Job | None:
        row = db.execute(
            f"SELECT * FROM jobs WHERE fingerprint IN ({','.join('?' * len(fingerprints))})"
            " AND app = ? AND environment = ? AND state IN (?, ?, ?, ?, ?)"
            " ORDER BY state = ? OR state = ?, created_s DESC LIMIT 1",
            (*fingerprints, job.app, job.environment, *UNFINISHED, FIRST, DONE, FIRST, DONE),
        ).fetchone()
        return None if row is None else job_from_row(row)

    def _add(self, db: sqlite3.Connection, job: Job, inputs: Sequence[KnownInput]) -> Job:
        now_s = time.time()
        added = replace(job, created_s=now_s, updated_s=now_s)
        row = {column: schema.to_sql(getattr(added, name)) for name, column in _COLUMNS.items()}
        row["preset"] = schema.preset_of(job.kind, job.request, job.recipe)
        row["made_on"] = schema.made_on(job.result)
        marks = ", ".join(f":{column}" for column in row)
        db.execute(f"INSERT INTO jobs ({', '.join(row)}) VALUES ({marks})", row)
        for position, each in enumerate(inputs):
            place = (each.sha256, schema.to_sql(each.location))
            db.execute("INSERT INTO job_inputs VALUES (?, ?, ?, ?)", (job.id, position, *place))
            db.execute("INSERT OR REPLACE INTO inputs VALUES (?, ?, ?)", (*place, now_s))
        return added

    def _retarget(self, db: sqlite3.Connection, known: Job, target: str) -> Job:
        """The job with another target, unless its video was written to one."""
        if not target or target == known.target or known.fetched_s is not None:
            return known
        db.execute("UPDATE jobs SET target = ? WHERE id = ?", (schema.to_sql(target), known.id))
        return replace(known, target=target)

    def _hold_target(
        self, db: sqlite3.Connection, target: str, fingerprints: Set[str], *, take: bool
    ) -> None:
        """Keeps other jobs from writing there. Raises FileError unless they are to give way."""
        for holder in self._holders(db, target, fingerprints):
            if not take:
                raise taken(target, holder)
            db.execute("UPDATE jobs SET target = '' WHERE id = ?", (holder.id,))

    def _holders(self, db: sqlite3.Connection, target: str, fingerprints: Set[str]) -> list[Job]:
        """Other jobs that are to write there: they run, or their video waits to be fetched."""
        rows = db.execute(
            "SELECT * FROM jobs WHERE target = ? AND target <> '' AND (state IN (?, ?)"
            " OR state = ? AND fetched_s IS NULL AND ended_s > ?)",
            (schema.to_sql(target), SPAWNING, RUNNING, DONE, time.time() - contract.JOBS_KEPT_S),
        )
        return [job for row in rows if (job := job_from_row(row)).fingerprint not in fingerprints]

    def resume(self, job: Job, **changes: Any) -> Job | None:
        """A `RESUMABLE` job as its next attempt, with these changes; None if another was faster."""
        now_s = time.time()
        changes |= {"state": SPAWNING, "attempt": job.attempt + 1, "call_id": ""}
        changes |= {"ended_s": None, "error": "", "error_text": "", "updated_s": now_s}
        row = {_COLUMNS[name]: schema.to_sql(value) for name, value in changes.items()}
        columns = ", ".join(f"{column} = :{column}" for column in row)
        is_same = "id = :job_id AND state = :before AND link = :link_before"
        values = {**row, "job_id": job.id, "before": job.state, "link_before": job.attempt}
        with self._transaction() as db:
            done = db.execute(f"UPDATE jobs SET {columns} WHERE {is_same}", values)
        return replace(job, **changes) if done.rowcount else None

    def update(self, job_id: str, **changes: Any) -> None:
        """Changes fields of a job; one that is not in the ledger is no error.

        A state in which it has ended notes the time of its end, and a call is kept in `calls`.
        """
        now_s = time.time()
        if changes.get("state") in ENDED:
            changes.setdefault("ended_s", now_s)
        row = {_COLUMNS[name]: schema.to_sql(value) for name, value in changes.items()}
        if "result" in changes:
            row["made_on"] = schema.made_on(changes["result"])
        row["updated_s"] = now_s
        columns = ", ".join(f"{column} = :{column}" for column in row)
        with self._transaction() as db:
            db.execute(f"UPDATE jobs SET {columns} WHERE id = :job_id", {**row, "job_id": job_id})
            if changes.get("call_id"):
                db.execute(
                    "INSERT OR IGNORE INTO calls SELECT id, call_id, link, updated_s FROM jobs"
                    " WHERE id = ?",
                    (job_id,),
                )

    def remove(self, job_ids: Sequence[str]) -> None:
        """Removes jobs that have ended; what is known of their inputs' places stays."""
        with self._transaction() as db:
            for job_id in job_ids:
                db.execute("DELETE FROM jobs WHERE id = ?", (job_id,))
                db.execute("DELETE FROM job_inputs WHERE job_id = ?", (job_id,))
                db.execute("DELETE FROM calls WHERE job_id = ?", (job_id,))

    def remember_inputs(self, inputs: Sequence[KnownInput]) -> None:
        """Records where pictures and voices are, by their content."""
        with self._transaction() as db:
            db.executemany(
                "INSERT OR REPLACE INTO inputs VALUES (?, ?, ?)",
                [(each.sha256, schema.to_sql(each.location), time.time()) for each in inputs],
            )

    # Queries

    def get(self, job_id: str) -> Job | None:
        """The job with exactly this id."""
        found = self._select("SELECT * FROM jobs WHERE id = ?", job_id)
        return found[0] if found else None

    def find_call(self, call_id: str) -> Job | None:
        """The job that has, or had, this call at Modal."""
        calls = "SELECT job_id FROM calls WHERE call_id = ?"
        found = self._select(f"SELECT * FROM jobs WHERE id IN ({calls})", call_id)
        return found[0] if found else None

    def find(self, prefix: str) -> Job | None:
        """The job whose id has this prefix. Raises UsageError E_NO_JOB where several have."""
        query = "SELECT * FROM jobs WHERE id >= ? AND id < ? ORDER BY created_s DESC"
        found = self._select(query, prefix, prefix + _LAST_CHARACTER) if prefix else []
        exact = [job for job in found if job.id == prefix]
        if len(found) > 1 and not exact:
            ids = ", ".join(job.id for job in found[:3])
            raise UsageError(
                f"{prefix!r} matches several jobs: {ids}",
                code="E_NO_JOB",
                facts={"job_prefix": prefix, "is_local": True},
            )
        return next(iter(exact or found), None)

    def find_completed(self, fingerprints: Collection[str]) -> Job | None:
        """The newest finished job that is recorded under one of these names."""
        found = self._select(
            f"SELECT * FROM jobs WHERE fingerprint IN ({','.join('?' * len(fingerprints))})"
            " AND state = ? ORDER BY created_s DESC LIMIT 1",
            *fingerprints,
            DONE,
        )
        return found[0] if found else None

    def find_same(self, app: str, environment: str, fingerprints: Collection[str]) -> Job | None:
        """The job that `start` would return in place of one with these names."""
        asked = Job(
            id="", fingerprint="", app=app, environment=environment, stack="", gpu="", seed=0,
            target="", label="", recipe="",
        )  # fmt: skip
        with self.reading() as db:
            return None if db is None else self._same(db, asked, {*fingerprints})

    def holders(self, target: str, fingerprints: Collection[str]) -> list[Job]:
        """The jobs for which `start` would refuse another one with these names that target."""
        with self.reading() as db:
            return [] if db is None else self._holders(db, target, {*fingerprints})

    def paid_for(self, targets: Sequence[str]) -> dict[str, float]:
        """What jobs that have ended cost for each of these files, in dollars, if anything."""
        query = "SELECT total(price_usd) FROM jobs WHERE target = ? AND state NOT IN (?, ?)"
        with self.reading() as db:
            if db is None:
                return {}
            paid = {
                each: db.execute(query, (schema.to_sql(each), SPAWNING, RUNNING)).fetchone()[0]
                for each in targets
            }
        return {each: float(price) for each, price in paid.items() if price}

    def concerns(self, target: str, sha256s: Sequence[str]) -> bool:
        """Whether a job has this picture and these voices, or may be to write to that target.

        Quick, in contrast to a fingerprint, for which the inputs are encoded.
        """
        with self.reading() as db:
            if db is None:
                return False
            if target and self._holders(db, target, frozenset()):
                return True
            found = set.intersection(
                *(
                    {row["job_id"] for row in db.execute(_WITH_INPUT, (sha256, position))}
                    for position, sha256 in enumerate(sha256s)
                )
            )
        return bool(found)

    def newest(self, limit: int = -1) -> list[Job]:
        """The jobs, the newest first."""
        return self._select(_NEWEST + " LIMIT ?", limit)

    def unfinished(self) -> list[Job]:
        """The jobs that may still run, the newest first; those of lost containers do not."""
        query = "SELECT * FROM jobs WHERE state IN (?, ?) ORDER BY created_s DESC, rowid DESC"
        return self._select(query, SPAWNING, RUNNING)

    def failed(self, since_s: float = 0.0) -> list[Job]:
        """The videos that failed or stopped and are not made by another job since, newest first."""
        return self._select(_STILL_FAILED, GENERATE, FAILED, LOST, since_s, *_MADE)

    def ended_before(self, before_s: float) -> list[Job]:
        """The jobs that ended before that moment."""
        query = (
            "SELECT * FROM jobs WHERE created_s < ? AND state NOT IN (?, ?)"
            " AND coalesce(ended_s, updated_s) < ? ORDER BY created_s DESC"
        )
        return self._select(query, before_s, SPAWNING, RUNNING, before_s)

    def count(self) -> int:
        """How many jobs there are."""
        return sum(int(row[0]) for row in self._rows("SELECT count(*) FROM jobs"))

    def finished(self, app: str, environment: str, limit: int) -> list[Job]:
        """The newest videos that this app finished and whose result is known."""
        return self._select(
            f"SELECT * FROM jobs WHERE state = '{DONE}' AND app = ? AND environment = ?"
            " AND kind = ? AND result <> '' ORDER BY created_s DESC LIMIT ?",
            app,
            environment,
            GENERATE,
            limit,
        )

    def inputs_of(self, job_id: str) -> list[KnownInput]:
        """The job's picture, then its voices."""
        return self.inputs_of_all([job_id])[0]

    def inputs_of_all(self, job_ids: Sequence[str]) -> list[list[KnownInput]]:
        """The inputs of each of the jobs."""
        query = "SELECT sha256, location FROM job_inputs WHERE job_id = ? ORDER BY position"
        with self.reading() as db:
            if db is None:
                return [[] for _ in job_ids]
            return [[_input(row) for row in db.execute(query, (each,))] for each in job_ids]

    def find_inputs(self, sha256: str) -> list[KnownInput]:
        """The places where a file with this content was seen, the newest first."""
        query = "SELECT sha256, location FROM inputs WHERE sha256 = ? ORDER BY seen_s DESC"
        return [_input(row) for row in self._rows(query, sha256)]

    def calls_of(self, job_id: str) -> list[str]:
        """The ids of the job's calls at Modal, the first one first."""
        query = "SELECT call_id FROM calls WHERE job_id = ? ORDER BY attempt, noted_s"
        return [str(row["call_id"]) for row in self._rows(query, job_id)]

    def _select(self, query: str, *values: Any) -> list[Job]:
        return [job_from_row(row) for row in self._rows(query, *values)]

    def _rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        with self.reading() as db:
            return [] if db is None else db.execute(query, values).fetchall()

    # The file

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._opened() as db:
            db.execute("BEGIN IMMEDIATE")
            yield db
            db.execute("COMMIT")

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection | None]:
        """The database to read from; None where there is no file, which is not made."""
        if not is_there(self._path):
            yield None
            return
        with self._opened() as db:
            yield db

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            db = self._open()
            try:
                yield db
            finally:
                db.close()
        except (OSError, sqlite3.Error) as error:
            raise schema.unusable(self._path, error) from error

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # Created here, because SQLite would make it readable by everyone.
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        db = sqlite3.connect(self._path, timeout=_BUSY_S, isolation_level=None)
        try:
            db.row_factory = sqlite3.Row
            schema.prepare(db)
        except BaseException:
            db.close()
            raise
        return db
