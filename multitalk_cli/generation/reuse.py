"""Videos that exist already: the same recipe is not paid for twice."""

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from multitalk_cli import contract
from multitalk_cli.errors import FileError
from multitalk_cli.planning.fingerprint import ADDED_DEFAULTS, is_added_default
from multitalk_cli.planning.presets import (
    DEFAULT_PRESET,
    SHIFT,
    denoising_of_recipe,
    name_of,
)
from multitalk_cli.planning.presets import FIELDS as DENOISING_FIELDS
from multitalk_cli.settings import SETTINGS
from multitalk_cli.storage.upload import ObjectStatus

LORA_CONTENT = "lora_sha256"
"""The recipe's entry for the content of its LoRA, where that was known before it was made."""
_DIGEST_CHARACTERS = 12


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
        facts={"existing": str(target)},
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
    if found is None or not has_same_lora(found, recipe):
        return False
    return _comparable(found, recipe) == _comparable(recipe, recipe)


def has_same_lora(found: Mapping[str, Any], recipe: Mapping[str, Any]) -> bool:
    """Whether the LoRA of a video is the very file that a recipe is for, as far as both tell.

    found: the recipe of the finished video, which may come from elsewhere.
    """
    engine, wanted = found.get("engine"), recipe.get(LORA_CONTENT)
    merged = engine.get("loras") if isinstance(engine, dict) else None
    if not isinstance(merged, str) or not isinstance(wanted, str):
        return True
    # NAME:STRENGTH and the beginning of the digest.
    made = merged.rpartition(" ")[2]
    return len(made) != _DIGEST_CHARACTERS or wanted.startswith(made)


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
    ignored |= {"windows", "motion_frames", "loudness", LORA_CONTENT}
    return {
        name: value
        for name, value in recipe.items()
        if name not in ignored and not is_added_default(name, value)
    }


_DERIVED = frozenset({"speakers", "shift", "times", "frames", "model_output"})
"""Fields that follow from others: named only where nothing else differs."""
_WORDS = {"prompt": "--prompt", "seed": "--seed", "speakers": "--speaker", "voices": "voice"}
"""Fields that are no settings, as they are typed."""


def _differences(found: Mapping[str, Any] | None, recipe: Mapping[str, Any]) -> str:
    if found is None:
        return "was not made by multitalk"
    mine, theirs = _comparable(recipe, recipe), _comparable(found, recipe)
    fields = [name for name in recipe if mine.get(name) != theirs.get(name)]
    if "shift" in fields and "times" in fields:
        fields.remove("times")
    asked = [name for name in fields if name not in _DERIVED]
    names = [*dict.fromkeys(_describe(name, found, recipe) for name in asked or fields)]
    names += [] if has_same_lora(found, recipe) else ["file of its LoRA"]
    # The names of fields in a file from elsewhere are not repeated.
    return f"was made with another {', '.join(names) if names else 'version of multitalk'}"


def _describe(field: str, found: Mapping[str, Any], recipe: Mapping[str, Any]) -> str:
    """What differs as it is typed, with the value of the existing video and the one of now.

    Between two presets that is the preset, not what it sets. A preset that had other values in the
    version that made the video is none of now: these values are named.
    """
    before, now = _preset_of(found), _preset_of(recipe)
    # A preset sets no shift: one that differs was asked for.
    is_of_preset = field in DENOISING_FIELDS and field != "shift"
    if is_of_preset and before and now and before != now:
        return f"--preset ({before}, now {now})"
    values = [_shown(field, each) for each in (found, recipe)]
    if not all(values):
        return _named(field)
    source = f" by --preset {now}" if is_of_preset and now not in ("", DEFAULT_PRESET) else ""
    return f"{_named(field)} ({values[0]}, now {values[1]}{source})"


def _preset_of(recipe: Mapping[str, Any]) -> str:
    """The preset that is exactly this, whatever the shift; empty where none is."""
    if not isinstance(recipe.get("lora", ""), str):
        return ""
    return name_of(replace(denoising_of_recipe(recipe), shift=None), SHIFT)


def _shown(field: str, recipe: Mapping[str, Any]) -> str:
    """A field's value as it is typed; empty for one that is absent, long, or no such value."""
    value = recipe.get(field, ADDED_DEFAULTS.get(field, ""))
    if field == "seed":
        is_seed = type(value) is int and 0 <= value <= contract.MAX_SEED
        return str(value) if is_seed else ""
    setting = SETTINGS.get(field)
    if setting is None or setting.kind is bool:
        return ""
    if value == setting.default and value in (None, ""):
        return "none"
    if field == "size" and isinstance(value, list | tuple):
        value = "x".join(map(str, value))
    try:
        parsed = setting.parse(value)
    except ValueError:
        return ""
    return str(parsed) if setting.kind is str else f"{parsed:g}"


def _named(field: str) -> str:
    """A recipe's field as its option, or in words where it has none."""
    name = field.removesuffix("_sha256")
    if name in SETTINGS:
        return SETTINGS[name].option
    return _WORDS.get(name, name.replace("_", " "))
