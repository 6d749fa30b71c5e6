"""Pictures: fitted to the size of the video, and seen by CLIP's visual tower.

Axes: B batch, H W height and width, L tokens, D channels.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from remote.engine.config import ClipConfig
from remote.engine.networks.layers import LayerNorm

_WEIGHT_BITS = 22  # Pillow's fixed point for 8-bit pictures


def fit_picture(picture: Tensor, height_px: int, width_px: int) -> Tensor:
    """Resizes a picture until it covers the wanted size, then crops the centre.

    picture: [3, H, W] uint8. Returns [3, height_px, width_px] uint8, on the same device: the
    levels that Pillow's bilinear filter gives, which the published pipeline uses.
    """
    if picture.ndim != 3 or picture.dtype != torch.uint8:
        raise ValueError(f"a uint8 picture [3, H, W] is needed, not {tuple(picture.shape)}")
    height, width = _covering_size(picture.shape[1:], height_px, width_px)
    resized = _resize_last(picture, width)
    resized = _resize_last(resized.transpose(1, 2), height).transpose(1, 2)
    return _crop_centre(resized, height_px, width_px).contiguous()


def fit_masks(masks: Tensor, height_px: int, width_px: int) -> Tensor:
    """Fits masks [S, H, W] as fit_picture does a picture, taking the nearest value."""
    size = _covering_size(masks.shape[1:], height_px, width_px)
    resized = F.interpolate(masks[None].float(), size=size, mode="nearest")[0].to(masks.dtype)
    return _crop_centre(resized, height_px, width_px).contiguous()


def to_signed(picture: Tensor) -> Tensor:
    """Brings levels 0..255 to float32 -1..1."""
    return (picture.float() / 255 - 0.5) * 2


def _covering_size(size: torch.Size, height_px: int, width_px: int) -> tuple[int, int]:
    # rounding up a product of floats may add a pixel on both axes; the published code does so
    scale = max(height_px / size[0], width_px / size[1])
    return math.ceil(scale * size[0]), math.ceil(scale * size[1])


def _crop_centre(pixels: Tensor, height_px: int, width_px: int) -> Tensor:
    top = round((pixels.shape[-2] - height_px) / 2)
    left = round((pixels.shape[-1] - width_px) / 2)
    return pixels[..., top : top + height_px, left : left + width_px]


def _resize_last(pixels: Tensor, size: int) -> Tensor:
    """Resamples the last axis of uint8 pixels by a triangle filter, in Pillow's fixed point."""
    if pixels.shape[-1] == size:
        return pixels
    first, weights = _triangle_weights(pixels.shape[-1], size)
    first, weights = first.to(pixels.device), weights.to(pixels.device)
    total = torch.full((*pixels.shape[:-1], size), 1 << (_WEIGHT_BITS - 1), dtype=torch.int32)
    total = total.to(pixels.device)
    for tap, weight in enumerate(weights):
        source = (first + tap).clamp_max(pixels.shape[-1] - 1)
        total += pixels[..., source].int() * weight
    return (total >> _WEIGHT_BITS).clamp_(0, 255).to(torch.uint8)


def _triangle_weights(size_in: int, size_out: int) -> tuple[Tensor, Tensor]:
    """Each output's first source pixel [size_out], and the weights [taps, size_out] int32."""
    scale = size_in / size_out
    support = max(scale, 1.0)
    centre = (torch.arange(size_out, dtype=torch.float64) + 0.5) * scale
    first = (centre - support + 0.5).long().clamp_min(0)
    end = (centre + support + 0.5).long().clamp_max(size_in)
    taps = torch.arange(int((end - first).max()))[:, None]
    distance = (first + taps - centre + 0.5) / support
    weights = (1 - distance.abs()).clamp_min(0) * (first + taps < end)
    weights = weights / weights.sum(dim=0)
    return first, (weights * (1 << _WEIGHT_BITS) + 0.5).int()


class ImageAttention(nn.Module):
    """Self-attention between a picture's tokens."""

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.dim, 3 * config.dim)
        self.out = nn.Linear(config.dim, config.dim)

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, L, D]. Returns [B, L, D]."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class ImageBlock(nn.Module):
    """Attention and feed-forward, each after a norm and added to its input."""

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        hidden = config.dim * config.mlp_ratio
        self.norm1 = LayerNorm(config.dim, config.eps)
        self.attn = ImageAttention(config)
        self.norm2 = LayerNorm(config.dim, config.eps)
        self.fc1 = nn.Linear(config.dim, hidden)
        self.fc2 = nn.Linear(hidden, config.dim)

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, L, D]. Returns [B, L, D]."""
        x = x + self.attn(self.norm1(x))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class ImageEncoder(nn.Module):
    """CLIP's visual tower without its last block, whose output the model does not use."""

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embedding = nn.Conv2d(
            3, config.dim, config.patch_px, stride=config.patch_px, bias=False
        )
        self.cls_embedding = nn.Parameter(torch.zeros(1, 1, config.dim))
        self.pos_embedding = nn.Parameter(torch.zeros(1, config.tokens, config.dim))
        self.pre_norm = LayerNorm(config.dim, config.eps)
        self.blocks = nn.ModuleList(ImageBlock(config) for _ in range(config.layers - 1))

    def prepare(self, pixels: Tensor) -> Tensor:
        """Resizes [B, 3, H, W] in -1..1 to the tower's square and normalises, in float32."""
        side = (self.config.image_px, self.config.image_px)
        # bicubic overshoot is kept: the published code does not clamp
        square = F.interpolate(pixels.float(), size=side, mode="bicubic", align_corners=False)
        mean, std = torch.tensor([self.config.mean, self.config.std], device=pixels.device)
        return (square * 0.5 + 0.5 - mean.view(3, 1, 1)) / std.view(3, 1, 1)

    @torch.no_grad()
    def forward(self, pixels: Tensor) -> Tensor:
        """pixels: [B, 3, H, W] in -1..1. Returns [B, tokens, D], the class token first."""
        weight = self.patch_embedding.weight
        square = self.prepare(pixels.to(weight.device)).to(weight.dtype)
        patches = self.patch_embedding(square).flatten(2).transpose(1, 2)
        classes = self.cls_embedding.expand(len(patches), -1, -1)
        x = self.pre_norm(torch.cat([classes, patches], dim=1) + self.pos_embedding)
        for block in self.blocks:
            x = block(x)
        return x
