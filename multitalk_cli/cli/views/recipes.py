"""Results of `multitalk inspect` and `multitalk verify` as lines and JSON."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multitalk_cli.cli.layout import Block, Line, Row, Style, Table
from multitalk_cli.cli.views.generate import describe_sync
from multitalk_cli.cli.views.work import describe_run, usd_per_second, work_data
from multitalk_cli.contract.codec import to_plain
from multitalk_cli.errors import CODES
from multitalk_cli.reporting.formatting import human_bytes, human_count, shell_line

if TYPE_CHECKING:
    from multitalk_cli.contract import Quality
    from multitalk_cli.media.video.probe import VideoInfo
    from multitalk_cli.recipes.checks import Check
    from multitalk_cli.recipes.inputs import FoundInput
    from multitalk_cli.recipes.inspect import InspectedVideo, VerifiedVideo
    from multitalk_cli.recipes.recipe import Recipe
    from multitalk_cli.recipes.video import KnownVideo

_CHANGED = "E_CHANGED"
_SHORT_DIGEST = 12
_STYLES: dict[str, Style] = {"same": "", "differs": "red", "unknown": "dim", "note": "yellow"}
_VERDICTS = {"same": "ok", "differs": "differs", "unknown": "", "note": "note"}
_OPTIONS_SHOWN = ("size", "fit", "fps", "order", "sample_steps")
_FIGURES = (
    ("color_drift", "colours drift by {}"),
    ("sharpness", "sharpness {}"),
    ("face_stretch", "faces stretched by {}"),
)


# inspect


def inspect_data(inspected: InspectedVideo) -> dict[str, Any]:
    """The JSON of `inspect`."""
    video, recipe = inspected.video, inspected.recipe
    return {
        **_video_data(video),
        "recipe": None if recipe is None else _recipe_data(recipe),
        "recipe_from": video.origin,
        "prompt": video.prompt,
        "negative_prompt": video.negative_prompt,
        "job": video.job,
        "gpu_seconds": None if video.gpu_seconds is None else round(video.gpu_seconds, 1),
        "price_usd": None if video.price_usd is None else round(video.price_usd, 6),
        "usd_per_second": usd_per_second(video.price_usd, video.info.duration_s),
        "inputs": [
            {"role": each.role, "sha256": each.sha256, "location": each.location}
            for each in inspected.inputs
        ],
        "checks": [_check_data(check) for check in inspected.checks],
        "changed": None if recipe is None else bool(inspected.changes),
    }


def _video_data(video: KnownVideo) -> dict[str, Any]:
    info = video.info
    sound = {
        "seconds": round(info.audio_duration_s or 0.0, 3),
        "rate_hz": info.audio_rate_hz,
        "channels": info.audio_channels,
    }
    return {**file_data(video), "sound": sound if info.has_audio else None}


def file_data(video: KnownVideo) -> dict[str, Any]:
    """The file's path, size and frames, as the JSON of every command has them."""
    info = video.info
    return {
        "video": str(video.path.absolute()),
        "size_bytes": video.size_bytes,
        "width": info.width,
        "height": info.height,
        "fps": round(float(info.fps), 3),
        "frames": info.frames,
        "seconds": round(info.duration_s, 3),
    }


def _recipe_data(recipe: Recipe) -> dict[str, Any]:
    """The recipe as it was understood, without the prompt, the inputs and the digests."""
    return {
        "client": recipe.client,
        "backend": recipe.backend,
        "model_output": recipe.model_output,
        "speakers": list(recipe.speakers),
        "frames": recipe.frames,
        "windows": list(recipe.windows),
        "seed": recipe.seed,
        "seed_drawn": recipe.seed_drawn,
        "settings": recipe.settings,
        "engine": dict(recipe.engine),
        "weights": recipe.weights,
        "gpu": recipe.gpu,
        "work": work_data(_computed(recipe)),
        "quality": None if recipe.quality is None else to_plain(recipe.quality),
        **({"first_window": True} if recipe.first_window else {}),
    }


def _computed(recipe: Recipe) -> dict[str, Any]:
    return {**recipe.options, "engine": recipe.engine, "work": recipe.work}


