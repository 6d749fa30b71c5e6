"""Packs: the published weights once more, in files that are read front to back to the device.

A pack is a folder of safetensors files, each of at most 4 GiB and of one network, in the order in
which the network uses its weights; the tokenizer; and manifest.json, written last.
"""

import hashlib
import json
import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from multitalk_cli.contract import PACK_FORMAT
from remote.engine import checkpoint, quantize
from remote.engine.config import PUBLISHED, ModelConfig, PlainData, Wav2VecConfig
from remote.engine.reading import ParallelReader, read_tensors
from remote.engine.tensorfile import TensorFile, TensorInfo, write_tensor_file

MANIFEST_FILE = "manifest.json"
SOURCES_FILE = "sources.json"
UNFINISHED_FILE = "unfinished.json"
MAX_FILE_BYTES = 4 * 1024**3

Precision = Literal["fp32", "bf16", "fp8"]
PackProgress = Callable[[int, int, str], None]  # bytes done, bytes in all, name of the file

_SETTINGS_BYTES = 64 * 1024**2  # a manifest or a tokenizer is smaller than this
_HEADER_BYTES_PER_TENSOR = 256
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
    "fp32": dict.fromkeys(checkpoint.COMPONENTS, torch.float32),
    "bf16": _REDUCED,
    "fp8": _REDUCED,  # and the layers of quantize.FP8_LAYERS in 8 bits
}
# Published path -> name in the pack; only the first must be there.
_TOKENIZER_FILES = {
    f"{checkpoint.TOKENIZER_FOLDER}/{name}": name
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
}
_WAV2VEC_FILES = {
    f"{checkpoint.WAV2VEC_FOLDER}/{name}": f"wav2vec2.{name}"
    for name in ("config.json", "preprocessor_config.json")
}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile(PlainData):
    """One published file: where it was fetched from, at which commit, and what it must be."""

    repo: str
    revision: str
    path: str
    size_bytes: int
    sha256: str

    def __post_init__(self) -> None:
        _require_sha256(self.path, self.sha256)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceManifest(PlainData):
    """The published files that lie in a folder."""

    files: tuple[SourceFile, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedFile(PlainData):
    """One file of a pack; settings belong to no network."""

    name: str
    component: str
    size_bytes: int
    sha256: str

    def __post_init__(self) -> None:
        if not _PLAIN_NAME.fullmatch(self.name) or self.name == MANIFEST_FILE:
            raise ValueError(f"{self.name!r} is no plain file name")
        if self.component not in (*checkpoint.COMPONENTS, "settings"):
            raise ValueError(f"{self.name} belongs to {self.component!r}, which is no network")
        if self.size_bytes < 0:
            raise ValueError(f"{self.name} has {self.size_bytes} bytes")
        _require_sha256(self.name, self.sha256)


def _require_sha256(name: str, sha256: str) -> None:
    if not _SHA256.fullmatch(sha256):
        raise ValueError(f"{name} has {sha256!r}, which is no sha256")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest(PlainData):
    """What a pack holds. index: network -> tensor -> file."""

    format_version: int
    precision: str
    config: ModelConfig
    files: tuple[PackedFile, ...]
    index: Mapping[str, Mapping[str, str]]
    sources: tuple[SourceFile, ...]

    def __post_init__(self) -> None:
        if self.format_version != PACK_FORMAT:
            raise ValueError(
                f"the pack has format {self.format_version}, this version reads {PACK_FORMAT}"
            )
        if self.precision not in STORED_TYPES:
            raise ValueError(f"the pack has precision {self.precision!r}")
        if len({file.name for file in self.files}) < len(self.files):
            raise ValueError("the pack lists a file twice")
        self._require_index()

    def _require_index(self) -> None:
        checkpoint.require_same_keys(self.index, checkpoint.COMPONENTS, "index of the pack")
        for component, tensors in self.index.items():
            names = [file.name for file in self.files_of(component)]
            checkpoint.require_same_keys(set(tensors.values()), names, f"{component} files")

    def files_of(self, component: str) -> tuple[PackedFile, ...]:
        """Gives a network's files in the order of its weights."""
        return tuple(file for file in self.files if file.component == component)

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    @property
    def revision(self) -> str:
        """A short name of these very weights, for the keys of caches."""
        hashes = "".join(sorted(file.sha256 for file in self.files))
        return hashlib.sha256(hashes.encode()).hexdigest()[:16]


def load_manifest(folder: Path) -> Manifest:
    """Reads a pack's manifest, which is untrusted: ValueError where it is not as pack wrote it."""
    data = _read_json(folder / MANIFEST_FILE)
    if isinstance(data, dict) and data.get("format_version") != PACK_FORMAT:
        version = data.get("format_version")
        raise ValueError(f"the pack has format {version!r}, this version reads {PACK_FORMAT}")
    return Manifest.from_dict(data)


def _read_json(path: Path) -> Any:
    if path.stat().st_size > _SETTINGS_BYTES:
        raise ValueError(f"{path.name} has {path.stat().st_size} bytes, too many")
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.name} is no JSON: {error}") from error


