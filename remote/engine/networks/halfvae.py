"""The VAE in half precision, with the whole one behind it for values that do not fit.

Axes: B batch, T video frames, H W height and width, t h w those of the latents.
"""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor

from remote.engine.kernels.convolve import Convolve, convolve
from remote.engine.kernels.norm_silu import NormSiLU
from remote.engine.networks.vae import LATENTS_PER_CHUNK, VAE


class HalfVAE:
    """Encodes and decodes in float16, channels last; what is not finite is done again in float32.

    Float16 keeps 18 dB more than bfloat16, and overflows above 65504. A number that overflowed
    anywhere reaches the result as one that is no number, through the next norm.
    """

    def __init__(self, vae: VAE, norm_silu: NormSiLU, convolve: Convolve = convolve) -> None:
        """vae: in float32; it is kept, for what overflows."""
        self._whole = vae
        self._half = copy.deepcopy(vae).to(torch.float16)
        self._half.use_channels_last()
        self._half.use_norm_silu(norm_silu)
        self._half.use_convolve(convolve)

    def encode(self, video: Tensor, latents_per_chunk: int = LATENTS_PER_CHUNK) -> Tensor:
        """Like VAE.encode: [B, 3, T, H, W] to [B, channels, t, h, w]."""
        latents = self._half.encode(video, latents_per_chunk)
        if latents.isfinite().all():
            return latents
        return self._whole.encode(video, latents_per_chunk)

    def decode_chunks(
        self, latents: Tensor, latents_per_chunk: int = LATENTS_PER_CHUNK
    ) -> Iterator[Tensor]:
        """Like VAE.decode_chunks: yields [B, 3, frames, H, W] in order."""
        done = 0
        for chunk in self._half.decode_chunks(latents, latents_per_chunk):
            if not chunk.isfinite().all():
                break
            yield chunk
            done += 1
        else:
            return
        # Earlier chunks stay as they are; later ones see their past as it should have been.
        for index, chunk in enumerate(self._whole.decode_chunks(latents, latents_per_chunk)):
            if index >= done:
                yield chunk

    def decode(self, latents: Tensor, latents_per_chunk: int = LATENTS_PER_CHUNK) -> Tensor:
        """The output of decode_chunks as one video."""
        return torch.cat(list(self.decode_chunks(latents, latents_per_chunk)), dim=2)
