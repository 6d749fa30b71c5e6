"""Where a video goes: names, collisions, and the file appearing whole or not at all."""

import json
import os
import re
import shlex
import string
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multitalk_cli.contract.limits import is_unicode
from multitalk_cli.errors import FileError, UsageError
from multitalk_cli.files import check_creatable, is_safe_name, write_atomically, write_error
from multitalk_cli.storage.address import parse_uri
from multitalk_cli.storage.upload import UploadTarget

SUFFIX, PREVIEW_SUFFIX = ".mp4", ".preview.mp4"
_VIDEO_SUFFIXES = {".avi", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".webm"}
TEMPLATE_FIELDS = ("image", "voice", "seed", "n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What an output's name is made of. is_foreign: whether others gave the inputs their names."""

    image: Path
    voices: tuple[Path, ...]
    seed: int
    preview: bool
    is_foreign: bool = False

    @property
    def suffix(self) -> str:
        """The ending that the name must have."""
        return PREVIEW_SUFFIX if self.preview else SUFFIX

    @property
    def stem(self) -> str:
        """The name when none is asked for, without its ending."""
        stems = [path.stem for path in self.voices]
        return "-".join([self.image.stem, *stems] if len(stems) > 1 else stems)

    @property
    def default(self) -> str:
        """The name when none is asked for."""
        return self.stem + self.suffix

    @property
    def values(self) -> dict[str, str | int]:
        """What a template's fields stand for, but for the number."""
        voice = "-".join(path.stem for path in self.voices)
        return {"image": self.image.stem, "voice": voice, "seed": self.seed}


def choose_output(asked: str | None, names: Names) -> Path:
    """The path of the output.

    asked: a file, a folder (existing, or with a slash at its end), or a template; None for the
    default name in the current folder.
    Raises UsageError for a name that does not fit, FileError for a place that cannot be used.
    """
    target = Path(names.default) if asked is None else _asked_path(asked, names)
    if names.is_foreign and not is_safe_name(target.name):
        raise UsageError(
            f"{target.name!r} is no name that a file should have",
            code="E_OUTPUT_NAME",
            hint="add -o FILE",
        )
    _check_suffix(target, names)
    try:
        _check_place(target, names)
    except OSError as error:
        # A folder above forbids looking, or a name is too long.
        raise write_error(target, error) from None
    return target


def _asked_path(asked: str, names: Names) -> Path:
    if not asked:
        raise UsageError(
            "-o is empty", code="E_OUTPUT_NAME", hint=f"-o {shlex.quote(names.default)}"
        )
    if "{" not in asked or os.path.isdir(asked):  # noqa: PTH112 - never raises
        return _in_folder(asked, names)
    fields = _template_fields(asked)
    number = 1
    while "n" in fields and os.path.lexists(_fill_template(asked, names, number)):
        number += 1
    return _fill_template(asked, names, number)


def _in_folder(asked: str, names: Names) -> Path:
    is_folder = asked.endswith("/") or os.path.isdir(asked)  # noqa: PTH112 - never raises
    return Path(asked) / names.default if is_folder else Path(asked)


def _template_fields(template: str) -> set[str]:
    """The fields that a template uses. Raises UsageError for what it may not hold."""
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise _bad_template(template, str(error)) from None
    for _, field, layout, conversion in parts:
        if field is not None and field not in TEMPLATE_FIELDS:
            raise _bad_template(template, f"an unknown field {{{field}}}")
        # Wider layouts could ask for a name of a gigabyte.
        if conversion or (layout and not re.fullmatch("0[1-9]", layout)):
            raise _bad_template(template, f"a layout other than {{{field}:03}}")
    return {field for _, field, _, _ in parts if field is not None}


def _fill_template(template: str, names: Names, number: int) -> Path:
    try:
        return _in_folder(template.format(**names.values, n=number), names)
    except ValueError as error:
        raise _bad_template(template, str(error)) from None


def _bad_template(template: str, problem: str) -> UsageError:
    allowed = ", ".join(f"{{{name}}}" for name in TEMPLATE_FIELDS)
    return UsageError(f"{template!r} has {problem}", code="E_OUTPUT_NAME", hint=f"use {allowed}")


def choose_upload(to: str | None, names: Names, *, overwrite: bool) -> UploadTarget:
    """Where a video is to be stored.

    to: an address, whole, of a folder or of a bucket, or a template of one; None for the folder of
    the bucket that the secret names. Raises UsageError for what is no such thing.
    """
    if to is None:
        return UploadTarget(bucket="", key="", stem=names.stem, overwrite=overwrite)
    if not is_unicode(to):
        raise UsageError(f"{to!r} must be text in UTF-8", code="E_S3_ADDRESS")
    address = parse_uri(_fill_address(to, names))
    name = address.key.rpartition("/")[2]
    if name and not (name.endswith(SUFFIX) and name != SUFFIX):
        raise UsageError(
            f"a video's name ends in {SUFFIX}, not {name!r}",
            code="E_OUTPUT_NAME",
            hint=f"take {shlex.quote(f'{address}{SUFFIX}')}, or {shlex.quote(f'{address}/')}",
        )
    return UploadTarget(
        bucket=address.bucket, key=address.key, stem=names.stem, overwrite=overwrite
    )


def _fill_address(template: str, names: Names) -> str:
    if "n" in _template_fields(template):
        # What there is, only the cloud sees.
        raise UsageError(
            f"{template!r} has {{n}}, which is for files",
            code="E_OUTPUT_NAME",
            hint="use {image}, {voice}, {seed}, or a folder: its videos are named after their jobs",
        )
    try:
        return template.format(**names.values)
    except ValueError as error:
        raise _bad_template(template, str(error)) from None


def _check_suffix(target: Path, names: Names) -> None:
    if target.name.endswith(names.suffix) and target.name != names.suffix:
        if names.preview or not target.name.endswith(PREVIEW_SUFFIX):
            return
        proposed = target.with_name(target.name.removesuffix(PREVIEW_SUFFIX) + SUFFIX)
        what = "a video that is no preview must not be called one"
    else:
        is_video = target.suffix.lower() in _VIDEO_SUFFIXES
        proposed = target.with_name((target.stem if is_video else target.name) + names.suffix)
        what = f"a {'preview' if names.preview else 'video'}'s name ends in {names.suffix}"
    raise UsageError(
        f"{what}, not {target.name!r}",
        code="E_OUTPUT_NAME",
        hint=f"-o {shlex.quote(str(proposed))}",
    )


def _check_place(target: Path, names: Names) -> None:
    folder = target.parent
    if not folder.is_dir():
        raise _no_folder(folder)
    if target.exists() and not target.is_file():
        raise FileError(f"the output {str(target)!r} is no regular file", code="E_OUTPUT_PATH")
    if target.exists() and any(
        _is_same_file(target, path) for path in (names.image, *names.voices)
    ):
        raise FileError(f"the output {str(target)!r} is one of the inputs", code="E_OUTPUT_PATH")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise FileError(f"the folder {str(folder)!r} cannot be written to", code="E_OUTPUT_PATH")
    check_creatable(target)


def _no_folder(folder: Path) -> FileError:
    if folder.exists():
        return FileError(
            f"the output's folder {str(folder)!r} is not a folder", code="E_OUTPUT_PATH"
        )
    return FileError(
        f"the output's folder {str(folder)!r} does not exist",
        code="E_OUTPUT_PATH",
        hint=f"mkdir -p {shlex.quote(str(folder))}",
    )


def _is_same_file(one: Path, other: Path) -> bool:
    with suppress(OSError):
        return one.samefile(other)
    return False


def write_sidecar(target: Path, recipe: Mapping[str, Any]) -> Path:
    """Writes the full recipe as JSON beside the video and gives its path."""
    sidecar = target.with_name(target.name + ".json")
    content = json.dumps(recipe, indent=2, ensure_ascii=False) + "\n"
    write_atomically(sidecar, content.encode())
    return sidecar


def choose_plan_picture(asked: str | None, image: Path) -> Path:
    """Where the plan's picture goes: beside the output that was asked for, or in this folder."""
    folder = Path()
    if asked is not None:
        folder = Path(asked) if asked.endswith("/") or Path(asked).is_dir() else Path(asked).parent
    if not folder.is_dir():
        raise _no_folder(folder)
    return folder / f"{image.stem}.plan.png"
