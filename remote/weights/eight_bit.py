"""8-bit weights: the transformer, a LoRA merged and layers in 8 bits, stored next to its pack.

Such a folder of files has the same weights that merging and turning to 8 bits give while the pack
is read, bit for bit: a job that finds it reads over a quarter less. It lies in `8bit`, under the
name of its LoRA; its manifest is written last.
"""

import hashlib
import json
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from multitalk_cli.contract import PACK_FORMAT
from multitalk_cli.contract.codec import to_plain
from multitalk_cli.contract.loras import with_strength
from multitalk_cli.contract.weights_task import eight_bit_folder
from multitalk_cli.errors import SetupError
from remote.engine.checkpoint.lora import Lora
from remote.engine.checkpoint.tensorfile import TensorInfo
from remote.engine.kernels import quantize
from remote.engine.tiers import NEAR, Tier
from remote.weights import pack, read
from remote.weights.manifest import (
    MANIFEST_FILE,
    Changes,
    Manifest,
    MergedLora,
    PackProgress,
)

STORED = NEAR
"""Its layers are stored in 8 bits. Further ones of another tier would be turned while they are
read, so that one folder serves all."""
_CPU = torch.device("cpu")


def changes_of(base: Manifest, loras: Iterable[MergedLora]) -> Changes:
    """How the stored 8-bit weights differ from that pack, with these LoRAs."""
    return Changes(base=base.revision, tier=STORED.name, layers=STORED.layers, loras=tuple(loras))


def write(
    base: read.Pack,
    target: Path,
    changes: Changes,
    open_loras: Callable[[], AbstractContextManager[Sequence[Lora]]],
    progress: PackProgress | None = None,
    max_file_bytes: int = pack.MAX_FILE_BYTES,
    *,
    is_staged: bool = False,
) -> Manifest:
    """Writes 8-bit weights. Files that an earlier, stopped call wrote are kept.

    open_loras: opens those that the changes name, for one file at a time, so that none is open
    when that is saved. The host holds one tensor at a time. is_staged: as of `pack.pack`.
    """
    plans = plan(base, changes, max_file_bytes)
    target.mkdir(parents=True, exist_ok=True)
    (target / MANIFEST_FILE).unlink(missing_ok=True)
    finished = pack.Finished(target, _fingerprint(changes, plans))

    def tensors(file: pack.PlannedFile) -> Generator[Tensor, None, None]:
        stored = ((name, base.tensor("dit", name)) for name in file.sources)
        with open_loras() as loras:
            pairs = read.change_weights(stored, loras, changes.layers, _CPU, are_all=False)
            for _, tensor in pairs:
                yield tensor

    files = pack.write_files(plans, finished, tensors, progress, is_staged=is_staged)
    manifest = Manifest(
        format_version=PACK_FORMAT,
        precision="fp8",
        config=base.manifest.config,
        files=tuple(files),
        index=pack.index_of(plans),
        sources=base.manifest.sources,
        changes=changes,
    )
    pack.write_manifest(target, manifest)
    finished.forget()
    return manifest


def plan(
    base: read.Pack, changes: Changes, max_file_bytes: int = pack.MAX_FILE_BYTES
) -> list[pack.PlannedFile]:
    """The files that `write` writes."""
    stored = {
        name: _stored_infos(name, info, changes.layers) for name, info in base.infos("dit").items()
    }
    return pack.divide("dit", stored, max_file_bytes)


def _stored_infos(name: str, info: TensorInfo, layers: Sequence[str]) -> dict[str, TensorInfo]:
    if quantize.is_fp8_weight(name, layers):
        return pack.eight_bit_infos(name, info.shape)
    return {name: info}


def _fingerprint(changes: Changes, plans: list[pack.PlannedFile]) -> str:
    """A name of this packing; other weights, sizes or types have another one."""
    stored = [
        [plan.name, [[n, str(info.dtype)] for n, info in plan.infos.items()]] for plan in plans
    ]
    return hashlib.sha256(json.dumps([PACK_FORMAT, to_plain(changes), stored]).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Stored 8-bit weights; pack is None where they cannot be used, for the reason if there is one.

    folder: their name, next to the packs.
    """

    folder: str
    pack: read.Pack | None = None
    reason: str = ""


def find(
    base: read.Pack,
    tier: Tier,
    loras: Sequence[MergedLora],
    progress: Callable[[int], None] | None = None,
) -> Found:
    """The stored 8-bit weights, if they are exactly those of that tier and these LoRAs.

    progress: as of `read.open_pack`.
    """
    folder = eight_bit_folder("+".join(with_strength(each.name, each.strength) for each in loras))
    place = base.folder.parent / folder
    if not (place / MANIFEST_FILE).is_file():
        return Found(folder=folder)
    if not set(STORED.layers) <= set(tier.layers):
        reason = f"layers of it are in 8 bits that are not in {tier.name}"
        return Found(folder=folder, reason=reason)
    try:
        return Found(folder=folder, pack=open_current(place, base.manifest, loras, progress))
    except (OSError, ValueError) as error:
        return Found(folder=folder, reason=str(error))


def open_current(
    place: Path,
    base: Manifest,
    loras: Sequence[MergedLora],
    progress: Callable[[int], None] | None = None,
) -> read.Pack:
    """Stored 8-bit weights. Raises OSError or ValueError for those that cannot be used.

    Damage of weights themselves is found by `verify_pack`, that of their scales when they are read.
    """
    found = read.open_pack(place, progress)
    reason = _mismatch(found.manifest, base, loras)
    if reason:
        raise ValueError(reason)
    try:
        found.infos("dit")
    except SetupError as error:
        # It is not repaired, but written again.
        raise ValueError(str(error.__cause__)) from error
    return found


def _mismatch(manifest: Manifest, base: Manifest, loras: Sequence[MergedLora]) -> str:
    """Why stored 8-bit weights are not of this pack and these LoRAs; empty where they are."""
    changes = manifest.changes
    if changes is None:
        return "it is a whole pack"
    wanted = changes_of(base, loras)
    if changes.base != wanted.base or manifest.config != base.config:
        return "it was made from other weights"
    if changes.loras != wanted.loras:
        return "another file, or strength, of the LoRA is merged in it"
    if changes.layers != wanted.layers:
        return "other layers of it are in 8 bits"
    return ""
