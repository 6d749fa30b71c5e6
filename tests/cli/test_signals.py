"""Ctrl-C where Python cannot raise it, and where work holds it back: it is never lost."""

import os
import queue
import signal
import sys
import time
import weakref

import pytest

from multitalk_cli.cli.console import Console, OutputOptions
from multitalk_cli.cli.interrupts import PendingSignals, hold_signals
from multitalk_cli.cli.signals import ending_signals
from tests.waiting import HANG_S


def press_ctrl_c():
    os.kill(os.getpid(), signal.SIGINT)


def interrupted_in(work):
    """The signals that were received while `work` ran, after which more could have followed."""
    received = []
    before = signal.getsignal(signal.SIGINT), sys.unraisablehook
    with pytest.raises(KeyboardInterrupt), ending_signals(received, Console(OutputOptions())):
        work()
        time.sleep(HANG_S)
    assert (signal.getsignal(signal.SIGINT), sys.unraisablehook) == before
    return received


def test_the_import_system_ends_its_step_before_it_is_interrupted():
    steps = []
    names = {"kill": os.kill, "ctrl_c": (os.getpid(), signal.SIGINT), "steps": steps}
    code = "def take_lock():\n    kill(*ctrl_c)\n    steps.append('in a try')"
    exec(compile(code, "<frozen importlib._bootstrap>", "exec"), names)

    assert interrupted_in(names["take_lock"]) == [signal.SIGINT]
    assert steps == ["in a try"]


class Dying:
    """An object whose end is interrupted."""

    def __del__(self):
        press_ctrl_c()
        len("checks for signals")


def end_an_object():
    Dying()


def end_with_a_callback():
    def callback(_ref):
        press_ctrl_c()
        len("checks for signals")

    object_ = type("Held", (), {})()
    ref = weakref.ref(object_, callback)
    del object_
    assert ref() is None


@pytest.mark.parametrize("work", [end_an_object, end_with_a_callback])
def test_an_interrupt_of_what_cannot_raise_comes_after_it(work, capfd):
    assert interrupted_in(work) == [signal.SIGINT]
    assert "Traceback" not in capfd.readouterr().err


def test_other_errors_of_destructors_are_still_told(monkeypatch):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)

    class Broken:
        def __del__(self):
            raise ValueError

    with ending_signals([], Console(OutputOptions())):
        Broken()

    assert [lost.exc_type for lost in told] == [ValueError]


# Signals that work holds back


class Told(queue.Queue):
    """Lines that a user was told."""

    def next(self):
        """The next one, waited for."""
        return self.get(timeout=HANG_S)


@pytest.fixture
def told():
    return Told()


def held_back(told, look_s):
    held = PendingSignals(told.put, can_ask=False, look_s=look_s)
    return hold_signals(held, before_end=lambda: None)


def test_signals_that_work_does_not_look_for_are_acknowledged_at_once(told):
    with held_back(told, look_s=0.0):
        os.kill(os.getpid(), signal.SIGTERM)
        assert told.next() == "SIGTERM received; waiting for Modal's reply"
        press_ctrl_c()
        assert told.next() == (
            "^C  received again; a third one ends the command and may leave a job running"
        )


def test_work_that_looks_in_time_says_once_what_it_does(told):
    with held_back(told, look_s=HANG_S) as held:
        press_ctrl_c()
        assert held.is_pending
        assert held.choose("d or c?") == "cancel"

    assert (told.next(), told.empty()) == ("cancelling", True)
