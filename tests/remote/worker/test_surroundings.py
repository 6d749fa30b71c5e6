"""What a container finds out about the machine under it, here one without a GPU."""

import errno

from remote.worker import surroundings
from remote.worker.surroundings import describe_surroundings, time_commit, try_expandable_segments
from tests.remote.worker.test_generate import Volume


class SeeingVolume(Volume):
    """Notes the sizes of the files in its folder at each commit."""

    def __init__(self, folder):
        self.folder, self.seen = folder, []

    def commit(self):
        self.seen.append([path.stat().st_size for path in self.folder.iterdir()])


class FullVolume(Volume):
    """Takes nothing."""

    def commit(self):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_without_a_gpu_what_needs_one_is_not_tried(tmp_path):
    found = describe_surroundings(tmp_path, Volume())

    nothing = {"works": None, "reason": "no GPU"}
    assert (found["pinned"], found["segments"]) == (nothing, nothing)
    assert found["volume"]["works"]
    assert found["memory"]["peak_bytes"] > 50e6
    assert found["memory"]["kernel"]


def test_a_commit_is_timed_with_a_file_that_is_removed_again(tmp_path):
    volume = SeeingVolume(tmp_path)

    found = time_commit(tmp_path, volume, 1000)

    assert volume.seen == [[1000], []]
    assert found["bytes"] == 1000
    assert found["write_s"] >= 0
    assert found["commit_s"] >= 0


def test_what_fails_is_told_beside_the_rest(tmp_path):
    found = describe_surroundings(tmp_path, FullVolume())

    assert found["volume"]["works"] is False
    assert "No space left" in found["volume"]["reason"]
    assert list(tmp_path.iterdir()) == []
    assert found["memory"]["works"]


def test_segments_that_nobody_asked_for_are_not_tried(monkeypatch):
    monkeypatch.setenv(surroundings.ALLOCATOR_VARIABLE, "max_split_size_mb:64")

    assert try_expandable_segments()["works"] is None
