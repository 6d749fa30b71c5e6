"""The access of a token, as the hub reports it."""

import pytest

from multitalk_cli.contract import REPOSITORIES, WAN_REPOSITORY
from multitalk_cli.errors import (
    MultitalkError,
    SetupError,
    StorageError,
    TemporaryError,
    UsageError,
)
from multitalk_cli.storage.hub import Hub, HubPolicy
from multitalk_cli.storage.retry import RetryPolicy
from tests.storage.fakehub import serving

_ONCE_MORE = RetryPolicy(pauses_s=(0.01,))
QUICK = HubPolicy(stall_s=0.5, asking=_ONCE_MORE, fetching=_ONCE_MORE)


@pytest.fixture
def hub():
    with serving({repo: {} for repo in REPOSITORIES}) as served:
        yield served


def test_the_hub_says_whose_token_it_is(hub, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    hub.faults.token = "hf_right"

    assert Hub.with_token("hf_right", QUICK).whoami() == "tester"
    with pytest.raises(SetupError, match="denies access to the token"):
        Hub.with_token("hf_wrong", QUICK).whoami()


def test_an_endpoint_that_is_none_is_refused(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "https://user:password@host")

    with pytest.raises(UsageError, match="HF_ENDPOINT must be") as caught:
        Hub.with_token("hf_right")
    assert "password" not in caught.value.message


def test_a_gated_repository_is_told_apart_from_one_that_is_not(hub):
    hub.faults.gated = (WAN_REPOSITORY,)
    client = Hub(hub.url, "hf_any", QUICK)

    with pytest.raises(SetupError, match=WAN_REPOSITORY):
        client.check_access(WAN_REPOSITORY)
    with pytest.raises(StorageError, match="no nobody/nothing"):
        client.check_access("nobody/nothing")


@pytest.mark.parametrize(
    ("status", "code", "said", "error_code", "words"),
    [
        (
            401,
            "",
            "Invalid credentials in Authorization header",
            "E_HUB_TOKEN",
            "invalid or expired",
        ),
        (
            401,
            "RepoNotFound",
            "Repository not found",
            "E_HUB_MISSING",
            "renamed, removed or private",
        ),
        (401, "GatedRepo", "Access to model is restricted.", "E_HUB_TOKEN", "status 401.: gated$"),
        (403, "GatedRepo", "Access to model is restricted.", "E_HUB_TOKEN", "status 403.: gated$"),
        (403, "", "Access to this resource is disabled.", "E_HUB_MISSING", "has disabled access"),
        (403, "", "", "E_HUB_TOKEN", "gated, or HF_TOKEN is invalid"),
    ],
)
def test_a_refusal_is_told_with_the_reason_of_the_hub(hub, status, code, said, error_code, words):
    hub.faults.refusal = (status, {"X-Error-Code": code, "X-Error-Message": said})

    with pytest.raises(MultitalkError, match=words) as caught:
        Hub(hub.url, "hf_old", QUICK).resolve(WAN_REPOSITORY, "main")

    assert caught.value.code == error_code
    assert "hf_old" not in caught.value.message


@pytest.mark.parametrize(
    ("status", "words"), [(403, "status 403 of"), (200, "sends 2 bytes where")]
)
def test_a_storage_that_a_firewall_blocks_is_named_and_its_page_is_no_part_of_the_file(
    status, words
):
    with serving({}) as storage, serving({WAN_REPOSITORY: {"vae.pth": bytes(5000)}}) as hub:
        hub.storage, storage.faults.refusal = storage, (status, {})
        client, got = Hub(hub.url, None, QUICK), []

        with pytest.raises(TemporaryError) as caught:
            got += client.pieces(WAN_REPOSITORY, hub.commit(WAN_REPOSITORY), "vae.pth", 0, 5000)

    assert (caught.value.code, got) == ("E_HUB_NETWORK", [])
    assert words in caught.value.message
    assert storage.url.removeprefix("http://") in caught.value.message


def test_a_mirror_that_knows_no_access_is_asked_for_the_repository(hub):
    hub.faults.is_mirror = True
    client = Hub(hub.url, "hf_any", QUICK)

    client.check_access(WAN_REPOSITORY)
    assert [path for path, _, _ in hub.requests][-1] == f"/api/models/{WAN_REPOSITORY}"


@pytest.mark.parametrize(
    ("status", "location", "code", "words"),
    [
        (401, "", "E_HUB", "needs a login"),
        (403, "", "E_HUB", "needs a login"),
        (404, "", "E_HUB_MISSING", "does not exist"),
        (302, "file:///etc/passwd", "E_HUB_NETWORK", "a redirect to no web address"),
        (302, "https://[bad/x", "E_HUB_NETWORK", "redirects to no address"),
        (302, "data:text/plain,x", "E_HUB_NETWORK", "a redirect to no web address"),
        (302, "https://me:secret@host.example/x", "E_HUB", "redirects to an address with a pass"),
    ],
)
def test_what_another_server_answers_in_place_of_a_file_is_told(hub, status, location, code, words):
    hub.faults.refusal = (status, {"Location": location} if location else {})
    address = f"{hub.url}/x.safetensors"

    with pytest.raises(MultitalkError, match=words) as caught:
        Hub("http://127.0.0.1:1", None, QUICK).other_server(hub.url).file_at(address, address)

    assert caught.value.code == code
    assert "HF_ENDPOINT" not in caught.value.hint
    assert "secret" not in caught.value.message


def test_no_server_leads_from_an_encrypted_address_to_an_open_one(hub):
    hub.faults.refusal = (307, {"Location": "http://me:secret@10.0.0.1/x.safetensors"})
    server = Hub("http://127.0.0.1:1", None, QUICK).other_server("https://site.example")

    with pytest.raises(
        StorageError, match=r"redirects to http://10\.0\.0\.1, which is not"
    ) as caught:
        server.file_at(f"{hub.url}/x.safetensors", "x")

    assert (caught.value.code, len(hub.requests)) == ("E_HUB", 1)
    assert "download the file in a browser" in caught.value.hint
