"""Voices: a 16 kHz wave aligned with the frames of a video, and features as audio tokens.

Axes: S speakers, T video frames, W frames of a window, L wav2vec2 layers, C their channels,
F latent frames.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from remote.engine.config import DiTConfig
from remote.engine.networks.layers import LayerNorm

SAMPLE_RATE_HZ = 16000
_VARIANCE_EPS = 1e-7


class AudioProjection(nn.Module):
    """The projection of windows of voice features to a few tokens per latent frame.

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


def cover_frames(wave: Tensor, frames: int, fps: int) -> Tensor:
    """Appends silence to a 16 kHz wave [samples] until it lasts as long as the frames."""
    missing = -(-frames * SAMPLE_RATE_HZ // fps) - wave.shape[0]
    return F.pad(wave, (0, max(missing, 0)))


def normalize_wave(wave: Tensor) -> Tensor:
    """Scales a wave [samples] to zero mean and unit variance, float32; silence stays silence."""
    wave = wave.double()
    scale = torch.rsqrt(wave.var(correction=0) + _VARIANCE_EPS)
    return ((wave - wave.mean()) * scale).float()


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
