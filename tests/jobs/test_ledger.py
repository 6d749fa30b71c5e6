"""The ledger of jobs: nothing is paid for twice, and processes do not disturb one another."""

import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from multitalk_cli.errors import FileError, UsageError
from multitalk_cli.jobs import ledger as jobs_ledger
from multitalk_cli.jobs.ledger import Job, KnownInput, Ledger
from multitalk_cli.jobs.search import spending
from tests.end_to_end import paid


def job_of(job_id, fingerprint="f", **more):
    fixed = {"app": "multitalk", "environment": "", "stack": "current", "gpu": "h100", "seed": 0}
    texts = {"target": f"/{job_id}.mp4", "label": "v", "recipe": "{}"}
    return Job(id=job_id, fingerprint=fingerprint, **{**fixed, **texts, **more})


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "state" / "jobs.sqlite3")


def test_a_job_is_kept_as_it_was_given(ledger):
    started, is_new = ledger.start(job_of("a" * 8))

    assert is_new
    assert ledger.newest() == [started]
    assert (started.seed, started.price_usd, started.state) == (0, None, jobs_ledger.SPAWNING)


def test_the_file_is_readable_by_the_user_alone(tmp_path, ledger):
    before = os.umask(0)
    try:
        ledger.start(job_of("a" * 8))
    finally:
        os.umask(before)

    modes = {path.stat().st_mode for path in (tmp_path / "state").iterdir()}
    assert {stat.S_IMODE(mode) for mode in modes} == {0o600}


@pytest.mark.parametrize("state", [jobs_ledger.SPAWNING, jobs_ledger.RUNNING, jobs_ledger.DONE])
def test_the_same_again_gives_the_first(ledger, state):
    ledger.start(job_of("a" * 8))
    ledger.update("a" * 8, state=state)

    known, is_new = ledger.start(job_of("b" * 8))

    assert (known.id, is_new) == ("a" * 8, False)
    assert len(ledger.newest()) == 1


def test_a_job_is_found_by_any_of_its_names(ledger):
    ledger.start(job_of("a" * 8, "old"))

    known, is_new = ledger.start(job_of("b" * 8, "new"), ("new", "old"))

    assert (known.id, is_new) == ("a" * 8, False)
    assert ledger.find_completed(("new", "old")) is None
    ledger.update("a" * 8, state=jobs_ledger.DONE)
    assert ledger.find_completed(("new", "old")).id == "a" * 8
    assert ledger.find_completed(("new",)) is None


@pytest.mark.parametrize("state", [jobs_ledger.FAILED, jobs_ledger.CANCELLED])
def test_what_ended_badly_is_started_again(ledger, state):
    ledger.start(job_of("a" * 8))
    ledger.update("a" * 8, state=state)

    assert ledger.start(job_of("b" * 8))[1]


def test_an_unfinished_job_comes_before_a_finished_one(ledger):
    ledger.start(job_of("a" * 8))
    ledger.start(job_of("b" * 8), force=True)
    ledger.update("b" * 8, state=jobs_ledger.DONE)

    assert ledger.start(job_of("c" * 8))[0].id == "a" * 8


@pytest.mark.parametrize("other", [{"fingerprint": "g"}, {"app": "x"}, {"environment": "x"}])
def test_something_else_is_another_job(ledger, other):
    ledger.start(job_of("a" * 8))

    assert ledger.start(replace(job_of("b" * 8), **other))[1]


def test_the_newest_is_listed_first(ledger):
    for name in "abc":
        ledger.start(job_of(name * 8, name))

    assert [job.id[0] for job in ledger.newest()] == ["c", "b", "a"]
    assert [job.id[0] for job in ledger.newest(1)] == ["c"]


def test_a_job_is_found_by_the_beginning_of_its_id(ledger):
    ledger.start(job_of("abcd1111", "1"))
    ledger.start(job_of("abce2222", "2"))

    assert ledger.find("abcd").id == "abcd1111"
    assert ledger.find("x") is None
    assert ledger.find("") is None
    with pytest.raises(UsageError, match="abce2222, abcd1111"):
        ledger.find("abc")


def test_the_name_of_a_file_need_not_be_utf_8(ledger):
    label = os.fsdecode(b"v\xe9")
    job = replace(job_of("a" * 8), target=f"/{label}.mp4", label=label)

    started, _ = ledger.start(job)
    assert (ledger.find(job.id), started.label) == (started, label)

    ledger.update(job.id, target=f"/new/{label}.mp4")
    assert ledger.find(job.id).target == f"/new/{label}.mp4"


