"""The LoRAs in the user's Modal account."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from multitalk_cli import contract
from multitalk_cli.contract.loras import KNOWN_LORAS, LORAS_FOLDER, LORAS_RECORD
from multitalk_cli.errors import SetupError

if TYPE_CHECKING:
    from multitalk_cli.cloud.client import Cloud


def check_loras(cloud: Cloud, loras: Sequence[contract.LoraChoice]) -> None:
    """Raises SetupError E_LORA_MISSING for one that the Volume of weights does not hold.

    A known name must be of the file that it stands for today.
    """
    addresses = _recorded(cloud) if loras else {}
    for name in (lora.name for lora in loras):
        known, found = KNOWN_LORAS.get(name), addresses.get(name)
        is_right = found is not None and (known is None or known.is_at(found))
        if not is_right:
            other = "" if found is None else ", but another file of that name"
            raise SetupError(
                f"the Volume {contract.WEIGHTS_VOLUME} holds no LoRA {name}{other}",
                code="E_LORA_MISSING",
                facts={"lora": name if known else "https://HOST/FILE.safetensors"},
            )


def _recorded(cloud: Cloud) -> Mapping[str, str]:
    """Name -> address of the LoRAs of the Volume; nothing read there is trusted."""
    path = f"/{LORAS_FOLDER}/{LORAS_RECORD}"
    try:
        body = json.loads(b"".join(cloud.read_file(contract.WEIGHTS_VOLUME, path)))
        return {str(each["name"]): str(each["address"]) for each in body["loras"]}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, RecursionError):
        message = f"{path} of the Volume {contract.WEIGHTS_VOLUME} is damaged"
        raise SetupError(message, code="E_WEIGHTS") from None
