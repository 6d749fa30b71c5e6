"""A door in front of moto's store: it refuses what it is told to, and notes what it let in."""

import http.client
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tests.storage.stores import error_body

_OWN = {"connection", "transfer-encoding", "date", "server", "content-length"}


@dataclass
class Front:
    """refused: (method, beginning of a path) that are forbidden. seen: method, path and headers."""

    behind: str
    url: str = ""
    refused: set = field(default_factory=set)
    seen: list = field(default_factory=list)

    def is_refused(self, method, path):
        """Whether no policy allows it."""
        return any(method == one and path.startswith(start) for one, start in self.refused)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_arguments):
        """Says nothing."""

    def _pass(self):
        front = self.server.front
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        front.seen.append((self.command, self.path, dict(self.headers)))
        if front.is_refused(self.command, self.path):
            self._send(403, {}, error_body("AccessDenied"))
            return
        connection = http.client.HTTPConnection(urlsplit(front.behind).netloc, timeout=30)
        connection.request(self.command, self.path, body, dict(self.headers))
        answer = connection.getresponse()
        self._send(answer.status, dict(answer.getheaders()), answer.read())
        connection.close()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass

    def _send(self, status, headers, body):
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in _OWN:
                self.send_header(name, value)
        is_head = self.command == "HEAD"
        length = {name.lower(): value for name, value in headers.items()}.get("content-length", "0")
        self.send_header("Content-Length", length if is_head else str(len(body)))
        self.end_headers()
        if not is_head:
            self.wfile.write(body)


@contextmanager
def fronted(url):
    """A door to the store at `url`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.front = Front(behind=url, url=f"http://127.0.0.1:{server.server_address[1]}")
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server.front
    server.shutdown()
    server.server_close()
