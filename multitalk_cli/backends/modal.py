"""The cloud: one call of the deployed class makes the video, and is followed from here."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multitalk_cli import __version__, contract, delivery, gpus, jobs
from multitalk_cli.cloud import Cloud
from multitalk_cli.following import DetachedError, Follower, follow_to_file

if TYPE_CHECKING:
    from multitalk_cli.cloud import Place
    from multitalk_cli.jobs import Job
    from multitalk_cli.output import Output
    from multitalk_cli.plan import Plan

NAME = "modal"
_UNSEEN = ("job_id", "contract", "client", "recipe")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a user says about the run beside what is in the request."""

    place: Place
    stack: str
    gpu: str
    detach: bool
    keep_inputs: bool


class Prefetched:
    """A cloud that is looked up and checked in the background, while inputs are prepared."""

    def __init__(self, place: Place, stack: str) -> None:
        self._cloud: Cloud | None = None
        self._error: Exception | None = None
        # Nobody waits for it where the video turns out to be there already.
        self._thread = threading.Thread(target=self._connect, args=(place, stack), daemon=True)
        self._thread.start()

    def _connect(self, place: Place, stack: str) -> None:
        try:
            cloud = Cloud.reachable(place)
            cloud.check_ready(stack)
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
        self._prefetched = Prefetched(options.place, options.stack)
        self._follower: Follower | None = None

    def check(self, plan: Plan) -> None:
        """Raises what the card cannot do, or what is not set up."""
        options = self._options
        gpus.check_card(gpus.find_card(options.gpu), options.stack, plan)
        self._prefetched.get()

    def spent_usd(self) -> float | None:
        """What the running call has cost so far."""
        return None if self._follower is None else self._follower.spent_usd

    def run(
        self, request: contract.GenerateRequest, target: Path, overwrite: bool
    ) -> Iterator[contract.Event]:
        """Makes the video at `target`, unless it is being made or was made: then gets that one.

        Raises DetachedError where the job goes on without this command.
        """
        cloud, ledger = self._prefetched.get(), jobs.Ledger()
        asked = self._job(request, target)
        job, is_new = ledger.start(asked, anew=overwrite)
        if job.state == jobs.DONE:
            answer = delivery.kept_answer(cloud, job.id)
            if answer is not None:
                self._output.note(f"job {job.id} made this video already; nothing is paid")
                yield from delivery.fetch(cloud, ledger, job, answer, target, overwrite=overwrite)
                return
            job, is_new = ledger.start(asked, anew=True)
        if not is_new:
            request = replace(request, job_id=job.id, seed=job.seed, recipe=job.recipe)
            job, is_new = self._taken_up(ledger, job)

        def spawn(job: Job) -> str:
            wire = call_wire(job, request, keep_inputs=self._options.keep_inputs)
            return cloud.spawn(job.stack, job.gpu, wire)

        self._output.fact("job", f"{job.id}, {gpus.find_card(job.gpu).name}")
        follower = Follower(cloud, ledger, self._output, job, spawn)
        self._follower = follower
        if is_new:
            follower.start(target.name)
        if self._options.detach:
            raise DetachedError(job.id)
        yield from follow_to_file(follower, target, overwrite=overwrite)

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

    def _job(self, request: contract.GenerateRequest, target: Path) -> Job:
        options = self._options
        return jobs.Job(
            id=request.job_id,
            fingerprint=fingerprint(request),
            app=options.place.app,
            environment=options.place.environment,
            stack=options.stack,
            gpu=options.gpu,
            seed=request.seed,
            target=str(target.absolute()),
            label=target.stem,
            recipe=request.recipe,
        )


def fingerprint(request: contract.GenerateRequest) -> str:
    """A name of the inputs as prepared and the options as given: a drawn seed was not given."""
    recipe = json.loads(request.recipe)
    unseen = {*_UNSEEN, "seed"} if recipe.get("seed_drawn") else set(_UNSEEN)
    wire = {name: item for name, item in contract.to_wire(request).items() if name not in unseen}
    return hashlib.sha256(json.dumps(wire, sort_keys=True, default=_digest).encode()).hexdigest()


def _digest(value: object) -> str:
    if not isinstance(value, bytes):
        raise TypeError(f"{type(value).__name__} is nothing for a request")
    return hashlib.sha256(value).hexdigest()


def call_wire(
    job: Job, request: contract.GenerateRequest | None, *, keep_inputs: bool
) -> dict[str, Any]:
    """What a call is given. request: None where an earlier call of the job kept it."""
    return {
        "contract": contract.CONTRACT_VERSION,
        "client": __version__,
        "job": job.id,
        "link": job.link,
        "keep_inputs": keep_inputs,
        "request": None if request is None else contract.to_wire(request),
    }
