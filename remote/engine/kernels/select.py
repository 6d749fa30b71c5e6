"""The choice between Triton kernels and plain torch, by a small run of every step."""

from dataclasses import replace

import torch
from torch import Tensor

from remote.engine.config import DiTConfig
from remote.engine.kernels.key_value import KeyValue
from remote.engine.kernels.operations import PLAIN, Operations
from remote.engine.kernels.rope import Rotation

_PROBE_TOKENS = 200
_ERROR_LIMITS = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 5e-3}


def choose_operations(device: torch.device, dtype: torch.dtype, config: DiTConfig) -> Operations:
    """The Triton kernels if a small run finds all of them correct, otherwise plain torch."""
    if device.type != "cuda":
        return PLAIN
    try:
        from remote.engine.kernels.triton import TRITON, TritonError
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
    """Runs every step on a few random tokens; returns the largest relative error and its step."""
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
