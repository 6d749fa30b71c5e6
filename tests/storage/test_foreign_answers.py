"""Endpoints that are no S3 store, and stores that know less than Amazon's."""

import hashlib
import os
import ssl
import subprocess
import threading
from http.server import HTTPServer

import pytest

from multitalk_cli.storage.ranges import PART_BYTES
from tests.storage import stores
from tests.storage.stores import error_body, use_credentials

pytestmark = pytest.mark.slow

PAGE = b"<!DOCTYPE html><html><head><title>MinIO\n Console</title></head><body>hello</body></html>"
HTML = {"Content-Type": "text/html; charset=utf-8"}
JSON = {"Content-Type": "application/json"}
BODY = os.urandom(2000)
ETAG = f'"{hashlib.md5(BODY).hexdigest()}"'

FOREIGN = {
    "console": ((200, HTML, PAGE), "a web page"),
    "console, absent": ((404, HTML, PAGE), "a web page, 'MinIO Console'"),
    "firewall": ((403, HTML, b"<html>no</html>"), "a web page"),
    "console's API": ((403, JSON, b'{"code":403}'), "application/json, '{\"code\":403}'"),
    "other API": ((200, JSON, b'{"a":1}'), "application/json"),
    "nothing": ((200, {}, b""), "nothing"),
    "feed": ((200, {"Content-Type": "application/xml"}, b"<?xml version='1.0'?><rss/>"), "xml"),
    "encrypted": ((400, {}, b"Client sent an HTTP request to an HTTPS server.\n"), "HTTPS server."),
    "login": ((302, {"Location": "https://sso.example/?token=abc"}, b""), "https://sso.example ("),
    "moved": ((308, {"Location": "/minio/"}, b""), "a redirect to http"),
    "no address": ((302, {}, b""), "nothing (status 302)"),
    "hostile": ((404, HTML, b"<title>\x1b[2J\x9b</title>"), "'\\x1b[2J"),
}
COMMANDS = {
    "ls": ("ls", "s3://bucket/"),
    "get": ("get", "s3://bucket/k", "-o", "k.bin"),
    "put": ("put", "voice.wav", "s3://bucket/k"),
    "put --force": ("put", "voice.wav", "s3://bucket/k", "--force"),
    "url": ("url", "s3://bucket/k"),
    "get --latest": ("get", "--latest", "s3://bucket/"),
}


@pytest.mark.parametrize(
    ("kind", "command"),
    [(kind, "ls") for kind in FOREIGN]
    + [(kind, command) for kind in ("console", "login") for command in COMMANDS if command != "ls"],
)
@pytest.mark.usefixtures("voice")
def test_what_is_no_store_is_said(cli, scripted_s3, folder, monkeypatch, kind, command):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    answer, seen = FOREIGN[kind]
    server = scripted_s3(answer=answer)

    ran = cli("s3", *COMMANDS[command], "--json")

    assert (ran.code, ran.error["code"]) == (6, "E_S3_ENDPOINT"), ran.stdout
    assert ran.error["message"].startswith(f"{server.url} is no S3 store: it answered with ")
    assert "token=abc" not in ran.stdout
    assert "\x1b" not in ran.stderr
    if command == "ls":
        assert seen in ran.error["message"]
    assert sorted(path.name for path in folder.iterdir()) == ["voice.wav"]


def test_a_redirect_to_https_names_the_command(cli, scripted_s3):
    server = scripted_s3(answer=(301, {"Location": "https://127.0.0.1/bucket"}, b""))

    ran = cli("s3", "ls", "s3://bucket/", "--endpoint-url", server.url, "--json")

    assert ran.error["hint"] == "multitalk s3 ls s3://bucket/ --endpoint-url https://127.0.0.1"


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_gateway_without_its_store_is_temporary(cli, scripted_s3, monkeypatch, status):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    scripted_s3(answer=(status, HTML, b"<html><title>Bad Gateway</title></html>"))

    ran = cli("s3", "ls", "s3://bucket/", "--json")

    assert (ran.code, ran.error["code"]) == (7, "E_S3_NETWORK")
    assert str(status) in ran.error["message"]


def test_a_listing_without_times_and_digests_is_shown(cli, scripted_s3):
    page = (
        b"<ListBucketResult><Contents><Key>a.mp4</Key><Size>7</Size></Contents></ListBucketResult>"
    )
    scripted_s3(answer=(200, {"Content-Type": "application/xml"}, page))

    ran = cli("s3", "ls", "s3://bucket/", "--json")

    (found,) = ran.json["data"]["objects"]
    assert (ran.code, found["key"], found["etag"]) == (0, "a.mp4", "")
    assert "no date" in cli("s3", "ls", "s3://bucket/").stdout


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ("<Size>7</Size><LastModified>yesterday</LastModified>", "yesterday"),
        ("<Size>many</Size>", "many"),
        ("<Size>-5</Size>", "no size of a.mp4"),
        ("", "no size of a.mp4"),
    ],
)
@pytest.mark.parametrize("command", ["ls s3://bucket/", "get s3://bucket/ --latest"])
def test_a_listing_of_nonsense_is_an_error_of_the_store(
    cli, scripted_s3, folder, fields, words, command
):
    page = f"<ListBucketResult><Contents><Key>a.mp4</Key>{fields}</Contents></ListBucketResult>"
    scripted_s3(answer=(200, {"Content-Type": "application/xml"}, page.encode()))

    ran = cli("s3", *command.split(), "--json")

    assert (ran.code, ran.error["code"]) == (6, "E_STORAGE")
    assert words in ran.error["message"]


