"""A manifest, read: CSV, JSON lines, or the pictures and voices of a folder. Nothing is checked
but the form."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multitalk_cli.batch.problems import Problems
from multitalk_cli.errors import FileError, UsageError
from multitalk_cli.media.file_endings import PICTURES, PLAN_PICTURE, SOUNDS

if TYPE_CHECKING:
    from collections.abc import Iterable

STDIN = "-"
MOST_BYTES = 32_000_000
_DELIMITERS = ",;\t"
_NAMED_DELIMITER = re.compile(r"sep=(.)\r?\n", re.IGNORECASE)
"""The first line of a table that is written for Excel. It is counted as a row."""
_SPREADSHEETS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
"""The first bytes of XLSX and ODS, and of XLS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestRow:
    """One row. number: as a spreadsheet or an editor counts it. values: column -> what it holds.

    Cells without a value are left out.
    """

    number: int
    values: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A manifest. folder: relative paths begin there. problems: what is wrong with its form.

    columns: of a table, in the order given; empty for other forms. unpaired: files of a folder of
    which no pair was made.
    """

    name: str
    folder: Path
    rows: tuple[ManifestRow, ...]
    problems: Problems
    columns: tuple[str, ...] = ()
    unpaired: tuple[str, ...] = field(default=())


def read_manifest(path: str, piped: bytes | None = None) -> Manifest:
    """A manifest of any form. piped: its content, where the path is `-`.

    Raises FileError for a file that cannot be read, UsageError E_MANIFEST for another form.
    """
    name = "stdin" if piped is not None else Path(path).name
    content = _read(path) if piped is None else piped
    if len(content) > MOST_BYTES:
        raise _bad(f"{name} is larger than {MOST_BYTES // 1_000_000} MB")
    text = _decode(name, content)
    read = _json_rows if text.lstrip()[:1] in ("{", "[") else _csv_rows
    folder = Path() if piped is not None else Path(path).parent
    manifest = read(name, folder, text)
    if not manifest.rows and not manifest.problems:
        raise _bad(f"{name} has no rows")
    return manifest


def _read(path: str) -> bytes:
    from multitalk_cli.files import open_input

    try:
        with open_input(Path(path)) as file:
            return file.read(MOST_BYTES + 1)
    except FileError as error:
        if Path(path).is_dir():
            raise _bad(
                f"{path!r} is a folder; --pairs {path} makes a video of each picture and voice"
            ) from None
        if error.message.endswith("is empty"):
            raise _bad(f"{path} is empty") from None
        raise


def _decode(name: str, content: bytes) -> str:
    """The text. Raises UsageError E_MANIFEST for a spreadsheet, and for another encoding."""
    # UTF-16 without a mark of byte order is full of zeros.
    if content.startswith(_SPREADSHEETS):
        raise _bad(
            f"{name} is a spreadsheet: save it as CSV (in Excel: CSV UTF-8), and pass that file"
        )
    wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        text = content.decode("utf-16" if wide else "utf-8-sig")
        at = text.find("\0")
    except UnicodeDecodeError as error:
        text, at = "", error.start
    if at >= 0:
        line = content.count(b"\n", 0, at) + 1
        raise _bad(f"{name} is not text in UTF-8 (line {line}): save it as CSV UTF-8")
    return text


def _bad(message: str) -> UsageError:
    return UsageError(message, code="E_MANIFEST")


# CSV


def _csv_rows(name: str, folder: Path, text: str) -> Manifest:
    problems, rows = Problems(), []
    header: list[str] = []
    lines = _records(text)
    for number, cells in lines:
        if isinstance(cells, csv.Error):
            problems.add(_bad(_problem_of(cells)), number)
            break
        if number == 1 and _NAMED_DELIMITER.match(text):
            continue
        if not any(cell.strip() for cell in cells):
            continue
        if not header:
            header = [column_name(cell) for cell in cells]
            _check_header(header, number, problems)
            continue
        if any(cell.strip() for cell in cells[len(header) :]):
            message = f"{len(cells)} cells, and there are {len(header)} columns (quote commas)"
            problems.add(_bad(message), number)
        values = dict(zip(header, map(str.strip, cells), strict=False))
        filled = {column: cell for column, cell in values.items() if column and cell}
        rows.append(ManifestRow(number=number, values=filled))
    return Manifest(
        name=name, folder=folder, rows=tuple(rows), problems=problems, columns=tuple(header)
    )


def _records(text: str) -> Iterator[tuple[int, list[str] | csv.Error]]:
    """Rows from 1; an error of the form last."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    number = 0
    while True:
        number += 1
        try:
            yield number, next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield number, error
            return


