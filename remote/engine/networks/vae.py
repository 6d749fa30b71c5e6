"""The causal video VAE: pixels to latents and back, chunk by chunk, whatever the length.

Axes: B batch, C channels, T video or latent frames, H W height and width, N = B * T frames.
A convolution over time sees two earlier frames; between chunks `_Past` carries them, so that any
chunks have the same result and memory does not grow with the length of the video.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from remote.engine.config import LATENT_STRIDE, VAEConfig
from remote.engine.kernels.convolve import Convolve, convolve
from remote.engine.kernels.norm_silu import (
    NormSiLU,
    empty_frames,
    inverse_rms,
    is_channels_last,
    norm_silu,
)

FRAMES_PER_LATENT = LATENT_STRIDE[0]
LATENTS_PER_CHUNK = 2
PAST_FRAMES = 2


def _to_frames(x: Tensor) -> Tensor:
    """[B, C, T, H, W] to [N, C, H, W]; a view where channels are last in memory."""
    return x.transpose(1, 2).flatten(0, 1)


def _from_frames(frames: Tensor, batch: int) -> Tensor:
    """[N, C, H, W] back to [B, C, T, H, W], as a view."""
    return frames.unflatten(0, (batch, -1)).transpose(1, 2)


@dataclass(frozen=True, slots=True)
class _Settled:
    """What the first stages give for a chunk of still frames, and for any such chunk after it.

    frames: of the chunk.
    """

    stages: int
    frames: int
    result: Tensor


class _Past:
    """The last frames that each convolution over time has seen, kept from chunk to chunk."""

    def __init__(self) -> None:
        self.is_first_chunk = True
        self.settled: _Settled | None = None
        self._frames: dict[nn.Module, Tensor] = {}

    def before(self, conv: nn.Module, x: Tensor) -> Tensor:
        """The two frames before x; black before the first chunk."""
        kept = self._frames.get(conv)
        return empty_frames(x, PAST_FRAMES).zero_() if kept is None else kept

    def keep(self, conv: nn.Module, x: Tensor, frames: int = PAST_FRAMES) -> None:
        """Copies the last frames of x, so that x itself can be freed."""
        self._frames[conv] = x[:, :, -frames:].clone()

    def extend(self, conv: nn.Module, x: Tensor) -> Tensor:
        """Puts the two earlier frames in front of x and keeps the last two."""
        extended = torch.cat([self.before(conv, x), x], dim=2)
        self.keep(conv, extended)
        return extended


class CausalConv(nn.Conv3d):
    """A 3x3x3 convolution that pads space alone: the earlier frames are given with the input."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out, 3, padding=(0, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        # For one video torch takes a loop of its own, which oneDNN beats 4 to 20 times.
        if x.is_cpu and x.dtype == torch.float32 and torch.backends.mkldnn.is_available():
            ones = (1, 1, 1)
            return torch.mkldnn_convolution(x, self.weight, self.bias, (0, 1, 1), ones, ones, 1)
        return super().forward(x)


class ResidualBlock(nn.Module):
    """Twice norm, SiLU and causal convolution, added to the input."""

    past_frames = 2 * PAST_FRAMES
    time_stride = 1

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.norm_silu: NormSiLU = norm_silu
        self.convolve: Convolve = convolve
        self.norm1 = nn.Parameter(torch.ones(channels_in, 1, 1, 1))
        self.conv1 = CausalConv(channels_in, channels_out)
        self.norm2 = nn.Parameter(torch.ones(channels_out, 1, 1, 1))
        self.conv2 = CausalConv(channels_out, channels_out)
        self.shortcut = (
            None if channels_in == channels_out else nn.Conv3d(channels_in, channels_out, 1)
        )

    def forward(self, x: Tensor, past: _Past) -> Tensor:
        hidden = self.convolve(self.conv1, self._normed(x, self.norm1, self.conv1, past), None)
        hidden = self._normed(hidden, self.norm2, self.conv2, past)
        return self.convolve(self.conv2, hidden, x if self.shortcut is None else self.shortcut(x))

    def _normed(self, x: Tensor, gamma: Tensor, conv: CausalConv, past: _Past) -> Tensor:
        """What a convolution takes: the norm and SiLU of x, after the earlier frames."""
        hidden = self.norm_silu(x, gamma, past.before(conv, x))
        past.keep(conv, hidden)
        return hidden


