"""The cloud: one call of the deployed class makes the video, and is followed from here."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multitalk_cli import contract
from multitalk_cli.cloud.client import Cloud
from multitalk_cli.cloud.readiness import check_deployed, check_ready
from multitalk_cli.cloud.remote_storage import CloudStore
from multitalk_cli.errors import MultitalkError
from multitalk_cli.jobs import fetch
from multitalk_cli.jobs import ledger as jobs_ledger
from multitalk_cli.jobs.call import call_wire
from multitalk_cli.jobs.follow import DetachedError, Follower
from multitalk_cli.planning import gpus

if TYPE_CHECKING:
    from multitalk_cli.cloud.errors import AppRef
    from multitalk_cli.generation.backends.base import GenerateTask
    from multitalk_cli.jobs.ledger import Job
    from multitalk_cli.planning.windows import Plan
    from multitalk_cli.reporting.reporter import Reporter
    from multitalk_cli.storage.upload import UploadTarget


NAME = "modal"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModalOptions:
    """What a user says about the run beside what is in the request.

    for_plan: whether no video is made, so that no weights are needed.
    """

    place: AppRef
    stack: str
    gpu: str
    detach: bool
    keep_inputs: bool
    persistent_params: int | None = None
    for_plan: bool = False


class Prefetched:
    """A cloud that is looked up and checked in the background, while inputs are prepared."""

    def __init__(self, options: ModalOptions) -> None:
        self._cloud: Cloud | None = None
        self._error: Exception | None = None
        # Nobody waits for it where the video turns out to be there already.
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
        """The cloud. Raises what is not set up, or that there is no network."""
        self._thread.join()
        if self._cloud is None:
            raise self._error or RuntimeError("the cloud was not looked up")
        return self._cloud


class ModalBackend:
    """Makes videos in the cloud, one at a time."""

    def __init__(self, options: ModalOptions, reporter: Reporter) -> None:
        self._options, self._reporter = options, reporter
        self._prefetched = Prefetched(options)
        self._follower: Follower | None = None
        self.store = CloudStore(self._prefetched.get)

    def check(self, plan: Plan) -> None:
        """Raises what the card cannot do, or what is not set up."""
        options = self._options
        gpus.check_gpu(gpus.find_gpu(options.gpu), options.stack, plan)
        self._prefetched.get()

    def spent_usd(self) -> float | None:
        """What the running call has cost so far."""
        return None if self._follower is None else self._follower.spent_usd

    def run(self, work: GenerateTask) -> Iterator[contract.Event]:
        """Makes the video, unless it is being made or was made: then gets that one.

        Raises DetachedError where the job goes on without this command.
        """
        cloud, ledger = self._prefetched.get(), jobs_ledger.Ledger()
        asked = self._job(work)
        job, is_new = ledger.start(asked, work.fingerprints, force=work.overwrite)
        if job.state == jobs_ledger.DONE:
            answer = fetch.load_result(cloud, job.id)
            if answer is not None:
                self._reporter.note(f"job {job.id} made this video already; nothing is paid")
                kept = fetch.FinishedJob(cloud=cloud, ledger=ledger, job=job, answer=answer)
                yield from self._deliver(kept, work)
                return
            job, is_new = ledger.start(asked, force=True)
        request = work.request
        if is_new:
            work.keep()
        else:
            if request is not None:
                request = replace(request, job_id=job.id, seed=job.seed, recipe=job.recipe)
            job, is_new = self._taken_up(ledger, job)
        self._reporter.fact("job", f"{job.id}, {gpus.find_gpu(job.gpu).name}")
        follower = Follower(
            cloud, ledger, self._reporter, job, self._spawner(cloud, request, work.upload)
        )
        self._follower = follower
        if is_new:
            follower.start("" if work.target is None else work.name)
        if self._options.detach:
            raise DetachedError(job.id)
        yield from self._followed(follower, work)

    def _spawner(
        self, cloud: Cloud, request: contract.GenerateRequest | None, upload: UploadTarget | None
    ) -> Callable[[Job], str]:
        """Gives what starts a call of a job."""

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

    def _followed(self, follower: Follower, work: GenerateTask) -> Iterator[contract.Event]:
        for event in follower.events():
            if isinstance(event, contract.Done):
                yield from self._deliver(follower.kept(), work)
            else:
                yield event

    def _deliver(self, kept: fetch.FinishedJob, work: GenerateTask) -> Iterator[contract.Event]:
        """Brings a finished video to every place where it belongs."""
        for event in fetch.fetch(kept, work.target, overwrite=work.overwrite):
            if isinstance(event, contract.Done) and work.upload is not None:
                yield contract.Done(result=self._stored(kept, work, work.upload, event.result))
            else:
                yield event

    def _stored(
        self,
        kept: fetch.FinishedJob,
        work: GenerateTask,
        upload: UploadTarget,
        result: contract.Result,
    ) -> contract.Result:
        """The result of a video that is in the store, where its call may not have put it."""
        if upload.is_at(result.stored, result.job_id):
            return result
        fetch.check_stored(kept, work.target)
        try:
            address = self.store.put(upload, kept.job.id)
        except MultitalkError as error:
            raise fetch.unstored(kept.job, work.target, error) from error
        return fetch.note_stored(kept, work.target, replace(result, stored=address))

    def _taken_up(self, ledger: jobs_ledger.Ledger, job: Job) -> tuple[Job, bool]:
        """An unfinished job as it goes on, and whether it needs another call."""
        if job.state != jobs_ledger.LOST:
            self._reporter.note(f"job {job.id} makes this video already, seed {job.seed}")
            return job, False
        self._reporter.note(f"job {job.id} goes on, seed {job.seed}")
        changes: dict[str, Any] = {
            "link": job.link + 1,
            "call_id": "",
            "state": jobs_ledger.SPAWNING,
        }
        changes |= {"gpu": self._options.gpu, "stack": self._options.stack}
        ledger.update(job.id, **changes)
        return replace(job, **changes), True

    def _job(self, work: GenerateTask) -> Job:
        options = self._options
        return jobs_ledger.Job(
            id=work.job_id,
            fingerprint=work.fingerprints[0],
            app=options.place.app,
            environment=options.place.environment,
            stack=options.stack,
            gpu=options.gpu,
            seed=work.seed,
            target="" if work.target is None else str(work.target.absolute()),
            label=Path(work.name).stem,
            recipe=work.recipe,
        )
