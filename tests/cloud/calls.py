"""Calls without Modal: a cloud that answers polls from a list, and a reporter that a test stops."""

from contextlib import contextmanager

from multitalk_cli.cloud.client import CallStatus
from multitalk_cli.errors import TemporaryError
from multitalk_cli.reporting.reporter import LOOK_S, QuietReporter, StoppedError
from tests.storage.clock import FakeClock

WAITING = CallStatus(outcome="waiting")
LOST = TemporaryError("gone", code="E_NETWORK")


def answered(**answer):
    return CallStatus(outcome="answer", answer=answer)


class ScriptedCloud(FakeClock):
    """Yields one status after another, the last one for ever; each poll takes its time.

    An error in the list is raised, a function called.
    """

    def __init__(self, *statuses):
        super().__init__()
        self.statuses, self.cancelled, self.polled = list(statuses), [], []

    def poll(self, call_id, timeout_s):
        self.polled.append(call_id)
        self.advance(timeout_s)
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        if isinstance(status, Exception):
            raise status
        return status() if callable(status) else status

    def cancel_call(self, call_id):
        self.cancelled.append(call_id)


class StoppableReporter(QuietReporter):
    """A reporter whose user stops the work: `stop("detach")`. notes: what was noted."""

    def __init__(self):
        super().__init__()
        self.is_pending, self.is_urgent = False, False
        self.choice, self.questions, self.notes = "cancel", [], []

    def stop(self, choice="cancel"):
        self.is_pending, self.choice = True, choice

    def choose(self, question):
        self.questions.append(question)
        if self.choice == "watch":
            self.is_pending = False
        return self.choice if question is not None else "cancel"

    def note(self, text=""):
        self.notes.append(text)

    @contextmanager
    def stop_requests(self, look_s=LOOK_S):
        del look_s
        try:
            yield self
        except StoppedError:
            # As on a terminal, where the process receives the signal again.
            raise KeyboardInterrupt from None
