"""The recorded tiny checkpoint, packed once, and its model."""

import pytest

from remote.store import DirectoryStore
from remote.weights import pack
from tests.engine import tiny
from tests.engine.published import write_published_checkpoint
from tests.remote.requests import open_model


@pytest.fixture(scope="session")
def tiny_pack(golden_dir, tmp_path_factory):
    """A folder with the tiny checkpoint, packed in float32 from its published files."""
    source = write_published_checkpoint(golden_dir, tmp_path_factory.mktemp("published"))
    target = tmp_path_factory.mktemp("pack")
    pack(source, target, "fp32", tiny.tiny_model_config(golden_dir))
    return target


@pytest.fixture(scope="session")
def model(tiny_pack):
    """The tiny model, loaded on first use and kept."""
    return open_model(tiny_pack)


@pytest.fixture
def store(tmp_path):
    return DirectoryStore(tmp_path / "jobs")
