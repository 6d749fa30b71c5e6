"""The body of the deployed methods: a job's claim, its progress, its files. No Modal in here.

A job belongs to the client that made its id. Under that id a shared dict holds JSON strings:
`ID/call/N` who runs the N-th call of the job's chain, `ID` the newest state, `ID/cancel` a wish.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from multitalk_cli import contract
from multitalk_cli.errors import MultitalkError, RefusedError
from multitalk_cli.prepared import Upload
from remote import storing
from remote.volume_store import Volume, VolumeStore

if TYPE_CHECKING:
    from remote import resume
    from remote.engine.pipeline import Engine
    from remote.engine.request import Event, RenderRequest, Resume
    from remote.service import Model

REPORT_S = 0.5

_log = logging.getLogger(__name__)


class States(Protocol):
    """A dict that clients and containers share."""

    def get(self, key: str, default: str | None = None, /) -> str | None: ...

    def put(self, key: str, value: str, /, *, skip_if_exists: bool = False) -> bool: ...


class KeptModel:
    """A model that is set up by the first job, and whose failure to load is kept.

    Loading again would fail again, with a card that is paid for.
    """

    def __init__(self, open_model: Callable[[], Model]) -> None:
        self._open = open_model
        self._model: Model | None = None
        self._failure: Exception | None = None

    @property
    def revision(self) -> str:
        return self._opened().revision

    @property
    def engine(self) -> Engine:
        return self._opened().engine

    @property
    def machine(self) -> resume.Machine:
        return self._opened().machine

    def tokenize(self, text: str) -> tuple[int, ...]:
        return self._opened().tokenize(text)

    def load(
        self, request: RenderRequest | None = None, persistent_params: int | None = None
    ) -> Iterator[contract.Loading]:
        model = self._opened()
        try:
            yield from model.load(request, persistent_params)
        except RefusedError:
            raise  # another request may fit
        except Exception as error:
            self._failure = error
            raise

    def render(self, request: RenderRequest, resume: Resume | None) -> Iterator[Event]:
        return self._opened().render(request, resume)

    def _opened(self) -> Model:
        if self._failure is not None:
            raise self._failure
        if self._model is None:
            try:
                self._model = self._open()
            except Exception as error:
                self._failure = error
                raise
        return self._model


def open_model(pack: Path, caches: Path) -> Model:
    """The model of the pack, on the card; without a card only a tiny pack is taken."""
    from remote.loading import FeatureFolder, PackedModel

    return PackedModel(pack, "auto", FeatureFolder(caches / "features"))


class Reporter:
    """Writes a job's newest state, and sees its cancellation, without ever holding up the work."""

    def __init__(
        self, states: States, job_id: str, facts: Mapping[str, Any], earlier_s: float = 0.0
    ) -> None:
        """facts: what every state says beside its event. earlier_s: what other runs took before."""
        self._states, self._job_id, self._facts = states, job_id, facts
        self._began_s = time.monotonic() - earlier_s
        self._newest: contract.Event | None = None
        self._windows = 0
        self._stop, self._cancelled = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    @property
    def is_cancelled(self) -> bool:
        """Whether somebody wished the job to end."""
        return self._cancelled.is_set()

    @property
    def run_s(self) -> float:
        """How long the work has run, in earlier runs too."""
        return time.monotonic() - self._began_s

    def show(self, event: contract.Event) -> None:
        """Takes an event; only the newest is written."""
        if isinstance(event, contract.WindowDone):
            self._windows = event.window
        self._newest = event

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._report()
        if error is not None and self.is_cancelled:
            # Modal interrupted the work where it was.
            self.show(contract.Failed(code="E_CANCELLED", message=_CANCELLED))
            self._report()

    def _run(self) -> None:
        self._report()
        while not self._stop.wait(REPORT_S):
            self._report()

    def _report(self) -> None:
        event, self._newest = self._newest, None
        try:
            if event is not None:
                self._states.put(self._job_id, self._state(event))
            if self._states.get(f"{self._job_id}/cancel") is not None:
                self._cancelled.set()
        # A state that is lost is followed by the next; the video matters more.
        except Exception:  # noqa: BLE001
            _log.warning("job %s: its state could not be written", self._job_id)

    def _state(self, event: contract.Event) -> str:
        state = {"event": contract.to_wire(event), "windows": self._windows, "run_s": self.run_s}
        return json.dumps({**self._facts, **state})


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
        self._model = KeptModel(lambda: open_model(pack, caches))
        self._jobs, self._states, self._volume = jobs, states, volume

    def set_up(self) -> None:
        """Imports what every call needs, before the time of a call begins."""
        # A container that cannot start would be started again and again; a call says what is wrong.
        with suppress(Exception):
            import_module("remote.loading")

    def warm(self, wire: Mapping[str, Any]) -> dict[str, Any]:
        """Loads the weights, and says how long that took."""
        began_s = time.monotonic()
        try:
            contract.check_version(wire)
            for _ in self._model.load():
                pass
        except contract.VersionMismatchError as error:
            return _failed("E_CONTRACT", str(error))
        except MultitalkError as error:
            return _failed(error.code, error.message, error.hint)
        return {"seconds": time.monotonic() - began_s}

    def examine(self, wire: Mapping[str, Any]) -> dict[str, Any]:
        """Reports the machine, how fast the weights are read, and a short video."""
        from remote.examining import examine

        return examine(self._model, wire)

    def bench(self, wire: Mapping[str, Any]) -> dict[str, Any]:
        """Measures the card with the engine that makes videos."""
        from remote.measuring import bench

        return bench(self._model, wire, self._states)

    def generate(self, wire: Mapping[str, Any], call_id: str) -> dict[str, Any]:
        """Makes a job's video, or goes on with it; what happens comes back as data.

        wire: contract and client versions, the job's id, which link of its chain of calls this is,
        whether inputs are kept, how many parameters stay on the card at most; the request, and
        where to store the video, None where they were kept under the job's id before.
        """
        try:
            body = contract.check_version(wire)
        except contract.VersionMismatchError as error:
            return _failed("E_CONTRACT", str(error))
        job_id, link = body["job"], body["link"]
        owner = self._claim(job_id, link, call_id)
        if owner != call_id:
            message = f"job {job_id} is run by another call already"
            return {**_failed("E_DUPLICATE", message), "owner": owner}
        self._volume.reload()
        store = VolumeStore(self._jobs, self._volume)
        try:
            request = _request(store, body)
            upload = None if request is None else _upload(store, body)
        except contract.ContractError as error:
            return _failed("E_REQUEST", str(error))
        finished = _finished(store, job_id, upload)
        if finished is not None:
            return _with_video(store, job_id, finished)
        if request is None:
            return _failed("E_EXPIRED", f"the inputs of job {job_id} are no longer kept")
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
        upload: Upload | None,
        body: Mapping[str, Any],
    ) -> dict[str, Any]:
        from remote import service

        persistent, job_id = body["persistent_params"], request.job_id
        earlier_s = self._earlier_s(job_id)
        with Reporter(self._states, job_id, {"link": body["link"]}, earlier_s) as reporter:
            last: contract.Event = contract.Failed(code="E_CANCELLED", message=_CANCELLED)
            made = service.run(request, self._model, store, persistent_params=persistent)
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
        """How long runs of the job took that were ended, by what they said last."""
        text = self._states.get(job_id)
        return 0.0 if text is None else float(json.loads(text)["run_s"])


