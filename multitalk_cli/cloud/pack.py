"""The pack of weights in the user's Modal account: found, checked, uploaded."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from multitalk_cli import contract
from multitalk_cli.cloud.loras import all_digests
from multitalk_cli.contract.events import UPLOADING
from multitalk_cli.contract.weights_task import (
    EIGHT_BIT_FOLDER,
    STORED_LAYERS,
    is_eight_bit_folder,
    pack_revision,
)
from multitalk_cli.errors import FileError, SetupError
from multitalk_cli.reporting.formatting import human_bytes, human_count

if TYPE_CHECKING:
    from multitalk_cli.cloud.client import Cloud
    from multitalk_cli.cloud.errors import AppRef
    from multitalk_cli.reporting.reporter import Reporter

MANIFEST = "manifest.json"
COMPLETE, INCOMPLETE = "complete", "incomplete"
"""States of 8-bit weights; others begin with `outdated`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployedPack:
    """A pack as its manifest lists it. revisions: repository -> commit that it was made from.

    revision: names exactly its files. base, loras, layers: of 8-bit weights, the revision of
    the pack that they were made from, name -> sha256 of what is merged, and the layers that are in
    8 bits; empty for a pack.
    """

    sizes: Mapping[str, int]
    revisions: Mapping[str, str]
    revision: str
    base: str = ""
    loras: Mapping[str, str] = field(default_factory=dict)
    layers: tuple[str, ...] = ()

    @property
    def size_bytes(self) -> int:
        """Size of all files."""
        return sum(self.sizes.values())


def find_pack(cloud: Cloud, name: str = contract.PACK_FOLDER) -> DeployedPack:
    """The pack in that folder of the Volume.

    Raises SetupError E_WEIGHTS_MISSING unless each file has the size that the pack's manifest
    lists, which is written last.
    """
    folder, path = f"/{name}", f"/{name}/{MANIFEST}"
    with ThreadPoolExecutor(1) as pool:
        listing = pool.submit(cloud.sizes, contract.WEIGHTS_VOLUME, folder)
        try:
            text = b"".join(cloud.read_file(contract.WEIGHTS_VOLUME, path))
        except FileNotFoundError:
            message = f"the Volume {contract.WEIGHTS_VOLUME} holds no pack in {folder}"
            raise _missing(cloud.place, message) from None
        sizes = listing.result() or {}
    try:
        pack = read_manifest(text)
    except ValueError as error:
        raise _missing(cloud.place, f"{path}: {error}") from None
    wrong = [name for name, size in pack.sizes.items() if sizes.get(name) != size]
    if wrong:
        there = human_bytes(pack.size_bytes - sum(pack.sizes[name] for name in wrong))
        raise _missing(
            cloud.place,
            f"{len(wrong)} of {len(pack.sizes)} files missing or truncated, "
            f"{there} of {human_bytes(pack.size_bytes)}",
        )
    return pack


def eight_bit_states(cloud: Cloud, base: DeployedPack) -> dict[str, str]:
    """Folder of 8-bit weights -> their state: complete, incomplete, or as below."""
    names = cloud.sizes(contract.WEIGHTS_VOLUME, f"/{EIGHT_BIT_FOLDER}") or {}
    states, digests = {}, all_digests(cloud) if names else {}
    folders = (f"{EIGHT_BIT_FOLDER}/{name}" for name in sorted(names))
    for folder in filter(is_eight_bit_folder, folders):
        try:
            found = find_pack(cloud, folder)
        except SetupError as error:
            if error.code != "E_WEIGHTS_MISSING":
                raise
            states[folder] = INCOMPLETE
        else:
            states[folder] = eight_bit_state(found, base, digests)
    return states


def eight_bit_state(found: DeployedPack, base: DeployedPack, digests: Mapping[str, str]) -> str:
    """Whether 8-bit weights are complete, or why a job does not use them.

    digests: name -> sha256 of the LoRAs that are there.
    """
    if found.base != base.revision:
        return "outdated: made from other weights"
    if not found.loras.items() <= digests.items():
        return "outdated: another file of its LoRA"
    if found.layers != STORED_LAYERS:
        return "outdated: other layers in 8 bits"
    return COMPLETE


