"""Packs: the published weights in files that are read from front to back to the device.

A pack is a folder of safetensors files, each of at most 4 GiB and of one network, in the order in
which the network uses its weights; the tokenizer; and manifest.json, written last.
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from multitalk_cli.contract import PACK_FORMAT
from multitalk_cli.contract.codec import from_plain, to_plain
from multitalk_cli.files import move_into_place, write_atomically
from remote.engine.checkpoint.published import (
    COMPONENTS,
    TOKENIZER_FOLDER,
    WAV2VEC_FOLDER,
    PublishedWeights,
)
from remote.engine.checkpoint.tensorfile import TensorInfo, write_tensor_file
from remote.engine.config import Wav2VecConfig
from remote.engine.kernels import quantize
from remote.weights.config import PUBLISHED, PackConfig
from remote.weights.download import files_in_parts
from remote.weights.manifest import (
    MANIFEST_FILE,
    SOURCES_FILE,
    STORED_TYPES,
    Manifest,
    PackedFile,
    PackProgress,
    Precision,
    SourceFile,
    SourceManifest,
    is_intact,
    read_json,
)
from remote.weights.resumable import put

UNFINISHED_FILE = "unfinished.json"
MAX_FILE_BYTES = 4 * 1024**3
_HEADER_BYTES_PER_TENSOR = 256
# Published path -> name in the pack; only the first must be there.
_TOKENIZER_FILES = {
    f"{TOKENIZER_FOLDER}/{name}": name
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
}
_WAV2VEC_FILES = {
    f"{WAV2VEC_FOLDER}/{name}": f"wav2vec2.{name}"
    for name in ("config.json", "preprocessor_config.json")
}

_log = logging.getLogger(__name__)


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
    config: PackConfig = PUBLISHED,
    progress: PackProgress | None = None,
    max_file_bytes: int = MAX_FILE_BYTES,
    *,
    is_staged: bool = False,
) -> Manifest:
    """Packs the published files of one folder. Files that an earlier, stopped call wrote are kept.

    The host holds one tensor at a time. is_staged: whether each file is written on a disk of this
    machine first: Volumes are saved every few seconds, and may store a growing file anew then.
    Raises ValueError where the published files are not those of config, FileNotFoundError where
    one is absent.
    """
    _require_wav2vec_settings(source / WAV2VEC_FOLDER / "config.json", config.wav2vec)
    target.mkdir(parents=True, exist_ok=True)
    (target / MANIFEST_FILE).unlink(missing_ok=True)
    plans = [
        plan
        for component in COMPONENTS
        for plan in plan_files(
            component, _published_shapes(source, component, config), precision, max_file_bytes
        )
    ]
    finished = Finished(target, _fingerprint(source, target, plans, config))

    def read(plan: PlannedFile) -> Generator[Tensor, None, None]:
        with _open(source, plan.component, config) as weights:
            yield from _stored_tensors(plan, weights)

    files = write_files(plans, finished, read, progress, is_staged=is_staged)
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
    source: Path, component: str, config: PackConfig
) -> dict[str, tuple[int, ...]]:
    with _open(source, component, config) as weights:
        return {name: weights.shape(name) for name in weights.names()}


def plan_files(
    component: str,
    shapes: Mapping[str, tuple[int, ...]],
    precision: Precision,
    max_file_bytes: int = MAX_FILE_BYTES,
) -> list[PlannedFile]:
    """Divides a network's tensors, in their order, into files."""
    stored = {name: _stored_infos(component, name, shapes[name], precision) for name in shapes}
    return divide(component, stored, max_file_bytes)


def divide(
    component: str,
    stored: Mapping[str, Mapping[str, TensorInfo]],
    max_file_bytes: int,
) -> list[PlannedFile]:
    """The same for tensors of any form. stored: tensor -> what a file holds of it."""
    plans: list[PlannedFile] = []
    for name, infos in stored.items():
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
        return eight_bit_infos(name, shape)
    return {name: TensorInfo(dtype=STORED_TYPES[precision][component], shape=shape)}


def eight_bit_infos(name: str, shape: tuple[int, ...]) -> dict[str, TensorInfo]:
    """What a file holds of a weight in 8 bits; a reader has its scales when it arrives."""
    return {
        quantize.scale_name(name): TensorInfo(dtype=torch.float32, shape=(shape[0], 1)),
        name: TensorInfo(dtype=quantize.FP8, shape=shape),
    }


def _open(source: Path, component: str, config: PackConfig) -> PublishedWeights:
    parts = files_in_parts(source, _read_sources(source))
    return PublishedWeights(source, component, config, parts)


def write_file(
    target: Path, plan: PlannedFile, tensors: Iterable[Tensor], *, is_staged: bool = False
) -> PackedFile:
    """Writes one file of a pack, whole or not at all.

    tensors: as the plan lists them. is_staged: as of `pack`.
    """
    start, part = time.monotonic(), target / f"{plan.name}.part"
    with TemporaryDirectory() as folder:
        written = Path(folder) / plan.name if is_staged else part
        size, sha256 = write_tensor_file(written, plan.infos, tensors)
        if is_staged:
            put(written, part, size)
    move_into_place(part, target / plan.name, overwrite=True)
    _log.info("packed %s: %d bytes in %.1f s", plan.name, size, time.monotonic() - start)
    return PackedFile(name=plan.name, component=plan.component, size_bytes=size, sha256=sha256)


