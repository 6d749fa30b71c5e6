"""Files straight to memory, or through pinned buffers to a GPU, by readers side by side."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Self

import torch
from torch import Tensor

from remote.engine.checkpoint.tensorfile import TensorFile, bytes_of

# As measured between the file cache and an H100: more readers wait for Python, and larger pieces
# leave the processor's caches.
_READERS = 12
_PIECE_BYTES = 8 * 2**20
_COPIES = 4  # on their way to the GPU at once
_ALIGNMENT = 16  # bytes; kernels read this much at once

Progress = Callable[[int], None]  # bytes of a piece that has arrived; raising stops the read


class _Buffer:
    """Pinned memory, and when what it held has arrived on the GPU."""

    def __init__(self, size: int) -> None:
        self.memory = torch.empty(size, dtype=torch.uint8, pin_memory=True)
        self.bytes = bytes_of(self.memory)
        self.copied = torch.cuda.Event()


@dataclass(frozen=True, slots=True)
class _Filled:
    """A piece that was read: straight to its target, or to a buffer."""

    target: Tensor
    buffer: _Buffer | None


class _Pieces:
    """The pieces of one part of a file, each for whoever asks next."""

    def __init__(self, file: int, start: int, target: Tensor, piece_bytes: int) -> None:
        self.file = file
        self.filled: SimpleQueue[_Filled | None] = SimpleQueue()
        parts = target.split(piece_bytes) if target.numel() else ()
        self.count = len(parts)
        self._places = iter([(start + i * piece_bytes, part) for i, part in enumerate(parts)])
        self._asking = threading.Lock()
        self._is_stopped = False

    def next(self) -> tuple[int, Tensor] | None:
        """The offset in the file and the target of the next piece; None after the last."""
        with self._asking:
            return None if self._is_stopped else next(self._places, None)

    def stop(self) -> None:
        """Stops further pieces, and releases threads that wait for one."""
        self._is_stopped = True
        self.filled.put(None)


class ParallelReader:
    """Reads parts of files into memory of a device, piece by piece and side by side.

    The readers do nothing but read: whoever calls `read` starts the copies to the GPU.
    """

    def __init__(
        self, device: torch.device, readers: int = _READERS, piece_bytes: int = _PIECE_BYTES
    ) -> None:
        self._device, self._readers, self._piece_bytes = device, readers, piece_bytes
        self._pool = ThreadPoolExecutor(readers, "reader")
        self._free: SimpleQueue[_Buffer | None] = SimpleQueue()
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        for _ in range(readers + _COPIES):
            self._free.put(None if self._stream is None else _Buffer(piece_bytes))

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
        """`size` bytes of a file from start on, [size] uint8 on the device.

        Raises ValueError where the file ends before.
        """
        # Whoever reads may be in inference mode; the memory is for others too.
        with torch.inference_mode(False):
            target = torch.empty(size, dtype=torch.uint8, device=self._device)
        if self._stream is not None:
            # The memory may have been another's, who has not finished with it.
            self._stream.wait_stream(torch.cuda.current_stream(self._device))
        copying: deque[_Buffer] = deque()
        with path.open("rb", buffering=0) as file, torch.cuda.stream(self._stream):
            pieces = _Pieces(file.fileno(), start, target, self._piece_bytes)
            reading = [self._pool.submit(self._fill_pieces, pieces) for _ in range(self._readers)]
            try:
                for piece in self._arrived(pieces, copying):
                    progress(piece.target.numel())
                for reader in reading:
                    reader.result()
            finally:
                pieces.stop()
                self._settle(pieces, copying)
                wait(reading)  # a piece that was begun is still written to the target
                self._settle(pieces, copying)
        return target

    def _arrived(self, pieces: _Pieces, copying: deque[_Buffer]) -> Iterator[_Filled]:
        """Yields pieces as they are read, on their way to the GPU; ends early after an error."""
        for _ in range(pieces.count):
            piece = pieces.filled.get()
            if piece is None:
                return
            if piece.buffer is None:
                self._free.put(None)
            else:
                memory = piece.buffer.memory[: piece.target.numel()]
                piece.target.copy_(memory, non_blocking=True)
                piece.buffer.copied.record()
                copying.append(piece.buffer)
                if len(copying) > _COPIES:
                    self._return(copying.popleft())
            yield piece

    def _fill_pieces(self, pieces: _Pieces) -> None:
        """Reads one piece after another until none is left."""
        while True:
            buffer = self._free.get()
            place = pieces.next()
            if place is None:
                self._free.put(buffer)
                return
            position, target = place
            memory = bytes_of(target) if buffer is None else buffer.bytes[: target.numel()]
            try:
                _fill(pieces.file, memory, position)
            except BaseException:
                self._free.put(buffer)
                pieces.stop()
                raise
            pieces.filled.put(_Filled(target, buffer))

    def _return(self, buffer: _Buffer) -> None:
        buffer.copied.synchronize()
        self._free.put(buffer)

    def _settle(self, pieces: _Pieces, copying: deque[_Buffer]) -> None:
        """Waits for reads in progress, and returns the buffers that will not be copied."""
        while copying:
            self._return(copying.popleft())
        while not pieces.filled.empty():
            left = pieces.filled.get()
            if left is not None:
                self._free.put(left.buffer)


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
