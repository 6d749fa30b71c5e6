"""The pinned packages of every image: that they exist, fit together, and that none is missing."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from remote.deployment import image, pins
from tests.waiting import HANG_S

# Oldest to newest of the C library that each base has: Debian 12 and Ubuntu 22.04.
NEWEST_GLIBC = {"current": 36, "proof": 36, "cuda12.1": 35}
# Compiled in its layer, against the torch below it: nothing here can do that.
COMPILED = {pins.CUDA121_FLASH}
# pip's messages about a server that does not answer.
OUT_OF_REACH = "after connection broken by"


@dataclass(frozen=True)
class Resolved:
    """What pip would install for a stack: `name==version` of each."""

    code: int
    errors: str
    packages: set[str]


def _dry_run(stack, report):
    """The resolver's command for an image of that stack, whatever this machine is.

    Wheels are not downloaded: an index that serves no metadata is read by range requests.
    """
    tags = [f"manylinux_2_{minor}_x86_64" for minor in range(5, NEWEST_GLIBC[stack] + 1)]
    tags += ["manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64"]
    wanted = [pin for layer in image.STACKS[stack].layers for pin in layer.pins]
    return [
        sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet",
        "--no-cache-dir", "--use-feature=fast-deps", "--only-binary=:all:",
        *(word for tag in tags for word in ("--platform", tag)),
        "--implementation", "cp", "--python-version", image.PYTHON,
        "--target", str(report.parent), "--report", str(report),
        *(pin for pin in wanted if pin not in COMPILED),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def resolved(tmp_path_factory):
    """What pip resolves for each stack; both at once, since pip mostly waits for the index."""
    folder = tmp_path_factory.mktemp("pip")
    reports = {stack: folder / f"{stack}.json" for stack in image.STACKS}
    running = {
        stack: subprocess.Popen(_dry_run(stack, report), stderr=subprocess.PIPE, text=True)
        for stack, report in reports.items()
    }
    ended = {stack: process.communicate(timeout=HANG_S)[1] for stack, process in running.items()}
    return {
        stack: _result(running[stack].returncode, errors, reports[stack])
        for stack, errors in ended.items()
    }


def _result(code: int, errors: str, report: Path) -> Resolved:
    if code != 0 and OUT_OF_REACH in errors:
        pytest.skip("the package index is out of reach")
    if code != 0:
        return Resolved(code, errors, set())
    rows = [row["metadata"] for row in json.loads(report.read_text(encoding="utf-8"))["install"]]
    return Resolved(0, errors, {f"{_name(row['name'])}=={row['version']}" for row in rows})


def _name(text: str) -> str:
    return text.lower().replace("_", "-").replace(".", "-")


@pytest.mark.pins
@pytest.mark.parametrize("stack", image.STACKS)
def test_the_pins_of_a_stack_resolve_to_themselves(resolved, stack):
    found = resolved[stack]

    assert found.code == 0, found.errors
    pinned = {pin for layer in image.STACKS[stack].layers for pin in layer.pins} - COMPILED
    # Neither does pip need a package that is not pinned, nor is one pinned in vain.
    assert found.packages == pinned


def test_every_pin_is_exact_and_given_once():
    for stack in image.STACKS.values():
        given = [pin for layer in stack.layers for pin in layer.pins]
        assert all(pin.count("==") == 1 for pin in given)
        assert len({pin.partition("==")[0] for pin in given}) == len(given)
