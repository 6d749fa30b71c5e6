"""Addresses of stores: one rule for the option, the variables, profiles and secrets."""

import pytest

from multitalk_cli.cloud.secrets.keys import clean
from multitalk_cli.errors import MultitalkError
from multitalk_cli.storage.access import Access, connect, read_profile
from multitalk_cli.storage.endpoint import EndpointError, find_proxy, parse_endpoint, without_bucket
from tests.storage.stores import use_credentials

pytestmark = pytest.mark.slow

GOOD = {
    "https://s3.example.com": "https://s3.example.com",
    "HTTPS://s3.example.com/": "https://s3.example.com",
    " http://10.0.0.1:9000\n": "http://10.0.0.1:9000",
    "http://[fd00::1]:9000/": "http://[fd00::1]:9000",
    "https://example.com/s3/gateway/": "https://example.com/s3/gateway",
    "https://example.com/a-b_c.d~e%20f": "https://example.com/a-b_c.d~e%20f",
    "http://minio:9000\u00a0": "http://minio:9000",
    "https://xn--bcher-kva.example": "https://xn--bcher-kva.example",
}
PROPOSED = {
    "s3.example.com": "https://s3.example.com",
    "play.min.io:9000/": "https://play.min.io:9000",
    "localhost:9000": "http://localhost:9000",
    "127.0.0.1:9000": "http://127.0.0.1:9000",
    "[::1]:9000": "http://[::1]:9000",
    "minio": "https://minio",
}
BAD = [
    "",
    "http://",
    "https://:9000",
    "http://a b",
    "http://my_minio:9000",
    "http://-a.example",
    "http://host:99999",
    "http://host:",
    "http://host:port",
    "http://host/?a=b",
    "http://host#x",
    "http://host/a//b",
    "http://host/..\\x",
    "ftp://host",
    "s3://bucket",
    "http://[::1",
    "http://[nowhere]:9",
    "a_b:9000",
    "http://ho\u0308st",
    "http://host\u200b",
]
WAYS = ("option", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "profile", "services", "secret")


def resolve(way, address, monkeypatch, tmp_path):
    """The endpoint that is used for an address given in one of the ways, or its error."""
    use_credentials(monkeypatch, "http://127.0.0.1:9")
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    keys = "[default]\naws_access_key_id = AKIATEST\naws_secret_access_key = secret\n"
    if way in ("profile", "services"):
        lines = f"endpoint_url = {address}\n"
        service = f"services = own\n[services own]\ns3 =\n  {lines}"
        (tmp_path / "aws").write_text(keys + (lines if way == "profile" else service))
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "aws"))
        assert read_profile("default").endpoint_url == connect(Access())[1].meta.endpoint_url
    elif way == "secret":
        return clean("AWS_ENDPOINT_URL", address).value
    elif way != "option":
        monkeypatch.setenv(way, address)
    given = Access(endpoint_url=address if way == "option" else None)
    return connect(given)[1].meta.endpoint_url


@pytest.mark.parametrize("text", GOOD, ids=ascii)
def test_an_endpoint_is_a_host_and_a_prefix(text):
    assert parse_endpoint(text) == GOOD[text]
    assert parse_endpoint(GOOD[text]) == GOOD[text]


@pytest.mark.parametrize("text", [*BAD, *PROPOSED], ids=ascii)
def test_what_is_no_endpoint_is_refused(text):
    with pytest.raises(EndpointError) as caught:
        parse_endpoint(text)

    assert caught.value.proposed == PROPOSED.get(text, "")


@pytest.mark.parametrize("way", WAYS)
def test_every_way_follows_the_same_rule(way, monkeypatch, tmp_path):
    for text, expected in GOOD.items():
        if way in ("option", "secret") or text == text.strip():
            assert resolve(way, text, monkeypatch, tmp_path) == expected
    for text in ("http://my_minio:9000", "host:9000", "http://me:hunter22@host", "http://host?x"):
        with pytest.raises(MultitalkError) as caught:
            resolve(way, text, monkeypatch, tmp_path)
        assert "must be" in caught.value.message
        assert "hunter22" not in caught.value.message


def test_the_printed_command_has_a_whole_endpoint(cli, monkeypatch):
    use_credentials(monkeypatch, "http://127.0.0.1:9")
    ran = cli("s3", "ls", "s3://bucket/", "--endpoint-url", "minio.example:9000", "--json")

    expected = "multitalk s3 ls s3://bucket/ --endpoint-url https://minio.example:9000"
    assert (ran.code, ran.error["hint"]) == (2, expected)

    monkeypatch.setenv("AWS_ENDPOINT_URL", "localhost:9000")
    ran = cli("s3", "ls", "s3://bucket/", "--json")

    assert (ran.code, ran.error["code"]) == (4, "E_S3_CREDENTIALS")
    assert ran.error["hint"] == "export AWS_ENDPOINT_URL=http://localhost:9000"


