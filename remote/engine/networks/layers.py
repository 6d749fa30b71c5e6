"""The transformer block and its parts.

Axes: B batch, L video tokens, T latent frames, M condition tokens, D channels of the model.
Linear layers take their weights' dtype; the tokens between them have it too, or float32. Norms,
modulation and rotation are computed in float32 and rounded once, where a linear layer takes them.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from remote.engine.config import DiTConfig
from remote.engine.kernels.attention import AttentionBackend, attention
from remote.engine.kernels.key_value import AudioKeyValue, KeyValue
from remote.engine.kernels.rope import Rotation, label_rotation, rotate
from remote.engine.networks.labels import PersonRegions


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockCondition:
    """Inputs of one block's attention other than the video; audio has the frames as its batch."""

    text: KeyValue
    image: KeyValue
    audio: AudioKeyValue


class Modulation(NamedTuple):
    """Shifts, scales and gates of one block in one step, float32, each with D channels.

    The first three are of self-attention, the others of the feed-forward layers.
    """

    shift: Tensor
    scale: Tensor
    gate: Tensor
    ffn_shift: Tensor
    ffn_scale: Tensor
    ffn_gate: Tensor


def normalized(x: Tensor, eps: float) -> Tensor:
    """Layer norm without parameters, in float32."""
    return F.layer_norm(x.float(), x.shape[-1:], eps=eps)


def modulated(x: Tensor, shift: Tensor, scale: Tensor, eps: float) -> Tensor:
    """Normalises, then scales and shifts, in float32."""
    return normalized(x, eps) * (1 + scale) + shift


class LayerNorm(nn.Module):
    """Layer norm with weight and bias, computed in float32, given in x's dtype."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.weight.float(), self.bias.float()
        return F.layer_norm(x.float(), x.shape[-1:], weight, bias, self.eps).to(x.dtype)


class RMSNorm(nn.Module):
    """Root-mean-square norm over all heads together; float32 in and out of the arithmetic."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        x = x.float()
        scale = torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + self.eps)
        return x * scale * self.weight.float()


class SelfAttention(nn.Module):
    """Attention among the video tokens, with rotary positions."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.q = nn.Linear(config.dim, config.dim)
        self.k = nn.Linear(config.dim, config.dim)
        self.v = nn.Linear(config.dim, config.dim)
        self.o = nn.Linear(config.dim, config.dim)
        self.norm_q = RMSNorm(config.dim, config.eps)
        self.norm_k = RMSNorm(config.dim, config.eps)

    def project(self, x: Tensor, rotation: Rotation) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated queries and keys, and values, each [B, L, H, D/H] in x's dtype."""
        heads = (self.heads, -1)
        q = rotate(self.norm_q(self.q(x)).unflatten(-1, heads), rotation).to(x.dtype)
        k = rotate(self.norm_k(self.k(x)).unflatten(-1, heads), rotation).to(x.dtype)
        return q, k, self.v(x).unflatten(-1, heads)

    def forward(
        self,
        x: Tensor,
        rotation: Rotation,
        regions: PersonRegions | None,
        backend: AttentionBackend,
    ) -> tuple[Tensor, Tensor | None]:
        """The output [B, L, D] and, with regions, each token's label position [L]."""
        q, k, v = self.project(x, rotation)
        out = self.o(attention(q, k, v, backend).flatten(2))
        if regions is None:
            return out, None
        return out, regions.positions(regions.attention_map(q, k, backend))


