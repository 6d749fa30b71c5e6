"""The cloud: a call of the deployed class makes the video, and is followed from here."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multitalk_cli import contract
from multitalk_cli.cloud.client import Cloud
from multitalk_cli.cloud.readiness import check_deployed, check_ready
from multitalk_cli.cloud.remote_storage import CloudStore
from multitalk_cli.errors import MultitalkError
from multitalk_cli.generation.backends.base import Events, GenerateTask, StartedRun
from multitalk_cli.jobs import fetch
from multitalk_cli.jobs import ledger as jobs_ledger
from multitalk_cli.jobs.call import call_wire
from multitalk_cli.jobs.follow import Follower
from multitalk_cli.planning import gpus

if TYPE_CHECKING:
    from multitalk_cli.cloud.errors import AppRef
    from multitalk_cli.jobs.ledger import Job
    from multitalk_cli.planning.windows import Plan
    from multitalk_cli.reporting.reporter import Reporter
    from multitalk_cli.storage.upload import UploadTarget


NAME = "modal"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModalOptions:
    """Options of a run that are not in the request.

    place: the app that runs it. for_plan: whether no video is made, so that no weights are needed.
    """

    place: AppRef
    stack: str
    gpu: str
    keep_inputs: bool
    persistent_params: int | None = None
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
                check_deployed(cloud, cloud.require_deployment(), options.stack)
            else:
                check_ready(cloud, options.stack)
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
        self._prefetched = Prefetched(options)
        self._follower: Follower | None = None
        self.store = CloudStore(self._prefetched.get)

    def check(self, plan: Plan) -> None:
        """Raises RefusedError for what the GPU cannot do, and what the look-up raised."""
        options = self._options
        gpus.check_gpu(gpus.find_gpu(options.gpu), options.stack, plan)
        self._prefetched.get()

    def start(self, task: GenerateTask) -> StartedRun:
        """Starts the video's call, or finds the job that makes or made the same video.

        Raises DetachedError or StoppedError where a request to stop came meanwhile.
        """
        cloud, ledger = self._prefetched.get(), jobs_ledger.Ledger()
        new_job = self._job(task)
        job, is_new = ledger.start(new_job, task.fingerprints, force=task.overwrite)
        if job.state == jobs_ledger.DONE:
            answer = fetch.load_result(cloud, job.id)
            if answer is not None:
                self._reporter.note(f"job {job.id} made this video already; nothing is paid")
                finished = fetch.FinishedJob(cloud=cloud, ledger=ledger, job=job, answer=answer)
                return StartedRun(job_id=job.id, events=self._deliver(finished, task))
            job, is_new = ledger.start(new_job, force=True)
        request = task.request
        if is_new:
            task.keep()
        else:
            if request is not None:
                request = replace(request, job_id=job.id, seed=job.seed, recipe=job.recipe)
            job, is_new = self._resume(ledger, job)
        self._reporter.fact("job", f"{job.id}, {gpus.find_gpu(job.gpu).name}")
        follower = Follower(
            cloud, ledger, self._reporter, job, self._spawner(cloud, request, task.upload)
        )
        if is_new:
            follower.start("" if task.target is None or task.is_temporary else task.name)
        return StartedRun(
            job_id=job.id,
            events=self._follow(follower, task),
            can_detach=True,
            spent_usd=lambda: follower.spent_usd,
        )

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
        is_recorded = not task.is_temporary
        events = fetch.fetch(kept, task.target, overwrite=task.overwrite, is_recorded=is_recorded)
        for event in events:
            if isinstance(event, contract.Done) and task.upload is not None:
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
        fetch.check_stored(kept, task.target)
        try:
            address = self.store.put(upload, kept.job.id)
        except MultitalkError as error:
            raise fetch.unstored(kept.job, task.target, error) from error
        recorded = None if task.is_temporary else task.target
        return fetch.note_stored(kept, recorded, replace(result, stored=address))

    def _resume(self, ledger: jobs_ledger.Ledger, job: Job) -> tuple[Job, bool]:
        """An unfinished job as it continues, and whether it needs another call."""
        if job.state != jobs_ledger.LOST:
            self._reporter.note(f"job {job.id} is already making this video, seed {job.seed}")
            return job, False
        self._reporter.note(f"job {job.id} resumes, seed {job.seed}")
        changes: dict[str, Any] = {
            "attempt": job.attempt + 1,
            "call_id": "",
            "state": jobs_ledger.SPAWNING,
        }
        changes |= {"gpu": self._options.gpu, "stack": self._options.stack}
        ledger.update(job.id, **changes)
        return replace(job, **changes), True

    def _job(self, task: GenerateTask) -> Job:
        options = self._options
        recorded = None if task.is_temporary else task.target
        return jobs_ledger.Job(
            id=task.job_id,
            fingerprint=task.fingerprints[0],
            app=options.place.app,
            environment=options.place.environment,
            stack=options.stack,
            gpu=options.gpu,
            seed=task.seed,
            target="" if recorded is None else str(recorded.absolute()),
            label=Path(task.name).stem,
            recipe=task.recipe,
        )
