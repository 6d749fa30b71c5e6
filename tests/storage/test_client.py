"""S3 over HTTP: addresses, listings, transfers that break off, and every error in our words."""

import hashlib
import os
import threading
import time
import tracemalloc

import pytest

from multitalk_cli.errors import FileError, MultitalkError, StorageError, UsageError
from multitalk_cli.storage import client, ranges
from multitalk_cli.storage.access import Access
from multitalk_cli.storage.address import S3Uri, parse_uri
from multitalk_cli.storage.client import Storage
from multitalk_cli.storage.ranges import PART_BYTES
from multitalk_cli.storage.retry import RetryPolicy
from tests.storage.stores import error_body

pytestmark = pytest.mark.slow

CONTENT = os.urandom(1000)
MEGABYTES = os.urandom(1 << 20) * 20


@pytest.fixture
def store(s3_client):
    return Storage()


@pytest.fixture
def impatient(monkeypatch):
    """A network failure is tried again at once."""
    monkeypatch.setattr(ranges, "_RETRIES", RetryPolicy(pauses_s=(0.0, 0.0)))


def at(name, key):
    return S3Uri(bucket=name, key=key)


def failure(call):
    with pytest.raises(MultitalkError) as caught:
        call()
    return caught.value


# Addresses


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://bucket/a/b.mp4", at("bucket", "a/b.mp4")),
        ("s3://bucket", at("bucket", "")),
        ("S3://bucket/", at("bucket", "")),
        ("s3://bucket//a", at("bucket", "/a")),
        ("s3://my.bucket-1/ü ?#.mp4", at("my.bucket-1", "ü ?#.mp4")),
    ],
)
def test_an_address_is_a_bucket_and_a_key(text, expected):
    assert parse_uri(text) == expected
    assert parse_uri(str(expected)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "s3://",
        "s3:///key",
        "s3:/bucket/key",
        "bucket/key",
        "s3://a/k",
        "s3://-a-/k",
        "s3://buc ket/k",
        "http://bucket/key",
        "",
    ],
)
def test_what_is_no_address_is_refused(text):
    with pytest.raises(UsageError) as caught:
        parse_uri(text)

    assert caught.value.code == "E_S3_ADDRESS"


@pytest.mark.parametrize("url", ["localhost:9000", "ftp://host", "http://", "http://a b", "x"])
def test_an_endpoint_must_be_a_web_address(url):
    assert failure(lambda: Storage(Access(endpoint_url=url))).code == "E_S3_ADDRESS"


# Listings


def test_the_newest_come_last_and_folders_apart(store, s3_bucket, s3_client):
    for key in ("z", "a", "b", "folder/d"):
        s3_client.put_object(Bucket=s3_bucket, Key=f"outputs/{key}", Body=b"12345")
        time.sleep(1.1 if key == "z" else 0)  # S3 dates objects in whole seconds

    listing = store.newest(at(s3_bucket, "outputs/"), 2, recursive=False)

    assert [found.key for found in listing.objects] == ["outputs/a", "outputs/b"]
    assert (listing.folders, listing.count, listing.size_bytes) == (("outputs/folder/",), 3, 15)


def test_every_page_is_read(scripted_s3):
    scripted_s3(listed=2500)

    found = list(Storage().iter_objects(at("bucket", "")))

    assert len(found) == 2500
    assert found[-1].key == "outputs/0002499.mp4"


def test_a_long_listing_takes_no_more_memory_than_a_short_one(scripted_s3):
    server = scripted_s3(listed=10)
    store, peaks = Storage(), []
    store.newest(at("bucket", ""), 5)  # loads what boto3 keeps
    for server.listed in (2000, 4000):
        tracemalloc.start()
        assert store.newest(at("bucket", ""), 5).count == server.listed
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    # Two thousand objects more, were they kept, would take 900 kB.
    assert peaks[1] - peaks[0] < 200_000


# Transfers