class CrossAttention(nn.Module):
    """Attention to text and to image tokens; one query, two results, summed."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.q = nn.Linear(config.dim, config.dim)
        self.k = nn.Linear(config.dim, config.dim)
        self.v = nn.Linear(config.dim, config.dim)
        self.o = nn.Linear(config.dim, config.dim)
        self.k_img = nn.Linear(config.dim, config.dim)
        self.v_img = nn.Linear(config.dim, config.dim)
        self.norm_q = RMSNorm(config.dim, config.eps)
        self.norm_k = RMSNorm(config.dim, config.eps)
        self.norm_k_img = RMSNorm(config.dim, config.eps)

    def text_keys(self, tokens: Tensor) -> KeyValue:
        return self._keys(self.norm_k(self.k(tokens)), self.v(tokens))

    def image_keys(self, tokens: Tensor) -> KeyValue:
        return self._keys(self.norm_k_img(self.k_img(tokens)), self.v_img(tokens))

    def _keys(self, key: Tensor, value: Tensor) -> KeyValue:
        heads = (self.heads, -1)
        return KeyValue(key.to(value.dtype).unflatten(-1, heads), value.unflatten(-1, heads))

    def forward(
        self, x: Tensor, text: KeyValue, image: KeyValue, backend: AttentionBackend
    ) -> Tensor:
        q = self.norm_q(self.q(x)).to(x.dtype).unflatten(-1, (self.heads, -1))
        out = attention(q, image.key, image.value, backend)
        out = out + attention(q, text.key, text.value, backend)
        return self.o(out.flatten(2))


class AudioAttention(nn.Module):
    """Attention of each latent frame's tokens to that frame's audio tokens."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.q_linear = nn.Linear(config.dim, config.dim)
        self.kv_linear = nn.Linear(config.audio_dim, 2 * config.dim)
        self.proj = nn.Linear(config.dim, config.dim)

    def audio_keys(self, tokens: Tensor, positions: Tensor | None) -> KeyValue:
        """tokens: [T, M, audio dim]; positions: [M], the persons' labels, for two persons."""
        key, value = self.kv_linear(tokens).unflatten(-1, (2, self.heads, -1)).unbind(2)
        if positions is not None:
            key = rotate(key, label_rotation(positions, key.shape[-1])).to(value.dtype)
        return KeyValue(key.contiguous(), value.contiguous())

    def forward(
        self,
        x: Tensor,
        audio: AudioKeyValue,
        positions: Tensor | None,
        backend: AttentionBackend,
    ) -> Tensor:
        """x: [1, L, D]; positions: [L], the tokens' labels, for two persons."""
        if not isinstance(audio, KeyValue):
            raise ValueError("folded audio is for fused blocks")
        q = self.q_linear(x).unflatten(-1, (self.heads, -1))
        if positions is not None:
            q = rotate(q, label_rotation(positions, q.shape[-1])).to(x.dtype)
        frames = audio.key.shape[0]
        q = q.reshape(frames, -1, *q.shape[2:])
        return self.proj(attention(q, audio.key, audio.value, backend).reshape(x.shape))


class FeedForward(nn.Sequential):
    """Two linear layers around a GELU (tanh form)."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__(
            nn.Linear(config.dim, config.ffn_dim),
            nn.GELU(approximate="tanh"),
            nn.Linear(config.ffn_dim, config.dim),
        )


class Block(nn.Module):
    """One transformer block: self, text and image, audio attention, feed-forward."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.eps = config.eps
        self.modulation = nn.Parameter(torch.zeros(1, 6, config.dim))
        self.self_attn = SelfAttention(config)
        self.norm3 = LayerNorm(config.dim, config.eps)
        self.cross_attn = CrossAttention(config)
        self.norm_x = LayerNorm(config.dim, config.eps)
        self.audio_cross_attn = AudioAttention(config)
        self.ffn = FeedForward(config)

    def forward(
        self,
        x: Tensor,
        modulation: Tensor,
        rotation: Rotation,
        condition: BlockCondition,
        regions: PersonRegions | None,
        backend: AttentionBackend,
    ) -> Tensor:
        """x: [1, L, D]; modulation: [1, 6, D] float32, of the step."""
        parts = Modulation(*(self.modulation.float() + modulation).chunk(6, dim=1))
        dtype = self.self_attn.q.weight.dtype
        h = modulated(x, parts.shift, parts.scale, self.eps).to(dtype)
        out, positions = self.self_attn(h, rotation, regions, backend)
        x = _gated(x, out, parts.gate)
        h = self.norm3(x).to(dtype)
        x = x + self.cross_attn(h, condition.text, condition.image, backend)
        h = self.norm_x(x).to(dtype)
        x = x + self.audio_cross_attn(h, condition.audio, positions, backend)
        out = self.ffn(modulated(x, parts.ffn_shift, parts.ffn_scale, self.eps).to(dtype))
        return _gated(x, out, parts.ffn_gate)


def _gated(x: Tensor, update: Tensor, gate: Tensor) -> Tensor:
    return (x.float() + update.float() * gate).to(x.dtype)
