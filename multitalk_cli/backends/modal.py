"""The cloud: one call of the deployed class makes the video, and is followed from here."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multitalk_cli import __version__, contract, delivery, gpus, jobs
from multitalk_cli.cloud import Cloud
from multitalk_cli.cloud_store import CloudStore
from multitalk_cli.errors import MultitalkError
from multitalk_cli.following import DetachedError, Follower, followed

if TYPE_CHECKING:
    from multitalk_cli.backends.choice import Work
    from multitalk_cli.cloud import Place
    from multitalk_cli.jobs import Job
    from multitalk_cli.output import Output
    from multitalk_cli.plan import Plan
    from multitalk_cli.prepared import Upload

NAME = "modal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a user says about the run beside what is in the request.

    for_plan: whether no video is made, so that no weights are needed.
    """

    place: Place
    stack: str
    gpu: str
    detach: bool
    keep_inputs: bool
    persistent_params: int | None = None
    for_plan: bool = False


class Prefetched:
    """A cloud that is looked up and checked in the background, while inputs are prepared."""

    def __init__(self, options: Options) -> None:
        self._cloud: Cloud | None = None
        self._error: Exception | None = None
        # Nobody waits for it where the video turns out to be there already.
        self._thread = threading.Thread(target=self._connect, args=(options,), daemon=True)
        self._thread.start()

    def _connect(self, options: Options) -> None:
        try:
            cloud = Cloud.reachable(options.place)
            if options.for_plan:
                cloud.check_deployed(cloud.require_deployment(), options.stack)
            else:
                cloud.check_ready(options.stack)
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

    def __init__(self, options: Options, output: Output) -> None:
        self._options, self._output = options, output
        self._prefetched = Prefetched(options)
        self._follower: Follower | None = None
        self.store = CloudStore(self._prefetched.get)

    def check(self, plan: Plan) -> None:
        """Raises what the card cannot do, or what is not set up."""
        options = self._options
        gpus.check_card(gpus.find_card(options.gpu), options.stack, plan)
        self._prefetched.get()

    def spent_usd(self) -> float | None:
        """What the running call has cost so far."""
        return None if self._follower is None else self._follower.spent_usd

    def run(self, work: Work) -> Iterator[contract.Event]:
        """Makes the video, unless it is being made or was made: then gets that one.

        Raises DetachedError where the job goes on without this command.
        """
        cloud, ledger = self._prefetched.get(), jobs.Ledger()
        asked = self._job(work)
        job, is_new = ledger.start(asked, anew=work.overwrite)
        if job.state == jobs.DONE:
            answer = delivery.kept_answer(cloud, job.id)
            if answer is not None:
                self._output.note(f"job {job.id} made this video already; nothing is paid")
                kept = delivery.Kept(cloud=cloud, ledger=ledger, job=job, answer=answer)
                yield from self._deliver(kept, work)
                return
            job, is_new = ledger.start(asked, anew=True)
        request = work.request
        if is_new:
            work.keep()
        else:
            if request is not None:
                request = replace(request, job_id=job.id, seed=job.seed, recipe=job.recipe)
            job, is_new = self._taken_up(ledger, job)
        self._output.fact("job", f"{job.id}, {gpus.find_card(job.gpu).name}")
        follower = Follower(
            cloud, ledger, self._output, job, self._spawner(cloud, request, work.upload)
        )
        self._follower = follower
        if is_new:
            follower.start("" if work.target is None else work.name)
        if self._options.detach:
            raise DetachedError(job.id)
        yield from self._followed(follower, work)

    def _spawner(
        self, cloud: Cloud, request: contract.GenerateRequest | None, upload: Upload | None
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

    def _followed(self, follower: Follower, work: Work) -> Iterator[contract.Event]:
        for event in followed(follower):
            if isinstance(event, contract.Done):
                yield from self._deliver(follower.kept(), work)
            else:
                yield event

    def _deliver(self, kept: delivery.Kept, work: Work) -> Iterator[contract.Event]:
        """Brings a finished video to every place where it belongs."""
        for event in delivery.fetch(kept, work.target, overwrite=work.overwrite):
            if isinstance(event, contract.Done) and work.upload is not None:
                yield contract.Done(result=self._stored(kept, work, work.upload, event.result))
            else:
                yield event

    def _stored(
        self, kept: delivery.Kept, work: Work, upload: Upload, result: contract.Result
    ) -> contract.Result:
        """The result of a video that is in the store, where its call may not have put it."""
        if upload.is_at(result.stored, result.job_id):
            return result
        delivery.check_stored(kept, work.target)
        try:
            address = self.store.put(upload, kept.job.id)
        except MultitalkError as error:
            raise delivery.unstored(kept.job, work.target, error) from error
        return delivery.note_stored(kept, work.target, replace(result, stored=address))

    def _taken_up(self, ledger: jobs.Ledger, job: Job) -> tuple[Job, bool]:
        """An unfinished job as it goes on, and whether it needs another call."""
        if job.state != jobs.LOST:
            self._output.note(f"job {job.id} makes this video already, seed {job.seed}")
            return job, False
        self._output.note(f"job {job.id} goes on, seed {job.seed}")
        changes: dict[str, Any] = {"link": job.link + 1, "call_id": "", "state": jobs.SPAWNING}
        changes |= {"gpu": self._options.gpu, "stack": self._options.stack}
        ledger.update(job.id, **changes)
        return replace(job, **changes), True

    def _job(self, work: Work) -> Job:
        options = self._options
        return jobs.Job(
            id=work.job_id,
            fingerprint=work.fingerprint,
            app=options.place.app,
            environment=options.place.environment,
            stack=options.stack,
            gpu=options.gpu,
            seed=work.seed,
            target="" if work.target is None else str(work.target.absolute()),
            label=Path(work.name).stem,
            recipe=work.recipe,
        )


def call_wire(
    job: Job,
    request: contract.GenerateRequest | None,
    upload: Upload | None = None,
    *,
    keep_inputs: bool,
    persistent_params: int | None = None,
) -> dict[str, Any]:
    """What a call is given.

    request, upload: None where the cloud keeps it for the job. persistent_params: None for what
    suits the card.
    """
    suited = gpus.find_card(job.gpu).persistent_params
    return {
        "contract": contract.CONTRACT_VERSION,
        "client": __version__,
        "job": job.id,
        "link": job.link,
        "keep_inputs": keep_inputs,
        "persistent_params": suited if persistent_params is None else persistent_params,
        "request": None if request is None else contract.to_wire(request),
        "upload": None if upload is None else contract.to_wire(upload),
    }
