"""What can be asked of a folder of weights, here or in the cloud, as it crosses the wire."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from multitalk_cli import contract

Precision = Literal["bf16", "fp8"]
PRECISIONS: tuple[Precision, ...] = ("bf16", "fp8")
LORAS = ("fusionx", "lightx2v")
"""Names that stand for a file on the hub."""
Kind = Literal["survey", "bring", "list", "verify", "strays", "prune", "survey_lora", "add_lora"]

PACKS_THERE: Mapping[Precision, str] = {"bf16": contract.PACK_FOLDER, "fp8": "fp8"}
"""Precision -> folder of its pack in the Volume."""
WRITING: tuple[Kind, ...] = ("bring", "prune", "add_lora")
"""What changes the folder: one at a time."""
CALLS = "weights"
"""In place of a job's id, where it is noted which call brings weights, or was the last that did."""
CORES, MEMORY_MIB = 2.0, 8 * 1024
"""Of the container that writes: the largest tensor of the text encoder has 2.1 GB."""
ASSUMED_BYTES_PER_S = 100e6
"""For estimates: fetching and packing together. Assumed, not measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One thing to do with a folder of weights.

    revisions: REPO=COMMIT each. is_repair: everything is verified first, and what is wrong is
    fetched anew. names: of the strays to prune, or of the LoRA to add. lora: a known name or an
    address. endpoint: of the hub, empty for its own.
    """

    kind: Kind
    precision: Precision = "bf16"
    revisions: tuple[str, ...] = ()
    is_repair: bool = False
    names: tuple[str, ...] = ()
    lora: str = ""
    endpoint: str = ""

    @property
    def commits(self) -> Mapping[str, str]:
        """Repository -> branch or commit."""
        pairs = (each.partition("=") for each in self.revisions)
        return {repo: commit for repo, _, commit in pairs}