class FrameAttention(nn.Module):
    """Self-attention with one head between the pixels of each frame, added to the input."""

    past_frames, time_stride = 0, 1

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.Parameter(torch.ones(channels, 1, 1))
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, past: _Past) -> Tensor:
        del past  # frames do not see each other here
        frames = _to_frames(x)
        normed = (frames * inverse_rms(frames)).mul_(self.norm).to(frames.dtype)
        q, k, v = self.qkv(normed).flatten(2).transpose(1, 2).unsqueeze(1).chunk(3, dim=-1)
        mixed = F.scaled_dot_product_attention(q, k, v).squeeze(1).transpose(1, 2)
        return _from_frames(self.out(mixed.reshape(frames.shape)).add_(frames), x.shape[0])


class Downsample(nn.Module):
    """Halves height and width; with `temporal`, every two frames after the first become one."""

    def __init__(self, channels: int, temporal: bool) -> None:
        super().__init__()
        self.past_frames, self.time_stride = (1, 2) if temporal else (0, 1)
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)
        self.time_conv = (
            nn.Conv3d(channels, channels, (3, 1, 1), stride=(2, 1, 1)) if temporal else None
        )

    def forward(self, x: Tensor, past: _Past) -> Tensor:
        x = _from_frames(self.conv(F.pad(_to_frames(x), (0, 1, 0, 1))), x.shape[0])
        if self.time_conv is None:
            return x
        if past.is_first_chunk:  # the first frame of all stays as it is
            past.keep(self.time_conv, x, frames=1)
            return x
        extended = torch.cat([past.before(self.time_conv, x), x], dim=2)
        past.keep(self.time_conv, x, frames=1)
        return self.time_conv(extended)


