"""Fixtures shared by every test: the recordings, and an environment without surprises."""

import gc
import itertools
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# Before numpy and torch are imported, and for every child: tests share the cores already.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
# librosa is compiled once in a fresh environment: 10 s instead of 17.
os.environ.setdefault("NUMBA_OPT", "0")
# Children compile our modules once.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Thousands of collected tests stay: looking through them for garbage takes a seventh of the time.
gc.set_threshold(100_000, 20, 100)

from tests.recordings import golden_folder  # noqa: E402

pytest_plugins = [
    "tests.command_line",
    "tests.modal_plane.fixtures",
    "tests.storage.stores",
]

ROOT = Path(__file__).resolve().parent.parent

# `make test-long` looks further.
settings.register_profile("tests", deadline=None, max_examples=25)
settings.register_profile("long", deadline=None, max_examples=200)
settings.load_profile("tests")

# A shell starts background jobs with Ctrl-C and Ctrl-\\ ignored, and every child inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what runs on the control plane, and begins with it: it waits while others compute.

    Slow files come next, so that no process has one left at the end.
    """
    first = {}
    for item in items:
        if "cloud_server" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.cloud)
        if item.get_closest_marker("cloud") is not None:
            first[item.path] = 2
        elif item.get_closest_marker("slow") is not None:
            first.setdefault(item.path, 1)
    items.sort(key=lambda item: -first.get(item.path, 0))


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Recorded tensors of the published model's maths."""
    folder = golden_folder()
    assert folder.is_dir(), f"{folder} is missing"
    return folder


KEPT_VARIABLES = ("MULTITALK_GOLDEN", "MULTITALK_INPUTS")
_numbers = itertools.count()
TERMINAL_VARIABLES = ("CI", "COLUMNS", "FORCE_COLOR", "GITHUB_ACTIONS", "PY_COLORS")


def _move_home(patch: pytest.MonkeyPatch, home: Path) -> None:
    for name in ("CACHE", "CONFIG", "DATA", "STATE"):
        patch.setenv(f"XDG_{name}_HOME", str(home / name.lower()))
    patch.setenv("HOME", str(home))


@pytest.fixture(scope="session", autouse=True)
def _home_of_fixtures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What fixtures of a module or of all tests run leaves nothing in the home of who runs it."""
    with pytest.MonkeyPatch.context() as patch:
        _move_home(patch, tmp_path_factory.getbasetemp() / "home")
        yield


@pytest.fixture(autouse=True)
def _own_surroundings(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """No test sees or changes the settings of whoever runs it, nor how they like their terminal."""
    for name in list(os.environ):
        is_ours = name.startswith("MULTITALK_") and name not in KEPT_VARIABLES
        if is_ours or name.startswith("XDG_") or name in TERMINAL_VARIABLES:
            monkeypatch.delenv(name)
    # Not made: what needs it makes it, and thousands of tests do not.
    _move_home(monkeypatch, tmp_path_factory.getbasetemp() / f"home-{next(_numbers)}")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERMINAL_WIDTH", "100")
