"""LoRA files in a folder of weights: known names, their origin, and the record of those present.

A name stands for a file of `contract.loras`; its commit, size, hash and licence are looked up on
the hub.
"""

import hashlib
import itertools
import json
import os
import re
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from multitalk_cli import contract
from multitalk_cli.contract.codec import from_plain, to_plain
from multitalk_cli.contract.loras import (
    KNOWN_LORAS,
    LORA_ENDING,
    LORA_NAME,
    LORAS_FOLDER,
    LORAS_RECORD,
    is_download,
    is_lora_file,
    name_of_lora,
    without_keys,
)
from multitalk_cli.contract.weights_task import check_lora, not_a_lora
from multitalk_cli.errors import FileError, StorageError, UsageError
from multitalk_cli.files import move_into_place, open_input
from multitalk_cli.files import sha256_of as file_sha256
from multitalk_cli.storage.hub import DEFAULT_ENDPOINT, Hub
from multitalk_cli.storage.redirects import origin_of
from remote.engine.checkpoint import lora as lora_file
from remote.engine.checkpoint import lora_keys
from remote.engine.checkpoint.tensorfile import TensorFile
from remote.weights import download, resumable
from remote.weights.manifest import sha256_of

FOLDER, MANIFEST_FILE = LORAS_FOLDER, LORAS_RECORD
MAX_BYTES = 4 * 1024**3
FORMAT_VERSION = 1
_PIECE_BYTES = 1024**2
_SNIFFED_BYTES = 512
_CONTENTS = (
    ((b"<!doctype", b"<html", b"<head", b"<?xml"), "a web page, such as that of a login"),
    ((b'{"', b"{\n", b"{ "), "an answer in JSON, such as an error of its server"),
    ((b"version https://git-",), "a pointer of git-lfs, which stands for the file"),
    ((b"pk\x03\x04", b"\x80"), "a PyTorch pickle or an archive, which is never opened"),
    ((b"gguf",), "a GGUF file, not a safetensors file"),
)
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
        if not LORA_NAME.fullmatch(self.name) or not _SHA256.fullmatch(self.sha256):
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

    @property
    def key(self) -> str:
        """Names what was fetched of it."""
        return self.sha256 or hashlib.sha256(self.address.encode()).hexdigest()


def survey(folder: Path, hub: Hub, wanted: str) -> dict[str, Any]:
    """The changes that adding a LoRA would make. wanted: a known name, or an address."""
    origin = _find(hub, wanted)
    known = {lora.name: lora for lora in read(folder)}.get(origin.name)
    is_there = (
        known is not None
        and (known.address, known.size_bytes) == (without_keys(origin.address), origin.size_bytes)
        and origin.sha256 in (None, known.sha256)
        and _is_intact(folder, known)
    )
    return {
        "name": origin.name,
        "address": origin.address,
        "shown": without_keys(origin.address),
        "licence": origin.licence,
        "size_bytes": origin.size_bytes,
        "is_there": is_there,
        "replaces": any(_is_same(lora.name, origin.name) for lora in read(folder)),
    }


