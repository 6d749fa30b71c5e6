"""The cloud: a call of the deployed class makes the video, and is followed from here."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multitalk_cli import contract
from multitalk_cli.cloud.client import Cloud
from multitalk_cli.cloud.loras import find_digests
from multitalk_cli.cloud.readiness import check_deployed, check_first_window, check_ready
from multitalk_cli.cloud.remote_storage import CloudStore
from multitalk_cli.errors import MultitalkError
from multitalk_cli.generation.backends.base import (
    Events,
    GenerateTask,
    KnownJob,
    StartedRun,
    Wanted,
)
from multitalk_cli.generation.output_path import recorded_path
from multitalk_cli.generation.reuse import LORA_CONTENT, has_same_lora
from multitalk_cli.jobs import fetch
from multitalk_cli.jobs import ledger as jobs_ledger
from multitalk_cli.jobs.call import call_wire
from multitalk_cli.jobs.first import can_be_finished, require_whole, resume, seconds_left
from multitalk_cli.jobs.follow import Follower
from multitalk_cli.jobs.refresh import refresh
from multitalk_cli.jobs.spawning import spawn_lock
from multitalk_cli.planning import gpus
from multitalk_cli.planning.presets import default_shift, name_of

if TYPE_CHECKING:
    from multitalk_cli.cloud.errors import AppRef
    from multitalk_cli.jobs.ledger import Job
    from multitalk_cli.planning.presets import Denoising
    from multitalk_cli.planning.windows import Plan
    from multitalk_cli.reporting.reporter import Reporter
    from multitalk_cli.storage.upload import UploadTarget


NAME = "modal"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModalOptions:
    """Options of a run that are not in the request.

    place: the app that runs it. max_cost: in dollars, of the video. for_plan: whether no video is
    made, so that no weights are needed.
    """

    place: AppRef
    stack: str
    gpu: str
    attention: str
    keep_inputs: bool
    denoising: Denoising
    persistent_params: int | None = None
    max_cost: float | None = None
    for_plan: bool = False


class Prefetched:
    """A cloud that is looked up and checked in a thread, while inputs are prepared."""

    def __init__(self, options: ModalOptions) -> None:
        self._cloud: Cloud | None = None
        self._error: Exception | None = None
        # Not waited for where the video turns out to exist.
        self._thread = threading.Thread(target=self._connect, args=(options,), daemon=True)
        self._thread.start()

    def _connect(self, options: ModalOptions) -> None:
        try:
            cloud = Cloud.reachable(options.place)
            if options.for_plan:
                record = cloud.require_deployment()
                check_deployed(cloud, record, options.stack, options.denoising)
            else:
                check_ready(cloud, options.stack, options.denoising)
            self._cloud = cloud
        except Exception as error:  # noqa: BLE001 - raised again where it is asked for
            self._error = error

    def get(self) -> Cloud:
        """The cloud. Raises SetupError for what is not set up, TemporaryError without a network."""
        self._thread.join()
        if self._cloud is None:
            raise self._error or RuntimeError("the cloud was not looked up")
        return self._cloud


class ModalBackend:
    """Makes videos in the cloud."""

    def __init__(self, options: ModalOptions, reporter: Reporter) -> None:
        self._options, self._reporter = options, reporter
        reporter.leaving = "interrupted; no job was started"
        self._prefetched = Prefetched(options)
        self._answers: dict[str, Mapping[str, Any] | None] = {}
        self._announced: str | None = None
        self.store = CloudStore(self._prefetched.get)

    def check(self, plan: Plan) -> None:
        """Raises RefusedError for what the GPU cannot do, and what the look-up raised."""
        options, gpu = self._options, gpus.find_gpu(self._options.gpu)
        gpus.check_gpu(gpu, options.stack, plan)
        preset = name_of(options.denoising, default_shift(plan.width_px, plan.height_px))
        gpus.check_tier(options.denoising.tier, gpu, options.stack, preset)
        gpus.check_attention(options.attention, gpu, options.stack)
        self._prefetched.get()

    def find_loras(self) -> Mapping[str, str]:
        """The sha256 of each LoRA, by name. Raises what the look-up raised."""
        loras = self._options.denoising.loras
        return find_digests(self._prefetched.get(), loras) if loras else {}

    # What earlier commands did

    def find_known(self, wanted: Wanted) -> KnownJob | None:
        """The job of an earlier command that makes, made or began the same video.

        Raises FileError E_OUTPUT_TAKEN where another one is to write to its target.
        """
        ledger, target = jobs_ledger.Ledger(), recorded_path(wanted.target)
        if not ledger.concerns(target, [each.sha256 for each in wanted.inputs]):
            return None
        names = wanted.fingerprints()
        if not wanted.overwrite:
            self._refuse_taken(ledger, target, names)
        place = self._options.place
        job = ledger.find_same(place.app, place.environment, names)
        if job is None or wanted.overwrite:
            return None
        known = self._known_of(ledger, job, wanted)
        self._announced = None if known is None else known.job_id
        return known

    def _refuse_taken(
        self, ledger: jobs_ledger.Ledger, target: str, names: tuple[str, ...]
    ) -> None:
        """Raises FileError where another job is to write there, which Modal is asked about."""
        for holder in ledger.holders(target, names):
            if holder.state != jobs_ledger.DONE:
                refresh(self._prefetched.get(), ledger, holder)
        for holder in ledger.holders(target, names):
            raise jobs_ledger.taken(target, holder)

    def _known_of(self, ledger: jobs_ledger.Ledger, job: Job, wanted: Wanted) -> KnownJob | None:
        cloud, first = self._prefetched.get(), wanted.first
        if job.state in (jobs_ledger.SPAWNING, jobs_ledger.RUNNING, jobs_ledger.FIRST):
            # It may have ended since somebody looked, or be finished by another machine.
            job = refresh(cloud, ledger, job).job
        if job.state == jobs_ledger.FIRST and not first:
            if not can_be_finished(cloud, job):
                return None
            return KnownJob(job_id=job.id, seed=job.seed, state="stopped", windows=1)
        if job.state in (jobs_ledger.DONE, jobs_ledger.FIRST):
            answer = self._answer_of(cloud, job)
            is_kept = answer is not None or fetch.copied_video(job) is not None
            if _has_other_lora(answer, wanted.recipe):
                return None
            if is_kept:
                return KnownJob(job_id=job.id, seed=job.seed, state="done", is_first=job.is_first)
            ledger.update(job.id, state=jobs_ledger.EXPIRED)
            return None
        if not first:
            require_whole(job)
        if job.state == jobs_ledger.LOST:
            state = cloud.state(job.id)
            windows = 0 if state is None else int(state["windows"])
            return KnownJob(job_id=job.id, seed=job.seed, state="stopped", windows=windows)
        if job.is_unfinished:
            return KnownJob(job_id=job.id, seed=job.seed, state="running")
        return None

    def _answer_of(self, cloud: Cloud, job: Job) -> Mapping[str, Any] | None:
        """The kept answer of a finished job, read once."""
        if job.id not in self._answers:
            self._answers[job.id] = fetch.load_result(cloud, job)
        return self._answers[job.id]

    # The video itself

    def start(self, task: GenerateTask) -> StartedRun:
        """Starts the video's call, or finds the job that makes or made the same video.

        Raises DetachedError or StoppedError where a request to stop came meanwhile.
        """
        cloud, ledger = self._prefetched.get(), jobs_ledger.Ledger()
        if task.first:
            check_first_window(cloud)
        # Held until the call is noted: another command for the same video waits for that.
        with spawn_lock(ledger.folder, task.job_id):
            job, is_new = self._enter(cloud, ledger, task)
            if is_new:
                return self._begin(cloud, ledger, job, task)
        if job.state == jobs_ledger.FIRST:
            # Another machine may have finished it.
            job = refresh(cloud, ledger, job).job
        if job.state == jobs_ledger.DONE or (job.state == jobs_ledger.FIRST and task.first):
            made = self._made(cloud, ledger, job, task)
            if made is not None:
                return made
            ledger.update(job.id, state=jobs_ledger.EXPIRED)
            return self.start(task)
        if job.state == jobs_ledger.FIRST and not can_be_finished(cloud, job):
            ledger.update(job.id, state=jobs_ledger.EXPIRED)
            return self.start(task)
        if job.state in jobs_ledger.RESUMABLE:
            with spawn_lock(ledger.folder, job.id):
                resumed = resume(
                    cloud,
                    ledger,
                    job,
                    first=task.first,
                    gpu=self._options.gpu,
                    stack=self._options.stack,
                )
                if resumed is not None:
                    self._note(resumed, f"resumes, seed {job.seed}")
                    return self._begin(cloud, ledger, resumed, task)
            job = ledger.get(job.id) or job
        if not task.first:
            require_whole(job)
        self._note(job, f"is already making this video, seed {job.seed}")
        follower = self._follower(cloud, ledger, job, task)
        return self._followed(follower, task)

    def _enter(
        self, cloud: Cloud, ledger: jobs_ledger.Ledger, task: GenerateTask
    ) -> tuple[Job, bool]:
        place, recipe = self._options.place, json.loads(task.recipe)
        same = ledger.find_same(place.app, place.environment, task.fingerprints)
        is_made = same is not None and same.state in (jobs_ledger.DONE, jobs_ledger.FIRST)
        answer = self._answer_of(cloud, same) if same and is_made and recipe.get("lora") else None
        return ledger.start(
            self._job(task),
            task.fingerprints,
            inputs=task.inputs,
            force=task.overwrite or _has_other_lora(answer, recipe),
            take_target=task.overwrite,
        )

    def _made(
        self, cloud: Cloud, ledger: jobs_ledger.Ledger, job: Job, task: GenerateTask
    ) -> StartedRun | None:
        """The video of a finished job, from the cloud or else from its file; None without both."""
        answer, path = self._answer_of(cloud, job), None
        if answer is None:
            copied = fetch.copied_video(job)
            if copied is None:
                return None
            answer, path = copied.answer, copied.path
        self._note(job, f"made this video already, seed {job.seed}; nothing is paid")
        kept = fetch.FinishedJob(cloud=cloud, ledger=ledger, job=job, answer=answer, copied=path)
        return StartedRun(job_id=job.id, events=self._deliver(kept, task), is_paid_before=True)

    def _begin(
        self, cloud: Cloud, ledger: jobs_ledger.Ledger, job: Job, task: GenerateTask
    ) -> StartedRun:
        """Makes the job's next call."""
        if job.id == task.job_id:
            task.keep()
        self._reporter.fact("job", f"{job.id}, {gpus.find_gpu(job.gpu).name}")
        follower = self._follower(cloud, ledger, job, task)
        follower.start("" if task.target is None or task.is_temporary else task.name)
        return self._followed(follower, task)

    def _follower(
        self, cloud: Cloud, ledger: jobs_ledger.Ledger, job: Job, task: GenerateTask
    ) -> Follower:
        request = task.request
        if request is not None and job.id != task.job_id:
            request = replace(request, job_id=job.id, seed=job.seed, recipe=job.recipe)
        spawn = self._spawner(cloud, request, task.upload)
        return Follower(cloud, ledger, self._reporter, job, spawn)

    def _followed(self, follower: Follower, task: GenerateTask) -> StartedRun:
        self._reporter.leaving = "interrupted; the job keeps running, the same command follows it"
        return StartedRun(
            job_id=follower.job.id,
            events=self._follow(follower, task),
            can_detach=True,
            spent_usd=lambda: follower.spent_usd,
            facts=self._options.place.facts,
        )

    def _note(self, job: Job, what: str) -> None:
        """Says what an earlier job means for this one, unless that was said before the price."""
        if self._announced != job.id:
            self._reporter.note(f"job {job.id} {what}")

    def _spawner(
        self, cloud: Cloud, request: contract.GenerateRequest | None, upload: UploadTarget | None
    ) -> Callable[[Job], str]:
        """The function that makes a call of a job."""

        def spawn(job: Job) -> str:
            wire = call_wire(
                job,
                request,
                upload,
                keep_inputs=self._options.keep_inputs,
                persistent_params=self._options.persistent_params,
                most_s=seconds_left(job, self._options.max_cost),
            )
            return cloud.spawn(job.stack, job.gpu, wire)

        return spawn

    def _follow(self, follower: Follower, task: GenerateTask) -> Events:
        with closing(follower.events()) as events:
            for event in events:
                if isinstance(event, contract.Done):
                    yield from self._deliver(follower.finished(), task)
                else:
                    yield event

    def _deliver(self, kept: fetch.FinishedJob, task: GenerateTask) -> Events:
        """Writes a finished video to its file and to the store."""
        self._reporter.leaving = "interrupted; the job is done, the same command fetches its video"
        is_recorded = not task.is_temporary
        is_first = kept.done.result.is_first_window
        target = task.target if is_first else task.whole
        events = fetch.fetch(kept, target, overwrite=task.overwrite, is_recorded=is_recorded)
        for event in events:
            if isinstance(event, contract.Done) and task.upload is not None and not is_first:
                yield contract.Done(result=self._stored(kept, task, task.upload, event.result))
            else:
                yield event

    def _stored(
        self,
        kept: fetch.FinishedJob,
        task: GenerateTask,
        upload: UploadTarget,
        result: contract.Result,
    ) -> contract.Result:
        """The result, with the video in the store even where its call did not put it there."""
        if upload.is_at(result.stored, result.job_id):
            return result
        fetch.check_stored(kept, task.whole)
        try:
            address = self.store.put(upload, kept.job.id)
        except MultitalkError as error:
            raise fetch.unstored(kept.job, task.whole, error) from error
        recorded = None if task.is_temporary else task.whole
        return fetch.note_stored(kept, recorded, replace(result, stored=address))

    def _job(self, task: GenerateTask) -> Job:
        options = self._options
        return jobs_ledger.Job(
            id=task.job_id,
            fingerprint=task.fingerprints[0],
            app=options.place.app,
            environment=options.place.environment,
            stack=options.stack,
            gpu=options.gpu,
            seed=task.seed,
            target=recorded_path(None if task.is_temporary else task.whole),
            label=Path(task.name).stem,
            recipe=task.recipe,
            request=task.arguments,
            prompt=task.prompt,
            first=jobs_ledger.ASKED if task.first else "",
        )


def _has_other_lora(answer: Mapping[str, Any] | None, recipe: Mapping[str, Any]) -> bool:
    """Whether another file had the LoRA's name when the video of a kept answer was made."""
    if answer is None or LORA_CONTENT not in recipe:
        return False
    done = contract.from_wire(contract.Done, answer["event"])
    return not has_same_lora(json.loads(done.result.recipe), recipe)