@pytest.mark.parametrize(
    ("endpoint", "shorter"),
    [
        (
            "https://account.r2.cloudflarestorage.com/videos",
            "https://account.r2.cloudflarestorage.com",
        ),
        ("http://127.0.0.1:9/s3/videos/", "http://127.0.0.1:9/s3"),
        ("https://videos.nyc3.digitaloceanspaces.com", "https://nyc3.digitaloceanspaces.com"),
        ("https://videos.s3.eu-west-3.amazonaws.com", "https://s3.eu-west-3.amazonaws.com"),
    ],
)
@pytest.mark.parametrize("command", ["ls", "get", "url"])
def test_an_endpoint_with_the_bucket_in_it_is_refused(cli, monkeypatch, endpoint, shorter, command):
    use_credentials(monkeypatch, "http://127.0.0.1:9")

    ran = cli("s3", command, "s3://videos/k", "--endpoint-url", endpoint, "--json")

    assert (ran.code, ran.error["code"]) == (2, "E_S3_ADDRESS")
    assert ran.error["hint"] == f"multitalk s3 {command} s3://videos/k --endpoint-url {shorter}"


def test_a_host_may_be_called_as_the_bucket():
    """Only addresses of known stores begin with the bucket's name."""
    assert without_bucket("https://minio.example.com", "minio") is None
    assert without_bucket("https://videos.r2.cloudflarestorage.com", "video") is None


# Regions


def test_aws_region_is_read_where_nothing_else_names_one(monkeypatch):
    use_credentials(monkeypatch, "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_REGION", "eu-west-3")
    assert connect(Access())[1].meta.region_name == "us-east-1"

    monkeypatch.delenv("AWS_DEFAULT_REGION")
    assert connect(Access())[1].meta.region_name == "eu-west-3"
    assert connect(Access(region="af-south-1"))[1].meta.region_name == "af-south-1"


@pytest.mark.parametrize("region", ["eu-west-3\n", "eu west 3", "eu-west-3\u00a0"])
def test_a_region_with_spaces_is_refused(cli, monkeypatch, region):
    """Headers cannot carry it, and a library would print the request with its signature."""
    use_credentials(monkeypatch, "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_DEFAULT_REGION", region)

    ran = cli("s3", "ls", "s3://bucket/", "--json")

    assert (ran.code, ran.error["code"]) == (4, "E_S3_CREDENTIALS")
    assert "Signature" not in ran.error["message"]


# Proxies

PASSWORDS = ("pa#ss/w1", "pa/ss", "p?ss", "p ss", "p#ss")


@pytest.fixture
def proxied(monkeypatch):
    """Sets the proxy of a scheme, and no other."""
    names = [f"{kind}_proxy" for kind in ("http", "https", "no", "all")]
    for name in [*names, *map(str.upper, names)]:
        monkeypatch.delenv(name, raising=False)
    use_credentials(monkeypatch, "https://s3.example.com")

    def name(address, variable="HTTPS_PROXY"):
        monkeypatch.setenv(variable, address)

    return name


@pytest.mark.parametrize(
    "address",
    [
        *(f"http://me:{password}@127.0.0.1:1" for password in PASSWORDS),
        "http://127.0.0.1:99999",
        "http://127.0.0.1:0",
        "http://127.0.0.1:port",
        "socks5://me:hunter22@127.0.0.1:1",
        "http://",
        "http://a b:1",
        "http://m\udce9:hunter22@127.0.0.1:1",
    ],
)
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy"])
def test_an_unusable_proxy_is_named(cli, proxied, address, variable):
    proxied(address, variable)

    ran = cli("s3", "ls", "s3://bucket/", "--json")

    assert (ran.code, ran.error["code"]) == (4, "E_PROXY")
    assert ran.error["message"].startswith(f"{variable} must be http://HOST:PORT, or that with")
    assert not [each for each in (*PASSWORDS, "hunter22") if each in ran.stdout + ran.stderr]


@pytest.mark.parametrize(
    "address",
    ["http://me:hunter22@127.0.0.1:1", "127.0.0.1:1", "//127.0.0.1:1", "me:hunter22@127.0.0.1:1"],
)
def test_a_proxy_that_does_not_answer_is_named(cli, proxied, address):
    proxied(address)

    ran = cli("s3", "ls", "s3://bucket/", "--json")

    assert (ran.code, ran.error["code"]) == (7, "E_S3_NETWORK")
    expected = "the proxy http://127.0.0.1:1 cannot be reached: Connection refused"
    assert ran.error["message"] == expected
    assert "hunter22" not in ran.stdout + ran.stderr


def test_a_proxy_that_rejects_the_password_is_named(cli, proxied, scripted_s3, monkeypatch):
    proxy = scripted_s3(answer=(407, {"Proxy-Authenticate": "Basic"}, b"who are you"))
    address = proxy.url.replace("//", "//me:hunter22@")
    use_credentials(monkeypatch, "http://s3.example.com")
    proxied(address, "http_proxy")

    ran = cli("s3", "ls", "s3://bucket/", "--json")

    expected = f"the proxy {proxy.url} rejects the user and password in http_proxy"
    assert (ran.code, ran.error["code"], ran.error["message"]) == (4, "E_PROXY", expected)
    assert "hunter22" not in ran.stdout + ran.stderr


def test_a_host_without_a_proxy_needs_none(proxied, monkeypatch):
    proxied("socks5://127.0.0.1:1")
    assert find_proxy("http://s3.example.com") is None

    monkeypatch.setenv("NO_PROXY", "example.com")
    assert find_proxy("https://s3.example.com") is None
