"""The library: plans and makes videos from a program, without printing or touching signals.

    from multitalk_cli import Client

    client = Client(backend="preview")
    job = client.submit("host.jpg", "voice.wav")
    print(job.result().path)

Everything raises `MultitalkError` with a code, a message and facts; whatever can be checked is
checked before anything is paid.
"""

from __future__ import annotations

import atexit
import copy
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from multitalk_cli.contract import Done, Failed
from multitalk_cli.errors import MultitalkError, RemoteError, UsageError
from multitalk_cli.reporting.job_reporter import JobReporter
from multitalk_cli.reporting.reporter import NoStopRequests, QuietReporter, StoppedError
from multitalk_cli.settings import DEFAULT_PROMPT, load_settings

if TYPE_CHECKING:
    from datetime import datetime

    from multitalk_cli.batch.run import BatchResult
    from multitalk_cli.cloud.errors import AppRef
    from multitalk_cli.contract import Event
    from multitalk_cli.generation.result import Video, VideoPlan
    from multitalk_cli.generation.spec import GenerateArgs
    from multitalk_cli.jobs.ledger import Job
    from multitalk_cli.recipes.compare import ComparedVideos
    from multitalk_cli.recipes.inspect import InspectedVideo, VerifiedVideo
    from multitalk_cli.settings import Settings

FilePath = str | os.PathLike[str]
_DETACH_S = 5.0
JobState = Literal["running", "done", "failed", "cancelled"]