class Upsample(nn.Module):
    """Doubles height and width; with `temporal`, every frame after the first becomes two."""

    def __init__(self, channels: int, temporal: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels // 2, 3, padding=1)
        self.time_conv = nn.Conv3d(channels, 2 * channels, (3, 1, 1)) if temporal else None

    def forward(self, x: Tensor, past: _Past) -> Tensor:
        batch, channels_last = x.shape[0], is_channels_last(x)
        if self.time_conv is None or past.is_first_chunk:
            frames = _to_frames(x)
        else:
            # published behaviour: the second latent sees black before it, not the first latent
            pairs = self.time_conv(past.extend(self.time_conv, x)).unflatten(1, (2, -1))
            frames = pairs.permute(0, 3, 1, 2, 4, 5).flatten(0, 2)
        return _from_frames(self.conv(_double(frames, channels_last)), batch)


def _double(frames: Tensor, channels_last: bool) -> Tensor:
    """Repeats every pixel of [N, C, H, W] 2 x 2 times, in one copy into the wanted layout."""
    n, c, h, w = frames.shape
    if channels_last:
        pixels = frames.permute(0, 2, 3, 1)[:, :, None, :, None]
        return pixels.expand(n, h, 2, w, 2, c).reshape(n, 2 * h, 2 * w, c).permute(0, 3, 1, 2)
    pixels = frames[:, :, :, None, :, None]
    return pixels.expand(n, c, h, 2, w, 2).reshape(n, c, 2 * h, 2 * w)


class _Codec(nn.Module):
    """The common part of encoder and decoder: convolution, stages, then norm and convolution."""

    def __init__(
        self,
        stages: Sequence[nn.Module],
        channels: tuple[int, int, int, int],
        reaches: tuple[int, ...] = (),
    ) -> None:
        """channels: of the input, of the first stage, of the last stage, of the output.

        reaches: how many frames before its own each stage's result depends on, if known.
        """
        super().__init__()
        self.norm_silu: NormSiLU = norm_silu
        self._reaches = reaches
        self.conv_in = CausalConv(channels[0], channels[1])
        self.stages = nn.ModuleList(stages)
        self.norm_out = nn.Parameter(torch.ones(channels[2], 1, 1, 1))
        self.conv_out = CausalConv(channels[2], channels[3])

    def forward(self, x: Tensor, past: _Past, still: int = 0) -> Tensor:
        """One chunk through all layers; the first chunk of a video is one frame alone.

        still: so many frames before this chunk are equal to each other and to all of its own.
        """
        frames, done = x.shape[2], 0
        if past.settled is not None and past.settled.frames == frames:
            done, x = past.settled.stages, past.settled.result
        else:
            x = self.conv_in(past.extend(self.conv_in, x))
        for index, stage in enumerate(self.stages[done:], done):
            x = stage(x, past)
            if still and self._reaches[index] <= still:
                past.settled = _Settled(index + 1, frames, x)
        hidden = self.norm_silu(x, self.norm_out, past.before(self.conv_out, x))
        past.keep(self.conv_out, hidden)
        past.is_first_chunk = False
        return self.conv_out(hidden)


_EncoderStage = ResidualBlock | FrameAttention | Downsample


def _middle(channels: int) -> list[ResidualBlock | FrameAttention]:
    return [
        ResidualBlock(channels, channels),
        FrameAttention(channels),
        ResidualBlock(channels, channels),
    ]


def _encoder(config: VAEConfig) -> _Codec:
    widths = [config.dim * factor for factor in config.dim_multipliers]
    stages: list[_EncoderStage] = []
    channels = config.dim
    for level, width in enumerate(widths):
        for _ in range(config.res_blocks):
            stages.append(ResidualBlock(channels, width))
            channels = width
        if level < len(widths) - 1:
            stages.append(Downsample(width, config.temporal_downsample[level]))
    stages += _middle(channels)
    ends = (3, config.dim, channels, 2 * config.latent_channels)
    return _Codec(stages, ends, tuple(_reaches(stages)))


def _reaches(stages: Iterable[_EncoderStage]) -> Iterator[int]:
    """How many frames before its own each stage's result depends on."""
    reach, stride = PAST_FRAMES, 1
    for stage in stages:
        reach += stage.past_frames * stride
        stride *= stage.time_stride
        yield reach


def _decoder(config: VAEConfig) -> _Codec:
    widths = [config.dim * factor for factor in reversed(config.dim_multipliers)]
    temporal = config.temporal_downsample[::-1]
    stages: list[nn.Module] = [*_middle(widths[0])]
    channels = widths[0]
    for level, width in enumerate(widths):
        for _ in range(config.res_blocks + 1):
            stages.append(ResidualBlock(channels, width))
            channels = width
        if level < len(widths) - 1:
            stages.append(Upsample(width, temporal[level]))
            channels = width // 2
    return _Codec(stages, (config.latent_channels, widths[0], channels, 3))


class VAE(nn.Module):
    """Encodes video to normalised latents and decodes them; for inference only."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = _encoder(config)
        self.decoder = _decoder(config)
        channels = config.latent_channels
        self.to_moments = nn.Conv3d(2 * channels, 2 * channels, 1)
        self.from_latents = nn.Conv3d(channels, channels, 1)

    def use_channels_last(self) -> None:
        """Puts channels last in memory: half the time with 16-bit weights on a GPU."""
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                module.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
            elif isinstance(module, nn.Conv2d):
                module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def use_convolve(self, function: Convolve) -> None:
        """Replaces the convolutions of residual blocks, by a kernel with the same result."""
        for module in self.modules():
            if isinstance(module, ResidualBlock):
                module.convolve = function

    def use_norm_silu(self, function: NormSiLU) -> None:
        """Replaces the norm before each convolution, by a kernel with the result of norm_silu."""
        for module in self.modules():
            if isinstance(module, ResidualBlock | _Codec):
                module.norm_silu = function

    @torch.no_grad()
    def encode(self, video: Tensor, latents_per_chunk: int = LATENTS_PER_CHUNK) -> Tensor:
        """The mean of each latent, normalised, in float32.

        video: [B, 3, T, H, W] in -1..1, H and W multiples of 8. Frames beyond 1 + 4k are dropped.
        Returns [B, latent channels, 1 + k, H / 8, W / 8].
        """
        if (
            video.ndim != 5
            or video.shape[3] % LATENT_STRIDE[1]
            or video.shape[4] % LATENT_STRIDE[2]
        ):
            raise ValueError(f"a video [B, 3, T, 8 h, 8 w] is needed, not {tuple(video.shape)}")
        frames = 1 + (video.shape[2] - 1) // FRAMES_PER_LATENT * FRAMES_PER_LATENT
        past, start, moments = _Past(), 0, []
        moving = _moving_frames(video[:, :, :frames])
        for chunk in _chunks(video[:, :, :frames], latents_per_chunk * FRAMES_PER_LATENT):
            still = max(start - moving, 0)
            moments.append(self.encoder(self._as_weights(chunk), past, still))
            start += chunk.shape[2]
        latents = self.to_moments(torch.cat(moments, dim=2)).chunk(2, dim=1)[0].float()
        mean, std = self._statistics(latents)
        return (latents - mean) / std

    @torch.no_grad()
    def decode_chunks(
        self, latents: Tensor, latents_per_chunk: int = LATENTS_PER_CHUNK
    ) -> Iterator[Tensor]:
        """Yields the video in order: one frame, then 4 frames a latent.

        latents: [B, latent channels, t, h, w], normalised.
        Yields [B, 3, frames, 8 h, 8 w] float32 in -1..1.
        """
        if latents.ndim != 5 or latents.shape[1] != self.config.latent_channels:
            raise ValueError(
                f"latents [B, {self.config.latent_channels}, t, h, w] are needed, "
                f"not {tuple(latents.shape)}"
            )
        mean, std = self._statistics(latents)
        past = _Past()
        for chunk in _chunks(latents, latents_per_chunk):
            hidden = self.from_latents(self._as_weights(chunk.float() * std + mean))
            yield self.decoder(hidden, past).float().clamp_(-1, 1)

    def decode(self, latents: Tensor, latents_per_chunk: int = LATENTS_PER_CHUNK) -> Tensor:
        """The output of decode_chunks as one video [B, 3, 4 t - 3, 8 h, 8 w]."""
        return torch.cat(list(self.decode_chunks(latents, latents_per_chunk)), dim=2)

    def _as_weights(self, x: Tensor) -> Tensor:
        """Brings a chunk to the type, the device and the memory layout of the weights."""
        weight = self.decoder.conv_in.weight
        layout = torch.channels_last_3d if is_channels_last(weight) else torch.contiguous_format
        return x.to(weight.device, weight.dtype).contiguous(memory_format=layout)

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The mean and standard deviation of each latent channel, [C, 1, 1, 1] float32."""
        values = torch.tensor([self.config.mean, self.config.std], device=x.device)
        mean, std = values.view(2, -1, 1, 1, 1)
        return mean, std


def _moving_frames(video: Tensor) -> int:
    """The number of leading frames of [B, C, T, H, W] after which all are the same."""
    is_last = (video == video[:, :, -1:]).transpose(1, 2).flatten(2).all(dim=2).all(dim=0)
    return len(is_last) - int(is_last.flip(0).long().cumprod(0).sum())


def _chunks(x: Tensor, size: int) -> Iterator[Tensor]:
    """Yields the first frame of x [B, C, T, H, W] alone, then size frames at a time."""
    yield x[:, :, :1]
    for start in range(1, x.shape[2], size):
        yield x[:, :, start : start + size]
