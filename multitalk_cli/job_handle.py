"""A job in a program: its events, its result, its end."""

from __future__ import annotations

import atexit
import copy
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Literal

from multitalk_cli.errors import MultitalkError, RemoteError, UsageError
from multitalk_cli.reporting.job_reporter import JobReporter
from multitalk_cli.reporting.reporter import StoppedError

if TYPE_CHECKING:
    from multitalk_cli.cloud.errors import AppRef
    from multitalk_cli.contract import Event
    from multitalk_cli.generation.finish import Unfinished
    from multitalk_cli.generation.result import Video
    from multitalk_cli.jobs.ledger import Job

FilePath = str | os.PathLike[str]
_DETACH_S = 5.0
JobState = Literal["running", "first-window", "done", "failed", "cancelled"]
FIRST: Literal["first-window"] = "first-window"
"""The state of a job whose first window is made, and whose rest is not."""


class JobHandle:
    """One job, which may be used from several threads.

    id: of the job; on Modal any program can attach by it. name: of the video. outlives_program:
    whether the job continues when the program ends. destination: equal where jobs write to the
    same places. on_end: called in the job's thread when that ends.
    """

    def __init__(
        self,
        job_id: str,
        name: str,
        work: Callable[[], Video],
        reporter: JobReporter,
        *,
        outlives_program: bool = False,
        destination: object = None,
        recorded: JobState = "running",
    ) -> None:
        """work: makes the video and reports to `reporter`; it runs once, in a thread of its own.

        recorded: the state until this handle has followed the job.
        """
        self.id, self.name, self.outlives_program = job_id, name, outlives_program
        self.destination, self._recorded = destination, recorded
        self._work, self._reporter = work, reporter
        self._changed = threading.Condition()
        self._events: list[Event] = []
        self._video: Video | None = None
        self._error: Exception | None = None
        self._thread = threading.Thread(
            target=self._run, name=f"multitalk-{job_id}", daemon=outlives_program
        )
        self._process = os.getpid()
        self.on_end: Callable[[JobHandle], object] | None = None
        reporter.on_event = self._add

    def follow(self) -> None:
        """Starts to follow the job in a thread; `events`, `result` and `cancel` do so too.

        Raises UsageError E_CONFLICT in a forked process, which has none of this one's threads.
        """
        if os.getpid() != self._process:
            raise UsageError(
                f"job {self.id} is followed by another process, which this one was forked from",
                code="E_CONFLICT",
                hint="start new processes instead (spawn), and use Client().job(ID) there",
            )
        with self._changed:
            if self._thread.ident is None:
                self._thread.start()
                if self.outlives_program:
                    _followed.add(self)
                    # The last one to be registered runs first, before those of libraries.
                    atexit.unregister(_leave_jobs)
                    atexit.register(_leave_jobs)

    def events(self) -> Iterator[Event]:
        """The job's events from its beginning; `Done` or `Failed` last.

        It ends without either where the failure is on this machine; `result` raises the reason.
        """
        self.follow()
        position = 0
        while True:
            with self._changed:
                while position == len(self._events):
                    if self._is_over:
                        return
                    self._changed.wait()
                event = self._events[position]
            position += 1
            yield event

    def result(self, timeout: float | None = None) -> Video:
        """The finished video, once its file is written.

        timeout: in seconds. Raises TimeoutError after it, while the job continues; MultitalkError
        where the job failed, RemoteError E_CANCELLED where it was cancelled.
        """
        self.follow()
        with self._changed:
            if not self._changed.wait_for(lambda: self._is_over, timeout):
                raise TimeoutError(f"job {self.id} has not finished within {timeout:g} s")
            if self._error is not None:
                raise _copied(self._error)
            assert self._video is not None
            return self._video

    def cancel(self) -> bool:
        """Stops the job and waits until it has stopped; no partial file is left.

        Returns False for a job that ended otherwise before.
        """
        self._reporter.should_stop.set()
        self.follow()
        self._thread.join()
        return self.state == "cancelled"

    @property
    def state(self) -> JobState:
        """The state as far as this handle has followed the job; else that of the ledger."""
        with self._changed:
            if self._video is not None:
                return "done" if self._video.first is None else FIRST
            if self._error is None:
                return self._recorded
            error = self._error
            is_cancelled = isinstance(error, MultitalkError) and error.code == "E_CANCELLED"
            return "cancelled" if is_cancelled else "failed"

    @property
    def _is_over(self) -> bool:
        return self._video is not None or self._error is not None

    def _add(self, event: Event) -> None:
        with self._changed:
            self._events.append(event)
            self._changed.notify_all()

    def _run(self) -> None:
        video: Video | None = None
        error: Exception | None = None
        # The prepared inputs go with it: a program may keep thousands of handles.
        work = self.__dict__.pop("_work")
        try:
            video = work()
        except StoppedError:
            error = RemoteError(f"job {self.id} was cancelled", code="E_CANCELLED")
        except Exception as failure:  # noqa: BLE001 - raised again by `result`
            error = failure
        finally:
            # Without a cycle of references the handle is freed with its last user.
            self._reporter.on_event = None
            _followed.discard(self)
            if self.on_end is not None:
                self.on_end(self)
        with self._changed:
            self._video, self._error = video, error
            self._changed.notify_all()

    def stop_following(self) -> None:
        """Asks the thread to leave the job to itself; does not wait for that."""
        self._reporter.should_detach.set()

    def wait_until_left(self, timeout_s: float) -> None:
        """Waits for the thread's end."""
        self._thread.join(timeout_s)


