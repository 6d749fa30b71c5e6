"""Jobs found by state, age and text, and their money added up."""

import itertools
import json
import sqlite3
import time
from contextlib import closing
from datetime import datetime

import pytest

from multitalk_cli import contract
from multitalk_cli.jobs import ledger as jobs_ledger
from multitalk_cli.jobs import search as jobs_search
from multitalk_cli.jobs import states
from multitalk_cli.jobs.ledger import KnownInput, Ledger
from multitalk_cli.jobs.search import JobQuery, search, spending, total
from tests.jobs.test_ledger import TracedLedger, job_of

DAY_S = 86_400.0
NOON_S = datetime(2026, 11, 20, 12).timestamp()


@pytest.fixture
def ledger(tmp_path):
    """Four calls, two days, three kinds."""
    ledger = Ledger(tmp_path / "jobs.sqlite3")
    recipe = json.dumps({"size": [896, 448], "sample_steps": 20})
    voice = KnownInput(sha256="1" * 64, location="/voices/Äpfel.wav")
    rows = (
        ("a", {"recipe": recipe, "label": "talk"}, {"state": "done", "price_usd": 0.5,
         "gpu_seconds": 400.0, "result": '{"gpu": "h200"}', "fetched_s": 1.0}),
        ("b", {"recipe": recipe, "prompt": "Ein Mann SPRICHT"}, {"state": "cancelled",
         "price_usd": 0.25, "gpu_seconds": 200.0}),
        ("c", {"kind": "download", "gpu": ""}, {"state": "done", "price_usd": 0.03}),
        ("d", {"kind": "doctor", "label": "Straße klingt \udcff"}, {"state": "failed",
         "error": "E_TIMEOUT"}),
    )  # fmt: skip
    for number, (name, values, changes) in enumerate(rows):
        ledger.start(job_of(name * 8, name, **values), inputs=[voice] if name == "a" else ())
        ledger.update(name * 8, **changes)
        with closing(sqlite3.connect(tmp_path / "jobs.sqlite3")) as db, db:
            created_s = NOON_S + DAY_S * (number // 2) + number
            db.execute("UPDATE jobs SET created_s = ? WHERE id = ?", (created_s, name * 8))
    return ledger


def ids(ledger, **filters):
    return "".join(job.id[0] for job in search(ledger, JobQuery(**filters)))


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({}, "dcba"),
        ({"since_s": NOON_S + DAY_S}, "dc"),
        ({"states": ("failed", "cancelled")}, "db"),
        ({"states": ("file-missing",)}, "a"),
        ({"states": ("done",)}, "ca"),
        ({"states": ("running",)}, ""),
        ({"text": "äPFEL"}, "a"),
        ({"text": "spricht"}, "b"),
        ({"text": "e_timeout"}, "d"),
        ({"text": "downl"}, "c"),
        ({"text": "/cccc"}, "c"),
        ({"text": "%"}, ""),
        ({"text": "_aaaa"}, ""),
        ({"text": "STRASSE"}, "d"),
        ({"text": "\N{KELVIN SIGN}lingt"}, "d"),
        ({"text": "talk", "states": ("failed",)}, ""),
    ],
)
def test_filters(ledger, filters, found):
    assert ids(ledger, **filters) == found


def test_the_newest_of_many_are_enough(ledger):
    assert [job.id[0] for job in search(ledger, JobQuery(), 2)] == ["d", "c"]