def verify_pack(
    folder: Path, manifest: Manifest, progress: PackProgress | None = None
) -> list[str]:
    """Reads every file and gives the names of those that are absent or not as packed."""
    wrong, done = [], 0
    for file in manifest.files:
        if not is_intact(folder / file.name, file.size_bytes, file.sha256):
            wrong.append(file.name)
        done += file.size_bytes
        if progress is not None:
            progress(done, manifest.size_bytes, file.name)
    return wrong


def is_intact(path: Path, size_bytes: int, sha256: str) -> bool:
    """Tells whether a file is there with this size and sha256."""
    if not path.is_file() or path.stat().st_size != size_bytes:
        return False
    return sha256_of(path) == sha256


def sha256_of(path: Path) -> str:
    """Gives a file's sha256, reading it piece by piece."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_READ_BYTES):
            digest.update(piece)
    return digest.hexdigest()


@dataclass(slots=True, kw_only=True)
class PlannedFile:
    """A file of the pack before it is written: which tensors, in which order."""

    component: str
    name: str
    sources: list[str] = field(default_factory=list)
    infos: dict[str, TensorInfo] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        """An upper limit: the header is estimated."""
        tensors = sum(info.size_bytes for info in self.infos.values())
        return tensors + _HEADER_BYTES_PER_TENSOR * (len(self.infos) + 1)


def pack(
    source: Path,
    target: Path,
    precision: Precision = "bf16",
    config: ModelConfig = PUBLISHED,
    progress: PackProgress | None = None,
    max_file_bytes: int = MAX_FILE_BYTES,
) -> Manifest:
    """Packs the published files of one folder. Files that an earlier, stopped call wrote are kept.

    The host holds one tensor at a time. Raises ValueError where the published files are not those
    of config, FileNotFoundError where one is absent.
    """
    _require_wav2vec_settings(source / checkpoint.WAV2VEC_FOLDER / "config.json", config.wav2vec)
    target.mkdir(parents=True, exist_ok=True)
    (target / MANIFEST_FILE).unlink(missing_ok=True)
    plans = [
        plan
        for component in checkpoint.COMPONENTS
        for plan in plan_files(
            component, _published_shapes(source, component, config), precision, max_file_bytes
        )
    ]
    finished = _Finished(target, _fingerprint(source, target, plans, config))
    total, done = sum(plan.size_bytes for plan in plans), 0
    files = []
    for plan in plans:
        files.append(finished.get(plan) or finished.add(_write(source, target, plan, config)))
        done += plan.size_bytes
        if progress is not None:
            progress(done, total, plan.name)
    manifest = Manifest(
        format_version=PACK_FORMAT,
        precision=precision,
        config=config,
        files=(*files, *_copy_settings(source, target)),
        index=index_of(plans),
        sources=_read_sources(source),
    )
    write_manifest(target, manifest)
    finished.forget()
    return manifest


def _published_shapes(
    source: Path, component: str, config: ModelConfig
) -> dict[str, tuple[int, ...]]:
    with checkpoint.PublishedWeights(source, component, config) as weights:
        return {name: weights.shape(name) for name in weights.names()}


def plan_files(
    component: str,
    shapes: Mapping[str, tuple[int, ...]],
    precision: Precision,
    max_file_bytes: int = MAX_FILE_BYTES,
) -> list[PlannedFile]:
    """Divides a network's tensors, in their order, into files."""
    plans: list[PlannedFile] = []
    for name, shape in shapes.items():
        infos = _stored_infos(component, name, shape, precision)
        added = sum(info.size_bytes + _HEADER_BYTES_PER_TENSOR for info in infos.values())
        if not plans or plans[-1].size_bytes + added > max_file_bytes:
            file = f"{component}-{len(plans) + 1:03}.safetensors"
            plans.append(PlannedFile(component=component, name=file))
        plans[-1].sources.append(name)
        plans[-1].infos.update(infos)
    return plans


def _stored_infos(
    component: str, name: str, shape: tuple[int, ...], precision: Precision
) -> dict[str, TensorInfo]:
    if precision == "fp8" and component == "dit" and quantize.is_fp8_weight(name):
        return {  # the scales come first, so that a reader has them when the weight arrives
            quantize.scale_name(name): TensorInfo(dtype=torch.float32, shape=(shape[0], 1)),
            name: TensorInfo(dtype=quantize.FP8, shape=shape),
        }
    return {name: TensorInfo(dtype=STORED_TYPES[precision][component], shape=shape)}


