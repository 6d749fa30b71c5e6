"""LoRA files, merged into the transformer's weights.

A file holds, per layer, a pair of low-rank matrices or whole differences, under the layer's name
with or without a prefix. Every key is either merged or reported.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

PREFIX = "diffusion_model."
_PAIRS = (("lora_down.weight", "lora_up.weight"), ("lora_A.weight", "lora_B.weight"))
# Ending after a layer's name -> the weight of that layer that it changes. Of a modulation, which is
# no layer, there are two names.
_DIFFERENCES = (
    ("diff", "weight"),
    ("diff_b", "bias"),
    ("modulation.diff", "modulation"),
    ("diff_m", "modulation"),
)

Shape = tuple[int, ...]
Read = Callable[[str], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraReport:
    """The weights that a file changed, and its unused keys, both sorted; how many keys are used."""

    changed: tuple[str, ...]
    unused: tuple[str, ...]
    used: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Change:
    """The change of one weight by a file's keys: up @ down * alpha / rank, or up as it is."""

    target: str
    up: str
    down: str | None = None
    alpha: str | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(key for key in (self.down, self.up, self.alpha) if key is not None)

    def require_fit(self, shapes: Mapping[str, Shape], wanted: Shape) -> None:
        """Raises ValueError where the file's shapes are not those of the weight."""
        up = shapes[self.up]
        down = None if self.down is None else shapes[self.down]
        if not _fits(up, down, wanted):
            given = [shape for shape in (down, up) if shape is not None]
            raise ValueError(
                f"{self.keys[0]}: shapes {given} do not fit {self.target} {tuple(wanted)}"
            )

    def difference(self, read: Read, like: Tensor) -> Tensor:
        """The float32 difference of a weight, on its device and in its shape."""
        up = read(self.up).to(like.device, torch.float32)
        if self.down is None:
            return up.view(like.shape)
        down = read(self.down).to(like.device, torch.float32)
        factor = 1.0 if self.alpha is None else float(read(self.alpha)) / down.shape[0]
        return (up.flatten(1) @ down.flatten(1)).view(like.shape) * factor


def _fits(up: Shape, down: Shape | None, wanted: Shape) -> bool:
    if down is None:
        # A modulation is stored with or without the axis of the batch.
        return len(up) <= len(wanted) and (1,) * (len(wanted) - len(up)) + up == wanted
    if min(len(up), len(down), len(wanted)) < 2:
        return False
    inputs, outputs = math.prod(down[1:]), up[0]
    return math.prod(up[1:]) == down[0] and (outputs, inputs) == (wanted[0], math.prod(wanted[1:]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Lora:
    """A file's part in the weights. changes: name of a weight -> its changes. read: by key."""

    strength: float
    read: Read
    changes: Mapping[str, tuple[_Change, ...]] = field(repr=False)
    report: LoraReport

    def difference(self, name: str, like: Tensor) -> Tensor | None:
        """What it adds to a weight, float32; None where it adds nothing."""
        total: Tensor | None = None
        for change in self.changes.get(name, ()):
            part = self.strength * change.difference(self.read, like)
            total = part if total is None else total + part
        return total


def is_lora_key(name: str) -> bool:
    """Whether a tensor's name has an ending of a LoRA."""
    endings = [*(ending for pair in _PAIRS for ending in pair), *(each for each, _ in _DIFFERENCES)]
    return any(name.endswith(f".{ending}") for ending in endings)


def plan_lora(
    shapes: Mapping[str, Shape], read: Read, weights: Mapping[str, Shape], strength: float
) -> Lora:
    """Finds what a file changes, without reading it.

    shapes: of the file's tensors. read: gives one of them. weights: names and shapes of the model.
    A low-rank pair with an alpha is multiplied by alpha / rank. The published code knows neither
    alpha nor lora_A/lora_B nor modulations nor names without prefix, and ignores them without a
    word. Raises ValueError where a shape does not fit or no key matches.
    """
    changes: dict[str, tuple[_Change, ...]] = {}
    for change in _find(shapes, weights):
        change.require_fit(shapes, weights[change.target])
        changes[change.target] = (*changes.get(change.target, ()), change)
    if not changes:
        raise ValueError(
            f"none of the {len(shapes)} keys of this LoRA belongs to the model, "
            f"for example {min(shapes, default='(empty file)')}"
        )
    used = {key for each in changes.values() for change in each for key in change.keys}
    report = LoraReport(
        changed=tuple(sorted(changes)),
        unused=tuple(sorted(set(shapes) - used)),
        used=len(used),
    )
    return Lora(strength=strength, read=read, changes=changes, report=report)


def merged(
    tensors: Iterable[tuple[str, Tensor]], loras: Sequence[Lora], device: torch.device
) -> Iterator[tuple[str, Tensor]]:
    """The model's tensors with all LoRAs added, each rounded once.

    device: does the work. A tensor that is there is changed in place, others go back to their own.
    """
    for name, tensor in tensors:
        parts = [lora for lora in loras if name in lora.changes]
        if not parts:
            yield name, tensor
            continue
        if tensor.dtype.itemsize < 2:
            raise ValueError(f"{name} is {tensor.dtype}: merge a LoRA before quantising")
        weight = tensor.to(device)
        whole = weight.float()
        for lora in parts:
            difference = lora.difference(name, weight)
            whole = whole if difference is None else whole + difference
        with torch.no_grad():
            yield name, weight.copy_(whole).to(tensor.device)


def merge_lora(model: nn.Module, lora: Mapping[str, Tensor], scale: float) -> LoraReport:
    """Adds scale times a LoRA's differences to the weights of a loaded model, in place.

    Raises ValueError, before anything is changed, as plan_lora does.
    """
    weights = dict(model.named_parameters())
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    given = {name: tuple(tensor.shape) for name, tensor in lora.items()}
    plan = plan_lora(given, lora.__getitem__, shapes, scale)
    for name in plan.changes:
        for _ in merged([(name, weights[name])], [plan], weights[name].device):
            pass
    return plan.report


def _find(shapes: Mapping[str, Shape], weights: Mapping[str, Shape]) -> Iterator[_Change]:
    """What a file changes; where a layer comes with and without prefix, the former wins."""
    for layer in sorted({name.rpartition(".")[0] for name in weights}):
        for prefix in (PREFIX, ""):
            found = [
                change
                for change in _changes_of(shapes, f"{prefix}{layer}.", layer)
                if change.target in weights
            ]
            yield from found
            if found:
                break


def _changes_of(shapes: Mapping[str, Shape], start: str, layer: str) -> Iterator[_Change]:
    """What a file has for one layer, also for weights that the layer lacks."""
    for down, up in _PAIRS:
        if start + down in shapes and start + up in shapes:
            alpha = f"{start}alpha"
            yield _Change(
                target=f"{layer}.weight",
                down=start + down,
                up=start + up,
                alpha=alpha if alpha in shapes else None,
            )
    seen: set[str] = set()
    for ending, kind in _DIFFERENCES:
        if start + ending in shapes and kind not in seen:
            seen.add(kind)
            yield _Change(target=f"{layer}.{kind}", up=start + ending)
