"""Voices: from a 16 kHz wave to features per video frame, and from those to audio tokens.

Axes: S speakers, T video frames, W frames of a window, L wav2vec2 layers, C their channels,
F latent frames.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from remote.engine.config import DiTConfig
from remote.engine.layers import LayerNorm

SAMPLE_RATE_HZ = 16000
_VARIANCE_EPS = 1e-7


class AudioProjection(nn.Module):
    """Turns windows of voice features into a few tokens per latent frame.

    The first video frame is a latent of its own and brings its whole window. Each later latent
    covers several frames: the first brings its past, the last its future, the others themselves.
    """

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.window = config.audio_window
        self.group = config.frames_per_latent
        self.tokens = config.audio_tokens
        width = config.audio_layers * config.audio_channels
        slots = self.window + self.group - 1
        self.proj1 = nn.Linear(self.window * width, config.audio_hidden)
        self.proj1_vf = nn.Linear(slots * width, config.audio_hidden)
        self.proj2 = nn.Linear(config.audio_hidden, config.audio_hidden)
        self.proj3 = nn.Linear(config.audio_hidden, self.tokens * config.audio_dim)
        self.norm = LayerNorm(config.audio_dim, 1e-5)

    def group_frames(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Splits windows [S, T, W, L, C] by latent frame.

        Returns those of the first, [S, 1, W, L, C], and of the others, [S, F-1, slots, L, C].
        """
        if windows.shape[1] % self.group != 1:
            raise ValueError(
                f"windows {tuple(windows.shape)}: {windows.shape[1]} frames, not {self.group}n+1"
            )
        middle = self.window // 2
        first, rest = windows[:, :1], windows[:, 1:].unflatten(1, (-1, self.group))
        parts = (
            rest[:, :, 0, : middle + 1],
            rest[:, :, 1:-1, middle],
            rest[:, :, -1, middle:],
        )
        return first, torch.cat(parts, dim=2)

    def forward(self, windows: Tensor) -> Tensor:
        """windows: [S, T, W, L, C]. Returns [S, F, tokens, audio dim]."""
        first, rest = self.group_frames(windows.to(self.proj1.weight.dtype))
        hidden = torch.cat(
            (F.relu(self.proj1(first.flatten(2))), F.relu(self.proj1_vf(rest.flatten(2)))), dim=1
        )
        hidden = self.proj3(F.relu(self.proj2(hidden)))
        return self.norm(hidden.unflatten(-1, (self.tokens, -1)))


def frame_count(samples: int, fps: int) -> int:
    """Gives how many whole video frames a 16 kHz wave lasts, in integers."""
    return samples * fps // SAMPLE_RATE_HZ


