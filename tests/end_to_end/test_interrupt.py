"""Ctrl-C at a real terminal: the question, its answers, and a second Ctrl-C."""

import re

import pexpect
import pytest

from tests.end_to_end.product import state_of
from tests.end_to_end.test_jobs import _stepping, long_job


@pytest.fixture
def at_terminal(cloud, deployed):
    """Starts a long job at a terminal: `at_terminal("a.wav")` gives the terminal and the job."""
    opened = []

    def start(name):
        before = _stepping(cloud)
        command, *words = deployed.command(*long_job(deployed, name))
        terminal = pexpect.spawn(
            command,
            words,
            env={**deployed.env, "TERM": "xterm", "COLUMNS": "120"},
            cwd=str(deployed.folder),
            encoding="utf-8",
            codec_errors="replace",  # the echo of ^C may split a character
            timeout=30,
            dimensions=(30, 120),
        )
        opened.append(terminal)
        cloud.wait_until(lambda: _stepping(cloud) - before, "a first step")
        (job,) = _stepping(cloud) - before
        return terminal, job

    yield start
    for terminal in opened:
        terminal.close(force=True)
    cloud.wait_until(lambda: not cloud.containers(busy=True), "every call has ended", 60)


def ended(terminal):
    """What the terminal showed to the end, and how the process ended."""
    shown = terminal.read()
    terminal.wait()
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown), terminal.exitstatus, terminal.signalstatus


def test_c_cancels_and_the_process_ends_by_the_signal(cloud, at_terminal):
    terminal, job = at_terminal("c.wav")

    terminal.sendintr()
    terminal.expect_exact("d = detach")
    terminal.send("c")
    shown, _, number = ended(terminal)

    assert f"job {job} is cancelled, its GPU is free" in shown
    assert number == 2
    assert not cloud.containers(busy=True)


def test_d_detaches_and_the_job_goes_on(at_terminal, deployed):
    terminal, job = at_terminal("d.wav")

    terminal.sendintr()
    terminal.expect_exact("d = detach")
    terminal.send("d")
    shown, code, _ = ended(terminal)

    assert (code, shown.split()[-1]) == (0, job)
    assert deployed.run("jobs", "attach", job).code == 0


def test_enter_keeps_watching(cloud, at_terminal, deployed):
    terminal, job = at_terminal("e.wav")

    terminal.sendintr()
    terminal.expect_exact("d = detach")
    terminal.send("\r")
    _, code, _ = ended(terminal)

    assert code == 0
    assert state_of(cloud, job)["event"]["kind"] == "done"
    assert (deployed.folder / "e.mp4").exists()


def test_a_second_ctrl_c_cancels_at_once(cloud, at_terminal):
    terminal, _ = at_terminal("twice.wav")

    terminal.sendintr()
    terminal.expect_exact("d = detach")
    terminal.sendintr()
    _, _, number = ended(terminal)

    assert number == 2
    cloud.wait_until(lambda: not cloud.containers(busy=True), "the call has ended")
