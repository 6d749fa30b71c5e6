"""Checks that end a run with unusable output: NaN or infinite values, black or frozen frames."""

import torch
from torch import Tensor

from remote.engine.errors import BlackFramesError, FrozenFramesError, NotANumberError

_BLACK_LEVEL = 8 / 255  # of full brightness; no pixel of a black frame is above it
_BRIGHT_LEVEL = 40 / 255  # a picture without a pixel above it may give dark frames
_MOVED_LEVEL = 0.5 / 255  # the smallest change that any pixel can show


def check_finite(latents: Tensor, where: str) -> None:
    """Refuses latents that are not finite."""
    if not torch.isfinite(latents).all():
        raise NotANumberError(f"{where}: the latents hold NaN or infinite values")


def check_latents(latents: Tensor, where: str) -> None:
    """Refuses latents [C, T, h, w] that are not finite, or the same in every latent frame."""
    check_finite(latents, where)
    if latents.shape[1] > 1 and torch.equal(latents[:, 1:], latents[:, :-1]):
        raise FrozenFramesError(f"{where}: every latent frame is the same")


def check_frames(frames: Tensor, picture: Tensor, where: str) -> None:
    """Refuses frames [3, T, H, W] that are not finite, are all black, or do not move.

    picture: [3, H, W]; both in -1..1. A dark picture may give dark frames. A few bad frames are no
    reason to lose the others.
    """
    if not torch.isfinite(frames).all():
        raise NotANumberError(f"{where}: the frames hold NaN or infinite values")
    brightest = (frames.amax(dim=(0, 2, 3)) + 1) / 2
    if (brightest <= _BLACK_LEVEL).all() and (picture.max() + 1) / 2 > _BRIGHT_LEVEL:
        raise BlackFramesError(f"{where}: all {frames.shape[1]} frames are black")
    if frames.shape[1] > 1 and (frames[:, 1:] - frames[:, :-1]).abs().max() / 2 < _MOVED_LEVEL:
        raise FrozenFramesError(f"{where}: all {frames.shape[1]} frames are the same")
