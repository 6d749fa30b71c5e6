"""A fork server: containers begin as copies of a process that has imported the large libraries.

`python -u forking.py FD` reads requests from a Unix socket: the path of a `namespaces.Spec`, the
container's environment, and the descriptor that its output goes to. It answers with the process id
and, when that process has ended, with its status. A container's own interpreter would spend most
of its time importing the same libraries; after the fork it enters its file system and runs the
module as `python -m` does, from an environment of its own.

Standard library only until the libraries are imported, because it starts outside of any package.
`ForkServer` is the control plane's end.
"""

import array
import asyncio
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import time
from collections import deque
from pathlib import Path

MODULE = "modal._container_entrypoint"
LIBRARIES = (MODULE, "numpy", "torch", "soundfile", "soxr", "PIL.Image", "ftfy", "tokenizers")
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
    """Starts on first use; its containers end with it, and it ends with this process."""

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
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [write_end]))
        self._control.sendmsg([json.dumps(asked).encode()], [rights])
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
        command = [sys.executable, "-u", str(Path(__file__).resolve()), str(theirs.fileno())]
        self._server = await asyncio.create_subprocess_exec(
            *command,
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


def _receive(control: socket.socket) -> tuple[dict, int]:
    data, ancillary, _, _ = control.recvmsg(MAX_BYTES, socket.CMSG_SPACE(4))
    if not data:
        sys.exit()  # The control plane is gone.
    ((_, _, packed),) = ancillary
    (output,) = array.array("i", packed[:4])
    return json.loads(data), output


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
            request, output = _receive(control)
            pid = os.fork()
            if pid == 0:
                break
            os.close(output)
            control.send(json.dumps([pid, None]).encode())
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for end in (control, read_end, write_end):
        end.close()
    os.setsid()
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    return request


def become(request: dict) -> None:
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


def main() -> None:
    """Imports, serves, and in each copy runs the container."""
    control = socket.socket(fileno=int(sys.argv[1]))
    here = sys.path.pop(0)
    for name in LIBRARIES:
        importlib.import_module(name)
    del sys.modules[MODULE]
    sys.path.insert(0, here)
    import namespaces

    namespaces.die_with_parent()
    sys.path.pop(0)
    become(serve(control))


if __name__ == "__main__":
    main()
