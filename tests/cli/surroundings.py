"""Runs commands in a child of this process, whose surroundings a test has made unusual."""

import os
import resource
import shutil
import sys
import tempfile
import traceback
import warnings
from contextlib import suppress

from multitalk_cli import files
from multitalk_cli.cli.app import run
from tests.command_line import Ran

STRANGER = 54321
"""A user id without an entry in the list of users."""


def run_in(folder, words, change=None):
    """A command in a forked process that `change` prepares; a Ran.

    Only the standard streams stay open. Its streams are files in `folder`.
    """
    out, err = folder / "out", folder / "err"
    with warnings.catch_warnings():
        # Other threads of this process wait, and hold nothing that the child needs.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        _become(folder, words, out, err, change)
    _, status = os.waitpid(child, 0)
    texts = [path.read_bytes().decode("utf-8", "surrogateescape") for path in (out, err)]
    return Ran(os.waitstatus_to_exitcode(status), *texts)


def _become(folder, words, out, err, change):
    code = 99
    try:
        for number, path in ((0, os.devnull), (1, out), (2, err)):
            flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            opened = os.open(path, flags, 0o666)
            os.dup2(opened, number)
            os.close(opened)
        os.closerange(3, 4096)
        tempfile.tempdir = None
        files._kept_here.clear()
        with suppress(FileNotFoundError):
            os.chdir(folder / "work")
        if change is not None:
            change()
        for name, number in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
            mode = "r" if number == 0 else "w"
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
        code = run(words)
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):
                stream.flush()
    except BaseException:  # noqa: BLE001 - a child must not run the rest of the tests
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


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
