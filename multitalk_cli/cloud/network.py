"""Whether Modal can be reached, asked before its client, which would try for a minute."""

from __future__ import annotations

import re
import socket
import sys
import threading
import time
from base64 import b64encode
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote, urlsplit

from multitalk_cli.cloud import modal_config
from multitalk_cli.errors import MultitalkError, SetupError, TemporaryError
from multitalk_cli.reporting.formatting import shell_line, shell_word
from multitalk_cli.storage.answers import rejected_by_proxy
from multitalk_cli.storage.certificates import reason_of, require_key_log
from multitalk_cli.storage.endpoint import Proxy, find_proxy

if TYPE_CHECKING:
    import ssl

PROBE_S = 3.0
LOOKUP_S = 8.0
"""For the name: a first name server that does not answer costs 5 s."""
_FIREWALL = "Ask whoever runs this network's firewall."
_TUNNEL_STATUS = re.compile(r"Tunnel connection failed: (\d+)")
_REJECTED, _LATER = 407, (408, 425, 429)
_BAD_DATES = (9, 10)
"""OpenSSL's numbers of a certificate that is not valid yet or any more."""
_OTHER_SERVERS = (62, 64)
"""Its numbers of one that is another name's or address's."""


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
        host, port = _destination(url)
        place = f"Modal at {f'[{host}]' if ':' in host else host}:{port}"
        attempt = _Attempt(host, port, place, _trusted() if url.scheme == "https" else None)
    else:
        _prepare_proxy(proxy, url.hostname or "")
        place = f"the proxy {proxy.shown} of {proxy.variable}"
        attempt = _Attempt(proxy.host, proxy.port, place, None)
    failure = attempt.run()
    return _find_rejection(proxy, url) if failure is None and proxy is not None else failure


def _destination(url: SplitResult) -> tuple[str, int]:
    return url.hostname or "", url.port or (443 if url.scheme == "https" else 80)


def _trusted() -> ssl.SSLContext:
    """Encryption with the certificates that Modal's client trusts.

    Raises SetupError E_CERTIFICATE where they cannot be read, with which that client fails too.
    """
    import ssl

    import certifi

    require_key_log()
    path = certifi.where()
    try:
        return ssl.create_default_context(cafile=path)
    except OSError as error:
        reason = reason_of(error)
        message = f"the certificates that Modal's client trusts, {path}, cannot be read: {reason}"
        hint = shell_line([sys.executable, "-m", "pip", "install", "--force-reinstall", "certifi"])
        raise SetupError(message, code="E_CERTIFICATE", hint=hint) from None


class _Attempt:
    """An attempt to connect to a server, in a thread: the look-up of a name has no time limit."""

    def __init__(self, host: str, port: int, place: str, encryption: ssl.SSLContext | None) -> None:
        self._host, self._port, self._place = host, port, place
        self._encryption = encryption
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
        plain = socket.socket(family, kind, protocol)
        if self._encryption is None:
            return plain
        # Before it is connected: of a peer that is gone at once `ssl` would leave the socket open.
        return self._encryption.wrap_socket(
            plain, server_hostname=self._host, do_handshake_on_connect=False
        )

    def _reach(self, connection: socket.socket, address: Any) -> MultitalkError | None:
        """Why the server cannot be talked to. Raises OSError where it cannot be reached there."""
        import ssl

        try:
            connection.connect(address)
            self._was_reached.set()
            if isinstance(connection, ssl.SSLSocket):
                connection.do_handshake()
        except TimeoutError:
            if not self._was_reached.is_set():
                raise
            return None  # As in `run`, which may come first.
        except ssl.SSLCertVerificationError as error:
            return _not_trusted(self._place, error)
        except (ssl.SSLError, ConnectionError) as error:
            if isinstance(error, ConnectionRefusedError) or self._encryption is None:
                raise
            message = f"{self._place} breaks off encrypted connections: {reason_of(error)}"
            return TemporaryError(message, code="E_NETWORK", hint=_FIREWALL)
        return None


def _not_trusted(place: str, error: ssl.SSLCertVerificationError) -> SetupError:
    """The error for a certificate that is not Modal's, or that a wrong clock makes invalid."""
    import certifi

    message = f"the certificate of {place} is not trusted: {error.verify_message}"
    if error.verify_code in _BAD_DATES:
        hint = "Set this machine's clock, then run the same command again."
    elif error.verify_code in _OTHER_SERVERS:
        hint = _FIREWALL
    else:
        hint = f"cat ROOT.pem >> {shell_word(certifi.where())}"
    return SetupError(message, code="E_CERTIFICATE", hint=hint)


def _find_rejection(proxy: Proxy, url: SplitResult) -> MultitalkError | None:
    """Why an HTTP proxy does not connect to Modal; what may pass is left to Modal's client."""
    if proxy.scheme != "http":
        return None
    connection = HTTPConnection(proxy.host, proxy.port, timeout=PROBE_S)
    basic = b64encode(unquote(proxy.authority).encode()).decode()
    headers = {"Proxy-Authorization": f"Basic {basic}"} if proxy.authority else {}
    host, port = _destination(url)
    connection.set_tunnel(host.encode("idna").decode(), port, headers)
    with closing(connection):
        try:
            connection.connect()
        except OSError as error:
            found = _TUNNEL_STATUS.match(str(error))
            return _rejection(proxy, url, int(found[1])) if found else None
        except HTTPException:
            message = (
                f"{proxy.variable} names the proxy {proxy.shown}, which does not speak HTTP; the "
                "address of a SOCKS proxy begins with socks5://"
            )
            return SetupError(message, code="E_PROXY", facts={"variable": proxy.variable})
    return None


def _rejection(proxy: Proxy, url: SplitResult, status: int) -> MultitalkError | None:
    """The error for the status with which a proxy answers; None where it may pass."""
    if status == _REJECTED:
        return rejected_by_proxy(url.geturl(), knows_socks=True)
    if status in _LATER or not 300 <= status < 500:
        return None
    message = (
        f"the proxy {proxy.shown} of {proxy.variable} does not connect to {url.hostname}: it "
        f"answers with status {status}"
    )
    return TemporaryError(message, code="E_NETWORK", hint=_FIREWALL)


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
