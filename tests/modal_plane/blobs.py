"""The HTTP side: blobs, volume blocks, volume files, and the page that confirms a login."""

import hashlib
import secrets
from pathlib import Path

from aiohttp import web

from tests.modal_plane.faults import Faults
from tests.modal_plane.rpcs import CLIENT
from tests.modal_plane.state import State

BLOCK_BYTES = 8 << 20
MAX_BODY_BYTES = 2 << 30


class Store:
    """Files below the state's folder, served on one port behind the clients' gate and directly.

    Set `client_port` and `container_port` once they are known: whoever asks for an address gets
    one that only the own network reaches.
    """

    def __init__(self, state: State, faults: Faults) -> None:
        self._state, self._faults = state, faults
        self.blobs, self.blocks = state.root / "blobs", state.root / "blocks"
        for folder in (self.blobs, self.blocks, state.root / "volumes", state.root / "files"):
            folder.mkdir(parents=True, exist_ok=True)
        self.client_port = self.container_port = 0

    def url(self, caller: str, path: str) -> str:
        """The address of a path for a client or a container."""
        port = self.client_port if caller == CLIENT else self.container_port
        return f"http://127.0.0.1:{port}/{path}"

    def web_app(self) -> web.Application:
        """The routes."""
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_put("/blob/{name}", self._put_blob)
        app.router.add_get("/blob/{name}", self._get_blob)
        app.router.add_put("/block/{name}", self._put_block)
        app.router.add_get("/volume/{path:.+}", self._get_volume_file)
        app.router.add_get("/token-flow/{name}", self._confirm_token)
        return app

    async def _put_blob(self, request: web.Request) -> web.Response:
        data = await request.read()
        (self.blobs / request.match_info["name"]).write_bytes(data)
        # The client compares the tag with what it sent.
        tag = hashlib.md5(data, usedforsecurity=False).hexdigest()
        return web.Response(headers={"ETag": f'"{tag}"'})

    async def _put_block(self, request: web.Request) -> web.Response:
        data, name = await request.read(), request.match_info["name"]
        (self.blocks / name).write_bytes(data)
        return web.Response(body=b"stored")

    async def _get_blob(self, request: web.Request) -> web.StreamResponse:
        path = self.blobs / request.match_info["name"]
        return await self._send(request, path, 0, path.stat().st_size)

    async def _get_volume_file(self, request: web.Request) -> web.StreamResponse:
        path = self._state.root / "volumes" / request.match_info["path"]
        offset, size = int(request.query["offset"]), int(request.query["size"])
        return await self._send(request, path, offset, size)

    async def _send(
        self, request: web.Request, path: Path, offset: int, size: int
    ) -> web.StreamResponse:
        """Sends part of a file, or breaks off where a fault says so."""
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(size)
        if self._faults.cut_downloads == 0:
            return web.Response(body=data)
        self._faults.cut_downloads -= 1
        response = web.StreamResponse(headers={"Content-Length": str(len(data))})
        await response.prepare(request)
        await response.write(data[: self._faults.cut_after_bytes])
        if request.transport is not None:
            request.transport.abort()
        return response

    async def _confirm_token(self, request: web.Request) -> web.Response:
        """What the browser does at the end of a login: a new token, valid from now on."""
        answer = self._state.token_flows[request.match_info["name"]]
        pair = (f"ak-{secrets.token_hex(8)}", f"as-{secrets.token_hex(8)}")
        self._state.tokens[pair[0]] = pair[1]
        if not answer.done():
            answer.set_result(pair)
        return web.Response(text="You may close this page.")
