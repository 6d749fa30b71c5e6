"""The stages timed before the first step, with a model of a few channels."""

import json

import pytest

from remote.bench import startup
from remote.engine.checkpoint.published import COMPONENTS
from remote.weights.manifest import load_manifest, verify_pack
from tests.remote.bench.test_bench import SMALL


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    folder = tmp_path_factory.mktemp("start") / "pack"
    startup.write_random_pack(folder, SMALL, startup.torch.device("cpu"))
    return folder


def test_the_pack_of_random_weights_is_a_whole_pack(pack):
    assert verify_pack(pack, load_manifest(pack)) == []
    assert set(load_manifest(pack).index) == set(COMPONENTS)


def test_readers_and_pieces_are_compared_with_a_plain_read(pack):
    rows = startup.measure_reading(pack, startup.torch.device("cpu"), (2,), (1,))
    assert [row["source"] for row in rows] == ["file cache", "disk"]
    for row in rows:
        assert row["ours_least"] <= row["ours"] <= row["ours_most"]
        assert row["ratio"] == row["ours"] / row["plain"] > 0


@pytest.mark.long
def test_the_command_times_three_processes_from_their_start(pack, tmp_path, capsys):
    path = tmp_path / "report.json"
    words = ["--weights", str(pack), "--size", "32x32", "--frames", "9", "--json", str(path)]
    assert startup.main(words) == 0
    starts = json.loads(path.read_text())["starts"]
    assert list(starts) == ["nothing kept", "kernels kept", "all kept"]
    for row in starts.values():
        stages = ["imports", "weights", "prepare", "encode", "first forward", "first step"]
        assert list(row) == stages
        assert sorted(row.values()) == list(row.values())
    assert "first step" in capsys.readouterr().out
