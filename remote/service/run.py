"""From a request to a finished video, in the container and on the user's own machine.

Independent of any cloud: model, store and clock are arguments.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol

from multitalk_cli import contract
from multitalk_cli.contract.codec import to_plain
from multitalk_cli.errors import FileError, MultitalkError
from multitalk_cli.media.video.video import join_segments
from remote.engine.request import (
    Event,
    Progress,
    RenderRequest,
    Resume,
    StepFinished,
    WindowFinished,
)
from remote.service import resume
from remote.service.decode import decode_request
from remote.service.failures import describe_out_of_memory, to_failed
from remote.service.retry import twice
from remote.service.windows import FinishedWindows
from remote.weights.machine import Machine

if TYPE_CHECKING:
    from torch import Tensor

    from remote.engine.pipeline import Engine
    from remote.engine.sampling.guidance import Branch
    from remote.service.store import Store

Clock = Callable[[], float]


class Model(Protocol):
    """The engine as the service sees it; `remote.weights.model.PackedModel` is one.

    revision: names the weights. engine, machine: available once loaded. notes: what was made
    otherwise than the request asked, since the last load.
    """

    @property
    def revision(self) -> str: ...

    @property
    def engine(self) -> Engine: ...

    @property
    def machine(self) -> Machine: ...

    @property
    def notes(self) -> tuple[str, ...]: ...

    def load(
        self, request: RenderRequest | None = None, persistent_params: int | None = None
    ) -> Iterator[contract.Loading]: ...

    def tokenize(self, text: str) -> tuple[int, ...]: ...

    def render(self, request: RenderRequest, resume: Resume | None) -> Iterator[Event]: ...

    def velocities(self, request: RenderRequest) -> Iterator[tuple[int, Branch, Tensor]]: ...


def run(
    request: contract.GenerateRequest,
    engine: Model,
    store: Store,
    clock: Clock = time.monotonic,
    *,
    backend: str = "modal",
    persistent_params: int | None = None,
    first: bool = False,
) -> Iterator[contract.Event]:
    """Makes the video, publishes it in the store, and yields what happens; `Done` or `Failed` last.

    Resumes after the last window that the store keeps of this request. Closing the iterator stops
    the model after at most one more forward. What is kept of the job stays: the caller deletes it.
    backend: its name in the result. persistent_params: at most so many stay on the GPU. first: the
    video is the first window alone; another run makes the rest, from what the store keeps.
    """
    try:
        made = _Run(request, engine, store, clock, backend, first=first)
        yield from made.events(persistent_params)
    except Exception as error:
        failed = to_failed(error)
        if failed is None:
            raise
        if failed.code == "E_OUT_OF_MEMORY":
            failed = _describe_memory(error, request, backend)
        if failed.code in ("E_LORA", "E_WEIGHTS") and backend != "modal":
            failed = _with_folder(failed, error)
        yield failed


def _describe_memory(
    error: Exception, request: contract.GenerateRequest, backend: str
) -> contract.Failed:
    frames = max(window.frames for window in request.windows)
    work = f"{request.width_px}x{request.height_px} in windows of {frames} frames"
    return contract.Failed(
        code="E_OUT_OF_MEMORY",
        message=describe_out_of_memory(error, work),
        # The user's own machine has no larger GPU to ask for.
        hint="pass a smaller --size" if backend != "modal" else "",
    )


def _with_folder(failed: contract.Failed, error: Exception) -> contract.Failed:
    """The command that mends the folder of weights on this machine, or fetches a LoRA into it."""
    folder = error.facts.get("weights_folder") if isinstance(error, MultitalkError) else None
    command = "multitalk download "
    if folder is None or not failed.hint.startswith(command):
        return failed
    rest = failed.hint.removeprefix(command)
    return replace(failed, hint=f"{command}--to {shlex.quote(str(folder))} {rest}")


class _Run:
    """One run of one request."""

    def __init__(
        self,
        request: contract.GenerateRequest,
        model: Model,
        store: Store,
        clock: Clock,
        backend: str,
        *,
        first: bool,
    ) -> None:
        self._request, self._model, self._store = request, model, store
        self._first, self._wanted = first, 1 if first else len(request.windows)
        self._clock, self._backend = clock, backend
        self._began_s = clock()
        self._record = resume.load_record(store, request, model.revision)
        self._resumed = self._record.windows
        self._gated = 0
        self._notes: tuple[str, ...] = ()

    def events(self, persistent_params: int | None) -> Iterator[contract.Event]:
        """Makes the missing windows, then the video."""
        rendered = decode_request(self._request, self._model.tokenize)
        windows = len(self._request.windows)
        self._gated = self._wanted * _gated_forwards(rendered)
        if self._resumed:
            yield contract.WindowDone(window=self._resumed, windows=windows)
        with TemporaryDirectory(prefix="multitalk-") as name:
            folder = Path(name)
            finished = FinishedWindows(
                self._request, self._store, self._record, folder, self._wanted
            )
            if self._resumed < self._wanted:
                yield from self._model.load(rendered, persistent_params)
                self._require_same_loras()
                yield from self._make_windows(rendered, finished)
            yield from self._finish(finished, folder)

    def _require_same_loras(self) -> None:
        """Raises FileError E_LORA where a LoRA was replaced since the windows that are kept."""
        now = self._model.machine.loras
        if not self._resumed or self._record.machines[-1].loras == now:
            return
        earlier = ", ".join(self._record.machines[-1].loras) or "none"
        raise FileError(
            f"the LoRA was {earlier} for the first {self._resumed} of {self._wanted} windows, and "
            f"is {', '.join(now) or 'none'} now: add that file again, or pass --force to make all "
            "windows again",
            code="E_LORA",
        )

    def _make_windows(
        self, rendered: RenderRequest, finished: FinishedWindows
    ) -> Iterator[contract.Event]:
        start: Resume | None = None
        if self._resumed:
            motion = resume.load_motion(self._store, self._request.job_id, self._resumed - 1)
            start = Resume(window=self._resumed, motion=motion)
        reports, forwards = _Reports(self._request, self._resumed), 0
        with _Keeper() as keeper:
            with closing(self._model.render(rendered, start)) as events:  # type: ignore[type-var]
                for event in events:
                    forwards += isinstance(event, Progress) and event.stage == "denoise"
                    if isinstance(event, WindowFinished):
                        # One window at most waits to be encoded, so that memory stays bounded.
                        yield from keeper.kept(wait=True)
                        machine, lap_s = self._model.machine, self._lap_s()
                        keeper.start(finished.keeping(event, machine, lap_s, forwards))
                        forwards = 0
                    yield from keeper.kept(wait=False)
                    yield reports.to_contract(event)
                    if isinstance(event, WindowFinished) and event.window + 1 == self._wanted:
                        break
            yield from keeper.kept(wait=True)
        self._notes = self._model.notes

    def _lap_s(self) -> float:
        """The seconds since the last window, or since the beginning."""
        began_s, self._began_s = self._began_s, self._clock()
        return self._began_s - began_s

    def _finish(self, finished: FinishedWindows, folder: Path) -> Iterator[contract.Event]:
        """Joins and publishes."""
        request = self._request.first_window() if self._first else self._request
        yield contract.Stage(name="checking")
        quality, warnings = finished.quality()
        yield contract.Stage(name="joining")
        video, planned = folder / "video.mp4", self._recipe(request, quality, finished.record)
        sound = None
        if request.sound is not None:
            sound = folder / "sound.flac"
            sound.write_bytes(request.sound)

        def join() -> str:
            segments = finished.segments()
            return join_segments(
                segments, sound, video, frames=request.frames, fps=request.fps, recipe=planned
            )

        recipe = twice(join, "joining")
        self._store.publish(request.job_id, video)
        size_bytes = video.stat().st_size
        result = self._result(request, recipe, quality, size_bytes, finished.record)
        yield contract.Done(result=replace(result, warnings=(*result.warnings, *warnings)))

    def _recipe(
        self,
        request: contract.GenerateRequest,
        quality: contract.Quality | None,
        record: resume.Record,
    ) -> str:
        """The request's recipe, extended by engine, weights, GPU and quality."""
        machine = record.machines[self._wanted - 1]
        engine = {"version": machine.engine, "stack": machine.stack}
        engine |= {"attention": machine.attention, "kernels": machine.kernels}
        engine |= {"tier": machine.tier}
        engine |= {"loras": ", ".join(machine.loras)} if machine.loras else {}
        made = {
            "engine": engine,
            "weights": self._model.revision,
            "gpu": machine.gpu,
            "work": self._work(record),
            "quality": None if quality is None else _rounded(to_plain(quality)),
        }
        if self._first and self._backend == "modal":
            # By which its rest is found, from any machine.
            made["job"] = request.job_id
        return json.dumps({**json.loads(request.recipe), **made}, separators=(",", ":"))

    def _work(self, record: resume.Record) -> dict[str, int | str]:
        """Counts of what was computed, and where 8-bit weights came from."""
        last = record.machines[-1]
        work: dict[str, int | str] = {"forwards": record.forwards, "forwards_gated": self._gated}
        work |= {"lora_keys": last.lora_keys} if last.lora_keys else {}
        return work | ({"eight_bit": last.eight_bit} if last.eight_bit else {})

    def _result(
        self,
        request: contract.GenerateRequest,
        recipe: str,
        quality: contract.Quality | None,
        size_bytes: int,
        record: resume.Record,
    ) -> contract.Result:
        windows, machines = len(self._request.windows), record.machines[: self._wanted]
        kept = f"resumed after window {self._resumed} of {windows}, kept from an earlier run"
        seam = resume.describe_machines(machines)
        return contract.Result(
            job_id=request.job_id,
            backend=self._backend,
            model_output=True,
            frames=request.frames,
            fps=request.fps,
            width_px=request.width_px,
            height_px=request.height_px,
            size_bytes=size_bytes,
            seed=request.seed,
            recipe=recipe,
            adjusted=(kept,) if self._resumed else (),
            warnings=(*((seam,) if seam else ()), *self._notes),
            gpu=machines[-1].gpu,
            gpu_seconds=record.seconds + self._clock() - self._began_s,
            quality=None if quality is None else quality.first_figures(),
        )


