"""Self-attention in 8 bits: queries and keys rotated, the means of keys and values taken out.

Softmax is the same with any vector taken from all keys, and its result is the same with one taken
from all values and added back. So means of a few tokens do, and so do rotations of queries and keys
together, which spread outlying channels over all of a head.

Axes: L query tokens, M key tokens, H heads, C channels of a head.
"""

import functools
import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from remote.engine.errors import BackendUnavailableError
from remote.engine.kernels.attention import attention
from remote.engine.kernels.eight import EightOperations, kernel_failures

# q, k, v: [1, L or M, H, C] e4m3; their scales: [1, H] float32. Gives [1, L, H, C] in 16 bits.
Kernel8 = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]

_SAMPLED_TOKENS = 512
_LEVEL = 2.0  # of values in 8 bits, root mean square: leaves 200 times of it, and 1 % of it
_PROBE_TOKENS, _PROBE_HEADS = 640, 2
_ERROR_LIMIT = 0.15  # of what differs between tokens; 0.05 was seen on random values


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention8:
    """A kernel that ran here. error: root-mean-square difference from exact attention."""

    name: str
    kernel: Kernel8
    operations: EightOperations
    error: float = 0.0

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Attention of [L, H, C] to [M, H, C]; and [H, C] float32, which all results lack."""
        heads = self.operations.heads
        turn = rotation(q.shape[-1], q.dtype, q.device)
        none, q_scale = self._statistics(q, None, is_centred=False)
        k_mean, k_scale = self._statistics(k, turn, is_centred=True)
        v_mean, v_scale = self._statistics(v, None, is_centred=True)
        q8 = heads(q, none, q_scale, turn)
        k8, v8 = heads(k, k_mean, k_scale, turn), heads(v, v_mean, v_scale, None)
        scales = (each[None] for each in (q_scale, k_scale, v_scale))
        return self.kernel(q8[None], k8[None], v8[None], *scales)[0], v_mean

    def _statistics(
        self, x: Tensor, turn: Tensor | None, *, is_centred: bool
    ) -> tuple[Tensor, Tensor]:
        """Mean and scale by a few tokens."""
        # An odd step meets every column of a picture.
        step = max(len(x) // _SAMPLED_TOKENS, 1) | 1
        return self.operations.statistics(x, step, turn, _LEVEL, is_centred=is_centred)


@functools.lru_cache(maxsize=8)
def rotation(channels: int, dtype: torch.dtype, device: torch.device) -> Tensor | None:
    """Signs [C, C] of a rotation that mixes all channels; None where C is no power of 2."""
    if channels & (channels - 1):
        return None
    with torch.inference_mode(False):
        signs = torch.ones(1, 1)
        while len(signs) < channels:
            signs = torch.cat((torch.cat((signs, signs), 1), torch.cat((signs, -signs), 1)))
        return signs.to(device, dtype).contiguous()


def plain_kernel(dtype: torch.dtype) -> Kernel8:
    """Exact attention of values in 8 bits, for devices without a kernel."""

    def run(q: Tensor, k: Tensor, v: Tensor, *scales: Tensor) -> Tensor:
        q, k, v = (
            (part.float() * scale[:, None, :, None]).to(dtype)
            for part, scale in zip((q, k, v), scales, strict=True)
        )
        return attention(q, k, v)

    return run


def _flash_attention_3() -> Kernel8:
    if importlib.util.find_spec("fa3_fwd") is None:
        raise BackendUnavailableError("fa3_fwd is not installed")
    importlib.import_module("fa3_fwd._C")
    operator = torch.ops.fa3_fwd.fwd

    def run(
        q: Tensor, k: Tensor, v: Tensor, q_scale: Tensor, k_scale: Tensor, v_scale: Tensor
    ) -> Tensor:
        out: Tensor = operator(
            q,
            k,
            v,
            q_descale=q_scale,
            k_descale=k_scale,
            v_descale=v_scale,
            softmax_scale=q.shape[-1] ** -0.5,
            num_splits=1,
        )[0]
        return out

    return run


def choose_attention8(
    device: torch.device, dtype: torch.dtype, head_dim: int, operations: EightOperations
) -> Attention8:
    """The kernel for this device, after a small run. Raises BackendUnavailableError."""
    if device.type != "cuda":
        found = Attention8(name="torch fp8", kernel=plain_kernel(dtype), operations=operations)
    else:
        found = Attention8(name="fa3 fp8", kernel=_load(), operations=operations)
    try:
        error = probe(found, device, dtype, head_dim)
    except kernel_failures() as failure:
        reason = str(failure).strip().partition("\n")[0] or type(failure).__name__
        raise BackendUnavailableError(f"{found.name}: {reason}") from failure
    if not error <= _ERROR_LIMIT:
        raise BackendUnavailableError(f"{found.name} has error {error:.1e}")
    return replace(found, error=error)


def _load() -> Kernel8:
    try:
        return _flash_attention_3()
    except (ImportError, OSError, AttributeError) as error:
        raise BackendUnavailableError(f"fa3_fwd: {error}") from error


def probe(given: Attention8, device: torch.device, dtype: torch.dtype, head_dim: int) -> float:
    """The error of what differs between tokens, for keys and values that have much in common."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, _PROBE_TOKENS, _PROBE_HEADS, head_dim, generator=generator)
    common = torch.randn(2, head_dim, generator=generator)
    q, k, v = (part.to(device, dtype) for part in (1.5 * q, k + 2 * common[0], v + 3 * common[1]))
    out, mean = given(q, k, v)
    exact = attention(q.float()[None], k.float()[None], v.float()[None])[0] - mean
    return float((out.float() - exact).norm() / exact.norm())
