"""Videos that exist already: the same recipe is not paid for twice."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from multitalk_cli.errors import FileError
from multitalk_cli.planning.fingerprint import is_added_default
from multitalk_cli.settings import SETTINGS
from multitalk_cli.storage.upload import ObjectStatus


def is_already_made(
    target: Path, recipe: Mapping[str, Any], found: Mapping[str, Any] | None, *, force: bool
) -> bool:
    """Whether the target exists and was made from the same inputs and options.

    found: the recipe in the existing file, None where it has none. A random seed is not compared.
    Raises FileError E_OUTPUT_EXISTS for any other file in its place, unless forced.
    """
    if force or not os.path.lexists(target):
        return False
    if is_same(found, recipe):
        return True
    differing = _differences(found, recipe)
    raise FileError(
        f"{str(target)!r} exists and {differing}",
        code="E_OUTPUT_EXISTS",
    )


def is_already_stored(
    status: ObjectStatus | None, recipe: Mapping[str, Any], target: Path | None, *, force: bool
) -> bool:
    """Whether a video that is only to be stored exists, made from the same inputs and options.

    Raises FileError E_S3_EXISTS for any other object in its place, unless forced.
    """
    if force or status is None or not status.is_taken:
        return False
    found = None if status.recipe is None else dict(json.loads(status.recipe))
    if is_same(found, recipe) and target is None:
        return True
    if is_same(found, recipe) and target is not None:
        raise FileError(
            f"{status.address} exists and is made from the same inputs and options",
            code="E_S3_EXISTS",
            facts={"address": status.address, "target": str(target)},
        )
    raise FileError(
        f"{status.address} exists and {_differences(found, recipe)}", code="E_S3_EXISTS"
    )


def is_same(found: Mapping[str, Any] | None, recipe: Mapping[str, Any]) -> bool:
    """Whether a recipe, which a file may lack, is of the same inputs and options."""
    return found is not None and _comparable(found, recipe) == _comparable(recipe, recipe)


def identity(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """What makes two videos the same but for their seed and their backend, in every version."""
    same = _comparable(recipe, {"seed_drawn": True})
    return {name: same[name] for name in same.keys() - {"backend", "model_output"}}


def _comparable(recipe: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    ignored = {"seed", "seed_drawn"} if wanted.get("seed_drawn") else {"seed_drawn"}
    # Versions change with every upgrade, windows may: a finished video stays paid for.
    ignored |= {"client", "engine", "weights", "prompt", "windows_done", "gpu", "quality"}
    ignored |= {"streams", "work", "job"}
    # The model never received the level, though recipes name it.
    ignored |= {"windows", "motion_frames", "loudness"}
    return {
        name: value
        for name, value in recipe.items()
        if name not in ignored and not is_added_default(name, value)
    }


def _differences(found: Mapping[str, Any] | None, recipe: Mapping[str, Any]) -> str:
    if found is None:
        return "was not made by multitalk"
    mine, theirs = _comparable(recipe, recipe), _comparable(found, recipe)
    names = [_named(name) for name in recipe if mine.get(name) != theirs.get(name)]
    # The names of fields in a file from elsewhere are not repeated.
    return f"was made with another {', '.join(names) if names else 'version of multitalk'}"


def _named(field: str) -> str:
    """A recipe's field as its option, or in words where it has none."""
    name = field.removesuffix("_sha256")
    if name in SETTINGS:
        return SETTINGS[name].option
    return f"--{name}" if name in ("prompt", "seed") else name.replace("_", " ")
