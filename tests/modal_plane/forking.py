"""Fork servers: containers, and commands, begin as copies of a process that has imported libraries.

`python -u forking.py FD container|command [SITE]` reads requests from a Unix socket: JSON, and
descriptors. It answers with the process id and, when that process has ended, with its status. An
interpreter of its own would spend most of its time importing the same libraries.

A container's request names a `namespaces.Spec`, its environment, and where its output goes; after
the fork it enters its file system and runs the module as `python -m` does. A command's request has
its words, environment, folder and three streams; the modules of the installed client are imported
before the fork, which has no other effect, and Modal's settings are read again after it.

Standard library only until the libraries are imported, because it starts outside of any package.
`ForkServer` is the control plane's end, `CommandServer` that of the tests.
"""

import asyncio
import fcntl
import importlib
import json
import os
import pkgutil
import selectors
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path

MODULE = "modal._container_entrypoint"
LIBRARIES = {
    "container": (
        *(MODULE, "aiohttp", "numpy", "torch", "soundfile", "soxr", "ftfy", "tokenizers"),
        *("PIL.Image", "PIL.PngImagePlugin", "PIL.JpegImagePlugin", "PIL.GifImagePlugin"),
    ),
    "command": (
        *("modal", "modal.runner", "modal._utils.proxy_support", "aiohttp", "idna"),
        *("typer.main", "rich.progress", "rich.table", "pydantic.type_adapter", "platformdirs"),
        *("numpy", "soundfile", "soxr", "PIL.ImageCms", "PIL.PngImagePlugin"),
        *("PIL.JpegImagePlugin", "PIL.GifImagePlugin", "boto3.session", "s3transfer.manager"),
    ),
}
MAX_BYTES = 1 << 16


class ForkedProcess:
    """A container's process, with what `asyncio.subprocess.Process` has of it."""

    def __init__(self, pid: int, stdout: asyncio.StreamReader) -> None:
        self.pid, self.stdout = pid, stdout
        self.returncode: int | None = None
        self._ended = asyncio.Event()

    def end(self, status: int) -> None:
        """Records how it ended."""
        self.returncode = status
        self._ended.set()

    async def wait(self) -> int:
        """Its status once it has ended; minus the signal's number where one ended it."""
        await self._ended.wait()
        assert self.returncode is not None
        return self.returncode


