"""Runs commands in a child of this process, whose surroundings a test has made unusual."""

import os
import resource
import shutil
import sys
import tempfile
import traceback
import warnings
from contextlib import suppress
from pathlib import Path

from multitalk_cli import files
from multitalk_cli.cli.app import run
from tests.command_line import Ran

STRANGER = 54321
"""A user id without an entry in the list of users."""


def others_can_read(*folders):
    """Whether any user may look into these folders and all above them."""
    reached = {each for folder in folders for each in (Path(folder), *Path(folder).parents)}
    return all(each.stat().st_mode & 0o005 == 0o005 for each in reached)


def run_in(folder, words, change=None):
    """A command in a forked process that `change` prepares; a Ran."""
    (ran,) = run_all_in(folder, [words], change)
    return ran


def run_all_in(folder, commands, change=None):
    """Commands, one after the other in one forked process that `change` prepares; a Ran for each.

    Only the standard streams stay open. They are files in `folder`.
    """
    paths = [folder / name for name in ("out", "err", "ends")]
    with warnings.catch_warnings():
        # Other threads of this process wait, and hold nothing that the child needs.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        _become(folder, commands, paths, change)
    os.waitpid(child, 0)
    out, err, ends = (path.read_bytes() for path in paths)
    rans, first = [], (0, 0)
    for line in ends.decode().splitlines():
        code, *last = map(int, line.split())
        texts = [each[i:j].decode("utf-8", "surrogateescape")
                 for each, i, j in zip((out, err), first, last, strict=True)]  # fmt: skip
        rans.append(Ran(code, *texts))
        first = last
    assert len(rans) == len(commands), err.decode(errors="replace")
    return rans


def _become(folder, commands, paths, change):
    try:
        _open_streams(paths)
        tempfile.tempdir = None
        files._kept_here.clear()
        with suppress(FileNotFoundError):
            os.chdir(folder / "work")
        if change is not None:
            change()
        for name, number in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
            mode = "r" if number == 0 else "w"
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
        for words in commands:
            code = run(words)
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError):
                    stream.flush()
            sizes = [os.fstat(number).st_size for number in (1, 2)]
            os.write(3, f"{code} {sizes[0]} {sizes[1]}\n".encode())
    except BaseException:  # noqa: BLE001 - a child must not run the rest of the tests
        os.write(2, traceback.format_exc().encode())
    finally:
        with suppress(OSError):
            for kept in files._kept_here:
                kept.cleanup()
        os._exit(0)


def _open_streams(paths):
    """Standard streams as files, and one more for the end of each command; all else is closed."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    opened = [os.open(os.devnull, os.O_RDONLY), *(os.open(path, flags, 0o666) for path in paths)]
    for number, each in enumerate([os.dup(each) for each in opened]):
        os.dup2(each, number)
    os.closerange(4, 4096)


# Changes


def without_home():
    """A user whom no list knows, without HOME, as in a container that was given a user id."""
    for name in [name for name in os.environ if name == "HOME" or name.startswith("XDG_")]:
        del os.environ[name]
    os.setgroups([])
    os.setresgid(STRANGER, STRANGER, STRANGER)
    os.setresuid(STRANGER, STRANGER, STRANGER)


def with_root_as_home():
    """The same user with HOME=/, where nothing can be written."""
    without_home()
    os.environ["HOME"] = "/"


def in_no_folder():
    """A current folder that was deleted."""
    os.chdir(tempfile.mkdtemp())
    shutil.rmtree(os.getcwd())  # noqa: PTH109


def limited(kind, count):
    """A limit of the system."""
    return lambda: resource.setrlimit(kind, (count, count))


def with_variables(**values):
    """Variables, or None for one that is absent."""

    def change():
        for name, value in values.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value

    return change


def with_stream(number, path, flags=os.O_WRONLY):
    """A standard stream to another file; path: None for a closed one."""

    def change():
        os.close(number)
        opened = os.open(os.devnull if path is None else path, flags)
        os.dup2(opened, number)

    return change


def with_umask(mask):
    """A mask for new files."""
    return lambda: os.umask(mask) and None


def at_time(seconds):
    """A clock that is wrong."""

    def change():
        import time

        time.time = lambda: float(seconds)
        time.time_ns = lambda: int(seconds * 1e9)

    return change
