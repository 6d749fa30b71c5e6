"""Volumes as clients and containers see them, Dicts, and the four states of a secret."""

import io
import json
import os

import modal
import pytest

from tests.modal_plane.sample import APP, deploy
from tests.modal_plane.volumes import View, Volume

pytestmark = pytest.mark.usefixtures("sample_class")
WEIGHTS = os.urandom(1 << 20) * 9


def _read(volume: modal.Volume, path: str) -> bytes:
    return b"".join(volume.read_file(path))


def _upload(volume: modal.Volume, path: str, data: bytes, *, force: bool = True) -> None:
    with volume.batch_upload(force=force) as batch:
        batch.put_file(io.BytesIO(data), path)


@pytest.fixture(scope="module")
def other_engine(sample_class):
    """A second container with the same volumes."""
    return sample_class.with_options(gpu="A100-80GB")()


@pytest.mark.parametrize("version", [1, 2])
def test_client_uploads_lists_reads_and_removes(version):
    volume = modal.Volume.from_name(f"v{version}", create_if_missing=True, version=version)
    _upload(volume, "/pack/weights.bin", WEIGHTS)
    _upload(volume, "/pack/empty.bin", b"")

    listed = {entry.path: entry.size for entry in volume.listdir("/pack")}
    assert listed == {"pack/weights.bin": len(WEIGHTS), "pack/empty.bin": 0}
    assert _read(volume, "pack/weights.bin") == WEIGHTS
    volume.remove_file("pack/weights.bin")
    with pytest.raises(FileNotFoundError):
        _read(volume, "pack/weights.bin")


def test_existing_file_is_kept_unless_forced(cloud):
    volume = modal.Volume.from_name("v2", create_if_missing=True, version=2)
    _upload(volume, "/kept", b"1")

    with pytest.raises(FileExistsError):
        _upload(volume, "/kept", b"2", force=False)
    assert cloud.volume("v2").files()["kept"] == b"1"


def test_volume_that_is_absent_or_of_another_version_is_refused():
    modal.Volume.from_name("old", create_if_missing=True, version=1).hydrate()

    with pytest.raises(modal.exception.NotFoundError):
        modal.Volume.from_name("absent").hydrate()
    with pytest.raises(modal.exception.InvalidError):
        modal.Volume.from_name("old", version=2).hydrate()


def test_download_that_breaks_off_once_is_completed(cloud):
    volume = modal.Volume.from_name("v2", create_if_missing=True, version=2)
    _upload(volume, "/big", WEIGHTS)
    cloud.faults.cut_downloads, cloud.faults.cut_after_bytes = 1, 1 << 20

    assert _read(volume, "big") == WEIGHTS
    assert cloud.faults.cut_downloads == 0


def test_container_has_the_files_of_its_start(sample_engine, other_engine):
    weights = modal.Volume.from_name("sample-weights")
    _upload(weights, "/first", b"1")
    assert sample_engine.inspect.remote({})["weights"] == ["first"]
    _upload(weights, "/second", b"2")

    assert sample_engine.inspect.remote({})["weights"] == ["first"]
    assert other_engine.inspect.remote({})["weights"] == ["first", "second"]


def test_read_only_volume_cannot_be_written(sample_engine):
    assert sample_engine.break_rules.remote({})["weights"] == "Read-only file system"


def test_committed_file_reaches_the_client(cloud, sample_engine, rpcs):
    sample_engine.write.remote({"name": "out.mp4", "data": b"video", "commit": True})

    assert cloud.volume("sample-jobs").files()["out.mp4"] == b"video"
    assert _read(modal.Volume.from_name("sample-jobs"), "out.mp4") == b"video"
    assert rpcs.count("VolumeCommit") == 1


def test_forgotten_commit_shows(cloud, sample_engine, other_engine):
    request = {"name": "forgotten", "data": b"video", "commit": False}
    sample_engine.write.remote(request)

    assert "forgotten" not in cloud.volume("sample-jobs").files()
    assert sample_engine.read.remote({"name": "forgotten"}) == b"video"
    assert other_engine.read.remote({"name": "forgotten", "reload": True}) is None


def test_forgotten_reload_shows(sample_engine, other_engine):
    other_engine.inspect.remote({})
    sample_engine.write.remote({"name": "shared", "data": b"1", "commit": True})

    assert other_engine.read.remote({"name": "shared"}) is None
    assert other_engine.read.remote({"name": "shared", "reload": True}) == b"1"


def test_reload_with_an_open_file_is_refused(sample_engine):
    sample_engine.write.remote({"name": "held", "data": b"1", "commit": True})

    with pytest.raises(modal.exception.RemoteError, match="there are open files"):
        sample_engine.read.remote({"name": "held", "hold": True})


def test_killed_container_loses_what_it_did_not_commit(cloud, sample_engine):
    sample_engine.write.remote({"name": "lost", "data": b"1", "commit": False})
    (container,) = [item for item in cloud.containers() if item.gpu == "H100"]

    cloud.kill(container)
    cloud.wait_until(lambda: container.dead, "the container is gone")

    assert sample_engine.read.remote({"name": "lost"}) is None
    assert "lost" not in cloud.volume("sample-jobs").files()


