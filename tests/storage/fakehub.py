"""A small Hugging Face hub over real HTTP: listings, ranges, tokens, and faults on purpose."""

import hashlib
import json
import re
import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from multitalk_cli.contract import (
    MULTITALK_REPOSITORY,
    REPOSITORIES,
    WAN_REPOSITORY,
    WAV2VEC_REPOSITORY,
)
from remote.engine.checkpoint import published

LARGE = (".safetensors", ".pth", "tokenizer.json")
_PIECE = 16 * 1024


@dataclass
class Faults:
    """What goes wrong. Each count says how often it still will.

    cuts: connections closed after `cut_after` bytes. stalls: answers that stop after `cut_after`
    bytes and stay open. lies: answers with a wrong byte. busy: answers with status 503.
    throttles: answers with status 429 and the headers `throttling`.
    gated: repositories whose files no token may read. is_mirror: who may read what is not told.
    refusal: status and headers of every answer.
    """

    cuts: int = 0
    stalls: int = 0
    cut_after: int = 1000
    lies: int = 0
    busy: int = 0
    throttles: int = 0
    throttling: dict = field(default_factory=dict)
    token: str | None = None
    ignores_ranges: bool = False
    bytes_per_s: float | None = None
    gated: tuple = ()
    is_mirror: bool = False
    refusal: tuple | None = None


@dataclass
class FakeHub:
    """repos: repository -> its files. storage: where large files are redirected to, if anywhere.

    claims: path -> a size that is listed in place of the true one. licences: repository -> what its
    page states. told: further headers of files.
    """

    repos: dict
    faults: Faults = field(default_factory=Faults)
    requests: list = field(default_factory=list)
    sent_bytes: int = 0
    page: int = 1000
    storage: "FakeHub | None" = None
    claims: dict = field(default_factory=dict)
    licences: dict = field(default_factory=dict)
    told: dict = field(default_factory=dict)
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def commit(self, repo):
        """The one commit of a repository."""
        return hashlib.sha1("".join([repo, *sorted(self.repos[repo])]).encode()).hexdigest()

    @property
    def size_bytes(self):
        """Of all files."""
        return sum(len(data) for files in self.repos.values() for data in files.values())

    def takes(self, name):
        """Whether a fault happens now; counts it down."""
        with self.lock:
            left = getattr(self.faults, name)
            setattr(self.faults, name, max(0, left - 1))
            return left > 0


def is_large(path):
    """Whether the hub keeps a file as an LFS object."""
    return path.endswith(LARGE)