def test_an_object_of_no_time_is_an_error_of_the_store(cli, scripted_s3, folder):
    scripted_s3(body=b"abc", headers={"Last-Modified": "yesterday"})

    ran = cli("s3", "get", "s3://bucket/a.mp4", "--json")

    assert (ran.code, ran.error["code"]) == (6, "E_STORAGE")
    assert "yesterday" in ran.error["message"]


# Headers that other stores reject


def unsupported(name):
    body = error_body("InvalidArgument", f"Unsupported header '{name}' received for this API call.")
    return {name: (400, {"Content-Type": "application/xml"}, body)}


CHECKSUMS = (
    "x-amz-sdk-checksum-algorithm", "x-amz-checksum-crc32", "x-amz-checksum-mode", "x-amz-trailer",
    "x-amz-checksum-crc64nvme", "x-amz-checksum-type", "x-amz-checksum-algorithm",
)  # fmt: skip


@pytest.mark.usefixtures("voice")
def test_a_store_that_knows_no_checksums_is_used(cli, scripted_s3, folder):
    rejects = {key: each for name in CHECKSUMS for key, each in unsupported(name).items()}
    server = scripted_s3(body=BODY, etag=ETAG, rejects=rejects)

    assert cli("s3", "get", "s3://bucket/k.mp4").code == 0
    assert (folder / "k.mp4").read_bytes() == BODY
    assert cli("s3", "url", "s3://bucket/k.mp4").code == 0
    ran = cli("s3", "put", "voice.wav", "s3://bucket/in/", "--force")
    assert ran.code == 0, ran.stderr
    assert server.stored["/bucket/in/voice.wav"] == (folder / "voice.wav").read_bytes()
    assert not [head for head in server.heads if head.get("Content-Encoding") == "aws-chunked"]


NO_CONDITIONS = {
    "If-None-Match": (
        501,
        {"Content-Type": "application/xml"},
        error_body("NotImplemented", "A header you provided implies functionality"),
    )
}