def inspect_blocks(inspected: InspectedVideo) -> list[Block]:
    """What is known of a video, for a person."""
    video, recipe = inspected.video, inspected.recipe
    rows: list[Block] = [
        Row(video.path.name, _describe_file(video)),
        Row("sound", _describe_sound(video.info)),
    ]
    if recipe is None:
        text = "not by multitalk, or its recipe was removed: there is none in the file, next to "
        return [*rows, Row("made", f"{text}it or in the ledger of jobs")]
    rows += [Row("made", _describe_maker(recipe)), *_part_rows(video, recipe)]
    rows += _change_rows(inspected)
    rows += [Row(each.role, _describe_input(each)) for each in inspected.inputs]
    rows += [
        Row("speakers", "; ".join(recipe.speakers)),
        Row("prompt", _describe_text(video.prompt, recipe.prompt_sha256)),
        *_negative_rows(video, recipe),
        Row("settings", _describe_settings(recipe)),
        Row("seed", f"{recipe.seed}, {'random' if recipe.seed_drawn else 'as given'}"),
        Row("plan", _describe_plan(recipe)),
        *([Row("work", _describe_run(video, recipe))] if recipe.work else []),
    ]
    rows += [Row("quality", ", ".join(texts))] if (texts := _describe(recipe.quality)) else []
    rows += [] if video.job is None else [Row("job", video.job)]
    again = shell_line(["multitalk", "redo", str(video.path)])
    return [*rows, Row("again", again, wraps=False)]


def _describe_run(video: KnownVideo, recipe: Recipe) -> str:
    seconds = video.info.duration_s
    return describe_run(_computed(recipe), video.gpu_seconds, video.price_usd, seconds)


def _describe_file(video: KnownVideo) -> str:
    info = video.info
    parts = [f"{info.duration_s:.2f} s", human_count(info.frames, "frame")]
    parts += [f"{info.width}x{info.height}"]
    parts += [f"{float(info.fps):g} fps"] if info.fps else []
    parts += [human_bytes(video.size_bytes)]
    return ", ".join(parts)


def _describe_sound(info: VideoInfo) -> str:
    if not info.has_audio or info.audio_rate_hz is None:
        return "none"
    channels = {1: "mono", 2: "stereo"}.get(
        info.audio_channels or 0, f"{info.audio_channels} channels"
    )
    return f"{info.audio_duration_s or 0:.2f} s, {info.audio_rate_hz / 1000:g} kHz {channels}"


def _describe_maker(recipe: Recipe) -> str:
    if not recipe.model_output:
        return f"by multitalk {recipe.client}, a preview without the model"
    parts = [f"by multitalk {recipe.client}, backend {recipe.backend}"]
    parts += [] if recipe.gpu is None else [f"on {recipe.gpu}"]
    parts += [
        f"{'engine' if name == 'version' else name} {value}"
        for name, value in recipe.engine.items()
    ]
    parts += [] if recipe.weights is None else [f"weights {recipe.weights}"]
    return ", ".join(parts)


def _change_rows(inspected: InspectedVideo) -> Iterator[Row]:
    """How the video changed since; what of that could not be known."""
    unknown = [check.name for check in inspected.checks if check.verdict == "unknown"]
    if not inspected.changes:
        known = "unchanged, as far as it was recorded" if unknown else "unchanged"
        yield Row("since then", known)
    for number, check in enumerate(inspected.changes):
        text = f"{check.name}: {check.found}"
        text += f" (was {check.recorded})" if check.verdict == "differs" else ""
        yield Row("" if number else "since then", text, _STYLES[check.verdict])


def _describe_input(each: FoundInput) -> str:
    """Where an input is, from this folder if it is in it."""
    if each.location is None:
        return f"not known here (sha256 {each.sha256[:_SHORT_DIGEST]}...)"
    return each.location.removeprefix(f"{Path.cwd()}/")


def _describe_text(text: str | None, sha256: str) -> str:
    return text or f"not known here (sha256 {sha256[:_SHORT_DIGEST]}...)"