def published_repos(folder: Path) -> dict:
    """The repositories that hold a published checkpoint, and some files that nobody reads."""
    repos = {repo: {"README.md": b"about"} for repo in REPOSITORIES}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir():
            continue
        if name.startswith(published.WAV2VEC_FOLDER):
            repos[WAV2VEC_REPOSITORY][path.name] = path.read_bytes()
        elif name in (published.BASE_INDEX, published.AUDIO_FILE):
            repos[MULTITALK_REPOSITORY][name] = path.read_bytes()
        else:
            repos[WAN_REPOSITORY][name] = path.read_bytes()
    repos[WAN_REPOSITORY][published.BASE_INDEX] = (
        b'{"weight_map": {"x": "wans-own-index.safetensors"}}'
    )
    return repos


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self):
        # What lies in the system's buffers when a client is killed was sent in vain.
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _PIECE)
        super().setup()

    def log_message(self, *_arguments):
        """Says nothing."""

    def do_GET(self):
        hub = self.server.hub
        token = self.headers.get("Authorization")
        hub.requests.append((self.path, self.headers.get("Range"), token))
        self.close_connection = True
        fault = self._fault(token)
        if fault is not None:
            self._answer(*fault)
        elif self._path() == "/api/whoami-v2":
            self._answer(200, b'{"type": "user", "name": "tester"}')
        elif match := re.fullmatch(r"/api/models/(\w[^/]*/[^/]+)/auth-check", self._path()):
            self._answer(*self._access(match[1]))
        elif match := re.fullmatch(r"/api/models/(\w[^/]*/[^/]+)", self._path()):
            self._answer(200 if match[1] in hub.repos else 404, b"{}")
        elif match := re.fullmatch(r"/api/models/(\w[^/]*/[^/]+)/revision/(.+)", self._path()):
            self._revision(match[1], match[2])
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/(\w+)", self._path()):
            self._tree(match[1], match[2])
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/(\w+)/(.+)", self._path()):
            self._file(match[1], match[2], match[3])
        else:
            self._answer(404, b"no such page")

    def _fault(self, token):
        """The answer in place of the right one, if any."""
        hub = self.server.hub
        if hub.faults.refusal is not None:
            status, headers = hub.faults.refusal
            return status, b"{}", headers
        if hub.takes("busy"):
            return 503, b"later"
        if hub.takes("throttles"):
            return 429, b"too many requests", hub.faults.throttling
        if hub.faults.token is not None and token != f"Bearer {hub.faults.token}":
            return 401, b"gated"
        return None

    def _path(self):
        return unquote(urlsplit(self.path).path)

    def _access(self, repo):
        hub = self.server.hub
        if repo in hub.faults.gated:
            return 403, b"ask the authors"
        is_known = repo in hub.repos and not hub.faults.is_mirror
        return (200, b"OK") if is_known else (404, b"no such page")

    def _revision(self, repo, revision):
        hub = self.server.hub
        if repo in hub.repos and revision in (REPOSITORIES.get(repo, "main"), hub.commit(repo)):
            licence = hub.licences.get(repo)
            card = {} if licence is None else {"cardData": {"license": licence}}
            self._answer(200, json.dumps({"sha": hub.commit(repo), **card}).encode())
        else:
            self._answer(404, b"no such revision")

    def _tree(self, repo, commit):
        hub = self.server.hub
        if repo not in hub.repos or commit != hub.commit(repo):
            self._answer(404, b"no such commit")
            return
        rows = [_row(path, data, hub.claims) for path, data in sorted(hub.repos[repo].items())]
        start = int(re.search(r"cursor=(\d+)|$", self.path)[1] or 0)
        following = start + hub.page
        address = f"{hub.url}{urlsplit(self.path).path}?recursive=true&cursor={following}"
        more = {"Link": f'<{address}>; rel="next"'} if following < len(rows) else {}
        self._answer(200, json.dumps(rows[start:following]).encode(), more)

    def _file(self, repo, commit, path):
        hub = self.server.hub
        data = hub.repos.get(repo, {}).get(path)
        if data is None or commit != hub.commit(repo):
            self._answer(404, b"no such file")
        elif hub.storage is not None and is_large(path):
            self._answer(302, b"", {"Location": f"{hub.storage.url}{self.path}"})
        else:
            self._content(data)

    def _content(self, data):
        hub = self.server.hub
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(match[1]) if match and not hub.faults.ignores_ranges else 0
        extent = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if start else {}
        extent |= hub.told
        body = bytearray(data[start:])
        if body and hub.takes("lies"):
            body[len(body) // 2] ^= 1
        self._head(206 if start else 200, len(body), extent)
        if hub.takes("cuts"):
            self._send(body[: hub.faults.cut_after])
        elif hub.takes("stalls"):
            self._send(body[: hub.faults.cut_after])
            self.server.stopped.wait(20)
        else:
            self._send(body)

    def _send(self, body):
        hub, view = self.server.hub, memoryview(body)
        for start in range(0, len(body), _PIECE):
            piece = view[start : start + _PIECE]
            try:
                self.wfile.write(piece)
            except OSError:  # the client was killed
                return
            with hub.lock:
                hub.sent_bytes += len(piece)
            if hub.faults.bytes_per_s is not None:
                time.sleep(len(piece) / hub.faults.bytes_per_s)

    def _head(self, status, length, headers):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(length)}.items():
            self.send_header(name, value)
        self.end_headers()

    def _answer(self, status, body, headers=None):
        self._head(status, len(body), headers or {})
        self.wfile.write(body)


def _row(path, data, claims):
    digest = hashlib.sha1(b"blob %d\0" % len(data))
    digest.update(data)
    row = {"type": "file", "oid": digest.hexdigest(), "size": len(data), "path": path}
    if is_large(path):
        sha256 = hashlib.sha256(data).hexdigest()
        size = claims.get(path, len(data))
        row["lfs"] = {"oid": sha256, "size": size, "pointerSize": 134}
    return row


@contextmanager
def serving(repos):
    """A hub with these repositories, until the block ends."""
    hub = FakeHub(repos=repos)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.hub, server.stopped = hub, threading.Event()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield hub
    finally:
        server.stopped.set()
        server.shutdown()
        thread.join()
        server.server_close()