def test_container_that_ends_well_commits(cloud, sample_engine):
    sample_engine.write.remote({"name": "late", "data": b"1", "commit": False})
    (container,) = [item for item in cloud.containers() if item.gpu == "H100"]

    cloud.stop_container(container)
    cloud.wait_until(lambda: container.dead, "the container is gone")

    assert cloud.volume("sample-jobs").files()["late"] == b"1"


@pytest.fixture
def views(tmp_path):
    """Two containers' views of a volume that holds one file."""
    head = tmp_path / "head"
    (head / "folder").mkdir(parents=True)
    (head / "folder" / "a").write_text("old")
    volume = Volume("test", 1, head)
    return volume, View(volume, tmp_path / "one"), View(volume, tmp_path / "two")


def test_commit_publishes_writes_and_removals(views):
    volume, one, _ = views
    (one.folder / "b").write_text("new")
    (one.folder / "folder" / "a").unlink()
    (one.folder / "folder").rmdir()

    one.commit()

    assert volume.files() == {"b": b"new"}
    assert not (volume.head / "folder").exists()


def test_commits_of_different_files_do_not_undo_each_other(views):
    volume, one, two = views
    (one.folder / "b").write_text("1")
    (two.folder / "c").write_text("2")

    one.commit()
    two.commit()

    assert sorted(volume.files()) == ["b", "c", "folder/a"]


def test_reload_takes_changes_and_keeps_own_uncommitted_ones(views):
    volume, one, two = views
    (one.folder / "folder" / "a").write_text("newer")
    (one.folder / "b").write_text("1")
    one.commit()
    (two.folder / "b").write_text("mine")

    two.reload()

    assert (two.folder / "folder" / "a").read_text() == "newer"
    assert (two.folder / "b").read_text() == "mine"
    assert volume.files()["b"] == b"1"
    two.commit()
    assert volume.files()["b"] == b"mine"


def test_reload_removes_what_others_removed(views):
    _, one, two = views
    (one.folder / "folder" / "a").unlink()
    one.commit()

    two.reload()

    assert not (two.folder / "folder" / "a").exists()
    assert two.uncommitted() == ([], [])


def test_dict_is_made_by_its_first_use_and_claims_once(cloud):
    entries = modal.Dict.from_name("claims", create_if_missing=True)

    assert entries.put("job", json.dumps("first"), skip_if_exists=True) is True
    assert entries.put("job", json.dumps("second"), skip_if_exists=True) is False
    assert cloud.entries("claims") == {"job": '"first"'}


def test_dict_has_the_usual_methods():
    entries = modal.Dict.from_name("usual", create_if_missing=True)
    entries.update({"a": 1, "b": 2})

    assert (entries.len(), entries.pop("a"), entries.get("a")) == (2, 1, None)
    assert "b" in entries
    assert list(entries.items()) == [("b", 2)]
    with pytest.raises(modal.exception.NotFoundError):
        modal.Dict.from_name("absent").hydrate()


def test_only_one_container_owns_a_job(sample_engine, other_engine):
    first = sample_engine.generate.remote({"job": "owned", "steps": 1})
    second = other_engine.generate.remote({"job": "owned", "steps": 1})

    assert first == {"steps": 1, "first": 0}
    assert second == {"failed": "duplicate"}


def test_queue_keeps_order_per_partition():
    queue = modal.Queue.from_name("line", create_if_missing=True)
    queue.put_many([1, 2, 3], partition="a")
    queue.put(9, partition="b")

    assert queue.get_many(2, partition="a") == [1, 2]
    assert (queue.len(partition="a"), queue.len(total=True)) == (1, 2)


def test_deploy_without_a_demanded_secret_fails_and_changes_nothing(cloud, client_env):
    version = cloud.state.app("", APP).version

    done = deploy(cloud, client_env, SAMPLE_WITH_SECRET="1")

    assert done.returncode == 1
    assert "aws-secret" in done.stdout + done.stderr
    assert cloud.state.app("", APP).version == version


def test_secret_reaches_the_container_after_a_redeploy(cloud, sample_engine, client_env):
    assert sample_engine.inspect.remote({})["key"] is None
    modal.Secret.objects.create("aws-secret", {"AWS_ACCESS_KEY_ID": "AKIA"})

    assert deploy(cloud, client_env, SAMPLE_WITH_SECRET="1").returncode == 0

    fresh = modal.Cls.from_name(APP, "Engine")()
    assert fresh.inspect.remote({})["key"] == "AKIA"
    assert cloud.secret("aws-secret") == {"AWS_ACCESS_KEY_ID": "AKIA"}


def test_secret_is_made_once_and_updated(cloud):
    modal.Secret.objects.create("hf", {"A": "1"})
    modal.Secret.from_name("hf").update({"B": "2"})

    with pytest.raises(modal.exception.AlreadyExistsError):
        modal.Secret.objects.create("hf", {"A": "3"})
    assert cloud.secret("hf") == {"A": "1", "B": "2"}
    assert "hf" in [secret.name for secret in modal.Secret.objects.list()]
    modal.Secret.objects.delete("hf")
    with pytest.raises(modal.exception.NotFoundError):
        modal.Secret.from_name("hf").hydrate()


def test_secret_without_a_required_key_is_refused():
    modal.Secret.objects.create("partial", {"A": "1"})

    with pytest.raises(modal.exception.NotFoundError, match=r"missing key\(s\): B"):
        modal.Secret.from_name("partial", required_keys=["A", "B"]).hydrate()