def _request(store: VolumeStore, body: Mapping[str, Any]) -> contract.GenerateRequest | None:
    wire = body["request"]
    if wire is None:
        return store.request(body["job"])
    store.keep_request(body["job"], wire)
    return contract.from_wire(contract.GenerateRequest, wire)


def _upload(store: VolumeStore, body: Mapping[str, Any]) -> Upload | None:
    wire = body["upload"]
    if wire is None:
        return store.upload(body["job"])
    store.keep_upload(body["job"], wire)
    return contract.from_wire(Upload, wire)


def _finished(store: VolumeStore, job_id: str, upload: Upload | None) -> dict[str, Any] | None:
    """The answer of an earlier call that finished the job, and was ended before it gave it."""
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
    store: VolumeStore, done: contract.Done, upload: Upload, show: Callable[[contract.Event], None]
) -> tuple[contract.Done, contract.Failed | None]:
    """Puts a finished video into the user's store; what keeps it from that loses nothing."""
    job_id = done.result.job_id
    # Whatever happens from here on, the video is kept.
    store.keep_answer(job_id, _answer(store, done, None))
    store.commit()
    try:
        address = storing.put(store, job_id, upload, show)
    except MultitalkError as error:
        _log.warning("job %s: its video could not be stored: %s", job_id, error.code)
        return done, storing.failed(error)
    return replace(done, result=replace(done.result, stored=address)), None


def _end(
    store: VolumeStore,
    job_id: str,
    last: contract.Event,
    failure: contract.Failed | None,
    *,
    keep_inputs: bool,
) -> dict[str, Any]:
    """Keeps the outcome, tidies up, and gives what goes back to the client."""
    answer = _answer(store, last, failure)
    is_done = isinstance(last, contract.Done)
    if is_done:
        store.keep_answer(job_id, answer)
    store.forget(job_id, finished=is_done, keep_inputs=keep_inputs)
    store.commit()
    return _with_video(store, job_id, answer) if is_done else {**answer, "video": None}


def _with_video(store: VolumeStore, job_id: str, answer: Mapping[str, Any]) -> dict[str, Any]:
    """Adds the video to the answer of a finished job, unless it is fetched part by part."""
    is_small = sum(part["size"] for part in store.parts) <= contract.PART_BYTES
    return {**answer, "video": store.read_video(job_id) if is_small else None}


def _answer(
    store: VolumeStore, last: contract.Event, failure: contract.Failed | None
) -> dict[str, Any]:
    """What is kept of the outcome. failure: why the video is not in the user's store."""
    unstored = None if failure is None else contract.to_wire(failure)
    return {"event": contract.to_wire(last), "parts": store.parts, "unstored": unstored}


_CANCELLED = "the job was cancelled"


def _failed(code: str, message: str, hint: str = "") -> dict[str, Any]:
    event = contract.Failed(code=code, message=message, hint=hint)
    return {"event": contract.to_wire(event), "parts": [], "video": None}
