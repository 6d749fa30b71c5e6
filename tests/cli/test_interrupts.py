"""Ctrl-C while work runs on a terminal: a question, a reply, and bars that are drawn once."""

import os
import textwrap

import pytest

from tests.cli.programs import Program

SCRIPT = textwrap.dedent("""
    import time
    from multitalk_cli.cli.console import Console, OutputOptions
    from multitalk_cli.contract import Step
    from multitalk_cli.reporting.reporter import StoppedError

    console = Console(OutputOptions())
    with console.progress() as view, console.stop_requests() as requests:
        view.show(Step(window=1, windows=2, step=3, steps=20))
        console.note("ready")
        while True:
            time.sleep(0.02)
            if requests.is_pending:
                choice = requests.choose("d = detach, c = cancel, Enter = keep watching")
                if choice == "cancel":
                    raise StoppedError
                if choice == "detach":
                    break
    console.note("the end")
""")


@pytest.fixture
def program():
    surroundings = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    running = Program(["-c", SCRIPT], surroundings)
    running.until("ready")
    return running


def ask(program):
    program.child.sendintr()
    program.until("[cancel in 10 s]")


def test_enter_keeps_watching_with_a_reply_and_one_bar(program):
    for _ in range(3):
        ask(program)
        program.child.send("\r")
        program.until("still watching")
    ask(program)
    program.child.send("d")
    screen = program.end()

    assert sum("━" in line for line in screen) == 1
    assert screen.count("still watching") == 3
    assert screen[-1] == "the end"
    assert program.child.exitstatus == 0


def test_c_cancels_by_the_signal(program):
    ask(program)
    program.child.send("c")
    screen = program.end()

    assert "cancelling" in screen
    assert program.raw.rfind(b"\x1b[?25h") > program.raw.rfind(b"\x1b[?25l")
    assert program.child.exitstatus != 0


def test_a_second_ctrl_c_cancels(program):
    ask(program)
    program.child.sendintr()

    assert "cancelling" in program.end()
