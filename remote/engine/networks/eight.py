"""Linear layers whose weights are in 8 bits, and blocks that have them."""

from collections.abc import Iterable, Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from remote.engine.kernels.eight import Rows, product
from remote.engine.kernels.quantize import FP8, is_fp8_weight, quantize_rows, scale_name
from remote.engine.networks.layers import Block


class EightBitLinear(nn.Module):
    """A linear layer of the fused blocks: weight [out, in] e4m3, scale [out, 1] float32."""

    scale: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        weight = torch.empty(outputs, inputs, dtype=FP8)
        self.register_buffer("scale", torch.empty(outputs, 1, dtype=torch.float32))
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = nn.Parameter(torch.empty(outputs), requires_grad=False)

    def forward(self, tokens: Rows) -> Tensor:
        """[L, out] in the bias's dtype."""
        return product(tokens, self.weight, self.scale, self.bias, self.bias.dtype)

    def gated(self, tokens: Rows, gate: Tensor | None) -> Tensor:
        """As forward, times gate [out] float32, without the bias."""
        scale = self.scale if gate is None else self.scale * gate[:, None]
        return product(tokens, self.weight, scale, None, self.bias.dtype)


def make_room(blocks: Iterable[nn.Module], layers: Sequence[str]) -> None:
    """Replaces those layers of blocks by ones in 8 bits, without values yet."""
    for block in blocks:
        for name in layers:
            owner, _, leaf = name.rpartition(".")
            plain = cast(nn.Linear, block.get_submodule(name))
            made = EightBitLinear(plain.in_features, plain.out_features)
            setattr(block.get_submodule(owner), leaf, made)


def layers_of(block: nn.Module) -> tuple[str, ...]:
    """The layers of a block that are in 8 bits."""
    named = block.named_modules()
    return tuple(name for name, module in named if isinstance(module, EightBitLinear))


@torch.no_grad()
def quantize_blocks(blocks: Iterable[Block], layers: Sequence[str]) -> None:
    """Turns those layers of loaded blocks to 8 bits, one after the other, where they lie."""
    for block in blocks:
        for name in layers:
            plain = block.get_submodule(name)
            if isinstance(plain, EightBitLinear):
                continue
            linear = cast(nn.Linear, plain)
            with torch.device("meta"):
                make_room([block], [name])
            made = cast(EightBitLinear, block.get_submodule(name))
            weight, made.scale = quantize_rows(linear.weight)
            made.weight = nn.Parameter(weight, requires_grad=False)
            made.bias = linear.bias


def quantized(
    tensors: Iterable[tuple[str, Tensor]], layers: Sequence[str], device: torch.device
) -> Iterator[tuple[str, Tensor]]:
    """The transformer's tensors with the weights of those layers in 8 bits, after their scales.

    device: does the work, before each tensor goes back to its own. Every tensor has memory of its
    own afterwards, so that the piece which it was read to is let go.
    """
    for name, tensor in tensors:
        if tensor.dtype != FP8 and is_fp8_weight(name, layers):
            weight, scale = quantize_rows(tensor.to(device))
            yield scale_name(name), scale.to(tensor.device)
            yield name, weight.to(tensor.device)
        else:
            yield name, tensor.clone()
