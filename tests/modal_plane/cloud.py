"""A running control plane in a thread, and what tests ask of it."""

import asyncio
import pickle
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web
from grpclib.server import Server
from modal._utils.grpc_utils import custom_detail_codec
from modal_proto import api_pb2 as pb

from tests.modal_plane.blobs import Store
from tests.modal_plane.faults import Faults, Gate
from tests.modal_plane.rpcs import CLIENT, RpcLog, Rule, Rules
from tests.modal_plane.servicer import Router
from tests.modal_plane.services_account import AccountService
from tests.modal_plane.services_apps import AppService
from tests.modal_plane.services_calls import CallService, ContainerService
from tests.modal_plane.services_definitions import DefinitionService
from tests.modal_plane.services_files import FileService
from tests.modal_plane.services_storage import DictService, QueueService, SecretService
from tests.modal_plane.services_volumes import BlobService, VolumeService
from tests.modal_plane.state import DEFAULT_ENVIRONMENT, Call, Container, Function, Input, State
from tests.modal_plane.volumes import Volume
from tests.modal_plane.worker import Worker, image_environment
from tests.waiting import HANG_S

ASYNC = pb.FUNCTION_CALL_INVOCATION_TYPE_ASYNC
TOKEN_ID, TOKEN_SECRET = "ak-local", "as-local"

T = TypeVar("T")


class SocketDoor:
    """Gives each container a socket of its own, so that the server knows who is calling."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._servers: dict[str, Server] = {}

    async def open(self, container: Container) -> None:
        """Listens where the container's file system has it."""
        server = Server(
            [self._router.endpoint(container.id)], status_details_codec=custom_detail_codec
        )
        self._servers[container.id] = server
        await server.start(path=str(container.home / "private" / "control.sock"))

    async def close(self, container: Container) -> None:
        """Stops listening."""
        server = self._servers.pop(container.id, None)
        if server is not None:
            server.close()
            await server.wait_closed()


