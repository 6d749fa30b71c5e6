"""Safetensors files, read and written one tensor at a time with plain file reads and writes.

Memory holds one tensor, not the file, and the bytes read are the bytes asked for.
"""

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor

from remote.engine.checkpoint.joined import JoinedFile

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_MAX_HEADER_BYTES = 100_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorInfo:
    """Type and shape of a stored tensor."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


class TensorFile:
    """An open safetensors file. Its header is untrusted: ValueError where it does not fit."""

    def __init__(self, path: Path, parts: Sequence[Path] = ()) -> None:
        """parts: the files that hold the content of `path`, where that is not one file."""
        self.path = path
        self.bytes_read = 0
        self._file = JoinedFile(parts) if parts else path.open("rb", buffering=0)
        try:
            self.data_start, self.infos, self.starts = self._read_header()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    @property
    def data_bytes(self) -> int:
        """Bytes of all tensors together, from data_start on, without gaps."""
        return sum(info.size_bytes for info in self.infos.values())

    def read(self, name: str) -> Tensor:
        """Reads one tensor into memory of its own."""
        info = self.infos[name]
        raw = torch.empty(info.size_bytes, dtype=torch.uint8)
        self._file.seek(self.data_start + self.starts[name])
        self._fill(bytes_of(raw))
        return raw.view(info.dtype).view(info.shape)

    def _fill(self, buffer: memoryview) -> None:
        filled = 0
        while filled < len(buffer):
            count = self._file.readinto(buffer[filled:])
            if not count:
                raise ValueError(f"{self.path.name} ends early")
            filled += count
        self.bytes_read += filled

    def _read_header(self) -> tuple[int, dict[str, TensorInfo], dict[str, int]]:
        size = self._file.seek(0, os.SEEK_END)
        self._file.seek(0)
        prefix = bytearray(8)
        self._fill(memoryview(prefix))
        length = int.from_bytes(prefix, "little")
        if length > min(_MAX_HEADER_BYTES, size - 8):
            raise ValueError(f"{self.path.name} has a header of {length} bytes, too many")
        text = bytearray(length)
        self._fill(memoryview(text))
        infos, starts = _parse_header(bytes(text), size - 8 - length, self.path.name)
        return 8 + length, infos, starts


def _parse_header(
    text: bytes, data_bytes: int, file: str
) -> tuple[dict[str, TensorInfo], dict[str, int]]:
    """The type, shape and offset of each tensor; tensors must fill the data without gaps."""
    try:
        header: dict[str, Any] = json.loads(text.decode())
        header.pop("__metadata__", None)
        # A name that is no text could not be shown later.
        "".join(header).encode()
        types = {name: str(item["dtype"]) for name, item in header.items()}
        shapes = {name: tuple(map(int, item["shape"])) for name, item in header.items()}
        ranges = {name: tuple(map(int, item["data_offsets"])) for name, item in header.items()}
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        # Their repr would hold the whole header.
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"{file} has a header that cannot be read: {reason:.200}") from error
    unknown = sorted(set(types.values()) - _DTYPES.keys())
    if unknown:
        raise ValueError(f"{file} has tensors of type {unknown[0]!r:.40}, which is not supported")
    infos = {n: TensorInfo(dtype=_DTYPES[types[n]], shape=shape) for n, shape in shapes.items()}
    position = 0
    for name, span in sorted(ranges.items(), key=lambda item: item[1]):
        size = infos[name].size_bytes
        if span != (position, position + size) or min(infos[name].shape, default=1) < 0:
            raise ValueError(f"{file}: {name} lies at {span}, expected {size} bytes at {position}")
        position += size
    if position != data_bytes:
        raise ValueError(f"{file} holds {data_bytes} bytes of tensors, its header lists {position}")
    return infos, {name: span[0] for name, span in ranges.items()}


def write_tensor_file(
    path: Path, infos: Mapping[str, TensorInfo], tensors: Iterable[Tensor]
) -> tuple[int, str]:
    """Writes tensors in the order of infos. Returns the size in bytes and the sha256."""
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as file:
        for part in _parts(infos, tensors):
            file.write(part)
            digest.update(part)
            size += len(part)
        file.flush()
        os.fsync(file.fileno())
    return size, digest.hexdigest()


def _parts(infos: Mapping[str, TensorInfo], tensors: Iterable[Tensor]) -> Iterable[memoryview]:
    yield memoryview(_header(infos))
    for (name, info), tensor in zip(infos.items(), tensors, strict=True):
        if (tensor.dtype, tuple(tensor.shape)) != (info.dtype, info.shape):
            raise ValueError(f"{name} is {tensor.dtype} {tuple(tensor.shape)}, announced {info}")
        yield bytes_of(tensor.contiguous().reshape(-1).view(torch.uint8))


def _header(infos: Mapping[str, TensorInfo]) -> bytes:
    position, header = 0, {}
    for name, info in infos.items():
        end = position + info.size_bytes
        header[name] = {
            "dtype": _NAMES[info.dtype],
            "shape": list(info.shape),
            "data_offsets": [position, end],
        }
        position = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def bytes_of(raw: Tensor) -> memoryview:
    """The memory of a uint8 tensor on the CPU, without a copy."""
    array: Any = raw.numpy()
    return memoryview(array)
