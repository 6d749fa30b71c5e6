"""The bodies of the deployed methods, independent of Modal: a job's claim, progress and files.

A job belongs to the client that made its id. Under that id a shared dict holds JSON strings:
`ID/call/N` the owner of the N-th call of the job's chain, `ID` the newest state, `ID/cancel` a
request to stop. A call that nears its time limit starts the next one of the chain.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from multitalk_cli import contract
from multitalk_cli.errors import RemoteError
from multitalk_cli.storage.upload import UploadTarget
from remote.service.failures import to_failed
from remote.service.store import RECORD
from remote.worker.cached_model import CachedModel, open_model
from remote.worker.failures import CANCELLED, as_answer, event_answer, read_wire
from remote.worker.reporter import Reporter, States, timed
from remote.worker.upload import put, with_account_hint
from remote.worker.volume_store import Volume, VolumeStore

RESERVE_S = 600.0
"""What a call leaves of its time limit, for joining and storing."""
_SLOWER = 1.25  # than the slowest window so far: how long the next one may take

_log = logging.getLogger(__name__)

Spawn = Callable[[Mapping[str, Any]], str]
"""Starts a call of `generate` with this wire and returns its id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """What Modal does for a container. limit_s: of one call. retire(): no call after this one."""

    spawn: Spawn
    retire: Callable[[], None]
    limit_s: float


def _failed_job(failed: contract.Failed) -> dict[str, Any]:
    """The answer of a job that failed before anything was made."""
    return {**event_answer(failed), "parts": [], "video": None}