@pytest.mark.parametrize("size", [1, 1000, PART_BYTES, PART_BYTES + 1, len(MEGABYTES)])
def test_what_was_stored_is_fetched_the_same(store, s3_bucket, tmp_path, size):
    source, target = tmp_path / "source.mp4", tmp_path / "target.mp4"
    source.write_bytes(MEGABYTES[:size])
    arrived = []

    stored = store.put(source, at(s3_bucket, "k.mp4"), overwrite=False, report=arrived.append)
    fetched = store.get(at(s3_bucket, "k.mp4"), target, overwrite=False, report=arrived.append)

    assert target.read_bytes() == MEGABYTES[:size]
    assert (stored.size_bytes, fetched.checked, fetched.resumed_bytes) == (size, "sha256", 0)
    assert sum(arrived) == 2 * size
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source.mp4", "target.mp4"]


@pytest.mark.parametrize("size", [0, 1000, len(MEGABYTES)])
def test_what_others_stored_is_checked_by_its_etag(store, s3_bucket, s3_client, tmp_path, size):
    (tmp_path / "source").write_bytes(MEGABYTES[:size])
    s3_client.upload_file(str(tmp_path / "source"), s3_bucket, "k")

    fetched = store.get(at(s3_bucket, "k"), tmp_path / "target", overwrite=False)

    assert (tmp_path / "target").read_bytes() == MEGABYTES[:size]
    assert fetched.checked == "etag"


def test_a_stored_object_has_its_kind(store, s3_bucket, s3_client, tmp_path):
    (tmp_path / "a").write_bytes(CONTENT)

    store.put(tmp_path / "a", at(s3_bucket, "a.mp4"), overwrite=False)

    assert s3_client.head_object(Bucket=s3_bucket, Key="a.mp4")["ContentType"] == "video/mp4"


@pytest.mark.parametrize("size", [10, PART_BYTES + 10])
def test_an_object_is_overwritten_only_when_asked(store, s3_bucket, s3_client, tmp_path, size):
    (tmp_path / "a").write_bytes(MEGABYTES[:size])
    s3_client.put_object(Bucket=s3_bucket, Key="k", Body=b"mine")

    error = failure(lambda: store.put(tmp_path / "a", at(s3_bucket, "k"), overwrite=False))
    assert (error.code, int(error.exit_code)) == ("E_S3_EXISTS", 3)
    assert s3_client.get_object(Bucket=s3_bucket, Key="k")["Body"].read() == b"mine"

    store.put(tmp_path / "a", at(s3_bucket, "k"), overwrite=True)
    assert s3_client.head_object(Bucket=s3_bucket, Key="k")["ContentLength"] == size


def test_who_may_only_write_overwrites_nothing_either(
    store, s3_bucket, s3_client, tmp_path, monkeypatch
):
    (tmp_path / "a").write_bytes(CONTENT)
    s3_client.put_object(Bucket=s3_bucket, Key="k", Body=b"mine")

    def denied(_address):
        raise StorageError("no", code="E_S3_DENIED")

    monkeypatch.setattr(store, "_details", denied)

    error = failure(lambda: store.put(tmp_path / "a", at(s3_bucket, "k"), overwrite=False))

    assert error.code == "E_S3_EXISTS"


def test_storing_the_same_again_is_no_error(store, s3_bucket, tmp_path):
    (tmp_path / "a").write_bytes(CONTENT)

    for _ in range(2):
        store.put(tmp_path / "a", at(s3_bucket, "k"), overwrite=False)


def test_a_failed_upload_leaves_no_parts_to_pay_for(store, s3_bucket, s3_client, tmp_path):
    (tmp_path / "a").write_bytes(MEGABYTES)

    def stop(_count):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.put(tmp_path / "a", at(s3_bucket, "k"), overwrite=False, report=stop)

    assert "Uploads" not in s3_client.list_multipart_uploads(Bucket=s3_bucket)
    assert failure(lambda: store.find(at(s3_bucket, "k"))).code == "E_S3_KEY"


def test_a_file_is_not_overwritten_unless_asked(store, s3_bucket, s3_client, tmp_path):
    s3_client.put_object(Bucket=s3_bucket, Key="k", Body=CONTENT)
    (tmp_path / "t").write_bytes(b"mine")

    error = failure(lambda: store.get(at(s3_bucket, "k"), tmp_path / "t", overwrite=False))
    assert (error.code, (tmp_path / "t").read_bytes()) == ("E_OUTPUT_EXISTS", b"mine")

    store.get(at(s3_bucket, "k"), tmp_path / "t", overwrite=True)
    assert (tmp_path / "t").read_bytes() == CONTENT


