"""A small store over real HTTP that guards what it has: keys, permissions, regions, sessions."""

import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tests.storage.stores import KEY_ID, error_body


@dataclass
class GuardedStore:
    """One bucket. forbidden: methods that no policy allows; LIST and HEAD are of the bucket.

    tells_region: whether it says the bucket's region, or refuses another one. expired: whether the
    session has ended. lies: whether other bytes come back. seen: method and path of each request.
    key_ids, regions: what the requests were signed with.
    """

    bucket: str = "studio-videos"
    region: str = "eu-west-3"
    tells_region: bool = True
    key_id: str = KEY_ID
    forbidden: set = field(default_factory=set)
    expired: bool = False
    lies: bool = False
    url: str = ""
    objects: dict = field(default_factory=dict)
    seen: list = field(default_factory=list)
    key_ids: set = field(default_factory=set)
    regions: set = field(default_factory=set)
    headers: list = field(default_factory=list)

    def refusal(self, method, path, signed):
        """(status, code) of the answer where a request is refused."""
        if path.split("/")[1] != self.bucket:
            return 404, "NoSuchBucket"
        if self.expired:
            return 400, "ExpiredToken"
        if signed is None or signed[1] != self.key_id:
            return 403, "InvalidAccessKeyId"
        if method in self.forbidden or (method == "HEAD" and "LIST" in self.forbidden):
            return 403, "AccessDenied"
        if not self.tells_region and signed[2] != self.region:
            return 400, "AuthorizationHeaderMalformed"
        return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_arguments):
        """Says nothing."""

    def do_HEAD(self):
        self._serve("HEAD")

    def do_GET(self):
        self._serve("LIST" if "list-type=2" in self.path else "GET")

    def do_PUT(self):
        self._serve("PUT")

    def do_DELETE(self):
        self._serve("DELETE")

    def do_POST(self):
        self._serve("POST")

    def _serve(self, method):
        store, path = self.server.store, urlsplit(self.path).path
        body = self._body()
        store.seen.append((method, path))
        store.headers.append(dict(self.headers))
        signed = re.search(
            r"Credential=([^/]+)/\d+/([^/]+)/", self.headers.get("Authorization", "")
        )
        if signed:
            store.key_ids.add(signed[1])
            store.regions.add(signed[2])
        refusal = store.refusal(method, path, signed)
        if refusal is not None:
            more = {"Region": store.region} if refusal[1].endswith("Malformed") else {}
            self._send(refusal[0], error_body(refusal[1], **more))
        elif method == "PUT":
            store.objects[path] = body
            self._send(200, b"")
        elif method == "GET":
            self._send(200, b"other bytes" if store.lies else store.objects[path])
        elif method == "DELETE":
            store.objects.pop(path, None)
            self._send(204, b"")
        else:
            self._send(200, b"<ListBucketResult></ListBucketResult>")

    def _body(self):
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Content-Encoding") != "aws-chunked":
            return raw
        length, _, rest = raw.partition(b"\r\n")
        return rest[: int(length.split(b";")[0], 16)]

    def _send(self, status, body):
        store = self.server.store
        self.send_response(status)
        if store.tells_region:
            self.send_header("x-amz-bucket-region", store.region)
        if status == 200:
            self.send_header("ETag", '"0123456789abcdef0123456789abcdef"')
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@contextmanager
def guarding(**options):
    """A store until the block ends."""
    store = GuardedStore(**options)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.store = store
    store.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield store
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
