"""A video made again with the settings of its recipe, some of them changed."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from multitalk_cli.errors import FileError, UsageError
from multitalk_cli.files import shown_path
from multitalk_cli.generation.spec import GenerateArgs
from multitalk_cli.media.video.names import PREVIEW_SUFFIX
from multitalk_cli.recipes.checks import check_video
from multitalk_cli.recipes.inputs import FoundInput, find_inputs, sha256_of_path
from multitalk_cli.recipes.recipe import Recipe
from multitalk_cli.recipes.video import KnownVideo, read_video
from multitalk_cli.settings import SETTINGS, with_preset
from multitalk_cli.storage.address import is_stored

if TYPE_CHECKING:
    from multitalk_cli.reporting.reporter import Reporter
    from multitalk_cli.settings import Settings

NEW: Literal["new"] = "new"
SAME: Literal["same"] = "same"
_UNUSED = "loudness"
"""A recorded setting that changes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What is to be another than the recipe says; None and empty for what stays.

    seed: "new" for a random one, "same" for the video's. voices: in place of the recorded ones with
    the same content, else of those that are not known here, else of all, in their order. speakers:
    PLACE=VOICE, in place of all voices. settings: the names of those that were given. is_series:
    whether several videos are made, with seeds in a row, the first of which is `seed`.
    """

    seed: int | Literal["new", "same"] = NEW
    image: str | None = None
    voices: tuple[str, ...] = ()
    speakers: tuple[str, ...] = ()
    prompt: str | None = None
    settings: Collection[str] = ()
    is_series: bool = False


def redo_arguments(
    path: Path, changes: Changes, chosen: Settings, reporter: Reporter
) -> tuple[GenerateArgs, Settings]:
    """The arguments and settings that make a video again, without an output.

    chosen: the settings of this user, in which the recipe's take the place of those that were not
    given. Reports the seed and what changes. Raises FileError for what is no MP4, has no usable
    recipe, or was made from what is not known here.
    """
    video = read_video(path)
    recipe = video.require_recipe()
    image, voices = _inputs(video, recipe, changes)
    settings = _settings(video, recipe, changes.settings, chosen)
    seed = _seed(recipe, changes)
    for label, text in _facts(recipe, changes, settings, seed):
        reporter.fact(label, text)
    args = GenerateArgs(
        image=image,
        voices=() if changes.speakers or recipe.typed_places else voices,
        speakers=changes.speakers or _placed(recipe.typed_places, voices),
        prompt=_prompt(video, changes.prompt),
        seed=seed,
        name=None if changes.is_series else f"{_stem(path)}-{seed}",
        maybe_made=path if _is_whole(video) and not changes.is_series else None,
    )
    return args, settings


def _is_whole(video: KnownVideo) -> bool:
    return all(check.verdict != "differs" for check in check_video(video))


def _stem(path: Path) -> str:
    name = path.name
    return name.removesuffix(PREVIEW_SUFFIX) if name.endswith(PREVIEW_SUFFIX) else path.stem


def _seed(recipe: Recipe, changes: Changes) -> int | None:
    """The seed; None where a series draws its own, which the ledger keeps."""
    if changes.seed == SAME:
        return recipe.seed
    if changes.seed == NEW and changes.is_series:
        return None
    return secrets.randbelow(2**32) if changes.seed == NEW else int(changes.seed)


def _placed(places: Sequence[str], voices: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{place}={voice}" for place, voice in zip(places, voices, strict=False))


# Inputs and prompts


def _inputs(video: KnownVideo, recipe: Recipe, changes: Changes) -> tuple[str, tuple[str, ...]]:
    """The picture and the voices. Raises FileError E_RECIPE_INPUT for one that is not known."""
    needs_files = changes.image is None or not (changes.voices or changes.speakers)
    found = find_inputs(recipe, video.path.parent) if needs_files or changes.voices else ()
    image = changes.image
    if image is None:
        image = _known(video, found[0], found[0].location, "--image", "IMAGE")
    if changes.speakers:
        return image, ()
    places = _choose_voices(found[1:], changes.voices)
    return image, tuple(
        _known(video, each, location, "--voice", "VOICE.wav")
        for each, location in zip(found[1:], places, strict=True)
    )


def _known(
    video: KnownVideo, each: FoundInput, location: str | None, option: str, example: str
) -> str:
    if location is not None:
        return location
    raise FileError(
        f"the {each.role} of {shown_path(video.path)} is not known here: no file of the ledger or "
        f"next to it has the sha256 {each.sha256[:12]}...",
        code="E_RECIPE_INPUT",
        facts={"option": option, "example": example},
    )


def _choose_voices(found: Sequence[FoundInput], given: Sequence[str]) -> list[str | None]:
    """The location of each voice. Raises UsageError for more voices than the video has."""
    if len(given) > len(found):
        raise UsageError(
            f"{len(given)} voices were given, and the video has {len(found)}",
            code="E_TOO_MANY_VOICES",
        )
    chosen: dict[int, str] = {}
    others = []
    for voice in given:
        sha256 = "" if is_stored(voice) else sha256_of_path(Path(voice))
        same = [n for n, each in enumerate(found) if each.sha256 == sha256 and n not in chosen]
        if same:
            chosen[same[0]] = voice
        else:
            others.append(voice)
    free = [number for number in range(len(found)) if number not in chosen]
    free.sort(key=lambda number: found[number].location is not None)
    chosen |= dict(zip(free, others, strict=False))
    return [chosen.get(number, each.location) for number, each in enumerate(found)]


def _prompt(video: KnownVideo, given: str | None) -> str:
    return _text(video, video.prompt if given is None else given, "prompt")


def _text(video: KnownVideo, text: str | None, name: str) -> str:
    if text is not None:
        return text
    option = f"--{name.replace('_', '-')}"
    raise FileError(
        f"the {name.replace('_', ' ')} of {shown_path(video.path)} is not known here: it is "
        "neither in the recipe nor in a sidecar or the ledger",
        code="E_RECIPE_INPUT",
        facts={"option": option, "example": "TEXT"},
    )


# Settings


def _settings(
    video: KnownVideo, recipe: Recipe, given: Collection[str], chosen: Settings
) -> Settings:
    """The recipe's settings, except those that were given; a size or LoRA brings its own shift."""
    values: dict[str, Any] = {n: v for n, v in recipe.settings.items() if n != _UNUSED}
    values["shift"] = recipe.own_shift
    if "negative_prompt" not in given:
        values["negative_prompt"] = _text(video, video.negative_prompt, "negative_prompt")
    values["embed_prompt"] = video.origin == "video" and recipe.prompt is not None
    given = with_preset(given)
    kept = {name: value for name, value in values.items() if name not in given}
    if "preset" not in given:
        kept["preset"] = recipe.preset or SETTINGS["preset"].default
    return chosen.replaced(kept, "the recipe")