def add(
    folder: Path,
    hub: Hub,
    name: str,
    address: str,
    show: Show,
    save: Save,
    part_bytes: int = resumable.PART_BYTES,
    weights: Mapping[str, tuple[int, ...]] | None = None,
) -> dict[str, Any]:
    """Fetches a LoRA, checks that it can be merged, and records it.

    save: makes written files persist beyond this machine; with it, a file of more than part_bytes
    is kept in parts. weights: names and shapes of the model, None where they are not known.
    """
    if not LORA_NAME.fullmatch(name):
        raise UsageError(f"{name!r} is not a name of a LoRA", code="E_RANGE")
    origin = _find(hub, address)
    place, what = folder / FOLDER / f"{name}.safetensors", without_keys(origin.address)
    # A LoRA of that name stays until the new one is known to be one.
    new = place.with_name(f"{place.name}.new")
    is_divided = save is not None and origin.size_bytes > part_bytes
    saver = resumable.Saver(save, part_bytes)
    with closing(_fetch(origin, place if is_divided else new, saver, part_bytes)) as steps:
        for held in steps:
            show(_progress(place.name, held, origin.size_bytes))
    fetched = resumable.parts_of(place, origin.key) if is_divided else [new]
    try:
        tensors = _check(fetched, what, weights)
    except FileError:
        for path in fetched:
            path.unlink()
        raise
    lora = Lora(
        name=name,
        address=what,
        licence=origin.licence,
        size_bytes=origin.size_bytes,
        sha256=sha256_of(*fetched),
    )
    others = [each for each in read(folder) if each.name != name and _is_same(each.name, name)]
    with resumable.disk_errors(place):
        for path in (path for each in others for path in _files(folder, each)):
            path.unlink()
        if is_divided:
            _rename_parts(fetched, place, lora.sha256)
        else:
            move_into_place(new, place, overwrite=True)
    _record(folder, [*(each for each in read(folder) if not _is_same(each.name, name)), lora])
    _remove_others(folder, lora)
    return {**to_plain(lora), "file": f"{FOLDER}/{lora.file}", "tensors": tensors}


def _is_same(name: str, other: str) -> bool:
    """Whether two names are of one file, on a disk that tells no case from another."""
    return name.casefold() == other.casefold()


def _fetch(
    origin: _Origin, path: Path, saver: resumable.Saver, part_bytes: int
) -> Generator[int, None, None]:
    """Downloads the file to a path, or into parts, yielding the bytes held so far."""
    what = without_keys(origin.address)
    if not saver.is_needed:
        part = resumable.part_path(path, origin.key)
        return resumable.download_file(
            path, part, origin.size_bytes, origin.sha256, origin.pieces, what, saver
        )
    return resumable.download_in_parts(
        path, origin.key, origin.size_bytes, origin.sha256, origin.pieces, what, saver, part_bytes
    )


def _rename_parts(parts: list[Path], place: Path, sha256: str) -> None:
    """Gives parts the names by which the record finds them."""
    starts = itertools.accumulate((part.stat().st_size for part in parts), initial=0)
    # From the end: whatever stops this leaves a beginning that is resumed.
    for part, start in reversed(list(zip(parts, starts, strict=False))):
        part.replace(resumable.part_path(place, sha256, start))


def _remove_others(folder: Path, lora: Lora) -> None:
    """Removes files of an earlier LoRA of the same name."""
    ours = re.compile(re.escape(lora.file) + r"(\.new)?(\.[0-9a-f]{12}(\.\d+)?\.part)?")
    kept = _files(folder, lora)
    for path in (folder / FOLDER).iterdir():
        if ours.fullmatch(path.name) and path not in kept:
            path.unlink()


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


def _check(files: list[Path], address: str, weights: Mapping[str, tuple[int, ...]] | None) -> int:
    """Counts the LoRA tensors of a file, or of its parts. Raises FileError E_LORA without any.

    weights: names and shapes of the model that it is for, None where they are not known.
    """
    try:
        with TensorFile(files[0], files) as file:
            if weights is not None:
                plan = _plan(file, weights, strength=1.0)
                _require_numbers(file, plan)
            count = sum(lora_keys.is_lora_key(name) for name in file.infos)
    except lora_file.LoraError as error:
        raise FileError(f"{address} cannot be merged: {error}", code="E_LORA") from error
    except ValueError as error:
        reason = str(error).replace(files[0].name, "it")
        what = _describe_content(files[0]) or f"not a safetensors file: {reason}"
        raise FileError(f"{address} is {what}", code="E_LORA") from error
    if count == 0:
        raise FileError(f"no tensor of {address} has a LoRA's name", code="E_LORA")
    return count