def test_a_file_with_the_same_bytes_is_as_good_as_fetched(store, s3_bucket, s3_client, tmp_path):
    s3_client.put_object(Bucket=s3_bucket, Key="k", Body=CONTENT)
    (tmp_path / "t").write_bytes(CONTENT)

    assert store.get(at(s3_bucket, "k"), tmp_path / "t", overwrite=False).resumed_bytes == 1000

    (tmp_path / "t").write_bytes(CONTENT[::-1])
    error = failure(lambda: store.get(at(s3_bucket, "k"), tmp_path / "t", overwrite=False))
    assert error.code == "E_OUTPUT_EXISTS"


# Transfers that break off


def whole(**options):
    etag = f'"{hashlib.md5(MEGABYTES).hexdigest()}"'
    return {"body": MEGABYTES, "etag": etag, **options}


def stop_after(parts):
    """A report that ends the transfer when so many parts have arrived."""
    seen = []

    def report(count):
        seen.append(count)
        if sum(map(bool, seen)) == parts:
            raise KeyboardInterrupt

    return report


def test_a_second_run_fetches_only_the_rest(scripted_s3, tmp_path):
    server, target = scripted_s3(**whole()), tmp_path / "t"
    with pytest.raises(KeyboardInterrupt):
        Storage().get(at("bucket", "k"), target, overwrite=False, report=stop_after(2))
    assert not target.exists()
    server.ranges.clear()

    fetched = Storage().get(at("bucket", "k"), target, overwrite=False)

    assert target.read_bytes() == MEGABYTES
    assert fetched.resumed_bytes == 2 * PART_BYTES
    assert server.sent_bytes == len(MEGABYTES) - 2 * PART_BYTES
    assert [path.name for path in tmp_path.iterdir()] == ["t"]


@pytest.mark.usefixtures("impatient")
def test_a_broken_connection_is_tried_again(scripted_s3, tmp_path):
    scripted_s3(**whole(cut=2))

    Storage().get(at("bucket", "k"), tmp_path / "t", overwrite=False)

    assert (tmp_path / "t").read_bytes() == MEGABYTES


@pytest.mark.usefixtures("impatient")
def test_a_connection_that_stays_broken_is_a_network_error(scripted_s3, tmp_path):
    scripted_s3(**whole(cut=1000))

    error = failure(lambda: Storage().get(at("bucket", "k"), tmp_path / "t", overwrite=False))

    assert (error.code, int(error.exit_code)) == ("E_S3_NETWORK", 7)
    assert not (tmp_path / "t").exists()


# Stores that send all of an object whatever part is asked for


@pytest.mark.parametrize("etag", [None, '"nothing-to-compare"'])
@pytest.mark.parametrize("cut", [0, 1])
@pytest.mark.usefixtures("impatient")
def test_a_store_without_ranges_is_read_from_the_beginning(scripted_s3, tmp_path, etag, cut):
    about = whole() if etag is None else whole(etag=etag)
    scripted_s3(**about, has_ranges=False, cut=cut)

    Storage().get(at("bucket", "k"), tmp_path / "t", overwrite=False)

    assert (tmp_path / "t").read_bytes() == MEGABYTES


def test_what_arrived_of_a_store_without_ranges_is_kept(scripted_s3, tmp_path):
    scripted_s3(**whole(), has_ranges=False)
    with pytest.raises(KeyboardInterrupt):
        Storage().get(at("bucket", "k"), tmp_path / "t", overwrite=False, report=stop_after(3))

    fetched = Storage().get(at("bucket", "k"), tmp_path / "t", overwrite=False)

    assert (tmp_path / "t").read_bytes() == MEGABYTES
    assert fetched.resumed_bytes > 0


