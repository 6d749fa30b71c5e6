"""The choice of kernels for a tier, by a small run of each."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from remote.engine.config import DiTConfig
from remote.engine.errors import BackendUnavailableError
from remote.engine.kernels.attention8 import Attention8, choose_attention8, rotation
from remote.engine.kernels.convolve import Convolve, convolve
from remote.engine.kernels.eight import (
    PLAIN_EIGHT,
    EightOperations,
    Rows,
    kernel_failures,
    product,
)
from remote.engine.kernels.quantize import dequantize_rows, quantize_rows
from remote.engine.kernels.rope import label_rotation
from remote.engine.tiers import EXACT, Tier, more_exact

_TOKENS, _OUTPUTS = 96, 64
_STEP_LIMIT = 2e-2  # values that lie between two of 8 bits may be rounded to the other one
_PRODUCT_LIMIT = 6e-2  # 8 bits have 3 %
_CONVOLUTION_LIMIT = 5e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class TierKernels:
    """A tier, and what it computes with in 8 bits: operations for layers, attention if it has.

    convolve: of the VAE, in 16 bits; exact keeps torch's, so that its frames stay the same.
    """

    tier: Tier = EXACT
    operations: EightOperations | None = None
    attention: Attention8 | None = None
    convolve: Convolve = convolve


IN_16_BITS = TierKernels()


def choose_tier(
    wanted: Tier, device: torch.device, dtype: torch.dtype, config: DiTConfig
) -> tuple[TierKernels, tuple[str, ...]]:
    """The kernels of a tier, or of the next more exact one that runs here, and the reasons why."""
    reasons: list[str] = []
    tier = wanted
    while True:
        try:
            return load_tier(tier, device, dtype, config), tuple(reasons)
        except BackendUnavailableError as error:
            reasons.append(f"{tier.name}: {error}")
            tier = more_exact(tier)


def load_tier(
    tier: Tier, device: torch.device, dtype: torch.dtype, config: DiTConfig
) -> TierKernels:
    """The kernels of a tier. Raises BackendUnavailableError where one does not run here."""
    if tier.is_exact:
        return IN_16_BITS
    operations = choose_eight(device, dtype, config.dim)
    attention = None
    if tier.attention:
        attention = choose_attention8(device, dtype, config.head_dim, operations)
    return TierKernels(
        tier=tier,
        operations=operations,
        attention=attention,
        convolve=choose_convolve(device),
    )


def choose_eight(device: torch.device, dtype: torch.dtype, dim: int) -> EightOperations:
    """The steps for this device, each run once on rows of dim channels.

    Raises BackendUnavailableError where 8 bits do not work on it.
    """
    try:
        found = _load(device)
        error, step = probe(found, device, dtype, dim)
        of_product = _product_error(device, dtype, dim)
    except kernel_failures() as failure:
        reason = str(failure).strip().partition("\n")[0] or type(failure).__name__
        raise BackendUnavailableError(f"8-bit products do not run here: {reason}") from failure
    if not error <= _STEP_LIMIT:
        raise BackendUnavailableError(f"8-bit {step} has error {error:.1e}")
    if not of_product <= _PRODUCT_LIMIT:
        raise BackendUnavailableError(f"an 8-bit product has error {of_product:.1e}")
    return found


def _load(device: torch.device) -> EightOperations:
    if device.type != "cuda":
        return PLAIN_EIGHT
    from remote.engine.kernels.triton8 import TRITON_EIGHT

    return TRITON_EIGHT


def choose_convolve(device: torch.device) -> Convolve:
    """The Triton kernel if a small run finds it correct, otherwise torch's convolution."""
    if device.type != "cuda":
        return convolve
    try:
        from remote.engine.kernels.triton_conv import convolve as fused

        is_correct = convolution_error(fused, device, torch.float16) <= _CONVOLUTION_LIMIT
    except kernel_failures():
        return convolve
    return fused if is_correct else convolve


