"""The list of jobs on a terminal: every state, long names, and money that adds up."""

import json
import sqlite3
import sys
from contextlib import closing
from datetime import UTC, datetime

import pytest

from multitalk_cli.jobs import ledger as jobs_ledger
from multitalk_cli.jobs.ledger import Job, KnownInput, Ledger
from tests.terminal.program import ROOT, Program, assert_orderly, colourful
from tests.terminal.screens import assert_kept, settled

START_S = datetime(2025, 11, 20, 14, 2, tzinfo=UTC).timestamp()
DAY_S = 86_400
RECIPE = {
    "size": [896, 448], "frames": 298, "fps": 24, "windows": [81, 81, 81, 81, 77],
    "sample_steps": 20, "seed_drawn": True,
}  # fmt: skip
RESULT = {"gpu": "h100", "frames": 298, "fps": 24, "size_bytes": 6_100_000, "stored": None}
VOICES = {
    "monday-news": {"state": "done", "price_usd": 0.78, "fetched_s": 1.0},
    "a-rather-long-name-of-a-voice-file": {"state": "done", "price_usd": 0.81, "fetched_s": 1.0},
    "evening": {"state": "expired", "price_usd": 0.5},
    "weather": {"state": "failed", "price_usd": 0.31, "error": "E_OUT_OF_MEMORY",
                "error_text": "CUDA out of memory: tried to allocate 2.0 GiB"},
    "sport": {"state": "cancelled", "price_usd": 0.12},
    "interview": {"state": "lost", "price_usd": 1.92, "error": "E_TIMEOUT",
                  "error_text": "the call reached its time limit"},
}  # fmt: skip
OTHERS = {"bench": 0.22, "download": 0.03, "doctor": None}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home folder with a list of jobs of last year, and one video."""
    home = tmp_path_factory.mktemp("jobs")
    ledger = Ledger(home / "state" / "multitalk" / "jobs.sqlite3")
    (home / "work").mkdir()
    (home / "work" / "monday-news.mp4").touch()
    texts = {"app": "multitalk", "environment": "", "stack": "current", "gpu": "h100"}
    for number, (name, changes) in enumerate(VOICES.items()):
        job = Job(
            id=f"{number + 10:x}" * 8 + "0" * 8, fingerprint=name, seed=48_213, label=name,
            target=str(home / "work" / f"{name}.mp4"), recipe=json.dumps(RECIPE),
            prompt="A woman presents the news from a bright studio", **texts,
        )  # fmt: skip
        inputs = ("host-portrait.jpg", f"{name}.wav")
        places = [KnownInput(sha256=each, location=f"/data/{each}") for each in inputs]
        ledger.start(job, inputs=places)
        result = json.dumps(RESULT) if changes["state"] in ("done", "expired") else ""
        ledger.update(job.id, result=result, call_id=f"fc-{name[:4]}", **changes)
        set_times(ledger, job.id, START_S + number * DAY_S)
    for number, (kind, price) in enumerate(OTHERS.items()):
        job = Job(id=f"{number}" * 16, fingerprint="", seed=0, label=kind, target="", recipe="",
                  kind=kind, **texts)  # fmt: skip
        ledger.add(job)
        ledger.update(job.id, state=jobs_ledger.DONE, price_usd=price)
        set_times(ledger, job.id, START_S + (number + 6) * DAY_S)
    return home


def set_times(ledger, job_id, start_s):
    times = (start_s, start_s + 60, start_s + 761, 700.0, job_id)
    with closing(sqlite3.connect(ledger.folder / "jobs.sqlite3")) as db, db:
        db.execute(
            "UPDATE jobs SET created_s = ?, started_s = ?, ended_s = ?, gpu_seconds = ?"
            " WHERE id = ?",
            times,
        )


@pytest.mark.parametrize(
    ("name", "words", "columns"),
    [
        ("jobs-ls", ("ls", "--total"), 80),
        ("jobs-ls-100", ("ls",), 100),
        ("jobs-show", ("show", "dddd"), 80),
        ("jobs-cost", ("cost", "--since", "2025-01-01", "--by", "kind"), 80),
    ],
)
def test_a_screen(home, name, words, columns):
    env = {**colourful({"HOME": str(home), "XDG_STATE_HOME": str(home / "state")}), "TZ": "UTC"}
    argv = [sys.executable, "-m", "multitalk_cli", "jobs", *words]
    program = Program(argv, env | {"PYTHONPATH": str(ROOT)}, columns=columns, cwd=home / "work")

    program.end()

    assert program.code == 0, program.lines
    assert_orderly(program)
    assert_kept(name, settled(program.screen.lines, home, has_figures=True))
