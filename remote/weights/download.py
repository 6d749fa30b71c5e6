"""The published files: the list of them, and their resumable, verified download to a folder.

sources.json in the folder pins them: once it is there, every later run fetches the same bytes.
A file has its own name only once it was compared with its sha256; until then the bytes that
arrived lie in a .part file next to it, where the next run resumes. On a Volume, which may store a
growing file anew with every commit, a large file stays in parts: each is written once.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multitalk_cli import contract
from multitalk_cli.contract import (
    MULTITALK_REPOSITORY,
    REPOSITORIES,
    WAN_REPOSITORY,
    WAV2VEC_REPOSITORY,
)
from multitalk_cli.contract.codec import from_plain, to_plain
from multitalk_cli.contract.weights_task import PUBLISHED, PUBLISHED_TOLERANCE
from multitalk_cli.errors import StorageError, TemporaryError
from multitalk_cli.storage.hub import Hub, HubFile
from remote.engine.checkpoint import published
from remote.weights.manifest import SOURCES_FILE, SourceFile, SourceManifest, sha256_of
from remote.weights.resumable import (
    PART_BYTES,
    Saver,
    changed,
    disk_errors,
    download_file,
    download_in_parts,
    files_of,
    part_path,
    parts_of,
    read_record,
    write_whole,
)

LOCK_FILE = ".download.lock"
SAVES = 300
"""Times that a whole download is saved: a machine that is lost costs less than 0.4 % of it."""

EIGHT_BIT_SHARE, _FP8_SHARE = 0.356, 0.37
"""Of the published transformer, in 32 bits: of 18.9e9 numbers, 10.9e9 in 8 bits and the others in
16; in a pack of an earlier version 9.9e9 in 8 bits."""

_TOKENIZER = f"{published.TOKENIZER_FOLDER}/"
# Published path -> whether it must be there. The shards are those that MultiTalk's index names,
# which replaces Wan's own.
_FILES: Mapping[str, Mapping[str, bool]] = {
    WAN_REPOSITORY: {
        published.VAE_FILE: True,
        published.TEXT_FILE: True,
        published.CLIP_FILE: True,
        f"{_TOKENIZER}tokenizer.json": True,
        f"{_TOKENIZER}tokenizer_config.json": False,
        f"{_TOKENIZER}special_tokens_map.json": False,
    },
    WAV2VEC_REPOSITORY: {
        published.WAV2VEC_FILE: True,
        "config.json": True,
        "preprocessor_config.json": False,
    },
    MULTITALK_REPOSITORY: {published.BASE_INDEX: True, published.AUDIO_FILE: True},
}
_SHARD = re.compile(r"diffusion_pytorch_model[A-Za-z0-9._-]*\.safetensors")
_PART = re.compile(r".+\.[0-9a-f]{12}(\.\d+)?\.part")

Progress = Callable[[int, int, str], None]  # bytes done, bytes in all, name of the file


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchPlan:
    """The files that a folder will hold. contents: path -> small file that was read already."""

    sources: SourceManifest
    contents: Mapping[str, bytes]

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.sources.files)

    @property
    def revisions(self) -> dict[str, str]:
        """Repository -> commit."""
        return {file.repo: file.revision for file in self.sources.files}

    def missing_bytes(self, folder: Path) -> int:
        """Bytes that the folder still lacks."""
        return self.size_bytes - sum(state.held_bytes for state in states(folder, self.sources))


@dataclass(frozen=True, slots=True, kw_only=True)
class FileState:
    """The state of a published file. held_bytes: bytes that are there, complete or not."""

    place: str
    size_bytes: int
    held_bytes: int
    is_complete: bool


def place_of(file: SourceFile) -> str:
    """The path of a published file in the folder."""
    return _place(file.repo, file.path)


def _place(repo: str, path: str) -> str:
    return f"{published.WAV2VEC_FOLDER}/{path}" if repo == WAV2VEC_REPOSITORY else path


def load_sources(folder: Path) -> SourceManifest | None:
    """The files that the folder is pinned to; None without them.

    Raises SetupError E_WEIGHTS for a malformed file.
    """
    return read_record(folder / SOURCES_FILE, _parse_sources)


def _parse_sources(body: Any) -> SourceManifest:
    """Refuses what could lead out of the folder: only files that the engine reads are named."""
    sources = from_plain(SourceManifest, body)
    for file in sources.files:
        is_shard = file.repo == WAN_REPOSITORY and _SHARD.fullmatch(file.path) is not None
        if not is_shard and file.path not in _FILES.get(file.repo, {}):
            raise ValueError(f"{file.repo} has no file {file.path!r} that is read")
        if not re.fullmatch(r"[0-9a-f]{40}", file.revision) or file.size_bytes < 0:
            raise ValueError(f"{file.path} has no commit or no size")
    return sources


def make_plan(folder: Path, hub: Hub, revisions: Mapping[str, str]) -> FetchPlan:
    """The files that the folder is pinned to, or else those of the hub, with sizes and hashes.

    revisions: repository -> branch or commit, instead of the pinned ones. Writes nothing.
    """
    pinned = load_sources(folder)
    commits = {} if pinned is None else {file.repo: file.revision for file in pinned.files}
    if pinned is not None and all(commits.get(repo) == name for repo, name in revisions.items()):
        return FetchPlan(sources=pinned, contents={})
    wanted = {**REPOSITORIES, **commits, **revisions}
    commits = {repo: hub.resolve(repo, revision) for repo, revision in wanted.items()}
    listings = {repo: hub.files(repo, commits[repo]) for repo in wanted}
    index = _required(listings, MULTITALK_REPOSITORY, published.BASE_INDEX, commits)
    contents = {
        published.BASE_INDEX: _small_file(
            hub, MULTITALK_REPOSITORY, commits[MULTITALK_REPOSITORY], index
        )
    }
    files = []
    for repo, path in _wanted(listings, _shards(contents[published.BASE_INDEX])):
        listed = _required(listings, repo, path, commits)
        place = _place(repo, path)
        if listed.sha256 is None and place not in contents:
            contents[place] = _small_file(hub, repo, commits[repo], listed)
        sha256 = listed.sha256 or hashlib.sha256(contents[place]).hexdigest()
        files.append(
            SourceFile(
                repo=repo,
                revision=commits[repo],
                path=path,
                size_bytes=listed.size_bytes,
                sha256=sha256,
            )
        )
    # Small files come first: they show at once whether access works.
    files.sort(key=lambda file: file.size_bytes)
    return FetchPlan(sources=SourceManifest(files=tuple(files)), contents=contents)


def _wanted(
    listings: Mapping[str, Mapping[str, HubFile]], shards: Iterable[str]
) -> Iterator[tuple[str, str]]:
    """Yields repository and path of every file that must be there, or may and is."""
    yield from ((WAN_REPOSITORY, shard) for shard in shards)
    for repo, paths in _FILES.items():
        for path, is_required in paths.items():
            if is_required or path in listings[repo]:
                yield repo, path


def _small_file(hub: Hub, repo: str, commit: str, listed: HubFile) -> bytes:
    """The content of a file as the hub lists it, after two attempts at most."""
    for _attempt in range(2):
        content = hub.read(repo, commit, listed)
        if _is_as_listed(listed, content):
            return content
    raise changed(f"{repo}/{listed.path}")


def _shards(index: bytes) -> list[str]:
    try:
        names = published.shard_names(index.decode())
    except (ValueError, RecursionError) as error:
        raise StorageError(
            f"{MULTITALK_REPOSITORY} has a malformed index: {error}", code="E_HUB"
        ) from error
    shards = [name for name in names if name != published.AUDIO_FILE]
    for name in shards:
        if not _SHARD.fullmatch(name):
            raise StorageError(f"{MULTITALK_REPOSITORY}'s index names {name!r}", code="E_HUB")
    return shards


def _required(
    listings: Mapping[str, Mapping[str, HubFile]], repo: str, path: str, commits: Mapping[str, str]
) -> HubFile:
    listed = listings[repo].get(path)
    if listed is None:
        raise StorageError(f"{repo} at {commits[repo]} has no {path}", code="E_HUB_MISSING")
    return listed


def _is_as_listed(listed: HubFile, content: bytes) -> bool:
    if listed.sha256 is not None:
        return hashlib.sha256(content).hexdigest() == listed.sha256
    digest = hashlib.sha1(b"blob %d\0" % len(content), usedforsecurity=False)
    digest.update(content)
    return digest.hexdigest() == listed.git_sha1


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the lock of the folder, which is created if absent.

    Raises TemporaryError E_DOWNLOAD_RUNS if another process holds it. The system releases the lock
    of a killed process.
    """
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        # Never written to: a resumed packing compares the folder's files with those before.
        handle = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TemporaryError(
                f"another download is writing to {folder}", code="E_DOWNLOAD_RUNS"
            ) from error
        yield
    finally:
        os.close(handle)


