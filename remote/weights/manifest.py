"""Manifests of published files and of packs, and the check of files against them."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from multitalk_cli.contract import PACK_FORMAT
from multitalk_cli.contract.codec import ADDED, from_plain
from multitalk_cli.contract.weights_task import pack_revision
from remote.engine.checkpoint.published import COMPONENTS, require_same_keys
from remote.weights.config import PackConfig

MANIFEST_FILE = "manifest.json"
SOURCES_FILE = "sources.json"

Precision = Literal["fp32", "bf16", "fp8"]
PackProgress = Callable[[int, int, str], None]
"""Receives bytes done, bytes in all, and the name of the file that is finished; empty meanwhile."""

_SETTINGS_BYTES = 64 * 1024**2  # a manifest or a tokenizer is smaller than this
_READ_BYTES = 8 * 1024**2
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_REDUCED: Mapping[str, torch.dtype] = {
    "dit": torch.bfloat16,
    "vae": torch.float32,  # latents lose 20 dB in bf16
    "clip": torch.float16,  # as published
    "wav2vec": torch.float32,
    "text": torch.bfloat16,  # as published
}
STORED_TYPES: Mapping[Precision, Mapping[str, torch.dtype]] = {
    "fp32": dict.fromkeys(COMPONENTS, torch.float32),
    "bf16": _REDUCED,
    "fp8": _REDUCED,  # and the layers of quantize.FP8_LAYERS in 8 bits
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """One published file: where it was fetched from, at which commit, and what it must be."""

    repo: str
    revision: str
    path: str
    size_bytes: int
    sha256: str

    def __post_init__(self) -> None:
        _require_sha256(self.path, self.sha256)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceManifest:
    """The published files in a folder."""

    files: tuple[SourceFile, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedFile:
    """One file of a pack; settings belong to no network."""

    name: str
    component: str
    size_bytes: int
    sha256: str

    def __post_init__(self) -> None:
        if not _PLAIN_NAME.fullmatch(self.name) or self.name == MANIFEST_FILE:
            raise ValueError(f"{self.name!r} is not a plain file name")
        if self.component not in (*COMPONENTS, "settings"):
            raise ValueError(f"{self.name} belongs to {self.component!r}, which is not a network")
        if self.size_bytes < 0:
            raise ValueError(f"{self.name} has {self.size_bytes} bytes")
        _require_sha256(self.name, self.sha256)


def _require_sha256(name: str, sha256: str) -> None:
    if not _SHA256.fullmatch(sha256):
        raise ValueError(f"{name} has {sha256!r}, which is not a sha256")


@dataclass(frozen=True, slots=True, kw_only=True)
class MergedLora:
    """A LoRA that is merged. sha256: of its file."""

    name: str
    sha256: str
    strength: float

    def __post_init__(self) -> None:
        _require_sha256(self.name, self.sha256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """How a transformer differs from that of the pack that it is made from.

    base: the revision of that pack. layers: those of each block that are in 8 bits, as in `tier`.
    """

    base: str
    tier: str
    layers: tuple[str, ...]
    loras: tuple[MergedLora, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The content of a pack. index: network -> tensor -> file.

    changes: None for a whole pack; else these are 8-bit weights, the transformer changed so.
    """

    format_version: int
    precision: str
    config: PackConfig
    files: tuple[PackedFile, ...]
    index: Mapping[str, Mapping[str, str]]
    sources: tuple[SourceFile, ...]
    changes: Changes | None = field(default=None, metadata={ADDED: True})

    def __post_init__(self) -> None:
        if self.format_version != PACK_FORMAT:
            raise ValueError(
                f"the pack has format {self.format_version}, this version reads {PACK_FORMAT}"
            )
        if self.precision not in STORED_TYPES:
            raise ValueError(f"the pack has precision {self.precision!r}")
        if len({file.name for file in self.files}) < len(self.files):
            raise ValueError("the pack lists a file twice")
        require_same_keys(self.index, COMPONENTS, "index of the pack")
        for component, tensors in self.index.items():
            names = [file.name for file in self.files_of(component)]
            require_same_keys(set(tensors.values()), names, f"{component} files")

    def files_of(self, component: str) -> tuple[PackedFile, ...]:
        """A network's files in the order of its weights."""
        return tuple(file for file in self.files if file.component == component)

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    @property
    def revision(self) -> str:
        """A short name of exactly these weights, for the keys of caches."""
        return pack_revision(file.sha256 for file in self.files)


def load_manifest(folder: Path) -> Manifest:
    """Reads a pack's manifest, which is untrusted: ValueError for one that `pack` did not write."""
    data = read_json(folder / MANIFEST_FILE)
    if isinstance(data, dict) and data.get("format_version") != PACK_FORMAT:
        version = data.get("format_version")
        raise ValueError(f"the pack has format {version!r}, this version reads {PACK_FORMAT}")
    if isinstance(data, dict):
        data.setdefault("changes", None)
    return from_plain(Manifest, data)


def read_json(path: Path) -> Any:
    """The content of a small JSON file. Raises ValueError for other files."""
    if path.stat().st_size > _SETTINGS_BYTES:
        raise ValueError(f"{path.name} has {path.stat().st_size} bytes, too many")
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.name} is not JSON: {error}") from error


def verify_pack(
    folder: Path, manifest: Manifest, progress: PackProgress | None = None
) -> list[str]:
    """Reads every file and returns the names of those that are absent or not as packed."""
    wrong, done = [], 0
    for file in manifest.files:
        if not is_intact(folder / file.name, file.size_bytes, file.sha256):
            wrong.append(file.name)
        done += file.size_bytes
        if progress is not None:
            progress(done, manifest.size_bytes, file.name)
    return wrong


def is_intact(path: Path, size_bytes: int, sha256: str) -> bool:
    """Whether a file is there with this size and sha256."""
    if not path.is_file() or path.stat().st_size != size_bytes:
        return False
    return sha256_of(path) == sha256


def sha256_of(*paths: Path) -> str:
    """The sha256 of files, one after the other, reading them piece by piece."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while piece := file.read(_READ_BYTES):
                digest.update(piece)
    return digest.hexdigest()
