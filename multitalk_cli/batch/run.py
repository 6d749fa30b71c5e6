"""The run of a batch: several videos at the same time, within a budget, until all have ended."""

from __future__ import annotations

import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, Protocol

from multitalk_cli.batch.plan import Budget, paid_before
from multitalk_cli.contract import Done, Failed
from multitalk_cli.errors import MultitalkError, RemoteError, SetupError
from multitalk_cli.generation import run as generation
from multitalk_cli.generation.job import open_job
from multitalk_cli.generation.result import Video
from multitalk_cli.jobs.follow import DetachedError
from multitalk_cli.reporting.formatting import human_money
from multitalk_cli.reporting.job_reporter import JobReporter
from multitalk_cli.reporting.reporter import StoppedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from multitalk_cli.batch.plan import BatchPlan, PlannedVideo
    from multitalk_cli.contract import Event
    from multitalk_cli.reporting.reporter import Choice, StopRequests

State = Literal["done", "failed", "cancelled", "running", "not started"]
PARALLEL = 4
"""Videos at the same time, in the cloud; on this machine one after the other."""
MOST_PARALLEL = 64
_PREPARED_AT_ONCE = 2
_POLL_S = 0.1
QUESTION = (
    "d = detach (what has started keeps running), c = cancel all (frees the GPUs), "
    "Enter = keep watching"
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VideoResult:
    """How one video of a batch ended.

    state: "running" where its job continues without us. price_usd: what it cost, or so far; None on
    this machine and where nothing was started. code, reason: of a failure, and of a video that was
    not started. took_s: until its file was written.
    """

    planned: PlannedVideo
    state: State
    video: Video | None = None
    job_id: str = ""
    price_usd: float | None = None
    code: str = ""
    reason: str = ""
    took_s: float = 0.0

    @property
    def is_done(self) -> bool:
        """Whether its file is there."""
        return self.state == "done"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BatchResult:
    """How a batch ended, in the order of its list.

    stopped: how the user ended it. enough_usd: a budget that all videos would fit into, where this
    one was too small. paid_before_usd: what earlier runs paid for each video, by its name.
    """

    plan: BatchPlan
    results: tuple[VideoResult, ...]
    took_s: float
    stopped: Choice | None = None
    enough_usd: float | None = None
    paid_before_usd: Mapping[str, float] = field(default_factory=dict)

    def count(self, *states: State) -> int:
        """How many ended like this."""
        return sum(result.state in states for result in self.results)

    @property
    def paid_usd(self) -> float:
        """What this run has paid."""
        return sum(result.price_usd or 0.0 for result in self.results)

    @property
    def is_complete(self) -> bool:
        """Whether every video is there."""
        return all(result.is_done for result in self.results)


class Watcher(Protocol):
    """Sees a batch while it runs. Its methods are called from several threads."""

    def started(self, planned: PlannedVideo) -> None:
        """A video is being prepared."""

    def show(self, planned: PlannedVideo, event: Event, spent_usd: float | None) -> None:
        """An event of a video."""

    def ended(self, result: VideoResult) -> None:
        """A video has ended."""


class Unwatched:
    """Nobody watches."""

    def started(self, planned: PlannedVideo) -> None:
        """Shows nothing."""

    def show(self, planned: PlannedVideo, event: Event, spent_usd: float | None) -> None:
        """Shows nothing."""

    def ended(self, result: VideoResult) -> None:
        """Shows nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """parallel: None for what suits the backend. fail_fast: a failure is the last video started."""

    parallel: int | None = None
    budget_usd: float | None = None
    fail_fast: bool = False


def run_batch(
    plan: BatchPlan, options: RunOptions, watcher: Watcher, requests: StopRequests
) -> BatchResult:
    """Makes the videos. Every call that it makes ends, or is left running on purpose.

    requests: see `Reporter.stop_requests`. Raises SetupError before anything is started.
    """
    _check_setup(plan)
    began_s = time.monotonic()
    runner = _Runner(plan, options, watcher, requests)
    results = runner.run()
    order = {id(video): number for number, video in enumerate(plan.videos)}
    return BatchResult(
        plan=plan,
        results=tuple(sorted(results, key=lambda each: order[id(each.planned)])),
        took_s=time.monotonic() - began_s,
        stopped=runner.stopped,
        enough_usd=runner.enough_usd,
        paid_before_usd=runner.paid_before_usd,
    )


def _check_setup(plan: BatchPlan) -> None:
    """Raises SetupError for what no row could be made without, TemporaryError offline."""
    from multitalk_cli.cloud.client import Cloud
    from multitalk_cli.cloud.errors import AppRef
    from multitalk_cli.cloud.readiness import check_ready
    from multitalk_cli.planning.presets import denoising_of

    needed = {}
    for video in plan.videos:
        if video.row.is_paid and video.known not in ("made", "whole"):
            chosen = video.row.settings
            place = AppRef(app=chosen["app"], environment=chosen["environment"])
            denoising = denoising_of(chosen)
            key = (place, chosen["stack"], denoising.needs, denoising.loras)
            needed[key] = denoising
    for (place, stack, *_), denoising in needed.items():
        check_ready(Cloud.reachable(place), stack, denoising)


@dataclass(slots=True, eq=False)
class _Running:
    """A video that a thread makes.

    spent_usd: the price so far. is_shared: whether another video of the batch has paid for it.
    """

    planned: PlannedVideo
    reporter: JobReporter
    began_s: float
    job_id: str = ""
    spent_usd: float | None = None
    can_detach: bool = False
    is_shared: bool = False


class _Runner:
    """Starts what fits, waits for what runs, and stops all of it on request."""

    def __init__(
        self, plan: BatchPlan, options: RunOptions, watcher: Watcher, requests: StopRequests
    ) -> None:
        self._options, self._watcher, self._requests = options, watcher, requests
        self._waiting = plan.ordered()
        self._running: list[_Running] = []
        self._ended: queue.SimpleQueue[tuple[_Running, VideoResult]] = queue.SimpleQueue()
        self._results: list[VideoResult] = []
        self._preparing = threading.BoundedSemaphore(_PREPARED_AT_ONCE)
        self.paid_before_usd = paid_before(plan)
        paid_usd = sum(self.paid_before_usd.values())
        self._budget = Budget(limit_usd=options.budget_usd, paid_usd=paid_usd)
        self._done: dict[PlannedVideo, bool] = {}
        self._halt = ""
        self.stopped: Choice | None = None
        self.enough_usd: float | None = None

    def run(self) -> list[VideoResult]:
        """All results, once every video has ended."""
        parallel = self._options.parallel or PARALLEL
        with ThreadPoolExecutor(parallel, thread_name_prefix="multitalk-row") as pool:
            while self._waiting or self._running:
                self._stop_if_asked()
                self._start(pool, parallel)
                if not self._running:
                    break
                with suppress(queue.Empty):
                    self._note_end(*self._ended.get(timeout=_POLL_S))
        for planned in self._waiting:
            reason = self._halt or self._beyond(planned)
            self._keep(VideoResult(planned=planned, state="not started", reason=reason))
        if self._waiting and not self._halt:
            missing = sum(each.planned.price_usd for each in self._results if not each.is_done)
            self.enough_usd = self._budget.paid_usd + missing
        return self._results

    # Starting

    def _start(self, pool: ThreadPoolExecutor, parallel: int) -> None:
        while not self._halt and (planned := self._next(parallel)) is not None:
            self._waiting.remove(planned)
            running = _Running(planned, JobReporter(), time.monotonic())
            running.is_shared = self._is_shared(planned)
            self._running.append(running)
            self._budget.reserved_usd[id(running)] = self._price_usd(planned)
            pool.submit(self._make, running)

    def _next(self, parallel: int) -> PlannedVideo | None:
        """The next video that there is room and money for."""
        here = sum(not each.planned.row.is_paid for each in self._running)
        most_here = self._options.parallel or 1
        for planned in self._waiting:
            has_room = len(self._running) < parallel
            if not planned.row.is_paid:
                # Weights fill the memory of a GPU here.
                has_room &= here < (1 if planned.row.backend == "local" else most_here)
            # A video of the same job waits for it.
            has_room &= planned.same_as is None or planned.same_as in self._done
            if has_room and self._budget.fits(self._price_usd(planned)):
                return planned
        return None

    def _is_shared(self, planned: PlannedVideo) -> bool:
        """Whether another video of the batch, which is done, has paid for it."""
        return planned.same_as is not None and self._done.get(planned.same_as, False)

    def _price_usd(self, planned: PlannedVideo) -> float:
        """The most that it still costs, also where the one that was to pay for it has failed."""
        return 0.0 if self._is_shared(planned) else (planned.same_as or planned).price_usd

    def _beyond(self, planned: PlannedVideo) -> str:
        """Why a video does not fit."""
        price, budget = human_money(self._price_usd(planned)), self._budget
        limit, paid = human_money(budget.limit_usd or 0.0), human_money(budget.paid_usd)
        return f"up to {price} does not fit: {paid} of {limit} are spent"

    # One video, in a thread

    def _make(self, running: _Running) -> None:
        planned, reporter = running.planned, running.reporter
        self._watcher.started(planned)
        result = VideoResult(planned=planned, state="failed")
        try:
            video = self._make_video(running)
            result = replace(result, state="done", video=video)
        except DetachedError as left:
            running.job_id = left.job_id
            result = replace(result, state="running")
        except StoppedError:
            is_left = running.can_detach and not reporter.should_stop.is_set()
            result = replace(result, state="running" if is_left else "cancelled")
        except MultitalkError as error:
            is_cancelled = error.code == "E_CANCELLED"
            is_running = running.can_detach and error.code == "E_NETWORK"
            state: State = "cancelled" if is_cancelled else "running" if is_running else "failed"
            result = replace(result, state=state, code=error.code, reason=error.message)
            if isinstance(error, SetupError):
                self._halt = self._halt or f"row {planned.row.number} failed: {error.message}"
        except Exception as error:  # noqa: BLE001 - the other videos must end in order
            text = f"{type(error).__name__}: {error}"
            result = replace(result, code="E_BUG", reason=text)
        self._ended.put((running, self._priced(running, result)))

    def _priced(self, running: _Running, result: VideoResult) -> VideoResult:
        price = running.spent_usd
        job_id = running.job_id
        if result.video is not None:
            price = result.video.price_usd
            if price is not None:
                # What its first window cost was paid by an earlier command.
                price = max(0.0, price - running.planned.paid_usd)
            job_id = job_id if result.video.made is None else result.video.made.job_id
        if result.is_done and running.is_shared:
            price = 0.0
        took_s = time.monotonic() - running.began_s
        return replace(result, job_id=job_id, price_usd=price, took_s=took_s)

    def _make_video(self, running: _Running) -> Video:
        planned, reporter = running.planned, running.reporter

        def show(event: Event, spent_usd: float | None) -> None:
            running.spent_usd = running.spent_usd if spent_usd is None else spent_usd
            self._watcher.show(planned, event, spent_usd)
            is_end = isinstance(event, Done | Failed)
            # A run in the cloud answers requests to stop itself: it must be cancelled there.
            if _should_stop(reporter) and not (running.can_detach or is_end):
                raise StoppedError

        if planned.video is not None:
            return planned.video
        with self._preparing:
            _leave_if_asked(reporter)
            row = planned.row
            opened = open_job(row.args, row.settings, reporter, prepared=planned.inputs)
            with opened as job:
                existing = generation.find_existing(job, reporter)
                if isinstance(existing, Video):
                    return existing
                if planned.known == "finished" and (existing is None or existing.state != "done"):
                    raise RemoteError(
                        "the video that was to be fetched is no longer kept, or of another file of "
                        "its LoRA: run the same command again to make it, for its price",
                        code="E_EXPIRED",
                    )
                _leave_if_asked(reporter)
                run = generation.start(job, reporter)
        running.job_id, running.can_detach = run.job_id, run.can_detach
        result = generation.follow(run, show)
        running.spent_usd = result.price_usd
        return generation.finish(job, run, result, reporter)

    # The end of one, and of all

    def _note_end(self, running: _Running, result: VideoResult) -> None:
        self._running.remove(running)
        del self._budget.reserved_usd[id(running)]
        self._budget.paid_usd += result.price_usd or 0.0
        self._keep(result)
        if result.state == "failed" and self._options.fail_fast and not self._halt:
            self._halt = f"row {result.planned.row.number} failed (--fail-fast)"

    def _keep(self, result: VideoResult) -> None:
        self._results.append(result)
        self._done[result.planned] = result.is_done
        self._watcher.ended(result)

    def _stop_if_asked(self) -> None:
        if self.stopped is None and self._requests.is_pending:
            can_detach = any(each.planned.row.is_paid for each in self._running)
            choice = self._requests.choose(QUESTION if can_detach else None)
            if choice == "watch":
                return
            self.stopped, self._halt = choice, "stopped"
            for each in self._running:
                is_left = choice == "detach" and each.planned.row.is_paid
                (each.reporter.should_detach if is_left else each.reporter.should_stop).set()
        if self.stopped is not None and self._requests.is_urgent:
            for each in self._running:
                each.reporter.should_hurry.set()


def _should_stop(reporter: JobReporter) -> bool:
    return reporter.should_stop.is_set() or reporter.should_detach.is_set()


def _leave_if_asked(reporter: JobReporter) -> None:
    """Before a call is made. Raises StoppedError."""
    if _should_stop(reporter):
        raise StoppedError
