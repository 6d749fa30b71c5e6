"""Where finished pieces are kept: whole or not at all, and nowhere else."""

import errno
import os
import shutil
import time

import pytest

from multitalk_cli.errors import FileError
from remote.service.store import VIDEO, DirectoryStore

JOB = "abcd1234"


@pytest.fixture
def piece(tmp_path):
    path = tmp_path / "piece"
    path.write_bytes(b"content")
    return path


def test_pieces_come_back(store, piece):
    store.save(JOB, {"a.mp4": piece})
    assert store.load(JOB, "a.mp4").read_bytes() == b"content"
    assert piece.is_file()
    assert store.load(JOB, "b.mp4") is None
    assert store.load("other123", "a.mp4") is None


def test_outdated_pieces_go_once_the_new_ones_are_there(store, piece):
    store.save(JOB, {"old": piece})
    with pytest.raises(FileError):
        store.save(JOB, {"new": piece.with_name("absent")}, ["old"])
    assert store.load(JOB, "old") is not None
    store.save(JOB, {"new": piece}, ["old", "never-there"])
    assert store.load(JOB, "old") is None


def test_a_piece_that_cannot_be_copied_leaves_the_old_one(store, piece, monkeypatch):
    store.save(JOB, {"a": piece})
    piece.write_bytes(b"newer")

    def copy(_source, part):
        part.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", copy)
    with pytest.raises(FileError, match="no space left"):
        store.save(JOB, {"a": piece})
    path = store.load(JOB, "a")
    assert path.read_bytes() == b"content"
    assert [each.name for each in path.parent.iterdir()] == ["a"]


@pytest.mark.parametrize("job_id", ["../../etc", "a/b/c/d/e", "", "..", "ABCDEFGH", "x" * 33])
def test_what_is_no_job_id_is_refused(store, piece, job_id):
    for call in (
        lambda: store.save(job_id, {"a": piece}),
        lambda: store.load(job_id, "a"),
        lambda: store.publish(job_id, piece),
        lambda: store.delete(job_id),
    ):
        with pytest.raises(ValueError, match="not a job id"):
            call()


@pytest.mark.parametrize("name", ["../a", "a/b", "", ".hidden", "A", "a" * 65])
def test_what_is_no_name_of_a_piece_is_refused(store, piece, name):
    with pytest.raises(ValueError, match="not a name of a piece"):
        store.save(JOB, {name: piece})


def test_publishing_keeps_the_video(store, piece):
    store.publish(JOB, piece)
    assert store.load(JOB, VIDEO).read_bytes() == b"content"


def test_a_deleted_job_is_gone(store, piece):
    store.save(JOB, {"a": piece})
    store.delete(JOB)
    store.delete(JOB)
    assert store.load(JOB, "a") is None


def test_old_jobs_are_forgotten(tmp_path, piece):
    store = DirectoryStore(tmp_path)
    store.delete_older(1, is_running=bool)
    for job in (JOB, "newer123"):
        store.save(job, {"a": piece})
    (tmp_path / "not a job").mkdir()
    past = time.time() - 3600
    for name in (JOB, "not a job"):
        os.utime(tmp_path / name, (past, past))
    store.delete_older(600, lambda job: job == JOB)
    assert store.load(JOB, "a") is not None
    store.delete_older(600, lambda _: False)
    assert store.load(JOB, "a") is None
    assert store.load("newer123", "a") is not None
    assert (tmp_path / "not a job").is_dir()
