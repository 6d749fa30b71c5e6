"""The folder `8bit` next to the packs, for tasks: what of it is there, and the writing of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from multitalk_cli.contract.loras import split_strength
from multitalk_cli.contract.weights_task import (
    EIGHT_BIT_FOLDER,
    is_eight_bit_folder,
    lora_of_folder,
)
from multitalk_cli.errors import FileError
from multitalk_cli.storage.hub import Hub
from remote.engine.checkpoint.lora import Lora
from remote.weights import eight_bit, loras
from remote.weights.manifest import MANIFEST_FILE, Manifest, MergedLora, PackProgress, load_manifest
from remote.weights.pack import UNFINISHED_FILE
from remote.weights.read import open_pack


def names(folder: Path) -> list[str]:
    """The folders in it, complete or begun, as paths in the folder of weights."""
    place = folder / EIGHT_BIT_FOLDER
    found = sorted(path.name for path in place.iterdir() if path.is_dir()) if place.is_dir() else []
    return [each for name in found if is_eight_bit_folder(each := f"{EIGHT_BIT_FOLDER}/{name}")]


def lora_name(name: str) -> str:
    """The LoRA that is merged in one of them; empty for none."""
    return split_strength(lora_of_folder(name))[0]


def is_current(folder: Path, base: Manifest, name: str) -> bool:
    """Whether it is complete, and made from that pack and from the LoRA that is there."""
    try:
        merged = [_merged(lora, strength) for lora, strength in _loras_of(folder, name)]
        eight_bit.open_current(folder / name, base, merged)
    except (OSError, ValueError, FileError):
        return False
    return True


def is_outdated(folder: Path, base: Manifest, name: str) -> bool:
    """Whether it was complete once, and is no longer of use."""
    is_written = (folder / name / MANIFEST_FILE).is_file()
    return is_written and not is_current(folder, base, name)


def files(folder: Path, name: str) -> set[str]:
    """The files that belong to a current one."""
    manifest = load_manifest(folder / name)
    return {file.name for file in manifest.files} | {MANIFEST_FILE}


def survey(
    folder: Path, base: Path | None, name: str, open_hub: Callable[[], Hub]
) -> dict[str, Any]:
    """What writing one of them would add. base: the pack, None where it is not there yet.

    lora: the one to fetch before, as of `loras.survey`. size_bytes: None where only the pack can
    tell. The hub is asked only for a LoRA that is absent.
    """
    lora, size_bytes = lora_name(name), None
    absent = None
    if lora and not _is_there(folder, lora):
        absent = loras.survey(folder, open_hub(), lora)
    if base is not None:
        opened = open_pack(base)
        is_there = is_current(folder, opened.manifest, name)
        # Sizes do not depend on the LoRA.
        plans = eight_bit.plan(opened, eight_bit.changes_of(opened.manifest, ()))
        size_bytes = 0 if is_there else sum(plan.size_bytes for plan in plans)
    return {"folder": name, "size_bytes": size_bytes, "lora": absent}


def write(folder: Path, base: Path, name: str, progress: PackProgress, *, is_staged: bool) -> None:
    """Writes one of them, unless it is there. Raises FileError E_LORA without its LoRA."""
    opened = open_pack(base)
    if is_current(folder, opened.manifest, name):
        return
    found = _loras_of(folder, name)
    changes = eight_bit.changes_of(opened.manifest, [_merged(*each) for each in found])
    shapes = {each: info.shape for each, info in opened.infos("dit").items()}

    @contextmanager
    def open_loras() -> Iterator[list[Lora]]:
        with ExitStack() as stack:
            opening = (loras.opened(folder, *each, shapes) for each in found)
            yield [stack.enter_context(each) for each in opening]

    eight_bit.write(opened, folder / name, changes, open_loras, progress, is_staged=is_staged)


def discard(folder: Path, damaged: list[str], *, is_base_damaged: bool) -> list[str]:
    """Makes those incomplete that are damaged, or made of what is; gives those to write again."""
    places, found = {file.rpartition("/")[0] for file in damaged}, []
    for name in names(folder):
        lora = lora_name(name)
        is_lora_damaged = f"{loras.FOLDER}/{lora}.safetensors" in damaged
        if not (is_base_damaged or is_lora_damaged or name in places):
            continue
        if (folder / name / MANIFEST_FILE).is_file() and (not lora or _is_recorded(folder, lora)):
            found.append(name)
        for file in (MANIFEST_FILE, UNFINISHED_FILE):
            (folder / name / file).unlink(missing_ok=True)
    return found


def _loras_of(folder: Path, name: str) -> list[tuple[loras.Lora, float]]:
    """The LoRA of one of them, with its strength. Raises FileError E_LORA where it is not there."""
    text = lora_of_folder(name)
    if not text:
        return []
    lora, strength = split_strength(text)
    return [(loras.find(folder, lora), strength)]


def _merged(lora: loras.Lora, strength: float) -> MergedLora:
    return MergedLora(name=lora.name, sha256=lora.sha256, strength=strength)


def _is_there(folder: Path, lora: str) -> bool:
    try:
        loras.find(folder, lora)
    except FileError:
        return False
    return True


def _is_recorded(folder: Path, lora: str) -> bool:
    return lora in {each.name for each in loras.read(folder)}