def fetch(
    folder: Path,
    plan: FetchPlan,
    hub: Hub,
    save: Callable[[], None] | None = None,
    part_bytes: int = PART_BYTES,
) -> Generator[contract.Fetching, None, None]:
    """Downloads every file of the plan into the folder, and yields after each piece.

    The consumer may stop, or be killed, at any time. save: makes written files persist beyond this
    machine; called every SAVES-th of the whole, and at the end. With it, files of more than
    part_bytes are kept in parts.
    """
    _pin(folder, plan)
    total, before = plan.size_bytes, 0
    saver = Saver(save, min(part_bytes, total // SAVES))
    saver.save()
    count = len(plan.sources.files)
    for number, file in enumerate(plan.sources.files, 1):
        for held in _held(folder, file, hub, saver, None if save is None else part_bytes):
            yield contract.Fetching(
                name=Path(file.path).name,
                number=number,
                count=count,
                file_bytes=held,
                file_total_bytes=file.size_bytes,
                done_bytes=before + held,
                total_bytes=total,
            )
        before += file.size_bytes
    saver.save()


def _pin(folder: Path, plan: FetchPlan) -> None:
    """Writes sources.json, and the small files that were read already.

    From then on a file of the right size counts as fetched; so those that came otherwise, or for
    another commit, are compared before.
    """
    before = load_sources(folder)
    if before == plan.sources:
        return
    for place, content in plan.contents.items():
        write_whole(folder / place, content)
    known = set() if before is None else {(place_of(file), file.sha256) for file in before.files}
    doubtful = [file for file in plan.sources.files if (place_of(file), file.sha256) not in known]
    sources = SourceManifest(files=tuple(doubtful))
    discard(folder, verify(folder, sources))
    write_whole(folder / SOURCES_FILE, json.dumps(to_plain(plan.sources), indent=1).encode())


def _held(
    folder: Path, file: SourceFile, hub: Hub, saver: Saver, part_bytes: int | None
) -> Iterator[int]:
    """Downloads one file, yielding the bytes held so far. part_bytes: None for one file."""
    path = folder / place_of(file)
    if _find(folder, file):
        yield file.size_bytes
        return

    def pieces(start: int) -> Iterator[bytes]:
        return hub.pieces(file.repo, file.revision, file.path, start, file.size_bytes)

    what, part = f"{file.repo}/{file.path}", part_path(path, file.sha256)
    if part_bytes is None:
        yield from download_file(path, part, file.size_bytes, file.sha256, pieces, what, saver)
    else:
        yield from download_in_parts(
            path, file.sha256, file.size_bytes, file.sha256, pieces, what, saver, part_bytes
        )


def _find(folder: Path, file: SourceFile) -> list[Path]:
    """The published file, or its parts, if it is complete."""
    return files_of(folder / place_of(file), file.size_bytes, file.sha256)


def files_in_parts(folder: Path, files: Iterable[SourceFile]) -> dict[str, list[Path]]:
    """Path in the folder -> parts, of the complete files that are in parts."""
    found = {place_of(file): _find(folder, file) for file in files}
    return {place: paths for place, paths in found.items() if len(paths) > 1}


def states(folder: Path, sources: SourceManifest) -> list[FileState]:
    """The state of each file, without reading it."""
    found = []
    for file in sources.files:
        path = folder / place_of(file)
        is_complete = bool(_find(folder, file))
        held = sum(part.stat().st_size for part in parts_of(path, file.sha256))
        found.append(
            FileState(
                place=place_of(file),
                size_bytes=file.size_bytes,
                held_bytes=file.size_bytes if is_complete else min(held, file.size_bytes),
                is_complete=is_complete,
            )
        )
    return found


def verify(
    folder: Path, sources: SourceManifest, progress: Progress | None = None
) -> list[SourceFile]:
    """Reads every file and returns those that are absent or differ from the hub's."""
    total, done = sum(file.size_bytes for file in sources.files), 0
    wrong = []
    for file in sources.files:
        found = _find(folder, file)
        if not found or sha256_of(*found) != file.sha256:
            wrong.append(file)
        done += file.size_bytes
        if progress is not None:
            progress(done, total, place_of(file))
    return wrong


def discard(folder: Path, files: list[SourceFile]) -> None:
    """Removes wrong files, so that the next fetch downloads them again."""
    for file in files:
        with disk_errors(folder):
            path = folder / place_of(file)
            for each in (path, *_find(folder, file)):
                each.unlink(missing_ok=True)


def strays(folder: Path, sources: SourceManifest, packs: Mapping[str, set[str]]) -> list[Path]:
    """Files of earlier downloads and packings that are no longer used.

    sources: empty where it is not known which published files belong there. packs: folder of a
    complete pack -> files that its manifest names. Only files with names that this program writes
    are returned.
    """
    kept = {place_of(file) for file in sources.files}
    parts = {
        part for file in sources.files for part in parts_of(folder / place_of(file), file.sha256)
    }
    found = []
    places = ("", published.TOKENIZER_FOLDER, published.WAV2VEC_FOLDER) if sources.files else ()
    for own in places:
        for path in _files_in(folder / own):
            is_named = path in parts or path.relative_to(folder).as_posix() in kept
            if not is_named and (_PART.fullmatch(path.name) or _SHARD.fullmatch(path.name)):
                found.append(path)
    for name, named in packs.items():
        found += [path for path in _files_in(folder / name) if path.name not in named]
    return sorted(found)


def _files_in(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []


def differences(sources: SourceManifest) -> list[dict[str, Any]]:
    """The parts of the published weights that the hub lists with another size than ours."""
    found = []
    for part in PUBLISHED:
        size = sum(
            file.size_bytes
            for file in sources.files
            if file.repo == part.repository and re.fullmatch(part.files, file.path)
        )
        if abs(size - part.size_bytes) > PUBLISHED_TOLERANCE * part.size_bytes:
            found.append({"part": part.name, "size_bytes": size, "expected_bytes": part.size_bytes})
    return found


def free_bytes(folder: Path) -> int:
    """The space that is free where the folder is, or will be."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    with disk_errors(folder):
        return shutil.disk_usage(place).free


def pack_bytes(sources: SourceManifest, precision: str) -> int:
    """Estimates the size of a pack: the transformer is published in 32 bits, all else as packed."""
    share = _FP8_SHARE if precision == "fp8" else 0.5
    transformer = _transformer_bytes(sources)
    others = sum(file.size_bytes for file in sources.files) - transformer
    return round(share * transformer + others)


def eight_bit_bytes(sources: SourceManifest) -> int:
    """Estimates the size of 8-bit weights."""
    return round(EIGHT_BIT_SHARE * _transformer_bytes(sources))


def _transformer_bytes(sources: SourceManifest) -> int:
    return sum(
        file.size_bytes
        for file in sources.files
        if _SHARD.fullmatch(file.path) or file.path == published.AUDIO_FILE
    )
