"""A job in the cloud, followed from here until it ends; and cancelling one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from multitalk_cli import contract
from multitalk_cli.cloud.reconnect import Outage
from multitalk_cli.errors import TemporaryError
from multitalk_cli.jobs import ledger as jobs_ledger
from multitalk_cli.jobs.cancel import POLL_S, cancel
from multitalk_cli.jobs.fetch import FinishedJob, load_result
from multitalk_cli.planning.cost import price_of
from multitalk_cli.reporting.reporter import StoppedError

if TYPE_CHECKING:
    from multitalk_cli.cloud.client import CallStatus, Cloud
    from multitalk_cli.jobs.ledger import Job, Ledger
    from multitalk_cli.reporting.reporter import Reporter, StopRequests


LOAD_EVERY_S = 2.0
INDEXED = ("id", "stack", "gpu", "seed", "label", "created_s", "recipe")
"""What other machines learn of a job, beside the name of its file."""
QUESTION = "d = detach (the job keeps running), c = cancel (frees the GPU), Enter = keep watching"
AGAIN = "run the same generate command again: it goes on after the last finished window"

Spawn = Callable[["Job"], str]


class DetachedError(Exception):
    """The user left; the job goes on."""

    def __init__(self, job_id: str) -> None:
        super().__init__(job_id)
        self.job_id = job_id


class Follower:
    """Follows one job.

    job: as it stands. answer: what its last call gave, once it ended well. spent_usd: what the
    running call has cost so far, by the rates.
    """

    def __init__(
        self, cloud: Cloud, ledger: Ledger, reporter: Reporter, job: Job, spawn: Spawn
    ) -> None:
        """spawn: starts the call of the job's link and gives its id."""
        self._cloud, self._ledger, self._reporter = cloud, ledger, reporter
        self._spawn = spawn
        self.job = job
        self.answer: Mapping[str, Any] | None = None
        self.spent_usd: float | None = None
        self._last: contract.Event | None = None
        self._windows_before = 0
        self._looked_s = 0.0
        self._outage = Outage(reporter, f"job {job.id}", f"multitalk jobs attach {job.id}")

    def events(self) -> Iterator[contract.Event]:
        """Yields what happens; `Done` or `Failed` last.

        Raises DetachedError or StoppedError where the user leaves, TemporaryError where Modal is
        out of reach for long.
        """
        with self._reporter.stop_requests() as held:
            yield from self._find_call(held)
            while True:
                if held.is_pending:
                    self._decide(held)
                for event in self._turn():
                    if isinstance(event, contract.Failed):
                        self._note_failure(event)
                    yield event
                    if isinstance(event, contract.Done | contract.Failed):
                        return

    # Which call runs it

    def start(self, name: str) -> None:
        """Makes the call, once it is noted where other machines look.

        name: of the video's file; empty where it is only stored.
        """
        with self._reporter.stop_requests() as held:
            entry = {field: getattr(self.job, field) for field in INDEXED} | {"name": name}
            self._cloud.index(entry)
            self._note(call_id=self._spawn(self.job), state=jobs_ledger.RUNNING)
            if held.is_pending:
                self._decide(held)

    def _find_call(self, held: StopRequests) -> Iterator[contract.Event]:
        """Finds the call that an earlier command made, which may have died before it noted it."""
        if self.job.call_id:
            return
        while not (owner := self._cloud.owner(self.job.id, self.job.link)):
            if held.is_pending:
                self._decide(held)
            if self.job.state == jobs_ledger.SPAWNING and self._is_idle():
                owner = self._spawn(self.job)
                break
            yield contract.Queued()
            time.sleep(POLL_S)
        self._note(call_id=owner, state=jobs_ledger.RUNNING)

    def _is_idle(self) -> bool:
        """Whether nothing waits or runs that could turn out to be this job."""
        load = self._cloud.load_of(self.job.stack, self.job.gpu)
        return load.backlog + load.running == 0

    # One look

    def _turn(self) -> Iterator[contract.Event]:
        polled = self._polled()
        if polled is None:
            yield from self._new(contract.Stage(name="reconnecting"))
        elif polled.outcome == "waiting":
            yield from self._progress()
        elif polled.outcome == "answer":
            yield from self._answered(polled.answer or {})
        elif polled.outcome == "timeout":
            yield from self._continued()
        else:
            yield self._failed(polled)

    def _polled(self) -> CallStatus | None:
        """What the call gave; None while there is no way to it."""
        try:
            polled = self._cloud.poll(self.job.call_id, POLL_S)
        except TemporaryError as error:
            self._outage.wait(error)
            return None
        self._outage.end()
        return polled

    def _new(self, event: contract.Event | None) -> Iterator[contract.Event]:
        if event is not None and event != self._last:
            self._last = event
            yield event

    def _progress(self) -> Iterator[contract.Event]:
        try:
            state = self._cloud.state(self.job.id)
            event = self._waiting() if state is None else self._read(state)
        except TemporaryError:
            # The next look at the call says so, and waits.
            return
        yield from self._new(event)

    def _read(self, state: Mapping[str, Any]) -> contract.Event | None:
        event = contract.event_from_wire(state["event"])
        self.spent_usd = price_of(self.job.gpu, state["run_s"])
        # Its end comes with the call's answer; that of an earlier call is none.
        return None if isinstance(event, contract.Done | contract.Failed) else event

    def _waiting(self) -> contract.Event | None:
        """What a job that says nothing yet is waiting for."""
        if time.monotonic() - self._looked_s < LOAD_EVERY_S:
            return None
        load = self._cloud.load_of(self.job.stack, self.job.gpu)
        self._looked_s = time.monotonic()
        is_waiting = load.containers == 0 or load.backlog > 0
        return contract.Queued() if is_waiting else contract.Stage(name="starting")

    # How it ends

    def kept(self) -> FinishedJob:
        """The job that ended well, with its answer."""
        return FinishedJob(
            cloud=self._cloud,
            ledger=self._ledger,
            job=self.job,
            answer=self.answer or {},
            is_fresh=True,
        )

    def _answered(self, answer: Mapping[str, Any]) -> Iterator[contract.Event]:
        event = contract.event_from_wire(answer["event"])
        if isinstance(event, contract.Failed) and "owner" in answer:
            self._note(call_id=answer["owner"])
            return
        self.answer = answer
        yield event

    def _continued(self) -> Iterator[contract.Event]:
        """A call that ran out of time is followed by another, if it finished any window."""
        state = self._cloud.state(self.job.id)
        windows = 0 if state is None else int(state["windows"])
        if windows <= self._windows_before:
            message = f"a call finished no window within its time limit; {windows} are kept"
            yield contract.Failed(code="E_TIMEOUT", message=message)
            return
        self._windows_before = windows
        self._note(link=self.job.link + 1, call_id="")
        self._note(call_id=self._spawn(self.job))

    def _failed(self, polled: CallStatus) -> contract.Event:
        if polled.outcome == "expired":
            return self._expired(polled.text)
        text = polled.text.partition("\n")[0] or "no reason was given"
        if self._cloud.is_cancelled(self.job.id):
            message = f"job {self.job.id} was cancelled"
            return contract.Failed(code="E_CANCELLED", message=message)
        if "memory" in text.lower():
            return contract.Failed(code="E_OUT_OF_MEMORY", message=text)
        self._note(state=jobs_ledger.LOST)
        if not self._cloud.owner(self.job.id, self.job.link):
            # The method never began.
            message = f"no container started for the job: {text}"
            return contract.Failed(code="E_START", message=message)
        what = "the container was lost" if polled.outcome == "lost" else "the run failed"
        return contract.Failed(code="E_REMOTE", message=f"{what}: {text}", hint=AGAIN)

    def _note_failure(self, event: contract.Failed) -> None:
        state = jobs_ledger.CANCELLED if event.code == "E_CANCELLED" else jobs_ledger.FAILED
        self._note(
            state=jobs_ledger.LOST if self.job.state == jobs_ledger.LOST else state,
            error=event.code,
        )

    def _expired(self, text: str) -> contract.Event:
        """The call's answer is gone; what the job kept may still be there."""
        answer = load_result(self._cloud, self.job.id)
        if answer is None:
            return contract.Failed(code="E_EXPIRED", message=f"job {self.job.id}: {text}")
        self.answer = answer
        return contract.event_from_wire(answer["event"])

    def _note(self, **changes: Any) -> None:
        self.job = replace(self.job, **changes)
        self._ledger.update(self.job.id, **changes)

    def _decide(self, held: StopRequests) -> None:
        """What a request to stop does: the user says, or else the job is cancelled."""
        choice = held.choose(QUESTION)
        if choice == "watch":
            return
        if choice == "detach":
            raise DetachedError(self.job.id)
        self._reporter.note(f"cancelling job {self.job.id}")
        cancel(self._cloud, self._ledger, self.job, self._reporter, hurry=lambda: held.is_urgent)
        raise StoppedError
