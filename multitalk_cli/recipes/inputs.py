"""The inputs of a recipe, which names them by their content, on this machine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from multitalk_cli.errors import FileError, MultitalkError
from multitalk_cli.files import open_input, sha256_of
from multitalk_cli.jobs.ledger import KnownInput, Ledger
from multitalk_cli.recipes.recipe import Recipe
from multitalk_cli.storage.address import is_stored

_MOST_FILES, _MOST_BYTES = 500, 1 << 30
"""What is read of folders in search of inputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundInput:
    """A picture or voice of a recipe.

    role: "image", "voice", or of two "voice 1" and "voice 2". location: a path whose file has this
    content now, or an s3:// address that had it; None where neither is known.
    """

    role: str
    sha256: str
    location: str | None


def input_digests(recipe: Recipe) -> dict[str, str]:
    """Role -> digest, the picture first."""
    voices = recipe.voices_sha256
    names = ["voice"] if len(voices) == 1 else [f"voice {n}" for n in range(1, len(voices) + 1)]
    return {"image": recipe.image_sha256, **dict(zip(names, voices, strict=True))}


def find_inputs(recipe: Recipe, folder: Path) -> tuple[FoundInput, ...]:
    """The picture, then the voices: where the ledger saw them, in `folder`, or in this one."""
    digests = input_digests(recipe)
    seen = {sha256: _seen_at(sha256) for sha256 in digests.values()}
    missing = {sha256 for sha256, location in seen.items() if location is None}
    if missing:
        seen |= _search(dict.fromkeys((folder.resolve(), Path.cwd())), missing)
    return tuple(
        FoundInput(role=role, sha256=sha256, location=seen[sha256])
        for role, sha256 in digests.items()
    )


def sha256_of_path(path: Path) -> str:
    """The digest of a file's content. Raises the errors of `open_input`."""
    with open_input(path) as file:
        return sha256_of(file)


def _seen_at(sha256: str) -> str | None:
    """Where the ledger saw this content, if a file there still has it; an address is trusted."""
    for known in _known_inputs(sha256):
        if is_stored(known.location):
            return known.location
        # It may have gone or changed since.
        with suppress(MultitalkError):
            if known.location and sha256_of_path(Path(known.location)) == sha256:
                return known.location
    return None


def _known_inputs(sha256: str) -> Sequence[KnownInput]:
    """None where the ledger is unusable: the folder is looked at all the same."""
    try:
        return Ledger().find_inputs(sha256)
    except FileError:
        return ()


def _search(folders: Iterable[Path], wanted: set[str]) -> dict[str, str]:
    """Files of the folders, not of those below them, that have one of these contents."""
    found: dict[str, str] = {}
    left_bytes = _MOST_BYTES
    for path in islice((path for folder in folders for path in _files(folder)), _MOST_FILES):
        if wanted <= found.keys():
            break
        # Not every file of a folder may be read.
        with suppress(MultitalkError, OSError):
            size_bytes = path.stat().st_size
            if size_bytes <= left_bytes:
                left_bytes -= size_bytes
                sha256 = sha256_of_path(path)
                if sha256 in wanted:
                    found.setdefault(sha256, str(path))
    return found


def _files(folder: Path) -> Iterator[Path]:
    with suppress(OSError):
        yield from sorted(path for path in folder.iterdir() if path.is_file())
