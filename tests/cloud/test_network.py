"""Whether Modal can be reached: names, proxies, certificates."""

import datetime
import ipaddress
import json
import os
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from urllib.parse import urlsplit

import certifi
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from multitalk_cli.cloud import network
from multitalk_cli.errors import SetupError, TemporaryError
from tests.cloud.connect_proxy import PASSWORD, USER, proxying
from tests.waiting import HANG_S


@pytest.fixture(autouse=True)
def _no_account(monkeypatch, tmp_path):
    for name in ("SERVER_URL", "PROFILE", "LOGLEVEL"):
        monkeypatch.delenv(f"MODAL_{name}", raising=False)
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MODAL_CONFIG_PATH", str(tmp_path / "modal.toml"))


def test_a_server_that_listens_is_reached(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("MODAL_SERVER_URL", f"http://127.0.0.1:{server.getsockname()[1]}")

        assert network.require_network() is None


def test_a_refused_connection_is_said_at_once(monkeypatch):
    monkeypatch.setenv("MODAL_SERVER_URL", "http://127.0.0.1:9")

    with pytest.raises(TemporaryError, match=r"127\.0\.0\.1:9") as caught:
        network.require_network()
    assert (caught.value.code, int(caught.value.exit_code)) == ("E_NETWORK", 7)


def test_silence_is_waited_for_three_seconds(monkeypatch):
    monkeypatch.setattr(network, "PROBE_S", 0.2)
    # A backlog that is full answers nothing.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        address = server.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(address)
        monkeypatch.setenv("MODAL_SERVER_URL", f"http://127.0.0.1:{address[1]}")
        try:
            with pytest.raises(TemporaryError):
                network.require_network()
        finally:
            for filler in fillers:
                filler.close()


@pytest.fixture
def proxy_support(monkeypatch, tmp_path):
    """The package that Modal's client needs for a proxy, by its name alone."""
    (tmp_path / "packages" / "python_socks").mkdir(parents=True)
    (tmp_path / "packages" / "python_socks" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))


@pytest.mark.parametrize("scheme", ["http", "socks5", "socks5h"])
def test_a_proxy_is_asked_in_place_of_modal(monkeypatch, proxy_support, scheme):
    name = "HTTPS_PROXY" if scheme == "http" else "ALL_PROXY"
    monkeypatch.setattr(network, "PROBE_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        host, port = listening.getsockname()
        monkeypatch.setenv(name, f"{scheme}://me:hunter22@{host}:{port}")
        assert network.require_network() is None

    with pytest.raises(TemporaryError) as caught:
        network.require_network()
    assert f"cannot reach the proxy {scheme}://{host}:{port} of {name}" == caught.value.message


def test_a_proxy_that_modal_cannot_use_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "python_socks", None)
    monkeypatch.setenv("HTTPS_PROXY", "http://me:hunter22@127.0.0.1:9")

    with pytest.raises(SetupError) as caught:
        network.require_network()

    assert (caught.value.code, "hunter22" in caught.value.message) == ("E_PROXY", False)
    assert "lacks the package python-socks" in caught.value.message
    assert "NO_PROXY=api.modal.com" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "value"), [("MODAL_DISABLE_API_PROXY", "1"), ("NO_PROXY", "127.0.0.1")]
)
def test_modal_is_reached_without_its_proxy(monkeypatch, name, value):
    monkeypatch.setattr(network, "PROBE_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        monkeypatch.setenv("MODAL_SERVER_URL", "https://{}:{}".format(*listening.getsockname()))
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
        monkeypatch.setenv(name, value)

        assert network.require_network() is None


def test_a_proxy_without_a_scheme_is_completed_for_modal(monkeypatch, proxy_support):
    monkeypatch.setenv("MODAL_SERVER_URL", "https://127.0.0.1:9")
    with proxying() as (port, _):
        monkeypatch.setenv("HTTPS_PROXY", f"{USER}:{PASSWORD}@127.0.0.1:{port}")

        # Whether Modal answers behind it is left to Modal's client.
        network.require_network()

    assert os.environ["HTTPS_PROXY"] == f"http://{USER}:{PASSWORD}@127.0.0.1:{port}"


def test_a_proxy_of_a_kind_that_modal_cannot_use_is_named(monkeypatch, proxy_support):
    monkeypatch.setenv("HTTPS_PROXY", "https://me:hunter22@127.0.0.1:9")

    with pytest.raises(SetupError, match="must be http:// or socks5://") as caught:
        network.require_network()

    assert (caught.value.code, "hunter22" in caught.value.message) == ("E_PROXY", False)


def test_a_rejected_password_is_named_before_modal_is_asked(monkeypatch, proxy_support):
    """Modal's client tries for more than a minute."""
    with proxying() as (port, places):
        monkeypatch.setenv("HTTPS_PROXY", f"http://{USER}:other%20secret@127.0.0.1:{port}")

        with pytest.raises(SetupError) as caught:
            network.require_network()

    expected = f"the proxy http://127.0.0.1:{port} rejects the user and password in HTTPS_PROXY"
    assert (caught.value.code, caught.value.message) == ("E_PROXY", expected)
    assert not places


@contextmanager
def answering(data):
    """The port of a server that gives every client this answer, until the block ends."""

    def answer_all(server):
        with suppress(OSError):
            while True:
                connection, _ = server.accept()
                with connection, suppress(OSError):
                    connection.sendall(data)
                    connection.recv(65_536)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer_all, args=(server,))
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize("data", [b"\5\xff", b"SSH-2.0-OpenSSH_9.6\r\n", b"x" * 70_000])
def test_a_proxy_that_does_not_speak_http_is_named(monkeypatch, proxy_support, data):
    """As `HTTPS_PROXY=http://127.0.0.1:1080` for a SOCKS proxy."""
    with answering(data) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:hunter22@127.0.0.1:{port}")
        with pytest.raises(SetupError, match=r"which does not speak HTTP; .* socks5://") as caught:
            network.require_network()

    assert caught.value.code == "E_PROXY"
    assert caught.value.message.startswith(f"HTTPS_PROXY names the proxy http://127.0.0.1:{port},")


