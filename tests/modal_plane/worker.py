"""Starts, feeds, watches and ends containers: processes of Modal's own container runtime.

Modal's rules for lost containers are not public. Ours: the input of a killed container runs once
more on a new one, a second loss is an internal failure; a preempted one does not count; a container
that never asked for an input failed to boot, three of those fail every waiting input.
"""

import asyncio
import contextlib
import os
import py_compile
import shlex
import shutil
import signal
import sys
import time
from asyncio.subprocess import Process
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Protocol

from modal_proto import api_pb2 as pb

from tests.modal_plane.faults import Faults
from tests.modal_plane.forking import MODULE, ForkedProcess, ForkServer
from tests.modal_plane.namespaces import Bind, Spec, launcher
from tests.modal_plane.state import (
    DEFAULT_STARTUP_TIMEOUT_S,
    DEFAULT_TIMEOUT_S,
    App,
    Container,
    Function,
    Input,
    State,
    failure,
)
from tests.modal_plane.volumes import View

Result = pb.GenericResult
MAX_BOOT_FAILURES = 3
MAX_LOSSES = 2
CANCELLED = "Input was cancelled by user"
PASSED_VARIABLES = ("PATH", "LANG", "LD_LIBRARY_PATH", "NUMBA_OPT")
# Where a container finds its arguments and the control plane.
PRIVATE_FOLDER = "/__modal"


class Door(Protocol):
    """Opens and closes a container's own way to the control plane."""

    async def open(self, container: Container) -> None:
        """Listens on `container.home / "private" / "control.sock"`."""

    async def close(self, container: Container) -> None:
        """Stops listening."""