@pytest.mark.usefixtures("impatient")
def test_a_store_without_ranges_that_always_breaks_off_is_given_up(scripted_s3, tmp_path):
    server = scripted_s3(**whole(cut=1000), has_ranges=False)

    error = failure(lambda: Storage().get(at("bucket", "k"), tmp_path / "t", overwrite=False))

    assert error.code == "E_S3_NETWORK"
    assert server.cut > 900
    assert not (tmp_path / "t").exists()


def test_more_bytes_than_the_store_says_are_another_object(scripted_s3, tmp_path):
    scripted_s3(**whole(etag='"nothing-to-compare"'), has_ranges=False, extra=b"more")

    error = failure(lambda: Storage().get(at("bucket", "k"), tmp_path / "t", overwrite=False))

    assert error.code == "E_S3_CHANGED"
    assert not (tmp_path / "t").exists()


def test_damaged_bytes_are_never_put_in_place(scripted_s3, tmp_path):
    scripted_s3(body=bytes([MEGABYTES[0] ^ 1]) + MEGABYTES[1:], etag=whole()["etag"])

    error = failure(lambda: Storage().get(at("bucket", "k"), tmp_path / "t", overwrite=False))

    assert error.code == "E_S3_CHANGED"
    assert list(tmp_path.iterdir()) == []


def test_an_object_that_is_replaced_meanwhile_is_noticed(scripted_s3, tmp_path):
    server = scripted_s3(**whole())

    def replace(_count):
        server.etag = '"another"'

    error = failure(
        lambda: Storage().get(at("bucket", "k"), tmp_path / "t", overwrite=False, report=replace)
    )

    assert error.code == "E_S3_CHANGED"


def test_the_rest_of_another_version_is_not_appended(scripted_s3, tmp_path):
    server, target = scripted_s3(**whole()), tmp_path / "t"
    with pytest.raises(KeyboardInterrupt):
        Storage().get(at("bucket", "k"), target, overwrite=False, report=stop_after(1))
    server.body = MEGABYTES[::-1]
    server.etag = f'"{hashlib.md5(server.body).hexdigest()}"'

    fetched = Storage().get(at("bucket", "k"), target, overwrite=False)

    assert (target.read_bytes(), fetched.resumed_bytes) == (MEGABYTES[::-1], 0)
    assert [path.name for path in tmp_path.iterdir()] == ["t"]


@pytest.mark.parametrize(
    ("headers", "checked"),
    [
        ({"x-amz-server-side-encryption": "aws:kms"}, "size"),
        ({"x-amz-server-side-encryption": "aws:kms", "x-amz-checksum-crc32": "3q2+7w=="}, "crc32"),
        ({"x-amz-meta-multitalk-sha256": "f" * 64}, "sha256"),
    ],
)
def test_the_best_digest_that_the_store_has_is_compared(scripted_s3, tmp_path, headers, checked):
    scripted_s3(body=CONTENT, headers=headers)

    def get():
        return Storage().get(at("bucket", "k"), tmp_path / "t", overwrite=False)

    if checked == "size":
        assert get().checked == "size"
    else:
        assert f"with {checked} " in failure(get).message


def test_two_processes_do_not_write_the_same_file(scripted_s3, tmp_path):
    scripted_s3(**whole(delay_s=0.2))
    target, begun, ends = tmp_path / "t", threading.Event(), []

    def first():
        ends.append(
            Storage().get(at("bucket", "k"), target, overwrite=False, report=lambda _: begun.set())
        )

    thread = threading.Thread(target=first)
    thread.start()
    begun.wait(10)
    error = failure(lambda: Storage().get(at("bucket", "k"), target, overwrite=False))
    thread.join()

    assert "another process" in error.message
    assert (ends[0].size_bytes, target.read_bytes()) == (len(MEGABYTES), MEGABYTES)


def test_a_link_in_the_place_of_the_rest_is_not_followed(scripted_s3, tmp_path, monkeypatch):
    scripted_s3(body=CONTENT, etag=f'"{hashlib.md5(CONTENT).hexdigest()}"')
    victim = tmp_path / "victim"
    victim.write_bytes(b"untouched")
    monkeypatch.setattr(client, "part_path", lambda *_: tmp_path / ".part")
    (tmp_path / ".part").symlink_to(victim)

    with pytest.raises(FileError):
        Storage().get(at("bucket", "k"), tmp_path / "t", overwrite=False)

    assert victim.read_bytes() == b"untouched"