class Client:
    """Plans and makes videos with one backend and one set of settings.

    Settings that are not given come from the environment, ./multitalk.toml and the user's config
    file, as they do on the command line. A client may be used from several threads.
    """

    def __init__(self, backend: str | None = None, **settings: object) -> None:
        """backend: "preview", "modal", "local" or "auto"; the configured one by default.

        settings: by the names that `multitalk config show` lists, such as size="auto", fps=25,
        gpu="h200" or max_cost=2.5. Raises UsageError for an unknown name or a bad value.
        """
        self._given = {"backend": backend, **settings}
        self._settings = load_settings(self._given, as_keywords=True)
        self._jobs: dict[str, JobHandle] = {}
        self._lock = threading.Lock()

    def plan(
        self,
        image: FilePath,
        *voices: FilePath,
        speakers: Mapping[str, FilePath] | None = None,
        prompt: str = DEFAULT_PROMPT,
        seed: int | None = None,
    ) -> VideoPlan:
        """The video as it would be made: windows, length, price on each GPU, adjustments.

        Files need no set-up and no network. Raises what is wrong with the inputs, RefusedError
        E_COST for a price above `max_cost`.
        """
        from multitalk_cli.generation.plan import make_plan

        args = _args(image, voices, speakers, prompt=prompt, seed=seed)
        return make_plan(args, self._settings, QuietReporter())

    def submit(
        self,
        image: FilePath,
        *voices: FilePath,
        speakers: Mapping[str, FilePath] | None = None,
        prompt: str = DEFAULT_PROMPT,
        seed: int | None = None,
        output: FilePath | None = None,
        upload: bool = False,
        upload_to: str | None = None,
        force: bool = False,
    ) -> JobHandle:
        """Starts a video and returns its job once it is checked and started.

        image, voices: paths or s3:// addresses. speakers: position -> voice, in place of `voices`:
        "left", "right", "face:2" or "box:10%,20%,40%,80%". seed: random if None. output: a file,
        "FOLDER/" or a template; by default the voice's name in the current folder. upload,
        upload_to: store the video too. force: overwrite the output.

        A video that exists with the same inputs and options is the job's result at once, and one
        that this client already makes for the same output is the job that exists. A job on
        Modal runs there, is in the ledger on return and continues when the program ends; it is
        followed, and its file written, from the first call of `events` or `result`. Other jobs run
        in a thread that the program waits for. Raises what is wrong before anything is paid.
        """
        args = _args(
            image,
            voices,
            speakers,
            prompt=prompt,
            seed=seed,
            output=output,
            upload=upload,
            upload_to=upload_to,
            force=force,
        )
        return self._start(args, self._settings)

    def redo(
        self,
        video: FilePath,
        *,
        seed: int | Literal["new", "same"] = "new",
        image: FilePath | None = None,
        voices: Sequence[FilePath] = (),
        prompt: str | None = None,
        output: FilePath | None = None,
        force: bool = False,
        **settings: object,
    ) -> JobHandle:
        """Starts a video with the inputs and settings of another one's recipe.

        seed: "new" for a random one, "same" for that of the video. image, voices: where the inputs
        are, if they are not found by their content, or others. prompt: another one. output: by
        default VIDEO-SEED in the current folder. settings: in place of the recipe's, as for
        `Client`. Raises FileError for a video without a usable recipe or with unknown inputs, and
        all that `submit` does.
        """
        from multitalk_cli.recipes.redo import Changes, redo_arguments

        changes = Changes(
            seed=seed,
            image=None if image is None else os.fspath(image),
            voices=tuple(os.fspath(voice) for voice in voices),
            prompt=prompt,
            settings=tuple(settings),
        )
        chosen = load_settings({**self._given, **settings}, as_keywords=True)
        args, chosen = redo_arguments(Path(video), changes, chosen, QuietReporter())
        target = None if output is None else os.fspath(output)
        return self._start(replace(args, output=target, force=force), chosen)

    def _start(self, args: GenerateArgs, settings: Settings) -> JobHandle:
        from multitalk_cli.generation import run as generation
        from multitalk_cli.generation.job import open_job
        from multitalk_cli.generation.result import Video

        reporter = JobReporter()
        with open_job(args, settings, reporter) as job:
            existing = generation.find_existing(job, reporter)
            if isinstance(existing, Video):
                video = existing
                return self._begin(JobHandle(job.job_id, job.name, lambda: video, reporter))
            generation.check_price(job, reporter, existing)
            if job.target is not None:
                # The program may change its folder before the video is written.
                job = replace(job, target=job.target.absolute())
            run = generation.start(job, reporter)

        def show(event: Event, spent_usd: float | None) -> None:
            reporter.show(event, spent_usd)
            is_end = isinstance(event, Done | Failed)
            # A run in the cloud answers requests to stop itself: it must be cancelled there.
            if reporter.should_stop.is_set() and not (run.can_detach or is_end):
                raise StoppedError

        def work() -> Video:
            return generation.finish(job, run, generation.follow(run, show), reporter)

        return self._begin(
            JobHandle(
                run.job_id,
                job.name,
                work,
                reporter,
                outlives_program=run.can_detach,
                destination=(job.target, job.upload),
            )
        )

    def batch(
        self,
        manifest: FilePath,
        *,
        output: FilePath | None = None,
        parallel: int | None = None,
        budget_usd: float | None = None,
        fail_fast: bool = False,
    ) -> BatchResult:
        """Makes the videos of a list, a CSV or JSON lines file, and waits for all of them.

        output: a folder or template for rows without one. parallel: videos at the same time.
        budget_usd: the most for all, with what earlier runs of these rows paid. fail_fast: start
        nothing else after a failure. Rows that fail raise nothing, see `BatchResult.results`.
        Raises one error for all that is wrong with the list, and RefusedError E_COST above 5
        dollars without a budget.
        """
        from multitalk_cli.batch import manifest as manifests
        from multitalk_cli.batch import plan, rows, run

        found = manifests.read_manifest(os.fspath(manifest))
        where = None if output is None else os.fspath(output)
        quiet = QuietReporter()
        read = rows.read_rows(
            found, rows.Defaults(output=where, given=self._given), quiet, found.problems
        )
        found.problems.require_none(found.name)
        planned = plan.plan_rows(found.name, read, found.problems)
        plan.check_total(planned, budget_usd, interactive=False)
        options = run.RunOptions(parallel=parallel, budget_usd=budget_usd, fail_fast=fail_fast)
        return run.run_batch(planned, options, run.Unwatched(), NoStopRequests())

    def job(self, job_id: str, output: FilePath | None = None, force: bool = False) -> JobHandle:
        """A job of this client, or one on Modal that any program started, by its id or a prefix.

        It is followed from the first call of `events` or `result`, which also write its video.
        output, force: file or folder in place of the job's own, and whether to overwrite it; of a
        job on Modal, which is followed once more for it. Raises UsageError E_NO_JOB, and E_CONFLICT
        for a job on this machine.
        """
        from multitalk_cli.jobs.ledger import Ledger

        with self._lock:
            own = {each: handle for each, handle in self._jobs.items() if each.startswith(job_id)}
        own = {job_id: own[job_id]} if job_id in own else own
        if len(own) == 1 and (output is not None or force):
            ((job_id, handle),) = own.items()
            if not handle.outlives_program:
                message = f"job {job_id} is made on this machine, for the output it was given"
                raise UsageError(message, code="E_CONFLICT")
            own = {}
        if job_id in own:
            return own[job_id]
        place = self._app()
        known = None if place is None else Ledger().find(job_id)
        found = {*own, *([] if known is None else [known.id])} if job_id else set()
        if len(found) > 1:
            ids = ", ".join(sorted(found)[:3])
            raise UsageError(f"{job_id!r} matches several jobs: {ids}", code="E_NO_JOB")
        if found and own:
            return own[found.pop()]
        if place is None:
            raise UsageError(f"there is no job {job_id!r}", code="E_NO_JOB")
        return _attached(_find_remote(place, job_id) if known is None else known, output, force)

    def inspect(self, video: FilePath) -> InspectedVideo:
        """What a video was made from, where its inputs are, and how the file changed since.

        Needs no network. Raises FileError for what is no MP4, or holds an absurd recipe.
        """
        from multitalk_cli.recipes.inspect import inspect

        return inspect(Path(video))

    def verify(self, video: FilePath, *inputs: FilePath) -> VerifiedVideo:
        """Compares a video, and files given as its inputs, with the recipe; see `differences`.

        Raises FileError for what is no MP4 or has no recipe.
        """
        from multitalk_cli.recipes.inspect import verify

        return verify(Path(video), [Path(each) for each in inputs])

    def compare(self, first: FilePath, second: FilePath) -> ComparedVideos:
        """Two videos next to each other: their frames, figures and recipes.

        Takes some 40 ms of a processor for each frame. Raises FileError for what is no MP4.
        """
        from multitalk_cli.recipes.compare import compare

        return compare(Path(first), Path(second), QuietReporter())

    def jobs(
        self,
        limit: int = 20,
        *,
        states: Sequence[str] = (),
        since: datetime | None = None,
        search: str = "",
        refresh: bool = False,
    ) -> list[JobHandle]:
        """This client's jobs, and on Modal those of this machine's ledger, the newest first.

        states: such as "running", "done", "not-fetched", "file-missing", "expired", "failed",
        "cancelled" or "stopped". since: the earliest start. search: part of a name, a path or the
        prompt. These leave out the jobs of other backends. refresh: asks Modal first what became of
        jobs that ran. Raises UsageError E_RANGE for an unknown state, and what keeps Modal from
        being asked.
        """
        from multitalk_cli.jobs import ledger, listing
        from multitalk_cli.jobs.search import JobQuery
        from multitalk_cli.jobs.search import search as search_jobs
        from multitalk_cli.jobs.states import STATES

        for state in states:
            if state not in STATES:
                message = f"states are {', '.join(STATES)}, not {state!r}"
                raise UsageError(message, code="E_RANGE")
        with self._lock:
            own = dict(reversed(self._jobs.items()))
        place = self._app()
        if place is None:
            return [] if states or since or search else list(own.values())[:limit]
        kept = ledger.Ledger()
        if refresh:
            asked = listing.refresh_all(kept, kept.unfinished())
            if asked.error is not None:
                raise asked.error
        since_s = 0.0 if since is None else since.timestamp()
        query = JobQuery(states=tuple(states), since_s=since_s, text=search, kind=ledger.GENERATE)
        listed = [
            own[job.id] if job.id in own else _attached(job, None, False)
            for job in search_jobs(kept, query, limit)
        ]
        if states or since or search:
            return listed
        known = {handle.id for handle in listed}
        return [*(each for each in own.values() if each.id not in known), *listed][:limit]

    def spent_usd(self, since: datetime | None = None) -> float:
        """What this machine's calls on Modal cost since then, or in all, as far as it is known.

        Benchmarks, checks and downloads count too, and running jobs with what was seen last.
        """
        from multitalk_cli.jobs.ledger import Ledger
        from multitalk_cli.jobs.search import JobQuery, total

        since_s = 0.0 if since is None else since.timestamp()
        return total(Ledger(), JobQuery(since_s=since_s)).price_usd

    def _begin(self, handle: JobHandle) -> JobHandle:
        """Starts the job; returns the handle that already makes it for the same destination."""
        with self._lock:
            same = self._jobs.get(handle.id)
            is_known = same is not None and same.destination == handle.destination
            if same is not None and is_known and same.state == "running":
                return same
            self._jobs[handle.id] = handle
        if not handle.outlives_program:
            handle.follow()
        return handle

    def _app(self) -> AppRef | None:
        """The app on Modal, unless the backend is on this machine."""
        from multitalk_cli.cloud import modal_config
        from multitalk_cli.cloud.errors import AppRef

        backend = self._settings["backend"]
        is_auto = backend == "auto" and self._settings["weights"] is None
        if backend == "modal" or (is_auto and modal_config.has_token()):
            return AppRef(app=self._settings["app"], environment=self._settings["environment"])
        return None


