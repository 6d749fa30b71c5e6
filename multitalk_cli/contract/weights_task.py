"""Work on a folder of weights, on this machine or in the cloud, and its wire form."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from multitalk_cli import contract
from multitalk_cli.contract.codec import ADDED
from multitalk_cli.contract.loras import (
    KNOWN_LORAS,
    LORAS_FOLDER,
    LORAS_RECORD,
    STEP_LORA,
    is_download,
    is_web_lora,
    source_of,
    without_keys,
)
from multitalk_cli.errors import SetupError, UsageError
from multitalk_cli.errors.exceptions import Fact

Precision = Literal["bf16", "fp8"]
PRECISIONS: tuple[Precision, ...] = ("bf16",)
"""That can be asked for; packs in fp8 are of earlier versions."""
LORAS = tuple(sorted(KNOWN_LORAS))
"""Names of files on the hub."""
WeightsAction = Literal[
    "survey", "bring", "list", "verify", "strays", "prune", "survey_lora", "add_lora"
]

DOWNLOAD: WeightsAction = "bring"
"""The word of deployed apps, which stays."""
PACKS_THERE: Mapping[Precision, str] = {"bf16": contract.PACK_FOLDER, "fp8": "fp8"}
"""Precision -> folder of its pack in the Volume."""
EIGHT_BIT_FOLDER = "8bit"
"""Next to the packs, also on this machine: 8-bit weights of the transformer, for each LoRA."""
STORED_LAYERS = (
    "self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o", "ffn.0", "ffn.2", "cross_attn.q",
)  # fmt: skip
"""The layers of each block that are in 8 bits there; a folder with others is not used."""
WRITING: tuple[WeightsAction, ...] = (DOWNLOAD, "prune", "add_lora")
"""Actions that change the folder: one at a time."""
CALLS = "weights"
"""In place of a job's id, where the newest call that downloads is recorded."""
CORES, MEMORY_MIB = 2.0, 8 * 1024
"""Of the container that writes: the largest tensor of the text encoder has 2.1 GB."""
ASSUMED_BYTES_PER_S = 100e6
"""For estimates: fetching and packing together. Assumed, not measured."""


@dataclass(frozen=True, slots=True)
class PublishedPart:
    """A part of the published weights. files: a pattern of their paths in the repository."""

    name: str
    repository: str
    files: str
    size_bytes: int


PUBLISHED = (
    PublishedPart(
        "transformer, 7 files",
        contract.WAN_REPOSITORY,
        r"diffusion_pytorch_model.*\.safetensors",
        65_579_648_512,
    ),
    PublishedPart(
        "text encoder umT5-XXL", contract.WAN_REPOSITORY, r"models_t5.*\.pth", 11_361_920_418
    ),
    PublishedPart(
        "image encoder CLIP ViT-H/14", contract.WAN_REPOSITORY, r"models_clip.*\.pth", 4_772_359_047
    ),
    PublishedPart("VAE", contract.WAN_REPOSITORY, r".*VAE\.pth", 507_609_880),
    PublishedPart(
        "multitalk.safetensors",
        contract.MULTITALK_REPOSITORY,
        r"multitalk\.safetensors",
        9_947_889_040,
    ),
    PublishedPart(
        "speech encoder wav2vec2", contract.WAV2VEC_REPOSITORY, r"model\.safetensors", 380_000_000
    ),
)
"""Sizes for estimates and texts; a download asks the hub. That of wav2vec2 is rounded."""
PUBLISHED_TOLERANCE = 0.01
"""The share by which a part on the hub may differ from this table: headers, roundings."""
PUBLISHED_BYTES = sum(part.size_bytes for part in PUBLISHED)
PACK_BYTES, EIGHT_BIT_BYTES = 51_200_000_000, 26_900_000_000
"""Of the bf16 pack and of 8-bit weights, for estimates."""


def pack_revision(sha256s: Iterable[str]) -> str:
    """A short name of exactly the files with these hashes."""
    return hashlib.sha256("".join(sorted(sha256s)).encode()).hexdigest()[:16]


def eight_bit_folder(lora: str) -> str:
    """The folder of 8-bit weights. lora: NAME[:STRENGTH], empty for none."""
    return f"{EIGHT_BIT_FOLDER}/transformer-{lora}" if lora else f"{EIGHT_BIT_FOLDER}/transformer"


