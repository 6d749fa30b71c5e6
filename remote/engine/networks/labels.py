"""The person that each video token belongs to, from its attention to the first frame.

Axes: B batch, L video tokens, S tokens of the first frame, H heads, D channels of a head,
C classes (person 1, person 2, background).
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from remote.engine.kernels.attention import SDPA, AttentionBackend, attention

_EPS = 1e-8


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonRegions:
    """The classes of the first frame's tokens, and the label positions that they map to.

    weights: [S, C] float32, each class summing to one (an empty class stays zero).
    present: [C] bool, False for an empty class.
    ranges: per person, the label positions of its least and its most certain token.
    background: label position of the tokens that belong to no person.
    """

    weights: Tensor
    present: Tensor
    ranges: tuple[tuple[float, float], ...]
    background: float
    _members: dict[tuple[int, int, torch.dtype], Tensor] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def attention_map(self, q: Tensor, k: Tensor, backend: AttentionBackend = SDPA) -> Tensor:
        """Each token's mean attention to each class, averaged over heads.

        q: [B, L, H, D] and k: [B, >= S, H, D], both after rotation, tokens of the first frame
        first. Returns [C, L] float32 of the first of the batch.
        The masks serve as values, so that the L x S attention is never stored. They are ones and
        zeros, exact in every type, as wide as the keys, for the kernels that need that.
        """
        tokens, classes = self.weights.shape
        values = self._values(q.shape[2], q.shape[3], q.dtype)
        seen = attention(q[:1], k[:1, :tokens], values, backend)[0, ..., :classes]
        return seen.float().mean(dim=1).T * self.weights.amax(dim=0)[:, None]

    def _values(self, heads: int, width: int, dtype: torch.dtype) -> Tensor:
        """The masks as values [1, S, heads, width], the same in every block and step."""
        known = heads, width, dtype
        if known not in self._members:
            members = F.pad((self.weights > 0).to(dtype), (0, width - self.weights.shape[1]))
            self._members[known] = members[None, :, None].repeat(1, 1, heads, 1)
        return self._members[known]

    def positions(self, attention_map: Tensor) -> Tensor:
        """The label position of every token, [L]; an empty class never wins."""
        absent = ~self.present[:, None]
        winner = attention_map.masked_fill(absent, -torch.inf).argmax(dim=0)
        labels = torch.full_like(attention_map[0], self.background)
        seen = attention_map[: len(self.ranges)]
        least, most = torch.aminmax(seen, dim=1, keepdim=True)
        scaled = (seen - least) / (most - least + _EPS)
        for person, (low, high) in enumerate(self.ranges):
            labels = torch.where(winner == person, scaled[person] * (high - low) + low, labels)
        return labels


def person_regions(masks: Tensor, class_range: int, class_interval: int) -> PersonRegions:
    """Reads token masks, the background's last.

    masks: [C, rows, columns] on the token grid, nonzero where the class is.
    Person 1 takes labels 0 to class_interval, person 2 the last ones up to class_range.
    """
    if masks.shape[0] != 3:
        raise ValueError(f"masks of two persons and the background expected, got {masks.shape}")
    inside = (masks > 0).flatten(1).float()
    counts = inside.sum(dim=1)
    weights = inside / counts.clamp(min=1)[:, None]
    ranges = (
        (0.0, float(class_interval)),
        (float(class_range - class_interval), float(class_range)),
    )
    return PersonRegions(
        weights=weights.T.contiguous(),
        present=counts > 0,
        ranges=ranges,
        background=float(class_range // 2),
    )


def key_positions(tokens: int, class_range: int, class_interval: int) -> Tensor:
    """The labels of two persons' audio tokens, [2 x tokens]: the middles of their ranges."""
    middle = class_interval / 2
    labels = torch.tensor([middle, class_range - middle])
    return labels.repeat_interleave(tokens)
