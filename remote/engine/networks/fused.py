"""The transformer's blocks with less work: the same maths as `layers`, summed in another order.

- The tokens are changed in place by the matrix products themselves; what they leave out, the
  biases, is kept as one vector for all tokens (`Stream`).
- Gates scale the weights of the product before them.
- The audio layers' query and output weights are multiplied into the few audio keys and values
  (`FoldedAudio`), where there is one voice and memory; for two voices the output weights into the
  values alone (`FoldedValues`), as their queries are rotated, and not in exact.
- Equal text keys, those of the padding, count as one.
- The branches of a step share the first block's self-attention (`SharedStart`).
- The last block leaves out leading tokens that are not used.

Axes: L tokens, F latent frames, D channels of the model, H heads, C channels of a head, M keys.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from remote.engine.kernels.attention import AttentionBackend, attention
from remote.engine.kernels.attention8 import Attention8
from remote.engine.kernels.eight import EightOperations, Rows
from remote.engine.kernels.key_value import AudioKeyValue, FoldedAudio, FoldedValues, KeyValue
from remote.engine.kernels.operations import Operations
from remote.engine.kernels.rope import Rotation, label_rotation
from remote.engine.networks.eight import EightBitLinear
from remote.engine.networks.labels import PersonRegions
from remote.engine.networks.layers import AudioAttention, Block, BlockCondition, Modulation


@dataclass(slots=True)
class Stream:
    """The tokens between two layers: tokens [L, D] plus offset [D] float32.

    update: [L, D], what a layer in 8 bits adds; the next norm adds it in the same pass.
    """

    tokens: Tensor
    offset: Tensor
    update: Tensor | None = None

    def value(self) -> Tensor:
        self.settle()
        return (self.tokens + self.offset).to(self.tokens.dtype)

    def settle(self) -> None:
        """Adds the update that is due."""
        update = self.take()
        if update is not None:
            self.tokens.add_(update)

    def take(self) -> Tensor | None:
        """The update that is due, for one who adds it."""
        update, self.update = self.update, None
        return update


@dataclass(slots=True)
class SharedStart:
    """The first block's self-attention of some latents, shared by the branches of a step."""

    latents: Tensor | None = None
    stream: Stream | None = None
    positions: Tensor | None = None

    def begin(self, latents: Tensor) -> None:
        """Forgets what belongs to other latents."""
        if latents is not self.latents:
            self.latents, self.stream, self.positions = latents, None, None


