"""The LoRAs in the user's Modal account."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from multitalk_cli import contract
from multitalk_cli.contract.loras import LORAS_FOLDER, LORAS_RECORD
from multitalk_cli.contract.weights_task import require_loras

if TYPE_CHECKING:
    from multitalk_cli.cloud.client import Cloud


def check_loras(cloud: Cloud, loras: Sequence[contract.LoraChoice]) -> None:
    """Raises SetupError E_LORA_MISSING for one that the Volume of weights does not hold."""
    if not loras:
        return
    try:
        path = f"/{LORAS_FOLDER}/{LORAS_RECORD}"
        record = b"".join(cloud.read_file(contract.WEIGHTS_VOLUME, path))
    except FileNotFoundError:
        record = b""
    require_loras(loras, record, f"the Volume {contract.WEIGHTS_VOLUME}")