def _write(source: Path, target: Path, plan: PlannedFile, config: ModelConfig) -> PackedFile:
    with checkpoint.PublishedWeights(source, plan.component, config) as weights:
        return write_file(target, plan, _stored_tensors(plan, weights))


def write_file(target: Path, plan: PlannedFile, tensors: Iterable[Tensor]) -> PackedFile:
    """Writes one file of a pack, whole or not at all. tensors: as the plan lists them."""
    start, part = time.monotonic(), target / f"{plan.name}.part"
    size, sha256 = write_tensor_file(part, plan.infos, tensors)
    part.replace(target / plan.name)
    _log.info("packed %s: %d bytes in %.1f s", plan.name, size, time.monotonic() - start)
    return PackedFile(name=plan.name, component=plan.component, size_bytes=size, sha256=sha256)


def _stored_tensors(plan: PlannedFile, weights: checkpoint.PublishedWeights) -> Iterator[Tensor]:
    for name in plan.sources:
        dtype = plan.infos[name].dtype
        if dtype == quantize.FP8:
            # from the rounding of the bf16 pack, so that both packs are of the same weights
            quantized, scale = quantize.quantize_rows(weights.read(name).to(torch.bfloat16))
            yield scale
            yield quantized
        else:
            yield weights.read(name).to(dtype)


class _Finished:
    """The files that are complete, noted beside them, so that a stopped pack can go on."""

    def __init__(self, target: Path, fingerprint: str) -> None:
        self._target, self._fingerprint = target, fingerprint
        self._path = target / UNFINISHED_FILE
        self._files: dict[str, PackedFile] = {}
        if self._path.is_file():
            noted = _read_json(self._path)
            if noted.get("fingerprint") == fingerprint:
                files = [PackedFile.from_dict(item) for item in noted["files"]]
                self._files = {file.name: file for file in files}

    def get(self, plan: PlannedFile) -> PackedFile | None:
        file = self._files.get(plan.name)
        if file is None or not is_intact(self._target / file.name, file.size_bytes, file.sha256):
            return None
        return file

    def add(self, file: PackedFile) -> PackedFile:
        self._files[file.name] = file
        files = [item.to_dict() for item in self._files.values()]
        _write_json(self._path, {"fingerprint": self._fingerprint, "files": files})
        return file

    def forget(self) -> None:
        self._path.unlink(missing_ok=True)


def _fingerprint(source: Path, target: Path, plans: list[PlannedFile], config: ModelConfig) -> str:
    """Tells one packing from another: of other files, sizes or types."""
    stored = [(name, str(info.dtype)) for plan in plans for name, info in plan.infos.items()]
    what = [
        PACK_FORMAT,
        config.to_dict(),
        _identities(source, target),
        [plan.sources for plan in plans],
        stored,
    ]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()


def _identities(source: Path, target: Path) -> list[list[Any]]:
    """What tells the published files from others: their hashes, which a download compared."""
    if files := _read_sources(source):
        # Not when they were written: another container sees other times.
        return [[file.path, file.sha256] for file in files]
    return sorted(
        [path.relative_to(source).as_posix(), path.stat().st_size, path.stat().st_mtime_ns]
        for path in source.rglob("*")
        if path.is_file() and target not in path.parents
    )


def write_manifest(target: Path, manifest: Manifest) -> None:
    """Writes what makes a folder of files a pack."""
    _write_json(target / MANIFEST_FILE, manifest.to_dict())


def index_of(plans: Iterable[PlannedFile]) -> dict[str, dict[str, str]]:
    """Gives in which file each tensor of each network is."""
    index: dict[str, dict[str, str]] = {component: {} for component in checkpoint.COMPONENTS}
    for plan in plans:
        index[plan.component] |= dict.fromkeys(plan.infos, plan.name)
    return index


def _copy_settings(source: Path, target: Path) -> Iterator[PackedFile]:
    """Copies the tokenizer and what wav2vec2's publishers say about it."""
    paths = _TOKENIZER_FILES | _WAV2VEC_FILES
    required = next(iter(_TOKENIZER_FILES))
    for path, name in paths.items():
        if path != required and not (source / path).is_file():
            continue
        data = (source / path).read_bytes()
        part = target / f"{name}.part"
        part.write_bytes(data)
        part.replace(target / name)
        sha256 = hashlib.sha256(data).hexdigest()
        yield PackedFile(name=name, component="settings", size_bytes=len(data), sha256=sha256)


