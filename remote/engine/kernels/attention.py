"""Attention with several kernels: one that runs correctly here is chosen once.

Axes: B batch, L query tokens, M key tokens, H heads, D channels of a head.
"""

import functools
import importlib
import importlib.util
import textwrap
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from remote.engine.errors import BackendUnavailableError

Kernel = Callable[[Tensor, Tensor, Tensor], Tensor]

AUTO = "auto"
PROMISED = {"12.1": ("fa2", "xformers")}
"""CUDA's version -> kernels that a stack with it is chosen for, which go before those of torch."""
MOST_SLOWER = 0.05
"""By how much a promised kernel may be slower than the fastest of torch."""
_TORCH_KERNELS = ("sdpa-cudnn", "sdpa-flash", "sdpa")

_PROBE_TOKENS = (192, 77)
_TIMED_SHAPE = (1, 8192, 8)  # a part of a window that fits beside the weights
_TIMED_ON_CPU = (1, 64, 2)
_ROUNDS = 5
_REASON_CHARACTERS = 50
_ERROR_LIMITS = {torch.float32: 1e-4, torch.bfloat16: 2e-2, torch.float16: 5e-3}


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionBackend:
    """A kernel that ran here.

    error: root-mean-square difference from exact softmax attention, relative to it.
    refused: (name, reason) of every kernel that was tried before. reason: why this one was chosen.
    """

    name: str
    kernel: Kernel
    error: float = 0.0
    refused: tuple[tuple[str, str], ...] = ()
    reason: str = ""


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
    device: torch.device, dtype: torch.dtype, head_dim: int = 128, wanted: str = AUTO
) -> AttentionBackend:
    """The wanted kernel; for AUTO the first of LOADERS that a small run finds correct.

    Kernels that this CUDA promises go first, unless a timed run finds them slower than torch's.
    Raises BackendUnavailableError.
    """

    def load(name: str) -> AttentionBackend:
        return load_backend(name, device, dtype, head_dim)

    if wanted != AUTO:
        return _load_wanted(wanted, load)
    if device.type != "cuda" or dtype == torch.float32:
        return _first_of(["sdpa"], load)
    promised = PROMISED.get(torch.version.cuda or "", ())
    if not promised:
        return _first_of(LOADERS, load)
    return choose_promised(promised, load, lambda each: seconds_of(each, device, dtype, head_dim))


def _load_wanted(name: str, load: Callable[[str], AttentionBackend]) -> AttentionBackend:
    try:
        return replace(load(name), reason="as asked")
    except BackendUnavailableError as error:
        raise BackendUnavailableError(f"attention {name} does not run here: {error}") from error


def _first_of(names: Iterable[str], load: Callable[[str], AttentionBackend]) -> AttentionBackend:
    refused: list[tuple[str, str]] = []
    for name in names:
        try:
            found = load(name)
        except BackendUnavailableError as error:
            refused.append((name, str(error)))
            continue
        reason = _told(refused) if refused else "preferred"
        return replace(found, refused=tuple(refused), reason=reason)
    raise BackendUnavailableError(f"no attention runs here: {refused}")


def choose_promised(
    promised: Iterable[str],
    load: Callable[[str], AttentionBackend],
    time_s: Callable[[AttentionBackend], float],
) -> AttentionBackend:
    """The first promised kernel that is not much slower than the fastest of torch, or that one.

    load: raises BackendUnavailableError. time_s: the seconds of one run.
    """
    best, best_s, refused = _fastest_of_torch(load, time_s)
    for name in promised:
        try:
            found = load(name)
        except BackendUnavailableError as error:
            refused.append((name, str(error)))
            continue
        slower = time_s(found) / best_s - 1
        percent, word = abs(round(100 * slower)), "slower" if slower > 0 else "faster"
        compared = f"{percent} % {word} than {best.name}"
        if slower <= MOST_SLOWER:
            reason = f"preferred on this stack, {compared}"
            return replace(found, refused=tuple(refused), reason=reason)
        refused.append((name, compared))
    return replace(best, refused=tuple(refused), reason=_told(refused))


def _told(refused: Iterable[tuple[str, str]]) -> str:
    """The first words of each reason, of which a library's may be long."""
    return "; ".join(
        f"{name}: {textwrap.shorten(reason, _REASON_CHARACTERS, placeholder='...')}"
        for name, reason in refused
    )


def _fastest_of_torch(
    load: Callable[[str], AttentionBackend], time_s: Callable[[AttentionBackend], float]
) -> tuple[AttentionBackend, float, list[tuple[str, str]]]:
    """The fastest of torch's kernels, its seconds, and those that do not run."""
    timed: list[tuple[float, AttentionBackend]] = []
    refused: list[tuple[str, str]] = []
    for name in _TORCH_KERNELS:
        try:
            found = load(name)
        except BackendUnavailableError as error:
            refused.append((name, str(error)))
            continue
        timed.append((time_s(found), found))
    if not timed:
        raise BackendUnavailableError(f"no attention runs here: {refused}")
    fastest_s = min(seconds for seconds, _ in timed)
    # The first that is about as fast: a name that changes from container to container is a seam.
    best_s, best = next(each for each in timed if each[0] <= (1 + MOST_SLOWER) * fastest_s)
    return best, best_s, refused


def seconds_of(
    backend: AttentionBackend, device: torch.device, dtype: torch.dtype, head_dim: int
) -> float:
    """The least of a few runs: weights may be copied to the GPU at the same time."""
    shape = (*(_TIMED_SHAPE if device.type == "cuda" else _TIMED_ON_CPU), head_dim)
    q, k, v = (torch.randn(shape, device=device, dtype=dtype) for _ in range(3))
    return min(_once(lambda: backend.kernel(q, k, v), device) for _ in range(_ROUNDS + 1))


def _once(work: Callable[[], object], device: torch.device) -> float:
    if device.type != "cuda":
        began_s = time.perf_counter()
        work()
        return time.perf_counter() - began_s
    # Not the clock of the host, which would wait for the copies of others too.
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    work()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / 1000


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