class JobHandle:
    """One job, which may be used from several threads.

    id: of the job; on Modal any program can attach by it. name: of the video. outlives_program:
    whether the job continues when the program ends. destination: equal where jobs write to the
    same places.
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
                return "done"
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
        _followed.discard(self)
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


def _attached(job: Job, output: FilePath | None, force: bool) -> JobHandle:
    """A job of the ledger or the index, which is followed on demand."""
    from multitalk_cli.cloud.errors import AppRef
    from multitalk_cli.generation.result import Video
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
        made = fetched.result
        return Video(
            path=None if fetched.path is None else fetched.path.absolute(),
            stored=made.stored,
            backend=made.backend,
            model_output=made.model_output,
            frames=made.frames,
            fps=made.fps,
            duration_s=made.duration_s,
            seed=made.seed,
            price_usd=made.price_usd,
            adjusted=made.adjusted,
            warnings=made.warnings,
            made=made,
        )

    states: dict[str, JobState] = {
        ledger.DONE: "done",
        ledger.EXPIRED: "done",
        ledger.FAILED: "failed",
        ledger.CANCELLED: "cancelled",
    }
    recorded = states.get(job.state, "running")
    return JobHandle(job.id, job.label, work, reporter, outlives_program=True, recorded=recorded)


def _find_remote(place: AppRef, job_id: str) -> Job:
    """The job with this id or prefix that the ledger lacks, from the cloud."""
    from multitalk_cli.cloud.client import Cloud
    from multitalk_cli.jobs import control
    from multitalk_cli.jobs.ledger import Ledger

    return control.find_job(Cloud.reachable(place), Ledger(), job_id)


def _args(
    image: FilePath,
    voices: tuple[FilePath, ...],
    speakers: Mapping[str, FilePath] | None,
    *,
    prompt: str,
    seed: int | None,
    output: FilePath | None = None,
    **flags: Any,
) -> GenerateArgs:
    from multitalk_cli.generation.spec import GenerateArgs

    placed = {} if speakers is None else speakers
    return GenerateArgs(
        image=os.fspath(image),
        voices=tuple(os.fspath(voice) for voice in voices),
        speakers=tuple(f"{place}={os.fspath(voice)}" for place, voice in placed.items()),
        prompt=prompt,
        seed=seed,
        output=None if output is None else os.fspath(output),
        **flags,
    )
