"""LoRA files in a folder of weights: known names, their origin, and the record of those present.

A name stands for a file that MultiTalk's own documentation links to; its commit, size, hash and
licence are looked up on the hub.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from multitalk_cli import contract
from multitalk_cli.contract.codec import from_plain, to_plain
from multitalk_cli.contract.weights_task import check_lora, not_a_lora, without_keys
from multitalk_cli.errors import FileError, StorageError, UsageError
from multitalk_cli.files import move_into_place
from multitalk_cli.storage.hub import DEFAULT_ENDPOINT, Hub, origin_of
from remote.engine.checkpoint.lora import is_lora_key
from remote.engine.checkpoint.tensorfile import TensorFile
from remote.weights import download, resumable
from remote.weights.manifest import is_intact, sha256_of

FOLDER, MANIFEST_FILE = "loras", "manifest.json"
MAX_BYTES = 4 * 1024**3
FORMAT_VERSION = 1
# The publishers' instructions: github.com/MeiGen-AI/MultiTalk, README, section 3.
KNOWN = {
    "fusionx": (
        "vrgamedevgirl84/Wan14BT2VFusioniX",
        "FusionX_LoRa/Wan2.1_I2V_14B_FusionX_LoRA.safetensors",
    ),
    "lightx2v": (
        "Kijai/WanVideo_comfy",
        "Wan21_T2V_14B_lightx2v_cfg_step_distill_lora_rank32.safetensors",
    ),
}
_SAVED_BYTES = 64 * 1024**2
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_HUB_PATH = re.compile(r"/([\w.-]+/[\w.-]+)/(?:resolve|blob)/([^/]+)/(.+\.safetensors)")

Show = Callable[[contract.Event], None]
Save = Callable[[], None] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lora:
    """A LoRA file. address: where it came from, without its query string."""

    name: str
    address: str
    licence: str
    size_bytes: int
    sha256: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or not _SHA256.fullmatch(self.sha256):
            raise ValueError(f"{self.name!r} is not a plain name, or its sha256 is malformed")
        if not 0 <= self.size_bytes <= MAX_BYTES:
            raise ValueError(f"{self.name} has {self.size_bytes} bytes")

    @property
    def file(self) -> str:
        """Its file's name."""
        return f"{self.name}.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Manifest:
    format_version: int
    loras: tuple[Lora, ...]

    def __post_init__(self) -> None:
        if self.format_version != FORMAT_VERSION:
            raise ValueError(f"it has format {self.format_version}, not {FORMAT_VERSION}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Origin:
    """A file to download. sha256: None if its server does not publish one."""

    name: str
    address: str
    licence: str
    size_bytes: int
    sha256: str | None
    pieces: Callable[[int], Iterator[bytes]]


def survey(folder: Path, hub: Hub, wanted: str) -> dict[str, Any]:
    """The changes that adding a LoRA would make. wanted: a known name, or an address."""
    origin = _find(hub, wanted)
    known = {lora.name: lora for lora in read(folder)}.get(origin.name)
    is_there = (
        known is not None
        and (known.address, known.size_bytes) == (without_keys(origin.address), origin.size_bytes)
        and _state(folder, known).is_complete
    )
    return {
        "name": origin.name,
        "address": origin.address,
        "shown": without_keys(origin.address),
        "licence": origin.licence,
        "size_bytes": origin.size_bytes,
        "is_there": is_there,
        "replaces": known is not None,
    }


def add(folder: Path, hub: Hub, name: str, address: str, show: Show, save: Save) -> dict[str, Any]:
    """Fetches a LoRA, checks that it is one, and records it."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is not a name of a LoRA", code="E_RANGE")
    origin = _find(hub, address)
    key = origin.sha256 or hashlib.sha256(origin.address.encode()).hexdigest()
    new = folder / FOLDER / f"{name}.safetensors.new"
    part = resumable.part_path(folder / FOLDER / f"{name}.safetensors", key)
    what = without_keys(origin.address)
    saver = resumable.Saver(save, _SAVED_BYTES)
    steps = resumable.download_file(
        new, part, origin.size_bytes, origin.sha256, origin.pieces, what, saver
    )
    with closing(steps):
        for held in steps:
            show(_progress(f"{name}.safetensors", held, origin.size_bytes))
    try:
        tensors = _check(new, what)
    except FileError:
        new.unlink()
        raise
    lora = Lora(
        name=name,
        address=what,
        licence=origin.licence,
        size_bytes=origin.size_bytes,
        sha256=sha256_of(new),
    )
    with resumable.disk_errors(new):
        move_into_place(new, folder / FOLDER / lora.file, overwrite=True)
    _record(folder, [*(each for each in read(folder) if each.name != name), lora])
    return {**to_plain(lora), "file": f"{FOLDER}/{lora.file}", "tensors": tensors}


def _progress(name: str, held: int, size_bytes: int) -> contract.Fetching:
    return contract.Fetching(
        name=name,
        number=1,
        count=1,
        file_bytes=held,
        file_total_bytes=size_bytes,
        done_bytes=held,
        total_bytes=size_bytes,
    )


def _check(path: Path, address: str) -> int:
    """Counts a file's LoRA tensors. Raises FileError E_LORA where it has none."""
    try:
        with TensorFile(path) as file:
            count = sum(is_lora_key(name) for name in file.infos)
    except ValueError as error:
        raise FileError(f"{address} is not a safetensors file: {error}", code="E_LORA") from error
    if count == 0:
        raise FileError(f"no tensor of {address} has a LoRA's name", code="E_LORA")
    return count


# Files to download


def _find(hub: Hub, wanted: str) -> _Origin:
    if wanted in KNOWN:
        repo, path = KNOWN[wanted]
        return _on_hub(hub, wanted, repo, "main", path)
    check_lora(wanted)
    where = urlsplit(wanted)
    match = _HUB_PATH.fullmatch(where.path)
    is_on_hub = origin_of(wanted) in (origin_of(hub.endpoint), DEFAULT_ENDPOINT)
    name = re.sub(r"[^A-Za-z0-9._-]", "-", Path(unquote(where.path)).stem)[:100].lstrip("._-")
    if match is not None and is_on_hub:
        return _on_hub(hub, name, match[1], unquote(match[2]), unquote(match[3]))
    if where.scheme != "https" or not name:
        raise not_a_lora(wanted)
    return _elsewhere(hub.other_server(origin_of(wanted)), name, wanted)


def _on_hub(hub: Hub, name: str, repo: str, revision: str, path: str) -> _Origin:
    """A file of a repository; one that was moved to another folder there is found."""
    commit = hub.resolve(repo, revision)
    files = hub.files(repo, commit)
    moved = [each for each in files if each.rpartition("/")[2] == path.rpartition("/")[2]]
    listed = files.get(path) or (files[moved[0]] if len(moved) == 1 else None)
    if listed is None:
        raise StorageError(f"{repo} at {commit} has no {path}", code="E_HUB_MISSING")
    size, place = _allowed(listed.size_bytes, listed.path), listed.path

    def pieces(start: int) -> Iterator[bytes]:
        return hub.pieces(repo, commit, place, start, size)

    return _Origin(
        name=name,
        address=f"{hub.endpoint}/{repo}/resolve/{commit}/{place}",
        licence=hub.licence(repo, commit),
        size_bytes=size,
        sha256=listed.sha256,
        pieces=pieces,
    )


def _elsewhere(host: Hub, name: str, url: str) -> _Origin:
    size = _allowed(host.size_at(url, without_keys(url)), without_keys(url))

    def pieces(start: int) -> Iterator[bytes]:
        return host.pieces_at(url, without_keys(url), start, size)

    return _Origin(name=name, address=url, licence="", size_bytes=size, sha256=None, pieces=pieces)


def _allowed(size_bytes: int, what: str) -> int:
    if size_bytes > MAX_BYTES:
        raise FileError(
            f"{what} has {size_bytes} bytes, a LoRA has at most {MAX_BYTES}", code="E_LORA"
        )
    return size_bytes


# The record


def read(folder: Path) -> tuple[Lora, ...]:
    """The LoRAs that are recorded. Raises SetupError E_WEIGHTS where that is damaged."""
    found = resumable.read_record(
        folder / FOLDER / MANIFEST_FILE, lambda body: from_plain(_Manifest, body)
    )
    return () if found is None else found.loras


def _record(folder: Path, loras: list[Lora]) -> None:
    manifest = _Manifest(format_version=FORMAT_VERSION, loras=tuple(loras))
    content = json.dumps(to_plain(manifest), indent=1).encode()
    resumable.write_whole(folder / FOLDER / MANIFEST_FILE, content)


def states(folder: Path) -> list[download.FileState]:
    """Each LoRA's file, without reading it."""
    return [_state(folder, lora) for lora in read(folder)]


def _state(folder: Path, lora: Lora) -> download.FileState:
    path = folder / FOLDER / lora.file
    is_complete = path.is_file() and path.stat().st_size == lora.size_bytes
    return download.FileState(
        place=f"{FOLDER}/{lora.file}",
        size_bytes=lora.size_bytes,
        held_bytes=lora.size_bytes if is_complete else 0,
        is_complete=is_complete,
    )


def verify(folder: Path) -> list[str]:
    """Reads every LoRA and returns those that are absent or not as recorded."""
    return [
        f"{FOLDER}/{lora.file}"
        for lora in read(folder)
        if not is_intact(folder / FOLDER / lora.file, lora.size_bytes, lora.sha256)
    ]


def addresses(folder: Path, damaged: list[str]) -> Mapping[str, str]:
    """Name -> address of those files."""
    return {lora.name: lora.address for lora in read(folder) if f"{FOLDER}/{lora.file}" in damaged}


def strays(folder: Path) -> list[Path]:
    """Files other than the recorded ones that this module can have written."""
    kept = {lora.file for lora in read(folder)}
    place = folder / FOLDER
    files = [path for path in place.iterdir() if path.is_file()] if place.is_dir() else []
    return [
        path
        for path in files
        if path.name not in kept and path.name.endswith((".safetensors", ".new", ".part"))
    ]
