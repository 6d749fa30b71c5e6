"""The LoRAs in the user's Modal account."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from multitalk_cli import contract
from multitalk_cli.contract.loras import LORAS_FOLDER, LORAS_RECORD
from multitalk_cli.contract.weights_task import lora_digests, recorded_digests, require_loras

if TYPE_CHECKING:
    from multitalk_cli.cloud.client import Cloud


_TITLE = f"the Volume {contract.WEIGHTS_VOLUME}"


def check_loras(cloud: Cloud, loras: Sequence[contract.LoraChoice]) -> None:
    """Raises SetupError E_LORA_MISSING for one that the Volume of weights does not hold."""
    if loras:
        require_loras(loras, _record(cloud), _TITLE, cloud.place.facts)


def find_digests(cloud: Cloud, loras: Sequence[contract.LoraChoice]) -> Mapping[str, str]:
    """Name -> sha256 of those that the Volume of weights holds."""
    return lora_digests(loras, _record(cloud), _TITLE) if loras else {}


def all_digests(cloud: Cloud) -> Mapping[str, str]:
    """The same of all that it holds."""
    return recorded_digests(_record(cloud), _TITLE)


def _record(cloud: Cloud) -> bytes:
    """The record of the Volume's LoRAs; empty where there is none."""
    try:
        path = f"/{LORAS_FOLDER}/{LORAS_RECORD}"
        return b"".join(cloud.read_file(contract.WEIGHTS_VOLUME, path))
    except FileNotFoundError:
        return b""
