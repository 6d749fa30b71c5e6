"""What is typed at questions, and before them; and a terminal that is closed meanwhile."""

import os
import textwrap

import pytest

from tests.terminal.program import assert_orderly, start_python
from tests.terminal.test_signals import SCRIPT

QUESTIONS = textwrap.dedent("""
    import sys
    from multitalk_cli.cli.console import Console, OutputOptions
    console = Console(OutputOptions())
    if "early" in sys.argv:
        console.note("starting")
        import select
        select.select([0], [], [], 9)
    print("confirmed", console.confirm("Go?", about="it costs $2"))
    print("typed", ascii(console.ask("Bucket")))
    print("hidden", ascii(console.ask_hidden("KEY")))
""")


@pytest.mark.parametrize("encoding", ["utf-8:strict", "utf-8:surrogateescape"])
def test_bytes_that_are_no_text_are_no_answer(encoding):
    """As terminals send that are set to another encoding, or that erase half a character."""
    program = start_python(QUESTIONS, PYTHONIOENCODING=encoding)
    program.answer("[y/N] ", b"\xe9y\r")
    program.answer("Bucket: ", "mine\r")
    program.answer("KEY: ", b"A\xe9K\r")
    # What is typed before it asks is dropped.
    program.until("type it again")
    program.answer("KEY: ", "AK\r")
    lines = program.end()

    assert [line for line in lines if line.startswith(("confirmed", "typed", "hidden"))] == [
        "confirmed False",
        "typed 'mine\\n'",
        "hidden 'AK'",
    ]
    assert_orderly(program)


@pytest.mark.parametrize("key", ["\r", "y\r"])
def test_what_was_typed_before_a_price_is_seen_is_no_answer(key):
    program = start_python(QUESTIONS, "early")
    program.answer("starting", key)
    program.answer("[y/N] ", "y\r")
    program.answer("Bucket: ", "mine\r")
    program.answer("KEY: ", "AK\r")

    assert "confirmed True" in program.end()


def test_an_enter_while_work_runs_is_no_answer_to_a_later_ctrl_c():
    program = start_python(SCRIPT)
    program.answer("ready", "\r")
    program.child.sendintr()
    program.answer("[cancel in 10 s]", "d")
    lines = program.end()

    assert "detaching" in lines
    assert "still watching" not in lines


CLOSED = textwrap.dedent("""
    import signal, sys, time
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    from multitalk_cli.cli.console import Console, OutputOptions
    from multitalk_cli.contract import Step
    console = Console(OutputOptions())
    with console.progress() as view:
        console.note("ready")
        while console.is_interactive and open("/proc/self/stat").read().split()[6] != "0":
            view.show(Step(window=1, windows=2, step=3, steps=20))
            time.sleep(0.02)
        console.note("nobody reads this")
    console.succeed("generate", {}, ["/home/me/voice.mp4"])
    sys.exit(7)
""")


def test_a_job_that_goes_on_without_its_terminal_ends_as_it_would_have():
    """As one that was started with nohup or disown, when the connection by SSH ends."""
    program = start_python(CLOSED)
    program.until("ready")
    os.close(program.child.child_fd)
    _, status = os.waitpid(program.child.pid, 0)

    assert os.waitstatus_to_exitcode(status) == 7