def test_an_absent_ledger_is_an_empty_one_and_is_not_made(ledger, tmp_path):
    assert ledger.newest() == []
    assert not (tmp_path / "state").exists()


def test_a_broken_file_is_named(tmp_path):
    path = tmp_path / "jobs.sqlite3"
    path.write_bytes(b"no database at all, but long enough to be looked at" * 100)

    with pytest.raises(FileError, match=r"jobs\.sqlite3 cannot be used") as caught:
        Ledger(path).newest()
    assert caught.value.code == "E_LEDGER"
    assert caught.value.facts == {"damaged": str(path)}


def test_a_newer_format_is_left_alone(tmp_path, ledger):
    ledger.start(job_of("a" * 8))
    path = tmp_path / "state" / "jobs.sqlite3"
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()

    with pytest.raises(FileError, match="newer multitalk") as caught:
        ledger.newest()
    assert caught.value.facts == {"is_newer": True}


def test_an_attempt_is_kept_in_the_column_that_older_versions_read(ledger, tmp_path):
    ledger.start(job_of("a" * 8))
    ledger.update("a" * 8, attempt=2)

    assert ledger.find("a" * 8).attempt == 2
    with closing(sqlite3.connect(tmp_path / "state" / "jobs.sqlite3")) as db:
        assert db.execute("SELECT link FROM jobs").fetchall() == [(2,)]


PICTURE, VOICE = (
    KnownInput(sha256="1" * 64, location="/a/host.png"),
    KnownInput(sha256="2" * 64, location="s3://bucket/in/voice.wav"),
)


def test_inputs_are_found_by_their_content(ledger):
    ledger.start(job_of("a" * 8), inputs=(PICTURE, VOICE))
    moved = replace(PICTURE, location=os.fsdecode(b"/b/h\xe9.png"))
    ledger.remember_inputs([moved])

    assert ledger.inputs_of("a" * 8) == [PICTURE, VOICE]
    assert [each.name for each in ledger.inputs_of("a" * 8)] == ["host.png", "voice.wav"]
    assert ledger.find_inputs(PICTURE.sha256) == [moved, PICTURE]
    assert ledger.find_inputs("3" * 64) == []


def test_all_calls_of_a_job_are_kept(ledger):
    ledger.start(job_of("a" * 8))
    for attempt, call_id in enumerate(["fc-1", "fc-2", "fc-2"]):
        ledger.update("a" * 8, call_id=call_id, attempt=attempt)

    assert ledger.calls_of("a" * 8) == ["fc-1", "fc-2"]
    assert ledger.calls_of("b" * 8) == []


def test_the_end_of_a_job_has_a_time(ledger):
    ledger.start(job_of("a" * 8))
    assert ledger.get("a" * 8).ended_s is None

    ledger.update("a" * 8, state=jobs_ledger.FAILED)
    assert ledger.get("a" * 8).ended_s >= ledger.get("a" * 8).created_s
    ledger.update("a" * 8, state=jobs_ledger.DONE, ended_s=5.0)
    assert ledger.get("a" * 8).ended_s == 5.0


def test_a_lost_job_is_resumed_by_one_command(ledger):
    lost, _ = ledger.start(job_of("a" * 8))
    ledger.update(lost.id, state=jobs_ledger.LOST, call_id="fc-1", error="E_START")
    lost = ledger.get(lost.id)

    first, second = (ledger.resume(lost, gpu=gpu) for gpu in ("h200", "b200"))

    assert (first.attempt, first.state, first.gpu) == (1, jobs_ledger.SPAWNING, "h200")
    assert second is None
    kept = ledger.get(lost.id)
    assert (kept.attempt, kept.call_id, kept.gpu, kept.error) == (1, "", "h200", "")


def test_removed_jobs_leave_the_places_of_their_inputs(ledger):
    ledger.start(job_of("a" * 8), inputs=[PICTURE])
    ledger.update("a" * 8, call_id="fc-1")

    ledger.remove(["a" * 8])

    assert (ledger.newest(), ledger.inputs_of("a" * 8), ledger.calls_of("a" * 8)) == ([], [], [])
    assert ledger.find_inputs(PICTURE.sha256) == [PICTURE]


# One job an output


