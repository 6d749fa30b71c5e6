"""The pack in the user's Modal account: whether it is there as its manifest lists it."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from multitalk_cli import contract
from multitalk_cli.errors import SetupError
from multitalk_cli.wording import human_bytes

if TYPE_CHECKING:
    from multitalk_cli.cloud import Cloud

_FOLDER = f"/{contract.PACK_FOLDER}"
_MANIFEST = f"{_FOLDER}/manifest.json"


def measure_pack(cloud: Cloud) -> tuple[int, int]:
    """How many files and bytes the pack has.

    Raises SetupError E_WEIGHTS_MISSING unless each is there in the length that the pack's manifest
    lists, which is written last.
    """
    with ThreadPoolExecutor(1) as pool:
        listing = pool.submit(cloud.sizes, contract.WEIGHTS_VOLUME, _FOLDER)
        try:
            text = b"".join(cloud.read_file(contract.WEIGHTS_VOLUME, _MANIFEST))
        except FileNotFoundError:
            message = f"the Volume {contract.WEIGHTS_VOLUME} holds no pack in {_FOLDER}"
            raise _missing(message) from None
        sizes = listing.result() or {}
    wanted = _listed(text)
    if wanted is None:
        raise _missing(f"{_MANIFEST} is no manifest of a pack")
    wrong = [name for name, size in wanted.items() if sizes.get(name) != size]
    total = sum(wanted.values())
    if wrong:
        there = human_bytes(total - sum(wanted[name] for name in wrong))
        raise _missing(
            f"{len(wrong)} of {len(wanted)} files missing or cut off, "
            f"{there} of {human_bytes(total)}"
        )
    return len(wanted), total


def _missing(message: str) -> SetupError:
    return SetupError(message, code="E_WEIGHTS_MISSING", hint="multitalk download")


def _listed(text: bytes) -> dict[str, int] | None:
    """Names and sizes that a pack's manifest lists; None where it is none. It is not believed."""
    try:
        files = json.loads(text)["files"]
        return {str(each["name"]): int(each["size_bytes"]) for each in files}
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
