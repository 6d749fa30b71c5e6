"""The steps outside exact, around 8-bit matrix products, in plain torch; `triton8` has them too.

Weights are e4m3 with a scale for each output, tokens e4m3 with a scale for each token.

Axes: L tokens, D channels of the model, N outputs of a layer, H heads, C channels of a head.
"""

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from remote.engine.kernels import operations
from remote.engine.kernels.quantize import FP8, FP8_MAX, quantize_rows
from remote.engine.kernels.rope import Rotation


class Rows(NamedTuple):
    """Tokens in 8 bits: values [L, D] e4m3, scale [L, 1] float32."""

    values: Tensor
    scale: Tensor

    def after(self, first: int) -> "Rows":
        """Without the first tokens."""
        return Rows(self.values[first:], self.scale[first:])


class Statistics(Protocol):
    """See `statistics`."""

    def __call__(
        self, x: Tensor, step: int, turn: Tensor | None, level: float, *, is_centred: bool
    ) -> tuple[Tensor, Tensor]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EightOperations:
    """One implementation of every step."""

    name: str
    norm_rows: Callable[[Tensor, Tensor | None, Tensor, Tensor, float, Tensor], Rows]
    norm_sum: Callable[[Tensor, Tensor | None, Tensor, Tensor, float, Tensor], Tensor]
    rows: Callable[[Tensor], Rows]
    gelu_rows: Callable[[Tensor], Rows]
    heads: Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
    statistics: Statistics
    of_one: Callable[[Tensor, Tensor, Tensor], Tensor]
    rotated_shares: Callable[[Tensor, Rotation, Tensor], Tensor]


def norm_rows(
    x: Tensor, update: Tensor | None, weight: Tensor, bias: Tensor, eps: float, offset: Tensor
) -> Rows:
    """Adds an update to x in place, if any; gives the layer norm of x + offset in 8 bits.

    x, update: [L, D]; weight, bias and offset: [D] float32.
    """
    if update is not None:
        x.add_(update)
    return Rows(*quantize_rows(operations.norm(x, weight, bias, eps, offset, torch.float32)))


def norm_sum(
    x: Tensor, update: Tensor | None, weight: Tensor, bias: Tensor, eps: float, offset: Tensor
) -> Tensor:
    """As norm_rows, in x's dtype instead of 8 bits."""
    if update is not None:
        x.add_(update)
    return operations.norm(x, weight, bias, eps, offset)


def rows(x: Tensor) -> Rows:
    """Tokens [L, D] in 8 bits."""
    return Rows(*quantize_rows(x))


def gelu_rows(x: Tensor) -> Rows:
    """GELU (tanh form) of [L, N], in 8 bits."""
    return Rows(*quantize_rows(F.gelu(x.float(), approximate="tanh")))


def heads(x: Tensor, shift: Tensor, scale: Tensor, turn: Tensor | None) -> Tensor:
    """(turned x - shift) / scale in 8 bits, values that are too large cut off.

    x: [L, H, C]; shift: [H, C] and scale: [H], both float32. turn: [C, C] of 1 and -1, whose rows
    are orthogonal; divided by its length it rotates each head, None for no rotation.
    """
    values = x.float()
    if turn is not None:
        values = values @ turn.float() * len(turn) ** -0.5
    values = (values - shift) / scale[:, None]
    return values.clamp_(-FP8_MAX, FP8_MAX).to(FP8)


def statistics(
    x: Tensor, step: int, turn: Tensor | None, level: float, *, is_centred: bool
) -> tuple[Tensor, Tensor]:
    """The mean [H, C] of turned tokens, 0 if not centred, and the scale [H] of what is left.

    x: [L, H, C], of which every step-th token is seen; turn as in `heads`. level: the
    root-mean-square of tokens divided by the scale.
    """
    sample = x[::step].float()
    mean = sample.mean(dim=0) if is_centred else torch.zeros_like(sample[0])
    size = (sample - mean).square().mean(dim=(0, 2)).sqrt()
    scale = torch.where(size == 0, 1.0, size / level)
    if turn is not None:
        mean = mean @ turn.float() * len(turn) ** -0.5
    return mean.contiguous(), scale


def of_one(weight: Tensor, scale: Tensor, token: Tensor) -> Tensor:
    """A layer without its bias on one token [D] float32, which is kept whole: [N] float32."""
    return (weight.float() @ token) * scale[:, 0]


def rotated_shares(q: Tensor, rotation: Rotation, key: Tensor) -> Tensor:
    """Each token's attention to the keys of its frame, after the token's rotation.

    q: [F, L, D]; rotation: of all F x L tokens; key: [F, M, H, C]. Returns [F, L, H x M] in q's
    dtype, where the shares of each head sum to one.
    """
    frames, _, heads, channels = key.shape
    turned = operations.norm_rotate(q.flatten(0, 1), None, rotation, heads, 0.0)
    turned = turned.unflatten(0, (frames, -1)).float()
    scores = torch.einsum("flhc,fmhc->flhm", turned, key.float()) * channels**-0.5
    return scores.softmax(dim=-1).flatten(2).to(q.dtype)


PLAIN_EIGHT = EightOperations(
    name="torch",
    norm_rows=norm_rows,
    norm_sum=norm_sum,
    rows=rows,
    gelu_rows=gelu_rows,
    heads=heads,
    statistics=statistics,
    of_one=of_one,
    rotated_shares=rotated_shares,
)


def kernel_failures() -> tuple[type[Exception], ...]:
    """The errors of a kernel for another GPU, which fails in whatever way its authors chose."""
    known = (ImportError, OSError, RuntimeError, ValueError, TypeError, AttributeError)
    if importlib.util.find_spec("triton") is None:
        return known
    return (*known, importlib.import_module("triton.errors").TritonError)


def product(
    tokens: Rows, weight: Tensor, scale: Tensor, bias: Tensor | None, dtype: torch.dtype
) -> Tensor:
    """A linear layer in 8 bits, [L, N] in dtype.

    weight: [N, D] e4m3; scale: [N, 1] float32, gates included; bias: [N] in dtype.
    """
    # The library's fast accumulation has the same error and takes a third less time.
    return torch._scaled_mm(
        tokens.values,
        weight.t(),
        scale_a=tokens.scale,
        scale_b=scale.t(),
        bias=bias,
        out_dtype=dtype,
        use_fast_accum=True,
    )