class _StartTime:
    """How long a container took until its weights were loaded; None where they were before."""

    def __init__(self, set_up_s: float) -> None:
        self._began_s = time.monotonic() - set_up_s
        self._is_loading = False
        self.seconds: float | None = None

    def note(self, event: contract.Event) -> None:
        """Receives the events of the run: the first one after those of loading ends the start."""
        is_loading = isinstance(event, contract.Loading)
        if self._is_loading and not is_loading and self.seconds is None:
            self.seconds = time.monotonic() - self._began_s
        self._is_loading = is_loading


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
        container: Container,
        clock: Callable[[], float] = time.monotonic,
        refresh: Callable[[], None] = lambda: None,
    ) -> None:
        """refresh: shows files that were added to the weights since the container began."""
        self._pack = pack
        self._model = CachedModel(lambda: open_model(pack, caches, refresh))
        self._jobs, self._states, self._volume = jobs, states, volume
        self._container, self._clock = container, clock
        self._set_up_s = 0.0

    def set_up(self) -> None:
        """Imports what every call needs, before the time of a call begins."""
        began_s = time.monotonic()
        # A container that cannot start would be restarted forever; a call reports the error.
        with suppress(Exception):
            import_module("remote.weights.model")
        self._set_up_s = time.monotonic() - began_s

    def warm(self, wire: Mapping[str, Any]) -> dict[str, Any]:
        """Loads the weights, and reports the seconds."""
        return self._checked(self._warm(wire))

    def _checked(self, answer: dict[str, Any]) -> dict[str, Any]:
        """The answer of a call, after which a container with a broken GPU takes no other."""
        event = answer.get("event")
        if event is not None and event.get("code") == "E_GPU_FAILED":
            _log.error("the GPU failed: this container ends")
            self._container.retire()
        return answer

    @as_answer()
    def _warm(self, wire: Mapping[str, Any]) -> dict[str, Any]:
        began_s = time.monotonic()
        contract.check_version(wire)
        for _ in self._model.load():
            pass
        return {"seconds": time.monotonic() - began_s}

    def examine(self, wire: Mapping[str, Any]) -> dict[str, Any]:
        """Reports the machine, how fast the weights are read, and a short video."""
        from remote.worker.examine import examine

        with timed(self._states, wire, "examining"):
            return self._checked(examine(self._model, wire, self._jobs, self._volume))

    def prove(self, wire: Mapping[str, Any]) -> dict[str, Any]:
        """Compares a step of a few blocks with float32; the loaded model makes room for it."""
        from remote.worker.prove_step import prove_step

        with timed(self._states, wire, "comparing"):
            self._model.forget()
            return self._checked(prove_step(self._pack, wire))

    def bench(self, wire: Mapping[str, Any]) -> dict[str, Any]:
        """Runs the benchmark with the engine that makes videos."""
        from remote.worker.bench import bench

        return self._checked(bench(self._model, wire, self._states))

    def generate(self, wire: Mapping[str, Any], call_id: str) -> dict[str, Any]:
        """Makes a job's video, or resumes it.

        wire: contract and client versions, the job's id, which link of its chain of calls this is,
        the app and the kind of GPU that run it, whether inputs are kept, how many parameters stay
        on the GPU at most, whether to make the first window alone; the request, and where to store
        the whole video, None where they were kept under the job's id before.
        """
        return self._checked(self._generate(wire, call_id, self._clock()))

    @as_answer(_failed_job)
    def _generate(self, wire: Mapping[str, Any], call_id: str, began_s: float) -> dict[str, Any]:
        body = contract.check_version(wire)
        job_id, link = body["job"], body["link"]
        owner = self._claim(job_id, link, call_id)
        if owner != call_id:
            return _elsewhere(job_id, owner, link)
        following = self._states.get(_claim_key(job_id, link + 1))
        if following is not None:
            # This call started it, and was interrupted before it answered.
            return _elsewhere(job_id, str(json.loads(following)), link + 1)
        self._volume.reload()
        first = bool(body.get("first"))
        store = VolumeStore(self._jobs, self._volume, self._states, first=first)
        request = _request(store, body)
        upload = None if request is None else _upload(store, body)
        upload = None if first else upload
        finished = _finished(store, job_id, upload)
        if finished is not None:
            return _with_video(store, job_id, finished)
        if request is None:
            raise RemoteError(f"the inputs of job {job_id} are no longer kept", code="E_EXPIRED")
        return self._run(store, request, upload, wire, began_s)

    def _claim(self, job_id: str, link: int, call_id: str) -> str:
        """The call that runs this link: this one, or whoever was first."""
        key = _claim_key(job_id, link)
        if self._states.put(key, json.dumps(call_id), skip_if_exists=True):
            return call_id
        owner = self._states.get(key)
        return call_id if owner is None else str(json.loads(owner))

    def _run(
        self,
        store: VolumeStore,
        request: contract.GenerateRequest,
        upload: UploadTarget | None,
        wire: Mapping[str, Any],
        began_s: float,
    ) -> dict[str, Any]:
        from remote.service import run

        persistent, job_id = wire["persistent_params"], request.job_id
        earlier_s = self._earlier_s(job_id)
        pace = _Pace(began_s, self._container.limit_s)
        most_s = self._most_s(wire)
        first = bool(wire.get("first"))
        wanted = 1 if first else len(request.windows)
        size = f"{request.width_px}x{request.height_px}"
        counts = (request.frames, size, len(request.windows), request.sample_steps)
        _log.info("job %s: %d frames of %s, %d windows, %d steps", job_id, *counts)
        with Reporter(self._states, job_id, {"link": wire["link"]}, earlier_s) as reporter:
            budget = _Budget(most_s, reporter.run_s, wanted)
            last: contract.Event = contract.Failed(code="E_CANCELLED", message=CANCELLED)
            started = _StartTime(self._set_up_s)
            made = run.run(request, self._model, store, persistent_params=persistent, first=first)
            with closing(made) as events:  # type: ignore[type-var]
                for number, event in enumerate(events):
                    started.note(event)
                    is_last = isinstance(event, contract.Done | contract.Failed)
                    if reporter.is_cancelled and not is_last:
                        break
                    if is_last:
                        last = event
                        break
                    reporter.show(event)
                    if isinstance(event, contract.WindowDone):
                        done = (event.window, event.windows, reporter.run_s)
                        _log.info("job %s: window %d of %d after %.1f s", job_id, *done)
                    if budget.is_spent(event, reporter.run_s):
                        last = budget.failure
                        break
                    # The first event names what earlier calls made: each call makes a window.
                    if number and isinstance(event, contract.WindowDone):
                        is_late = pace.is_late(self._clock()) and event.window < wanted
                        call_id = self._hand_over(wire) if is_late else ""
                        if call_id:
                            return _elsewhere(job_id, call_id, wire["link"] + 1)
            failure: contract.Failed | None = None
            if isinstance(last, contract.Done):
                # What a lost container did is paid as well.
                paid = replace(last.result, gpu_seconds=reporter.run_s, start_s=started.seconds)
                last = replace(last, result=paid)
            if isinstance(last, contract.Done) and upload is not None:
                last, failure = _store(store, last, upload, reporter.show)
            answer = _end(store, job_id, last, failure, keep_inputs=wire["keep_inputs"])
            reporter.show(last)
            code = last.code if isinstance(last, contract.Failed) else last.kind
            _log.info("job %s: %s after %.1f s", job_id, code, reporter.run_s)
        return answer

    def _hand_over(self, wire: Mapping[str, Any]) -> str:
        """Starts the next call of the job's chain and returns its id; empty where that failed.

        Clients before this were to continue a job themselves, and name no GPU for the next call.
        """
        if "gpu" not in wire:
            return ""
        following = {**wire, "link": wire["link"] + 1, "request": None, "upload": None}
        try:
            call_id = self._container.spawn(following)
        # The job goes on here until its limit, and a client continues it.
        except Exception:  # noqa: BLE001
            _log.exception("job %s: the next call could not be started", wire["job"])
            return ""
        try:
            self._claim(wire["job"], following["link"], call_id)
        # The next call claims the job itself when it begins.
        except Exception:  # noqa: BLE001
            _log.exception("job %s: its next call could not be noted", wire["job"])
        return call_id

    def _most_s(self, wire: Mapping[str, Any]) -> float:
        """The seconds that all runs of the job may take, of the newest command that said so."""
        key = f"{wire['job']}/most_s"
        if "most_s" in wire:
            self._states.put(key, json.dumps(wire["most_s"]))
        most_s = json.loads(self._states.get(key) or "null")
        return math.inf if most_s is None else float(most_s)

    def _earlier_s(self, job_id: str) -> float:
        """The seconds of earlier runs of the job, from their last state."""
        text = self._states.get(job_id)
        return 0.0 if text is None else float(json.loads(text)["run_s"])