def write_files(
    plans: Sequence[PlannedFile],
    finished: "Finished",
    read: Callable[[PlannedFile], Generator[Tensor, None, None]],
    progress: PackProgress | None,
    *,
    is_staged: bool,
) -> list[PackedFile]:
    """Writes the files that are not finished yet. read: the tensors of a file, as planned."""
    total, done = sum(plan.size_bytes for plan in plans), 0
    report = _ignore if progress is None else progress
    files = []
    for plan in plans:
        packed = finished.get(plan)
        if packed is None:
            report(done, total, "")
            # What is read must be closed when this is saved.
            with closing(read(plan)) as tensors:
                counted = _counted(tensors, done, total, report)
                packed = write_file(finished.target, plan, counted, is_staged=is_staged)
            finished.add(packed)
        files.append(packed)
        done += plan.size_bytes
        report(done, total, plan.name)
    return files


def _ignore(_done: int, _total: int, _name: str) -> None:
    """Nobody is told."""


def _counted(
    tensors: Iterable[Tensor], done: int, total: int, report: PackProgress
) -> Iterator[Tensor]:
    """The tensors of a file; reports the bytes of those that were taken. done: of files before."""
    for tensor in tensors:
        yield tensor
        done += tensor.nbytes
        report(done, total, "")


def _stored_tensors(plan: PlannedFile, weights: PublishedWeights) -> Iterator[Tensor]:
    for name in plan.sources:
        dtype = plan.infos[name].dtype
        if dtype == quantize.FP8:
            # from the rounding of the bf16 pack, so that both packs are of the same weights
            quantized, scale = quantize.quantize_rows(weights.read(name).to(torch.bfloat16))
            yield scale
            yield quantized
        else:
            yield weights.read(name).to(dtype)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Unfinished:
    """The record of a packing. fingerprint: a name of it."""

    fingerprint: str
    files: tuple[PackedFile, ...]


class Finished:
    """The complete files, recorded next to them, so that a stopped packing can resume."""

    def __init__(self, target: Path, fingerprint: str) -> None:
        self.target, self._fingerprint = target, fingerprint
        self._path = target / UNFINISHED_FILE
        self._files: dict[str, PackedFile] = {}
        with suppress(FileNotFoundError, ValueError):
            # A disk that lost power may hold a damaged one, which counts as none.
            noted = from_plain(_Unfinished, read_json(self._path))
            if noted.fingerprint == fingerprint:
                self._files = {file.name: file for file in noted.files}

    def get(self, plan: PlannedFile) -> PackedFile | None:
        file = self._files.get(plan.name)
        if file is None or not is_intact(self.target / file.name, file.size_bytes, file.sha256):
            return None
        return file

    def add(self, file: PackedFile) -> None:
        self._files[file.name] = file
        noted = _Unfinished(fingerprint=self._fingerprint, files=tuple(self._files.values()))
        _write_json(self._path, to_plain(noted))

    def forget(self) -> None:
        self._path.unlink(missing_ok=True)


def _fingerprint(source: Path, target: Path, plans: list[PlannedFile], config: PackConfig) -> str:
    """A name of this packing; other files, sizes or types have another one."""
    stored = [(name, str(info.dtype)) for plan in plans for name, info in plan.infos.items()]
    what = [
        PACK_FORMAT,
        to_plain(config),
        _identities(source, target),
        [plan.sources for plan in plans],
        stored,
    ]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()


def _identities(source: Path, target: Path) -> list[list[Any]]:
    """Identities of the published files: their hashes, which a download compared."""
    if files := _read_sources(source):
        # Not the times of writing, which differ between containers.
        return [[file.path, file.sha256] for file in files]
    return sorted(
        [path.relative_to(source).as_posix(), path.stat().st_size, path.stat().st_mtime_ns]
        for path in source.rglob("*")
        if path.is_file() and target not in path.parents
    )


def write_manifest(target: Path, manifest: Manifest) -> None:
    """Writes the manifest, which makes a folder of files a pack."""
    _write_json(target / MANIFEST_FILE, to_plain(manifest))


def index_of(plans: Iterable[PlannedFile]) -> dict[str, dict[str, str]]:
    """Network -> tensor -> file that holds it."""
    index: dict[str, dict[str, str]] = {component: {} for component in COMPONENTS}
    for plan in plans:
        index[plan.component] |= dict.fromkeys(plan.infos, plan.name)
    return index


def _copy_settings(source: Path, target: Path) -> Iterator[PackedFile]:
    """Copies the tokenizer and the settings of wav2vec2."""
    paths = _TOKENIZER_FILES | _WAV2VEC_FILES
    required = next(iter(_TOKENIZER_FILES))
    parts = files_in_parts(source, _read_sources(source))
    for path, name in paths.items():
        found = parts.get(path, [source / path])
        if path != required and not found[0].is_file():
            continue
        data = b"".join(each.read_bytes() for each in found)
        write_atomically(target / name, data)
        sha256 = hashlib.sha256(data).hexdigest()
        yield PackedFile(name=name, component="settings", size_bytes=len(data), sha256=sha256)


def _require_wav2vec_settings(path: Path, config: Wav2VecConfig) -> None:
    """Refuses weights of the same shapes that need other maths."""
    published, ours = read_json(path), to_plain(config)
    differing = [
        f"{name} {published[name]!r} instead of {ours[name]!r}"
        for name in sorted(ours)
        if name in published and published[name] != ours[name]
    ]
    if differing:
        raise ValueError(f"{path.parent.name}/{path.name} has {', '.join(differing)}")


def _read_sources(source: Path) -> tuple[SourceFile, ...]:
    path = source / SOURCES_FILE
    return from_plain(SourceManifest, read_json(path)).files if path.is_file() else ()


def _write_json(path: Path, data: Mapping[str, Any]) -> None:
    write_atomically(path, json.dumps(data, indent=1).encode())