@pytest.mark.parametrize("status", [302, 403])
def test_a_proxy_that_blocks_modal_is_named_at_once(monkeypatch, proxy_support, status):
    """Modal's client tries for a minute, and then tells of no reason."""
    with answering(b"HTTP/1.1 %d \x1b[31mBlocked\r\n\r\n" % status) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:hunter22@127.0.0.1:{port}")
        with pytest.raises(TemporaryError) as caught:
            network.require_network()

    assert caught.value.message == (
        f"the proxy http://127.0.0.1:{port} of HTTPS_PROXY does not connect to api.modal.com: it "
        f"answers with status {status}"
    )
    assert (caught.value.code, "firewall" in caught.value.hint) == ("E_NETWORK", True)


@pytest.mark.parametrize("status", [429, 502])
def test_what_may_pass_at_a_proxy_is_left_to_modal_s_client(monkeypatch, proxy_support, status):
    monkeypatch.setenv("MODAL_SERVER_URL", "https://mödal.example")
    with answering(b"HTTP/1.1 %d Later\r\n\r\n" % status) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        assert network.require_network() is None


needs_proxy_support = pytest.mark.skipif(
    find_spec("python_socks") is None, reason="needs the dependency python-socks"
)


@needs_proxy_support
def test_the_account_is_reached_through_a_proxy(client_env, tmp_path, rpcs):
    with proxying() as (port, places):
        address = f"http://{USER}:{PASSWORD}@127.0.0.1:{port}"
        ran = subprocess.run(
            [sys.executable, "-m", "multitalk_cli", "status", "--json"],
            env={**client_env, "HTTP_PROXY": address, "NO_PROXY": ""},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=HANG_S,
            check=False,
        )

    (error,) = json.loads(ran.stdout)["errors"]
    assert error["code"] == "E_NOT_DEPLOYED", ran.stdout + ran.stderr
    assert set(places) == {urlsplit(client_env["MODAL_SERVER_URL"]).netloc}
    assert rpcs.names()


# Names and addresses


