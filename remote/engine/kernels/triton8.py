"""The steps around 8-bit matrix products in Triton: each as in `eight`, to rounding.

Axes: L tokens, D channels of the model, H heads, C channels of a head.
"""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from remote.engine.kernels.eight import EightOperations, Rows
from remote.engine.kernels.quantize import FP8
from remote.engine.kernels.rope import Rotation

# The fastest of those tried on an H100 at the published sizes.
_NORM_WARPS = 4
_NORM_ROWS, _NORM_ROWS_WITH_UPDATE = 8, 2
_WIDE_ROW = 8192  # channels above which a row takes more warps
_HEAD_ROWS = 64
_SHARE_ROWS = 64
_ONE_BLOCK = (8, 1024)  # outputs, inputs


def _require_packed(*tensors: Tensor | None) -> None:
    """The kernels find their numbers by counting, without strides."""
    for tensor in tensors:
        if tensor is not None and not tensor.is_contiguous():
            raise ValueError(f"a contiguous tensor is needed, not strides {tensor.stride()}")


def _parts(dim: int) -> tuple[int, int]:
    """A row in two parts, so that 5120 channels need no room for 8192."""
    head = triton.next_power_of_2(dim // 2 + 1)
    return head, triton.next_power_of_2(max(dim - head, 1))


@triton.jit
def _cut(values):  # type: ignore[no-untyped-def]
    return tl.minimum(tl.maximum(values, -448.0), 448.0)


@triton.jit  # type: ignore[untyped-decorator]
def _norm_kernel(  # type: ignore[no-untyped-def]
    x, update, offset, weight, bias, out, scales, count, dim, eps,
    has_update: tl.constexpr, is_eight: tl.constexpr,
    rows: tl.constexpr, head: tl.constexpr, tail: tl.constexpr,
):  # fmt: skip
    near = tl.arange(0, head)
    far = head + tl.arange(0, tail)
    inside = far < dim
    near_scale, near_shift = tl.load(weight + near).to(tl.float32), tl.load(bias + near)
    far_scale = tl.load(weight + far, inside, 0.0).to(tl.float32)
    far_shift = tl.load(bias + far, inside, 0.0)
    first = tl.program_id(0).to(tl.int64) * rows
    for i in range(rows):
        row = first + i
        here, there = row * dim + near, row * dim + far
        is_row, is_far = row < count, inside & (row < count)
        a = tl.load(x + here, is_row, 0.0).to(tl.float32)
        b = tl.load(x + there, is_far, 0.0).to(tl.float32)
        if has_update:
            a += tl.load(update + here, is_row, 0.0).to(tl.float32)
            b += tl.load(update + there, is_far, 0.0).to(tl.float32)
            rounded_a, rounded_b = a.to(x.dtype.element_ty), b.to(x.dtype.element_ty)
            tl.store(x + here, rounded_a, is_row)
            tl.store(x + there, rounded_b, is_far)
            a, b = rounded_a.to(tl.float32), rounded_b.to(tl.float32)
        a += tl.load(offset + near)
        b += tl.load(offset + far, inside, 0.0)
        mean = (tl.sum(a, 0) + tl.sum(b, 0)) / dim
        a -= mean
        b = tl.where(inside, b - mean, 0.0)
        inverse = tl.rsqrt((tl.sum(a * a, 0) + tl.sum(b * b, 0)) / dim + eps)
        a = a * inverse * near_scale + near_shift
        b = b * inverse * far_scale + far_shift
        if is_eight:
            peak = tl.maximum(tl.max(tl.abs(a), 0), tl.max(tl.abs(b), 0))
            scale = tl.where(peak == 0, 1.0, peak / 448.0)
            tl.store(scales + row, scale, is_row)
            # One division a row; the largest value is rounded to 448 whichever way it comes out.
            per_scale = 1.0 / scale
            a, b = a * per_scale, b * per_scale
        tl.store(out + here, a.to(out.dtype.element_ty), is_row)
        tl.store(out + there, b.to(out.dtype.element_ty), is_far)


def _norm(
    x: Tensor,
    update: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    offset: Tensor,
    out: Tensor,
    scales: Tensor | None,
) -> None:
    _require_packed(x, update, weight, bias, offset)
    count, dim = x.shape
    rows = _NORM_ROWS if update is None else _NORM_ROWS_WITH_UPDATE
    _norm_kernel[(triton.cdiv(count, rows),)](
        x, x if update is None else update, offset, weight, bias, out,
        offset if scales is None else scales, count, dim, eps,
        update is not None, scales is not None, rows, *_parts(dim), num_warps=_NORM_WARPS,
    )  # fmt: skip


def norm_rows(
    x: Tensor, update: Tensor | None, weight: Tensor, bias: Tensor, eps: float, offset: Tensor
) -> Rows:
    """Adds an update to x in place, if any; gives the layer norm of x + offset in 8 bits."""
    tokens = _empty_rows(x)
    _norm(x, update, weight, bias, eps, offset, *tokens)
    return tokens


def norm_sum(
    x: Tensor, update: Tensor | None, weight: Tensor, bias: Tensor, eps: float, offset: Tensor
) -> Tensor:
    """As norm_rows, in x's dtype instead of 8 bits."""
    out = torch.empty_like(x)
    _norm(x, update, weight, bias, eps, offset, out, None)
    return out


@triton.jit  # type: ignore[untyped-decorator]
def _rows_kernel(  # type: ignore[no-untyped-def]
    x, out, scales, dim, has_gelu: tl.constexpr, head: tl.constexpr, tail: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    near = tl.arange(0, head)
    far = head + tl.arange(0, tail)
    inside = far < dim
    a = tl.load(x + row * dim + near).to(tl.float32)
    b = tl.load(x + row * dim + far, inside, 0.0).to(tl.float32)
    if has_gelu:
        # x sigmoid(1.5957691 (x + 0.044715 x^3)), to the base 2
        a = a / (1.0 + tl.exp2(a * (-2.3022082 - 0.10294324 * a * a)))
        b = b / (1.0 + tl.exp2(b * (-2.3022082 - 0.10294324 * b * b)))
    peak = tl.maximum(tl.max(tl.abs(a), 0), tl.max(tl.abs(b), 0))
    # A maximum may pass over a not-a-number, which must show in the product.
    poison = (tl.sum(a, 0) + tl.sum(b, 0)) * 0.0
    scale = tl.where(peak == 0, 1.0, peak / 448.0) + poison
    tl.store(scales + row, scale)
    per_scale = 1.0 / scale
    tl.store(out + row * dim + near, (a * per_scale).to(out.dtype.element_ty))
    tl.store(out + row * dim + far, (b * per_scale).to(out.dtype.element_ty), inside)


def rows(x: Tensor) -> Rows:
    """Tokens [L, D] in 8 bits."""
    return _rows(x, has_gelu=False)


def gelu_rows(x: Tensor) -> Rows:
    """GELU (tanh form) of [L, N], in 8 bits."""
    return _rows(x, has_gelu=True)


def _rows(x: Tensor, *, has_gelu: bool) -> Rows:
    _require_packed(x)
    tokens = _empty_rows(x)
    count, dim = x.shape
    warps = 16 if dim > _WIDE_ROW else 8
    _rows_kernel[(count,)](x, *tokens, dim, has_gelu, *_parts(dim), num_warps=warps)
    return tokens


def _empty_rows(x: Tensor) -> Rows:
    scales = torch.empty(len(x), 1, dtype=torch.float32, device=x.device)
    return Rows(torch.empty(x.shape, dtype=FP8, device=x.device), scales)


@triton.jit(do_not_specialize=["count"])  # type: ignore[untyped-decorator]
def _heads_kernel(  # type: ignore[no-untyped-def]
    x, shift, scales, turn, out, count, heads, root,
    has_turn: tl.constexpr, rows: tl.constexpr, channels: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1)
    row = tl.program_id(0) * rows + tl.arange(0, rows)
    channel = tl.arange(0, channels)
    place = row.to(tl.int64)[:, None] * (heads * channels) + head * channels + channel[None, :]
    mask = (row < count)[:, None]
    values = tl.load(x + place, mask, 0.0)
    if has_turn:
        signs = tl.load(turn + channel[:, None] * channels + channel[None, :])
        turned = tl.dot(values, signs) * root
    else:
        turned = values.to(tl.float32)
    turned -= tl.load(shift + head * channels + channel)[None, :]
    turned *= 1.0 / tl.load(scales + head)
    tl.store(out + place, _cut(turned).to(out.dtype.element_ty), mask)


def heads(x: Tensor, shift: Tensor, scale: Tensor, turn: Tensor | None) -> Tensor:
    """(turned x - shift) / scale in 8 bits, values that are too large cut off; C a power of 2."""
    _require_packed(x, shift, scale, turn)
    count, number, channels = x.shape
    out = torch.empty(x.shape, dtype=FP8, device=x.device)
    _heads_kernel[(triton.cdiv(count, _HEAD_ROWS), number)](
        x, shift, scale, x if turn is None else turn, out, count, number, channels**-0.5,
        turn is not None, _HEAD_ROWS, channels, num_warps=4,
    )  # fmt: skip
    return out


@triton.jit(do_not_specialize=["count", "step"])  # type: ignore[untyped-decorator]
def _statistics_kernel(  # type: ignore[no-untyped-def]
    x, turn, means, scales, count, step, level, root,
    is_centred: tl.constexpr, has_turn: tl.constexpr, rows: tl.constexpr, channels: tl.constexpr,
):  # fmt: skip
    head, heads = tl.program_id(0), tl.num_programs(0)
    channel = tl.arange(0, channels)
    source = x + head * channels + channel[None, :]
    mean = tl.zeros((channels,), tl.float32)
    if is_centred:
        for start in range(0, count, rows):
            row = (start + tl.arange(0, rows))[:, None]
            place = row.to(tl.int64) * step * heads * channels
            mean += tl.sum(tl.load(source + place, row < count, 0.0).to(tl.float32), 0)
        mean = mean / count
    square = tl.zeros((channels,), tl.float32)
    for start in range(0, count, rows):
        row = (start + tl.arange(0, rows))[:, None]
        place = row.to(tl.int64) * step * heads * channels
        apart = tl.load(source + place, row < count, 0.0).to(tl.float32) - mean[None, :]
        apart = tl.where(row < count, apart, 0.0)
        square += tl.sum(apart * apart, 0)
    size = tl.sqrt(tl.sum(square, 0) / (count * channels))
    tl.store(scales + head, tl.where(size == 0, 1.0, size / level))
    if has_turn:
        signs = tl.load(turn + channel[:, None] * channels + channel[None, :]).to(tl.float32)
        mean = tl.sum(mean[:, None] * signs, 0) * root
    tl.store(means + head * channels + channel, mean)


def statistics(
    x: Tensor, step: int, turn: Tensor | None, level: float, *, is_centred: bool
) -> tuple[Tensor, Tensor]:
    """As `eight.statistics`; C a power of 2."""
    _require_packed(x, turn)
    count, number, channels = x.shape
    means = torch.empty(number, channels, dtype=torch.float32, device=x.device)
    scales = torch.empty(number, dtype=torch.float32, device=x.device)
    _statistics_kernel[(number,)](
        x, x if turn is None else turn, means, scales, -(-count // step), step, level,
        channels**-0.5, is_centred, turn is not None, _HEAD_ROWS, channels, num_warps=8,
    )  # fmt: skip
    return means, scales


@triton.jit  # type: ignore[untyped-decorator]
def _one_kernel(  # type: ignore[no-untyped-def]
    weight, scales, token, out, inputs, outputs, rows: tl.constexpr, block: tl.constexpr
):
    row = tl.program_id(0) * rows + tl.arange(0, rows)
    total = tl.zeros((rows,), tl.float32)
    for start in range(0, inputs, block):
        column = start + tl.arange(0, block)
        mask = (row < outputs)[:, None] & (column < inputs)[None, :]
        values = tl.load(weight + row[:, None] * inputs + column[None, :], mask, 0.0)
        shares = tl.load(token + column, column < inputs, 0.0)
        total += tl.sum(values.to(tl.float32) * shares[None, :], 1)
    total *= tl.load(scales + row, row < outputs, 0.0)
    tl.store(out + row, total, row < outputs)


def of_one(weight: Tensor, scale: Tensor, token: Tensor) -> Tensor:
    """As `eight.of_one`, without a copy of the weight."""
    _require_packed(weight, scale, token)
    outputs, inputs = weight.shape
    out = torch.empty(outputs, dtype=torch.float32, device=weight.device)
    _one_kernel[(triton.cdiv(outputs, _ONE_BLOCK[0]),)](
        weight, scale, token, out, inputs, outputs, *_ONE_BLOCK, num_warps=4
    )
    return out


@triton.jit(do_not_specialize=["count"])  # type: ignore[untyped-decorator]
def _shares_kernel(  # type: ignore[no-untyped-def]
    q, cos, sin, key, out, count, heads, scale,
    tokens: tl.constexpr, pairs: tl.constexpr, rows: tl.constexpr,
):  # fmt: skip
    head, frame = tl.program_id(1), tl.program_id(2)
    row = tl.program_id(0) * rows + tl.arange(0, rows)
    mask = (row < count)[:, None]
    place = (frame.to(tl.int64) * count + row)[:, None]
    channel, token = tl.arange(0, 2 * pairs)[None, :], tl.arange(0, tokens)
    values = tl.load(q + (place * heads + head) * 2 * pairs + channel, mask, 0.0)
    angle = place * pairs + tl.arange(0, pairs)[None, :]
    c, s = tl.load(cos + angle, mask, 0.0), tl.load(sin + angle, mask, 0.0)
    even, odd = tl.split(tl.reshape(values.to(tl.float32), (rows, pairs, 2)))
    turned = tl.reshape(tl.join(even * c - odd * s, even * s + odd * c), (rows, 2 * pairs))
    k = tl.load(key + ((frame * tokens + token[:, None]) * heads + head) * 2 * pairs + channel)
    score = tl.dot(turned.to(k.dtype), tl.trans(k)) * scale
    share = tl.exp2(score - tl.max(score, 1)[:, None])
    share = share / tl.sum(share, 1)[:, None]
    target = out + (place * heads + head) * tokens + token[None, :]
    tl.store(target, share.to(out.dtype.element_ty), mask)


def rotated_shares(q: Tensor, rotation: Rotation, key: Tensor) -> Tensor:
    """As `eight.rotated_shares`; M a power of 2."""
    _require_packed(q, key, *rotation)
    frames, count, _ = q.shape
    _, tokens, heads, channels = key.shape
    out = torch.empty(frames, count, heads * tokens, dtype=q.dtype, device=q.device)
    _shares_kernel[(triton.cdiv(count, _SHARE_ROWS), heads, frames)](
        q, rotation.cos, rotation.sin, key, out, count, heads,
        channels**-0.5 * math.log2(math.e), tokens, channels // 2, _SHARE_ROWS, num_warps=4,
    )  # fmt: skip
    return out


TRITON_EIGHT = EightOperations(
    name=f"triton {triton.__version__}",
    norm_rows=norm_rows,
    norm_sum=norm_sum,
    rows=rows,
    gelu_rows=gelu_rows,
    heads=heads,
    statistics=statistics,
    of_one=of_one,
    rotated_shares=rotated_shares,
)