@dataclass(frozen=True, slots=True, kw_only=True)
class FusedBlocks:
    """Runs the blocks with the chosen operations and attention kernel.

    eight: for layers in 8 bits, None where there are none. attention8: for self-attention in 8
    bits; the map of two persons stays in 16.
    """

    operations: Operations
    backend: AttentionBackend
    heads: int
    eight: EightOperations | None = None
    attention8: Attention8 | None = None

    def run(
        self,
        blocks: Iterable[Block],
        x: Tensor,
        modulation: Tensor,
        rotation: Rotation,
        conditions: Sequence[BlockCondition],
        regions: PersonRegions | None,
        shared: SharedStart | None = None,
        skipped: int = 0,
    ) -> Tensor:
        """x: [1, L, D], which is kept. Returns the last block's tokens, [1, L - skipped, D]."""
        stream = Stream(x[0], x.new_zeros(x.shape[-1], dtype=torch.float32))
        for index, (block, condition) in enumerate(zip(blocks, conditions, strict=True)):
            parts = Modulation(*(block.modulation.float() + modulation)[0])
            leading = skipped if index == len(conditions) - 1 else 0
            if index == 0:
                positions = self._start(block, stream, parts, rotation, regions, leading, shared)
            else:
                positions = self._self_attention(block, stream, parts, rotation, regions, leading)
            self._cross_attention(block, stream, condition)
            self._audio_attention(block, stream, condition.audio, positions, x.shape[1])
            self._feed_forward(block, stream, parts)
        return stream.value()[None]

    def _start(
        self,
        block: Block,
        stream: Stream,
        parts: Modulation,
        rotation: Rotation,
        regions: PersonRegions | None,
        leading: int,
        shared: SharedStart | None,
    ) -> Tensor | None:
        """The first block's self-attention, taken from another branch where that has run."""
        known = None if shared is None else shared.stream
        positions = None if shared is None or regions is None else shared.positions
        if known is not None and (regions is None or positions is not None):
            stream.tokens, stream.offset = known.tokens.clone(), known.offset
            return positions
        stream.tokens = stream.tokens.clone()
        positions = self._self_attention(block, stream, parts, rotation, regions, leading)
        if shared is not None:
            stream.settle()
            shared.stream = Stream(stream.tokens.clone(), stream.offset)
            shared.positions = positions
        return positions

    def _self_attention(
        self,
        block: Block,
        stream: Stream,
        parts: Modulation,
        rotation: Rotation,
        regions: PersonRegions | None,
        leading: int,
    ) -> Tensor | None:
        """Adds self-attention; returns label positions of the remaining tokens, given regions."""
        layer, norm_rotate = block.self_attn, self.operations.norm_rotate
        h = self._norm(stream, 1 + parts.scale, parts.shift, block.eps, layer.q)
        k = norm_rotate(layer.k(h), layer.norm_k.weight, rotation, self.heads, block.eps)
        v = layer.v(h).unflatten(-1, (self.heads, -1))
        first = leading if regions is None else 0
        q_rotation = Rotation(rotation.cos[first:], rotation.sin[first:])
        rest = h.after(first) if isinstance(h, Rows) else h[first:]
        q = norm_rotate(layer.q(rest), layer.norm_q.weight, q_rotation, self.heads, block.eps)
        del rest
        del h
        positions = None
        if regions is not None:
            attention_map = regions.attention_map(q[None], k[None], self.backend)
            positions = regions.positions(attention_map)[leading:]
        common = None
        if self.attention8 is None:
            out = attention(q[None, leading - first :], k[None], v[None], self.backend)[0]
        else:
            out, common = self.attention8(q[leading - first :], k, v)
        stream.tokens = stream.tokens[leading:]
        self._add(stream, out.flatten(1), layer.o, parts.gate, common)
        return positions

    def _cross_attention(self, block: Block, stream: Stream, condition: BlockCondition) -> None:
        layer, norm = block.cross_attn, block.norm3
        h = self._norm(stream, norm.weight, norm.bias, norm.eps, layer.q)
        q = self.operations.norm_rotate(
            layer.q(h), layer.norm_q.weight, None, self.heads, block.eps
        )
        out = self.operations.cross_attention(q, condition.text, condition.image)
        self._add(stream, out.flatten(1), layer.o)

    def _audio_attention(
        self,
        block: Block,
        stream: Stream,
        audio: AudioKeyValue,
        positions: Tensor | None,
        tokens: int,
    ) -> None:
        """tokens: of all frames, those left out included."""
        layer, norm = block.audio_cross_attn, block.norm_x
        h = cast(Tensor, self._norm(stream, norm.weight, norm.bias, norm.eps, layer.q_linear))
        frames = audio.frames * len(h) // tokens
        if isinstance(audio, FoldedAudio):
            self._folded_attention(layer, stream, h, audio, frames)
            return
        q = layer.q_linear(h)
        if positions is None:
            q = q.unflatten(-1, (self.heads, -1))
        else:
            rotation = label_rotation(positions, q.shape[-1] // self.heads)
            if isinstance(audio, FoldedValues):
                key = audio.key[-frames:]
                q = q.unflatten(0, (frames, -1))
                shares = self._eight().rotated_shares(q, rotation, key)
                _mix(layer, stream, audio, frames, lambda span, _kind: shares[span])
                return
            q = self.operations.norm_rotate(q, None, rotation, self.heads, block.eps)
        if isinstance(audio, FoldedValues):
            raise ValueError("the voices of two persons need the persons' regions")
        key, value = audio.key[-frames:], audio.value[-frames:]
        out = attention(q.unflatten(0, (frames, -1)), key, value, self.backend)
        self._add(stream, out.flatten(0, 1).flatten(1), layer.proj)

    def _folded_attention(
        self, layer: AudioAttention, stream: Stream, h: Tensor, audio: FoldedAudio, frames: int
    ) -> None:
        """Adds each token's attention to its frame's audio in two products."""
        queries = h.unflatten(0, (frames, -1))

        def shares(span: slice, kind: slice) -> Tensor:
            key = audio.key[kind]
            one = queries[span].reshape(len(key), -1, h.shape[-1])
            scores = _product(one, key.transpose(1, 2))
            return self.operations.group_softmax(scores, audio.bias[kind], h.dtype)

        _mix(layer, stream, audio, frames, shares)

    def _norm(
        self, stream: Stream, weight: Tensor, bias: Tensor, eps: float, layer: nn.Module
    ) -> Tensor | Rows:
        """The norm of the stream as a layer takes it, with the update that is due added first."""
        if self.eight is None:
            return self.operations.norm(stream.tokens, weight, bias, eps, stream.offset)
        is_eight = isinstance(layer, EightBitLinear)
        norm = self.eight.norm_rows if is_eight else self.eight.norm_sum
        return norm(stream.tokens, stream.take(), weight, bias, eps, stream.offset)

    def _add(
        self,
        stream: Stream,
        x: Tensor | Rows,
        layer: nn.Module,
        gate: Tensor | None = None,
        common: Tensor | None = None,
    ) -> None:
        """Adds layer(x + common), times gate, to the stream.

        x: [L, channels]; gate: [D] float32; common: what all of x lacks, channels in any shape.
        """
        weight, bias = cast(Tensor, layer.weight), cast(Tensor, layer.bias)
        if isinstance(layer, EightBitLinear):
            if common is not None:
                bias = bias + self._eight().of_one(layer.weight, layer.scale, common.flatten())
            stream.update = layer.gated(x if isinstance(x, Rows) else self._eight().rows(x), gate)
            stream.offset = stream.offset + (bias if gate is None else bias * gate)
            return
        if isinstance(x, Rows):
            raise ValueError("tokens in 8 bits for a layer in 16")
        if common is not None:
            bias = bias + (weight @ common.flatten().to(weight.dtype)).float()
        if gate is not None:
            weight, bias = self.operations.scale_rows(weight, gate), bias * gate
        stream.tokens.addmm_(x, weight.t())
        stream.offset = stream.offset + bias

    def _feed_forward(self, block: Block, stream: Stream, parts: Modulation) -> None:
        first, last = block.ffn[0], block.ffn[2]
        h = self._norm(stream, 1 + parts.ffn_scale, parts.ffn_shift, block.eps, first)
        wide: Tensor | Rows
        if isinstance(h, Rows):
            narrow = cast(Tensor, first(h))
            is_eight = isinstance(last, EightBitLinear)
            wide = (
                self._eight().gelu_rows(narrow) if is_eight else F.gelu(narrow, approximate="tanh")
            )
        else:
            wide = self.operations.linear_gelu(
                h, cast(Tensor, first.weight), cast(Tensor, first.bias)
            )
        self._add(stream, wide, last, parts.ffn_gate)

    def _eight(self) -> EightOperations:
        if self.eight is None:
            raise ValueError("layers in 8 bits need operations for them")
        return self.eight


def _mix(
    layer: AudioAttention,
    stream: Stream,
    audio: FoldedAudio | FoldedValues,
    frames: int,
    shares: Callable[[slice, slice], Tensor],
) -> None:
    """Adds to each token its shares [.., H x M] of its frame's audio; frames: the last so many.

    shares: of a span of frames, and their kinds.
    """
    tokens = stream.tokens.unflatten(0, (frames, -1))
    for span, kind in _spans(audio.kinds[-frames:]):
        value = audio.value[kind]
        of_span = shares(span, kind).reshape(len(value), -1, value.shape[1])
        tokens[span].view(*of_span.shape[:2], -1).baddbmm_(of_span, value)
    stream.offset = stream.offset + layer.proj.bias


def _product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b in batches, in float32 whatever the factors are."""
    return torch.bmm(a, b) if a.dtype == torch.float32 else torch.bmm(a, b, out_dtype=torch.float32)


def _spans(kinds: Sequence[int]) -> Iterator[tuple[slice, slice]]:
    """Divides frames into spans that one product serves: all of other kinds, or all of one kind.

    Yields the frames, and their kinds.
    """
    if len(set(kinds)) == len(kinds):
        yield slice(0, len(kinds)), slice(kinds[0], kinds[-1] + 1)
        return
    start = 0
    for kind, members in itertools.groupby(kinds):
        count = len(list(members))
        yield slice(start, start + count), slice(kind, kind + 1)
        start += count


def can_fold(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether products of 16-bit factors can be returned in float32, as scores need."""
    if dtype == torch.float32:
        return True
    factor = torch.zeros(1, 8, 8, device=device, dtype=dtype)
    try:
        _product(factor, factor)
    except (TypeError, RuntimeError):
        return False
    return True


def frame_kinds(tokens: Tensor) -> tuple[int, ...]:
    """Numbers frames of audio tokens [F, M, C]; one equal to that before has its number."""
    same = (tokens[1:] == tokens[:-1]).flatten(1).all(dim=1).tolist()
    return tuple(itertools.accumulate((not equal for equal in same), initial=0))


def folded_bytes(kinds: int, tokens: int, heads: int, dim: int, itemsize: int) -> int:
    """The memory of one layer's folded audio; folded values of two persons take as much."""
    return 2 * kinds * heads * tokens * dim * itemsize


Fold = Callable[[AudioAttention, KeyValue, tuple[int, ...]], FoldedAudio | FoldedValues]


def fold_audio(layer: AudioAttention, given: KeyValue, kinds: tuple[int, ...]) -> FoldedAudio:
    """Multiplies the query and output weights into audio keys and values [F, M, H, C]."""
    key = given.key[_firsts(kinds)]
    frames, tokens, heads, channels = key.shape
    scale, dim = channels**-0.5, layer.q_linear.in_features
    query_weight = layer.q_linear.weight.view(heads, channels, dim)
    keys = key.new_empty(frames, heads, tokens, dim)
    for frame in range(frames):
        torch.baddbmm(
            keys[frame],
            key[frame].transpose(0, 1),
            query_weight,
            beta=0,
            alpha=scale,
            out=keys[frame],
        )
    query_bias = layer.q_linear.bias.float().view(heads, channels)
    bias = torch.einsum("fmhc,hc->fhm", key.float(), query_bias) * scale
    value = _projected(layer, given, kinds)
    return FoldedAudio(key=keys.flatten(1, 2), value=value, bias=bias.contiguous(), kinds=kinds)


def fold_values(layer: AudioAttention, given: KeyValue, kinds: tuple[int, ...]) -> FoldedValues:
    """Multiplies the output weights into audio values [F, M, H, C]."""
    return FoldedValues(key=given.key, value=_projected(layer, given, kinds), kinds=kinds)


def _firsts(kinds: tuple[int, ...]) -> list[int]:
    """The first frame of each kind."""
    return [kinds.index(kind) for kind in range(kinds[-1] + 1)]


def _projected(layer: AudioAttention, given: KeyValue, kinds: tuple[int, ...]) -> Tensor:
    """The output weights times the values of each kind of frame, [kinds, H x M, D]."""
    value = given.value[_firsts(kinds)]
    frames, tokens, heads, channels = value.shape
    dim = layer.proj.out_features
    projection = layer.proj.weight.view(dim, heads, channels).permute(1, 2, 0)
    values = value.new_empty(frames, heads, tokens, dim)
    for frame in range(frames):
        torch.bmm(value[frame].transpose(0, 1), projection, out=values[frame])
    return values.flatten(1, 2)