@pytest.mark.parametrize(
    "held", [{}, {"state": jobs_ledger.RUNNING}, {"state": jobs_ledger.DONE, "ended_s": None}]
)
def test_a_file_that_a_job_is_to_write_is_refused_to_another(ledger, held):
    ledger.start(job_of("a" * 8, target="/v.mp4"))
    if held:
        ledger.update("a" * 8, **{name: value or time.time() for name, value in held.items()})

    with pytest.raises(FileError, match="is the output of job aaaaaaaa") as caught:
        ledger.start(job_of("b" * 8, "g", target="/v.mp4"))

    assert (caught.value.code, caught.value.exit_code) == ("E_OUTPUT_TAKEN", 3)
    assert [job.id for job in ledger.holders("/v.mp4", {"g"})] == ["a" * 8]
    assert len(ledger.newest()) == 1


@pytest.mark.parametrize(
    "free",
    [
        {"state": jobs_ledger.FAILED},
        {"state": jobs_ledger.CANCELLED},
        {"state": jobs_ledger.LOST},
        {"state": jobs_ledger.DONE, "fetched_s": 1.0},
        {"state": jobs_ledger.DONE, "ended_s": 1.0},
        {"target": ""},
    ],
)
def test_a_file_that_no_job_is_to_write_is_free(ledger, free):
    ledger.start(job_of("a" * 8, target="/v.mp4"))
    ledger.update("a" * 8, **free)

    assert ledger.start(job_of("b" * 8, "g", target="/v.mp4"))[1]


def test_a_file_can_be_taken_from_another_job(ledger):
    ledger.start(job_of("a" * 8, target="/v.mp4"))

    ledger.start(job_of("b" * 8, "g", target="/v.mp4"), take_target=True)

    assert {job.id[0]: job.target for job in ledger.newest()} == {"a": "", "b": "/v.mp4"}


def test_the_same_job_with_another_output_changes_its_target(ledger):
    ledger.start(job_of("a" * 8))
    ledger.start(job_of("b" * 8, "g", target="/taken.mp4"))

    known, _ = ledger.start(job_of("c" * 8, target="/new.mp4"))
    assert (known.id, known.target) == ("a" * 8, "/new.mp4")
    assert ledger.get("a" * 8) == replace(known, updated_s=ledger.get("a" * 8).updated_s)
    with pytest.raises(FileError, match="job bbbbbbbb"):
        ledger.start(job_of("c" * 8, target="/taken.mp4"))


def test_a_video_that_was_fetched_stays_where_it_is(ledger):
    ledger.start(job_of("a" * 8))
    ledger.update("a" * 8, state=jobs_ledger.DONE, fetched_s=1.0)

    known, _ = ledger.start(job_of("b" * 8, target="/copy.mp4"))

    assert (known.target, ledger.get("a" * 8).target) == ("/aaaaaaaa.mp4",) * 2


# Formats


@pytest.fixture
def old_path(tmp_path):
    """A ledger of format 1, as version 0.1.0 wrote it."""
    return Path(shutil.copy(paid.FOLDER / "jobs.sqlite3", tmp_path))


def test_a_ledger_of_format_1_keeps_everything(old_path):
    with closing(sqlite3.connect(old_path)) as db:
        columns = "id, state, target, price_usd, created_s, link, call_id"
        before = db.execute(f"SELECT {columns} FROM jobs ORDER BY created_s DESC").fetchall()

    jobs = Ledger(old_path).newest()

    kept = [
        (job.id, job.state, job.target, job.price_usd, job.created_s, job.attempt, job.call_id)
        for job in jobs
    ]
    assert kept == before
    for job in jobs:
        assert (job.kind, job.is_unfinished) == ("generate", job.state in jobs_ledger.UNFINISHED)
        assert (job.ended_s is None) == (job.state == jobs_ledger.RUNNING)
        assert (job.fetched_s is None) == (job.state != jobs_ledger.DONE)
        assert Ledger(old_path).calls_of(job.id) == [job.call_id]
        recipe = json.loads(job.recipe)
        sums = [each.sha256 for each in Ledger(old_path).inputs_of(job.id)]
        assert sums == [recipe["image_sha256"], *recipe["voices_sha256"]]
    done = next(job for job in jobs if job.label == "prompted")
    assert done.gpu_seconds == json.loads(done.result)["gpu_seconds"] > 0
    assert done.prompt == json.loads(done.recipe).get("prompt", "")


