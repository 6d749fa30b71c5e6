"""The ledger of jobs: nothing is paid for twice, and processes do not disturb one another."""

import json
import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from dataclasses import replace

import pytest

from multitalk_cli.errors import FileError, UsageError
from multitalk_cli.jobs import ledger as jobs_ledger
from multitalk_cli.jobs.ledger import Job, Ledger


def job_of(job_id, fingerprint="f", **more):
    fixed = {"app": "multitalk", "environment": "", "stack": "current", "gpu": "h100", "seed": 0}
    texts = {"target": "/v.mp4", "label": "v", "recipe": "{}"}
    return Job(id=job_id, fingerprint=fingerprint, **fixed, **texts, **more)


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "state" / "jobs.sqlite3")


def test_a_job_is_kept_as_it_was_given(ledger):
    started, is_new = ledger.start(job_of("a" * 8))

    assert is_new
    assert ledger.list() == [started]
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
    assert len(ledger.list()) == 1


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

    assert [job.id[0] for job in ledger.list()] == ["c", "b", "a"]
    assert [job.id[0] for job in ledger.list(1)] == ["c"]


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
    assert ledger.list() == []
    assert not (tmp_path / "state").exists()


def test_a_broken_file_is_named(tmp_path):
    path = tmp_path / "jobs.sqlite3"
    path.write_bytes(b"no database at all, but long enough to be looked at" * 100)

    with pytest.raises(FileError, match=r"jobs\.sqlite3 cannot be used") as caught:
        Ledger(path).list()
    assert caught.value.code == "E_LEDGER"


def test_a_newer_format_is_left_alone(tmp_path, ledger):
    ledger.start(job_of("a" * 8))
    path = tmp_path / "state" / "jobs.sqlite3"
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()

    with pytest.raises(FileError, match="newer multitalk"):
        ledger.list()


def test_an_attempt_is_kept_in_the_column_that_older_versions_read(ledger, tmp_path):
    ledger.start(job_of("a" * 8))
    ledger.update("a" * 8, attempt=2)

    assert ledger.find("a" * 8).attempt == 2
    with closing(sqlite3.connect(tmp_path / "state" / "jobs.sqlite3")) as db:
        assert db.execute("SELECT link FROM jobs").fetchall() == [(2,)]


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
    assert sorted(job.fingerprint for job in Ledger(path).list()) == sorted(
        f"f{n}" for n in range(20)
    )


def test_the_starts_of_the_newest_finished_jobs_are_known(ledger):
    starts = [50.0, None, 61.5]
    for number, start_s in enumerate(starts):
        ledger.start(job_of(f"{number}" * 8, f"{number}"))
        ledger.update(
            f"{number}" * 8, state=jobs_ledger.DONE, result=json.dumps({"start_s": start_s})
        )
    ledger.start(job_of("9" * 8, "9"))
    ledger.update("9" * 8, state=jobs_ledger.DONE, result='{"gpu": "h200"}')

    assert ledger.start_seconds("multitalk", "") == [61.5, 50.0]
    assert ledger.start_seconds("other", "") == []
