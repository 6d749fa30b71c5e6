"""Published files in parts: written once each, resumed, verified, and packed like whole ones."""

import itertools
import random
from dataclasses import replace

import pytest

from multitalk_cli.errors import StorageError
from multitalk_cli.storage.hub import Hub
from remote.weights import download, resumable
from remote.weights.manifest import load_manifest
from remote.weights.pack import pack
from tests.engine import tiny
from tests.engine.published import write_published_checkpoint
from tests.remote.weights.test_download import QUICK, SHARD, client, make_plan, small_repos
from tests.storage.fakehub import published_repos, serving

PART_BYTES = 20_000


@pytest.fixture
def hub():
    with serving(small_repos()) as served:
        yield served


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "weights"


def steps(hub, folder, plan, seen=None):
    """A download in parts; seen: what is saved, name -> content of each file at each save."""

    def save():
        if seen is not None:
            files = (path for path in folder.rglob("*") if path.is_file())
            seen.append({path: path.read_bytes() for path in files})

    client = Hub(hub.url, None, replace(QUICK, piece_bytes=4096))
    return download.fetch(folder, plan, client, save, PART_BYTES)


def content(folder, file):
    path = folder / download.place_of(file)
    found = resumable.files_of(path, file.size_bytes, file.sha256)
    return b"".join(each.read_bytes() for each in found)


def is_whole(hub, folder, plan):
    return all(
        content(folder, file) == hub.repos[file.repo][file.path] for file in plan.sources.files
    )


def test_no_file_that_was_saved_is_ever_written_again(hub, folder):
    plan, saved = make_plan(hub, folder), []

    list(steps(hub, folder, plan, saved))

    assert is_whole(hub, folder, plan)
    assert download.verify(folder, plan.sources) == []
    assert plan.missing_bytes(folder) == 0
    for before, after in itertools.pairwise(saved):
        assert all(after[path] == data for path, data in before.items())
    assert max(len(data) for data in saved[-1].values()) < PART_BYTES + 2 * 16 * 1024


@pytest.mark.parametrize("seed", range(5))
def test_a_download_that_is_stopped_anywhere_goes_on_there(hub, folder, seed):
    plan, chance = make_plan(hub, folder), random.Random(seed)
    hub.sent_bytes = 0
    for _ in range(10):
        running = steps(hub, folder, plan)
        for _ in range(chance.randrange(1, 30)):
            if next(running, None) is None:
                break
        running.close()

    list(steps(hub, folder, plan))

    assert is_whole(hub, folder, plan)


def test_a_half_done_file_of_the_earlier_layout_is_the_first_part(hub, folder):
    plan = make_plan(hub, folder)
    (shard,) = [file for file in plan.sources.files if file.path == SHARD]
    data = hub.repos[shard.repo][SHARD]
    folder.mkdir()
    resumable.part_path(folder / SHARD, shard.sha256).write_bytes(data[:123_456])

    list(steps(hub, folder, plan))

    assert is_whole(hub, folder, plan)
    assert [span for path, span, _ in hub.requests if path.endswith(SHARD)] == ["bytes=123456-"]


def test_a_whole_file_that_was_not_compared_is_compared_and_named(hub, folder):
    plan = make_plan(hub, folder)
    (shard,) = [file for file in plan.sources.files if file.path == SHARD]
    folder.mkdir()
    part = resumable.part_path(folder / SHARD, shard.sha256)
    part.write_bytes(hub.repos[shard.repo][SHARD])

    list(steps(hub, folder, plan))

    assert is_whole(hub, folder, plan)
    assert (folder / SHARD).exists()
    assert not part.exists()


def test_a_damaged_part_costs_one_more_fetch_and_lies_are_not_kept(hub, folder):
    plan = make_plan(hub, folder)
    (shard,) = [file for file in plan.sources.files if file.path == SHARD]
    folder.mkdir()
    resumable.part_path(folder / SHARD, shard.sha256).write_bytes(bytes(50_000))
    list(steps(hub, folder, plan))
    assert is_whole(hub, folder, plan)

    download.discard(folder, list(plan.sources.files))
    hub.faults.lies = 100
    with pytest.raises(StorageError, match="other content"):
        list(steps(hub, folder, plan))
    assert not list(folder.rglob("*.part"))


def test_parts_in_use_are_no_strays_and_are_discarded_with_their_file(hub, folder):
    plan = make_plan(hub, folder)
    list(steps(hub, folder, plan))
    stray = folder / f"{SHARD}.{'0' * 12}.20000.part"
    stray.write_bytes(b"x")

    assert download.strays(folder, plan.sources, {}) == [stray]
    download.discard(folder, list(plan.sources.files))
    assert list(folder.rglob("*.part")) == [stray]


def test_a_pack_of_parts_is_that_of_whole_files(golden_dir, tmp_path):
    config = tiny.tiny_model_config(golden_dir)
    repos = published_repos(write_published_checkpoint(golden_dir, tmp_path / "published"))
    with serving(repos) as hub:
        plan = make_plan(hub, tmp_path / "parts")
        list(steps(hub, tmp_path / "parts", plan))
        list(download.fetch(tmp_path / "whole", plan, client(hub)))

    for name in ("parts", "whole"):
        pack(tmp_path / name, tmp_path / name / "pack", "bf16", config)

    in_parts = download.files_in_parts(tmp_path / "parts", plan.sources.files)
    assert len(in_parts) >= 5
    assert load_manifest(tmp_path / "parts/pack") == load_manifest(tmp_path / "whole/pack")
