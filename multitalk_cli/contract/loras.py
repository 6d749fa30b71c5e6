"""LoRAs that are known by name, and how a LoRA is named on a command line.

The only table of them: client and container read it.
"""

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from unicodedata import combining, normalize
from urllib.parse import unquote, urlsplit

LORA_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
LORA_ENDING = ".safetensors"
_NAME_CHARACTERS = 90
LORAS_FOLDER, LORAS_RECORD = "loras", "manifest.json"
"""Beside the packs: the files, and the record of their names and addresses."""
MAX_STRENGTH = 4.0
_STRENGTH = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)", re.ASCII)
_OTHER_ENDINGS = (".pt", ".pth", ".ckpt", ".bin", ".gguf", ".zip")


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
        path = unquote(without_keys(address))
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
    lora = known_name(lora)
    is_name = LORA_NAME.fullmatch(lora) and not lora.endswith((LORA_ENDING, *_OTHER_ENDINGS))
    if not is_name and not is_web_lora(lora) and not is_lora_file(lora):
        raise ValueError(_describe_form(lora))
    name = lora if is_name else name_of_lora(lora)
    if not LORA_NAME.fullmatch(name):
        raise ValueError("must be the address of a file with a name")
    return with_strength(name, strength)


def _describe_form(text: str) -> str:
    """What a text should have been that is no LoRA."""
    name, colon, number = text.rpartition(":")
    if colon and LORA_NAME.fullmatch(name) and not set(number) & {"/", "\\"}:
        return f"must have a number after the colon, as in {name}:0.8, not {number!r}"
    if text.lower().endswith(_OTHER_ENDINGS):
        return f"must be a {LORA_ENDING} file, which cannot run code, not {without_keys(text)!r}"
    if is_download(text):
        return f"must be the name that multitalk download --lora shows for {without_keys(text)!r}"
    form = f"a name, FILE{LORA_ENDING} or https://HOST/FILE{LORA_ENDING} without a password"
    return f"must be {form}, not {without_keys(text)!r}"


def known_name(text: str) -> str:
    """A known name, whatever its case; any other text as it is."""
    return text.lower() if text.lower() in KNOWN_LORAS else text


def source_of(name: str) -> str:
    """What `download --lora` takes for a name: the name, or an address in general."""
    return name if name in KNOWN_LORAS else f"https://HOST/{name}{LORA_ENDING}"


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


def is_download(lora: str) -> bool:
    """Whether it is an address that does not name its file, as those of download buttons."""
    try:
        parts = urlsplit(lora)
    except ValueError:
        return False
    is_address = parts.scheme == "https" and bool(parts.netloc) and "@" not in parts.netloc
    is_named = parts.path.endswith((LORA_ENDING, *_OTHER_ENDINGS))
    return is_address and bool(parts.path.strip("/")) and not is_named


def is_lora_file(lora: str) -> bool:
    """Whether it is the path of a LoRA's file."""
    return lora.endswith(LORA_ENDING) and "://" not in lora


def without_keys(address: str) -> str:
    """An address without the parts that may hold a key or a password."""
    bare = address.partition("?")[0].partition("#")[0]
    return re.sub(r"//[^/]*@", "//", bare)


def name_of_lora(lora: str) -> str:
    """The name under which a folder of weights records a known LoRA, or one of a file or address.

    Letters of other scripts, which may be all of a name, become a digest; a file with the name of a
    known LoRA gets another. Empty where there is no name.
    """
    if lora in KNOWN_LORAS:
        return lora
    path = lora.replace("\\", "/") if is_lora_file(lora) else unquote(urlsplit(lora).path)
    file = path.rpartition("/")[2]
    while file.endswith(LORA_ENDING):
        file = file.removesuffix(LORA_ENDING)
    # Systems store accents with their letters or apart.
    letters = "".join(each for each in normalize("NFKD", file) if not combining(each))
    name = re.sub(r"[^A-Za-z0-9._-]", "-", letters)[:_NAME_CHARACTERS].lstrip("._-")
    if not letters.isascii():
        digest = hashlib.sha256(letters.encode("utf-8", "replace")).hexdigest()[:8]
        return f"{name.rstrip('-') or 'lora'}-{digest}"
    return f"{name}-file" if name in KNOWN_LORAS else name
