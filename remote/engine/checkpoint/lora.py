"""LoRA files, merged into the transformer's weights.

A file holds, per layer, a pair of low-rank matrices or whole differences, under any of the layer's
names. Every key is either merged or reported.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from remote.engine.checkpoint import lora_keys as keys

_PAIRS = ((keys.DOWN, keys.UP), (keys.A, keys.B))
# Ending after a layer's name -> the weight of that layer that it changes. Of a modulation, which is
# no layer, there are two names.
_DIFFERENCES = (
    (keys.DIFF, "weight"),
    (keys.DIFF_B, "bias"),
    (keys.DIFF_MODULATION, "modulation"),
    (keys.DIFF_M, "modulation"),
)
_SHOWN_CHARACTERS = 100
CHANGES_NOTHING = "it changes nothing: all of its differences are zero"

Shape = tuple[int, ...]
Read = Callable[[str], Tensor]


class LoraError(ValueError):
    """A file that cannot be merged, with the reason."""


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
        """Raises LoraError where the file's shapes are not those of the weight."""
        up = shapes[self.up]
        down = None if self.down is None else shapes[self.down]
        if not _fits(up, down, wanted):
            given = [shape for shape in (down, up) if shape is not None]
            raise LoraError(
                f"{shown(self.keys[0])}: shapes {given} do not fit {self.target} {tuple(wanted)}: "
                "it is of another model"
            )
        if self.alpha is not None and math.prod(shapes[self.alpha]) != 1:
            raise LoraError(f"{shown(self.alpha)} is not one number but {shapes[self.alpha]}")

    def difference(self, read: Read, like: Tensor) -> Tensor:
        """The float32 difference of a weight, on its device and in its shape.

        Products are summed in float64, so that every device rounds to the same float32.
        """
        if self.down is None:
            return read(self.up).to(like.device, torch.float32).view(like.shape)
        up = read(self.up).to(like.device, torch.float64)
        down = read(self.down).to(like.device, torch.float64)
        factor = 1.0 if self.alpha is None else float(read(self.alpha)) / down.shape[0]
        return (up.flatten(1) @ down.flatten(1)).mul_(factor).float().view(like.shape)


def _fits(up: Shape, down: Shape | None, wanted: Shape) -> bool:
    if down is None:
        # A modulation is stored with or without the axis of the batch.
        return len(up) <= len(wanted) and (1,) * (len(wanted) - len(up)) + up == wanted
    if min(len(up), len(down), len(wanted)) < 2:
        return False
    inputs, outputs = math.prod(down[1:]), up[0]
    return (
        down[0] > 0
        and math.prod(up[1:]) == down[0]
        and (outputs, inputs) == (wanted[0], math.prod(wanted[1:]))
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Lora:
    """A file's part in the weights. changes: name of a weight -> its changes. read: by key."""

    strength: float
    read: Read
    changes: Mapping[str, tuple[_Change, ...]] = field(repr=False)
    report: LoraReport

    @property
    def keys(self) -> tuple[str, ...]:
        """The file's keys that are used."""
        return tuple(
            key for each in self.changes.values() for change in each for key in change.keys
        )

    def difference(self, name: str, like: Tensor) -> Tensor | None:
        """What it adds to a weight, float32; None where it adds nothing."""
        total: Tensor | None = None
        for change in self.changes.get(name, ()):
            part = self.strength * change.difference(self.read, like)
            total = part if total is None else total + part
        return total


def plan_lora(
    shapes: Mapping[str, Shape], read: Read, weights: Mapping[str, Shape], strength: float
) -> Lora:
    """Finds what a file changes, without reading it.

    shapes: of the file's tensors. read: gives one of them. weights: names and shapes of the model.
    A low-rank pair with an alpha is multiplied by alpha / rank. The published code knows neither
    alpha nor lora_A/lora_B nor modulations nor names without prefix, and ignores them without a
    word. Raises LoraError where a shape does not fit or no key matches, and for other adapters.
    """
    other = keys.find_kind(shapes)
    if other is not None:
        raise LoraError(f"it is a {other[0]}, which is not supported ({shown(other[1])})")
    changes: dict[str, tuple[_Change, ...]] = {}
    for change in _find(shapes, weights):
        change.require_fit(shapes, weights[change.target])
        changes[change.target] = (*changes.get(change.target, ()), change)
    if not changes:
        raise LoraError(
            f"none of the {len(shapes)} keys of this LoRA belongs to the model, "
            f"for example {shown(min(shapes, default='(empty file)'))}"
        )
    used = {key for each in changes.values() for change in each for key in change.keys}
    report = LoraReport(
        changed=tuple(sorted(changes)),
        unused=tuple(sorted(set(shapes) - used)),
        used=len(used),
    )
    return Lora(strength=strength, read=read, changes=changes, report=report)


def merged(
    tensors: Iterable[tuple[str, Tensor]],
    loras: Sequence[Lora],
    device: torch.device,
    *,
    are_all: bool = True,
) -> Iterator[tuple[str, Tensor]]:
    """The model's tensors with all LoRAs added, each rounded once.

    device: does the work. A tensor that is there is changed in place, others go back to their own.
    are_all: whether these are all tensors; a LoRA need not change any of a part of them.
    Raises LoraError for values that are no numbers, and after the last tensor for a LoRA that
    changed none.
    """
    idle = {id(lora) for lora in loras if lora.strength}
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
            if difference is not None:
                whole = whole + difference
                if _largest(difference, lora.changes[name][0].up):
                    idle.discard(id(lora))
        with torch.no_grad():
            yield name, weight.copy_(whole).to(tensor.device)
    if idle and are_all:
        raise LoraError(CHANGES_NOTHING)


def _largest(difference: Tensor, key: str) -> float:
    """The largest absolute value. Raises LoraError where one is no number."""
    largest = float(torch.linalg.vector_norm(difference, math.inf))
    if not math.isfinite(largest):
        raise LoraError(f"values of {shown(key)} or its alpha are no numbers")
    return largest


def shown(key: str) -> str:
    """A key of a file from elsewhere, to be shown."""
    plain = key if key.isprintable() else ascii(key)
    return plain if len(plain) <= _SHOWN_CHARACTERS else f"{plain[:_SHOWN_CHARACTERS]}..."


def _find(shapes: Mapping[str, Shape], weights: Mapping[str, Shape]) -> Iterator[_Change]:
    """What a file changes."""
    layers = {name.rpartition(".")[0] for name in weights}
    for layer, names in keys.by_layer(shapes, layers).items():
        yield from (each for each in _changes_of(names, layer) if each.target in weights)


def _changes_of(names: Mapping[str, str], layer: str) -> Iterator[_Change]:
    """What a file has for one layer, also for weights that the layer lacks."""
    for down, up in _PAIRS:
        if down in names and up in names:
            yield _Change(
                target=f"{layer}.weight",
                down=names[down],
                up=names[up],
                alpha=names.get(keys.ALPHA),
            )
    seen: set[str] = set()
    for ending, kind in _DIFFERENCES:
        if ending in names and kind not in seen:
            seen.add(kind)
            yield _Change(target=f"{layer}.{kind}", up=names[ending])
