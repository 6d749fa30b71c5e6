"""Atomic writes, and the errors of a file that cannot be written."""

import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from multitalk_cli.errors import FileError
from multitalk_cli.files import (
    check_creatable,
    move_into_place,
    partial_file,
    write_atomically,
    write_error,
)


@pytest.fixture
def target(tmp_path):
    return tmp_path / "talk.mp4"


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_it_is_complete(target):
    with partial_file(target, overwrite=False) as part:
        part.write_bytes(b"first half, ")
        assert not target.exists()
        with part.open("ab") as file:
            file.write(b"second half")

    assert target.read_bytes() == b"first half, second half"
    assert names_in(target.parent) == ["talk.mp4"]


@pytest.mark.parametrize("end", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_block_that_fails_leaves_the_old_file_and_no_partial_one(target, end):
    target.write_bytes(b"old")

    with pytest.raises(end), partial_file(target, overwrite=True) as part:
        part.write_bytes(b"new")
        raise end

    assert target.read_bytes() == b"old"
    assert names_in(target.parent) == ["talk.mp4"]


@pytest.mark.parametrize("durable", [False, True])
def test_an_existing_file_is_replaced_only_with_overwrite(target, durable):
    target.write_bytes(b"old")

    with pytest.raises(FileError, match=r"talk\.mp4 exists") as refused:
        write_atomically(target, b"new", overwrite=False, durable=durable)
    assert (refused.value.code, target.read_bytes()) == ("E_OUTPUT_EXISTS", b"old")

    write_atomically(target, b"new", durable=durable)
    assert target.read_bytes() == b"new"
    assert names_in(target.parent) == ["talk.mp4"]


def test_a_file_that_appears_meanwhile_is_not_replaced(target):
    with (
        pytest.raises(FileError) as refused,
        partial_file(target, overwrite=False) as part,
    ):
        part.write_bytes(b"ours")
        target.write_bytes(b"theirs")

    assert refused.value.code == "E_OUTPUT_EXISTS"
    assert target.read_bytes() == b"theirs"


@pytest.mark.parametrize("is_taken", [False, True])
def test_a_file_system_without_links_keeps_the_rule(target, monkeypatch, is_taken):
    def refuse(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    if is_taken:
        target.write_bytes(b"old")
        with pytest.raises(FileError, match="exists"):
            write_atomically(target, b"new", overwrite=False)
    else:
        write_atomically(target, b"new", overwrite=False)
    assert target.read_bytes() == (b"old" if is_taken else b"new")


def test_what_a_killed_process_left_is_replaced_without_following_a_link(target, tmp_path):
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    left = tmp_path / f"talk.mp4.{threading.get_native_id()}.part"
    left.symlink_to(victim)

    write_atomically(target, b"new")

    assert (target.read_bytes(), victim.read_bytes()) == (b"new", b"precious")
    assert names_in(tmp_path) == ["talk.mp4", "victim"]


def test_threads_write_to_the_same_file_without_mixing(target):
    contents = [bytes([number]) * 200_000 for number in range(8)]
    threads = [threading.Thread(target=write_atomically, args=(target, c)) for c in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert target.read_bytes() in contents
    assert names_in(target.parent) == ["talk.mp4"]


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_the_mode_is_that_of_the_first_byte(target, mode):
    with partial_file(target, overwrite=True, mode=mode) as part:
        assert stat.S_IMODE(part.stat().st_mode) == mode
    assert stat.S_IMODE(target.stat().st_mode) == mode


def test_a_durable_file_is_synchronised_before_it_has_its_name(target, monkeypatch):
    seen = []
    sync = os.fsync

    def watched(handle):
        seen.append((stat.S_ISDIR(os.fstat(handle).st_mode), target.exists()))
        sync(handle)

    monkeypatch.setattr(os, "fsync", watched)
    write_atomically(target, b"paid for", durable=True)
    assert seen == [(False, False), (True, True)]


def test_a_complete_file_stays_where_it_may_not_be_moved(target, tmp_path):
    part = tmp_path / "fetched.part"
    part.write_bytes(b"fetched")
    target.write_bytes(b"old")

    with pytest.raises(FileError, match="exists"):
        move_into_place(part, target, overwrite=False)
    assert part.read_bytes() == b"fetched"

    move_into_place(part, target, overwrite=True)
    assert (target.read_bytes(), part.exists()) == (b"fetched", False)


@pytest.mark.parametrize("write", [lambda path: write_atomically(path, b""), check_creatable])
@pytest.mark.parametrize("name", ["missing/talk.mp4", "file/talk.mp4"])
def test_a_place_that_cannot_be_written_is_named(tmp_path, write, name):
    (tmp_path / "file").write_bytes(b"no folder")

    with pytest.raises(FileError, match=r"talk\.mp4 cannot be written: ") as refused:
        write(tmp_path / name)

    assert refused.value.code == "E_OUTPUT_PATH"
    assert names_in(tmp_path) == ["file"]


def test_checking_a_place_leaves_nothing_there(target):
    target.write_bytes(b"old")
    check_creatable(target)
    assert (names_in(target.parent), target.read_bytes()) == (["talk.mp4"], b"old")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_has_its_own_error(number):
    error = write_error(Path("talk.mp4"), OSError(number, os.strerror(number)))
    assert (error.code, error.message) == ("E_DISK_FULL", "no space left to write talk.mp4")


def test_a_file_that_may_not_be_that_large_is_no_full_disk():
    error = write_error(Path("talk.mp4"), OSError(errno.EFBIG, os.strerror(errno.EFBIG)))
    assert error.code == "E_OUTPUT_PATH"
    assert "larger than files may be here (ulimit -f" in error.message
    assert error.hint == "ulimit -f unlimited"
