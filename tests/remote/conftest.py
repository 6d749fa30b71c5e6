"""The recorded tiny checkpoint as a model."""

import pytest

from remote.service.store import DirectoryStore
from tests.remote.requests import open_model


@pytest.fixture(scope="session")
def model(tiny_pack):
    """The tiny model, loaded on first use and kept."""
    return open_model(tiny_pack)


@pytest.fixture
def store(tmp_path):
    return DirectoryStore(tmp_path / "jobs")
