"""The VAE's convolution over time and space, with what is added to it."""

from collections.abc import Callable

from torch import Tensor, nn

# A convolution [N, C, 3, 3, 3] that pads space by 1; x [1, C, 2 + T, H, W]; what is added, if
# anything, [1, N, T, H, W]. Gives [1, N, T, H, W].
Convolve = Callable[[nn.Conv3d, Tensor, Tensor | None], Tensor]


def convolve(conv: nn.Conv3d, x: Tensor, added: Tensor | None) -> Tensor:
    """The convolution as torch has it."""
    out: Tensor = conv(x)
    return out if added is None else out.add_(added)
