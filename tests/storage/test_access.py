"""Credentials that come from elsewhere, and the trial of a bucket."""

import pytest

from multitalk_cli.errors import MultitalkError
from multitalk_cli.storage.access import Access, Credentials, account_of, is_amazon, read_profile
from multitalk_cli.storage.address import S3Uri
from multitalk_cli.storage.client import Storage
from multitalk_cli.storage.probe import try_bucket
from tests.storage.guarded_store import guarding
from tests.storage.stores import KEY_ID, SECRET

KEYS = Credentials(key_id=KEY_ID, secret=SECRET)


@pytest.fixture
def store():
    with guarding() as opened:
        yield opened


@pytest.fixture(autouse=True)
def _another_machine(monkeypatch):
    """What this machine has set up, none of which may be used."""
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "af-south-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)


def opened(store, region="eu-west-3", **keys):
    given = Credentials(key_id=KEY_ID, secret=SECRET, **keys)
    return Storage(Access(credentials=given, endpoint_url=store.url, region=region))


def failure(call):
    with pytest.raises(MultitalkError) as caught:
        call()
    return caught.value


def test_given_credentials_are_used_alone(store):
    opened(store).write(S3Uri(bucket=store.bucket, key="k"), b"content")

    assert store.objects == {f"/{store.bucket}/k": b"content"}
    assert (store.key_ids, store.regions) == ({KEY_ID}, {"eu-west-3"})


def test_without_an_endpoint_it_is_amazon():
    store = Storage(Access(credentials=KEYS))

    url = store.url(S3Uri(bucket="bucket-name", key="k"), 60)

    assert "amazonaws.com/" in url
    assert "af-south-1" not in url
    assert is_amazon(None)
    assert is_amazon("https://s3.eu-west-3.amazonaws.com")
    assert not is_amazon("https://amazonaws.com.example.com")


def test_credentials_are_not_shown():
    shown = repr(Access(credentials=Credentials(key_id=KEY_ID, secret=SECRET, token="session")))

    assert not [value for value in (KEY_ID, SECRET, "session") if value in shown]


def test_a_bucket_is_tried_and_left_as_it_was(store):
    assert try_bucket(opened(store), store.bucket) == "eu-west-3"

    assert [method for method, _ in store.seen] == ["LIST", "PUT", "GET", "DELETE"]
    assert store.seen[1][1].startswith(f"/{store.bucket}/outputs/")
    assert not store.objects


@pytest.mark.parametrize(
    ("method", "permission"),
    [
        ("LIST", "s3:ListBucket"),
        ("PUT", "s3:PutObject"),
        ("GET", "s3:GetObject"),
        ("DELETE", "s3:DeleteObject"),
    ],
)
def test_the_missing_permission_is_named(store, method, permission):
    store.forbidden = {method}

    error = failure(lambda: try_bucket(opened(store), store.bucket))

    assert error.code == "E_S3_DENIED"
    assert f"does not allow {permission} on s3://{store.bucket}/outputs/*" in error.message
    assert ("was left there" in error.message) == (method == "DELETE") == bool(store.objects)


def test_all_missing_permissions_are_named_at_once(store):
    store.forbidden = {"LIST", "GET", "DELETE"}

    error = failure(lambda: try_bucket(opened(store), store.bucket))

    assert "s3:ListBucket and s3:GetObject and s3:DeleteObject" in error.message


def test_other_failures_keep_their_codes_and_leave_nothing(store):
    store.lies = True
    assert failure(lambda: try_bucket(opened(store), store.bucket)).code == "E_S3_CHANGED"
    assert not store.objects

    assert failure(lambda: try_bucket(opened(store), "other-bucket")).code == "E_S3_BUCKET"
    store.expired = True
    assert failure(lambda: try_bucket(opened(store), store.bucket)).code == "E_S3_EXPIRED"


def test_a_store_that_refuses_a_region_is_asked_in_the_one_that_it_names(store):
    store.tells_region = False

    assert try_bucket(opened(store, "us-east-1"), store.bucket) is None
    assert store.regions == {"us-east-1", "eu-west-3"}


def test_the_account_is_asked_of_sts(moto_url):
    assert account_of(KEYS, None, moto_url) == "123456789012"


def test_a_profile_is_read_with_its_region_and_store(tmp_path, monkeypatch):
    config = tmp_path / "config"
    config.write_text(
        f"[profile work]\naws_access_key_id = {KEY_ID}\naws_secret_access_key = {SECRET}\n"
        "aws_session_token = session\nregion = eu-west-3\nendpoint_url = https://s3.example.com\n"
        "[profile empty]\nregion = eu-west-3\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.delenv("AWS_DEFAULT_REGION")

    profile = read_profile("work")

    assert profile.credentials == Credentials(key_id=KEY_ID, secret=SECRET, token="session")
    assert (profile.region, profile.endpoint_url) == ("eu-west-3", "https://s3.example.com")
    for name in ("empty", "absent"):
        assert failure(lambda name=name: read_profile(name)).code == "E_S3_CREDENTIALS"