def _plan(
    file: TensorFile, weights: Mapping[str, tuple[int, ...]], strength: float
) -> lora_file.Lora:
    """What a file changes. Raises LoraError where it cannot be merged."""
    shapes = {key: info.shape for key, info in file.infos.items()}
    plan = lora_file.plan_lora(shapes, file.read, weights, strength)
    for key in plan.keys:
        if not file.infos[key].dtype.is_floating_point and not key.endswith(f".{lora_keys.ALPHA}"):
            kind = file.infos[key].dtype
            raise lora_file.LoraError(f"{lora_file.shown(key)} is {kind}, not of floating point")
    return plan


def _require_numbers(file: TensorFile, plan: lora_file.Lora) -> None:
    """Raises LoraError for values that are no numbers, or where all differences are zero."""
    zeros = set()
    for key in plan.keys:
        values = file.read(key).float()
        if not bool(values.isfinite().all()):
            raise lora_file.LoraError(f"values of {lora_file.shown(key)} are no numbers")
        if not bool(values.any()):
            zeros.add(key)
    if all(zeros.intersection(change.keys) for each in plan.changes.values() for change in each):
        raise lora_file.LoraError(lora_file.CHANGES_NOTHING)


def _describe_content(path: Path) -> str:
    """What a file is that is often in the place of a LoRA; empty for anything else."""
    with path.open("rb") as file:
        start = file.read(_SNIFFED_BYTES).lstrip()
    found = (what for starts, what in _CONTENTS if start.lower().startswith(starts))
    return next(found, "")


# Files to download


def _find(hub: Hub, wanted: str) -> _Origin:
    if wanted in KNOWN_LORAS:
        known = KNOWN_LORAS[wanted]
        return _on_hub(hub, wanted, known.repository, "main", known.file)
    if is_lora_file(wanted):
        return _in_file(Path(wanted))
    check_lora(wanted)
    where = urlsplit(wanted)
    match = _HUB_PATH.fullmatch(where.path)
    is_on_hub = origin_of(wanted) in (origin_of(hub.endpoint), DEFAULT_ENDPOINT)
    name = "" if is_download(wanted) else name_of_lora(wanted)
    if match is not None and is_on_hub:
        return _on_hub(hub, name, match[1], unquote(match[2]), unquote(match[3]))
    if where.scheme != "https":
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
    """A file of another server. name: empty where the server gives it."""
    size, told = host.file_at(url, without_keys(url))
    size = _allowed(size, without_keys(url))
    name = name or (name_of_lora(told) if is_lora_file(told) else "")
    if not LORA_NAME.fullmatch(name):
        raise FileError(
            f"{without_keys(url)} is no {LORA_ENDING} file by its server: it may be a page",
            code="E_LORA",
        )

    def pieces(start: int) -> Iterator[bytes]:
        return host.pieces_at(url, without_keys(url), start, size)

    return _Origin(name=name, address=url, licence="", size_bytes=size, sha256=None, pieces=pieces)


def _in_file(path: Path) -> _Origin:
    """A file of this machine. Raises FileError for one that cannot be read."""
    with open_input(path) as file:
        size = _allowed(os.fstat(file.fileno()).st_size, str(path))
        sha256 = file_sha256(file)

    def pieces(start: int) -> Iterator[bytes]:
        with open_input(path) as file:
            file.seek(start)
            yield from iter(lambda: file.read(_PIECE_BYTES), b"")

    address, name = str(path.absolute()), name_of_lora(str(path))
    return _Origin(
        name=name, address=address, licence="", size_bytes=size, sha256=sha256, pieces=pieces
    )


def _allowed(size_bytes: int, what: str) -> int:
    if size_bytes > MAX_BYTES:
        message = f"{what} has {size_bytes} bytes, a LoRA has at most {MAX_BYTES}"
        raise FileError(message, code="E_LORA")
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
    is_complete = bool(_files(folder, lora))
    return download.FileState(
        place=f"{FOLDER}/{lora.file}",
        size_bytes=lora.size_bytes,
        held_bytes=lora.size_bytes if is_complete else 0,
        is_complete=is_complete,
    )


