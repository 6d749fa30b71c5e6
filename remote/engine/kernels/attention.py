"""Attention with several kernels; the fastest one that runs correctly here is chosen once.

Axes: B batch, L query tokens, M key tokens, H heads, D channels of a head.
"""

import functools
import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from remote.engine.errors import BackendUnavailableError

Kernel = Callable[[Tensor, Tensor, Tensor], Tensor]

_PROBE_TOKENS = (192, 77)
_ERROR_LIMITS = {torch.float32: 1e-4, torch.bfloat16: 2e-2, torch.float16: 5e-3}


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionBackend:
    """A kernel that ran here: its name, its measured error, and why the preferred ones did not.

    error: root-mean-square difference from exact softmax attention, relative to it.
    refused: (name, reason) of every kernel that was tried before.
    """

    name: str
    kernel: Kernel
    error: float = 0.0
    refused: tuple[tuple[str, str], ...] = ()


def _sdpa(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    out = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
    return out.transpose(1, 2)


SDPA = AttentionBackend(name="sdpa", kernel=_sdpa)


def attention(q: Tensor, k: Tensor, v: Tensor, backend: AttentionBackend = SDPA) -> Tensor:
    """softmax(q k / sqrt(D)) v for every head.

    q: [B, L, H, D]; k: [B, M, H, D]; v: [B, M, H, Dv]. Returns [B, L, H, Dv] in v's dtype.
    Values of another width than the keys go through SDPA: the other kernels do not take them.
    """
    kernel = backend.kernel if v.shape[-1] == q.shape[-1] else _sdpa
    return kernel(q, k, v)


def _forced_sdpa(kind: str) -> Kernel:
    from torch.nn.attention import SDPBackend, sdpa_kernel

    choice = getattr(SDPBackend, kind, None)
    if choice is None:
        raise BackendUnavailableError(f"torch {torch.__version__} has no {kind}")

    def run(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        with sdpa_kernel(choice):
            return _sdpa(q, k, v)

    return run


def _flash_attention_3() -> Kernel:
    if importlib.util.find_spec("fa3_fwd") is not None:
        return _fa3_operator()
    if importlib.util.find_spec("flash_attn_interface") is not None:
        function = importlib.import_module("flash_attn_interface").flash_attn_func
        return lambda q, k, v: _first(function(q, k, v))
    raise BackendUnavailableError("neither fa3_fwd nor flash_attn_interface is installed")


def _fa3_operator() -> Kernel:
    """The operator below the package's functions, whose first call imports torch's compiler."""
    importlib.import_module("fa3_fwd._C")
    operator = torch.ops.fa3_fwd.fwd

    def run(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out: Tensor = operator(q, k, v, softmax_scale=q.shape[-1] ** -0.5, num_splits=1)[0]
        return out

    return run


def _flash_attention_4() -> Kernel:
    function = importlib.import_module("flash_attn.cute").flash_attn_func
    return lambda q, k, v: _first(function(q, k, v))


def _flash_attention_2() -> Kernel:
    function = importlib.import_module("flash_attn").flash_attn_func
    return lambda q, k, v: _first(function(q, k, v))


def _xformers() -> Kernel:
    function = importlib.import_module("xformers.ops").memory_efficient_attention
    return lambda q, k, v: function(q, k, v)


def _first(result: Tensor | tuple[Tensor, ...]) -> Tensor:
    return result[0] if isinstance(result, tuple) else result


# In order of preference, as measured on Hopper; none but the last takes float32 or a CPU.
LOADERS: dict[str, Callable[[], Kernel]] = {
    "fa3": _flash_attention_3,
    "fa4": _flash_attention_4,  # as fast as the one before on Hopper, slower for few keys
    "sdpa-cudnn": functools.partial(_forced_sdpa, "CUDNN_ATTENTION"),
    "sdpa-flash": functools.partial(_forced_sdpa, "FLASH_ATTENTION"),
    "xformers": _xformers,
    "fa2": _flash_attention_2,
    "sdpa": lambda: _sdpa,
}


def load_backend(
    name: str, device: torch.device, dtype: torch.dtype, head_dim: int = 128
) -> AttentionBackend:
    """Loads one kernel and runs it once, small, against exact attention in float32.

    Raises BackendUnavailableError if it is absent, does not run here, or is not exact enough.
    """
    try:
        kernel = LOADERS[name]()
        error = _probe(kernel, device, dtype, head_dim)
    # A kernel for another GPU fails in whatever way its authors chose; all mean "not here".
    except (ImportError, OSError, RuntimeError, ValueError, TypeError, AttributeError) as failure:
        reason = str(failure).strip().partition("\n")[0]
        raise BackendUnavailableError(reason or type(failure).__name__) from failure
    if not error <= _ERROR_LIMITS[dtype]:
        raise BackendUnavailableError(f"error {error:.1e} is above {_ERROR_LIMITS[dtype]:.1e}")
    return AttentionBackend(name=name, kernel=kernel, error=error)


def choose_backend(
    device: torch.device, dtype: torch.dtype, head_dim: int = 128
) -> AttentionBackend:
    """The first kernel, in order of preference, that a small run finds correct."""
    plain = device.type != "cuda" or dtype == torch.float32
    names = ["sdpa"] if plain else list(LOADERS)
    refused: list[tuple[str, str]] = []
    for name in names:
        try:
            found = load_backend(name, device, dtype, head_dim)
        except BackendUnavailableError as reason:
            refused.append((name, str(reason)))
            continue
        return AttentionBackend(
            name=name, kernel=found.kernel, error=found.error, refused=tuple(refused)
        )
    raise BackendUnavailableError(f"no attention runs on {device} in {dtype}: {refused}")


def _probe(kernel: Kernel, device: torch.device, dtype: torch.dtype, head_dim: int) -> float:
    """Runs a self- and a cross-attention of two frames; returns the larger relative error."""
    generator = torch.Generator().manual_seed(0)
    queries, keys = _PROBE_TOKENS
    errors = []
    for length in (queries, keys):
        q = torch.randn(2, queries, 2, head_dim, generator=generator)
        k, v = torch.randn(2, 2, length, 2, head_dim, generator=generator)
        q, k, v = (part.to(device, dtype) for part in (q, k, v))
        scores = torch.einsum("blhd,bmhd->bhlm", q.float(), k.float()) * head_dim**-0.5
        exact = torch.einsum("bhlm,bmhd->blhd", scores.softmax(-1), v.float())
        errors.append(((kernel(q, k, v).float() - exact).norm() / exact.norm()).item())
    return max(errors)
