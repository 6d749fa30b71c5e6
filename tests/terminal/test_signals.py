"""Signals while work runs on a terminal: Ctrl-C and its question, Ctrl-Z, and what ends it."""

import os
import signal
import sys
import textwrap
import time

import pytest

from tests.terminal.program import ROOT, Program, assert_orderly, colourful, start_python

pytestmark = pytest.mark.slow

SCRIPT = textwrap.dedent("""
    import sys, time
    from multitalk_cli.cli import interrupts
    from multitalk_cli.cli.signals import ending_signals
    from multitalk_cli.cli.console import Console, OutputOptions
    from multitalk_cli.contract import Step
    from multitalk_cli.reporting.reporter import StoppedError

    def work():
        with console.progress() as view, console.stop_requests() as requests:
            view.show(Step(window=1, windows=2, step=3, steps=20))
            console.note("ready")
            while True:
                time.sleep(0.02)
                if requests.is_pending:
                    choice = requests.choose("d = detach, c = cancel, Enter = keep watching")
                    if choice == "cancel":
                        console.note("in a hurry" if requests.is_urgent else "with time")
                        raise StoppedError
                    if choice == "detach":
                        break

    console, received = Console(OutputOptions()), []
    with ending_signals(received, console):
        try:
            work()
        except KeyboardInterrupt:
            sys.exit(128 + received[0])
    console.note("the end")
""")


STUCK = textwrap.dedent("""
    import time
    from multitalk_cli.cli.signals import ending_signals
    from multitalk_cli.cli.console import Console, OutputOptions
    from multitalk_cli.contract import Step

    console = Console(OutputOptions())
    with ending_signals([], console), console.progress() as view:
        view.show(Step(window=1, windows=2, step=3, steps=20))
        try:
            console.note("ready")
            time.sleep(20)
        except KeyboardInterrupt:
            console.note("cleaning up")
            time.sleep(20)
""")


@pytest.fixture
def program():
    running = start_python(SCRIPT)
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
    assert program.screen.is_orderly
    assert program.child.exitstatus != 0


def test_a_second_ctrl_c_cancels(program):
    ask(program)
    program.child.sendintr()

    assert "cancelling" in program.end()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_another_signal_at_the_question_cancels_as_if_it_came_alone(program, number):
    ask(program)
    program.child.kill(number)
    screen = program.end()

    assert "cancelling" in screen
    assert "in a hurry" not in screen
    assert program.code == 128 + number
    assert_orderly(program)


@pytest.mark.parametrize(
    "numbers",
    [[signal.SIGINT] * 3, [signal.SIGTERM] * 3, [signal.SIGQUIT]],
    ids=["ctrl-c", "terminate", "quit"],
)
def test_signals_that_end_the_process_leave_the_terminal_as_it_was(numbers):
    program = start_python(SCRIPT.replace("if requests.is_pending:", "if False:"))
    program.until("ready")
    for number in numbers:
        program.child.kill(number)
        time.sleep(0.2)
    program.end()

    assert program.code == -numbers[0]
    assert_orderly(program)


def test_a_third_ctrl_c_at_the_question_gives_the_terminal_its_echo_back():
    stuck = "interrupts._read_key = lambda _: time.sleep(9)\nconsole, "
    program = start_python(SCRIPT.replace("console, ", stuck, 1))
    program.until("ready")
    ask(program)
    program.child.send("x")
    for _ in range(2):
        time.sleep(0.2)
        program.child.kill(signal.SIGINT)
    program.end()

    assert program.code == -signal.SIGINT
    assert_orderly(program)


def test_the_last_line_of_a_command_without_bars_covers_the_echo_of_ctrl_c():
    script = """
        import time
        from multitalk_cli.cli.console import Console, OutputOptions

        console = Console(OutputOptions())
        try:
            console.note("ready")
            time.sleep(120)
        except KeyboardInterrupt:
            console.interrupted("logs")
    """
    program = start_python(textwrap.dedent(script))
    program.until("ready")
    program.child.sendintr()

    assert program.end()[-1] == "interrupted; partial files removed"


def test_ctrl_z_shows_the_cursor_and_the_bars_come_back_below(tmp_path):
    (tmp_path / "work.py").write_text(SCRIPT)
    env = {**colourful(os.environ), "PS1": "> ", "PYTHONPATH": str(ROOT)}
    shell = Program(["sh", "-i"], env, cwd=tmp_path)
    shell.answer("> ", f"{sys.executable} work.py\n")
    shell.until("ready")
    shell.child.send("\x1a")
    shell.until("> ")
    before = shell.screen
    shell.child.send("fg\n")
    shell.until("window 1/2")
    shell.child.sendintr()
    shell.answer("[cancel in 10 s]", "d")
    shell.until("the end")
    shell.until("> ")
    shell.child.send("exit\n")
    lines = shell.end()

    assert not before.pyte.cursor.hidden
    assert not any("window" in line for line in before.lines)
    assert sum("window" in line for line in lines) == 1
    assert lines.index("the end") > next(n for n, line in enumerate(lines) if "window" in line)
    assert_orderly(shell)


def test_ctrl_z_at_the_question_leaves_the_echo_of_the_shell_and_the_question_goes_on(program):
    # Its process group is an orphan, so that it is not stopped; all but the waiting happens.
    ask(program)
    program.child.send("\x1a")
    program.child.send("\r")
    program.until("still watching")
    program.child.sendintr()
    program.answer("[cancel in 10 s]", "d")

    assert sum("━" in line for line in program.end()) == 1
    assert_orderly(program)


def test_a_second_ctrl_c_while_a_command_cleans_up_shows_the_cursor():
    program = start_python(STUCK)
    program.until("ready")
    program.child.sendintr()
    program.until("cleaning up")
    program.child.sendintr()
    program.end()

    assert program.screen.is_orderly
    assert program.child.signalstatus == signal.SIGINT


def test_the_question_is_shown_with_quiet_too():
    quiet = SCRIPT.replace("OutputOptions()", "OutputOptions(quiet=True)")
    program = start_python(quiet.replace('console.note("ready")', 'print("ready", flush=True)'))
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
    program = start_python(
        "from multitalk_cli.cli.console import *\n"
        f"console = Console(OutputOptions({options}))\n"
        "print(console.can_ask, console.can_ask and console.confirm('Go?', about='it costs $2'))"
    )
    if can_ask:
        program.until("it costs $2")
        program.until("Go? [y/N]")
        program.child.send("y\r")

    assert program.end()[-1] == f"{can_ask} {can_ask}"
