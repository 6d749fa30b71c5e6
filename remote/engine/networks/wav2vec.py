"""wav2vec2: the features of a voice from every layer, at the frames of a video.

Axes: T steps of 50 Hz or video frames, C channels of the convolutions, D channels, H heads.
"""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from remote.engine.config import Wav2VecConfig
from remote.engine.networks.layers import LayerNorm


class PositionConv(nn.Module):
    """Positions relative to each other, as a convolution with a wide window.

    Its weight is kept as a direction and a length for each place of the window.
    """

    def __init__(self, config: Wav2VecConfig) -> None:
        super().__init__()
        dim, window = config.hidden_size, config.num_conv_pos_embeddings
        self.groups = config.num_conv_pos_embedding_groups
        self.direction = nn.Parameter(torch.empty(dim, dim // self.groups, window))
        self.length = nn.Parameter(torch.empty(1, 1, window))
        self.bias = nn.Parameter(torch.empty(dim))

    def forward(self, x: Tensor) -> Tensor:
        """x: [T, D]. Returns [T, D]."""
        norm = self.direction.square().sum(dim=(0, 1), keepdim=True).sqrt()
        weight = self.direction * (self.length / norm)
        window = weight.shape[-1]
        padded = F.pad(x.T[None], (window // 2, (window - 1) // 2))
        return F.gelu(F.conv1d(padded, weight, self.bias, groups=self.groups))[0].T


class EncoderLayer(nn.Module):
    """Attention and feed-forward; each is added to its input, and the sum is normalised."""

    def __init__(self, config: Wav2VecConfig) -> None:
        super().__init__()
        dim = config.hidden_size
        self.heads = config.num_attention_heads
        self.q, self.k, self.v, self.out = (nn.Linear(dim, dim) for _ in range(4))
        self.norm1 = LayerNorm(dim, config.layer_norm_eps)
        self.fc1 = nn.Linear(dim, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, dim)
        self.norm2 = LayerNorm(dim, config.layer_norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        """x: [T, D]. Returns [T, D]."""
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(0, 1)[None]
            for layer in (self.q, self.k, self.v)
        )
        attended = F.scaled_dot_product_attention(q, k, v)[0].transpose(0, 1).flatten(1)
        x = self.norm1(x + self.out(attended))
        return self.norm2(x + self.fc2(F.gelu(self.fc1(x))))


class VoiceEncoder(nn.Module):
    """The whole network; for inference only."""

    def __init__(self, config: Wav2VecConfig) -> None:
        super().__init__()
        sizes = zip(
            pairwise((1, *config.conv_dim)), config.conv_kernel, config.conv_stride, strict=True
        )
        self.convs = nn.ModuleList(
            nn.Conv1d(inner, outer, kernel, stride, bias=False)
            for (inner, outer), kernel, stride in sizes
        )
        self.conv_norm = LayerNorm(config.conv_dim[0], config.layer_norm_eps)
        self.features_norm = LayerNorm(config.conv_dim[-1], config.layer_norm_eps)
        self.project = nn.Linear(config.conv_dim[-1], config.hidden_size)
        self.position = PositionConv(config)
        self.norm = LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.num_hidden_layers))
        self.stride = math.prod(config.conv_stride)
        self.field = _field(config.conv_kernel, config.conv_stride)

    def features(self, wave: Tensor, steps_per_chunk: int = 1500) -> Tensor:
        """Runs the convolutions on a normalised wave [samples]. Returns [50 Hz steps, C].

        The wave is processed piece by piece, so that a long one needs no more memory than a
        short one; the first layer's norm, which is over the whole wave, takes its statistics from
        a first pass. Raises ValueError for a wave shorter than one step.
        """
        steps = (len(wave) - self.field) // self.stride + 1
        if steps < 1:
            raise ValueError(f"a wave of {len(wave)} samples is shorter than {self.field}")
        normalized = self._whole_norm(wave, steps_per_chunk * self.stride)
        first, *others = self.convs
        pieces = []
        for start in range(0, steps, steps_per_chunk):
            last = min(start + steps_per_chunk, steps) - 1
            piece = wave[start * self.stride : last * self.stride + self.field]
            hidden = F.gelu(normalized(first(piece[None, None])))
            for conv in others:
                hidden = F.gelu(conv(hidden))
            pieces.append(hidden[0].T)
        return torch.cat(pieces)

    def _whole_norm(self, wave: Tensor, samples: int) -> Callable[[Tensor], Tensor]:
        """The first layer's norm with the statistics of the whole wave.

        The published model normalises every channel over time, in this layer alone.
        """
        conv, norm = cast(nn.Conv1d, self.convs[0]), self.conv_norm
        kernel, stride = conv.kernel_size[0], conv.stride[0]
        steps, size = (len(wave) - kernel) // stride + 1, samples // stride
        total = total_squares = torch.zeros((), dtype=torch.float64, device=wave.device)
        for start in range(0, steps, size):
            end = (min(start + size, steps) - 1) * stride + kernel
            hidden = conv(wave[None, None, start * stride : end]).double()
            total = total + hidden.sum(dim=-1)
            total_squares = total_squares + hidden.square().sum(dim=-1)
        mean = total / steps
        variance = (total_squares / steps - mean.square()).clamp(min=0)
        scale = torch.rsqrt(variance + norm.eps).float()[..., None]
        mean = mean.float()[..., None]
        weight, bias = norm.weight[:, None], norm.bias[:, None]
        return lambda x: (x - mean) * scale * weight + bias

    def forward(self, features: Tensor) -> Tensor:
        """features: [T, C], at any rate. Returns each layer's, on the host, as [T, layers, D].

        Of half an hour that is 1.6 GB, which no GPU has to hold: windows take their part.
        """
        x = self.project(self.features_norm(features))
        x = self.norm(x + self.position(x))
        layers = []
        for layer in self.layers:
            x = layer(x)
            layers.append(x.cpu())
        return torch.stack(layers, dim=1)


def _field(kernels: tuple[int, ...], strides: tuple[int, ...]) -> int:
    """The number of samples that each step covers."""
    field, apart = 1, 1
    for kernel, stride in zip(kernels, strides, strict=True):
        field += (kernel - 1) * apart
        apart *= stride
    return field


def resample_features(features: Tensor, frames: int) -> Tensor:
    """Interpolates features [steps, channels] linearly to [frames, channels], ends to ends."""
    return F.interpolate(features.T[None], size=frames, mode="linear", align_corners=True)[0].T


def embed_voice(encoder: VoiceEncoder, wave: Tensor, frames: int) -> Tensor:
    """The features of every layer of wav2vec2 at each video frame.

    wave: [samples] at 16 kHz, normalised. The convolutions' 50 Hz features are brought to the
    video's frames before the transformer, so that any frame rate stays in step.
    Returns [frames, layers, D] float32.
    """
    features = encoder.features(wave.to(encoder.norm.weight.device))
    embedded: Tensor = encoder(resample_features(features, frames))
    return embedded