def _require_wav2vec_settings(path: Path, config: Wav2VecConfig) -> None:
    """Refuses weights of the same shapes that are meant for other maths."""
    published, ours = _read_json(path), config.to_dict()
    differing = [
        f"{name} {published[name]!r} instead of {ours[name]!r}"
        for name in sorted(ours)
        if name in published and published[name] != ours[name]
    ]
    if differing:
        raise ValueError(f"{path.parent.name}/{path.name} has {', '.join(differing)}")


def _read_sources(source: Path) -> tuple[SourceFile, ...]:
    path = source / SOURCES_FILE
    return SourceManifest.from_dict(_read_json(path)).files if path.is_file() else ()


def _write_json(path: Path, data: Mapping[str, Any]) -> None:
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(data, indent=1), "utf-8")
    part.replace(path)


def open_pack(folder: Path, progress: Callable[[int], None] | None = None) -> "Pack":
    """Opens a pack: reads its manifest and compares the sizes of its files.

    progress: called now and then with the bytes read so far; raising from it stops the read.
    """
    manifest = load_manifest(folder)
    for file in manifest.files:
        path = folder / file.name
        size = path.stat().st_size if path.is_file() else None
        if size != file.size_bytes:
            found = "is absent" if size is None else f"has {size} bytes"
            raise ValueError(f"{file.name} {found}, the pack's manifest says {file.size_bytes}")
    return Pack(folder, manifest, progress)


class Pack:
    """The networks of a pack, read file by file straight to the device."""

    def __init__(
        self, folder: Path, manifest: Manifest, progress: Callable[[int], None] | None = None
    ) -> None:
        self.folder = folder
        self.manifest = manifest
        self.bytes_read = 0
        self._progress = progress
        self._counting = threading.Lock()

    def tensors(
        self, component: str, device: torch.device, dtype: torch.dtype | None = None
    ) -> Iterator[tuple[str, Tensor]]:
        """Yields a network's tensors in the order of its weights, each moved once it is read.

        8-bit weights come as they are, each after its scales. dtype: of all others; as stored
        where None. Every byte of the network's files is read once.
        """
        with ParallelReader(device if device.type == "cuda" else torch.device("cpu")) as reader:
            for packed in self.manifest.files_of(component):
                start, before = time.monotonic(), self.bytes_read
                for name, tensor in self._read_file(packed, reader):
                    yield name, _moved(name, tensor, device, dtype)
                    del tensor  # before the next one is read
                size, seconds = self.bytes_read - before, time.monotonic() - start
                _log.info("loaded %s: %d bytes in %.1f s", packed.name, size, seconds)

    def _read_file(
        self, packed: PackedFile, reader: ParallelReader
    ) -> Iterator[tuple[str, Tensor]]:
        """Yields a file's tensors, which arrived on the reader's device together."""
        with TensorFile(self.folder / packed.name) as file:
            self._require_index(packed, file)
            self._note(file.bytes_read)
            yield from read_tensors(reader, file, self._note)

    def _note(self, size: int) -> None:
        with self._counting:  # networks are read side by side
            self.bytes_read += size
        if self._progress is not None:
            self._progress(self.bytes_read)

    def load(
        self, component: str, device: torch.device, dtype: torch.dtype | None = None
    ) -> nn.Module:
        """Builds a network with its weights on the device; 8-bit weights are turned back.

        dtype: of all weights; as stored where None, bf16 for those stored in 8 bits.
        """
        module = checkpoint.build(component, self.manifest.config)
        tensors = _dequantized(self.tensors(component, device, dtype), dtype or torch.bfloat16)
        checkpoint.load_module(module, tensors, device)
        return module

    def _require_index(self, packed: PackedFile, file: TensorFile) -> None:
        index = self.manifest.index[packed.component]
        names = [name for name, place in index.items() if place == packed.name]
        checkpoint.require_same_keys(file.infos, names, packed.name)


def _moved(name: str, tensor: Tensor, device: torch.device, dtype: torch.dtype | None) -> Tensor:
    if tensor.dtype == quantize.FP8 or name.endswith(".scale"):
        return tensor.to(device)
    return tensor.to(device=device, dtype=dtype)


def _dequantized(
    tensors: Iterator[tuple[str, Tensor]], dtype: torch.dtype
) -> Iterator[tuple[str, Tensor]]:
    scale: Tensor | None = None
    for name, tensor in tensors:
        if name.endswith(".scale"):
            scale = tensor
        elif tensor.dtype == quantize.FP8:
            if scale is None or scale.shape != (tensor.shape[0], 1):
                raise ValueError(f"{name} comes without its scales")
            yield name, quantize.dequantize_rows(tensor, scale).to(dtype)
            scale = None
        else:
            yield name, tensor