def _part_rows(video: KnownVideo, recipe: Recipe) -> list[Block]:
    """What a first window is, and how its rest is made."""
    if not recipe.first_window:
        return []
    text = f"window 1 of {len(recipe.windows)} of a video of {recipe.frames / recipe.fps:.2f} s"
    command = shell_line(["multitalk", "finish", str(video.path)])
    return [Row("part", text), Row("the rest", command)]


def _negative_rows(video: KnownVideo, recipe: Recipe) -> list[Row]:
    """The negative prompt, unless it is the one that the model was published with."""
    from multitalk_cli.settings import NEGATIVE_PROMPT

    if video.negative_prompt == NEGATIVE_PROMPT:
        return []
    text = _describe_text(video.negative_prompt, recipe.negative_prompt_sha256)
    return [Row("negative", text)]


def _describe_settings(recipe: Recipe) -> str:
    """Settings that everyone knows, the preset, then those that differ from their defaults."""
    from multitalk_cli.settings import SETTINGS

    defaults = {name: each.default for name, each in SETTINGS.items()}
    preset = recipe.preset or defaults["preset"]
    values = {**recipe.settings, "shift": recipe.own_shift, "preset": preset}
    shown = [name for name in _OPTIONS_SHOWN if name != "order" or len(recipe.voices_sha256) > 1]
    shown += [
        name
        for name, value in values.items()
        if name not in _OPTIONS_SHOWN and value != defaults[name]
    ]
    return ", ".join(f"{name.replace('_', ' ')} {_word(values[name])}" for name in shown)


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _describe_plan(recipe: Recipe) -> str:
    windows = human_count(len(recipe.windows), "window")
    return f"{human_count(recipe.frames, 'frame')} at {recipe.fps} fps in {windows}"


def _describe(quality: Quality | None) -> list[str]:
    """The recorded figures in words."""
    if quality is None:
        return []
    texts = describe_sync(quality)
    for number, value in enumerate(quality.mouth_correlation):
        if value is not None:
            floors = quality.correlation_floor[number : number + 1]
            chance = "" if not floors or floors[0] is None else f" (chance {floors[0]:.2f})"
            texts.append(f"lips follow the voice by {value:.2f}{chance}")
    for name, text in _FIGURES:
        known = [value for value in getattr(quality, name) if value is not None]
        if known:
            texts.append(text.format(f"{max(known, key=abs):.2f}"))
    return texts


# verify


def verify_data(verified: VerifiedVideo) -> dict[str, Any]:
    """The JSON of `verify`."""
    return {
        "video": str(verified.video.path.absolute()),
        "recipe_from": verified.video.origin,
        "checks": [_check_data(check) for check in verified.checks],
        "verified": not verified.differences,
    }


def verify_errors(verified: VerifiedVideo) -> list[dict[str, Any]]:
    """The error where something differs."""
    if not verified.differences:
        return []
    row = CODES[_CHANGED]
    return [
        {
            "code": _CHANGED,
            "message": _describe_differences(verified),
            "hint": row.remedy,
            "exit_code": int(row.exit_code),
        }
    ]


def verify_blocks(verified: VerifiedVideo) -> list[Block]:
    """A row for each check, and what follows from them."""
    rows = [
        (check.name, check.recorded, check.found, _VERDICTS[check.verdict])
        for check in verified.checks
    ]
    table = Table(
        rows=rows,
        titles=("check", "recorded", "found", "result"),
        gives_way=(2, 1, 0),
        styles=[_STYLES[check.verdict] for check in verified.checks],
    )
    return [table, Line(""), Line(_describe_differences(verified))]


def _describe_differences(verified: VerifiedVideo) -> str:
    names = [check.name for check in verified.differences]
    if names:
        verb = "differs" if len(names) == 1 else "differ"
        return f"{', '.join(names)} {verb} from the recipe ({_CHANGED}, exit 8)"
    unknown = [check.name for check in verified.checks if check.verdict == "unknown"]
    if unknown:
        return f"nothing differs; an earlier version recorded no digest of {' and '.join(unknown)}"
    return "the video is as it was made"


def _check_data(check: Check) -> dict[str, Any]:
    return {
        "name": check.name,
        "recorded": check.recorded,
        "found": check.found,
        "verdict": check.verdict,
    }
