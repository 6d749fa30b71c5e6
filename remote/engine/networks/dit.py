"""The diffusion transformer: noisy latents and conditions in, velocity out.

Axes: T latent frames, h w rows and columns of the latents, L video tokens, D channels of the
model, S speakers, C channels of the latents.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from remote.engine.config import DiTConfig
from remote.engine.kernels.attention import SDPA, AttentionBackend
from remote.engine.kernels.attention8 import Attention8
from remote.engine.kernels.eight import EightOperations
from remote.engine.kernels.key_value import AudioKeyValue, KeyValue
from remote.engine.kernels.operations import Operations
from remote.engine.kernels.rope import Rotation, video_rotation
from remote.engine.networks.audio import AudioProjection
from remote.engine.networks.fused import (
    Fold,
    FusedBlocks,
    SharedStart,
    can_fold,
    fold_audio,
    fold_values,
    folded_bytes,
    frame_kinds,
)
from remote.engine.networks.labels import PersonRegions, key_positions, person_regions
from remote.engine.networks.layers import Block, BlockCondition, LayerNorm, modulated
from remote.engine.networks.memory import Workload, capacity_bytes, has_room

Keys = tuple[KeyValue, ...]  # one per block
AudioKeys = tuple[AudioKeyValue, ...]  # one per block

_TINY = Workload(tokens=0, pixels=0)


class TimeEmbedding(NamedTuple):
    """A step's embedding [1, D] for the head, and [1, 6, D] for the blocks; both float32."""

    head: Tensor
    blocks: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Everything that one guidance branch is conditioned on, ready for every step of a window.

    regions: given where two persons' voices must find their faces, else None.
    """

    text: Keys
    image: Keys
    audio: AudioKeys
    regions: PersonRegions | None = None

    def for_block(self, index: int) -> BlockCondition:
        return BlockCondition(
            text=self.text[index], image=self.image[index], audio=self.audio[index]
        )


class Float32Linear(nn.Linear):
    """A linear layer whose weights are raised to float32 whatever they are stored in."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.float(), self.bias.float())


class ImageProjection(nn.Module):
    """Brings CLIP's features to the model's width."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.proj = nn.Sequential(
            LayerNorm(config.image_dim, 1e-5),
            nn.Linear(config.image_dim, config.image_dim),
            nn.GELU(),
            nn.Linear(config.image_dim, config.dim),
            LayerNorm(config.dim, 1e-5),
        )

    def forward(self, features: Tensor) -> Tensor:
        return self.proj(features)


class Head(nn.Module):
    """The last layer, in float32: from tokens to a patch of velocity each."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.eps = config.eps
        patch = config.patch[0] * config.patch[1] * config.patch[2]
        self.modulation = nn.Parameter(torch.zeros(1, 2, config.dim))
        self.head = Float32Linear(config.dim, patch * config.out_channels)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """x: [1, L, D]; time: [1, D] float32. Returns [1, L, patch x C] float32."""
        shift, scale = (self.modulation.float() + time[:, None]).chunk(2, dim=1)
        return self.head(modulated(x, shift, scale, self.eps))


