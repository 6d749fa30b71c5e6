"""Tiers: how exactly the transformer computes, as data."""

from collections.abc import Mapping
from dataclasses import dataclass

from remote.engine.kernels.quantize import FP8_LAYERS

EIGHT_BIT_LAYERS = (*FP8_LAYERS, "cross_attn.q", "cross_attn.o")
"""Every linear layer of a block that can multiply in 8 bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """The work of a block that is done in 8 bits.

    layers: its linear layers. attention: whether its self-attention is.
    """

    name: str
    layers: tuple[str, ...] = ()
    attention: bool = False

    def __post_init__(self) -> None:
        unknown = set(self.layers) - set(EIGHT_BIT_LAYERS)
        if unknown:
            raise ValueError(f"{sorted(unknown)} are no layers for 8 bits: {EIGHT_BIT_LAYERS}")

    @property
    def is_exact(self) -> bool:
        return not self.layers and not self.attention


EXACT = Tier(name="exact")
# The outputs of cross-attention stay in 16 bits: they would add more error than they save time.
NEAR = Tier(name="near", layers=(*FP8_LAYERS, "cross_attn.q"))
TURBO = Tier(name="turbo", layers=NEAR.layers, attention=True)
TIERS: Mapping[str, Tier] = {tier.name: tier for tier in (EXACT, NEAR, TURBO)}
"""Name -> tier, the most exact first."""


def more_exact(tier: Tier) -> Tier:
    """The next more exact tier, to fall back on; that of `exact` is itself."""
    names = list(TIERS)
    return TIERS[names[max(names.index(tier.name) - 1, 0)]]
