"""Whether Modal can be reached, asked before its client, which would try for a minute."""

from __future__ import annotations

import socket
import sys
import threading
import time
from base64 import b64encode
from contextlib import closing, suppress
from http.client import HTTPConnection
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote, urlsplit

from multitalk_cli.cloud import modal_config
from multitalk_cli.errors import MultitalkError, SetupError, TemporaryError
from multitalk_cli.reporting.formatting import shell_line, shell_word
from multitalk_cli.storage.answers import rejected_by_proxy
from multitalk_cli.storage.endpoint import Proxy, find_proxy

if TYPE_CHECKING:
    import ssl

PROBE_S = 3.0
LOOKUP_S = 8.0
"""For the name: a first name server that does not answer costs 5 s."""
_REJECTED = "Tunnel connection failed: 407"
_BAD_DATES = (9, 10)
"""OpenSSL's numbers of a certificate that is not valid yet or any more."""


def require_network() -> None:
    """Raises TemporaryError E_NETWORK unless Modal, or the proxy to it, answers within 3 seconds.

    Raises SetupError E_CERTIFICATE where another than Modal answers, E_MODAL_CONFIG for settings of
    Modal's client with which it fails, and E_PROXY.
    """
    modal_config.require_settings()
    failures: list[MultitalkError] = []
    began_s = time.monotonic()
    for address in modal_config.server_urls():
        if failures and time.monotonic() - began_s >= LOOKUP_S:
            break
        failure = _find_failure(address)
        if failure is None:
            return
        failures.append(failure)
    raise next((each for each in failures if each.code == "E_CERTIFICATE"), failures[0])


def _find_failure(address: str) -> MultitalkError | None:
    """The reason why Modal's client would not get through to this address."""
    url = urlsplit(address)
    if url.scheme == "unix":
        return None
    is_direct = modal_config.ignores_proxies()
    proxy = None if is_direct else find_proxy(address, knows_socks=True)
    if proxy is None:
        is_encrypted = url.scheme == "https"
        port = url.port or (443 if is_encrypted else 80)
        place = f"Modal at {url.hostname}:{port}"
        attempt = _Attempt(url.hostname or "", port, place, is_encrypted=is_encrypted)
    else:
        _prepare_proxy(proxy, url.hostname or "")
        place = f"the proxy {proxy.shown} of {proxy.variable}"
        attempt = _Attempt(proxy.host, proxy.port, place, is_encrypted=False)
    failure = attempt.run()
    if failure is None and proxy is not None and _is_rejected(proxy, url):
        return rejected_by_proxy(address, knows_socks=True)
    return failure


class _Attempt:
    """An attempt to connect to a server, in a thread: the look-up of a name has no time limit."""

    def __init__(self, host: str, port: int, place: str, *, is_encrypted: bool) -> None:
        self._host, self._port, self._place = host, port, place
        self._is_encrypted = is_encrypted
        self._was_found = threading.Event()
        self._was_reached = threading.Event()
        self._failure: MultitalkError | None = TemporaryError(
            f"cannot reach {place}", code="E_NETWORK"
        )

    def run(self) -> MultitalkError | None:
        """The reason of a failure; None once connected."""
        thread = threading.Thread(target=self._connect, daemon=True)
        thread.start()
        if self._was_found.wait(LOOKUP_S):
            thread.join(PROBE_S)
        # Certificates that take longer to arrive are left to Modal's client.
        return None if thread.is_alive() and self._was_reached.is_set() else self._failure

    def _connect(self) -> None:
        found: list[Any] = []
        with suppress(OSError, UnicodeError):
            found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        self._was_found.set()
        for family, kind, protocol, _, address in found:
            with suppress(OSError), self._socket(family, kind, protocol) as connection:
                connection.settimeout(PROBE_S)
                self._failure = self._reach(connection, address)
                return

    def _socket(self, family: int, kind: int, protocol: int) -> socket.socket:
        if not self._is_encrypted:
            return socket.socket(family, kind, protocol)
        import ssl

        import certifi

        context = ssl.create_default_context(cafile=certifi.where())  # as Modal's client
        # Before it is connected: of a peer that is gone at once `ssl` would leave the socket open.
        return context.wrap_socket(
            socket.socket(family, kind, protocol),
            server_hostname=self._host,
            do_handshake_on_connect=False,
        )

    def _reach(self, connection: socket.socket, address: Any) -> MultitalkError | None:
        """Why the server cannot be talked to. Raises OSError where it cannot be reached there."""
        import ssl

        try:
            connection.connect(address)
            self._was_reached.set()
            if isinstance(connection, ssl.SSLSocket):
                connection.do_handshake()
        except ssl.SSLCertVerificationError as error:
            return _not_trusted(self._place, error)
        except (ssl.SSLError, ConnectionError) as error:
            if isinstance(error, ConnectionRefusedError) or not self._is_encrypted:
                raise
            reason = getattr(error, "reason", None) or error.strerror or error
            message = f"{self._place} breaks off encrypted connections: {reason}"
            return TemporaryError(
                message, code="E_NETWORK", hint="Ask whoever runs this network's firewall."
            )
        return None


def _not_trusted(place: str, error: ssl.SSLCertVerificationError) -> SetupError:
    """The error for a certificate that is not Modal's, or that a wrong clock makes invalid."""
    import certifi

    message = f"the certificate of {place} is not trusted: {error.verify_message}"
    if error.verify_code in _BAD_DATES:
        hint = "Set this machine's clock, then run the same command again."
    else:
        hint = f"cat ROOT.pem >> {shell_word(certifi.where())}"
    return SetupError(message, code="E_CERTIFICATE", hint=hint)


def _is_rejected(proxy: Proxy, url: SplitResult) -> bool:
    """Whether an HTTP proxy wants another user or password; other failures are Modal's client's."""
    if proxy.scheme != "http":
        return False
    connection = HTTPConnection(proxy.host, proxy.port, timeout=PROBE_S)
    basic = b64encode(unquote(proxy.authority).encode()).decode()
    headers = {"Proxy-Authorization": f"Basic {basic}"} if proxy.authority else {}
    port = url.port or (443 if url.scheme == "https" else 80)
    connection.set_tunnel(url.hostname or "", port, headers)
    with closing(connection):
        try:
            connection.connect()
        except OSError as error:
            return str(error).startswith(_REJECTED)
    return False


def _prepare_proxy(proxy: Proxy, host: str) -> None:
    """Makes Modal's client use the proxy; raises SetupError E_PROXY where it cannot."""
    if find_spec("python_socks") is None:
        raise SetupError(
            f"{proxy.variable} names the proxy {proxy.shown}, for which Modal's client lacks the "
            "package python-socks",
            code="E_PROXY",
            hint=shell_line([sys.executable, "-m", "pip", "install", "modal[api-proxy-support]"])
            + f"\nor exclude Modal: export NO_PROXY={host}",
        )
    if proxy.scheme == "https":
        raise SetupError(
            f"{proxy.variable} names the proxy {proxy.shown}; to Modal it must be http:// or "
            "socks5://",
            code="E_PROXY",
            facts={"variable": proxy.variable},
        )
    modal_config.complete_proxy(proxy.variable)
