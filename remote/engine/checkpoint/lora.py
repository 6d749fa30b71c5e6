"""LoRA files, merged into a loaded transformer's weights.

A file holds, per layer, a pair of low-rank matrices or whole differences, under the layer's name
with or without a prefix. Every key is either merged or reported.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from remote.engine.checkpoint.tensorfile import TensorFile

PREFIX = "diffusion_model."
_PAIRS = (("lora_down.weight", "lora_up.weight"), ("lora_A.weight", "lora_B.weight"))
_DIFFERENCES = (("diff", "weight"), ("diff_b", "bias"))


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraReport:
    """The weights that a file changed, and its unused keys; both sorted."""

    changed: tuple[str, ...]
    unused: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Change:
    """The change of one weight by the file's keys: up @ down * factor, or one tensor as it is."""

    target: str
    keys: tuple[str, ...]
    down: Tensor | None = None
    up: Tensor
    factor: float = 1.0

    def difference(self, weight: Tensor) -> Tensor:
        """The float32 difference on the weight's device, in its shape."""
        up = self.up.to(weight.device, torch.float32)
        if self.down is None:
            return up.view(weight.shape)
        down = self.down.to(weight.device, torch.float32)
        return (up.flatten(1) @ down.flatten(1)).view(weight.shape) * self.factor

    def fits(self, shape: torch.Size) -> bool:
        if self.down is None:
            return self.up.shape == shape
        if min(self.up.ndim, self.down.ndim, len(shape)) < 2:
            return False
        outputs, rank_up = self.up.flatten(1).shape
        rank_down, inputs = self.down.flatten(1).shape
        return rank_up == rank_down and (outputs, inputs) == (shape[0], math.prod(shape[1:]))


def is_lora_key(name: str) -> bool:
    """Whether a tensor's name has an ending of a LoRA."""
    endings = [*(ending for pair in _PAIRS for ending in pair), *(each for each, _ in _DIFFERENCES)]
    return any(name.endswith(f".{ending}") for ending in endings)


def read_lora(path: Path) -> dict[str, Tensor]:
    """Reads a safetensors file. Raises ValueError where it is not one."""
    with TensorFile(path) as file:
        return {name: file.read(name) for name in file.infos}


def merge_lora(model: nn.Module, lora: Mapping[str, Tensor], scale: float) -> LoraReport:
    """Adds scale times a LoRA's differences to the weights of a model, in place.

    A low-rank pair with an alpha is multiplied by alpha / rank. The published code knows neither
    alpha nor lora_A/lora_B nor names without prefix, and ignores them without a word.
    Raises ValueError, before anything is changed, where a shape does not fit or no key matches.
    """
    weights = dict(model.named_parameters())
    changes = _changes(lora, weights)
    if not changes:
        raise ValueError(
            f"none of the {len(lora)} keys of this LoRA belongs to the model, "
            f"for example {min(lora, default='(empty file)')}"
        )
    for change in changes:
        _require_fit(change, weights[change.target])
    for change in changes:
        weight = weights[change.target]
        with torch.no_grad():
            weight.copy_(weight.float() + scale * change.difference(weight))
    used = {key for change in changes for key in change.keys}
    return LoraReport(
        changed=tuple(sorted({change.target for change in changes})),
        unused=tuple(sorted(set(lora) - used)),
    )


def _require_fit(change: _Change, weight: Tensor) -> None:
    if not change.fits(weight.shape):
        shapes = [tuple(t.shape) for t in (change.down, change.up) if t is not None]
        raise ValueError(
            f"{change.keys[0]}: shapes {shapes} do not fit {change.target} {tuple(weight.shape)}"
        )
    if weight.dtype.itemsize < 2:
        raise ValueError(f"{change.target} is {weight.dtype}: merge a LoRA before quantising")


def _changes(lora: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> list[_Change]:
    """Lists what a file changes; where a layer comes with and without prefix, the former wins."""
    changes: list[_Change] = []
    for layer in sorted({name.rpartition(".")[0] for name in weights}):
        for prefix in (PREFIX, ""):
            found = [
                change for change in _layer_changes(lora, prefix, layer) if change.target in weights
            ]
            changes += found
            if found:
                break
    return changes


def _layer_changes(lora: Mapping[str, Tensor], prefix: str, layer: str) -> list[_Change]:
    """Lists what a file has for one layer, also for weights that the layer lacks."""
    start = f"{prefix}{layer}."
    changes = []
    for down_name, up_name in _PAIRS:
        down, up = lora.get(start + down_name), lora.get(start + up_name)
        if down is None or up is None:
            continue
        keys = [start + down_name, start + up_name]
        factor, alpha = 1.0, lora.get(f"{start}alpha")
        if alpha is not None:
            keys.append(f"{start}alpha")
            factor = float(alpha) / down.shape[0]
        changes.append(
            _Change(target=f"{layer}.weight", keys=tuple(keys), down=down, up=up, factor=factor)
        )
    for name, kind in _DIFFERENCES:
        if start + name in lora:
            changes.append(
                _Change(target=f"{layer}.{kind}", keys=(start + name,), up=lora[start + name])
            )
    return changes
