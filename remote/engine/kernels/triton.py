"""Small fused kernels in Triton: one pass over the tokens where plain torch takes several.

Each returns the same as its plain form in `operations`, to rounding. No kernel is compiled again
for another number of tokens or keys. This module can be imported only where Triton is installed.

Axes: L tokens, D channels of the model, H heads, C channels of a head, M keys, P pixels.
"""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.errors import TritonError

from remote.engine.kernels.key_value import KeyValue
from remote.engine.kernels.operations import PLAIN, Operations
from remote.engine.kernels.rope import Rotation

__all__ = ["TRITON", "TritonError"]

# The fastest of those tried on an H100 at the published sizes.
_NORM_WARPS = 4
_NORM_ROWS = 4
_CROSS_BLOCK = (64, 32)  # queries, keys
_SOFTMAX_GROUPS = 64
_SCALE_BLOCK = 2048
_PIXEL_VALUES = 4096


def _require_packed(*tensors: Tensor | None) -> None:
    """The kernels find their numbers by counting, without strides."""
    for tensor in tensors:
        if tensor is not None and not tensor.is_contiguous():
            raise ValueError(f"a contiguous tensor is needed, not strides {tensor.stride()}")


@triton.jit  # type: ignore[untyped-decorator]
def _norm_kernel(  # type: ignore[no-untyped-def]
    x, offset, weight, bias, out, count, dim, eps,
    has_offset: tl.constexpr, rows: tl.constexpr, head: tl.constexpr, tail: tl.constexpr,
):  # fmt: skip
    """Rows in two parts, so that 5120 channels need no room for 8192."""
    near = tl.arange(0, head)
    far = head + tl.arange(0, tail)
    inside = far < dim
    near_scale, near_shift = tl.load(weight + near).to(tl.float32), tl.load(bias + near)
    far_scale = tl.load(weight + far, inside, 0.0).to(tl.float32)
    far_shift = tl.load(bias + far, inside, 0.0)
    first = tl.program_id(0).to(tl.int64) * rows
    for i in range(rows):
        row = first + i
        a = tl.load(x + row * dim + near, row < count, 0.0).to(tl.float32)
        b = tl.load(x + row * dim + far, inside & (row < count), 0.0).to(tl.float32)
        if has_offset:
            a += tl.load(offset + near)
            b += tl.load(offset + far, inside, 0.0)
        mean = (tl.sum(a, 0) + tl.sum(b, 0)) / dim
        a -= mean
        b = tl.where(inside, b - mean, 0.0)
        inverse = tl.rsqrt((tl.sum(a * a, 0) + tl.sum(b * b, 0)) / dim + eps)
        a = a * inverse * near_scale + near_shift
        b = b * inverse * far_scale + far_shift
        tl.store(out + row * dim + near, a.to(out.dtype.element_ty), row < count)
        tl.store(out + row * dim + far, b.to(out.dtype.element_ty), inside & (row < count))


def norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    offset: Tensor | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Layer norm of x + offset, times weight, plus bias; x: [L, D], the others [D]."""
    _require_packed(x, weight, bias, offset)
    count, dim = x.shape
    out = torch.empty(x.shape, dtype=dtype or x.dtype, device=x.device)
    head = triton.next_power_of_2(dim // 2 + 1)
    _norm_kernel[(triton.cdiv(count, _NORM_ROWS),)](
        x, x if offset is None else offset, weight, bias, out, count, dim, eps,
        offset is not None, _NORM_ROWS, head, triton.next_power_of_2(max(dim - head, 1)),
        num_warps=_NORM_WARPS,
    )  # fmt: skip
    return out


@triton.jit  # type: ignore[untyped-decorator]
def _scale_kernel(  # type: ignore[no-untyped-def]
    weight, gate, out, width, block: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * block + tl.arange(0, block)
    values = tl.load(weight + row * width + column, column < width, 0.0).to(tl.float32)
    values *= tl.load(gate + row)
    tl.store(out + row * width + column, values.to(out.dtype.element_ty), column < width)


def scale_rows(weight: Tensor, gate: Tensor) -> Tensor:
    """Multiplies each row of a weight [out, in] by its gate [out] float32, in one pass."""
    _require_packed(weight, gate)
    rows, width = weight.shape
    out = torch.empty_like(weight)
    grid = (rows, triton.cdiv(width, _SCALE_BLOCK))
    _scale_kernel[grid](weight, gate, out, width, _SCALE_BLOCK, num_warps=4)
    return out


@triton.jit  # type: ignore[untyped-decorator]
def _rotate_kernel(  # type: ignore[no-untyped-def]
    x, weight, cos, sin, out, heads, eps,
    has_norm: tl.constexpr, has_rotation: tl.constexpr,
    head_block: tl.constexpr, pairs: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    head = tl.arange(0, head_block)[:, None]
    place = head * (2 * pairs) + tl.arange(0, 2 * pairs)[None, :]
    inside = head < heads
    dim = heads * 2 * pairs
    values = tl.load(x + row * dim + place, inside, 0.0).to(tl.float32)
    if has_norm:
        square = tl.sum(tl.sum(values * values, 1), 0) / dim
        scale = tl.load(weight + place, inside, 0.0).to(tl.float32)
        values = values * tl.rsqrt(square + eps) * scale
    if has_rotation:
        angle = row * pairs + tl.arange(0, pairs)[None, :]
        c, s = tl.load(cos + angle), tl.load(sin + angle)
        even, odd = tl.split(tl.reshape(values, (head_block, pairs, 2)))
        rotated = tl.join(even * c - odd * s, even * s + odd * c)
        values = tl.reshape(rotated, (head_block, 2 * pairs))
    tl.store(out + row * dim + place, values.to(out.dtype.element_ty), inside)


def norm_rotate(
    x: Tensor, weight: Tensor | None, rotation: Rotation | None, heads: int, eps: float
) -> Tensor:
    """Root-mean-square norm over all heads, then rotation; either may be left out.

    x: [L, D], contiguous. Returns [L, H, C] in x's dtype.
    """
    _require_packed(x, weight, *(rotation or ()))
    count, dim = x.shape
    out = torch.empty(count, heads, dim // heads, dtype=x.dtype, device=x.device)
    cos, sin = (x, x) if rotation is None else (rotation.cos, rotation.sin)
    _rotate_kernel[(count,)](
        x, x if weight is None else weight, cos, sin, out, heads, eps,
        weight is not None, rotation is not None,
        triton.next_power_of_2(heads), dim // heads // 2, num_warps=_NORM_WARPS,
    )  # fmt: skip
    return out


@triton.jit  # type: ignore[untyped-decorator]
def _attend(  # type: ignore[no-untyped-def]
    q, keys, values, count, row_step, last_bias, scale,
    channels: tl.constexpr, block_q: tl.constexpr, block_k: tl.constexpr,
):  # fmt: skip
    """Softmax attention of a block of queries; the last key's score gets a bias (base 2)."""
    top = tl.full((block_q,), float("-inf"), tl.float32)
    total = tl.zeros((block_q,), tl.float32)
    result = tl.zeros((block_q, channels), tl.float32)
    channel = tl.arange(0, channels)
    for start in range(0, count, block_k):
        key = start + tl.arange(0, block_k)
        place = key[:, None] * row_step + channel[None, :]
        mask = (key < count)[:, None]
        k = tl.load(keys + place, mask, 0.0)
        score = tl.dot(q, tl.trans(k)) * scale
        score = tl.where((key < count)[None, :], score, float("-inf"))
        score += tl.where(key == count - 1, last_bias, 0.0)[None, :]
        new_top = tl.maximum(top, tl.max(score, 1))
        share = tl.exp2(score - new_top[:, None])
        shrink = tl.exp2(top - new_top)
        total = total * shrink + tl.sum(share, 1)
        v = tl.load(values + place, mask, 0.0)
        result = tl.dot(share.to(v.dtype), v, result * shrink[:, None])
        top = new_top
    return result / total[:, None]


@triton.jit(do_not_specialize=["count", "text_count", "image_count"])  # type: ignore[untyped-decorator]
def _cross_kernel(  # type: ignore[no-untyped-def]
    q, text_key, text_value, image_key, image_value, out,
    count, text_count, image_count, heads, text_bias, image_bias, scale,
    channels: tl.constexpr, block_q: tl.constexpr, block_k: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1) * channels
    row_step = heads * channels
    row = tl.program_id(0) * block_q + tl.arange(0, block_q)
    place = row.to(tl.int64)[:, None] * row_step + head + tl.arange(0, channels)[None, :]
    mask = (row < count)[:, None]
    query = tl.load(q + place, mask, 0.0)
    seen = _attend(
        query, text_key + head, text_value + head, text_count, row_step, text_bias, scale,
        channels, block_q, block_k,
    )  # fmt: skip
    seen += _attend(
        query, image_key + head, image_value + head, image_count, row_step, image_bias, scale,
        channels, block_q, block_k,
    )  # fmt: skip
    tl.store(out + place, seen.to(out.dtype.element_ty), mask)