def _claim_key(job_id: str, link: int) -> str:
    return f"{job_id}/call/{link}"


def _elsewhere(job_id: str, owner: str, link: int) -> dict[str, Any]:
    """The answer of a call whose job another one runs, which clients follow instead."""
    message = f"job {job_id} is run by another call"
    failed = contract.Failed(code="E_DUPLICATE", message=message)
    return {**_failed_job(failed), "owner": owner, "link": link}


class _Pace:
    """How fast windows are finished, and whether one more fits into the time limit of a call."""

    def __init__(self, began_s: float, limit_s: float) -> None:
        self._last_s, self._end_s, self._longest_s = began_s, began_s + limit_s, 0.0

    def is_late(self, now_s: float) -> bool:
        """Whether the next window might not be finished; called after each one."""
        self._longest_s = max(self._longest_s, now_s - self._last_s)
        self._last_s = now_s
        return self._end_s - now_s < RESERVE_S + _SLOWER * self._longest_s


class _Budget:
    """Whether a job has taken the seconds that it may take, or would with one more window."""

    def __init__(self, most_s: float, run_s: float, wanted: int) -> None:
        """run_s: seconds of the job's runs so far. wanted: windows to make, earlier runs' too."""
        self._most_s, self._last_s, self._longest_s = most_s, run_s, 0.0
        self._wanted = wanted
        self._made, self._windows = 0, 0

    def is_spent(self, event: contract.Event, run_s: float) -> bool:
        """Whether to stop after this event; a video whose windows are all made is finished."""
        if isinstance(event, contract.WindowDone):
            self._longest_s = max(self._longest_s, run_s - self._last_s)
            self._last_s, self._made, self._windows = run_s, event.window, event.windows
            if self._made < self._wanted:
                return run_s + self._longest_s > self._most_s
        return run_s > self._most_s and self._made < self._wanted

    @property
    def failure(self) -> contract.Failed:
        """Why the job ends."""
        made = (
            f"{self._made} of {self._windows} windows are kept" if self._made else "no window yet"
        )
        message = f"another window would cost more than --max-cost; {made}"
        return contract.Failed(code="E_MAX_COST", message=message)


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
    try:
        # Whatever happens from here on, the video is kept.
        if store.video is None:
            store.keep_answer(job_id, _answer(store, done, None))
            store.commit()
        address = put(store, job_id, upload, show)
    except Exception as error:  # noqa: BLE001
        failed = to_failed(error)
        if failed is None:
            message = f"{type(error).__name__}: {error}".partition("\n")[0]
            failed = contract.Failed(code="E_STORAGE", message=message)
        _log.warning("job %s: its video could not be stored", job_id, exc_info=True)
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
    """Keeps the outcome, cleans up, and returns the answer.

    A video that could not be kept is in the answer whole, however large it is.
    """
    answer = _answer(store, last, failure)
    is_done = isinstance(last, contract.Done)
    if is_done and store.video is not None:
        return {**answer, "video": store.video}
    try:
        if is_done:
            store.keep_answer(job_id, answer)
            store.commit()
    # The parts can be read here alone.
    except Exception:  # noqa: BLE001
        _log.exception("job %s: its outcome could not be kept", job_id)
        return {**answer, "video": store.read_video(job_id)}
    can_resume = (
        isinstance(last, contract.Failed)
        and last.code not in contract.FINAL_FAILURES
        and store.load(job_id, RECORD) is not None
    )
    try:
        if isinstance(last, contract.Done) and last.result.is_first_window:
            store.delete_outdated()
        else:
            keep_inputs |= can_resume or store.can_be_finished(job_id)
            store.clean_up(job_id, finished=is_done, keep_inputs=keep_inputs)
        store.commit()
    # What is left takes room until the job expires.
    except Exception:  # noqa: BLE001
        _log.exception("job %s: its files could not be cleaned up", job_id)
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
