"""The steps between the large matrix products, in plain torch; `kernels` has them in Triton.

Axes: L tokens, F latent frames, D channels of the model, H heads, C channels of a head, M keys.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from remote.engine.attention import attention
from remote.engine.config import DiTConfig
from remote.engine.layers import KeyValue
from remote.engine.rope import Rotation, rotate
from remote.engine.vae import NormSiLU
from remote.engine.vae import norm_silu as plain_norm_silu

_PROBE_TOKENS = 200
_ERROR_LIMITS = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 5e-3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operations:
    """One implementation of every step; refused says why a faster one is not used."""

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
    seen = [attention(q[None], *_all_keys(given))[0] for given in (text, image)]
    return seen[0] + seen[1]


def _all_keys(given: KeyValue) -> tuple[Tensor, Tensor]:
    """Writes out the keys that the last one stands for."""
    if given.repeats == 1:
        return given.key, given.value
    key, value = (
        torch.cat((part, part[:, -1:].expand(-1, given.repeats - 1, -1, -1)), dim=1)
        for part in (given.key, given.value)
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
    norm_silu=plain_norm_silu,
)


def choose_operations(device: torch.device, dtype: torch.dtype, config: DiTConfig) -> Operations:
    """Gives the Triton kernels where a small run finds all of them right, else plain torch."""
    if device.type != "cuda":
        return PLAIN
    try:
        from remote.engine.kernels import TRITON, TritonError
    except ImportError as absent:
        return _plain(str(absent))
    try:
        worst, step = probe(TRITON, device, dtype, config)
    except (TritonError, RuntimeError, ValueError, TypeError, AttributeError, OSError) as failure:
        return _plain(str(failure).strip().partition("\n")[0] or type(failure).__name__)
    if not worst <= _ERROR_LIMITS[dtype]:
        return _plain(f"{step} has error {worst:.1e}")
    return TRITON


def _plain(reason: str) -> Operations:
    return replace(PLAIN, refused=reason)


def probe(
    given: Operations, device: torch.device, dtype: torch.dtype, config: DiTConfig
) -> tuple[float, str]:
    """Runs every step on a few random tokens; gives the largest relative error and its step."""
    ours, wanted = (_steps(ops, device, dtype, config) for ops in (given, PLAIN))
    errors = {
        name: ((ours[name].float() - exact.float()).norm() / exact.float().norm()).item()
        for name, exact in wanted.items()
    }
    # A not-a-number compares as larger than anything.
    return max((float("inf") if e != e else e, name) for name, e in errors.items())


def _steps(
    ops: Operations, device: torch.device, dtype: torch.dtype, config: DiTConfig
) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device, dtype)

    tokens, dim, heads, channels = _PROBE_TOKENS, config.dim, config.heads, config.head_dim
    x, weight, bias = normal(tokens, dim), normal(dim), normal(dim)
    angles = torch.rand(tokens, channels // 2, generator=generator).to(device)
    rotation = Rotation(angles.cos(), angles.sin())
    text = KeyValue(normal(1, 21, heads, channels), normal(1, 21, heads, channels), 7)
    image = KeyValue(normal(1, 33, heads, channels), normal(1, 33, heads, channels))
    scores = normal(2, tokens, heads * config.audio_tokens).float()
    wide = normal(16, dim) * dim**-0.5
    video = normal(1, 24, 3, 6, 4).contiguous(memory_format=torch.channels_last_3d)
    return {
        "norm": ops.norm(x, weight, bias, config.eps),
        "norm with offset": ops.norm(
            x, weight.float(), bias.float(), config.eps, bias.float(), torch.float32
        ),
        "norm and rotation": ops.norm_rotate(x, weight, rotation, heads, config.eps),
        "norm of heads": ops.norm_rotate(x, weight, None, heads, config.eps),
        "rotation": ops.norm_rotate(x, None, rotation, heads, config.eps),
        "cross-attention": ops.cross_attention(
            ops.norm_rotate(x, weight, None, heads, config.eps), text, image
        ),
        "softmax": ops.group_softmax(scores, normal(2, heads, config.audio_tokens).float(), dtype),
        "linear and GELU": ops.linear_gelu(x, wide, bias[:16]),
        "gate": ops.scale_rows(wide, scores[0, :16, 0].contiguous()),
        "norm and SiLU": ops.norm_silu(video, normal(24, 1, 1, 1), video[:, :, :2]),
    }
