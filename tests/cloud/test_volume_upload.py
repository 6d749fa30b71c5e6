"""Files into a Volume, with the bytes sent so far."""

import modal
import pytest

from multitalk_cli.cloud.volume_upload import _SentBytes, upload_files

LARGE_BYTES = 5_000_000
"""More than Modal's client sends in one message."""


@pytest.mark.parametrize("version", [1, 2])
def test_the_bytes_sent_are_reported_whatever_the_volume_s_version(cloud, tmp_path, version):
    name, sent = f"version-{version}", []
    files = {"/pack/large": tmp_path / "large", "/pack/small": tmp_path / "small"}
    for file, size in zip(files.values(), (LARGE_BYTES, 10), strict=True):
        file.write_bytes(bytes([version]) * size)
    volume = modal.Volume.from_name(name, create_if_missing=True, version=version)

    upload_files(volume, files, sent.append)

    assert sent == sorted(sent)
    assert sent[-1] == LARGE_BYTES + 10
    held = {path.lstrip("/"): file.read_bytes() for path, file in files.items()}
    assert cloud.volume(name).files() == held


def test_a_piece_that_is_sent_again_counts_once():
    seen = []
    report = _SentBytes(seen.append)
    first, second = report(name="a", size=100), report(name="b", size=50)

    report(first, advance=60)
    report(task_id=first, advance=-60)
    report(first, advance=100)
    report(second, advance=30)
    report(second, reset=True)
    report(task_id=second, complete=True)
    report(complete=True)

    assert seen == [60, 0, 100, 130, 100, 150]