def test_a_folder_that_cannot_be_written_is_said(scripted_s3, tmp_path):
    scripted_s3(body=CONTENT)

    error = failure(
        lambda: Storage().get(at("bucket", "k"), tmp_path / "no" / "t", overwrite=False)
    )

    assert error.code == "E_OUTPUT_PATH"


# Errors


@pytest.mark.parametrize(
    ("status", "code", "ours", "exit_code"),
    [
        (404, "NoSuchBucket", "E_S3_BUCKET", 6),
        (404, "NoSuchKey", "E_S3_KEY", 6),
        (403, "AccessDenied", "E_S3_DENIED", 6),
        (403, "InvalidAccessKeyId", "E_S3_CREDENTIALS", 4),
        (403, "SignatureDoesNotMatch", "E_S3_CREDENTIALS", 4),
        (400, "InvalidToken", "E_S3_CREDENTIALS", 4),
        (400, "ExpiredToken", "E_S3_EXPIRED", 4),
        (403, "RequestTimeTooSkewed", "E_S3_CLOCK", 4),
        (503, "SlowDown", "E_S3_NETWORK", 7),
        (500, "InternalError", "E_S3_NETWORK", 7),
        (409, "Bewildered", "E_STORAGE", 6),
    ],
)
def test_an_answer_of_the_store_becomes_our_error(
    scripted_s3, monkeypatch, status, code, ours, exit_code
):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(time, "sleep", lambda _: None)
    scripted_s3(answer=(status, {"Content-Type": "application/xml"}, error_body(code)))

    for call in (
        lambda: Storage().find(at("bucket", "k")),
        lambda: Storage().newest(at("bucket", "k"), 1),
    ):
        error = failure(call)
        assert (error.code, int(error.exit_code)) == (ours, exit_code)
        assert error.__cause__ is not None


def test_the_region_of_the_bucket_is_named(scripted_s3):
    body = error_body("AuthorizationHeaderMalformed", Region="eu-west-1")
    scripted_s3(answer=(400, {"Content-Type": "application/xml"}, body))

    error = failure(lambda: Storage().newest(at("bucket", ""), 1))

    assert error.code == "E_S3_REGION"
    assert "eu-west-1" in error.message
    assert error.facts == {"bucket": "bucket", "region": "eu-west-1"}


def test_a_denial_names_the_permission(scripted_s3):
    scripted_s3(answer=(403, {"Content-Type": "application/xml"}, error_body("AccessDenied")))

    assert "s3:ListBucket" in failure(lambda: Storage().newest(at("bucket", ""), 1)).message
    assert "s3:GetObject" in failure(lambda: Storage().find(at("bucket", "k"))).message


def test_a_wrong_clock_is_told_the_time(scripted_s3):
    body = error_body("RequestTimeTooSkewed", ServerTime="2026-11-02T10:00:00Z")
    scripted_s3(answer=(403, {"Content-Type": "application/xml"}, body))

    assert "2026-11-02T10:00:00Z" in failure(lambda: Storage().find(at("bucket", "k"))).message


def test_a_store_that_is_not_there_is_a_network_error(monkeypatch, scripted_s3):
    scripted_s3()
    monkeypatch.setattr(time, "sleep", lambda _: None)

    error = failure(
        lambda: Storage(Access(endpoint_url="http://127.0.0.1:1")).find(at("bucket", "k"))
    )

    assert (error.code, int(error.exit_code)) == ("E_S3_NETWORK", 7)


def test_no_credentials_at_all(monkeypatch, scripted_s3):
    scripted_s3()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")

    for call in (Storage().find, lambda address: Storage().url(address, 60)):
        error = failure(lambda call=call: call(at("bucket", "k")))
        assert (error.code, int(error.exit_code)) == ("E_S3_CREDENTIALS", 4)


def test_an_unknown_profile(scripted_s3):
    scripted_s3()

    error = failure(lambda: Storage(Access(profile="nobody")))

    assert error.code == "E_S3_CREDENTIALS"
    assert "nobody" in error.message