def _gated_forwards(request: RenderRequest) -> int:
    """The forwards of a window that are spared by guidance that is kept."""
    computed = replace(request.guidance, text_steps=None)
    return computed.forwards(request.steps) - request.forwards


def _rounded(value: Any) -> Any:
    """Plain figures with three decimals."""
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(value, 3) if isinstance(value, float) else value


class _Keeper:
    """Encodes and keeps one window in the background."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "encode")
        self._working: Future[contract.WindowDone | None] | None = None

    def __enter__(self) -> _Keeper:
        return self

    def __exit__(self, *error: object) -> None:
        # A window that is being encoded is worth its second, even after a cancellation.
        self._pool.shutdown(wait=True)

    def start(self, work: Callable[[], contract.WindowDone | None]) -> None:
        """Begins the work; the result of the one before must have been read by `kept`."""
        self._working = self._pool.submit(work)

    def kept(self, *, wait: bool) -> Iterator[contract.WindowDone]:
        """Yields the window that is kept by now, if any. Raises the error of its encoding."""
        if self._working is not None and (wait or self._working.done()):
            working, self._working = self._working, None
            done = working.result()
            if done is not None:
                yield done


class _Reports:
    """Contract events for the engine's events, one for one, so that each can be the last."""

    def __init__(self, request: contract.GenerateRequest, resumed: int) -> None:
        self._windows, steps = len(request.windows), request.sample_steps
        self._last: contract.Event = contract.Stage(name="steps", total=self._windows * steps)
        if resumed:
            self._last = self._step(resumed - 1, steps - 1, steps)

    def to_contract(self, event: Event) -> contract.Event:
        """A step is reported when it is done, and repeated while its window continues."""
        if isinstance(event, Progress) and event.window is None:
            return contract.Stage(name="encoding", done=event.done, total=event.total)
        if isinstance(event, StepFinished):
            self._last = self._step(event.window, event.step, event.steps)
        return self._last

    def _step(self, window: int, step: int, steps: int) -> contract.Step:
        return contract.Step(window=window + 1, windows=self._windows, step=step + 1, steps=steps)