class Worker:
    """Runs containers for the functions' queues."""

    def __init__(
        self, state: State, faults: Faults, *, user_namespace: bool, hidden: list[str]
    ) -> None:
        self._state, self._faults = state, faults
        self._user_namespace, self._hidden = user_namespace, hidden
        self._tasks: set[asyncio.Task[None]] = set()
        self.problems: list[BaseException] = []
        self.door: Door
        self.more_environment: dict[str, str] = {}
        self._fork_server = ForkServer()

    def background(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs something without waiting for it, until `stop`."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (problem := task.exception()) is not None:
            self.problems.append(problem)

    async def stop(self) -> None:
        """Kills every container and waits until all are gone."""
        for container in list(self._state.containers.values()):
            container.requeue = False
            self.kill(container, "the control plane stops")
        for function in self._state.functions.values():
            function.queue.clear()
        while any(not item.dead or item.process for item in self._state.containers.values()):
            await asyncio.sleep(0.01)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def close(self) -> None:
        """Ends the fork server, after `stop`."""
        await self._fork_server.stop()

    def enqueue(self, item: Input) -> None:
        """Puts an input into its function's queue and starts a container where one is missing."""
        function = item.call.function
        function.queue.append(item)
        function.bell.ring()
        self.scale(function)

    def scale(self, function: Function) -> None:
        """Starts containers while inputs wait and the function may have more."""
        if not self._faults.capacity:
            return
        alive = [item for item in function.containers.values() if item.takes_inputs]
        free = sum(function.inputs_at_once - len(item.running) for item in alive)
        while len(function.queue) > free and len(alive) < function.max_containers:
            container = Container(function, self._state.root / "containers")
            container.home = container.home / container.id
            function.containers[container.id] = container
            self._state.containers[container.id] = container
            alive.append(container)
            free += function.inputs_at_once
            self.background(self._run(container))

    def kill(self, container: Container, reason: str) -> None:
        """Ends a container and its children at once."""
        container.stopping = reason
        if container.process is not None and container.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(container.process.pid, signal.SIGKILL)

    async def preempt(self, container: Container) -> None:
        """Takes the machine away: SIGINT, a grace period, SIGKILL; its inputs go elsewhere."""
        container.stopping, container.requeue = "preempted", True
        if container.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(container.process.pid, signal.SIGINT)
        await asyncio.sleep(self._faults.preempt_grace_s)
        self.kill(container, "preempted")

    def layout(self, app: App) -> pb.AppLayout:
        """The app's functions and classes by name."""
        layout = pb.AppLayout(function_ids=app.function_ids, class_ids=app.class_ids)
        for function_id in app.function_ids.values():
            handle = self._state.functions[function_id].metadata
            layout.objects.add(object_id=function_id, function_handle_metadata=handle)
        for class_id in app.class_ids.values():
            layout.objects.add(object_id=class_id, class_handle_metadata=pb.ClassHandleMetadata())
        return layout

    def _container_layout(self, function: Function) -> pb.AppLayout:
        """The app's layout and everything that the function depends on, as the runtime demands."""
        app = self._state.apps[function.app_id]
        layout = self.layout(app)
        if function.id not in app.function_ids.values():
            layout.objects.add(object_id=function.id, function_handle_metadata=function.metadata)
        for dependency in function.definition.object_dependencies:
            entry = layout.objects.add(object_id=dependency.object_id)
            if dependency.object_id in self._state.volumes:
                version = self._state.volumes[dependency.object_id].version
                entry.volume_metadata.version = version
        return layout

    async def _run(self, container: Container) -> None:
        """A container's whole life."""
        try:
            spec = await asyncio.to_thread(self._prepare, container)
            await self.door.open(container)
            container.process = await self._start(container, spec)
            if container.stopping is not None:
                self.kill(container, container.stopping)
            self.background(self._watch_start(container))
            if self._faults.commit_every_s is not None:
                self.background(self._commit_by_itself(container, self._faults.commit_every_s))
            output = asyncio.create_task(self._collect_output(container))
            container.exit_code = await container.process.wait()
            # Children that outlive it would hold its output open.
            self._kill_children(container.process.pid)
            await output
        except Exception as problem:
            # Who waits for it must not wait for ever because of a fault of this double.
            self.fail_waiting(container.function, f"the container cannot be made: {problem!r}")
            raise
        finally:
            await self.door.close(container)
            container.dead, container.process = True, None
            container.function.containers.pop(container.id, None)
            await asyncio.to_thread(shutil.rmtree, container.home, ignore_errors=True)
        self._settle(container)

    async def _start(self, container: Container, spec_file: Path) -> ForkedProcess | Process:
        """A copy of the fork server; where it is to fail, a process that only fails."""
        environment = self._environment(container)
        if self._faults.boot_failure is None:
            delay_s = self._faults.start_delay_s
            return await self._fork_server.fork(spec_file, environment, delay_s)
        return await asyncio.create_subprocess_exec(
            *launcher(spec_file),
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )

    def _kill_children(self, process_group: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process_group, signal.SIGKILL)

    def _prepare(self, container: Container) -> Path:
        """Writes the container's files, views, arguments and their `Spec`, whose file it gives."""
        home, definition = container.home, container.function.definition
        for folder in ("private", "files", "root"):
            (home / folder).mkdir(parents=True)
        self._copy_files(definition, home / "files")
        binds = [Bind(source=str(home / "private"), target=PRIVATE_FOLDER)]
        for number, mount in enumerate(definition.volume_mounts):
            view = View(self._state.volumes[mount.volume_id], home / "volumes" / str(number))
            container.views[mount.volume_id] = view
            shown = view.folder / mount.sub_path.strip("/")
            shown.mkdir(parents=True, exist_ok=True)
            bind = Bind(source=str(shown), target=mount.mount_path, read_only=mount.read_only)
            binds.append(bind)
        arguments = home / "private" / "arguments.bin"
        arguments.write_bytes(self._arguments(container).SerializeToString())
        spec = Spec(
            root=str(home / "root"),
            command=self._command(),
            files=str(home / "files"),
            binds=binds,
            keep=[sys.prefix, sys.base_prefix, str(Path(sys.executable).resolve())],
            hidden=self._hidden,
            user_namespace=self._user_namespace,
        )
        (home / "spec.json").write_text(spec.to_json(), encoding="utf-8")
        return home / "spec.json"

    def _command(self) -> list[str]:
        if self._faults.boot_failure is not None:
            code = f"import sys; print('no such library'); sys.exit({self._faults.boot_failure})"
            return [sys.executable, "-c", code]
        return [sys.executable, "-m", MODULE]

    def _copy_files(self, definition: pb.Function, target: Path) -> None:
        for mount_id in definition.mount_ids:
            self._copy_mount(mount_id, target, "/")
        for layer in self._state.image_chain(definition.image_id):
            for command in layer.dockerfile_commands:
                if command.startswith("COPY . ") and layer.context_mount_id:
                    self._copy_mount(layer.context_mount_id, target, command.split()[2])

    def _copy_mount(self, mount_id: str, target: Path, prefix: str) -> None:
        for name, (digest, mode) in self._state.mounts[mount_id].files.items():
            path = target / prefix.strip("/") / name.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            source = self._state.root / "files" / digest
            shutil.copyfile(source, path)
            if mode:
                path.chmod(mode & 0o777)
            if path.suffix == ".py":
                self._copy_compiled(source, path)

    def _copy_compiled(self, source: Path, target: Path) -> None:
        """Adds a module's bytecode, as a container that was started before has it in its image."""
        compiled = source.with_name(f"{source.name}.pyc")
        if not compiled.exists():
            unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
            py_compile.compile(
                str(source), str(compiled), target.name, doraise=False, quiet=2,
                invalidation_mode=unchecked,
            )  # fmt: skip
        if compiled.exists():
            # Beside it, wherever this process keeps its own bytecode.
            name = f"{target.stem}.{sys.implementation.cache_tag}.pyc"
            cached = target.parent / "__pycache__" / name
            cached.parent.mkdir(exist_ok=True)
            shutil.copyfile(compiled, cached)

    def _arguments(self, container: Container) -> pb.ContainerArguments:
        function = container.function
        return pb.ContainerArguments(
            task_id=container.id,
            function_id=function.id,
            app_id=function.app_id,
            serialized_params=function.params,
            environment_name=self._state.apps[function.app_id].environment,
            app_layout=self._container_layout(function),
            function_def=function.definition,
        )

    def _environment(self, container: Container) -> dict[str, str]:
        """What the image, the secrets and the runtime put into the container's environment."""
        definition = container.function.definition
        values = {name: os.environ[name] for name in PASSED_VARIABLES if name in os.environ}
        values |= image_environment(self._state.image_chain(definition.image_id))
        for secret_id in definition.secret_ids:
            values |= self._state.secrets[secret_id].values
        return values | {
            "HOME": "/root",
            "PYTHONPATH": "/root",
            "PYTHONUNBUFFERED": "1",
            "OMP_NUM_THREADS": "1",
            "MODAL_SERVER_URL": f"unix://{PRIVATE_FOLDER}/control.sock",
            "MODAL_CONTAINER_ARGUMENTS_PATH": f"{PRIVATE_FOLDER}/arguments.bin",
            "MODAL_IS_REMOTE": "1",
            "MODAL_TASK_ID": container.id,
            "MODAL_IMAGE_ID": definition.image_id,
            "MODAL_ENVIRONMENT": self._state.apps[container.function.app_id].environment,
            "MODAL_CLOUD_PROVIDER": "CLOUD_PROVIDER_LOCAL",
            "MODAL_REGION": "local",
            "MODAL_LOGLEVEL": "WARNING",
            **self.more_environment,
        }

    async def _collect_output(self, container: Container) -> None:
        app = self._state.apps[container.function.app_id]
        assert container.process is not None
        assert container.process.stdout is not None
        async for raw in container.process.stdout:
            line = raw.decode(errors="replace")
            container.lines.append(line)
            current = next(iter(container.running.values()), None)
            item = pb.TaskLogs(
                data=line,
                timestamp=time.time(),
                file_descriptor=pb.FILE_DESCRIPTOR_STDOUT,
                function_call_id="" if current is None else current.call.id,
                input_id="" if current is None else current.id,
            )
            number = str(len(app.logs) + 1)
            batch = pb.TaskLogsBatch(task_id=container.id, entry_id=number, items=[item])
            app.logs.append(batch)
            app.bell.ring()

    async def _commit_by_itself(self, container: Container, pause_s: float) -> None:
        """Commits a container's volumes again and again."""
        while not container.dead:
            for view in container.views.values():
                # A file may get another name meanwhile; the next time counts.
                with contextlib.suppress(FileNotFoundError):
                    await asyncio.to_thread(view.commit)
            await asyncio.sleep(pause_s)

    async def _watch_start(self, container: Container) -> None:
        limit_s = self._faults.startup_timeout_s
        if limit_s is None:
            deployed = container.function.definition.startup_timeout_secs
            limit_s = deployed or DEFAULT_STARTUP_TIMEOUT_S
        await asyncio.sleep(limit_s)
        if not container.ready and not container.dead:
            container.lines.append(f"not started within {limit_s} s\n")
            container.function.boot_failures += 1
            self.kill(container, "start-up timeout")

    async def watch_input(self, item: Input, container: Container) -> None:
        """Ends an input that runs longer than its function's timeout, and its container."""
        retries = item.retries
        await asyncio.sleep(container.function.definition.timeout_secs or DEFAULT_TIMEOUT_S)
        if item.retries == retries:
            self.time_out(item, container)

    def time_out(self, item: Input, container: Container) -> None:
        """Ends an input as its function's timeout does, and its container."""
        if item.id in container.running and not item.done:
            limit = container.function.definition.timeout_secs or DEFAULT_TIMEOUT_S
            del container.running[item.id]
            message = f"Task's current input in {container.id} hit its timeout of {limit}s"
            self.finish(item, failure(Result.GENERIC_STATUS_TIMEOUT, message), container=container)
            self.kill(container, "timeout")

    async def watch_cancel(self, item: Input, container: Container) -> None:
        """Kills a container that goes on with a cancelled input."""
        await asyncio.sleep(self._faults.cancel_grace_s)
        if item.id in container.running and not item.done:
            self.kill(container, "failed to respond to cancellation for too long")

    def finish(
        self,
        item: Input,
        result: pb.GenericResult,
        *,
        data_format: int = pb.DATA_FORMAT_UNSPECIFIED,
        container: Container | None = None,
    ) -> None:
        """Records an input's outcome, or retries it where its function says so."""
        if item.done or self._retry(item, result):
            return
        item.done, item.container = True, None
        item.call.outputs.append(
            pb.FunctionGetOutputsItem(
                result=result,
                idx=item.index,
                input_id=item.id,
                data_format=data_format,
                task_id="" if container is None else container.id,
                retry_count=item.retries,
                output_created_at=time.time(),
            )
        )
        item.call.bell.ring()

    def _retry(self, item: Input, result: pb.GenericResult) -> bool:
        """Spawned inputs are retried by the server, others by the client."""
        policy = item.call.function.definition.retry_policy
        failed = (Result.GENERIC_STATUS_FAILURE, Result.GENERIC_STATUS_TIMEOUT)
        spawned = item.call.invocation == pb.FUNCTION_CALL_INVOCATION_TYPE_ASYNC
        if not spawned or item.call.cancelled or result.status not in failed:
            return False
        if item.retries >= policy.retries:
            return False
        item.retries += 1
        self.background(self._enqueue_later(item, policy.initial_delay_ms / 1000))
        return True

    async def _enqueue_later(self, item: Input, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        self.enqueue(item)

    def _settle(self, container: Container) -> None:
        """Decides what becomes of the inputs of a container that ended."""
        for item in list(container.running.values()):
            self._settle_input(item, container)
        container.running.clear()
        function = container.function
        if not container.ready and container.stopping is None:
            function.boot_failures += 1
        if function.boot_failures >= MAX_BOOT_FAILURES:
            self.fail_waiting(function, f"container exits at start-up:\n{container.log[-2000:]}")
        else:
            self.scale(function)

    def _settle_input(self, item: Input, container: Container) -> None:
        if item.done:
            return
        if item.call.cancelled:
            result = failure(Result.GENERIC_STATUS_TERMINATED, CANCELLED)
        elif container.requeue:
            item.call.function.queue.appendleft(item)
            return
        elif container.verdict is not None:
            result = failure(*container.verdict)
        else:
            item.losses += 1
            killed = container.exit_code == -signal.SIGKILL
            if killed and item.losses < MAX_LOSSES:
                item.call.function.queue.appendleft(item)
                return
            message = f"Runner failed with exit code: {container.exit_code}"
            result = failure(Result.GENERIC_STATUS_INTERNAL_FAILURE, message)
        self.finish(item, result, container=container)

    def fail_waiting(self, function: Function, message: str) -> None:
        """Gives every waiting input the outcome of a start that failed."""
        result = failure(Result.GENERIC_STATUS_INIT_FAILURE, message)
        while function.queue:
            self.finish(function.queue.popleft(), result)
        function.boot_failures = 0


def image_environment(layers: list[pb.Image]) -> dict[str, str]:
    """The variables that an image's ENV commands set."""
    values: dict[str, str] = {}
    for layer in layers:
        for command in layer.dockerfile_commands:
            if command.startswith("ENV ") and "$" not in command:
                for pair in shlex.split(command[4:]):
                    name, _, value = pair.partition("=")
                    values[name] = value
    return values
