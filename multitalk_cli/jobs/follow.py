"""A job in the cloud, followed through its calls to its end."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from multitalk_cli import contract
from multitalk_cli.cloud.call_result import read_event, read_progress
from multitalk_cli.cloud.follow import CallFollower, FollowPolicy, ShouldAbort
from multitalk_cli.errors import TemporaryError
from multitalk_cli.jobs import ledger as jobs_ledger
from multitalk_cli.jobs.call import failure_of
from multitalk_cli.jobs.cancel import cancel
from multitalk_cli.jobs.fetch import FinishedJob, load_result
from multitalk_cli.jobs.spawning import spawn_lock
from multitalk_cli.planning.cost import price_of
from multitalk_cli.storage.retry import SYSTEM_CLOCK, Clock

if TYPE_CHECKING:
    from multitalk_cli.cloud.client import CallStatus, Cloud
    from multitalk_cli.jobs.ledger import Job, Ledger
    from multitalk_cli.reporting.reporter import Reporter


LOAD_EVERY_S = 2.0
INDEXED = ("id", "stack", "gpu", "seed", "label", "created_s", "recipe", "first")
"""Fields of a job that other machines see, with the name of its file."""
QUESTION = "d = detach (the job keeps running), c = cancel (frees the GPU), Enter = keep watching"

Spawn = Callable[["Job"], str]


class DetachedError(Exception):
    """The user detached from a job that keeps running."""

    def __init__(self, job_id: str) -> None:
        super().__init__(job_id)
        self.job_id = job_id


class Follower:
    """Follows one job.

    job: its current state. answer: of its last call, once that ended well. spent_usd: cost of the
    running call so far, by the rates.
    """

    def __init__(
        self,
        cloud: Cloud,
        ledger: Ledger,
        reporter: Reporter,
        job: Job,
        spawn: Spawn,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """spawn: starts the call of the job's current attempt and returns its id."""
        self._cloud, self._ledger, self._reporter = cloud, ledger, reporter
        self._spawn, self._clock = spawn, clock
        self.job = job
        self.answer: Mapping[str, Any] | None = None
        self.spent_usd: float | None = None
        self._last_event: contract.Event | None = None
        self._windows_before = 0
        self._load_checked_s = float("-inf")
        policy = FollowPolicy(
            cancel=self._cancel,
            name=f"job {job.id}",
            facts={"job": job.id},
            question=QUESTION,
            detach=DetachedError(job.id),
        )
        self._calls = CallFollower(cloud, reporter, policy, job.call_id, clock)

    def start(self, name: str) -> None:
        """Makes the call, once the job is in the index that other machines read.

        The caller has the job's `spawn_lock`. name: of the video's file; empty where it is only
        stored.
        """

        def spawn() -> str:
            entry = {field: getattr(self.job, field) for field in INDEXED} | {"name": name}
            self._cloud.index(entry)
            self._note(call_id=self._spawn(self.job), state=jobs_ledger.RUNNING)
            return self.job.call_id

        self._calls.start(spawn)

    def events(self) -> Generator[contract.Event, None, None]:
        """Yields what happens; `Done` or `Failed` last.

        Raises DetachedError or StoppedError where the user leaves, TemporaryError where Modal stays
        out of reach.
        """
        with closing(self._calls.polls()) as polls:
            for status in polls:
                for event in self._events_of(status):
                    if isinstance(event, contract.Failed):
                        self._note_failure(event)
                    yield event
                    if isinstance(event, contract.Done | contract.Failed):
                        return

    def _events_of(self, status: CallStatus) -> Iterator[contract.Event]:
        match status.outcome:
            case "unclaimed":
                yield from self._find_call()
            case "unreachable":
                yield from self._changed(contract.Stage(name="reconnecting"))
            case "waiting":
                yield from self._progress()
            case "answer":
                yield from self._answered({} if status.answer is None else status.answer)
            case "timeout":
                yield from self._continued()
            case _:
                yield self._failed(status)

    # While it runs

    def _find_call(self) -> Iterator[contract.Event]:
        """Finds the call of another command, which may have died before it noted it."""
        if self._adopt():
            return
        if self.job.state in (jobs_ledger.CANCELLED, jobs_ledger.FIRST):
            message = f"job {self.job.id} was cancelled"
            yield contract.Failed(code="E_CANCELLED", message=message)
            return
        call_id = self._cloud.owner(self.job.id, self.job.attempt)
        if call_id:
            self._note(call_id=call_id, state=jobs_ledger.RUNNING)
        elif not self._spawn_instead():
            yield contract.Queued()

    def _adopt(self) -> bool:
        """Takes what another process has noted meanwhile; tells whether that is a call."""
        noted = self._ledger.get(self.job.id)
        if noted is None or noted.attempt < self.job.attempt:
            return False
        self.job, self._calls.call_id = noted, noted.call_id
        return bool(noted.call_id)

    def _spawn_instead(self) -> bool:
        """Makes the call of a command that has died; tells whether there is a call now."""
        if self.job.state != jobs_ledger.SPAWNING:
            return False
        with spawn_lock(self._ledger.folder, self.job.id, waits=False) as is_mine:
            if is_mine and not self._adopt() and self._is_idle():
                self._note(call_id=self._spawn(self.job), state=jobs_ledger.RUNNING)
        return bool(self.job.call_id)

    def _is_idle(self) -> bool:
        """Whether no call waits or runs that could turn out to be this job's."""
        stats = self._cloud.pool_stats(self.job.stack, self.job.gpu)
        return stats.backlog + stats.running == 0

    def _changed(self, event: contract.Event | None) -> Iterator[contract.Event]:
        if event is not None and event != self._last_event:
            self._last_event = event
            yield event

    def _progress(self) -> Iterator[contract.Event]:
        try:
            state = self._cloud.state(self.job.id)
            # The state of an earlier call stays until the next one begins.
            is_old = state is not None and int(state.get("link", 0)) < self.job.attempt
            if state is None or is_old:
                event = self._queue_event()
            else:
                event = read_progress(state["event"])
                self.spent_usd = price_of(self.job.gpu, state["run_s"])
        except TemporaryError:
            # A connection that is lost shows in the next poll.
            return
        if state is None or is_old:
            # Repeated while it lasts: a view without bars tells the time of a wait only then.
            yield from () if event is None else (event,)
        # The end comes with the call's answer; an earlier call's end is none.
        elif not isinstance(event, contract.Done | contract.Failed):
            yield from self._changed(event)

    def _queue_event(self) -> contract.Event | None:
        """Whether a job without a state waits for a GPU or starts; None between two checks."""
        now_s = self._clock.now_s()
        if now_s - self._load_checked_s < LOAD_EVERY_S:
            return None
        stats = self._cloud.pool_stats(self.job.stack, self.job.gpu)
        self._load_checked_s = now_s
        is_waiting = stats.containers == 0 or stats.backlog > 0
        return contract.Queued() if is_waiting else contract.Stage(name="starting")

    # How it ends

    def finished(self) -> FinishedJob:
        """The job that ended well, with its answer."""
        if self.answer is None:
            raise ValueError(f"job {self.job.id} has not ended well")
        return FinishedJob(
            cloud=self._cloud,
            ledger=self._ledger,
            job=self.job,
            answer=self.answer,
            is_fresh=True,
        )

    def _answered(self, answer: Mapping[str, Any]) -> Iterator[contract.Event]:
        event = read_event(answer["event"], {"job": self.job.id})
        if isinstance(event, contract.Failed) and "owner" in answer:
            # Another call makes the video: an earlier one, or the next of a long job.
            self._note(call_id=answer["owner"], attempt=answer.get("link", self.job.attempt))
            return
        self.answer = answer
        yield event

    def _continued(self) -> Iterator[contract.Event]:
        """Continues in another call after a time limit, if the ended call finished any window."""
        state = self._cloud.state(self.job.id)
        windows = 0 if state is None else int(state["windows"])
        if windows <= self._windows_before:
            message = f"no window was finished within a call's time limit; {windows} are kept"
            yield contract.Failed(code="E_TIMEOUT", message=message)
            return
        self._windows_before = windows
        attempt = self.job.attempt
        with spawn_lock(self._ledger.folder, self.job.id):
            # Another process that follows the job may have been faster.
            if not (self._adopt() and self.job.attempt > attempt):
                self._note(attempt=attempt + 1, call_id="")
                self._note(call_id=self._spawn(self.job))

    def _failed(self, status: CallStatus) -> contract.Event:
        if status.outcome == "expired":
            return self._expired(status.text)
        is_claimed = bool(self._cloud.owner(self.job.id, self.job.attempt))
        failed = failure_of(
            status,
            self.job.id,
            is_cancelled=self._cloud.is_cancelled(self.job.id),
            is_claimed=is_claimed,
        )
        if failed.code in ("E_START", "E_REMOTE"):
            self._note(state=jobs_ledger.LOST)
        return failed

    def _note_failure(self, event: contract.Failed) -> None:
        windows: float | None = 0
        spent: dict[str, Any] = {}
        try:
            last = self._cloud.state(self.job.id)
        except TemporaryError:
            windows = None
        else:
            if last is not None:
                windows = int(last["windows"])
                spent = jobs_ledger.spent(self.job, float(last["run_s"]))
        is_final = event.code in contract.FINAL_FAILURES
        # The same command continues what failed after a window, which is paid for.
        can_resume = not is_final and (windows is None or windows > 0)
        if event.code == "E_CANCELLED":
            state = self.job.if_cancelled
        elif self.job.state == jobs_ledger.LOST or can_resume:
            state = jobs_ledger.LOST
        else:
            state = jobs_ledger.FAILED
        self._note(state=state, error=event.code, error_text=event.message, **spent)

    def _expired(self, text: str) -> contract.Event:
        """The end of a job whose call's answer is gone, from its Volume where that is kept."""
        answer = load_result(self._cloud, self.job)
        if answer is None:
            return contract.Failed(code="E_EXPIRED", message=f"job {self.job.id}: {text}")
        self.answer = answer
        return read_event(answer["event"], {"job": self.job.id})

    def _note(self, **changes: Any) -> None:
        self.job = replace(self.job, **changes)
        self._ledger.update(self.job.id, **changes)
        self._calls.call_id = self.job.call_id

    def _cancel(self, should_abort: ShouldAbort) -> bool:
        """Cancels the job; False where it had finished, so that its video is delivered."""
        state, _ = cancel(
            self._cloud, self._ledger, self.job, self._reporter, should_abort=should_abort
        )
        if state == jobs_ledger.DONE:
            return False
        self._reporter.leaving = "interrupted; the same command starts it again"
        return True
