"""The recorded tiny checkpoint, packed once, and its model."""

import pytest

from remote.store import DirectoryStore
from tests.remote.requests import open_model, write_tiny_pack


@pytest.fixture(scope="session")
def tiny_pack(golden_dir, tmp_path_factory):
    """A folder with the tiny checkpoint, packed in float32 from its published files."""
    return write_tiny_pack(golden_dir, tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def model(tiny_pack):
    """The tiny model, loaded on first use and kept."""
    return open_model(tiny_pack)


@pytest.fixture
def store(tmp_path):
    return DirectoryStore(tmp_path / "jobs")
