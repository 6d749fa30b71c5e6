"""Fixtures of the command line: run in this process, as a process, and from real shells."""

import functools
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import wave
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer.main

from multitalk_cli.cli.app import run
from tests.waiting import HANG_S

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "multitalk_cli" / "examples"


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self):
        """The one JSON object on stdout."""
        (line,) = self.stdout.splitlines()
        return json.loads(line)

    @property
    def data(self):
        """What the JSON object holds."""
        return self.json["data"]

    @property
    def error(self):
        """The one error of the JSON object."""
        (error,) = self.json["errors"]
        return error


def _decode(output):
    return output.decode("utf-8", "surrogateescape")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder to work in."""
    working = tmp_path / "work"
    working.mkdir()
    monkeypatch.chdir(working)
    return working


@pytest.fixture(scope="session", autouse=True)
def _build_commands_once():
    """A process builds the tree of commands once; hundreds of command lines run in this one."""
    patch = pytest.MonkeyPatch()
    patch.setattr(typer.main, "get_command", functools.cache(typer.main.get_command))
    yield
    patch.undo()


_FACES: dict[bytes, list] = {}


@pytest.fixture
def faces_remembered(monkeypatch):
    """The face finder's networks compute once for each input: most tests use the same portrait."""
    from multitalk_cli.media.faces.network import Network

    compute = Network.__call__

    def remembered(network, picture):
        key = hashlib.sha256(f"{network.outputs} {picture.shape} {picture.dtype}".encode())
        key.update(picture.tobytes())
        if len(_FACES) > 1000:
            _FACES.clear()
        if key.digest() not in _FACES:
            _FACES[key.digest()] = compute(network, picture)
        return [output.copy() for output in _FACES[key.digest()]]

    monkeypatch.setattr(Network, "__call__", remembered)


@pytest.fixture
def cli(folder, faces_remembered, capfdbinary):
    """Runs a command line in this process: `cli("explain", "E_BUG")` gives a Ran."""

    def call(*arguments):
        capfdbinary.readouterr()
        code = run([str(argument) for argument in arguments])
        seen = capfdbinary.readouterr()
        return Ran(code, _decode(seen.out), _decode(seen.err))

    return call


@pytest.fixture(scope="session")
def command(tmp_path_factory):
    """A folder for PATH that holds `multitalk`, this checkout's, as an executable."""
    folder = tmp_path_factory.mktemp("bin")
    script = folder / "multitalk"
    script.write_text(
        f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m multitalk_cli "$@"\n'
    )
    script.chmod(0o755)
    return folder


@pytest.fixture
def surroundings(command):
    """The environment of a real shell that finds `multitalk`."""
    return {**os.environ, "PATH": f"{command}{os.pathsep}{os.environ['PATH']}"}


@pytest.fixture
def shell(folder, surroundings):
    """Runs a script in a real shell: `shell("multitalk --version | head")` gives a Ran."""

    def call(script, *, name="sh", stdin=""):
        ran = subprocess.run(
            [name, "-c", script],
            input=stdin.encode(),
            capture_output=True,
            env=surroundings,
            timeout=HANG_S,
            check=False,
        )
        return Ran(ran.returncode, _decode(ran.stdout), _decode(ran.stderr))

    return call


@pytest.fixture
def started(folder, surroundings):
    """Starts a program in a process group of its own; what is left of it ends with the test."""
    children = []

    def start(*argv, **options):
        child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=surroundings,
            start_new_session=True,
            **options,
        )
        children.append(child)
        return child

    yield start
    for child in children:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
        child.communicate()


@pytest.fixture
def portrait(folder):
    """A portrait with one face, `host.png`."""
    return Path(shutil.copy(EXAMPLES / "portrait.png", folder / "host.png"))


@pytest.fixture
def voice(folder):
    """A recorded voice of three seconds, `voice.wav`."""
    return Path(shutil.copy(EXAMPLES / "voice.wav", folder / "voice.wav"))


@pytest.fixture
def speech(folder):
    """Writes a voice of a length: `speech("a.wav", 0.5)`; `start_s` makes another recording."""

    def write(name, seconds, start_s=0.3):
        with wave.open(str(EXAMPLES / "voice.wav"), "rb") as source:
            parameters = source.getparams()
            frames = source.readframes(parameters.nframes)
        width = parameters.sampwidth * parameters.nchannels
        first = int(start_s * parameters.framerate) * width
        count = int(seconds * parameters.framerate) * width
        repeated = (frames[first:] + frames) * (count // len(frames) + 2)
        with wave.open(str(name), "wb") as target:
            target.setparams(parameters)
            target.writeframes(repeated[:count])
        return Path(name)

    return write