_followed: set[JobHandle] = set()
"""Handles whose threads follow jobs that outlive the program."""


def _leave_jobs() -> None:
    """Stops to follow all jobs at once, before the libraries that the threads use are shut down."""
    handles = [*_followed]
    for handle in handles:
        handle.stop_following()
    end_s = time.monotonic() + _DETACH_S
    for handle in handles:
        handle.wait_until_left(max(0.0, end_s - time.monotonic()))


def _copied(error: Exception) -> Exception:
    """The same error as an object of its own: each raise adds to an object's traceback."""
    # Not every library's exception can be copied.
    with suppress(Exception):
        new = copy.copy(error)
        new.__cause__, new.__context__ = error.__cause__, error.__context__
        new.__suppress_context__ = error.__suppress_context__
        return new.with_traceback(error.__traceback__)
    return error


def attached(job: Job, output: FilePath | None, force: bool) -> JobHandle:
    """A job of the ledger or the index, which is followed on demand."""
    from multitalk_cli.cloud.errors import AppRef
    from multitalk_cli.generation.finish import video_of
    from multitalk_cli.jobs import control, ledger

    place = AppRef(app=job.app, environment=job.environment)
    reporter = JobReporter()

    def work() -> Video:
        if reporter.should_stop.is_set():
            cancelled = control.cancel(place, job.id, reporter)
            if cancelled.state == ledger.CANCELLED:
                raise StoppedError
        target = None if output is None else os.fspath(output)
        fetched = control.attach(place, job.id, target, force, reporter)
        return video_of(fetched)

    states: dict[str, JobState] = {
        ledger.DONE: "done",
        ledger.EXPIRED: "done",
        ledger.FAILED: "failed",
        ledger.CANCELLED: "cancelled",
        ledger.FIRST: FIRST,
    }
    recorded = states.get(job.state, "running")
    return JobHandle(job.id, job.label, work, reporter, outlives_program=True, recorded=recorded)


def finishing(found: Unfinished, max_cost: float | None, force: bool) -> JobHandle:
    """A job whose rest is made from now on; raises what prevents it before anything is paid."""
    from multitalk_cli.generation import finish

    reporter = JobReporter()
    finish.agree([found], max_cost, reporter)
    follower = finish.start(found, max_cost, reporter)

    def work() -> Video:
        return finish.video_of(finish.deliver(found, follower, reporter, force=force))

    job = found.job
    destination = (found.target, None)
    return JobHandle(
        job.id, job.label, work, reporter, outlives_program=True, destination=destination
    )


def find_remote(place: AppRef, job_id: str) -> Job:
    """The job with this id or prefix that the ledger lacks, from the cloud."""
    from multitalk_cli.cloud.client import Cloud
    from multitalk_cli.jobs import control
    from multitalk_cli.jobs.ledger import Ledger

    return control.find_job(Cloud.reachable(place), Ledger(), job_id)