def cover_frames(wave: Tensor, frames: int, fps: int) -> Tensor:
    """Appends silence to a 16 kHz wave [samples] until it lasts as long as the frames."""
    missing = -(-frames * SAMPLE_RATE_HZ // fps) - wave.shape[0]
    return F.pad(wave, (0, max(missing, 0)))


def normalize_wave(wave: Tensor) -> Tensor:
    """Gives a wave [samples] zero mean and unit variance, float32; silence stays silence."""
    wave = wave.double()
    scale = torch.rsqrt(wave.var(correction=0) + _VARIANCE_EPS)
    return ((wave - wave.mean()) * scale).float()


def conv_features(wav2vec: Any, wave: Tensor, steps_per_chunk: int = 1500) -> Tensor:
    """Runs the convolutions on a normalised wave [samples]. Returns [50 Hz steps, channels].

    The wave is taken piece by piece, so that a long one needs no more memory than a short one;
    the first layer's norm, which is over the whole wave, takes its statistics from a first pass.
    Raises ValueError for a wave shorter than one step.
    """
    first, *others = wav2vec.feature_extractor.conv_layers
    layers = [layer.conv for layer in (first, *others)]
    stride, field = _reach(layers)
    steps = (len(wave) - field) // stride + 1
    if steps < 1:
        raise ValueError(f"a wave of {len(wave)} samples is shorter than {field}")
    pieces = [
        wave[start * stride : (min(start + steps_per_chunk, steps) - 1) * stride + field]
        for start in range(0, steps, steps_per_chunk)
    ]
    norm = _whole_norm(first, wave, steps_per_chunk * stride)
    features = []
    for piece in pieces:
        hidden = first.activation(norm(first.conv(piece[None, None])))
        for layer in others:
            hidden = layer(hidden)
        features.append(hidden[0].T)
    return torch.cat(features)


def _reach(layers: list[nn.Conv1d]) -> tuple[int, int]:
    """Gives how many samples apart the steps are, and how many each one sees."""
    stride, field = 1, 1
    for layer in layers:
        field += (layer.kernel_size[0] - 1) * stride
        stride *= layer.stride[0]
    return stride, field


def _whole_norm(layer: Any, wave: Tensor, samples: int) -> Callable[[Tensor], Tensor]:
    """Gives the first layer's norm with the statistics of the whole wave.

    The published model normalises every channel over time, in this layer alone.
    """
    norm, conv = layer.layer_norm, layer.conv
    steps = (len(wave) - conv.kernel_size[0]) // conv.stride[0] + 1
    size = samples // conv.stride[0]
    total = total_squares = torch.zeros((), dtype=torch.float64, device=wave.device)
    for start in range(0, steps, size):
        end = (min(start + size, steps) - 1) * conv.stride[0] + conv.kernel_size[0]
        hidden = conv(wave[None, None, start * conv.stride[0] : end]).double()
        total = total + hidden.sum(dim=-1)
        total_squares = total_squares + hidden.square().sum(dim=-1)
    mean = total / steps
    variance = (total_squares / steps - mean.square()).clamp(min=0)
    scale = torch.rsqrt(variance + norm.eps).float()[..., None]
    mean = mean.float()[..., None]
    weight, bias = norm.weight[:, None], norm.bias[:, None]
    return lambda x: (x - mean) * scale * weight + bias


def resample_features(features: Tensor, frames: int) -> Tensor:
    """Interpolates features [steps, channels] linearly to [frames, channels], ends to ends."""
    return F.interpolate(features.T[None], size=frames, mode="linear", align_corners=True)[0].T


def embed_voice(wav2vec: Any, wave: Tensor, frames: int) -> Tensor:
    """Gives what every layer of wav2vec2 hears at each video frame.

    wav2vec: transformers' Wav2Vec2Model; wave: [samples] at 16 kHz, normalised.
    The convolutions' 50 Hz features are brought to the video's frames before the transformer, so
    that any frame rate stays in step.
    Returns [frames, layers, channels] float32.
    """
    device = next(wav2vec.parameters()).device
    features = conv_features(wav2vec, wave.to(device))
    hidden = resample_features(features, frames)[None]
    hidden = wav2vec.feature_projection(hidden)[0]
    encoder = wav2vec.encoder
    hidden = encoder.layer_norm(hidden + encoder.pos_conv_embed(hidden))
    layers = []
    for layer in encoder.layers:
        out = layer(hidden)
        hidden = out[0] if isinstance(out, tuple) else out
        layers.append(hidden[0])
    return torch.stack(layers, dim=1)


def window_features(features: Tensor, start: int, frames: int, window: int) -> Tensor:
    """Groups features around each frame of a clip; frames past either end repeat the edge.

    features: [T, L, C]. Returns [frames, window, L, C]. Raises ValueError if window is even.
    """
    if window % 2 == 0:
        raise ValueError(f"window {window} is even")
    centres = torch.arange(start, start + frames, device=features.device)
    offsets = torch.arange(window, device=features.device) - window // 2
    indices = (centres[:, None] + offsets).clamp(0, features.shape[0] - 1)
    return features[indices]