def _facts(
    recipe: Recipe, changes: Changes, settings: Settings, seed: int | None
) -> Iterator[tuple[str, str]]:
    """The seed and what is another than the recipe says, as labels and texts."""
    if changes.seed == SAME:
        yield "seed", f"{seed}, as the video's"
    elif seed is None:
        yield "seed", f"a new one for each (the video's: {recipe.seed})"
    else:
        how = "new" if changes.seed == NEW else "as given"
        yield "seed", f"{seed}, {how} (the video's: {recipe.seed}; --seed same repeats it)"
    given = with_preset(changes.settings)
    recorded = {**recipe.settings, "shift": recipe.own_shift}
    changed = [
        f"{name.replace('_', ' ')} {_value_text(name, settings[name])} "
        f"(was {_value_text(name, value)})"
        for name, value in recorded.items()
        if name in given and settings[name] != value
    ]
    changed += [] if changes.image is None else [f"image {changes.image}"]
    changed += [f"voice {voice}" for voice in (*changes.voices, *changes.speakers)]
    changed += [] if changes.prompt is None else [f"prompt {changes.prompt}"]
    if changed:
        yield "changed", ", ".join(changed)


def _value_text(name: str, value: Any) -> str:
    """A setting's value; without a shift it is that of the size or of the LoRA."""
    if value is None or value == "":
        return "automatic" if name == "shift" else "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
