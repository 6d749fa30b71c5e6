"""Faults that tests switch on: the clients' network, containers, capacity, builds, downloads."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from datetime import datetime

from tests.modal_plane.state import IMAGE_BUILDER

CHUNK_BYTES = 1 << 16


@dataclass
class Faults:
    """Switches that the services and the worker look at.

    capacity: False keeps inputs queued, as when no GPU is free.
    image_build_failure: the text that an image build ends with; "" for none but in its log.
    image_build_log: lines that such a build prints before.
    failing_builds: the builds that end so: those with a command that contains this.
    image_builder: the builder of images that the workspace has chosen.
    boot_failure: containers exit with this code before they load the app.
    start_delay_s: how much longer a container's process takes to start.
    startup_timeout_s: instead of the function's own.
    cut_downloads: how many downloads break off, after `cut_after_bytes` each.
    cancel_grace_s: a container that does not answer a cancel in time is killed.
    preempt_grace_s: the same for a preempted one.
    commit_every_s: containers' volumes are committed by themselves, also in the middle of a write.
    hidden_s: how long a volume looks empty to its container while it is reloaded.
    poll_s: how long a heartbeat or a request for inputs is held at most.
    billed: day, app and dollars of the billing report; None for a token that may not see it.
    """

    capacity: bool = True
    image_build_failure: str | None = None
    image_build_log: tuple[str, ...] = ()
    failing_builds: str = ""
    image_builder: str = IMAGE_BUILDER
    boot_failure: int | None = None
    start_delay_s: float = 0.0
    startup_timeout_s: float | None = None
    cut_downloads: int = 0
    cut_after_bytes: int = 0
    cancel_grace_s: float = 30.0
    preempt_grace_s: float = 30.0
    commit_every_s: float | None = None
    hidden_s: float = 0.0
    poll_s: float = 10.0
    billed: tuple[tuple[datetime, str, str], ...] | None = ()

    def clear(self) -> None:
        """Back to normal."""
        for field in fields(self):
            setattr(self, field.name, field.default)


class Gate:
    """A TCP door in front of a server, for the clients alone: open, shut, or silent.

    Shut refuses connections and breaks those that are open. Silent takes bytes and answers
    nothing, as a network does that drops packets.
    """

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._silent = False
        self.port = 0

    async def open(self) -> None:
        """Lets clients through, on the same port as before."""
        self._silent = False
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        """Refuses clients from now on and drops those that are connected."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.drop_all()

    def silence(self) -> None:
        """Swallows what clients send until `open`; connections stay up."""
        self._silent = True

    def drop_all(self) -> None:
        """Breaks every open connection."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with self._tracked(writer):
                inner, outer = await asyncio.open_connection("127.0.0.1", self._target_port)
                async with self._tracked(outer):
                    await asyncio.gather(self._pump(reader, outer), self._pump(inner, writer))
        except (OSError, EOFError):
            return  # Either side hung up.

    @asynccontextmanager
    async def _tracked(self, writer: asyncio.StreamWriter) -> AsyncIterator[None]:
        self._writers.add(writer)
        try:
            yield
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(CHUNK_BYTES):
            if not self._silent:
                sink.write(data)
                await sink.drain()
        with contextlib.suppress(OSError):
            sink.write_eof()
