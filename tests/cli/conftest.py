"""Every test of the command line works in an empty folder."""

import pytest


@pytest.fixture(autouse=True)
def _in_folder(folder):
    assert not list(folder.iterdir())
