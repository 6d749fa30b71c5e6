"""Files straight to memory, or through pinned buffers to a card, by readers side by side."""

import itertools
import os
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor

from remote.engine.tensorfile import TensorFile

_READERS = 8
_PIECE_BYTES = 16 * 2**20
_ALIGNMENT = 16  # bytes; kernels read this much at once

Progress = Callable[[int], None]  # bytes of a piece that has arrived; raising stops the read


class _Buffer:
    """Pinned memory, and when what it held has arrived on the card."""

    def __init__(self, size: int, device: torch.device) -> None:
        self.memory = torch.empty(size, dtype=torch.uint8, pin_memory=True)
        self.stream = torch.cuda.Stream(device)
        self.copied = torch.cuda.Event()


class _Pieces:
    """The pieces of one part of a file, handed out to whoever reads next."""

    def __init__(self, file: int, start: int, target: Tensor, piece_bytes: int) -> None:
        self.file = file
        self.arrived: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._left_bytes = target.numel()
        parts = target.split(piece_bytes) if target.numel() else ()
        # Taking the next of a list's iterator is one step, which no other thread divides.
        self._places = iter([(start + i * piece_bytes, part) for i, part in enumerate(parts)])
        self._is_stopped = False

    def __iter__(self) -> Iterator[tuple[int, Tensor]]:
        for place in self._places:
            if self._is_stopped:
                return
            yield place

    def arrivals(self) -> Iterator[int]:
        """Yields the bytes of each piece when it has arrived, until all have or one cannot."""
        while self._left_bytes and (size := self.arrived.get()) is not None:
            self._left_bytes -= size
            yield size

    def stop(self) -> None:
        """Lets nobody begin another piece."""
        self._is_stopped = True
        self.arrived.put(None)


class ParallelReader:
    """Reads parts of files into memory of a device, piece by piece and side by side."""

    def __init__(
        self, device: torch.device, readers: int = _READERS, piece_bytes: int = _PIECE_BYTES
    ) -> None:
        self._device, self._readers, self._piece_bytes = device, readers, piece_bytes
        self._pool = ThreadPoolExecutor(readers, "reader")
        self._own = threading.local()
        self._buffers: list[_Buffer] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def read(self, path: Path, start: int, size: int, progress: Progress) -> Tensor:
        """Gives size bytes of a file from start on, [size] uint8 on the device.

        Raises ValueError where the file ends before.
        """
        # Whoever reads may be in inference mode; the readers, which write, are not.
        with torch.inference_mode(False):
            target = torch.empty(size, dtype=torch.uint8, device=self._device)
        with path.open("rb", buffering=0) as file:
            pieces = _Pieces(file.fileno(), start, target, self._piece_bytes)
            reading = [self._pool.submit(self._read_pieces, pieces) for _ in range(self._readers)]
            try:
                for arrived in pieces.arrivals():
                    progress(arrived)
                for reader in reading:
                    reader.result()
            finally:
                pieces.stop()
                wait(reading)  # a piece that was begun is still written to the target
                for buffer in self._buffers:
                    buffer.copied.synchronize()
        return target

    def _read_pieces(self, pieces: "_Pieces") -> None:
        """Reads one piece after another until none is left."""
        for position, target in pieces:
            try:
                self._read_piece(pieces.file, position, target)
            except BaseException:
                pieces.stop()
                raise
            pieces.arrived.put(target.numel())

    def _read_piece(self, file: int, position: int, target: Tensor) -> None:
        if self._device.type == "cpu":
            array: Any = target.numpy()
            _fill(file, memoryview(array), position)
            return
        buffer = self._buffer()
        buffer.copied.synchronize()
        part = buffer.memory[: target.numel()]
        array = part.numpy()
        _fill(file, memoryview(array), position)
        with torch.cuda.stream(buffer.stream):
            target.copy_(part, non_blocking=True)
            buffer.copied.record()

    def _buffer(self) -> _Buffer:
        """The calling reader's other buffer: one is copied to the card while one is filled."""
        if not hasattr(self._own, "buffers"):
            pair = [_Buffer(self._piece_bytes, self._device) for _ in range(2)]
            self._own.buffers = itertools.cycle(pair)
            self._buffers += pair
        buffer: _Buffer = next(self._own.buffers)
        return buffer


def _fill(file: int, buffer: memoryview, position: int) -> None:
    filled = 0
    while filled < len(buffer):
        count = os.preadv(file, [buffer[filled:]], position + filled)
        if not count:
            raise ValueError("the file ends early")
        filled += count


def read_tensors(
    reader: ParallelReader, file: TensorFile, progress: Progress
) -> Iterator[tuple[str, Tensor]]:
    """Yields all tensors of an open file, in its order, as parts of one piece of memory."""
    data = reader.read(file.path, file.data_start, file.data_bytes, progress)
    for name, info in file.infos.items():
        start = file.starts[name]
        part = data[start : start + info.size_bytes]
        if start % _ALIGNMENT:
            part = part.clone()
        yield name, part.view(info.dtype).view(info.shape)