def cross_attention(q: Tensor, text: KeyValue, image: KeyValue) -> Tensor:
    """Attention to text plus attention to the image; q: [L, H, C]. Returns [L, H, C]."""
    _require_packed(q, text.key, text.value, image.key, image.value)
    count, heads, channels = q.shape
    out = torch.empty_like(q)
    block_q, block_k = _CROSS_BLOCK
    _cross_kernel[(triton.cdiv(count, block_q), heads)](
        q, text.key, text.value, image.key, image.value, out,
        count, text.key.shape[1], image.key.shape[1], heads,
        math.log2(text.repeats), math.log2(image.repeats), channels**-0.5 * math.log2(math.e),
        channels, block_q, block_k, num_warps=4, num_stages=3,
    )  # fmt: skip
    return out


@triton.jit(do_not_specialize=["count", "per_frame"])  # type: ignore[untyped-decorator]
def _softmax_kernel(  # type: ignore[no-untyped-def]
    scores, bias, out, count, per_frame, heads, tokens: tl.constexpr, groups: tl.constexpr
):
    group = tl.program_id(0).to(tl.int64) * groups + tl.arange(0, groups)
    token = tl.arange(0, tokens)[None, :]
    mask = (group < count)[:, None]
    place = group[:, None] * tokens + token
    frame, head = group // per_frame, group % heads
    score = tl.load(scores + place, mask, 0.0)
    score += tl.load(bias + (frame * heads + head)[:, None] * tokens + token, mask, 0.0)
    share = tl.exp(score - tl.max(score, 1)[:, None])
    share = share / tl.sum(share, 1)[:, None]
    tl.store(out + place, share.to(out.dtype.element_ty), mask)


def group_softmax(scores: Tensor, bias: Tensor, dtype: torch.dtype) -> Tensor:
    """Softmax over the tokens of each head, after a bias for each frame.

    scores: [F, L, H x M] float32; bias: [F, H, M] float32. Returns [F, L, H x M] in dtype.
    """
    _require_packed(scores, bias)
    frames, rows, _ = scores.shape
    heads, tokens = bias.shape[1:]
    out = torch.empty(scores.shape, dtype=dtype, device=scores.device)
    count = frames * rows * heads
    _softmax_kernel[(triton.cdiv(count, _SOFTMAX_GROUPS),)](
        scores, bias, out, count, rows * heads, heads, tokens, _SOFTMAX_GROUPS, num_warps=4
    )
    return out


@triton.jit(do_not_specialize=["pixels"])  # type: ignore[untyped-decorator]
def _pixel_kernel(  # type: ignore[no-untyped-def]
    x, gamma, out, pixels, channels, root,
    rows: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * rows + tl.arange(0, rows)
    column = tl.arange(0, block)[None, :]
    mask = (row < pixels)[:, None] & (column < channels)
    place = row[:, None] * channels + column
    values = tl.load(x + place, mask, 0.0).to(tl.float32)
    length = tl.sqrt(tl.sum(values * values, 1))
    values = values * (root / tl.maximum(length, 1e-12))[:, None]
    values *= tl.load(gamma + column, column < channels, 0.0).to(tl.float32)
    values = values / (1.0 + tl.exp(-values))
    tl.store(out + place, values.to(out.dtype.element_ty), mask)


def norm_silu(x: Tensor, gamma: Tensor, past: Tensor) -> Tensor:
    """`norm_silu.norm_silu` for one video whose channels are last in memory."""
    _, channels, frames, height, width = x.shape
    if len(x) > 1 or not x.is_contiguous(memory_format=torch.channels_last_3d):
        return PLAIN.norm_silu(x, gamma, past)
    earlier = past.shape[2]
    out = torch.empty(
        (1, channels, earlier + frames, height, width), dtype=x.dtype, device=x.device,
        memory_format=torch.channels_last_3d,
    )  # fmt: skip
    out[:, :, :earlier] = past
    block = triton.next_power_of_2(channels)
    rows, pixels = max(_PIXEL_VALUES // block, 1), frames * height * width
    _pixel_kernel[(triton.cdiv(pixels, rows),)](
        x, gamma, out[:, :, earlier:], pixels, channels, math.sqrt(channels), rows, block,
        num_warps=4,
    )  # fmt: skip
    return out


def linear_gelu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A linear layer with GELU (tanh form) in the matrix product's last step. x: [L, D]."""
    return torch._addmm_activation(bias, x, weight.t(), use_gelu=True)


TRITON = Operations(
    name=f"triton {triton.__version__}",
    norm=norm,
    norm_rotate=norm_rotate,
    cross_attention=cross_attention,
    group_softmax=group_softmax,
    linear_gelu=linear_gelu,
    scale_rows=scale_rows,
    norm_silu=norm_silu,
)