def test_a_slow_name_server_is_waited_for(monkeypatch):
    """With a first name server that does not answer, each look-up takes 5 s."""
    look_up = socket.getaddrinfo

    def slow(*arguments, **options):
        time.sleep(0.3)
        return look_up(*arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    monkeypatch.setattr(network, "PROBE_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("MODAL_SERVER_URL", f"http://127.0.0.1:{server.getsockname()[1]}")

        assert network.require_network() is None


def test_a_name_that_is_never_found_is_looked_up_once(monkeypatch):
    asked, end = [], threading.Event()

    def silent(host, *_arguments, **_options):
        asked.append(host)
        end.wait(5)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    monkeypatch.setattr(network, "LOOKUP_S", 0.1)
    with pytest.raises(TemporaryError, match=r"cannot reach Modal at api\.modal\.com:443"):
        network.require_network()
    end.set()

    assert asked == ["api.modal.com"]


def test_the_second_address_is_enough(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        second = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("MODAL_SERVER_URL", f"http://127.0.0.1:9,{second}")

        assert network.require_network() is None


# Certificates


@pytest.fixture
def serve(tmp_path):
    """Starts a server with TLS: `serve(days)` gives its address, and the file of its certificate.

    days: from its first to its last day, counted from today; None for one that hangs up instead,
    after it was told something, or at once if it is_gone.
    """
    servers = []

    def start(days, *, is_gone=False):
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)
        certificate = tmp_path / "certificate.pem"
        context = None if days is None else certified(certificate, tmp_path / "key.pem", days)
        threading.Thread(target=answer, args=(server, context, is_gone), daemon=True).start()
        return f"https://127.0.0.1:{server.getsockname()[1]}", certificate

    yield start
    for server in servers:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def certified(certificate, key_file, days):
    """A server's TLS with a certificate that it has signed itself."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    first, last = (now + datetime.timedelta(days=day) for day in days)
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, first, last)
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption(), serialization.PrivateFormat.PKCS8
    certificate.write_bytes(built.public_bytes(pem))
    key_file.write_bytes(key.private_bytes(pem, plain[1], plain[0]))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key_file)
    return context


def answer(server, context, is_gone):
    """Answers one client."""
    try:
        connection, _ = server.accept()
        with connection:
            if is_gone:
                at_once = struct.pack("ii", 1, 0)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
            elif context is None:
                connection.recv(1)  # As a firewall, which reads whose server is wanted.
            else:
                context.wrap_socket(connection, server_side=True).close()
    except OSError:
        return  # It did not trust us.


def test_a_certificate_that_is_not_modal_s_is_said_at_once(monkeypatch, serve):
    """Modal's client tries for a minute, and then tells of no reason."""
    address, certificate = serve((-1, 9))
    monkeypatch.setenv("MODAL_SERVER_URL", address)

    with pytest.raises(SetupError, match=r"is not trusted: self.signed certificate") as caught:
        network.require_network()
    assert (caught.value.code, int(caught.value.exit_code)) == ("E_CERTIFICATE", 4)
    assert caught.value.hint == f"cat ROOT.pem >> {certifi.where()}"

    address, certificate = serve((-1, 9))
    monkeypatch.setenv("MODAL_SERVER_URL", address)
    monkeypatch.setattr(certifi, "where", lambda: str(certificate))
    assert network.require_network() is None


@pytest.mark.parametrize("days", [(-9, -1), (1, 9)], ids=["past", "future"])
def test_a_wrong_clock_makes_certificates_invalid(monkeypatch, serve, days):
    address, certificate = serve(days)
    monkeypatch.setenv("MODAL_SERVER_URL", address)
    monkeypatch.setattr(certifi, "where", lambda: str(certificate))

    with pytest.raises(SetupError, match=r"certificate (has expired|is not yet valid)") as caught:
        network.require_network()

    assert caught.value.hint.startswith("Set this machine's clock")


def test_a_certificate_of_another_name_is_no_root_that_is_missing(monkeypatch, serve):
    address, certificate = serve((-1, 9))
    monkeypatch.setenv("MODAL_SERVER_URL", address.replace("127.0.0.1", "localhost"))
    monkeypatch.setattr(certifi, "where", lambda: str(certificate))

    with pytest.raises(SetupError, match="not valid for 'localhost'") as caught:
        network.require_network()

    assert "firewall" in caught.value.hint


def test_a_log_of_keys_that_cannot_be_written_is_no_missing_network(monkeypatch, tmp_path):
    monkeypatch.setenv("MODAL_SERVER_URL", "https://127.0.0.1:9")
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path))

    with pytest.raises(SetupError, match=r"SSLKEYLOGFILE is .* Is a directory"):
        network.require_network()


def test_certificates_that_cannot_be_read_are_named(monkeypatch, tmp_path):
    """As after `cat ROOT.pem >>` of a broken file."""
    monkeypatch.setenv("MODAL_SERVER_URL", "https://127.0.0.1:9")
    file = tmp_path / "certificates.pem"
    monkeypatch.setattr(certifi, "where", lambda: str(file))
    for content, reason in ((None, "No such file"), ("?", "no certificate or crl found")):
        if content is not None:
            file.write_text(content)
        with pytest.raises(SetupError, match=f"{file}, cannot be read: {reason}") as caught:
            network.require_network()
        assert (caught.value.code, "install" in caught.value.hint) == ("E_CERTIFICATE", True)


def test_a_handshake_that_takes_long_is_left_to_modal_s_client(monkeypatch):
    monkeypatch.setattr(network, "PROBE_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as server:
        attempt = network._Attempt(*server.getsockname(), "Modal", network._trusted())
        # To its end: `run` waits just as long, so that either may come first.
        attempt._connect()

    assert attempt._failure is None


@pytest.mark.parametrize("is_gone", [False, True], ids=["once told whose", "at once"])
def test_a_firewall_that_breaks_connections_off_is_named(monkeypatch, serve, is_gone):
    address, _ = serve(None, is_gone=is_gone)
    monkeypatch.setenv("MODAL_SERVER_URL", address)

    with pytest.raises(TemporaryError, match="breaks off encrypted connections") as caught:
        network.require_network()

    assert "firewall" in caught.value.hint
