"""Ctrl-C while work runs on a terminal: a question, a reply, and bars that are drawn once."""

import os
import signal
import textwrap
import time

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


STUCK = textwrap.dedent("""
    import time
    from multitalk_cli.cli.app import _signals
    from multitalk_cli.cli.console import Console, OutputOptions
    from multitalk_cli.contract import Step

    console = Console(OutputOptions())
    with _signals([], console), console.progress() as view:
        view.show(Step(window=1, windows=2, step=3, steps=20))
        try:
            console.note("ready")
            time.sleep(20)
        except KeyboardInterrupt:
            console.note("cleaning up")
            time.sleep(20)
""")


def start(script):
    unwanted = ("CI", "NO_COLOR")
    surroundings = {key: value for key, value in os.environ.items() if key not in unwanted}
    return Program(["-c", script], surroundings)


@pytest.fixture
def program():
    running = start(SCRIPT)
    running.until("ready")
    return running


def shows_cursor(program):
    return program.raw.rfind(b"\x1b[?25h") > program.raw.rfind(b"\x1b[?25l") >= 0


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
    assert shows_cursor(program)
    assert program.child.exitstatus != 0


def test_a_second_ctrl_c_cancels(program):
    ask(program)
    program.child.sendintr()

    assert "cancelling" in program.end()


def test_a_third_ctrl_c_shows_the_cursor_and_ends_at_once():
    program = start(SCRIPT.replace("if requests.is_pending:", "if False:"))
    program.until("ready")
    for _ in range(3):
        program.child.sendintr()
        time.sleep(0.2)
    program.end()

    assert shows_cursor(program)
    assert program.child.signalstatus == signal.SIGINT


def test_a_second_ctrl_c_while_a_command_cleans_up_shows_the_cursor():
    program = start(STUCK)
    program.until("ready")
    program.child.sendintr()
    program.until("cleaning up")
    program.child.sendintr()
    program.end()

    assert shows_cursor(program)
    assert program.child.signalstatus == signal.SIGINT


def test_the_question_is_shown_with_quiet_too():
    quiet = SCRIPT.replace("OutputOptions()", "OutputOptions(quiet=True)")
    program = start(quiet.replace('console.note("ready")', 'print("ready", flush=True)'))
    program.until("ready")
    ask(program)
    program.child.send("d")
    program.until("detaching")
    program.end()

    assert program.child.exitstatus == 0


@pytest.mark.parametrize(
    ("options", "can_ask"), [("quiet=True", True), ("progress='json'", False), ("json=True", False)]
)
def test_a_person_is_asked_unless_stderr_is_for_a_program(options, can_ask):
    program = start(
        "from multitalk_cli.cli.console import *\n"
        f"console = Console(OutputOptions({options}))\n"
        "print(console.can_ask, console.can_ask and console.confirm('Go?', about='it costs $2'))"
    )
    if can_ask:
        program.until("it costs $2")
        program.until("Go? [y/N]")
        program.child.send("y\r")

    assert program.end()[-1] == f"{can_ask} {can_ask}"
