"""A job in the cloud, followed from here until it ends; and cancelling one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from multitalk_cli import contract, interrupts, jobs
from multitalk_cli.delivery import Kept, kept_answer, price_of
from multitalk_cli.errors import MultitalkError, TemporaryError
from multitalk_cli.outage import Outage

if TYPE_CHECKING:
    from multitalk_cli.cloud import Cloud, Polled
    from multitalk_cli.jobs import Job, Ledger
    from multitalk_cli.output import Output

POLL_S = 1.0
LOAD_EVERY_S = 2.0
CONFIRM_S = 30.0
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
        self, cloud: Cloud, ledger: Ledger, output: Output, job: Job, spawn: Spawn
    ) -> None:
        """spawn: starts the call of the job's link and gives its id."""
        self._cloud, self._ledger, self._output = cloud, ledger, output
        self._spawn = spawn
        self.job = job
        self.answer: Mapping[str, Any] | None = None
        self.spent_usd: float | None = None
        self._last: contract.Event | None = None
        self._windows_before = 0
        self._looked_s = 0.0
        self._outage = Outage(output, f"job {job.id}", f"multitalk jobs attach {job.id}")

    def events(self) -> Iterator[contract.Event]:
        """Yields what happens; `Done` or `Failed` last.

        Raises DetachedError or LeavingError where the user leaves, TemporaryError where Modal is
        out of reach for long.
        """
        with interrupts.held_signals() as held:
            yield from self._find_call(held)
            while True:
                if held.numbers:
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
        with interrupts.held_signals() as held:
            self._cloud.index(self.job, name)
            self._note(call_id=self._spawn(self.job), state=jobs.RUNNING)
            if held.numbers:
                self._decide(held)

    def _find_call(self, held: interrupts.Held) -> Iterator[contract.Event]:
        """Finds the call that an earlier command made, which may have died before it noted it."""
        if self.job.call_id:
            return
        while not (owner := self._cloud.owner(self.job.id, self.job.link)):
            if held.numbers:
                self._decide(held)
            if self.job.state == jobs.SPAWNING and self._is_idle():
                owner = self._spawn(self.job)
                break
            yield contract.Queued()
            time.sleep(POLL_S)
        self._note(call_id=owner, state=jobs.RUNNING)

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

    def _polled(self) -> Polled | None:
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

    def kept(self) -> Kept:
        """The job that ended well, with its answer."""
        return Kept(
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

    def _failed(self, polled: Polled) -> contract.Event:
        if polled.outcome == "expired":
            return self._expired(polled.text)
        text = polled.text.partition("\n")[0] or "no reason was given"
        if self._cloud.is_cancelled(self.job.id):
            message = f"job {self.job.id} was cancelled"
            return contract.Failed(code="E_CANCELLED", message=message)
        if "memory" in text.lower():
            return contract.Failed(code="E_OUT_OF_MEMORY", message=text)
        self._note(state=jobs.LOST)
        if not self._cloud.owner(self.job.id, self.job.link):
            # The method never began.
            message = f"no container started for the job: {text}"
            return contract.Failed(code="E_START", message=message)
        what = "the container was lost" if polled.outcome == "lost" else "the run failed"
        return contract.Failed(code="E_REMOTE", message=f"{what}: {text}", hint=AGAIN)

    def _note_failure(self, event: contract.Failed) -> None:
        state = jobs.CANCELLED if event.code == "E_CANCELLED" else jobs.FAILED
        self._note(state=jobs.LOST if self.job.state == jobs.LOST else state, error=event.code)

    def _expired(self, text: str) -> contract.Event:
        """The call's answer is gone; what the job kept may still be there."""
        answer = kept_answer(self._cloud, self.job.id)
        if answer is None:
            return contract.Failed(code="E_EXPIRED", message=f"job {self.job.id}: {text}")
        self.answer = answer
        return contract.event_from_wire(answer["event"])

    def _note(self, **changes: Any) -> None:
        self.job = replace(self.job, **changes)
        self._ledger.update(self.job.id, **changes)

    def _decide(self, held: interrupts.Held) -> None:
        """What a signal does: in a terminal the user says, elsewhere the job is cancelled."""
        number, choice = held.numbers[0], "cancel"
        if held.is_ctrl_c and self._output.can_ask:
            choice = interrupts.ask(held, self._output.note)
        if choice == "watch":
            held.numbers.clear()
            return
        if choice == "detach":
            raise DetachedError(self.job.id)
        self._output.note(f"cancelling job {self.job.id}")
        cancel(self._cloud, self._ledger, self.job, self._output, hurry=lambda: held.is_urgent)
        raise interrupts.LeavingError(number)


def followed(follower: Follower) -> Iterator[contract.Event]:
    """Follows a job; `Done` or `Failed` comes last. A signal that ends it ends the process."""
    try:
        yield from follower.events()
    except interrupts.LeavingError as left:
        interrupts.deliver(left.number)
        raise KeyboardInterrupt from left


def cancel(
    cloud: Cloud,
    ledger: Ledger,
    job: Job,
    output: Output,
    *,
    hurry: Callable[[], bool] = lambda: False,
) -> tuple[str, bool]:
    """Cancels a job and waits until its card is free.

    hurry: whether not to wait any longer. Gives how the job ended, since it may have finished
    first, and whether Modal said that its card is free.
    """
    try:
        call_id = job.call_id or cloud.owner(job.id, job.link)
        cloud.cancel(job.id, call_id)
        ledger.update(job.id, state=jobs.CANCELLED)
        end_s = time.monotonic() + CONFIRM_S
        while call_id and time.monotonic() < end_s and not hurry():
            polled = cloud.poll(call_id, POLL_S / 2)
            if polled.outcome != "waiting":
                state = jobs.DONE if _is_done(polled) else jobs.CANCELLED
                ledger.update(job.id, state=state)
                if state == jobs.CANCELLED:
                    _forget_unseen(cloud, job)
                what = "had finished already" if state == jobs.DONE else "is cancelled"
                output.note(f"job {job.id} {what}, its GPU is free")
                return state, True
    except TemporaryError as error:
        raise TemporaryError(
            f"job {job.id} may still run: {error.message}",
            code="E_NETWORK",
            hint=f"multitalk jobs cancel {job.id}",
        ) from error
    output.note(f"job {job.id}: Modal was told to cancel it, and has not confirmed it yet")
    return jobs.CANCELLED, False


def _forget_unseen(cloud: Cloud, job: Job) -> None:
    """Removes what was prepared for a job that no container began: nobody else would."""
    with suppress(MultitalkError):
        if cloud.state(job.id) is None:
            cloud.remove_folder(contract.JOBS_VOLUME, job.id)


def _is_done(polled: Polled) -> bool:
    answer = polled.answer if polled.outcome == "answer" else None
    return answer is not None and answer["event"]["kind"] == "done"
