"""The library: plans and makes videos from a program, without printing or touching signals.

    from multitalk_cli import Client

    client = Client(backend="preview")
    job = client.submit("host.jpg", "voice.wav")
    print(job.result().path)

Everything raises `MultitalkError` with a code, a message and facts; whatever can be checked is
checked before anything is paid.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakValueDictionary

from multitalk_cli.contract import Done, Failed
from multitalk_cli.errors import UsageError
from multitalk_cli.job_handle import FilePath, JobHandle, attached, find_remote, finishing
from multitalk_cli.reporting.job_reporter import JobReporter
from multitalk_cli.reporting.reporter import NoStopRequests, QuietReporter, StoppedError
from multitalk_cli.settings import DEFAULT_PROMPT, load_settings, merged

if TYPE_CHECKING:
    from datetime import datetime

    from multitalk_cli.batch.run import BatchResult
    from multitalk_cli.cloud.errors import AppRef
    from multitalk_cli.contract import Event
    from multitalk_cli.generation.result import Video, VideoPlan
    from multitalk_cli.generation.spec import GenerateArgs
    from multitalk_cli.recipes.compare import ComparedVideos
    from multitalk_cli.recipes.inspect import InspectedVideo, VerifiedVideo
    from multitalk_cli.settings import Settings


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
        # A job on Modal that has ended stays as long as the program holds it: the ledger has it.
        self._jobs: WeakValueDictionary[str, JobHandle] = WeakValueDictionary()
        self._kept: set[JobHandle] = set()
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

    def submit(  # noqa: PLR0913 - one for each option of generate
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
        first: bool = False,
    ) -> JobHandle:
        """Starts a video and returns its job once it is checked and started.

        image, voices: paths or s3:// addresses. speakers: position -> voice, in place of `voices`:
        "left", "right", "face:2" or "box:10%,20%,40%,80%". seed: random if None. output: a file,
        "FOLDER/" or a template; by default the voice's name in the current folder. upload,
        upload_to: store the video too. force: overwrite the output. first: make the first window
        alone, in VOICE.first.mp4; `Video.first` names the price of the rest, which `finish` makes.

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
            first=first,
        )
        return self._start(args, self._settings)

    def finish(
        self, job_or_video: FilePath, *, output: FilePath | None = None, force: bool = False
    ) -> JobHandle:
        """Starts the rest of a video whose first window was made, which is not paid again.

        job_or_video: the job's id or its beginning, or the file of the first window. output: a file
        or folder in place of the one that its first command named. Raises UsageError E_NOT_FIRST
        where there is no rest to make, RefusedError E_COST as `submit`.
        """
        from multitalk_cli.cloud.errors import AppRef
        from multitalk_cli.generation.finish import find_unfinished
        from multitalk_cli.recipes.finish import find_job, finish_arguments

        word, target = os.fspath(job_or_video), None if output is None else os.fspath(output)
        job_id = find_job(word)
        if not job_id:
            args, chosen = finish_arguments(Path(word), self._settings, QuietReporter())
            args = replace(args, output=args.output if target is None else target, force=force)
            return self._start(args, chosen)
        place = AppRef(app=self._settings["app"], environment=self._settings["environment"])
        found = find_unfinished(place, job_id, target, force=force)
        return self._begin(finishing(found, self._settings["max_cost"], force))

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
        chosen = load_settings(merged(self._given, settings), as_keywords=True)
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
        first: bool = False,
    ) -> BatchResult:
        """Makes the videos of a list, a CSV or JSON lines file, and waits for all of them.

        output: a folder or template for rows without one. parallel: videos at the same time.
        budget_usd: the most for all, with what earlier runs of these rows paid. fail_fast: start
        nothing else after a failure. first: the first window of each alone. Rows that fail raise
        nothing, see `BatchResult.results`. Raises one error for all that is wrong with the list,
        and RefusedError E_COST above 5 dollars without a budget.
        """
        from multitalk_cli.batch import manifest as manifests
        from multitalk_cli.batch import plan, rows, run

        found = manifests.read_manifest(os.fspath(manifest))
        where = None if output is None else os.fspath(output)
        quiet = QuietReporter()
        read = rows.read_rows(
            found,
            rows.Defaults(output=where, given=self._given, first=first),
            quiet,
            found.problems,
        )
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
        return attached(find_remote(place, job_id) if known is None else known, output, force)

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
            own = dict(reversed([*self._jobs.items()]))
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
            own[job.id] if job.id in own else attached(job, None, False)
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
            self._kept.add(handle)
        if handle.outlives_program:
            handle.on_end = self._kept.discard
        else:
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
