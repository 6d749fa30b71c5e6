"""S3 as a store sees it that checks what moto does not: signatures, expiry, conditions."""

import os
import time
import urllib.error
import urllib.request

import pytest

from multitalk_cli.storage.ranges import PART_BYTES
from tests.storage.stores import KEY_ID, SECRET, use_credentials
from tests.waiting import HANG_S

CONTENT = os.urandom(PART_BYTES + 1000)


@pytest.fixture(scope="module")
def weed_bucket(weed_url):
    """A bucket that holds video.mp4."""
    import boto3

    opened = boto3.client(
        "s3",
        endpoint_url=weed_url,
        aws_access_key_id=KEY_ID,
        aws_secret_access_key=SECRET,
        region_name="us-east-1",
    )
    opened.create_bucket(Bucket="videos")
    end_s = time.monotonic() + HANG_S
    while True:
        try:
            opened.put_object(Bucket="videos", Key="video.mp4", Body=CONTENT[:5000])
            break
        except opened.exceptions.ClientError:
            # It answers before its volumes can be written to.
            assert time.monotonic() < end_s
            time.sleep(0.2)
    opened.close()
    return "videos"


@pytest.fixture(autouse=True)
def _credentials(monkeypatch, weed_url, weed_bucket):
    use_credentials(monkeypatch, weed_url)
    monkeypatch.setenv("MULTITALK_BUCKET", weed_bucket)


def status_of(url):
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            answer.read()
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_right_credentials_store_list_and_fetch(cli, folder):
    (folder / "a.mp4").write_bytes(CONTENT)

    assert cli("s3", "put", "a.mp4").code == 0
    assert "outputs/a.mp4" in cli("s3", "ls").stdout
    ran = cli("s3", "get", "outputs/a.mp4", "-o", "b.mp4")

    assert (ran.code, "sha256 OK" in ran.stderr) == (0, True)
    assert (folder / "b.mp4").read_bytes() == CONTENT


@pytest.mark.parametrize("size", [1000, PART_BYTES + 1000])
def test_nothing_is_overwritten_without_force(cli, folder, size):
    (folder / "video.mp4").write_bytes(CONTENT[-size:])

    ran = cli("s3", "put", "video.mp4", "video.mp4", "--json")

    assert (ran.code, ran.error["code"]) == (3, "E_S3_EXISTS")


@pytest.mark.parametrize(("key_id", "secret"), [("AKIANOBODY", SECRET), (KEY_ID, "wrong")])
@pytest.mark.parametrize("words", [("ls",), ("get", "video.mp4"), ("url", "video.mp4")])
def test_wrong_credentials_are_recognised(cli, monkeypatch, weed_url, words, key_id, secret):
    use_credentials(monkeypatch, weed_url, key_id, secret)

    ran = cli("s3", *words, "--json")

    assert (ran.code, ran.error["code"]) == (4, "E_S3_CREDENTIALS")
    assert secret not in ran.stdout + ran.stderr


def test_wrong_credentials_store_nothing(cli, folder, monkeypatch, weed_url):
    (folder / "c.mp4").write_bytes(CONTENT[:10])
    use_credentials(monkeypatch, weed_url, KEY_ID, "wrong")

    assert cli("s3", "put", "c.mp4", "--json").error["code"] == "E_S3_CREDENTIALS"


def test_a_url_expires(cli):
    url = cli("s3", "url", "video.mp4", "--expires", "1s").stdout.strip()
    end_s = time.monotonic() + HANG_S
    while (status := status_of(url)) == 200 and time.monotonic() < end_s:
        time.sleep(0.1)

    assert status == 403


def test_a_url_is_for_one_object(cli):
    url = cli("s3", "url", "video.mp4").stdout.strip()

    assert status_of(url.replace("video.mp4", "other.mp4")) == 403


def test_a_missing_bucket_and_key(cli):
    assert cli("s3", "ls", "s3://nowhere/", "--json").error["code"] == "E_S3_BUCKET"
    assert cli("s3", "get", "nothing.mp4", "--json").error["code"] == "E_S3_KEY"


ODD_NAMES = (
    "a+b%20c.mp4", "#take  [1].mp4", "caf\u00e9 cafe\u0301 \u00ae.mp4", "a&b=c;d~.mp4",
    "\u65e5\u672c'\".mp4",
)  # fmt: skip


def test_every_name_is_signed_as_it_is(cli, folder, weed_bucket):
    """Plus signs, percent signs, two spaces and two ways to write an accent."""
    (folder / "src").mkdir()
    for name in ODD_NAMES:
        (folder / "src" / name).write_text(name, encoding="utf-8")

    ran = cli("s3", "put", *(f"src/{name}" for name in ODD_NAMES), "odd/")
    assert ran.code == 0, ran.stderr
    for number, name in enumerate(ODD_NAMES):
        assert cli("s3", "get", f"s3://{weed_bucket}/odd/{name}", "-o", f"{number}").code == 0
        assert (folder / f"{number}").read_text(encoding="utf-8") == name
    listed = cli("s3", "ls", "odd/", "--json").json["data"]["objects"]
    assert sorted(each["key"] for each in listed) == sorted(f"odd/{name}" for name in ODD_NAMES)
