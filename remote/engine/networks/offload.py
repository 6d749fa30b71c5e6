"""Blocks that do not fit on the GPU: kept in pinned host memory, copied while others compute.

Two buffers on the GPU take turns: while one block computes, the next one arrives in the other
buffer on a stream of its own.
"""

import math
from collections.abc import Iterable, Iterator
from typing import cast

import torch
from torch import Tensor, nn

from remote.engine.config import DiTConfig
from remote.engine.networks.dit import DiT
from remote.engine.networks.eight import layers_of, make_room
from remote.engine.networks.layers import Block
from remote.engine.networks.memory import SLOTS, MemoryPlan

_ALIGNMENT = 256  # bytes; where each weight starts in a buffer
_Arrival = tuple[int, torch.cuda.Event | None]  # a buffer, and when its weights are there


def stream_blocks(dit: DiT, plan: MemoryPlan, device: torch.device) -> None:
    """Moves a transformer to the GPU, but for the blocks that the plan streams.

    One that is streamed already may be left fewer blocks on the GPU, never more. Weights are not
    changed afterwards: adapters are merged before.
    """
    if isinstance(dit.blocks, StreamedBlocks):
        dit.blocks.keep(plan.resident)
        return
    blocks = list(cast(Iterable[Block], dit.blocks))
    dit.blocks = nn.ModuleList()
    dit.to(device)
    dit.blocks = StreamedBlocks(dit.config, blocks, plan.resident, device)


def release_pinned() -> None:
    """Gives back pinned memory that torch keeps: blocks of another tier have other sizes."""
    release = getattr(torch._C, "_host_emptyCache", None)
    if release is not None:
        release()


class StreamedBlocks(nn.Module):
    """A transformer's blocks, the first ones on the GPU, the others copied when they are due.

    Iterating yields the blocks in order. A streamed block is good until the next one is asked for.
    """

    def __init__(
        self, config: DiTConfig, blocks: Iterable[Block], resident: int, device: torch.device
    ) -> None:
        """blocks: on any device; those beyond `resident` are moved to pinned memory one by one."""
        super().__init__()
        self._config = config
        self._device = device
        self._resident: list[Block] = []
        self._hosted: list[Tensor] = []
        self._slots: list[tuple[Tensor, Block]] = []
        for index, block in enumerate(blocks):
            if index < resident:
                self._resident.append(block.to(device))
            else:
                self._host(block)
        self._copies = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._next_slot = 0
        self._first: _Arrival | None = None

    def __len__(self) -> int:
        return len(self._resident) + len(self._hosted)

    @property
    def resident(self) -> int:
        return len(self._resident)

    @property
    def weight_bytes(self) -> int:
        """Of all blocks, wherever they lie."""
        one = self._resident[0] if self._resident else self._slots[0][1]
        return len(self) * sum(each.nbytes for each in one.parameters())

    @property
    def hosted_bytes(self) -> int:
        return sum(buffer.numel() for buffer in self._hosted)

    def keep(self, resident: int) -> None:
        """Leaves no more than so many blocks on the GPU."""
        moved, self._resident = self._resident[resident:], self._resident[:resident]
        hosted, self._hosted = self._hosted, []
        for block in moved:
            self._host(block)
        self._hosted += hosted
        self._first = None

    def _host(self, block: Block) -> None:
        """Copies a block's weights into one pinned buffer, and lets the block go."""
        places = _places(block)
        size = sum(_padded(tensor) for tensor in block.state_dict().values())
        pinned = self._device.type == "cuda"
        buffer = torch.empty(size, dtype=torch.uint8, pin_memory=pinned)
        for name, tensor in block.state_dict().items():
            _view(buffer, places[name], tensor).copy_(tensor)
        self._hosted.append(buffer)
        while len(self._slots) < SLOTS:
            self._slots.append(self._make_slot(block, places, size))
        for parameter in block.parameters():
            parameter.data = parameter.new_empty(0)

    def _make_slot(self, block: Block, places: dict[str, int], size: int) -> tuple[Tensor, Block]:
        """Allocates a buffer on the GPU, and a block whose weights lie in it."""
        buffer = torch.empty(size, dtype=torch.uint8, device=self._device)
        with torch.device("meta"):
            template = Block(self._config)
            make_room([template], layers_of(block))
        weights = {
            name: _view(buffer, places[name], tensor) for name, tensor in block.state_dict().items()
        }
        template.load_state_dict(weights, strict=True, assign=True)
        return buffer, template.eval().requires_grad_(False)

    def __iter__(self) -> Iterator[Block]:
        """Yields the blocks in order, each when its weights are there."""
        if not self._hosted:
            yield from self._resident
            return
        arrived, self._first = self._first or self._fetch(0), None
        yield from self._resident
        for index in range(len(self._hosted)):
            slot = arrived
            arrived = self._fetch((index + 1) % len(self._hosted))
            yield self._use(slot)
        self._first = arrived  # the first block again, for the next forward

    def _fetch(self, index: int) -> _Arrival:
        """Starts the copy of a hosted block once whoever used its buffer has finished."""
        slot = self._next_slot
        self._next_slot = (slot + 1) % SLOTS
        buffer = self._slots[slot][0]
        if self._copies is None:
            buffer.copy_(self._hosted[index])
            return slot, None
        # All that was asked of the GPU so far, the buffer's last user included.
        self._copies.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._copies):
            buffer.copy_(self._hosted[index], non_blocking=True)
            return slot, self._copies.record_event()

    def _use(self, arrived: _Arrival) -> Block:
        slot, event = arrived
        if event is not None:
            torch.cuda.current_stream(self._device).wait_event(event)
        return self._slots[slot][1]


def _padded(tensor: Tensor) -> int:
    return math.ceil(tensor.nbytes / _ALIGNMENT) * _ALIGNMENT


def _places(block: Block) -> dict[str, int]:
    """The offset of each weight in a block's buffer."""
    places, position = {}, 0
    for name, tensor in block.state_dict().items():
        places[name] = position
        position += _padded(tensor)
    return places


def _view(buffer: Tensor, start: int, like: Tensor) -> Tensor:
    """The part of a buffer that holds a weight."""
    return buffer[start : start + like.nbytes].view(like.dtype).view(like.shape)