def _missing(place: AppRef, message: str) -> SetupError:
    facts = {"volume": contract.WEIGHTS_VOLUME, **place.facts}
    return SetupError(message, code="E_WEIGHTS_MISSING", facts=facts)


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadedPack:
    """A pack that was uploaded."""

    files: int
    size_bytes: int


def list_pack_files(folder: Path) -> list[Path]:
    """The files of a pack on this machine, its manifest last.

    Raises FileError E_FILE_UNREADABLE where one is missing or truncated.
    """
    try:
        pack = read_manifest((folder / MANIFEST).read_bytes())
    except (OSError, ValueError) as error:
        missing = f"{MANIFEST} is missing" if folder.is_dir() else "there is no such folder"
        problem = missing if isinstance(error, FileNotFoundError) else str(error)
        raise FileError(
            f"{str(folder)!r} holds no usable pack: {problem}",
            code="E_FILE_UNREADABLE",
            facts={"pack_folder": str(folder)},
        ) from None
    if pack.base:
        whole = folder.parent.parent / "pack"
        raise FileError(
            f"{str(folder)!r} holds 8-bit weights alone, the pack is next to {EIGHT_BIT_FOLDER}",
            code="E_FILE_UNREADABLE",
            facts={"pack_folder": str(folder)} | ({"pack": str(whole)} if whole.is_dir() else {}),
        )
    # Names come from a file: nothing of them may lead out of the folder.
    sizes = {Path(name).name: size for name, size in pack.sizes.items()}
    for name, size in sizes.items():
        path = folder / name
        seen = path.stat().st_size if path.is_file() else None
        if seen != size:
            found = "is missing" if seen is None else f"has {seen} bytes"
            raise FileError(
                f"{str(path)!r} {found}, its manifest lists {size} bytes",
                code="E_FILE_UNREADABLE",
                facts={"pack_folder": str(folder), "damaged": 1},
            )
    return [*(folder / name for name in sizes), folder / MANIFEST]


def upload_pack(cloud: Cloud, files: Sequence[Path], reporter: Reporter) -> UploadedPack:
    """Uploads the files of a pack to the Volume of weights, all of them or none."""
    size_bytes = sum(path.stat().st_size for path in files)
    what = f"{human_count(len(files), 'file')}, {human_bytes(size_bytes)}"
    reporter.fact("pack", f"{what} to the Volume {contract.WEIGHTS_VOLUME}")
    reporter.leaving = "interrupted; the same command resumes"
    with reporter.progress() as view:

        def show(sent: int) -> None:
            done = min(sent, size_bytes)
            view.show(contract.Stage(name=UPLOADING, done=done, total=size_bytes))

        # Modal's client looks for what is there already, by checksums of its own, and does not
        # report that.
        view.show(contract.Stage(name="reading"))
        cloud.upload(contract.WEIGHTS_VOLUME, files, f"/{contract.PACK_FOLDER}", show)
        show(size_bytes)
    return UploadedPack(files=len(files), size_bytes=size_bytes)


def read_manifest(text: bytes) -> DeployedPack:
    """The content of a pack's manifest. Raises ValueError for anything else; nothing is trusted."""
    try:
        body = json.loads(text)
        version = int(body["format_version"])
        changes = body.get("changes") or {"base": "", "loras": [], "layers": []}
        pack = DeployedPack(
            sizes={str(each["name"]): int(each["size_bytes"]) for each in body["files"]},
            revisions={str(each["repo"]): str(each["revision"]) for each in body["sources"]},
            revision=pack_revision(str(each["sha256"]) for each in body["files"]),
            base=str(changes["base"]),
            loras={str(each["name"]): str(each["sha256"]) for each in changes["loras"]},
            layers=tuple(str(each) for each in changes["layers"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError("not the manifest of a pack") from None
    if version != contract.PACK_FORMAT:
        raise ValueError(
            f"the pack has format {version}, this version reads {contract.PACK_FORMAT}"
        )
    return pack
