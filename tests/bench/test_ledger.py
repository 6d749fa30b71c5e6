"""How quickly a list of ten thousand jobs is read. Prints a table; no check but of the answers.

Run with: make bench
"""

import json
import random
import sqlite3
import statistics
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from multitalk_cli.jobs import ledger as jobs_ledger
from multitalk_cli.jobs import search as jobs_search
from multitalk_cli.jobs.experience import experience_of
from multitalk_cli.jobs.ledger import KnownInput, Ledger
from multitalk_cli.jobs.search import JobQuery
from tests.end_to_end.paid import FOLDER

pytestmark = pytest.mark.bench

JOBS, RUNS, SEED, DAY_S = 10_000, 11, 7, 86_400.0
STATES = ("done",) * 16 + ("failed", "cancelled", "lost", "expired")


def fill(path: Path, count: int) -> Ledger:
    """A ledger of so many jobs of a year; each has the texts of one that a version was paid for."""
    with closing(sqlite3.connect(FOLDER / "jobs.sqlite3")) as db:
        recipe, result = db.execute("SELECT recipe, result FROM jobs WHERE result <> ''").fetchone()
    ledger, chance, now_s = Ledger(path), random.Random(SEED), time.time()
    request = json.dumps(
        {"image": "/home/ann/host.png", "settings": {"gpu": "auto", "x": "y" * 900}}
    )
    first, _ = ledger.start(
        jobs_ledger.Job(
            id="0" * 16, fingerprint="0", app="multitalk", environment="", stack="current",
            gpu="h100", seed=0, target="", label="", recipe=recipe, result=result, request=request,
        )
    )  # fmt: skip
    with closing(sqlite3.connect(path)) as db, db:
        for number in range(1, count):
            words = " ".join(chance.choices(("a", "woman", "news", "speaks", "studio"), k=30))
            created_s = now_s - 365 * DAY_S * (count - number) / count
            job = replace(
                first, id=f"{chance.getrandbits(64):016x}", fingerprint=f"{number}",
                target=f"/home/ann/videos/{number}.mp4", label=f"monday-{number}",
                state=chance.choice(STATES), price_usd=0.4, gpu_seconds=300.0, prompt=words,
                created_s=created_s, updated_s=created_s, ended_s=created_s + 300,
                fetched_s=created_s + 301,
            )  # fmt: skip
            row = {column: getattr(job, name) for name, column in jobs_ledger._COLUMNS.items()}
            marks = ", ".join("?" * len(row))
            db.execute(f"INSERT INTO jobs ({', '.join(row)}) VALUES ({marks})", (*row.values(),))
            for position, name in enumerate(("host.png", f"{number}.wav")):
                known = KnownInput(sha256=f"{number}-{position}", location=f"/home/ann/in/{name}")
                values = (job.id, position, known.sha256, known.location)
                db.execute("INSERT INTO job_inputs VALUES (?, ?, ?, ?)", values)
    return ledger


def test_ten_thousand_jobs(tmp_path):
    ledger = fill(tmp_path / "jobs.sqlite3", JOBS)
    newest = ledger.newest(1)[0]
    since_s = time.time() - 30 * DAY_S
    asked = {
        "jobs ls": (lambda: jobs_search.search(ledger, JobQuery(), 20), 20),
        "jobs ls --all": (lambda: jobs_search.search(ledger, JobQuery()), JOBS),
        "jobs ls --state failed": (
            lambda: jobs_search.search(ledger, JobQuery(states=("failed",)), 20), 20,
        ),
        "jobs ls --search, 20 found": (
            lambda: jobs_search.search(ledger, JobQuery(text="MONDAY"), 20), 20,
        ),
        "jobs ls --search, one found": (
            lambda: jobs_search.search(ledger, JobQuery(text="monday-7777"), 20), 1,
        ),
        "jobs ls --search, none found": (
            lambda: jobs_search.search(ledger, JobQuery(text="tuesday"), 20), 0,
        ),
        "jobs ls --search --since 30d": (
            lambda: jobs_search.search(ledger, JobQuery(text="tuesday", since_s=since_s), 20), 0,
        ),
        "jobs ls --total": (lambda: [jobs_search.total(ledger, JobQuery())], 1),
        "jobs ls --total --search": (
            lambda: [jobs_search.total(ledger, JobQuery(text="monday"))], 1,
        ),
        "jobs ls --total --state done": (
            lambda: [jobs_search.total(ledger, JobQuery(states=("done",)))], 1,
        ),
        **{
            f"jobs cost --by {by}": (lambda by=by: jobs_search.spending(ledger, 0.0, by)[:1], 1)
            for by in ("day", "gpu", "preset", "kind")
        },
        "jobs cost --since 30d": (lambda: jobs_search.spending(ledger, since_s, "day")[:1], 1),
        "jobs show ID": (lambda: [ledger.find(newest.id[:6])], 1),
        "jobs rerun --failed": (lambda: ledger.failed()[:1], 1),
        "estimates": (lambda: experience_of(ledger.finished("multitalk", "", 200)).ratios, 1),
    }  # fmt: skip
    print(
        f"\n{JOBS:,} jobs, {(tmp_path / 'jobs.sqlite3').stat().st_size / 1e6:.0f} MB, seed {SEED}"
    )
    print(f"{'what':<34}{'min':>9}{'median':>9}{'max':>9}   ms")
    for what, (ask, count) in asked.items():
        seconds = []
        for _ in range(RUNS):
            began_s = time.process_time()
            found = ask()
            seconds.append(1000 * (time.process_time() - began_s))
        assert len(found) == count, what
        figures = (min(seconds), statistics.median(seconds), max(seconds))
        print(f"{what:<34}" + "".join(f"{figure:>9.1f}" for figure in figures))
