"""Videos into a store, from inside a container whose environment has the secret."""

import pytest

from multitalk_cli import contract
from multitalk_cli.errors import FileError, SetupError
from multitalk_cli.storage.upload import ObjectStatus, UploadRequest, UploadTarget
from remote.worker.upload import put as put_video
from remote.worker.upload import store_video
from remote.worker.volume_store import VolumeStore
from tests.storage.stores import error_body

JOB = "abcdabcd"


class Volume:
    def __init__(self):
        self.commits = 0

    def commit(self):
        self.commits += 1

    def reload(self):
        """Nothing is elsewhere."""


@pytest.fixture
def files(tmp_path):
    """A store of jobs with a video that was published."""
    kept = VolumeStore(tmp_path / "jobs", Volume(), {})
    video = tmp_path / "made.mp4"
    video.write_bytes(b"a video")
    kept.publish(JOB, video)
    return kept


@pytest.fixture
def bucket(s3_bucket, monkeypatch):
    """The bucket that the secret names."""
    monkeypatch.setenv("AWS_BUCKET_NAME", s3_bucket)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    return s3_bucket


def upload(**changes):
    return UploadTarget(
        **{"bucket": "", "key": "k.mp4", "stem": "v", "overwrite": False, **changes}
    )


def put(files, **changes):
    shown = []
    address = put_video(files, JOB, upload(**changes), shown.append)
    return address, shown


def body(s3_client, bucket, key="k.mp4"):
    return s3_client.get_object(Bucket=bucket, Key=key)["Body"].read()


def test_a_video_is_put_where_it_belongs_and_progress_is_told(files, bucket, s3_client):
    address, shown = put(files)

    assert address == f"s3://{bucket}/k.mp4"
    assert body(s3_client, bucket) == b"a video"
    assert shown[-1] == contract.Stage(name="uploading", done=7, total=7)


@pytest.mark.usefixtures("bucket")
def test_the_same_again_is_as_good_as_stored(files):
    assert put(files)[0] == put(files)[0]


def test_an_object_that_appeared_meanwhile_stays(files, bucket, s3_client):
    s3_client.put_object(Bucket=bucket, Key="k.mp4", Body=b"other")

    with pytest.raises(FileError, match="exists") as refusal:
        put(files)

    assert refusal.value.code == "E_S3_EXISTS"
    assert body(s3_client, bucket) == b"other"
    put(files, overwrite=True)
    assert body(s3_client, bucket) == b"a video"


@pytest.mark.usefixtures("bucket")
def test_a_secret_without_a_bucket_is_named(files, monkeypatch):
    monkeypatch.delenv("AWS_BUCKET_NAME")

    with pytest.raises(SetupError, match="lacks AWS_BUCKET_NAME") as refusal:
        put(files)

    assert refusal.value.hint == "multitalk setup-secrets --only aws --update"


def ask(files, **fields):
    wire = contract.to_wire(UploadRequest(job_id=JOB, upload=upload(), **fields))
    return store_video(wire, files)


def test_looking_tells_what_is_there(files, bucket, s3_client):
    free = contract.from_wire(ObjectStatus, ask(files, looks=True))
    s3_client.put_object(Bucket=bucket, Key="k.mp4", Body=b"no video")
    taken = contract.from_wire(ObjectStatus, ask(files, looks=True))

    assert (free.is_taken, taken.is_taken, taken.recipe) == (False, True, None)


@pytest.mark.usefixtures("bucket")
def test_a_job_that_nothing_is_kept_of_is_said(files):
    failed = contract.from_wire(contract.Failed, ask(files, looks=False))

    assert failed.code == "E_EXPIRED"


def test_a_file_of_the_client_is_stored_as_it_is(files, bucket, s3_client):
    spot = contract.from_wire(ObjectStatus, ask(files, looks=False, video=b"mine"))

    assert (spot.address, body(s3_client, bucket)) == (f"s3://{bucket}/k.mp4", b"mine")


@pytest.mark.usefixtures("bucket")
def test_refused_keys_point_to_the_secret(files, scripted_s3):
    scripted_s3(answer=(403, {}, error_body("InvalidAccessKeyId")))

    failed = contract.from_wire(contract.Failed, ask(files, looks=True))

    assert failed.code == "E_S3_CREDENTIALS"
    assert failed.hint == "multitalk setup-secrets --only aws --update"


def test_another_contract_is_answered(files):
    failed = store_video({"contract": 0, "client": "0"}, files)

    assert failed["code"] == "E_CONTRACT"
