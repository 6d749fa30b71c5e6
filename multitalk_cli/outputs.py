"""Where a video goes: names, collisions, and the file appearing whole or not at all."""

import json
import os
import shlex
import string
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multitalk_cli.errors import FileError, UsageError
from multitalk_cli.media.outputs import placed, write_error

SUFFIX, PREVIEW_SUFFIX = ".mp4", ".preview.mp4"
TEMPLATE_FIELDS = ("image", "voice", "seed", "n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What an output's name is made of."""

    image: Path
    voices: tuple[Path, ...]
    seed: int
    preview: bool

    @property
    def suffix(self) -> str:
        """The ending that the name must have."""
        return PREVIEW_SUFFIX if self.preview else SUFFIX

    @property
    def default(self) -> str:
        """The name when none is asked for."""
        stems = [path.stem for path in self.voices]
        return "-".join([self.image.stem, *stems] if len(stems) > 1 else stems) + self.suffix


def choose_output(asked: str | None, names: Names) -> Path:
    """The path of the output.

    asked: a file, a folder (existing, or with a slash at its end), or a template; None for the
    default name in the current folder.
    Raises UsageError for a name that does not fit, FileError for a place that cannot be used.
    """
    target = Path(names.default) if asked is None else _asked_path(asked, names)
    _check_suffix(target, names)
    _check_place(target, names)
    return target


def _asked_path(asked: str, names: Names) -> Path:
    if asked.endswith(("/", os.sep)) or Path(asked).is_dir():
        return Path(asked) / names.default
    if "{" in asked:
        return _fill_template(asked, names)
    return Path(asked)


def _fill_template(template: str, names: Names) -> Path:
    try:
        fields = [field for _, field, _, _ in string.Formatter().parse(template)]
    except ValueError as error:
        raise UsageError(f"-o {template!r}: {error}", code="E_OUTPUT_NAME") from None
    unknown = [field for field in fields if field is not None and field not in TEMPLATE_FIELDS]
    if unknown:
        allowed = ", ".join(f"{{{name}}}" for name in TEMPLATE_FIELDS)
        raise UsageError(
            f"-o {template!r} has an unknown field {{{unknown[0]}}}",
            code="E_OUTPUT_NAME",
            hint=f"use {allowed}",
        )
    voice = "-".join(path.stem for path in names.voices)
    values = {"image": names.image.stem, "voice": voice, "seed": names.seed}
    number = 1
    try:
        while "n" in fields and Path(template.format(**values, n=number)).exists():
            number += 1
        return Path(template.format(**values, n=number))
    except (KeyError, IndexError, ValueError) as error:
        raise UsageError(f"-o {template!r}: {error}", code="E_OUTPUT_NAME") from None


def _check_suffix(target: Path, names: Names) -> None:
    if target.name.endswith(names.suffix) and target.name != names.suffix:
        if names.preview or not target.name.endswith(PREVIEW_SUFFIX):
            return
        proposed = target.with_name(target.name.removesuffix(PREVIEW_SUFFIX) + SUFFIX)
        what = "a video that is no preview must not be called one"
    else:
        proposed = target.with_name(target.name.removesuffix(SUFFIX) + names.suffix)
        what = f"a {'preview' if names.preview else 'video'}'s name ends in {names.suffix}"
    raise UsageError(f"{what}, not {target.name!r}", code="E_OUTPUT_NAME", hint=f"-o {proposed}")


def _check_place(target: Path, names: Names) -> None:
    folder = target.parent
    if not folder.is_dir():
        raise _no_folder(folder)
    if target.is_dir():
        raise FileError(f"the output {str(target)!r} is a directory", code="E_OUTPUT_PATH")
    if target.exists() and any(
        _is_same_file(target, path) for path in (names.image, *names.voices)
    ):
        raise FileError(f"the output {str(target)!r} is one of the inputs", code="E_OUTPUT_PATH")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise FileError(f"the folder {str(folder)!r} cannot be written to", code="E_OUTPUT_PATH")
    _check_creatable(target)


def _no_folder(folder: Path) -> FileError:
    return FileError(
        f"the output's folder {str(folder)!r} does not exist",
        code="E_OUTPUT_PATH",
        hint=f"mkdir -p {shlex.quote(str(folder))}",
    )


def _check_creatable(target: Path) -> None:
    """Tries what access bits cannot say: read-only file systems, names that are too long."""
    probe = target.with_name(f".{target.name[:50]}.{os.getpid()}.part")
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise write_error(target, error) from None


def _is_same_file(one: Path, other: Path) -> bool:
    with suppress(OSError):
        return one.samefile(other)
    return False


def is_already_made(
    target: Path, recipe: Mapping[str, Any], found: Mapping[str, Any] | None, *, force: bool
) -> bool:
    """Whether the target exists and was made from the same inputs and options.

    found: the recipe in the existing file, None where it has none. A seed that was drawn is not
    compared. Raises FileError E_OUTPUT_EXISTS if something else stands there, unless forced.
    """
    if force or not os.path.lexists(target):
        return False
    if found is not None and _comparable(found, recipe) == _comparable(recipe, recipe):
        return True
    differing = _differences(found, recipe)
    raise FileError(
        f"{str(target)!r} exists and {differing}",
        code="E_OUTPUT_EXISTS",
        hint="add --force to overwrite it, or -o with another name",
    )


def _comparable(recipe: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    ignored = {"seed", "seed_drawn"} if asked.get("seed_drawn") else {"seed_drawn"}
    # Versions change with every upgrade; they do not make a finished video unpaid.
    ignored |= {"client", "engine", "weights", "prompt", "windows_done", "gpu"}
    return {name: value for name, value in recipe.items() if name not in ignored}


def _differences(found: Mapping[str, Any] | None, recipe: Mapping[str, Any]) -> str:
    if found is None:
        return "was not made by multitalk"
    mine, theirs = _comparable(recipe, recipe), _comparable(found, recipe)
    names = sorted(name for name in mine | theirs if mine.get(name) != theirs.get(name))
    return f"was made with another {', '.join(names)}"


def write_sidecar(target: Path, recipe: Mapping[str, Any]) -> Path:
    """Writes the full recipe as JSON beside the video and gives its path."""
    sidecar = target.with_name(target.name + ".json")
    with placed(sidecar, overwrite=True) as part:
        part.write_text(json.dumps(recipe, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return sidecar


def choose_plan_picture(asked: str | None, image: Path) -> Path:
    """Where the plan's picture goes: beside the output that was asked for, or in this folder."""
    folder = Path()
    if asked is not None:
        folder = Path(asked) if asked.endswith("/") or Path(asked).is_dir() else Path(asked).parent
    if not folder.is_dir():
        raise _no_folder(folder)
    return folder / f"{image.stem}.plan.png"
