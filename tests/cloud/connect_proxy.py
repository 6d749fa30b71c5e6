"""A proxy on this machine: HTTP's CONNECT, with a user and a password."""

import socket
import threading
from base64 import b64encode
from contextlib import contextmanager, suppress

USER, PASSWORD = "me", "hunter22"
_ALLOWED = b64encode(f"{USER}:{PASSWORD}".encode())


@contextmanager
def proxying():
    """The proxy's port, and the places that it connected to, until the block ends."""
    places = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=_accept, args=(listening, places), daemon=True)
        thread.start()
        yield listening.getsockname()[1], places
        # Wakes the thread that waits for the next connection.
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def _accept(listening, places):
    with suppress(OSError):
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=_serve, args=(connection, places), daemon=True).start()


def _serve(connection, places):
    with connection, suppress(OSError):
        head = b""
        while b"\r\n\r\n" not in head:
            # A probe connects and leaves: the end of its stream would be read for ever.
            if not (part := connection.recv(4096)):
                return
            head += part
        if _ALLOWED not in head:
            connection.sendall(b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n")
            return
        host, _, port = head.split()[1].decode().rpartition(":")
        places.append(f"{host}:{port}")
        with socket.create_connection((host, int(port))) as other:
            connection.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
            back = threading.Thread(target=_copy, args=(other, connection), daemon=True)
            back.start()
            _copy(connection, other)
            back.join()


def _copy(source, target):
    with suppress(OSError):
        while chunk := source.recv(65_536):
            target.sendall(chunk)
        target.shutdown(socket.SHUT_WR)
