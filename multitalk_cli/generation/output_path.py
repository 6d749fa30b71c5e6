"""The output's path or address: names, templates, collisions."""

import json
import os
import re
import string
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multitalk_cli.contract.limits import is_unicode
from multitalk_cli.errors import FileError, UsageError
from multitalk_cli.files import (
    check_creatable,
    is_content_of,
    is_safe_name,
    is_same_file,
    write_atomically,
    write_error,
)
from multitalk_cli.media.video.names import check_name, suffix_of
from multitalk_cli.storage.address import parse_uri
from multitalk_cli.storage.upload import SUFFIX, UploadTarget

SIDECAR_SUFFIX = ".json"
LONGEST_NAME_BYTES = 255
TEMPLATE_FIELDS = ("image", "voice", "seed", "n")


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputNames:
    """Parts of an output's name.

    is_foreign: whether the inputs' names come from a store. given: the default name without its
    ending, in place of one from the inputs.
    """

    image: Path
    voices: tuple[Path, ...]
    seed: int
    preview: bool
    is_foreign: bool = False
    given: str | None = None

    @property
    def suffix(self) -> str:
        """The ending of a valid name."""
        return suffix_of(preview=self.preview)

    @property
    def stem(self) -> str:
        """The default name without its ending."""
        if self.given is not None:
            return self.given
        stems = [path.stem for path in self.voices]
        return "-".join([self.image.stem, *stems] if len(stems) > 1 else stems)

    @property
    def default(self) -> str:
        """The default name, cut to what a file may be called."""
        stem = self.stem
        if len(os.fsencode(stem + self.suffix)) > LONGEST_NAME_BYTES:
            longest = LONGEST_NAME_BYTES - len(self.suffix) - len(SIDECAR_SUFFIX)
            while len(os.fsencode(stem)) > longest:
                stem = stem[:-1]
        return stem + self.suffix

    @property
    def values(self) -> dict[str, str | int]:
        """The values of a template's fields, except the number."""
        voice = "-".join(path.stem for path in self.voices)
        return {"image": self.image.stem, "voice": voice, "seed": self.seed}


def choose_output(output: str | None, names: OutputNames) -> Path:
    """The path of the output.

    output: a file, a folder (existing, or with a slash at its end), or a template; None for the
    default name in the current folder.
    Raises UsageError for an unsuitable name, FileError for a place that cannot be used.
    """
    target = Path(names.default) if output is None else _given_path(output, names)
    if names.is_foreign and not is_safe_name(target.name):
        raise UsageError(
            f"{target.name!r} is not a safe name for a file",
            code="E_OUTPUT_NAME",
            facts={"proposed": "FILE"},
        )
    check_name(target, names.stem, preview=names.preview, typed=output)
    return checked(target, names)


def checked(target: Path, names: OutputNames) -> Path:
    """The same path. Raises FileError for a place that cannot be used."""
    try:
        _check_place(target, names)
    except OSError as error:
        # A folder above forbids looking, or a name is too long.
        raise write_error(target, error) from None
    return target


def _given_path(output: str, names: OutputNames) -> Path:
    if not output:
        raise UsageError("-o is empty", code="E_OUTPUT_NAME", facts={"proposed": names.default})
    if "{" not in output or os.path.isdir(output):  # noqa: PTH112 - never raises
        return _in_folder(output, names)
    fields = _template_fields(output)
    number = 1
    while "n" in fields and os.path.lexists(_fill_template(output, names, number)):
        number += 1
    return _fill_template(output, names, number)


def _in_folder(output: str, names: OutputNames) -> Path:
    is_folder = output.endswith("/") or os.path.isdir(output)  # noqa: PTH112 - never raises
    return Path(output) / names.default if is_folder else Path(output)


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


def _fill_template(template: str, names: OutputNames, number: int) -> Path:
    try:
        return _in_folder(template.format(**names.values, n=number), names)
    except ValueError as error:
        raise _bad_template(template, str(error)) from None


def _bad_template(template: str, problem: str) -> UsageError:
    fields = ", ".join(f"{{{field}}}" for field in TEMPLATE_FIELDS)
    return UsageError(
        f"{template!r} has {problem}; the fields are {fields}",
        code="E_OUTPUT_NAME",
        facts={"fields": TEMPLATE_FIELDS},
    )


def choose_upload(to: str | None, names: OutputNames, *, overwrite: bool) -> UploadTarget:
    """The place in the store for a video.

    to: the address of an object, a folder or a bucket, or a template of one; None for the folder of
    the bucket that the secret names. Raises UsageError for anything else.
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
            facts={"addresses": (f"{address}{SUFFIX}", f"{address}/")},
        )
    return UploadTarget(
        bucket=address.bucket, key=address.key, stem=names.stem, overwrite=overwrite
    )


def _fill_address(template: str, names: OutputNames) -> str:
    if "n" in _template_fields(template):
        # Only the cloud sees which numbers exist.
        raise UsageError(
            f"{template!r} has {{n}}, which is for files",
            code="E_OUTPUT_NAME",
            facts={"fields": ("image", "voice", "seed"), "or_folder": True},
        )
    try:
        return template.format(**names.values)
    except ValueError as error:
        raise _bad_template(template, str(error)) from None


def _check_place(target: Path, names: OutputNames) -> None:
    folder = target.parent
    if not folder.is_dir():
        raise _no_folder(folder)
    if target.exists() and not target.is_file():
        raise FileError(f"the output {str(target)!r} is not a regular file", code="E_OUTPUT_PATH")
    if target.exists() and any(is_same_file(target, path) for path in (names.image, *names.voices)):
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
        facts={"missing_folder": str(folder)},
    )


def recorded_path(target: Path | None) -> str:
    """The path of a video's file by which two jobs are compared; empty without a file."""
    return "" if target is None else str(target.parent.resolve() / target.name)


def sidecar_of(target: Path) -> Path:
    """The file of a video's full recipe."""
    return target.with_name(target.name + SIDECAR_SUFFIX)


def check_sidecar(target: Path, *, force: bool) -> None:
    """Raises FileError where a video's full recipe could not be written, or would overwrite."""
    sidecar = sidecar_of(target)
    check_creatable(sidecar)
    if not force and os.path.lexists(sidecar):
        raise FileError(f"{str(sidecar)!r} exists", code="E_OUTPUT_EXISTS")


def write_sidecar(target: Path, recipe: Mapping[str, Any], *, overwrite: bool) -> Path:
    """Writes the full recipe as JSON next to the video; returns its path."""
    content = json.dumps(recipe, indent=2, ensure_ascii=False) + "\n"
    sidecar = sidecar_of(target)
    write_atomically(sidecar, content.encode(), overwrite=overwrite)
    return sidecar


PLAN_SUFFIX = ".plan.png"


def plan_folder(output: str | None) -> Path:
    """The folder of a plan's picture: that of the output, or this one. Raises FileError."""
    folder = Path()
    if output is not None:
        folder = (
            Path(output) if output.endswith("/") or Path(output).is_dir() else Path(output).parent
        )
    if not folder.is_dir():
        raise _no_folder(folder)
    return folder


def choose_plan_picture(folder: Path, image: Path, content: bytes, *, force: bool) -> Path:
    """The path of a plan's picture: IMAGE.plan.png, or with a number where that is another file.

    content: the picture; a file that holds just this is its place already.
    """
    picture = folder / f"{image.stem}{PLAN_SUFFIX}"
    number = 1
    while not force and os.path.lexists(picture) and not is_content_of(picture, content):
        number += 1
        picture = folder / f"{image.stem}.{number}{PLAN_SUFFIX}"
    return picture