class DiT(nn.Module):
    """The whole transformer. Build it under torch.device("meta") and load weights with assign."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.config = config
        self.backend: AttentionBackend = SDPA
        self.fused: FusedBlocks | None = None
        dim = config.dim
        self.patch_embedding = nn.Conv3d(
            config.in_channels, dim, kernel_size=config.patch, stride=config.patch
        )
        self.text_embedding = nn.Sequential(
            nn.Linear(config.text_dim, dim), nn.GELU(approximate="tanh"), nn.Linear(dim, dim)
        )
        self.time_embedding = nn.Sequential(
            Float32Linear(config.frequency_dim, dim), nn.SiLU(), Float32Linear(dim, dim)
        )
        self.time_projection = nn.Sequential(nn.SiLU(), Float32Linear(dim, 6 * dim))
        self.img_emb = ImageProjection(config)
        self.audio_proj = AudioProjection(config)
        self.blocks: nn.Module = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.head = Head(config)

    @property
    def dtype(self) -> torch.dtype:
        return self.patch_embedding.weight.dtype

    @property
    def residual_dtype(self) -> torch.dtype:
        """Of the tokens between blocks, which outgrow float16; what a layer takes does not."""
        return torch.float32 if self.dtype == torch.float16 else self.dtype

    def fuse(
        self,
        operations: Operations,
        backend: AttentionBackend,
        eight: EightOperations | None = None,
        attention8: Attention8 | None = None,
    ) -> None:
        """Switches to the fused blocks; conditions must be computed again afterwards.

        eight, attention8: for work in 8 bits, see FusedBlocks.
        """
        self.backend = backend
        self.fused = FusedBlocks(
            operations=operations,
            backend=backend,
            heads=self.config.heads,
            eight=eight,
            attention8=attention8,
        )

    def text_keys(self, states: Tensor) -> Keys:
        """states: [tokens, text dim] of the encoder, trimmed; padding zeros are attended to."""
        missing = self.config.text_tokens - len(states)
        if missing < 0:
            raise ValueError(f"{len(states)} text tokens, at most {self.config.text_tokens} fit")
        written = min(missing, 1) if self.fused is not None else missing
        padded = F.pad(states.to(self.dtype), (0, 0, 0, written))
        tokens = self.text_embedding(padded[None])
        repeats = 1 + missing - written
        return tuple(
            block.cross_attn.text_keys(tokens)._replace(repeats=repeats) for block in self._blocks()
        )

    def image_keys(self, features: Tensor) -> Keys:
        """features: [1, image tokens, image dim] of CLIP."""
        tokens = self.img_emb(features.to(self.dtype))
        return tuple(block.cross_attn.image_keys(tokens) for block in self._blocks())

    def audio_keys(self, windows: Tensor, work: Workload = _TINY) -> AudioKeys:
        """windows: [S, video frames, window, layers, channels], one or two speakers.

        work: of the video's window, which needs memory too.
        """
        config = self.config
        tokens = self.audio_proj(windows)
        positions = None
        if len(tokens) > 1:
            positions = key_positions(
                config.audio_tokens, config.class_range, config.class_interval
            ).to(tokens.device)
        tokens = tokens.permute(1, 0, 2, 3).flatten(1, 2)
        kinds = frame_kinds(tokens)
        fold = self._fold(len(tokens), work, is_for_two=positions is not None)
        keys: list[AudioKeyValue] = []
        for block in self._blocks():
            layer = block.audio_cross_attn
            given = layer.audio_keys(tokens, positions)
            keys.append(given if fold is None else fold(layer, given, kinds))
        return tuple(keys)

    def _fold(self, frames: int, work: Workload, *, is_for_two: bool) -> Fold | None:
        """How the audio of so many frames is folded; exact leaves that of two persons as it is."""
        if self.fused is None or not self._can_fold(frames, work):
            return None
        if is_for_two:
            return None if self.fused.eight is None else fold_values
        return fold_audio

    def _can_fold(self, frames: int, work: Workload) -> bool:
        """Whether folded audio of so many frames, and of silence, fits in the device's memory.

        Follows from the card, the weights and the window, so that a request always has the same
        frames.
        """
        config, device = self.config, self.patch_embedding.weight.device
        if not can_fold(device, self.dtype):
            return False
        if device.type != "cuda":
            return True
        size = self.dtype.itemsize
        folded = folded_bytes(frames + 1, config.audio_tokens, config.heads, config.dim, size)
        capacity = capacity_bytes(device)
        return has_room(config, work, capacity, self.weight_bytes, config.layers * folded)

    @property
    def weight_bytes(self) -> int:
        """Of all weights, those of streamed blocks included, wherever they lie."""
        streamed: int = getattr(self.blocks, "weight_bytes", 0)
        return streamed + sum(each.nbytes for each in self.parameters())

    def regions(self, masks: Tensor) -> PersonRegions:
        """masks: [3, rows, columns] on the token grid: two persons and the background."""
        return person_regions(masks, self.config.class_range, self.config.class_interval)

    def embed_time(self, t: Tensor) -> TimeEmbedding:
        """t: [1], 0 to 1000."""
        head = self.time_embedding(time_waves(t, self.config.frequency_dim))
        return TimeEmbedding(head, self.time_projection(head).unflatten(1, (6, -1)))

    def embed_latents(self, latents: Tensor, conditioning: Tensor) -> Tensor:
        """latents: [C, T, h, w]; conditioning: [C + 4, T, h, w]. Returns [1, L, D]."""
        x = torch.cat((latents, conditioning.to(latents)), dim=0)[None].to(self.dtype)
        if self.fused is None:
            tokens: Tensor = self.patch_embedding(x).flatten(2).transpose(1, 2)
            return tokens.to(self.residual_dtype)
        _, rows, columns = self.config.patch
        patches = x[0].unflatten(2, (-1, rows)).unflatten(4, (-1, columns))  # C T h rows w columns
        patches = patches.permute(1, 2, 4, 0, 3, 5).flatten(3).flatten(0, 2)
        weight = self.patch_embedding.weight.flatten(1)
        return F.linear(patches[None], weight, self.patch_embedding.bias)

    def run_blocks(
        self,
        x: Tensor,
        time: TimeEmbedding,
        condition: Condition,
        rotation: Rotation,
        shared: SharedStart | None = None,
        skipped_frames: int = 0,
    ) -> Tensor:
        """The tokens after the last block.

        x: [1, L, D]. shared: what branches of one step share. skipped_frames: leading frames that
        are not used; the fused form leaves them out of the result.
        """
        if self.fused is not None:
            first = condition.audio[0].frames
            return self.fused.run(
                self._blocks(),
                x,
                time.blocks,
                rotation,
                [condition.for_block(index) for index in range(self.config.layers)],
                condition.regions,
                shared,
                skipped_frames * (x.shape[1] // first),
            )
        for index, block in enumerate(self._blocks()):
            x = block(
                x,
                time.blocks,
                rotation,
                condition.for_block(index),
                condition.regions,
                self.backend,
            )
        return x

    def velocity(self, x: Tensor, time: TimeEmbedding, grid: tuple[int, int, int]) -> Tensor:
        """The velocity [C, T, h, w] float32; leading frames that run_blocks left out are 0.

        x: [1, L, D]; grid: frames, rows, columns of tokens.
        """
        _, rows, columns = self.config.patch
        patches = self._head(x, time.head)[0].unflatten(0, (-1, *grid[1:]))
        patches = patches.unflatten(-1, (rows, columns, self.config.out_channels))
        velocity = patches.permute(5, 0, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)
        return F.pad(velocity, (0, 0, 0, 0, grid[0] - velocity.shape[1], 0))

    def _head(self, x: Tensor, time: Tensor) -> Tensor:
        if self.fused is None:
            return self.head(x, time)
        shift, scale = (self.head.modulation.float() + time[:, None])[0]
        norm = self.fused.operations.norm
        h = norm(x[0], 1 + scale, shift, self.config.eps, None, torch.float32)
        return self.head.head(h)[None]

    def grid(self, latents: Tensor) -> tuple[int, int, int]:
        """The frames, rows and columns of tokens of latents [C, T, h, w]."""
        _, frames, height, width = latents.shape
        _, rows, columns = self.config.patch
        if height % rows or width % columns:
            raise ValueError(f"latents {tuple(latents.shape)} do not divide into {rows}x{columns}")
        return frames, height // rows, width // columns

    def rotation(self, latents: Tensor) -> Rotation:
        return video_rotation(*self.grid(latents), self.config.head_dim, latents.device)

    def forward(
        self, latents: Tensor, conditioning: Tensor, t: Tensor, condition: Condition
    ) -> Tensor:
        """The velocity of noisy latents.

        latents: [C, T, h, w]; conditioning: [C + 4, T, h, w]; t: [1], 0 to 1000.
        Returns [C, T, h, w] float32.
        """
        time = self.embed_time(t)
        x = self.embed_latents(latents, conditioning)
        x = self.run_blocks(x, time, condition, self.rotation(latents))
        return self.velocity(x, time, self.grid(latents))

    def _blocks(self) -> Iterable[Block]:
        """The blocks in order; each may be gone when the next one is asked for."""
        return cast(Iterable[Block], self.blocks)


def time_waves(t: Tensor, dim: int) -> Tensor:
    """Cosines, then sines, of t at dim/2 frequencies. t: [1]. Returns [1, dim] float32."""
    half = dim // 2
    exponents = torch.arange(half, dtype=torch.float64, device=t.device) / half
    angles = torch.outer(t.double(), torch.pow(10000.0, -exponents))
    return torch.cat((angles.cos(), angles.sin()), dim=1).float()
