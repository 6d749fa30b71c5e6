"""Readers side by side bring what is in the file, whatever the pieces."""

import pytest
import torch

from remote.engine.checkpoint.reading import ParallelReader, read_tensors
from remote.engine.checkpoint.tensorfile import TensorFile, TensorInfo, write_tensor_file

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def written():
    generator = torch.Generator().manual_seed(1)
    return {
        "odd": torch.randint(0, 99, (3,), dtype=torch.uint8, generator=generator),
        "matrix": torch.randn(37, 5, generator=generator),
        "half": torch.randn(64, generator=generator).bfloat16(),
    }


@pytest.fixture(scope="module")
def path(written, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "file.safetensors"
    ordered = {name: written[name] for name in ("half", "matrix", "odd")}
    infos = {n: TensorInfo(dtype=t.dtype, shape=tuple(t.shape)) for n, t in ordered.items()}
    write_tensor_file(path, infos, ordered.values())
    return path


@pytest.mark.parametrize("piece_bytes", [1, 7, 1000])
def test_every_tensor_arrives(written, path, piece_bytes):
    sizes = []
    with (
        ParallelReader(CPU, readers=3, piece_bytes=piece_bytes) as reader,
        TensorFile(path) as file,
    ):
        given = dict(read_tensors(reader, file, sizes.append))
        assert sum(sizes) == file.data_bytes
    assert list(given) == ["half", "matrix", "odd"]
    for name, tensor in written.items():
        assert torch.equal(given[name], tensor)


def test_a_file_that_ends_early_is_refused(path):
    with ParallelReader(CPU) as reader, pytest.raises(ValueError, match="ends early"):
        reader.read(path, 0, path.stat().st_size + 1, lambda _: None)


def test_whoever_watches_may_stop_the_read(path):
    def stop(_):
        raise InterruptedError

    with ParallelReader(CPU, piece_bytes=8) as reader, pytest.raises(InterruptedError):
        reader.read(path, 0, path.stat().st_size, stop)


def test_no_bytes_are_no_pieces(path):
    with ParallelReader(CPU) as reader:
        assert len(reader.read(path, 8, 0, lambda _: None)) == 0
