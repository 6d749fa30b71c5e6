"""Safetensors files are read and written as the safetensors library does."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from remote.engine.checkpoint.tensorfile import TensorFile, TensorInfo, write_tensor_file

TENSORS = {
    "b.weight": torch.arange(6, dtype=torch.float32).view(2, 3),
    "a": torch.tensor(2.5, dtype=torch.bfloat16),
    "half": torch.ones(4, dtype=torch.float16),
    "eight": torch.tensor([1.0, -448.0]).to(torch.float8_e4m3fn),
    "empty": torch.zeros(0, 3),
    "ids": torch.tensor([3, -1]),
}


def _infos(tensors):
    return {
        name: TensorInfo(dtype=value.dtype, shape=tuple(value.shape))
        for name, value in tensors.items()
    }


def _same(given, wanted):
    return given.dtype == wanted.dtype and torch.equal(given.float(), wanted.float())


def test_reads_what_the_library_wrote(tmp_path):
    save_file(TENSORS, tmp_path / "x.safetensors", metadata={"format": "pt"})
    with TensorFile(tmp_path / "x.safetensors") as file:
        assert set(file.infos) == set(TENSORS)
        assert all(_same(file.read(name), value) for name, value in TENSORS.items())
        assert file.bytes_read == (tmp_path / "x.safetensors").stat().st_size


def test_the_library_reads_what_was_written(tmp_path):
    path = tmp_path / "x.safetensors"
    size, _ = write_tensor_file(path, _infos(TENSORS), TENSORS.values())
    assert size == path.stat().st_size
    loaded = load_file(path)
    assert all(_same(loaded[name], value) for name, value in TENSORS.items())


def test_order_is_kept(tmp_path):
    write_tensor_file(tmp_path / "x", _infos(TENSORS), TENSORS.values())
    with TensorFile(tmp_path / "x") as file:
        assert list(file.infos) == list(TENSORS)


def test_a_tensor_that_is_not_as_announced_is_refused(tmp_path):
    with pytest.raises(ValueError, match="ids is torch"):
        write_tensor_file(tmp_path / "x", _infos({"ids": TENSORS["ids"]}), [torch.zeros(2)])


def _file(path, header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def _entry(shape, start, end, dtype="U8"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


@pytest.mark.parametrize(
    ("header", "data"),
    [
        (b"{", b""),
        (b"[]", b""),
        ({"a": _entry([4], 0, 4, "F7")}, b"1234"),
        ({"a": {"dtype": "U8"}}, b""),
        ({"a": _entry([4], 0, 4)}, b"123"),
        ({"a": _entry([4], 0, 4)}, b"12345"),
        ({"a": _entry([4], 1, 5)}, b"12345"),
        ({"a": _entry([3], 0, 4)}, b"1234"),
        ({"a": _entry([-2, -2], 0, 4)}, b"1234"),
        ({"a": _entry([4], 0, 4), "b": _entry([4], 2, 6)}, b"123456"),
    ],
)
def test_headers_that_do_not_fit_are_refused(tmp_path, header, data):
    with pytest.raises(ValueError, match=r"bad\.safetensors"):
        TensorFile(_file(tmp_path / "bad.safetensors", header, data))


def test_a_header_longer_than_the_file_is_refused(tmp_path):
    path = tmp_path / "bad.safetensors"
    path.write_bytes((10**12).to_bytes(8, "little") + b"{}")
    with pytest.raises(ValueError, match=r"a header of \d+ bytes, too many"):
        TensorFile(path)


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "x").touch()
    with pytest.raises(ValueError, match="x ends early"):
        TensorFile(tmp_path / "x")
