"""The deployed app: look-ups, calls, states of jobs, files. Modal's errors become ours here."""

from __future__ import annotations

import builtins
import io
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from multitalk_cli import __version__, contract
from multitalk_cli.cloud import modal_config, network
from multitalk_cli.cloud.errors import AppRef, first_line, modal_errors, never_deployed
from multitalk_cli.cloud.modal_words import in_our_words
from multitalk_cli.cloud.volume_upload import upload_files
from multitalk_cli.planning import containers

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStats:
    """Containers of one kind. backlog: calls that wait. running: calls that run."""

    backlog: int
    containers: int
    running: int


CallOutcome = Literal[
    "answer", "waiting", "timeout", "lost", "ended", "expired", "unclaimed", "unreachable"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallStatus:
    """The state of a call.

    outcome: "unclaimed" where no call is known yet, "unreachable" where Modal could not be asked.
    text: Modal's words where the call ended without an answer.
    """

    outcome: CallOutcome
    answer: Mapping[str, Any] | None = None
    text: str = ""


class Cloud:
    """An app in the account, connected to at its first use. Needs a token."""

    def __init__(self, place: AppRef) -> None:
        modal_config.prefer_plain_payloads()
        self.place = place
        self._handles: dict[tuple[str, ...], Any] = {}

    @classmethod
    def reachable(cls, place: AppRef) -> Cloud:
        """An app in the account. Raises SetupError without a token, TemporaryError offline."""
        modal_config.require_token()
        modal_config.require_settings()
        with ThreadPoolExecutor(1) as pool:
            # Takes as long as a round trip to Modal.
            pool.submit(import_module, "modal")
            network.require_network()
        return cls(place)

    # The deployment

    def account(self) -> tuple[str, str]:
        """The workspace of the token, and the environment: its name, or the default's."""
        import modal

        with modal_errors(self.place):
            workspace = modal.Workspace.from_context()
            workspace.hydrate()
            environment = modal.Environment.from_context()
            if not self.place.environment:
                environment.hydrate()
        return str(workspace.name), self.place.environment or str(environment.name)

    def default_builder(self) -> str:
        """The version of Modal's builder of images that the workspace has chosen."""
        import modal

        with modal_errors(self.place):
            return str(modal.Workspace.from_context().settings.list().image_builder_version)

    def deployment(self) -> dict[str, Any] | None:
        """The record of the last deploy; None if there was none."""
        text = self._dict_get(contract.DEPLOYMENTS_DICT, self.place.app)
        if text is None:
            # Modal forgets an entry that nobody read or wrote for a week; a file stays.
            text = self._lasting_record()
            if text is not None:
                self._dict_put(contract.DEPLOYMENTS_DICT, self.place.app, text)
        return None if text is None else dict(json.loads(text))

    def _lasting_record(self) -> str | None:
        import modal
        import modal.exception as theirs

        environment = self.place.environment_name
        volume = modal.Volume.from_name(contract.CACHES_VOLUME, environment_name=environment)
        with modal_errors(self.place):
            try:
                return b"".join(volume.read_file(self._record_path)).decode()
            except (theirs.NotFoundError, FileNotFoundError):
                return None

    @property
    def _record_path(self) -> str:
        return f"{contract.DEPLOYMENTS_FOLDER}/{self.place.app}.json"

    def require_deployment(self) -> dict[str, Any]:
        """Like `deployment`. Raises SetupError E_NOT_DEPLOYED if there was none."""
        record = self.deployment()
        if record is None:
            raise never_deployed(self.place)
        return record

    def note_deployment(self, record: Mapping[str, Any]) -> None:
        """Records a deploy, for `deployment`."""
        text = json.dumps(dict(record))
        with (
            modal_errors(self.place),
            self._volume(contract.CACHES_VOLUME).batch_upload(force=True) as batch,
        ):
            batch.put_file(io.BytesIO(text.encode()), self._record_path)
        self._dict_put(contract.DEPLOYMENTS_DICT, self.place.app, text)

    def find_class(self, stack: str) -> None:
        """Looks up the deployed class. Raises SetupError E_NOT_DEPLOYED if it is absent."""
        with modal_errors(self.place):
            self._class(stack).hydrate()

    def find_index(self) -> None:
        """Looks up everything for the first call."""
        # Modal's client imports it for the first large message, which is that of a call.
        import aiohttp  # noqa: F401

        with modal_errors(self.place):
            self._dict(contract.INDEX_DICT).hydrate()

    def _kept(self, key: tuple[str, ...], make: Callable[[], Any]) -> Any:
        """The handle of a named object, made once."""
        if key not in self._handles:
            self._handles[key] = make()
        return self._handles[key]

    def _class(self, stack: str) -> Any:
        import modal

        name, environment = contract.STACK_CLASSES[stack], self.place.environment_name
        return self._kept(
            ("class", name),
            lambda: modal.Cls.from_name(self.place.app, name, environment_name=environment),
        )

    def _instance(self, stack: str, gpu: str, persistent_params: int | None = None) -> Any:
        """An object of the deployed class, with its own pool of containers for each GPU.

        persistent_params: the most parameters that stay on it, which decides main memory.
        """
        options = containers.pool_options(gpu, persistent_params)
        return self._kept(
            ("object", stack, json.dumps(options)), lambda: self._new_instance(stack, options)
        )

    def _new_instance(self, stack: str, options: Mapping[str, Any]) -> Any:
        found = self._class(stack)
        return found.with_options(**options)() if options else found()

    # Calls

    def spawn(self, stack: str, gpu: str, wire: Mapping[str, Any]) -> str:
        """Starts a call that makes a video, and returns its id."""
        return self._spawn("generate", stack, gpu, wire)

    def _spawn(self, method: str, stack: str, gpu: str, wire: Mapping[str, Any]) -> str:
        with modal_errors(self.place):
            instance = self._instance(stack, gpu, wire.get("persistent_params"))
            called = getattr(instance, method)
            return str(called.spawn(dict(wire)).object_id)

    def call(self, function: str, wire: Mapping[str, Any]) -> Mapping[str, Any]:
        """The answer of a function of the app that needs no GPU."""
        with modal_errors(self.place):
            answer: Mapping[str, Any] = self._function(function).remote(dict(wire))
        return answer

    def spawn_function(self, function: str, wire: Mapping[str, Any]) -> str:
        """Starts a call of a function that needs no GPU, and returns its id."""
        with modal_errors(self.place):
            return str(self._function(function).spawn(dict(wire)).object_id)

    def _function(self, name: str) -> Any:
        import modal

        return modal.Function.from_name(
            self.place.app, name, environment_name=self.place.environment_name
        )

    def poll(self, call_id: str, timeout_s: float) -> CallStatus:
        """The status of a call after at most so long. Raises TemporaryError E_NETWORK offline."""
        import modal
        import modal.exception as theirs

        with modal_errors(self.place):
            try:
                answer = modal.FunctionCall.from_id(call_id).get(timeout=timeout_s)
            except (theirs.OutputExpiredError, theirs.NotFoundError) as error:
                return CallStatus(outcome="expired", text=first_line(error))
            except theirs.FunctionTimeoutError as error:
                return CallStatus(outcome="timeout", text=first_line(error))
            except theirs.InternalFailure as error:
                return CallStatus(outcome="lost", text=first_line(error))
            except theirs.RemoteError as error:
                return CallStatus(outcome="ended", text=in_our_words(str(error)).strip())
            except builtins.TimeoutError as error:
                if str(error):
                    return CallStatus(outcome="ended", text=str(error))
                return CallStatus(outcome="waiting")
        return CallStatus(outcome="answer", answer=answer)

    def cancel(self, job_id: str, call_id: str) -> None:
        """Cancels a job: its method sees the request, and Modal interrupts the call."""
        self._dict_put(contract.STATES_DICT, f"{job_id}/cancel", json.dumps(time.time()))
        if call_id:
            self.cancel_call(call_id)

    def cancel_call(self, call_id: str) -> None:
        """Interrupts a call."""
        import modal

        with modal_errors(self.place):
            modal.FunctionCall.from_id(call_id).cancel()

    def pool_stats(self, stack: str, gpu: str) -> PoolStats:
        """The containers for that GPU and their calls."""
        with modal_errors(self.place):
            stats = self._instance(stack, gpu).generate.get_current_stats()
        return PoolStats(
            backlog=stats.backlog,
            containers=stats.num_total_runners,
            running=stats.num_running_inputs,
        )

    def spawn_warm(self, stack: str, gpu: str) -> str:
        """Starts a call that loads the weights in a container for that GPU, and returns its id."""
        wire = {"contract": contract.CONTRACT_VERSION, "client": __version__}
        with modal_errors(self.place):
            return str(self._instance(stack, gpu).warm.spawn(wire).object_id)

    def spawn_examination(self, stack: str, gpu: str, wire: Mapping[str, Any]) -> str:
        """Starts a call that examines a container with that GPU, and returns its id."""
        return self._spawn("examine", stack, gpu, wire)

    def spawn_proof(self, stack: str, gpu: str, wire: Mapping[str, Any]) -> str:
        """Starts a call that compares a step on that GPU with float32, and returns its id."""
        return self._spawn("prove", stack, gpu, wire)

    def spawn_bench(self, stack: str, gpu: str, wire: Mapping[str, Any]) -> str:
        """Starts a call that measures the speed of that GPU, and returns its id."""
        return self._spawn("bench", stack, gpu, wire)

    def set_idle_window(self, stack: str, gpu: str, idle_s: int) -> None:
        """Sets how long a container for that GPU waits for another call before it stops."""
        with modal_errors(self.place):
            pool = self._instance(stack, gpu).generate
            pool.hydrate()
            pool.autoscaler.update(scaledown_window=idle_s)

    # States of jobs

    def state(self, job_id: str) -> dict[str, Any] | None:
        """The newest state of a job; None while it has none."""
        text = self._dict_get(contract.STATES_DICT, job_id)
        return None if text is None else dict(json.loads(text))

    def is_cancelled(self, job_id: str) -> bool:
        """Whether the job was cancelled, on any machine."""
        text = self._dict_get(contract.STATES_DICT, f"{job_id}/cancel")
        return json.loads(text or "null") is not None

    def take_back_cancellation(self, job_id: str) -> None:
        """Lets a job that was cancelled run again."""
        if self.is_cancelled(job_id):
            self._dict_put(contract.STATES_DICT, f"{job_id}/cancel", json.dumps(None))

    def owner(self, job_id: str, attempt: int) -> str:
        """The call that runs this attempt at a job; empty while none has claimed it."""
        text = self._dict_get(contract.STATES_DICT, f"{job_id}/call/{attempt}")
        return "" if text is None else str(json.loads(text))

    def note_call(self, job_id: str, attempt: int, call_id: str) -> None:
        """Records which call runs this attempt, for `owner`."""
        self._dict_put(contract.STATES_DICT, f"{job_id}/call/{attempt}", json.dumps(call_id))

    def index(self, entry: Mapping[str, Any]) -> None:
        """Records a job for other machines, under its "id"."""
        self._dict_put(contract.INDEX_DICT, entry["id"], json.dumps(dict(entry)))

    def indexed(self) -> list[dict[str, Any]]:
        """All jobs that were recorded, the newest first."""
        with modal_errors(self.place):
            entries = [dict(json.loads(text)) for text in self._dict(contract.INDEX_DICT).values()]
        return sorted(entries, key=lambda entry: -float(entry["created_s"]))

    # Files

    def read_file(self, volume: str, path: str) -> Iterator[bytes]:
        """The content of a file of a Volume, in pieces. Raises FileNotFoundError."""
        import modal.exception as theirs

        with modal_errors(self.place):
            try:
                yield from self._volume(volume).read_file(path)
            except theirs.NotFoundError:
                raise FileNotFoundError(path) from None

    def sizes(self, volume: str, folder: str) -> dict[str, int] | None:
        """Names and sizes of the files in a folder of a Volume; None if there is no such folder."""
        import modal
        import modal.exception as theirs

        found = modal.Volume.from_name(volume, environment_name=self.place.environment_name)
        with modal_errors(self.place):
            try:
                entries = found.listdir(folder)
            except (theirs.NotFoundError, FileNotFoundError):
                return None
        return {entry.path.rpartition("/")[2]: entry.size for entry in entries}

    def upload(
        self, volume: str, files: Sequence[Path], folder: str, on_sent: Callable[[int], None]
    ) -> None:
        """Uploads files to a folder of a Volume, all of them or none.

        on_sent: receives the number of bytes sent so far, in another thread.
        """
        with modal_errors(self.place):
            paths = {f"{folder}/{file.name}": file for file in files}
            upload_files(self._volume(volume), paths, on_sent)

    def put_files(self, volume: str, files: Mapping[str, Path], folder: str) -> None:
        """Uploads files under other names to a folder of a Volume, all of them or none."""
        with modal_errors(self.place), self._volume(volume).batch_upload(force=True) as batch:
            for name, path in files.items():
                batch.put_file(str(path), f"{folder}/{name}")

    def remove_folder(self, volume: str, folder: str) -> None:
        """Removes a folder of a Volume, if it exists."""
        with modal_errors(self.place), suppress(FileNotFoundError):
            self._volume(volume).remove_file(folder, recursive=True)

    def create_volumes(self, names: Iterable[str]) -> None:
        """Creates those of the Volumes that do not exist."""
        with modal_errors(self.place):
            for name in names:
                self._volume(name)

    def _volume(self, name: str) -> Any:
        return self._kept(
            ("volume", name), lambda: _find_or_create(name, self.place.environment_name)
        )

    def _dict(self, name: str) -> Any:
        import modal

        # A deploy does not create it: its first user does.
        environment = self.place.environment_name
        return self._kept(
            ("dict", name),
            lambda: modal.Dict.from_name(
                name, create_if_missing=True, environment_name=environment
            ),
        )

    def _dict_get(self, name: str, key: str) -> str | None:
        with modal_errors(self.place):
            value = self._dict(name).get(key)
        return None if value is None else str(value)

    def _dict_put(self, name: str, key: str, value: str) -> None:
        with modal_errors(self.place):
            self._dict(name).put(key, value)


def _find_or_create(name: str, environment: str | None) -> Any:
    """The Volume of this name, whatever its version; a new one has version 2.

    Version 1 may store a file as a whole again when a part of it changes. Asking for version 2 of
    a Volume that has version 1 is an error, so the version is named only when one is created.
    """
    import modal
    import modal.exception as theirs

    found = modal.Volume.from_name(name, environment_name=environment)
    try:
        found.hydrate()
    except theirs.NotFoundError:
        # Another command may create it at the same moment.
        with suppress(theirs.AlreadyExistsError):
            modal.Volume.objects.create(name, version=2, environment_name=environment)
        found = modal.Volume.from_name(name, environment_name=environment)
    return found
