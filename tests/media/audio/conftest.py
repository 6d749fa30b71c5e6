"""Loads sounds out of bytes."""

import pytest

from multitalk_cli.media.audio.layout import read_layout
from multitalk_cli.media.audio.voice import load_voice


@pytest.fixture
def load(tmp_path):
    """Loads the voice that a file with these bytes holds."""

    def call(content: bytes, name: str = "a", **options):
        (tmp_path / name).write_bytes(content)
        return load_voice(tmp_path / name, **options)

    return call


@pytest.fixture
def layout_of(tmp_path):
    """Reads the structure of a file with these bytes, without decoding it."""

    def call(content: bytes):
        (tmp_path / "a").write_bytes(content)
        with (tmp_path / "a").open("rb") as file:
            return read_layout(tmp_path / "a", file)

    return call