def _problem_of(error: csv.Error) -> str:
    text = str(error)
    return "a quote is not closed" if text == "unexpected end of data" else text


def _delimiter(text: str) -> str:
    """The one that the first row has most of: spreadsheets of some countries write semicolons."""
    if (named := _NAMED_DELIMITER.match(text)) is not None:
        return named[1]
    first = text.lstrip("\r\n").partition("\n")[0]
    return max(_DELIMITERS, key=first.count)


def column_name(text: str) -> str:
    """A column by the name of its option: `--sample-steps` and `Sample Steps` are one."""
    return text.strip().lstrip("-").lower().replace("-", "_").replace(" ", "_")


def _check_header(header: Sequence[str], number: int, problems: Problems) -> None:
    for column, count in Counter(filter(None, header)).items():
        if count > 1:
            problems.add(_bad(f"there are {count} columns {column!r}"), number)
    if "image" not in header:
        text = "no column 'image': the first row has the names of the columns"
        problems.add(_bad(text), number)


# JSON lines


def _columns_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object. Raises ValueError for a name that stands twice."""
    columns = Counter(column_name(key) for key, _ in pairs)
    for column, count in columns.items():
        if count > 1:
            raise ValueError(f"{column!r} stands {count} times")
    return {column_name(key): each for key, each in pairs}


def _json_rows(name: str, folder: Path, text: str) -> Manifest:
    problems, rows = Problems(), []
    # Not splitlines(): JSON may hold U+2028.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line, object_pairs_hook=_columns_of)
        except (ValueError, RecursionError) as error:
            problems.add(_bad(f"no JSON: {error}"), number)
            continue
        if not isinstance(found, dict):
            problems.add(_bad("no JSON object; each line is one, {...}"), number)
            continue
        values = {column: each for column, each in found.items() if each is not None}
        rows.append(ManifestRow(number=number, values=values))
    return Manifest(name=name, folder=folder, rows=tuple(rows), problems=problems)


# Pairs of a folder


def read_pairs(folder: Path) -> Manifest:
    """A row for each picture and voice of one stem, in the order of their names.

    Raises FileError for a folder that cannot be listed, UsageError E_MANIFEST without pairs.
    """
    pictures, voices = _by_stem(folder)
    problems, rows = Problems(), []
    for number, stem in enumerate(sorted(pictures.keys() & voices.keys()), 1):
        for kind, paths in (("pictures", pictures[stem]), ("voices", voices[stem])):
            if len(paths) > 1:
                names = ", ".join(path.name for path in paths)
                problems.add(_bad(f"several {kind} are called {stem!r}: {names}"), number)
        values = {"id": stem, "image": pictures[stem][0].name, "voice": voices[stem][0].name}
        rows.append(ManifestRow(number=number, values=values))
    if not rows:
        raise _bad(f"{str(folder)!r} has no picture and voice of one name, as a.png and a.wav")
    alone = [*_without(pictures, voices), *_without(voices, pictures)]
    return Manifest(
        name=str(folder),
        folder=folder,
        rows=tuple(rows),
        problems=problems,
        unpaired=tuple(sorted(alone)),
    )


def _by_stem(folder: Path) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
    pictures: dict[str, list[Path]] = {}
    voices: dict[str, list[Path]] = {}
    try:
        paths = sorted(path for path in folder.iterdir() if path.is_file())
    except OSError as error:
        message = f"the folder {str(folder)!r} cannot be read: {error.strerror}"
        raise FileError(message, code="E_FILE_MISSING") from None
    for path in paths:
        ending = path.suffix.lower().removeprefix(".")
        if path.name.startswith(".") or path.name.endswith(PLAN_PICTURE):
            continue
        if ending in PICTURES:
            pictures.setdefault(path.stem, []).append(path)
        elif ending in SOUNDS and not _is_ours(path):
            voices.setdefault(path.stem, []).append(path)
    return pictures, voices


def _is_ours(path: Path) -> bool:
    """Whether it is a video of an earlier run, which is nobody's voice."""
    from multitalk_cli.media.video.recipe import read_recipe

    return path.suffix.lower() == ".mp4" and read_recipe(path) is not None


def _without(some: dict[str, list[Path]], others: Iterable[str]) -> list[str]:
    return [path.name for stem, paths in some.items() if stem not in others for path in paths]
