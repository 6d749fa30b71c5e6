"""The pack in the user's Modal account: whether it is there as its manifest lists it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from multitalk_cli import contract
from multitalk_cli.errors import SetupError
from multitalk_cli.reporting.formatting import human_bytes

if TYPE_CHECKING:
    from multitalk_cli.cloud.client import Cloud


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployedPack:
    """A pack as its manifest lists it. revisions: repository -> commit that it was made from."""

    sizes: Mapping[str, int]
    revisions: Mapping[str, str]

    @property
    def size_bytes(self) -> int:
        """Of all its files."""
        return sum(self.sizes.values())


def find_pack(cloud: Cloud, name: str = contract.PACK_FOLDER) -> DeployedPack:
    """The pack in that folder of the Volume.

    Raises SetupError E_WEIGHTS_MISSING unless each file is there in the length that the pack's
    manifest lists, which is written last.
    """
    folder, path = f"/{name}", f"/{name}/manifest.json"
    with ThreadPoolExecutor(1) as pool:
        listing = pool.submit(cloud.sizes, contract.WEIGHTS_VOLUME, folder)
        try:
            text = b"".join(cloud.read_file(contract.WEIGHTS_VOLUME, path))
        except FileNotFoundError:
            message = f"the Volume {contract.WEIGHTS_VOLUME} holds no pack in {folder}"
            raise _missing(message) from None
        sizes = listing.result() or {}
    try:
        pack = read_manifest(text)
    except ValueError as error:
        raise _missing(f"{path}: {error}") from None
    wrong = [name for name, size in pack.sizes.items() if sizes.get(name) != size]
    if wrong:
        there = human_bytes(pack.size_bytes - sum(pack.sizes[name] for name in wrong))
        raise _missing(
            f"{len(wrong)} of {len(pack.sizes)} files missing or cut off, "
            f"{there} of {human_bytes(pack.size_bytes)}"
        )
    return pack


def _missing(message: str) -> SetupError:
    return SetupError(message, code="E_WEIGHTS_MISSING", hint="multitalk download")


def read_manifest(text: bytes) -> DeployedPack:
    """What a pack's manifest lists, which is not believed: ValueError where it is none of ours."""
    try:
        body = json.loads(text)
        version = int(body["format_version"])
        pack = DeployedPack(
            sizes={str(each["name"]): int(each["size_bytes"]) for each in body["files"]},
            revisions={str(each["repo"]): str(each["revision"]) for each in body["sources"]},
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError("this is no manifest of a pack") from None
    if version != contract.PACK_FORMAT:
        raise ValueError(
            f"the pack has format {version}, this version reads {contract.PACK_FORMAT}"
        )
    return pack
