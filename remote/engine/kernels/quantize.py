"""8-bit weights: which layers, and the row-wise format."""

import re
from collections.abc import Sequence

import torch
from torch import Tensor

FP8 = torch.float8_e4m3fn
FP8_MAX = torch.finfo(FP8).max

# Feed-forward and self-attention, as fp8 packs of earlier versions have them; tiers add to these.
FP8_LAYERS = (
    "self_attn.q",
    "self_attn.k",
    "self_attn.v",
    "self_attn.o",
    "ffn.0",
    "ffn.2",
)
_WEIGHT = re.compile(r"blocks\.\d+\.(.+)\.weight")


def is_fp8_weight(name: str, layers: Sequence[str] = FP8_LAYERS) -> bool:
    """Whether a tensor of the transformer is the weight of one of those layers.

    An fp8 pack stores those of FP8_LAYERS in 8 bits.
    """
    found = _WEIGHT.fullmatch(name)
    return found is not None and found[1] in layers


def scale_name(name: str) -> str:
    """The name of the scales that belong to an 8-bit weight."""
    return name.removesuffix("weight") + "scale"


def quantize_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """An e4m3 weight and its scales: weight is about quantised * scale.

    weight: [out, in]. Returns [out, in] e4m3 and [out, 1] float32. A row of zeros has scale 1.
    """
    rows = weight.float()
    peak = rows.abs().amax(dim=1, keepdim=True)
    # By a tensor: GPUs multiply by the rounded reciprocal of a number.
    largest = torch.full_like(peak, FP8_MAX)
    scale = torch.where(peak > 0, peak / largest, torch.ones_like(peak))
    return (rows / scale).clamp_(-FP8_MAX, FP8_MAX).to(FP8), scale


def dequantize_rows(quantized: Tensor, scale: Tensor) -> Tensor:
    """The float32 weight that quantize_rows stored."""
    return quantized.float() * scale
