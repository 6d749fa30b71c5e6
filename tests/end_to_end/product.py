"""The product as a user has it: installed from its wheel, run as a process, with tiny weights."""

import atexit
import json
import os
import signal
import subprocess
import sys
import zipfile
import zlib
from functools import cache
from pathlib import Path

import modal

from multitalk_cli import contract
from tests.command_line import ROOT, Ran
from tests.media.audio.sounds import speech_like, write_wav
from tests.modal_plane.cloud import Cloud
from tests.modal_plane.forking import CommandServer, ForkedCommand
from tests.modal_plane.rpcs import RpcLog
from tests.terminal.program import ForkedProgram, colourful
from tests.waiting import HANG_S

CLASS = "Current.*"
SMALL = ("--size", "32x32", "--steps", "10", "--text-guidance", "1")


@cache
def _commands(site: Path) -> CommandServer:
    """The server of commands of the client that is installed there."""
    server = CommandServer(site)
    atexit.register(server.stop)
    return server


def install(folder: Path, source: Path = ROOT) -> Path:
    """Builds the wheel and unpacks it, as pip does; gives the folder for Python's path."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(build, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = folder.glob("*.whl")
    site = folder / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return site


def upload_pack(pack: Path) -> None:
    """Puts a pack where the containers look for it."""
    volume = modal.Volume.from_name(contract.WEIGHTS_VOLUME, create_if_missing=True)
    with volume.batch_upload(force=True) as batch:
        batch.put_directory(str(pack), f"/{contract.PACK_FOLDER}")


class User:
    """Somebody with a home folder, a working folder, and `multitalk` on the path."""

    def __init__(self, cloud: Cloud, site: Path, home: Path) -> None:
        self.cloud, self.site, self.home = cloud, site, home
        self.folder = home / "work"
        self.folder.mkdir(parents=True)
        self.env = {**cloud.environment(home), "PYTHONPATH": str(site), "NO_COLOR": "1"}

    def command(self, *words) -> list[str]:
        """The command line of a process."""
        return [sys.executable, "-m", "multitalk_cli", *map(str, words)]

    def run(self, *words, stdin="", **env) -> Ran:
        """Runs a command to its end."""
        return self.start(*words, stdin=stdin, **env).finish()

    def start(self, *words, stdin="", **env) -> "Running":
        """Starts a command."""
        _, _, *command = self.command(*words)
        process = _commands(self.site).fork(command, {**self.env, **env}, self.folder, stdin)
        return Running(process)

    def at_terminal(self, *words, columns=80, **env) -> ForkedProgram:
        """Starts a command on a terminal, with colours."""
        _, _, *command = self.command(*words)
        env = {**colourful(self.env), **env}
        return ForkedProgram(_commands(self.site), command, env, columns=columns, cwd=self.folder)

    def speech(self, name: str, duration_s: float) -> str:
        """A voice in the working folder, another for each name."""
        write_wav(self.folder / name, speech_like(duration_s, seed=zlib.crc32(name.encode())))
        return name

    def generate(self, voice: str, *words) -> tuple[str, ...]:
        """The words of a small video."""
        return ("generate", "host.png", voice, *SMALL, "--backend", "modal", *words)


class Running:
    """A command that runs."""

    def __init__(self, process: ForkedCommand) -> None:
        self.process = process

    def finish(self) -> Ran:
        """Waits for its end."""
        out, err = self.process.communicate(HANG_S)
        return Ran(self.process.returncode, out, err)

    def signal(self, number: int) -> None:
        """Sends it a signal."""
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        """SIGKILL: nothing is cleaned up."""
        self.signal(signal.SIGKILL)
        self.process.communicate(HANG_S)


def state_of(cloud: Cloud, job_id: str) -> dict:
    """The newest state that a job wrote; empty where there is none."""
    text = cloud.entries(contract.STATES_DICT).get(job_id)
    return {} if text is None else json.loads(text)


def computing(cloud: Cloud) -> set[str]:
    """The jobs that compute now, by what they reported last."""
    entries = cloud.entries(contract.STATES_DICT)
    states = {job: json.loads(text) for job, text in entries.items() if "/" not in job}
    others = ("queued", "loading", "done", "failed")
    return {job for job, state in states.items() if state["event"]["kind"] not in others}


def new_job(cloud: Cloud, before: set[str]) -> str:
    """The job that computes now and did not before, once there is one."""
    cloud.wait_until(lambda: computing(cloud) - before, "a job that computes")
    (job,) = computing(cloud) - before
    return job


def gpu_calls(cloud: Cloud, rpcs: RpcLog) -> int:
    """How many calls were made of something that has a GPU."""
    called = [request.function_id for request in rpcs.requests("FunctionMap")]
    definitions = [cloud.state.functions[number].definition for number in called]
    return sum(bool(each.resources.gpu_config.gpu_type) for each in definitions)