@pytest.mark.usefixtures("voice")
def test_a_store_without_conditions_is_asked_first(cli, scripted_s3, folder, monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    server = scripted_s3(rejects=NO_CONDITIONS, is_empty=True)

    ran = cli("s3", "put", "voice.wav", "s3://bucket/in/")

    assert ran.code == 0, ran.stderr
    assert server.stored == {"/bucket/in/voice.wav": (folder / "voice.wav").read_bytes()}


@pytest.mark.usefixtures("voice")
def test_a_store_without_conditions_overwrites_nothing(cli, scripted_s3, monkeypatch):
    """The object appears after the first look: what is there then is what counts."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    server = scripted_s3(rejects=NO_CONDITIONS, is_empty=True)
    server.rejects = {"If-None-Match": Appears(server)}

    ran = cli("s3", "put", "voice.wav", "s3://bucket/in/", "--json")

    assert (ran.code, ran.error["code"]) == (3, "E_S3_EXISTS")
    assert server.stored == {"/bucket/in/voice.wav": b"of another"}


class Appears(tuple):
    """The refusal of a condition, while another client stores an object under the key."""

    __slots__ = ()

    def __new__(cls, server):
        made = super().__new__(cls, NO_CONDITIONS["If-None-Match"])
        cls.server = server
        return made

    def __iter__(self):
        self.server.stored["/bucket/in/voice.wav"] = b"of another"
        return super().__iter__()


# Archives, and readers who pay

ARCHIVED = {
    "Glacier": {"x-amz-storage-class": "GLACIER"},
    "Deep Archive": {"x-amz-storage-class": "DEEP_ARCHIVE"},
    "Intelligent-Tiering": {
        "x-amz-storage-class": "INTELLIGENT_TIERING",
        "x-amz-archive-status": "DEEP_ARCHIVE_ACCESS",
    },
}
READABLE = {
    "restored": {
        "x-amz-storage-class": "GLACIER",
        "x-amz-restore": 'ongoing-request="false", expiry-date="Fri, 21 Dec 2040 00:00:00 GMT"',
    },
    "instant": {"x-amz-storage-class": "GLACIER_IR"},
    "tiered": {"x-amz-storage-class": "INTELLIGENT_TIERING"},
}


@pytest.mark.parametrize("kind", ARCHIVED)
@pytest.mark.parametrize("command", ["get", "url"])
def test_an_archived_object_must_be_restored_first(cli, scripted_s3, kind, command):
    server = scripted_s3(body=BODY, etag=ETAG, headers=ARCHIVED[kind])

    ran = cli("s3", command, "s3://bucket/k.mp4", "--json")

    assert (ran.code, ran.error["code"]) == (6, "E_S3_ARCHIVED")
    assert "s3://bucket/k.mp4 is archived: restore it first" in ran.error["message"]
    assert not server.ranges


def test_an_object_on_its_way_is_waited_for(cli, scripted_s3):
    headers = {**ARCHIVED["Glacier"], "x-amz-restore": 'ongoing-request="true"'}
    scripted_s3(body=BODY, headers=headers)

    ran = cli("s3", "get", "s3://bucket/k.mp4", "--json")

    assert "is still being restored" in ran.error["message"]
    assert ran.error["hint"] == "run the same command again when it has been restored"


@pytest.mark.parametrize("kind", READABLE)
def test_a_restored_object_is_fetched(cli, scripted_s3, folder, kind):
    scripted_s3(body=BODY, etag=ETAG, headers=READABLE[kind])

    assert cli("s3", "get", "s3://bucket/k.mp4").code == 0
    assert (folder / "k.mp4").read_bytes() == BODY


def test_a_store_that_says_so_only_when_asked_for_bytes(cli, scripted_s3):
    server = scripted_s3(body=BODY, etag=ETAG)
    body = error_body("InvalidObjectState", "not valid for the object's storage class")
    server.rejects = {"Range": (403, {"Content-Type": "application/xml"}, body)}

    ran = cli("s3", "get", "s3://bucket/k.mp4", "--json")

    assert (ran.code, ran.error["code"]) == (6, "E_S3_ARCHIVED")


@pytest.mark.parametrize("command", ["ls", "get", "put --force", "url"])
@pytest.mark.usefixtures("voice")
def test_whoever_agrees_pays(cli, scripted_s3, command):
    server = scripted_s3(body=BODY, etag=ETAG, listed=1)

    ran = cli("s3", *COMMANDS[command], "--requester-pays")

    assert ran.code == 0, ran.stderr
    assert {head.get("x-amz-request-payer") for head in server.heads} == {"requester"}
    if command == "url":
        assert "x-amz-request-payer=requester" in ran.stdout


def test_a_denied_reader_is_told_of_it(cli, scripted_s3):
    scripted_s3(answer=(403, {}, error_body("AccessDenied", "Access Denied")))

    ran = cli("s3", "ls", "s3://bucket/", "--json")

    assert (ran.code, ran.error["code"]) == (6, "E_S3_DENIED")
    assert "--requester-pays" in ran.error["hint"]


# TLS


@pytest.fixture
def encrypted_url(tmp_path):
    """A store with a certificate that nobody trusts."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", key,
         "-out", certificate, "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    server = HTTPServer(("127.0.0.1", 0), stores._Handler)
    server.store = stores.ScriptedStore(listed=1)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_arguments: None
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"https://127.0.0.1:{server.server_address[1]}", certificate
    server.shutdown()
    server.server_close()


def test_a_certificate_that_is_not_trusted(cli, encrypted_url, monkeypatch):
    url, certificate = encrypted_url
    use_credentials(monkeypatch, url)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")

    ran = cli("s3", "ls", "s3://bucket/", "--json")
    assert (ran.code, ran.error["code"]) == (6, "E_S3_ENDPOINT")
    assert f"the certificate of the store at {url} is not trusted" in ran.error["message"]
    assert ran.error["hint"].startswith("export AWS_CA_BUNDLE=")

    monkeypatch.setenv("AWS_CA_BUNDLE", "/nowhere.pem")
    ran = cli("s3", "ls", "s3://bucket/", "--json")
    assert (ran.code, ran.error["code"]) == (4, "E_S3_CREDENTIALS")
    assert "/nowhere.pem" in ran.error["message"]

    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    assert cli("s3", "ls", "s3://bucket/").code == 0


def test_a_plain_server_has_no_tls(cli, scripted_s3, monkeypatch):
    server = scripted_s3()
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    address = server.url.replace("http", "https")

    ran = cli("s3", "ls", "s3://bucket/", "--endpoint-url", address, "--json")

    assert (ran.code, ran.error["code"]) == (6, "E_S3_ENDPOINT")
    assert ran.error["hint"] == f"multitalk s3 ls s3://bucket/ --endpoint-url {server.url}"


def test_parts_are_checked_without_conditions_too(cli, scripted_s3, folder, monkeypatch):
    """A store that knows no conditions at the end of an upload in parts."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    (folder / "big.mp4").write_bytes(os.urandom(1000) + bytes(PART_BYTES))
    server = scripted_s3(rejects=NO_CONDITIONS, is_empty=True)

    ran = cli("s3", "put", "big.mp4", "s3://bucket/big.mp4")

    assert ran.code == 0, ran.stderr
    assert server.stored["/bucket/big.mp4"] == (folder / "big.mp4").read_bytes()