def test_each_state_is_found_in_sql_as_it_is_told_in_python(tmp_path):
    old_s = time.time() - contract.JOBS_KEPT_S - 60
    (tmp_path / "here.mp4").touch()
    ledger = Ledger(tmp_path / "jobs.sqlite3")
    kinds = itertools.product(
        (*jobs_ledger.ENDED, "spawning", "running", "expired"), ("generate", "bench"),
        ("", "s3://b/v.mp4", str(tmp_path / "here.mp4"), str(tmp_path / "gone\udcff.mp4")),
        (None, 5.0), (None, 5.0), (None, old_s, old_s + 3600),
    )  # fmt: skip
    with ledger._transaction() as db:
        for number, (state, kind, target, started_s, fetched_s, ended_s) in enumerate(kinds):
            times = {"started_s": started_s, "fetched_s": fetched_s, "ended_s": ended_s}
            job = job_of(f"{number:08}", kind=kind, state=state, **{**times, "target": target})
            ledger._add(db, job, ())
        db.execute("UPDATE jobs SET updated_s = ? WHERE ended_s IS NULL AND rowid % 2", (old_s,))

    jobs = ledger.newest()
    assert {states.state_of(job) for job in jobs} == set(states.STATES)
    for wanted in (*itertools.combinations(states.STATES, 1), ("expired", "queued")):
        expected = [job for job in jobs if any(states.has_state(job, each) for each in wanted)]
        assert search(ledger, JobQuery(states=wanted)) == expected, wanted
        assert total(ledger, JobQuery(states=wanted)) == jobs_search.total_of(expected), wanted


def test_a_total_counts_every_kind_and_names_what_is_unknown(ledger):
    found = total(ledger, JobQuery())

    assert (found.jobs, found.unknown) == (4, 1)
    assert found.price_usd == pytest.approx(0.78)
    assert found.gpu_seconds == 600.0
    assert total(ledger, JobQuery(states=("done",))).price_usd == pytest.approx(0.53)
    assert total(ledger, JobQuery(text="spricht")).price_usd == 0.25
    assert jobs_search.total_of(ledger.newest()) == found


@pytest.mark.parametrize(
    ("by", "rows"),
    [
        ("day", [("2026-11-20", 0.75), ("2026-11-21", 0.03)]),
        ("gpu", [("h200", 0.5), ("h100", 0.25), ("no GPU", 0.03)]),
        ("kind", [("generate", 0.75), ("download", 0.03), ("doctor", 0.0)]),
        ("preset", [("896x448, 20 steps", 0.75), ("download", 0.03), ("doctor", 0.0)]),
    ],
)
def test_money_is_divided(ledger, by, rows):
    found = spending(ledger, 0.0, by)

    assert [(each.name, round(each.total.price_usd, 4)) for each in found] == rows
    assert sum(each.total.jobs for each in found) == 4


def test_money_of_a_while_and_of_an_absent_ledger(ledger, tmp_path):
    assert [each.name for each in spending(ledger, NOON_S + DAY_S, "day")] == ["2026-11-21"]
    absent = Ledger(tmp_path / "none" / "jobs.sqlite3")
    assert (spending(absent, 0.0, "day"), search(absent, JobQuery())) == ([], [])
    assert total(absent, JobQuery()).jobs == 0


def test_lists_are_read_along_an_index(tmp_path):
    ledger = TracedLedger(tmp_path / "jobs.sqlite3")
    ledger.start(job_of("a" * 8))
    ledger.statements.clear()
    search(ledger, JobQuery(), 20)
    search(ledger, JobQuery(states=("failed",), since_s=1.0), 20)
    search(ledger, JobQuery(text="x"), 20)
    total(ledger, JobQuery(text="x", states=("done",)))
    for by in ("day", "preset", "gpu"):
        spending(ledger, 1.0, by)

    queries = [text for text in ledger.statements if text.startswith("SELECT") and "jobs" in text]
    assert len(queries) >= 7
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite3")) as db:
        db.create_function("folded", 1, str)
        db.create_function("is_here", 1, bool)
        for query in queries:
            plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {query}")]
            assert not [step for step in plan if "jobs" in step.split() and "INDEX" not in step]
            # The long texts of rows are read of those alone that are listed.
            is_list = "SELECT * " in query
            assert is_list or not [s for s in plan if "jobs" in s.split() and "COVER" not in s]
            # Sums are sorted, lists are not: only the newest rows are read.
            assert "GROUP BY" in query or not [step for step in plan if "ORDER BY" in step]


def test_a_job_that_runs_has_no_unknown_price(ledger):
    ledger.start(job_of("e" * 8, "e"))
    ledger.update("e" * 8, state=jobs_ledger.RUNNING)

    assert total(ledger, JobQuery()).unknown == 1
