"""What the client asks of a deployed app: look-ups, calls, what jobs say, files.

Modal's errors become ours here, once; `deploying` is the only other user of Modal's client.
"""

from __future__ import annotations

import builtins
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from multitalk_cli import __version__, contract
from multitalk_cli.cloud import modal_config
from multitalk_cli.cloud.errors import AppRef, first_line, modal_errors, not_deployed
from multitalk_cli.planning import gpus, rates

if TYPE_CHECKING:
    from pathlib import Path


MEBIBYTES_PER_GIB = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStats:
    """How busy one kind of container is: calls that wait, containers, calls that run."""

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
    """One place in the account. Needs a token; nothing is asked before it is used."""

    def __init__(self, place: AppRef) -> None:
        modal_config.prefer_plain_payloads()
        self.place = place
        self._handles: dict[tuple[str, ...], Any] = {}

    @classmethod
    def reachable(cls, place: AppRef) -> Cloud:
        """A place in an account that there is a token and a network for."""
        modal_config.require_token()
        with ThreadPoolExecutor(1) as pool:
            # Takes as long as a way to Modal and back.
            pool.submit(import_module, "modal")
            modal_config.require_network()
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

    def deployment(self) -> dict[str, Any] | None:
        """What the last deploy noted about itself; None where there was none."""
        text = self._dict_get(contract.DEPLOYMENTS_DICT, self.place.app)
        return None if text is None else dict(json.loads(text))

    def require_deployment(self) -> dict[str, Any]:
        """As `deployment`. Raises SetupError E_NOT_DEPLOYED where there was none."""
        record = self.deployment()
        if record is None:
            raise not_deployed(self.place)
        return record

    def note_deployment(self, record: Mapping[str, Any]) -> None:
        """Notes what was deployed, for `deployment`."""
        self._dict_put(contract.DEPLOYMENTS_DICT, self.place.app, json.dumps(dict(record)))

    def find_class(self, stack: str) -> None:
        """Looks the deployed class up. Raises SetupError E_NOT_DEPLOYED where it is absent."""
        with modal_errors(self.place):
            self._class(stack).hydrate()

    def find_index(self) -> None:
        """Gets ready what a call needs next."""
        # Modal's client imports it for the first message that is large, which a call's is.
        import aiohttp  # noqa: F401

        with modal_errors(self.place):
            self._dict(contract.INDEX_DICT).hydrate()

    def _kept(self, key: tuple[str, ...], make: Callable[[], Any]) -> Any:
        """The handle of a named object, which then is looked up once."""
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

    def _instance(self, stack: str, gpu: str) -> Any:
        """An object of the deployed class: its own pool of containers for each card."""
        return self._kept(("object", stack, gpu), lambda: self._new_instance(stack, gpu))

    def _new_instance(self, stack: str, gpu: str) -> Any:
        found = self._class(stack)
        if gpu == gpus.AUTO:
            return found()
        card = gpus.find_gpu(gpu)
        rate = rates.load().gpu(card.name)
        memory_mib = int(rate.memory_gib * MEBIBYTES_PER_GIB)
        return found.with_options(gpu=card.modal_name, cpu=rate.cores, memory=memory_mib)()

    # Calls

    def spawn(self, stack: str, gpu: str, wire: Mapping[str, Any]) -> str:
        """Starts a call that makes a video, and gives its id."""
        with modal_errors(self.place):
            return str(self._instance(stack, gpu).generate.spawn(dict(wire)).object_id)

    def call(self, function: str, wire: Mapping[str, Any]) -> Mapping[str, Any]:
        """Calls a function of the app that needs no GPU, and gives its answer."""
        with modal_errors(self.place):
            answer: Mapping[str, Any] = self._function(function).remote(dict(wire))
        return answer

    def spawn_function(self, function: str, wire: Mapping[str, Any]) -> str:
        """Starts a call of a function of the app that needs no GPU, and gives its id."""
        with modal_errors(self.place):
            return str(self._function(function).spawn(dict(wire)).object_id)

    def _function(self, name: str) -> Any:
        import modal

        return modal.Function.from_name(
            self.place.app, name, environment_name=self.place.environment_name
        )

    def poll(self, call_id: str, timeout_s: float) -> CallStatus:
        """Waits a while for a call. Raises TemporaryError E_NETWORK where Modal is out of reach."""
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
                return CallStatus(outcome="ended", text=str(error).strip())
            except builtins.TimeoutError as error:
                if str(error):
                    return CallStatus(outcome="ended", text=str(error))
                return CallStatus(outcome="waiting")
        return CallStatus(outcome="answer", answer=answer)

    def cancel(self, job_id: str, call_id: str) -> None:
        """Asks a job to end: its method sees the wish, and Modal interrupts the call."""
        self._dict_put(contract.STATES_DICT, f"{job_id}/cancel", json.dumps(time.time()))
        if call_id:
            self.cancel_call(call_id)

    def cancel_call(self, call_id: str) -> None:
        """Interrupts a call."""
        import modal

        with modal_errors(self.place):
            modal.FunctionCall.from_id(call_id).cancel()

    def load_of(self, stack: str, gpu: str) -> PoolStats:
        """How busy the containers for that card are."""
        with modal_errors(self.place):
            stats = self._instance(stack, gpu).generate.get_current_stats()
        return PoolStats(
            backlog=stats.backlog,
            containers=stats.num_total_runners,
            running=stats.num_running_inputs,
        )

    def warm(self, stack: str, gpu: str, *, window_s: int) -> Mapping[str, Any]:
        """Starts a container, loads the weights, and lets it idle for so long; gives its answer."""
        wire = {"contract": contract.CONTRACT_VERSION, "client": __version__}
        with modal_errors(self.place):
            pool = self._instance(stack, gpu).generate
            pool.hydrate()
            pool.autoscaler.update(scaledown_window=window_s)
            answer: Mapping[str, Any] = self._instance(stack, gpu).warm.remote(wire)
        return answer

    def spawn_examination(self, stack: str, gpu: str, wire: Mapping[str, Any]) -> str:
        """Starts a call that examines a container for that card, and gives its id."""
        with modal_errors(self.place):
            return str(self._instance(stack, gpu).examine.spawn(dict(wire)).object_id)

    def spawn_bench(self, stack: str, gpu: str, wire: Mapping[str, Any]) -> str:
        """Starts a call that measures the speed of that card, and gives its id."""
        with modal_errors(self.place):
            return str(self._instance(stack, gpu).bench.spawn(dict(wire)).object_id)

    def set_idle_window(self, stack: str, gpu: str, window_s: int) -> None:
        """Says how long a container for that card idles before it is let go."""
        with modal_errors(self.place):
            pool = self._instance(stack, gpu).generate
            pool.hydrate()
            pool.autoscaler.update(scaledown_window=window_s)

    # What jobs say

    def state(self, job_id: str) -> dict[str, Any] | None:
        """The newest state of a job."""
        text = self._dict_get(contract.STATES_DICT, job_id)
        return None if text is None else dict(json.loads(text))

    def is_cancelled(self, job_id: str) -> bool:
        """Whether somebody asked the job to end."""
        return self._dict_get(contract.STATES_DICT, f"{job_id}/cancel") is not None

    def owner(self, job_id: str, attempt: int) -> str:
        """The call that runs this attempt at a job; empty while none has claimed it."""
        text = self._dict_get(contract.STATES_DICT, f"{job_id}/call/{attempt}")
        return "" if text is None else str(json.loads(text))

    def note_call(self, job_id: str, attempt: int, call_id: str) -> None:
        """Records which call runs this attempt, for `owner`."""
        self._dict_put(contract.STATES_DICT, f"{job_id}/call/{attempt}", json.dumps(call_id))

    def index(self, entry: Mapping[str, Any]) -> None:
        """Notes a job where other machines find it: under its "id"."""
        self._dict_put(contract.INDEX_DICT, entry["id"], json.dumps(dict(entry)))

    def indexed(self) -> list[dict[str, Any]]:
        """Every job that was noted, the newest first."""
        with modal_errors(self.place):
            entries = [dict(json.loads(text)) for text in self._dict(contract.INDEX_DICT).values()]
        return sorted(entries, key=lambda entry: -float(entry["created_s"]))

    # Files

    def read_file(self, volume: str, path: str) -> Iterator[bytes]:
        """A file of a Volume, piece by piece. Raises FileNotFoundError where it is absent."""
        import modal.exception as theirs

        with modal_errors(self.place):
            try:
                yield from self._volume(volume).read_file(path)
            except theirs.NotFoundError:
                raise FileNotFoundError(path) from None

    def sizes(self, volume: str, folder: str) -> dict[str, int] | None:
        """Names and sizes of the files in a folder of a Volume; None where there is none."""
        import modal
        import modal.exception as theirs

        found = modal.Volume.from_name(volume, environment_name=self.place.environment_name)
        with modal_errors(self.place):
            try:
                entries = found.listdir(folder)
            except (theirs.NotFoundError, FileNotFoundError):
                return None
        return {entry.path.rpartition("/")[2]: entry.size for entry in entries}

    def upload(self, volume: str, files: Sequence[Path], folder: str) -> None:
        """Puts files into a folder of a Volume, all of them or none."""
        with modal_errors(self.place), self._volume(volume).batch_upload(force=True) as batch:
            for path in files:
                batch.put_file(str(path), f"{folder}/{path.name}")

    def put_files(self, volume: str, files: Mapping[str, Path], folder: str) -> None:
        """Puts files under other names into a folder of a Volume, all of them or none."""
        with modal_errors(self.place), self._volume(volume).batch_upload(force=True) as batch:
            for name, path in files.items():
                batch.put_file(str(path), f"{folder}/{name}")

    def remove_folder(self, volume: str, folder: str) -> None:
        """Removes a folder of a Volume; one that is not there is no error."""
        with modal_errors(self.place), suppress(FileNotFoundError):
            self._volume(volume).remove_file(folder, recursive=True)

    def _volume(self, name: str) -> Any:
        import modal

        environment = self.place.environment_name
        return self._kept(
            ("volume", name),
            lambda: modal.Volume.from_name(
                name, create_if_missing=True, environment_name=environment
            ),
        )

    def _dict(self, name: str) -> Any:
        import modal

        # Deploying does not create it: whoever uses it first does.
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
