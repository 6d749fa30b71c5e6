"""LoRAs that are known by name, and how a LoRA is named on a command line.

The only table of them: client and container read it.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote, urlsplit

LORA_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
LORA_ENDING = ".safetensors"
LORAS_FOLDER, LORAS_RECORD = "loras", "manifest.json"
"""Beside the packs: the files, and the record of their names and addresses."""
MAX_STRENGTH = 4.0
_STRENGTH = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownLora:
    """A LoRA with a name of its own.

    repository, file: on the Hugging Face Hub. size_bytes: rounded, for estimates and texts.
    licence: as its publisher states it. kind: "step" for one that is distilled to few steps and
    needs no guidance by the prompt, "style" for any other. steps: the counts that a "step" LoRA
    runs with. shift: of the schedule that it was distilled at, of evenly spaced times. warning:
    what to know before its use; empty for nothing.
    """

    repository: str
    file: str
    size_bytes: int
    licence: str
    kind: Literal["step", "style"]
    steps: tuple[int, ...] = ()
    shift: float | None = None
    warning: str = ""

    def is_at(self, address: str) -> bool:
        """Whether an address is of this file, in whatever folder of its repository."""
        path = unquote(urlsplit(address).path)
        is_of_it = f"/{self.repository}/resolve/" in path
        return is_of_it and path.rpartition("/")[2] == self.file.rpartition("/")[2]


STEP_LORA = "lightx2v"
"""The one of the fast presets."""
KNOWN_LORAS: Mapping[str, KnownLora] = {
    STEP_LORA: KnownLora(
        repository="lightx2v/Wan2.1-Distill-Loras",
        file="wan2.1_i2v_lora_rank64_lightx2v_4step.safetensors",
        size_bytes=739_000_000,
        licence="Apache 2.0 by its README",
        kind="step",
        steps=(2, 4, 8),
        shift=5.0,
    ),
    "fusionx": KnownLora(
        repository="vrgamedevgirl84/Wan14BT2VFusioniX",
        file="FusionX_LoRa/Wan2.1_I2V_14B_FusionX_LoRA.safetensors",
        size_bytes=371_000_000,
        licence="Apache 2.0 by its card",
        kind="step",
        steps=(2, 4, 8),
        shift=2.0,
        warning="contains CausVid, whose files are noted CC-BY-NC elsewhere; shifts colours beyond "
        "a minute",
    ),
}


def split_strength(text: str) -> tuple[str, float]:
    """A LoRA and its strength: a number after the last colon, which else belongs to the address."""
    name, colon, number = text.rpartition(":")
    if colon and name and _STRENGTH.fullmatch(number):
        return name, float(number)
    return text, 1.0


def is_strength(strength: float) -> bool:
    """Whether a LoRA can be merged with this strength."""
    return math.isfinite(strength) and abs(strength) <= MAX_STRENGTH


def named_choice(text: str) -> str:
    """A LoRA as `generate` takes it, as NAME or NAME:STRENGTH: no record holds its address.

    Raises ValueError for anything else.
    """
    lora, strength = split_strength(text)
    if not is_strength(strength):
        raise ValueError(
            f"must have a strength from -{MAX_STRENGTH:g} to {MAX_STRENGTH:g}, not {strength:g}"
        )
    is_name = LORA_NAME.fullmatch(lora) and not lora.endswith(LORA_ENDING)
    if not is_name and not is_web_lora(lora) and not is_lora_file(lora):
        form = f"a name, FILE{LORA_ENDING} or https://HOST/FILE{LORA_ENDING} without a password"
        raise ValueError(f"must be {form}, not {without_keys(lora)!r}")
    name = lora if is_name else name_of_lora(lora)
    if not LORA_NAME.fullmatch(name):
        raise ValueError("must be the address of a file with a name")
    return with_strength(name, strength)


def with_strength(name: str, strength: float) -> str:
    """NAME or NAME:STRENGTH, the opposite of `split_strength`."""
    return name if strength == 1 else f"{name}:{strength:g}"


def is_web_lora(lora: str) -> bool:
    """Whether it is the address of a LoRA's file, without a password."""
    try:
        parts = urlsplit(lora)
    except ValueError:
        return False
    is_address = parts.scheme in ("http", "https") and bool(parts.netloc)
    return is_address and "@" not in parts.netloc and parts.path.endswith(LORA_ENDING)


def is_lora_file(lora: str) -> bool:
    """Whether it is the path of a LoRA's file."""
    return lora.endswith(LORA_ENDING) and "://" not in lora


def without_keys(address: str) -> str:
    """An address without the parts that may hold a key or a password."""
    bare = address.partition("?")[0].partition("#")[0]
    return re.sub(r"//[^/]*@", "//", bare)


def name_of_lora(lora: str) -> str:
    """The name under which a folder of weights records a known LoRA or one from an address.

    Empty for an address that gives none.
    """
    if lora in KNOWN_LORAS:
        return lora
    file = unquote(urlsplit(lora).path).rpartition("/")[2].removesuffix(LORA_ENDING)
    return re.sub(r"[^A-Za-z0-9._-]", "-", file)[:100].lstrip("._-")