class Cloud:
    """The control plane. Public attributes:

    rpcs: the log of calls; rules: what to do to coming calls (`on` adds one);
    faults: switches; state: everything it remembers (read only);
    worker.more_environment: variables for containers that start from now on.
    """

    def __init__(self, *, user_namespace: bool, hidden: tuple[str, ...] = ()) -> None:
        # A short path: containers' sockets have at most 107 characters.
        self.root = Path(tempfile.mkdtemp(prefix="mc", dir="/tmp"))
        self.state, self.faults = State(self.root), Faults()
        self.rpcs, self.rules = RpcLog(), Rules()
        self.worker = Worker(
            self.state, self.faults, user_namespace=user_namespace, hidden=list(hidden)
        )
        self._store = Store(self.state, self.faults)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="modal-cloud", daemon=True
        )
        self._gates: list[Gate] = []

    # Life

    def start(self) -> None:
        """Listens on loopback; clients reach it through gates that tests can shut."""
        self._thread.start()
        self.run(self._listen())
        self.state.tokens[TOKEN_ID] = TOKEN_SECRET

    async def _listen(self) -> None:
        router = Router(self.state, self._services(), self.rpcs, self.rules)
        self.worker.door = SocketDoor(router)
        rpc_socket = socket.create_server(("127.0.0.1", 0))
        # As on any real server: a reply in pieces must not wait for the client to acknowledge.
        rpc_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._server = Server([router.endpoint(CLIENT)], status_details_codec=custom_detail_codec)
        await self._server.start(sock=rpc_socket)
        self._web = web.AppRunner(self._store.web_app(), access_log=None, shutdown_timeout=0.1)
        await self._web.setup()
        await web.SockSite(self._web, self._web_socket).start()
        self._gates[:] = [Gate(rpc_socket.getsockname()[1]), Gate(self._store.container_port)]
        for gate in self._gates:
            await gate.open()
        self._store.client_port = self._gates[1].port

    def _services(self) -> list[object]:
        state, worker, faults, store = self.state, self.worker, self.faults, self._store
        self._web_socket = socket.create_server(("127.0.0.1", 0))
        store.container_port = self._web_socket.getsockname()[1]
        web_url = f"http://127.0.0.1:{store.container_port}"
        return [
            AccountService(state, self.faults, web_url),
            AppService(state, worker, web_url),
            FileService(state, faults),
            DefinitionService(state, worker),
            CallService(state, worker),
            ContainerService(state, worker, faults),
            SecretService(state),
            DictService(state),
            QueueService(state),
            BlobService(store),
            VolumeService(state, store, faults),
        ]

    def stop(self) -> None:
        """Kills containers, closes everything and removes the folder."""
        self.run(self._shut_down())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        shutil.rmtree(self.root, ignore_errors=True)

    async def _shut_down(self) -> None:
        await self.worker.stop()
        await self.worker.close()
        for gate in self._gates:
            await gate.shut()
        self._server.close()
        await self._server.wait_closed()
        await self._web.cleanup()
        # What still runs is the handlers of clients that never closed their connection.
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        await self._loop.shutdown_default_executor()

    def reset(self) -> None:
        """Ends every container and forgets every object; tokens and addresses stay."""
        self.run(self.worker.stop())
        self.calm()
        self.state.environments = {DEFAULT_ENVIRONMENT}
        self.worker.more_environment.clear()
        self.run_now(self.state.clear)
        self.rpcs.clear()
        for folder in ("volumes", "blobs"):
            for path in (self.root / folder).iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def calm(self) -> None:
        """Lifts every fault and rule and opens the network."""
        self.faults.clear()
        self.rules.clear()
        self.reconnect()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine in the server's loop and waits for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def run_now(self, work: Callable[[], T]) -> T:
        """Calls a function in the server's loop, where the state may be changed."""

        async def call() -> T:
            return work()

        return self.run(call())

    def forget_builds(self) -> None:
        """Builds every layer again when it is asked for; what runs with it goes on."""

        def forget() -> None:
            for image in self.state.images.values():
                image.built = False

        self.run_now(forget)

    # Clients

    @property
    def url(self) -> str:
        """The address that clients use."""
        return f"http://127.0.0.1:{self._gates[0].port}"

    def environment(self, home: Path, **more: str) -> dict[str, str]:
        """A whole environment for a client's process, with nothing of this machine's user."""
        return {
            "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home / ".config"),
            "XDG_STATE_HOME": str(home / ".local" / "state"),
            "XDG_CACHE_HOME": str(home / ".cache"),
            "XDG_DATA_HOME": str(home / ".local" / "share"),
            "MODAL_CONFIG_PATH": str(home / ".modal.toml"),
            "MODAL_SERVER_URL": self.url,
            "MODAL_TOKEN_ID": TOKEN_ID,
            "MODAL_TOKEN_SECRET": TOKEN_SECRET,
            "BROWSER": "true",
            **more,
        }

    def run_client(
        self, arguments: list[str], env: dict[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """Runs Python with these arguments as a client."""
        return subprocess.run(
            [sys.executable, *arguments],
            env=env,
            cwd=env["HOME"],
            capture_output=True,
            text=True,
            timeout=HANG_S,
            check=False,
        )

    # What it knows

    def function(self, app: str, name: str, environment: str = "") -> Function:
        """A deployed function by name; a class is "Name.*"."""
        function_id = self.state.app(environment, app).function_ids[name]
        return self.state.functions[function_id]

    def recipe(self, app: str, name: str) -> list[str]:
        """Every command of a function's image, and what it was built upon first."""
        layers = self.state.image_chain(self.function(app, name).definition.image_id)
        return [command for layer in layers for command in layer.dockerfile_commands]

    def image_environment(self, app: str, name: str) -> dict[str, str]:
        """The variables that a function's image sets."""
        image_id = self.function(app, name).definition.image_id
        return image_environment(self.state.image_chain(image_id))

    def mounted(self, app: str, name: str) -> set[str]:
        """Paths of the files that a function's containers get beside the image's."""
        definition = self.function(app, name).definition
        return {path for item in definition.mount_ids for path in self.state.mounts[item].files}

    def volume(self, name: str, environment: str = DEFAULT_ENVIRONMENT) -> Volume:
        """A named volume; `files()` gives what is committed."""
        volume: Volume = self._named(self.state.volumes, name, environment)
        return volume

    def secret(self, name: str, environment: str = DEFAULT_ENVIRONMENT) -> dict[str, str]:
        """The values of a named secret."""
        values: dict[str, str] = self._named(self.state.secrets, name, environment).values
        return values

    def entries(self, name: str, environment: str = DEFAULT_ENVIRONMENT) -> dict[Any, Any]:
        """The content of a named Dict; nothing where nobody made it yet."""
        if (environment, name) not in self.state.dicts.names:
            return {}
        entries = dict(self._named(self.state.dicts, name, environment).entries)
        return {pickle.loads(key): pickle.loads(value) for key, value in entries.items()}

    def forget_entries(self, name: str, environment: str = DEFAULT_ENVIRONMENT) -> None:
        """Drops a Dict's entries, as Modal does with those that nobody used for a week."""
        self.run_now(self._named(self.state.dicts, name, environment).entries.clear)

    def _named(self, registry: Any, name: str, environment: str) -> Any:
        return registry[registry.names[(environment, name)]]

    def call(self, call_id: str) -> Call:
        """A function call; `statuses` gives its outcomes, `inputs` where each ran."""
        return self.state.call(call_id)

    def queue(self, app: str, name: str, call_id: str, message: pb.FunctionInput) -> None:
        """Queues a call that was made before, under the id that it had."""
        call = Call(self.function(app, name), ASYNC, id=call_id)
        item = Input(call, 0, message)

        def add() -> None:
            call.inputs[item.id] = self.state.inputs[item.id] = item
            self.state.calls[call_id] = call
            self.worker.enqueue(item)

        self.run_now(add)

    def containers(self, *, busy: bool = False) -> list[Container]:
        """Containers that live now, or only those that run an input."""
        alive = [item for item in list(self.state.containers.values()) if not item.dead]
        return [item for item in alive if item.running] if busy else alive

    def _idle(self) -> list[Container]:
        return [item for item in self.containers() if not item.running]

    def log(self) -> str:
        """What all containers printed."""
        return "".join(item.log for item in list(self.state.containers.values()))

    def busy_container(self) -> Container:
        """The one container that runs an input; waits for it."""
        self.wait_until(lambda: self.containers(busy=True), "a container runs an input")
        (container,) = self.containers(busy=True)
        return container

    def wait_until_idle(self) -> None:
        """Waits until every call has ended."""
        self.wait_until(lambda: not self.containers(busy=True), "every call has ended")

    def wait_until(self, condition: Callable[[], object], what: str) -> None:
        """Waits for a condition; the error says what was awaited and what containers printed."""
        end = time.monotonic() + HANG_S
        while not condition():
            if time.monotonic() > end:
                raise AssertionError(f"not within {HANG_S:g} s: {what}\n{self.log()[-2000:]}")
            time.sleep(0.01)

    # What goes wrong

    def on(self, name: str, **rule: Any) -> Rule:
        """Adds a rule for the next call of a procedure; see `rpcs.Rule` for the arguments."""
        return self.rules.add(Rule(name=name, **rule))

    def disconnect(self) -> None:
        """Refuses and drops clients; containers go on."""
        self._each_gate(lambda gate: gate.shut())

    def reconnect(self) -> None:
        """Lets clients in again."""
        self._each_gate(lambda gate: gate.open())

    def _each_gate(self, work: Callable[[Gate], Coroutine[Any, Any, None]]) -> None:
        for gate in self._gates:
            self.run(work(gate))

    @contextmanager
    def network_lost(self) -> Iterator[None]:
        """Clients cannot reach the server inside the block."""
        self.disconnect()
        try:
            yield
        finally:
            self.reconnect()

    @contextmanager
    def network_silent(self) -> Iterator[None]:
        """Clients' packets vanish inside the block; at its end their connections break."""
        for gate in self._gates:
            self.run_now(gate.silence)
        try:
            yield
        finally:
            for gate in self._gates:
                self.run_now(gate.drop_all)
            self.reconnect()

    @contextmanager
    def commits_held(self, after: int = 0) -> Iterator[None]:
        """Containers wait for each commit of a Volume but the next `after`, until the block ends.

        A job that is started in the block computes and does not end.
        """
        gate = asyncio.Event()
        passing = self.on("VolumeCommit", times=after, caller=None)
        held = self.on("VolumeCommit", gate=gate, times=sys.maxsize, caller=None)
        try:
            yield
        finally:
            passing.times = held.times = 0
            self.run_now(gate.set)

    def hang_up(self, *_: object) -> None:
        """Breaks the clients' connections once; for use as a rule's callback."""
        for gate in self._gates:
            gate.drop_all()

    def no_capacity(self, *, ends_idle: bool = False) -> None:
        """No container starts until `capacity_back`. ends_idle: nor does one that waits go on."""
        self.faults.capacity = False
        for container in self._idle() if ends_idle else ():
            self.kill(container)
        self.wait_until(lambda: not (ends_idle and self._idle()), "idle containers end")

    def capacity_back(self) -> None:
        """Starts containers for what waits."""
        self.faults.capacity = True
        for function in list(self.state.functions.values()):
            self.run_now(lambda function=function: self.worker.scale(function))

    def kill(self, container: Container) -> None:
        """SIGKILL; the input runs once more on a new container, a second loss is a failure."""
        self.run_now(lambda: self.worker.kill(container, "killed"))

    def time_out(self, container: Container) -> None:
        """Its input has reached the function's time limit."""
        (item,) = container.running.values()
        self.run_now(lambda: self.worker.time_out(item, container))

    def stop_container(self, container: Container) -> None:
        """Ends it as an idle one ends: after its input, with its exit hooks."""
        container.stopping = "stopped"
        self.run_now(container.function.bell.ring)

    def out_of_memory(self, container: Container) -> None:
        """SIGKILL as the kernel does it; the input fails with that status."""
        status = pb.GenericResult.GENERIC_STATUS_KERNEL_OOM_KILL
        container.verdict = (status, "Container killed: out of memory")
        self.kill(container)

    def preempt(self, container: Container) -> None:
        """SIGINT; the same call goes on in a new container."""
        self.run_now(lambda: self.worker.background(self.worker.preempt(container)))

    def expire(self, call_id: str) -> None:
        """The results of a call are no longer kept."""
        self.call(call_id).expired = True

    def confirm_login(self) -> None:
        """Opens the page of the login that waits, as the user's browser would."""
        self.wait_until(lambda: self.state.token_flows, "a client asks for a token")
        name = next(iter(self.state.token_flows))
        with socket.create_connection(("127.0.0.1", self._store.container_port)) as browser:
            browser.sendall(f"GET /token-flow/{name} HTTP/1.0\r\n\r\n".encode())
            assert b"200" in browser.recv(64)

    def add_environment(self, name: str) -> None:
        """An environment beside main."""
        self.state.environments.add(name)