def _files(folder: Path, lora: Lora) -> list[Path]:
    """A recorded LoRA's file, or its parts, if all of it is there."""
    return resumable.files_of(folder / FOLDER / lora.file, lora.size_bytes, lora.sha256)


def verify(folder: Path) -> list[str]:
    """Reads every LoRA and returns those that are absent or not as recorded."""
    return [f"{FOLDER}/{lora.file}" for lora in read(folder) if not _is_intact(folder, lora)]


def _is_intact(folder: Path, lora: Lora) -> bool:
    """Reads a LoRA's file, and tells whether it is as recorded."""
    files = _files(folder, lora)
    return bool(files) and sha256_of(*files) == lora.sha256


def addresses(folder: Path, damaged: list[str]) -> Mapping[str, str]:
    """Name -> address of those files."""
    return {lora.name: lora.address for lora in read(folder) if f"{FOLDER}/{lora.file}" in damaged}


def strays(folder: Path) -> list[Path]:
    """Files other than the recorded ones that this module can have written."""
    loras = read(folder)
    kept = {path for lora in loras for path in _files(folder, lora)}
    # One that is damaged is named by `verify`.
    kept |= {folder / FOLDER / lora.file for lora in loras}
    place = folder / FOLDER
    files = [path for path in place.iterdir() if path.is_file()] if place.is_dir() else []
    return [
        path
        for path in files
        if path not in kept and path.name.endswith((".safetensors", ".new", ".part"))
    ]


# Merging


def find(folder: Path, name: str) -> Lora:
    """The complete LoRA of that name. Raises FileError E_LORA where there is none.

    One that is recorded under a known name, from where another file had that name, is none.
    """
    found = {lora.name: lora for lora in read(folder)}.get(name)
    if found is None or not _files(folder, found):
        raise _unusable(f"the LoRA {name} is not in the folder of weights", folder, name)
    known = KNOWN_LORAS.get(name)
    if known is not None and not known.is_at(found.address):
        message = f"the LoRA {name} is not {known.file.rpartition('/')[2]}, which has that name now"
        raise _unusable(message, folder, name)
    return found


@contextmanager
def opened(
    folder: Path, lora: Lora, strength: float, weights: Mapping[str, tuple[int, ...]]
) -> Iterator[lora_file.Lora]:
    """A LoRA to merge into weights of these shapes; its tensors are read as they are needed.

    Raises FileError E_LORA where it does not fit the weights, or where a known file has keys that
    would be left out: it was understood wrongly then.
    """
    name, files = lora.name, _files(folder, lora)
    with ExitStack() as stack:
        try:
            file = stack.enter_context(TensorFile(files[0], files))
            plan = _plan(file, weights, strength)
            if name in KNOWN_LORAS and plan.report.unused:
                raise lora_file.LoraError(describe_unused(plan.report))
        except ValueError as error:
            raise _unmergeable(error, folder, name) from error
        try:
            yield plan
        except lora_file.LoraError as error:
            # What is known only once its tensors are read.
            raise _unmergeable(error, folder, name) from error


def describe_unused(report: lora_file.LoraReport) -> str:
    """How many of a file's keys are left out, and one of them."""
    example = lora_file.shown(report.unused[0])
    return f"{len(report.unused)} of its keys are not used, for example {example}"


def _unmergeable(error: ValueError, folder: Path, name: str) -> FileError:
    return _unusable(f"the LoRA {name} cannot be merged: {error}", folder, name)


def _unusable(message: str, folder: Path, name: str) -> FileError:
    hint = f"multitalk download --lora {name}" if name in KNOWN_LORAS else ""
    facts = {"weights_folder": str(folder), "lora": name}
    return FileError(message, code="E_LORA", hint=hint, facts=facts)