@torch.no_grad()
def convolution_error(given: Convolve, device: torch.device, dtype: torch.dtype) -> float:
    """The error against torch's convolution in float32, on a few pixels that fill no tile."""
    normal, channels, layout = _normal(device), 96, torch.channels_last_3d
    conv = nn.Conv3d(channels, channels, 3, padding=(0, 1, 1), device=device)
    for parameter in conv.parameters():
        parameter.copy_(0.02 * normal(*parameter.shape))
    x, added = normal(1, channels, 4, 5, 37), normal(1, channels, 2, 5, 37)
    exact = convolve(conv, x, added.clone())
    conv.to(dtype).to(memory_format=layout)  # type: ignore[call-overload]
    ours = given(conv, *(each.to(dtype).contiguous(memory_format=layout) for each in (x, added)))
    return _relative(ours, exact)


def _normal(device: torch.device) -> Callable[..., Tensor]:
    generator = torch.Generator().manual_seed(0)
    return lambda *shape: torch.randn(shape, generator=generator).to(device)


def _product_error(device: torch.device, dtype: torch.dtype, dim: int) -> float:
    """The error of a layer with a bias against float32."""
    normal = _normal(device)
    x, weight, bias = normal(_TOKENS, dim), normal(_OUTPUTS, dim), normal(_OUTPUTS).to(dtype)
    tokens = Rows(*quantize_rows(x))
    ours = product(tokens, *quantize_rows(weight), bias, dtype)
    exact = x @ weight.t() + bias.float()
    return _relative(ours, exact)


def probe(
    given: EightOperations, device: torch.device, dtype: torch.dtype, dim: int
) -> tuple[float, str]:
    """Runs every step on a few random tokens; the largest error against plain torch, its step."""
    ours, wanted = (_steps(each, device, dtype, dim) for each in (given, PLAIN_EIGHT))
    errors = {name: _relative(ours[name], exact) for name, exact in wanted.items()}
    # A not-a-number compares as larger than anything.
    return max((float("inf") if e != e else e, name) for name, e in errors.items())


def _relative(ours: Tensor, exact: Tensor) -> float:
    return float((ours.float() - exact.float()).norm() / exact.float().norm())


def _steps(
    given: EightOperations, device: torch.device, dtype: torch.dtype, dim: int
) -> dict[str, Tensor]:
    normal = _normal(device)
    x, update = normal(_TOKENS, dim).to(dtype), normal(_TOKENS, dim).to(dtype)
    weight, bias, offset = normal(3, dim).unbind(0)
    wide, heads = normal(_TOKENS, 2 * dim + 32).to(dtype), normal(_TOKENS, 3, 32).to(dtype)
    turn = rotation(32, dtype, device)
    shift, scale = normal(3, 32), normal(3).abs() + 0.1
    summed = x.clone()
    mean, sizes = given.statistics(heads, 3, turn, 2.0, is_centred=True)
    weight8, weight_scale = quantize_rows(normal(_OUTPUTS, dim))
    q, key = normal(2, 7, 256).to(dtype), normal(2, 64, 2, 128).to(dtype)
    labels = 24 * normal(14).sigmoid()
    first = given.norm_sum(summed, update, weight, bias, 1e-6, offset)
    return {
        "sum": summed,
        "norm of a sum": first,
        "norm": dequantize_rows(*given.norm_rows(x.clone(), update, weight, bias, 1e-6, offset)),
        "norm alone": dequantize_rows(*given.norm_rows(x, None, weight, bias, 1e-6, offset)),
        "rows": dequantize_rows(*given.rows(wide)),
        "GELU": dequantize_rows(*given.gelu_rows(wide)),
        "rotated heads": given.heads(heads, shift, scale, turn),
        "heads": given.heads(heads, shift, scale, None),
        "means": mean,
        "sizes": sizes,
        "sizes alone": given.statistics(heads, 1, None, 2.0, is_centred=False)[1],
        "one token": given.of_one(weight8, weight_scale, bias),
        "rotated shares": given.rotated_shares(q, label_rotation(labels, 128), key),
    }
