"""8-bit weights: which layers, and the row-wise format."""

import re

import torch
from torch import Tensor

FP8 = torch.float8_e4m3fn
FP8_MAX = torch.finfo(FP8).max

# Feed-forward and self-attention: text, image and audio layers cause most of the error in 8 bits.
FP8_LAYERS = (
    "self_attn.q",
    "self_attn.k",
    "self_attn.v",
    "self_attn.o",
    "ffn.0",
    "ffn.2",
)
_FP8_WEIGHT = re.compile(
    rf"blocks\.\d+\.(?:{'|'.join(re.escape(layer) for layer in FP8_LAYERS)})\.weight"
)


def is_fp8_weight(name: str) -> bool:
    """Whether a tensor of the transformer is stored in 8 bits in an fp8 pack."""
    return _FP8_WEIGHT.fullmatch(name) is not None


def scale_name(name: str) -> str:
    """The name of the scales that belong to an 8-bit weight."""
    return name.removesuffix("weight") + "scale"


def quantize_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """An e4m3 weight and its scales: weight is about quantised * scale.

    weight: [out, in]. Returns [out, in] e4m3 and [out, 1] float32. A row of zeros has scale 1.
    """
    rows = weight.float()
    peak = rows.abs().amax(dim=1, keepdim=True)
    scale = torch.where(peak > 0, peak / FP8_MAX, torch.ones_like(peak))
    return (rows / scale).clamp_(-FP8_MAX, FP8_MAX).to(FP8), scale


def dequantize_rows(quantized: Tensor, scale: Tensor) -> Tensor:
    """The float32 weight that quantize_rows stored."""
    return quantized.float() * scale
