"""The state of the control plane. Only its event loop changes these objects; tests may read them.

Names follow Modal's protocol: an *app* has *functions* (a class is one function with methods), a
*call* of a function has *inputs*, a *container* takes inputs from its function's queue.
"""

import asyncio
import contextlib
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grpclib import GRPCError, Status
from modal_proto import api_pb2 as pb

from tests.modal_plane.forking import ForkedProcess

IMAGE_BUILDER = "2025.06"
DEFAULT_ENVIRONMENT = "main"
DEFAULT_TIMEOUT_S = 300
DEFAULT_STARTUP_TIMEOUT_S = 300
DEFAULT_SCALEDOWN_WINDOW_S = 60


def new_id(prefix: str) -> str:
    """A fresh identifier of Modal's form, such as fc-0123456789abcdef012345."""
    return f"{prefix}-{uuid.uuid4().hex[:22]}"


def not_found(message: str) -> GRPCError:
    """The refusal that the client turns into NotFoundError."""
    return GRPCError(Status.NOT_FOUND, message)


def failure(status: int, message: str) -> pb.GenericResult:
    """An outcome that is not a success, with the sentence that the client shows."""
    return pb.GenericResult(status=status, exception=message)


class Bell:
    """Wakes everybody who waits, each with a time limit of their own."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Wakes all who wait now; who waits later waits for the next ring."""
        event, self._event = self._event, asyncio.Event()
        event.set()

    async def wait(self, timeout_s: float) -> bool:
        """Whether it rang within the limit."""
        try:
            await asyncio.wait_for(self._event.wait(), max(0.0, timeout_s))
        except TimeoutError:
            return False
        return True


@dataclass(eq=False)
class Call:
    """One invocation; `outputs` are in the order in which inputs finished."""

    function: "Function"
    invocation: int
    id: str = field(default_factory=lambda: new_id("fc"))
    inputs: dict[str, "Input"] = field(default_factory=dict)
    outputs: list[pb.FunctionGetOutputsItem] = field(default_factory=list)
    chunks: list[pb.DataChunk] = field(default_factory=list)
    bell: Bell = field(default_factory=Bell)
    created_at: float = field(default_factory=time.time)
    cancelled: bool = False
    expired: bool = False

    @property
    def done(self) -> bool:
        """Whether every input has its outcome."""
        return bool(self.inputs) and all(item.done for item in self.inputs.values())

    @property
    def statuses(self) -> list[str]:
        """Outcomes so far, as the names of Modal's statuses without their prefix."""
        name = pb.GenericResult.GenericStatus.Name
        return [name(o.result.status).removeprefix("GENERIC_STATUS_") for o in self.outputs]


@dataclass(eq=False)
class Input:
    """One set of arguments; `runs` holds the ids of the containers that received it."""

    call: Call
    index: int
    message: pb.FunctionInput
    id: str = field(default_factory=lambda: new_id("in"))
    retries: int = 0
    losses: int = 0
    done: bool = False
    container: "Container | None" = None
    runs: list[str] = field(default_factory=list)


