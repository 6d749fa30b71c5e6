"""The bodies of the deployed methods, independent of Modal: a job's claim, progress and files.

A job belongs to the client that made its id. Under that id a shared dict holds JSON strings:
`ID/call/N` the owner of the N-th call of the job's chain, `ID` the newest state, `ID/cancel` a
request to stop.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from multitalk_cli import contract
from multitalk_cli.errors import RemoteError
from multitalk_cli.storage.upload import UploadTarget
from remote.service.failures import to_failed
from remote.worker.cached_model import CachedModel, open_model
from remote.worker.failures import CANCELLED, as_answer, event_answer, read_wire
from remote.worker.reporter import Reporter, States
from remote.worker.upload import put, with_account_hint
from remote.worker.volume_store import Volume, VolumeStore

_log = logging.getLogger(__name__)


def _failed_job(failed: contract.Failed) -> dict[str, Any]:
    """The answer of a job that failed before anything was made."""
    return {**event_answer(failed), "parts": [], "video": None}


class Worker:
    """One container: its model, and one job after another."""

    def __init__(
        self,
        *,
        pack: Path,
        jobs: Path,
        caches: Path,
        states: States,
        volume: Volume,
    ) -> None:
        self._model = CachedModel(lambda: open_model(pack, caches))
        self._jobs, self._states, self._volume = jobs, states, volume

    def set_up(self) -> None:
        """Imports what every call needs, before the time of a call begins."""
        # A container that cannot start would be restarted forever; a call reports the error.
        with suppress(Exception):
            import_module("remote.weights.model")

    @as_answer()
    def warm(self, wire: Mapping[str, Any]) -> dict[str, Any]:
        """Loads the weights, and reports the seconds."""
        began_s = time.monotonic()
        contract.check_version(wire)
        for _ in self._model.load():
            pass
        return {"seconds": time.monotonic() - began_s}

    def examine(self, wire: Mapping[str, Any]) -> dict[str, Any]:
        """Reports the machine, how fast the weights are read, and a short video."""
        from remote.worker.examine import examine

        return examine(self._model, wire)

    def bench(self, wire: Mapping[str, Any]) -> dict[str, Any]:
        """Runs the benchmark with the engine that makes videos."""
        from remote.worker.bench import bench

        return bench(self._model, wire, self._states)

    @as_answer(_failed_job)
    def generate(self, wire: Mapping[str, Any], call_id: str) -> dict[str, Any]:
        """Makes a job's video, or resumes it.

        wire: contract and client versions, the job's id, which link of its chain of calls this is,
        whether inputs are kept, how many parameters stay on the GPU at most; the request, and
        where to store the video, None where they were kept under the job's id before.
        """
        body = contract.check_version(wire)
        job_id, link = body["job"], body["link"]
        owner = self._claim(job_id, link, call_id)
        if owner != call_id:
            message = f"job {job_id} is run by another call already"
            failed = contract.Failed(code="E_DUPLICATE", message=message)
            return {**_failed_job(failed), "owner": owner}
        self._volume.reload()
        store = VolumeStore(self._jobs, self._volume)
        request = _request(store, body)
        upload = None if request is None else _upload(store, body)
        finished = _finished(store, job_id, upload)
        if finished is not None:
            return _with_video(store, job_id, finished)
        if request is None:
            raise RemoteError(f"the inputs of job {job_id} are no longer kept", code="E_EXPIRED")
        return self._run(store, request, upload, body)

    def _claim(self, job_id: str, link: int, call_id: str) -> str:
        """The call that runs this link: this one, or whoever was first."""
        key = f"{job_id}/call/{link}"
        if self._states.put(key, json.dumps(call_id), skip_if_exists=True):
            return call_id
        owner = self._states.get(key)
        return call_id if owner is None else str(json.loads(owner))

    def _run(
        self,
        store: VolumeStore,
        request: contract.GenerateRequest,
        upload: UploadTarget | None,
        body: Mapping[str, Any],
    ) -> dict[str, Any]:
        from remote.service import run

        persistent, job_id = body["persistent_params"], request.job_id
        earlier_s = self._earlier_s(job_id)
        with Reporter(self._states, job_id, {"link": body["link"]}, earlier_s) as reporter:
            last: contract.Event = contract.Failed(code="E_CANCELLED", message=CANCELLED)
            made = run.run(request, self._model, store, persistent_params=persistent)
            with closing(made) as events:  # type: ignore[type-var]
                for event in events:
                    is_last = isinstance(event, contract.Done | contract.Failed)
                    if reporter.is_cancelled and not is_last:
                        break
                    if is_last:
                        last = event
                        break
                    reporter.show(event)
            failure: contract.Failed | None = None
            if isinstance(last, contract.Done):
                # What a lost container did is paid as well.
                last = replace(last, result=replace(last.result, gpu_seconds=reporter.run_s))
            if isinstance(last, contract.Done) and upload is not None:
                last, failure = _store(store, last, upload, reporter.show)
            answer = _end(store, job_id, last, failure, keep_inputs=body["keep_inputs"])
            reporter.show(last)
        return answer

    def _earlier_s(self, job_id: str) -> float:
        """The seconds of earlier runs of the job, from their last state."""
        text = self._states.get(job_id)
        return 0.0 if text is None else float(json.loads(text)["run_s"])


def _request(store: VolumeStore, body: Mapping[str, Any]) -> contract.GenerateRequest | None:
    wire = body["request"]
    if wire is None:
        return store.request(body["job"])
    store.keep_request(body["job"], wire)
    return read_wire(contract.GenerateRequest, wire)


def _upload(store: VolumeStore, body: Mapping[str, Any]) -> UploadTarget | None:
    wire = body["upload"]
    if wire is None:
        return store.upload(body["job"])
    store.keep_upload(body["job"], wire)
    return read_wire(UploadTarget, wire)


def _finished(
    store: VolumeStore, job_id: str, upload: UploadTarget | None
) -> dict[str, Any] | None:
    """The answer of an earlier call that finished the job, but was ended before answering."""
    answer = store.answer(job_id)
    if answer is None:
        return None
    done = contract.event_from_wire(answer["event"])
    is_stored = isinstance(done, contract.Done) and done.result.stored is not None
    if upload is not None and answer["unstored"] is None and not is_stored:
        return None  # it was ended while the video was stored
    store.parts = answer["parts"]
    return answer


def _store(
    store: VolumeStore,
    done: contract.Done,
    upload: UploadTarget,
    show: Callable[[contract.Event], None],
) -> tuple[contract.Done, contract.Failed | None]:
    """Puts a finished video into the user's store; a failure loses nothing."""
    job_id = done.result.job_id
    # Whatever happens from here on, the video is kept.
    store.keep_answer(job_id, _answer(store, done, None))
    store.commit()
    try:
        address = put(store, job_id, upload, show)
    except Exception as error:
        failed = to_failed(error)
        if failed is None:
            raise
        _log.warning("job %s: its video could not be stored: %s", job_id, failed.code)
        return done, with_account_hint(failed)
    return replace(done, result=replace(done.result, stored=address)), None


def _end(
    store: VolumeStore,
    job_id: str,
    last: contract.Event,
    failure: contract.Failed | None,
    *,
    keep_inputs: bool,
) -> dict[str, Any]:
    """Keeps the outcome, cleans up, and returns the answer."""
    answer = _answer(store, last, failure)
    is_done = isinstance(last, contract.Done)
    if is_done:
        store.keep_answer(job_id, answer)
    store.clean_up(job_id, finished=is_done, keep_inputs=keep_inputs)
    store.commit()
    return _with_video(store, job_id, answer) if is_done else {**answer, "video": None}


def _with_video(store: VolumeStore, job_id: str, answer: Mapping[str, Any]) -> dict[str, Any]:
    """Adds the video to the answer of a finished job, unless it is fetched part by part."""
    is_small = sum(part["size"] for part in store.parts) <= contract.PART_BYTES
    return {**answer, "video": store.read_video(job_id) if is_small else None}


def _answer(
    store: VolumeStore, last: contract.Event, failure: contract.Failed | None
) -> dict[str, Any]:
    """The outcome as it is kept. failure: why the video is not in the user's store."""
    unstored = None if failure is None else contract.to_wire(failure)
    return {"event": contract.to_wire(last), "parts": store.parts, "unstored": unstored}