def is_eight_bit_folder(folder: str) -> bool:
    """Whether a folder in that place is one of these, and not somebody's own."""
    first = eight_bit_folder("")
    return folder == first or folder.startswith(f"{first}-")


def lora_of_folder(folder: str) -> str:
    """The LoRA of such a folder, as NAME[:STRENGTH]; empty for none."""
    return folder.removeprefix(f"{EIGHT_BIT_FOLDER}/transformer").removeprefix("-")


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsTask:
    """One task on a folder of weights.

    revisions: REPO=COMMIT each. is_repair: whether to verify everything first and fetch wrong files
    again. names: of the strays to prune, or of the LoRA to add. lora: a known name or an address.
    endpoint: of the hub, empty for its own. is_eight_bit: whether 8-bit weights are wanted too,
    with `merged` in it, NAME[:STRENGTH] or empty; names and lora are then those of the LoRA
    that is added before, if one is.
    """

    kind: WeightsAction
    precision: Precision = "bf16"
    revisions: tuple[str, ...] = ()
    is_repair: bool = False
    names: tuple[str, ...] = ()
    lora: str = ""
    endpoint: str = ""
    is_eight_bit: bool = field(default=False, metadata={ADDED: True})
    merged: str = field(default="", metadata={ADDED: True})

    @property
    def eight_bit(self) -> str:
        """The folder of the 8-bit weights that are wanted; empty for none."""
        return eight_bit_folder(self.merged) if self.is_eight_bit else ""

    @property
    def commits(self) -> Mapping[str, str]:
        """Repository -> branch or commit."""
        pairs = (each.partition("=") for each in self.revisions)
        return {repo: commit for repo, _, commit in pairs}


def check_lora(lora: str) -> None:
    """Raises UsageError unless it is a known name or the address of a file, without keys."""
    if lora not in LORAS and not is_web_lora(lora) and not is_download(lora):
        raise not_a_lora(lora)


def not_a_lora(lora: str) -> UsageError:
    """The error for a --lora that cannot be fetched."""
    names = ", ".join(LORAS)
    return UsageError(
        f"--lora takes {names}, https://HOST/FILE.safetensors without a password, or with --to "
        f"FILE.safetensors, not {without_keys(lora)!r}",
        code="E_RANGE",
        facts={"option": "--lora", "example": STEP_LORA},
    )


def require_loras(
    loras: Sequence[contract.LoraChoice], record: bytes, title: str, place: Mapping[str, Fact]
) -> None:
    """Raises SetupError E_LORA_MISSING for a LoRA that is not in a folder of weights.

    record: of the folder's LoRAs, empty where there is none. title, place: of the folder, for the
    error and its facts. A known name must be of the file that it stands for today.
    """
    addresses = _recorded_loras(record, title, "address") if record else {}
    for name in (lora.name for lora in loras):
        known, found = KNOWN_LORAS.get(name), addresses.get(name)
        if found is None or (known is not None and not known.is_at(found)):
            other = "" if found is None else ", but another file of that name"
            raise SetupError(
                f"{title} holds no LoRA {name}{other}",
                code="E_LORA_MISSING",
                facts={**place, "lora": source_of(name)},
            )


def lora_digests(
    loras: Sequence[contract.LoraChoice], record: bytes, title: str
) -> Mapping[str, str]:
    """Name -> sha256 of the LoRAs that a folder's record has.

    record, title: as of `require_loras`. Raises SetupError E_WEIGHTS for a damaged record.
    """
    digests = recorded_digests(record, title)
    return {lora.name: digests[lora.name] for lora in loras if lora.name in digests}


def recorded_digests(record: bytes, title: str) -> Mapping[str, str]:
    """Name -> sha256 of all LoRAs that a folder's record has. Raises as `lora_digests` does."""
    return _recorded_loras(record, title, "sha256") if record else {}


def _recorded_loras(record: bytes, title: str, entry: str) -> Mapping[str, str]:
    """Name -> that entry; nothing read there is trusted."""
    try:
        return {str(each["name"]): str(each[entry]) for each in json.loads(record)["loras"]}
    except (ValueError, KeyError, TypeError, RecursionError):
        raise SetupError(
            f"the record of LoRAs of {title} is damaged",
            code="E_WEIGHTS",
            hint=f"remove {LORAS_FOLDER}/{LORAS_RECORD} there, and add each LoRA again",
        ) from None