class ForkServer:
    """Forks containers, which end with it; starts on first use and ends with this process."""

    def __init__(self) -> None:
        self._control: socket.socket | None = None
        self._asked: deque[tuple[asyncio.Future[ForkedProcess], asyncio.StreamReader]] = deque()
        self._running: dict[int, ForkedProcess] = {}
        self._lock = asyncio.Lock()

    async def fork(
        self, spec_file: Path, environment: dict[str, str], delay_s: float = 0.0
    ) -> ForkedProcess:
        """A new container's process, which sleeps before it does anything."""
        async with self._lock:
            if self._control is None:
                self._control = await self._start()
        loop = asyncio.get_running_loop()
        read_end, write_end = os.pipe()
        stdout, process = asyncio.StreamReader(), loop.create_future()
        await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stdout), os.fdopen(read_end, "rb", 0)
        )
        self._asked.append((process, stdout))
        asked = {"spec": str(spec_file), "environment": environment, "delay_s": delay_s}
        socket.send_fds(self._control, [json.dumps(asked).encode()], [write_end] * 2)
        os.close(write_end)
        return await process

    async def stop(self) -> None:
        """Ends it, when no container is left."""
        if self._control is not None:
            self._control.shutdown(socket.SHUT_WR)
            await self._server.wait()

    async def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        names = ("PATH", "LANG", "LD_LIBRARY_PATH")
        environment = {name: os.environ[name] for name in names if name in os.environ}
        environment |= {"HOME": "/root", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        environment |= {"MODAL_IS_REMOTE": "1", "MODAL_LOGLEVEL": "WARNING"}
        self._server = await asyncio.create_subprocess_exec(
            *_command(theirs, "container"),
            env=environment,
            pass_fds=[theirs.fileno()],
            stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        theirs.close()
        ours.setblocking(False)
        asyncio.get_running_loop().add_reader(ours, self._on_answer, ours)
        return ours

    def _on_answer(self, control: socket.socket) -> None:
        data = control.recv(MAX_BYTES)
        if not data:
            self._end(control)
            return
        pid, status = json.loads(data)
        if status is not None:
            self._running.pop(pid).end(status)
            return
        future, stdout = self._asked.popleft()
        self._running[pid] = ForkedProcess(pid, stdout)
        future.set_result(self._running[pid])

    def _end(self, control: socket.socket) -> None:
        asyncio.get_running_loop().remove_reader(control)
        control.close()
        for future, _ in self._asked:
            future.set_exception(ConnectionError("the fork server ended"))
        for process in self._running.values():
            process.end(-signal.SIGKILL)


class ForkedCommand:
    """A command that was forked."""

    def __init__(self, server: "CommandServer", pid: int, outputs: tuple[int, int]) -> None:
        self.pid, self.returncode = pid, None
        self._server, self._outputs = server, outputs

    def poll(self) -> int | None:
        """Its status, or None while it runs."""
        self.returncode = self._server.status(self.pid, 0)
        return self.returncode

    def printed(self) -> str:
        """What it has written to stdout so far."""
        return os.pread(self._outputs[0], 1 << 20, 0).decode()

    def reported(self) -> str:
        """What it has written to stderr so far."""
        return os.pread(self._outputs[1], 1 << 20, 0).decode()

    def communicate(self, timeout: float) -> tuple[str, str]:
        """Waits for its end; what it printed. Raises TimeoutError."""
        self.returncode = self._server.status(self.pid, timeout)
        if self.returncode is None:
            raise TimeoutError(f"process {self.pid} runs after {timeout} s")
        out, err = (_read_from_start(output) for output in self._outputs)
        return out, err


class CommandServer:
    """Forks commands of one installed client; starts on first use."""

    def __init__(self, site: Path) -> None:
        """site: the folder on Python's path that has the client."""
        self._site = site
        self._control: socket.socket | None = None
        self._pids: deque[int] = deque()
        self._statuses: dict[int, int] = {}
        self._lock = threading.Lock()

    def fork(
        self, words: list[str], env: dict[str, str], folder: Path, stdin: str
    ) -> ForkedCommand:
        """Starts `python -m WORDS` in a session of its own."""
        read_end, write_end = os.pipe()
        outputs = os.memfd_create("stdout"), os.memfd_create("stderr")
        pid = self._fork([read_end, *outputs], words=words, environment=env, folder=str(folder))
        os.close(read_end)
        with os.fdopen(write_end, "wb") as pipe:
            pipe.write(stdin.encode())
        return ForkedCommand(self, pid, outputs)

    def fork_on_terminal(
        self, words: list[str], env: dict[str, str], folder: Path, terminal: int
    ) -> int:
        """Starts `python -m WORDS` in the foreground of that terminal; its process id."""
        request = {"words": words, "environment": env, "folder": str(folder), "terminal": True}
        return self._fork([terminal] * 3, **request)

    def _fork(self, streams: list[int], **request: object) -> int:
        with self._lock:
            if self._control is None:
                self._control = self._start()
            self._control.settimeout(None)
            socket.send_fds(self._control, [json.dumps(request).encode()], streams)
            while not self._pids:
                self._read_answer()
            return self._pids.popleft()

    def status(self, pid: int, timeout_s: float) -> int | None:
        """The status of a process of its own, or None if it runs on after that time."""
        end = time.monotonic() + timeout_s
        while pid not in self._statuses:
            with self._lock:
                # Another thread's turn must not wait for this one's process.
                self._control.settimeout(0.05 if timeout_s else 0.001)
                with suppress(TimeoutError):
                    self._read_answer()
            if time.monotonic() >= end:
                break
        return self._statuses.get(pid)

    def stop(self) -> None:
        """Ends it."""
        if self._control is not None:
            self._control.close()
            self._server.wait()

    def _read_answer(self) -> None:
        data = self._control.recv(MAX_BYTES)
        if not data:
            raise ConnectionError("the fork server ended")
        pid, status = json.loads(data)
        if status is None:
            self._pids.append(pid)
        else:
            self._statuses[pid] = status

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environment = {"PATH": os.environ["PATH"], "HOME": "/", "LANG": "C.UTF-8"}
        environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._server = subprocess.Popen(
            [*_command(theirs, "command"), str(self._site)],
            env=environment,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        theirs.close()
        return ours


def _read_from_start(descriptor: int) -> str:
    with open(descriptor, encoding="utf-8", newline=None) as file:
        file.seek(0)
        return file.read()


def _command(control: socket.socket, kind: str) -> list[str]:
    return [sys.executable, "-u", str(Path(__file__).resolve()), str(control.fileno()), kind]


def _receive(control: socket.socket) -> tuple[dict, list[int]]:
    data, descriptors, _, _ = socket.recv_fds(control, MAX_BYTES, 3)
    if not data:
        sys.exit()  # The other end is gone.
    return json.loads(data), descriptors


def _reap(control: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        control.send(json.dumps([pid, os.waitstatus_to_exitcode(status)]).encode())


def serve(control: socket.socket) -> dict:
    """Forks for each request; returns in the new process, with what it was asked for."""
    read_end, write_end = socket.socketpair()
    for end in (read_end, write_end):
        end.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(write_end.fileno(), warn_on_full_buffer=False)
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        selector.register(read_end, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in selector.select()}
            if read_end in ready:
                read_end.recv(4096)
                _reap(control)
            if control not in ready:
                continue
            request, streams = _receive(control)
            pid = os.fork()
            if pid == 0:
                break
            for stream in streams:
                os.close(stream)
            control.send(json.dumps([pid, None]).encode())
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for end in (control, read_end, write_end):
        end.close()
    os.setsid()
    for number, stream in enumerate(streams, 3 - len(streams)):
        os.dup2(stream, number)
        os.close(stream)
    return request


def become_command(request: dict) -> None:
    """Enters the command's folder and environment, and runs its module; ends the process."""
    import runpy

    import modal.config

    if "terminal" in request:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        # The server's own streams, which know that they can be rewound, were files.
        for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    added = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:0] = [request["folder"], *filter(None, added)]
    sys.path_importer_cache.clear()
    importlib.invalidate_caches()
    importlib.reload(modal.config)
    module, *sys.argv[1:] = request["words"]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def become_container(request: dict) -> None:
    """Enters the container's file system and environment, and runs its module; ends the process."""
    import runpy

    import namespaces

    del sys.modules["namespaces"]
    spec = namespaces.Spec.from_json(Path(request["spec"]).read_text(encoding="utf-8"))
    namespaces.enter_file_system(spec)
    time.sleep(request["delay_s"])
    os.environ.clear()
    os.environ.update(request["environment"])
    added = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:0] = [spec.workdir, *filter(None, added)]
    sys.path_importer_cache.clear()
    importlib.invalidate_caches()
    runpy.run_module(MODULE, run_name="__main__", alter_sys=True)


def _import_client(site: str) -> None:
    """Imports all modules of the client that is installed there, but the one that runs it.

    Finds the faces of the example portrait too, which nearly all commands are given: copies know
    them as the rows of a batch do.
    """
    sys.path.insert(0, site)
    client = importlib.import_module("multitalk_cli")
    for module in pkgutil.walk_packages(client.__path__, "multitalk_cli."):
        if module.name != "multitalk_cli.__main__":
            importlib.import_module(module.name)
    detect = importlib.import_module("multitalk_cli.media.faces.detect")
    load = importlib.import_module("multitalk_cli.media.image.load")
    portrait = Path(client.__path__[0], "examples", "portrait.png")
    detect.recall_faces(load.load_picture(portrait).pixels)
    sys.path.remove(site)


def main() -> None:
    """Imports, serves, and in each copy runs the container or the command."""
    control, kind = socket.socket(fileno=int(sys.argv[1])), sys.argv[2]
    here = sys.path.pop(0)
    for name in LIBRARIES[kind]:
        importlib.import_module(name)
    if kind == "command":
        _import_client(sys.argv[3])
    sys.modules.pop(MODULE, None)
    sys.path.insert(0, here)
    import namespaces

    namespaces.die_with_parent()
    sys.path.pop(0)
    become = become_container if kind == "container" else become_command
    become(serve(control))


if __name__ == "__main__":
    main()