@dataclass(eq=False)
class Container:
    """One process of the container runtime.

    stopping: why it gets no further input; the reason is said at its next request.
    requeue: whether the inputs that it was running go to another container when it ends.
    verdict: (status, message) for those inputs otherwise, where a fault decided it.
    """

    function: "Function"
    home: Path
    id: str = field(default_factory=lambda: new_id("ta"))
    process: asyncio.subprocess.Process | ForkedProcess | None = None
    started_at: float = field(default_factory=time.time)
    running: dict[str, Input] = field(default_factory=dict)
    idle_since: float = field(default_factory=time.monotonic)
    cancellations: "asyncio.Queue[str]" = field(default_factory=asyncio.Queue)
    views: dict[str, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    stopping: str | None = None
    ready: bool = False
    dead: bool = False
    requeue: bool = False
    verdict: tuple[int, str] | None = None
    exit_code: int | None = None

    @property
    def gpu(self) -> str:
        """The GPU asked for, in Modal's words, or the empty string."""
        return self.function.definition.resources.gpu_config.gpu_type

    @property
    def takes_inputs(self) -> bool:
        """Whether it may receive another input."""
        return not self.dead and self.stopping is None

    @property
    def log(self) -> str:
        """Everything it printed."""
        return "".join(self.lines)


@dataclass(eq=False)
class Function:
    """A function, a class, or a variant of either with other options or parameters.

    staged: the definition of a deploy that is not published yet.
    base_id: the function that a variant was bound from.
    """

    app_id: str
    name: str
    id: str = field(default_factory=lambda: new_id("fu"))
    definition: pb.Function = field(default_factory=pb.Function)
    staged: pb.Function | None = None
    metadata: pb.FunctionHandleMetadata = field(default_factory=pb.FunctionHandleMetadata)
    settings: pb.AutoscalerSettings = field(default_factory=pb.AutoscalerSettings)
    queue: "deque[Input]" = field(default_factory=deque)
    bell: Bell = field(default_factory=Bell)
    containers: dict[str, Container] = field(default_factory=dict)
    params: bytes = b""
    base_id: str | None = None
    version: int = 0
    boot_failures: int = 0

    @property
    def newest(self) -> pb.Function:
        """The staged definition, else the published one."""
        return self.definition if self.staged is None else self.staged

    @property
    def inputs_at_once(self) -> int:
        """How many inputs one container runs together."""
        return max(1, self.definition.max_concurrent_inputs)

    @property
    def scaledown_window_s(self) -> float:
        """How long a container may idle: the caller's override, else the deployed value."""
        return (
            self.settings.scaledown_window
            or self.definition.autoscaler_settings.scaledown_window
            or self.definition.task_idle_timeout_secs
            or DEFAULT_SCALEDOWN_WINDOW_S
        )

    @property
    def max_containers(self) -> int:
        """The most containers at once; four where nothing says otherwise."""
        return (
            self.settings.max_containers or self.definition.autoscaler_settings.max_containers or 4
        )


@dataclass(eq=False)
class App:
    """A deployed or running app."""

    name: str
    environment: str
    state: int
    id: str = field(default_factory=lambda: new_id("ap"))
    created_at: float = field(default_factory=time.time)
    deployed_at: float = 0.0
    version: int = 0
    history: list[pb.AppDeploymentHistory] = field(default_factory=list)
    function_ids: dict[str, str] = field(default_factory=dict)
    class_ids: dict[str, str] = field(default_factory=dict)
    logs: list[pb.TaskLogsBatch] = field(default_factory=list)
    bell: Bell = field(default_factory=Bell)


@dataclass(eq=False)
class Secret:
    """A secret and its values."""

    name: str
    values: dict[str, str]
    created_at: float = field(default_factory=time.time)


@dataclass(eq=False)
class Queue:
    """A queue: per partition, (serial number, value) in order."""

    name: str
    partitions: dict[bytes, list[tuple[int, bytes]]] = field(default_factory=dict)
    bell: Bell = field(default_factory=Bell)
    serial: int = 0


@dataclass(eq=False)
class Dict:
    """A dict: pickled keys to pickled values, as they arrived."""

    name: str
    entries: dict[bytes, bytes] = field(default_factory=dict)


@dataclass(eq=False)
class Mount:
    """Files that the client uploaded: path in the container to (sha256, mode)."""

    files: dict[str, tuple[str, int]]


@dataclass(eq=False)
class Image:
    """A layer of an image; it is never built, only remembered."""

    definition: pb.Image
    builder: str
    built: bool = False


class Registry:
    """Objects of one kind by id, and the names that some have in an environment."""

    def __init__(self, kind: str, prefix: str) -> None:
        self.kind, self.prefix = kind, prefix
        self.objects: dict[str, Any] = {}
        self.names: dict[tuple[str, str], str] = {}

    def __getitem__(self, object_id: str) -> Any:
        if object_id not in self.objects:
            raise not_found(f"{self.kind} {object_id} not found")
        return self.objects[object_id]

    def __contains__(self, object_id: str) -> bool:
        return object_id in self.objects

    def get_or_create(
        self, environment: str, name: str, creation: int, make: Callable[[str], Any]
    ) -> str:
        """The id behind a name, created as the request's creation type demands."""
        if creation in (
            pb.OBJECT_CREATION_TYPE_EPHEMERAL,
            pb.OBJECT_CREATION_TYPE_ANONYMOUS_OWNED_BY_APP,
        ):
            return self._add(make(""))
        known = self.names.get((environment, name))
        if known is None:
            if creation == pb.OBJECT_CREATION_TYPE_UNSPECIFIED:
                raise not_found(f"{self.kind} '{name}' not found in environment '{environment}'")
            known = self.names[(environment, name)] = self._add(make(name))
        elif creation == pb.OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS:
            raise GRPCError(Status.ALREADY_EXISTS, f"{self.kind} '{name}' already exists")
        return known

    def _add(self, item: Any) -> str:
        object_id = new_id(self.prefix)
        self.objects[object_id] = item
        return object_id

    def delete(self, object_id: str) -> None:
        """Forgets an object and its names."""
        self.objects.pop(object_id, None)
        self.names = {key: value for key, value in self.names.items() if value != object_id}

    def named(self, environment: str) -> Iterator[tuple[str, str, Any]]:
        """Name, id and object of everything named in an environment."""
        for (where, name), object_id in self.names.items():
            if where == environment:
                yield name, object_id, self.objects[object_id]


class State:
    """All of it; `clear` forgets everything but the folder and the environments."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tokens: dict[str, str] = {}
        self.environments = {DEFAULT_ENVIRONMENT}
        self.clear()

    def clear(self) -> None:
        """Forgets every app, call, container and stored object."""
        self.apps: dict[str, App] = {}
        self.deployments: dict[tuple[str, str], str] = {}
        self.functions: dict[str, Function] = {}
        self.classes: dict[str, str] = {}
        self.calls: dict[str, Call] = {}
        self.inputs: dict[str, Input] = {}
        self.containers: dict[str, Container] = {}
        self.mounts: dict[str, Mount] = {}
        self.images: dict[str, Image] = {}
        self.secrets = Registry("Secret", "st")
        self.queues = Registry("Queue", "qu")
        self.dicts = Registry("Dict", "di")
        self.volumes = Registry("Volume", "vo")
        self.token_flows: dict[str, asyncio.Future[tuple[str, str]]] = {}

    def environment(self, name: str) -> str:
        """The environment that a request means; refuses one that does not exist."""
        name = name or DEFAULT_ENVIRONMENT
        if name not in self.environments:
            raise not_found(f"Environment '{name}' not found")
        return name

    def app(self, environment: str, name: str) -> App:
        """The app deployed under a name."""
        where = self.environment(environment)
        app_id = self.deployments.get((where, name))
        if app_id is None:
            raise not_found(f"App '{name}' not found in environment '{where}'")
        return self.apps[app_id]

    def function(self, function_id: str) -> Function:
        """A function by its id."""
        if function_id not in self.functions:
            raise not_found(f"Function {function_id} not found")
        return self.functions[function_id]

    def call(self, call_id: str) -> Call:
        """A call by its id."""
        if call_id not in self.calls:
            raise not_found(f"Function call {call_id} not found")
        return self.calls[call_id]

    def family(self, app: App) -> list[Function]:
        """The app's functions and the variants bound from them."""
        return [item for item in self.functions.values() if item.app_id == app.id]

    def image_chain(self, image_id: str) -> list[pb.Image]:
        """The layers of an image, the base first."""
        chain: list[pb.Image] = []
        while image_id:
            definition = self.images[image_id].definition
            chain.insert(0, definition)
            with contextlib.suppress(IndexError):
                image_id = definition.base_images[0].image_id
                continue
            image_id = ""
        return chain