def test_money_of_a_ledger_of_format_4_is_divided_as_before(tmp_path):
    ledger = Ledger(tmp_path / "jobs.sqlite3")
    recipe = '{"size": [64, 32], "sample_steps": 4}'
    for name, request in (("a", '{"settings": {"preset": "fast"}}'), ("b", ""), ("c", "no JSON")):
        ledger.start(job_of(name * 8, name, request=request, recipe=recipe))
    ledger.update("a" * 8, state="done", result='{"gpu": "B200"}')
    expected = [[each.name for each in spending(ledger, 0.0, by)] for by in ("preset", "gpu")]
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite3")) as db:
        db.executescript(
            "DROP INDEX jobs_summed; DROP INDEX jobs_searched; ALTER TABLE jobs DROP COLUMN preset;"
            " ALTER TABLE jobs DROP COLUMN made_on; PRAGMA user_version = 4"
        )

    assert [[each.name for each in spending(ledger, 0.0, by)] for by in ("preset", "gpu")] == (
        expected
    )
    assert expected == [["64x32, 4 steps", "fast"], ["B200", "h100"]]


def test_processes_that_migrate_a_ledger_at_once_agree(old_path):
    code = (
        "import sys; from pathlib import Path; from multitalk_cli.jobs.ledger import Ledger;"
        "sys.stdin.read(1); assert len(Ledger(Path(sys.argv[1])).newest()) == 14"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(old_path)], stdin=subprocess.PIPE)
        for _ in range(4)
    ]
    for process in running:
        process.stdin.close()

    assert [process.wait(60) for process in running] == [0, 0, 0, 0]


def test_a_process_that_is_killed_leaves_a_whole_ledger(tmp_path):
    path = tmp_path / "jobs.sqlite3"
    code = (
        "import os, sys; from pathlib import Path; from tests.jobs.test_ledger import job_of;"
        "from multitalk_cli.jobs.ledger import Ledger; ledger = Ledger(Path(sys.argv[1]));"
        "ledger.start(job_of('a' * 8));"
        "held = ledger._transaction(); held.__enter__().execute('DELETE FROM jobs');"
        "os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(path)], check=False)

    assert killed.returncode == -9
    assert [job.id for job in Ledger(path).newest()] == ["a" * 8]
    assert Ledger(path).start(job_of("b" * 8, "g"))[1]


# Speed


class TracedLedger(Ledger):
    """Keeps every statement that it executes."""

    def __init__(self, path):
        super().__init__(path)
        self.statements = []

    def _open(self):
        db = super()._open()
        db.set_trace_callback(self.statements.append)
        return db


def test_no_query_reads_every_job(tmp_path):
    ledger = TracedLedger(tmp_path / "jobs.sqlite3")
    ledger.start(job_of("a" * 8), ["f", "g"], inputs=[PICTURE])
    ledger.find_same("multitalk", "", {"f", "g"})
    ledger.holders("/v.mp4", {"f"})
    ledger.find_completed({"f"})
    ledger.find("a")
    ledger.get("a" * 8)
    ledger.newest(20)
    ledger.unfinished()
    ledger.finished("multitalk", "", 20)
    ledger.inputs_of("a" * 8)
    ledger.find_inputs(PICTURE.sha256)
    ledger.calls_of("a" * 8)
    ledger.update("a" * 8, state=jobs_ledger.DONE, call_id="fc-1")
    ledger.remove(["a" * 8])

    kinds = ("SELECT", "UPDATE", "DELETE")
    queries = [text for text in ledger.statements if text.startswith(kinds)]
    assert len(queries) > 15
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite3")) as db:
        for query in queries:
            plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {query}")]
            assert not [step for step in plan if step.startswith("SCAN") and "INDEX" not in step]
            is_sorted = "TEMP B-TREE FOR ORDER BY" in " ".join(plan)
            assert not is_sorted or "fingerprint" in query or "LIMIT" not in query, (query, plan)


def test_processes_that_start_the_same_job_at_once_agree_on_one(tmp_path):
    code = (
        "import sys; from pathlib import Path; from tests.jobs.test_ledger import job_of;"
        "from multitalk_cli.jobs.ledger import Ledger;"
        "ledger = Ledger(Path(sys.argv[1])); number = sys.argv[2];"
        "[ledger.start(job_of(f'{number}{n:07}', f'f{n}')) for n in range(20)]"
    )
    path = tmp_path / "jobs.sqlite3"
    command = [sys.executable, "-c", code, str(path)]
    running = [subprocess.Popen([*command, str(number)]) for number in range(4)]

    assert [process.wait(60) for process in running] == [0, 0, 0, 0]
    assert sorted(job.fingerprint for job in Ledger(path).newest()) == sorted(
        f"f{n}" for n in range(20)
    )
