"""Keys and values of attention, kept between steps."""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


class KeyValue(NamedTuple):
    """Keys and values of one block for tokens that do not change between steps, [B, M, H, D/H].

    repeats: the number of equal keys that the last one represents.
    """

    key: Tensor
    value: Tensor
    repeats: int = 1

    @property
    def frames(self) -> int:
        """The number of frames of an audio key."""
        return self.key.shape[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldedAudio:
    """Audio keys and values of one block with the query and output weights multiplied in.

    key, value: [kinds, H x M, D]; bias: [kinds, H, M] float32, what the query's bias adds to the
    scores, which are scaled. kinds: of each frame; equal frames share one.
    """

    key: Tensor
    value: Tensor
    bias: Tensor
    kinds: tuple[int, ...]

    @property
    def frames(self) -> int:
        return len(self.kinds)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldedValues:
    """Audio keys and values of one block with the output weights multiplied into the values.

    key: [F, M, H, C]; value: [kinds, H x M, D]. kinds: of each frame, as in FoldedAudio.
    """

    key: Tensor
    value: Tensor
    kinds: tuple[int, ...]

    @property
    def frames(self) -> int:
        return len(self.kinds)


AudioKeyValue = KeyValue | FoldedAudio | FoldedValues
