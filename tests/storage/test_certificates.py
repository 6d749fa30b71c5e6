"""Files that encrypted connections need."""

import pytest

from multitalk_cli.cli.next_command import next_command
from multitalk_cli.errors import SetupError
from multitalk_cli.storage.access import Access, connect
from multitalk_cli.storage.certificates import require_key_log
from multitalk_cli.storage.hub import Hub
from tests.storage.stores import use_credentials


def _connect():
    connect(Access(endpoint_url="https://127.0.0.1:9"))


def _open_hub():
    Hub.with_token(None)


@pytest.mark.parametrize("use", [require_key_log, _connect, _open_hub])
def test_a_log_of_keys_that_cannot_be_written_is_named(monkeypatch, tmp_path, use):
    """Left over from an analysis: no library of Python's can encrypt with it."""
    use_credentials(monkeypatch, "https://127.0.0.1:9")
    path = tmp_path / "absent" / "keys"
    monkeypatch.setenv("SSLKEYLOGFILE", str(path))

    with pytest.raises(SetupError) as caught:
        use()

    reason = "which cannot be written: No such file or directory"
    assert caught.value.message == f"SSLKEYLOGFILE is {str(path)!r}, {reason}"
    assert next_command(caught.value, ["s3", "ls"]) == "unset SSLKEYLOGFILE"


def test_a_log_of_keys_that_can_be_written_is_left_alone(monkeypatch, tmp_path):
    path = tmp_path / "keys"
    path.write_text("CLIENT_RANDOM 1 2\n")
    monkeypatch.setenv("SSLKEYLOGFILE", str(path))

    require_key_log()

    assert path.read_text() == "CLIENT_RANDOM 1 2\n"
