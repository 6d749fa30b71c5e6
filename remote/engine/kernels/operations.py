"""The steps between the large matrix products, in plain torch; `kernels.triton` has them in Triton.

Axes: L tokens, F latent frames, D channels of the model, H heads, C channels of a head, M keys.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from remote.engine.kernels.attention import attention
from remote.engine.kernels.key_value import KeyValue
from remote.engine.kernels.norm_silu import NormSiLU, norm_silu
from remote.engine.kernels.rope import Rotation, rotate


@dataclass(frozen=True, slots=True, kw_only=True)
class Operations:
    """One implementation of every step. refused: the reason why no faster one is used."""

    name: str
    norm: Callable[..., Tensor]
    norm_rotate: Callable[[Tensor, Tensor | None, Rotation | None, int, float], Tensor]
    cross_attention: Callable[[Tensor, KeyValue, KeyValue], Tensor]
    group_softmax: Callable[[Tensor, Tensor, torch.dtype], Tensor]
    linear_gelu: Callable[[Tensor, Tensor, Tensor], Tensor]
    scale_rows: Callable[[Tensor, Tensor], Tensor]
    norm_silu: NormSiLU
    refused: str = ""


def norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    offset: Tensor | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Layer norm of x + offset, times weight, plus bias; x: [L, D], the others [D]."""
    whole = x.float() if offset is None else x.float() + offset
    normal = F.layer_norm(whole, whole.shape[-1:], eps=eps)
    return (normal * weight.float() + bias.float()).to(dtype or x.dtype)


def norm_rotate(
    x: Tensor, weight: Tensor | None, rotation: Rotation | None, heads: int, eps: float
) -> Tensor:
    """Root-mean-square norm over all heads, then rotation; either may be left out.

    x: [L, D]. Returns [L, H, C] in x's dtype.
    """
    values = x.float()
    if weight is not None:
        scale = torch.rsqrt(values.square().mean(dim=-1, keepdim=True) + eps)
        values = values * scale * weight.float()
    values = values.unflatten(-1, (heads, -1))
    if rotation is not None:
        values = rotate(values[None], rotation)[0]
    return values.to(x.dtype)


def cross_attention(q: Tensor, text: KeyValue, image: KeyValue) -> Tensor:
    """Attention to text plus attention to the image; q: [L, H, C]. Returns [L, H, C]."""
    seen = [attention(q[None], *_all_keys(keys))[0] for keys in (text, image)]
    return seen[0] + seen[1]


def _all_keys(keys: KeyValue) -> tuple[Tensor, Tensor]:
    """Writes out the repeats of the last key."""
    if keys.repeats == 1:
        return keys.key, keys.value
    key, value = (
        torch.cat((part, part[:, -1:].expand(-1, keys.repeats - 1, -1, -1)), dim=1)
        for part in (keys.key, keys.value)
    )
    return key, value


def group_softmax(scores: Tensor, bias: Tensor, dtype: torch.dtype) -> Tensor:
    """Softmax over the tokens of each head, after a bias for each frame.

    scores: [F, L, H x M] float32; bias: [F, H, M] float32. Returns [F, L, H x M] in dtype.
    """
    grouped = scores.unflatten(-1, tuple(bias.shape[1:])) + bias[:, None]
    return grouped.softmax(dim=-1).flatten(2).to(dtype)


def linear_gelu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A linear layer and GELU (tanh form). x: [L, D]."""
    return F.gelu(F.linear(x, weight, bias), approximate="tanh")


def scale_rows(weight: Tensor, gate: Tensor) -> Tensor:
    """Multiplies each row of a weight [out, in] by its gate [out] float32."""
    return torch.mul(weight, gate[:, None]).to(weight.dtype)


PLAIN = Operations(
    name="torch",
    norm=norm,
    norm_rotate=norm_rotate,
    cross_attention=cross_attention,
    group_softmax=group_softmax,
    linear_gelu=linear_gelu,
    scale_rows=scale_rows,
    norm_silu=norm_silu,
)
