"""The lock of a job's next call: one process has it, and it dies with its process."""

import subprocess
import sys
import threading

import pytest

from multitalk_cli.errors import FileError
from multitalk_cli.jobs.spawning import spawn_lock

JOB = "a" * 16


def test_one_has_the_lock_and_no_file_is_left(tmp_path):
    with spawn_lock(tmp_path, JOB) as is_mine:
        with spawn_lock(tmp_path, JOB, waits=False) as is_ours:
            assert (is_mine, is_ours) == (True, False)
        with spawn_lock(tmp_path, "b" * 16, waits=False) as is_free:
            assert is_free
    assert not list(tmp_path.iterdir())


def test_who_waits_gets_a_file_of_its_own(tmp_path):
    waiting, seen = threading.Event(), []

    def wait():
        waiting.set()
        with spawn_lock(tmp_path, JOB) as is_mine:
            seen.append(is_mine)
            with spawn_lock(tmp_path, JOB, waits=False) as is_ours:
                seen.append(is_ours)

    threads = [threading.Thread(target=wait) for _ in range(3)]
    with spawn_lock(tmp_path, JOB):
        for thread in threads:
            thread.start()
        waiting.wait()
        assert seen == []
    for thread in threads:
        thread.join()

    assert seen == [True, False] * 3


def test_the_lock_of_a_process_that_was_killed_is_free(tmp_path):
    code = (
        "import os, sys; from pathlib import Path;"
        "from multitalk_cli.jobs.spawning import spawn_lock;"
        "lock = spawn_lock(Path(sys.argv[1]), sys.argv[2]); lock.__enter__();"
        "os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path), JOB], check=False)

    assert killed.returncode == -9
    assert [path.name for path in tmp_path.iterdir()] == [f"{JOB}.lock"]
    with spawn_lock(tmp_path, JOB, waits=False) as is_mine:
        assert is_mine


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()

    with (
        pytest.raises(FileError, match=r"a{16}\.lock cannot be used") as caught,
        spawn_lock(tmp_path / "file", JOB),
    ):
        pass
    assert caught.value.code == "E_LEDGER"
