"""The umT5 encoder: a prompt's token ids to the states that the transformer attends to.

Axes: L tokens, D channels, H heads.
"""

import html
import math
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from remote.engine.config import TextConfig
from remote.engine.networks.layers import RMSNorm

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MAX_DISTANCE = 128  # tokens farther apart than this share the last bucket


def clean_text(text: str) -> str:
    """Repairs encoding damage and entities and joins white space, as the model was trained."""
    import ftfy

    repaired = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(repaired.split())


def load_tokenizer(folder: Path, tokens: int) -> "Tokenizer":
    """Loads the tokenizer of a folder that holds tokenizer.json; it returns at most so many ids.

    The published encoder pads to `tokens` and trims its output; nothing is padded here.
    """
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(max_length=tokens)
    tokenizer.no_padding()
    return tokenizer


def tokenize(tokenizer: "Tokenizer", text: str) -> list[int]:
    """Cleans a prompt and returns its ids, the end included."""
    ids: list[int] = tokenizer.encode(clean_text(text)).ids
    return ids


def position_buckets(distance: Tensor, buckets: int) -> Tensor:
    """The bucket of each distance (key position - query position): near ones are exact.

    distance: any shape, int64. Returns the same shape, 0 to buckets - 1.
    """
    half = buckets // 2
    exact = half // 2
    steps = distance.abs()
    ratio = torch.log(steps.clamp_min(1).float() / exact) / math.log(MAX_DISTANCE / exact)
    far = (exact + (ratio * (half - exact)).long()).clamp_max(half - 1)
    return torch.where(distance > 0, half, 0) + torch.where(steps < exact, steps, far)


def _unset_embedding(rows: int, dim: int) -> nn.Embedding:
    # drawing numbers on the meta device would import a thousand modules
    return nn.Embedding.from_pretrained(torch.empty(rows, dim))


class TextAttention(nn.Module):
    """Self-attention without scaling, with the block's own table of relative positions."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.q = nn.Linear(config.dim, config.attention_dim, bias=False)
        self.k = nn.Linear(config.dim, config.attention_dim, bias=False)
        self.v = nn.Linear(config.dim, config.attention_dim, bias=False)
        self.o = nn.Linear(config.attention_dim, config.dim, bias=False)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """x: [L, D]; bias: [H, L, L], added to the scores. Returns [L, D]."""
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(0, 1)[None]
            for layer in (self.q, self.k, self.v)
        )
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias[None], scale=1.0)
        return self.o(out[0].transpose(0, 1).flatten(1))


class TextFeedForward(nn.Module):
    """Linear layers with a GELU gate (tanh form)."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.gate = nn.Linear(config.dim, config.ffn_dim, bias=False)
        self.fc1 = nn.Linear(config.dim, config.ffn_dim, bias=False)
        self.fc2 = nn.Linear(config.ffn_dim, config.dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.fc1(x) * F.gelu(self.gate(x), approximate="tanh"))


class TextBlock(nn.Module):
    """Attention and feed-forward, each after a norm and added to its input."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.norm1 = RMSNorm(config.dim, config.eps)
        self.attn = TextAttention(config)
        self.norm2 = RMSNorm(config.dim, config.eps)
        self.ffn = TextFeedForward(config)
        self.position_bias = _unset_embedding(config.buckets, config.heads)

    def forward(self, x: Tensor, buckets: Tensor) -> Tensor:
        """x: [L, D]; buckets: [L, L]. Returns [L, D]."""
        bias = self.position_bias(buckets).permute(2, 0, 1).contiguous()
        x = x + self.attn(self.norm1(x).to(x.dtype), bias)
        return x + self.ffn(self.norm2(x).to(x.dtype))


class TextEncoder(nn.Module):
    """The whole encoder; for inference only."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = _unset_embedding(config.vocabulary, config.dim)
        self.blocks = nn.ModuleList(TextBlock(config) for _ in range(config.layers))
        self.norm = RMSNorm(config.dim, config.eps)

    @torch.no_grad()
    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """The states of the real tokens; padding is left out before the first block.

        ids, mask: [L] int64, padding at the right. Returns [mask.sum(), D] in the weights' type.
        """
        if ids.ndim != 1 or ids.shape != mask.shape:
            raise ValueError(f"one prompt is needed, not ids {ids.shape} with mask {mask.shape}")
        weight = self.token_embedding.weight
        x = self.token_embedding(ids[: int(mask.sum())].to(weight.device))
        position = torch.arange(len(x), device=x.device)
        buckets = position_buckets(position[None] - position[:, None], self.config.buckets)
        for block in self.blocks:
            x = block(x, buckets)
        return self.norm(x).to(x.dtype)
