"""The arguments of a video as the ledger keeps them, for another run of the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multitalk_cli.errors import UsageError
from multitalk_cli.generation.spec import GenerateArgs
from multitalk_cli.settings import (
    SETTINGS,
    Settings,
    SettingValue,
    load_settings,
    with_preset,
)
from multitalk_cli.storage.address import is_stored

if TYPE_CHECKING:
    from multitalk_cli.jobs.ledger import KnownInput
    from multitalk_cli.planning.inputs import GenerateSpec
    from multitalk_cli.planning.summary import Summary

_UNUSED = ("backend", "bucket", "weights", "device")
"""Settings that decide nothing of a job in the cloud."""


def known_inputs(spec: GenerateSpec, summary: Summary) -> tuple[KnownInput, ...]:
    """The picture and the voices: their content, and where they are."""
    from multitalk_cli.jobs.ledger import KnownInput

    sums = (summary.picture.sha256, *(voice.sha256 for voice in summary.voices))
    return tuple(
        KnownInput(sha256=sha256, location=_located(ref.text))
        for sha256, ref in zip(sums, spec.inputs, strict=True)
    )


def record_arguments(args: GenerateArgs, settings: Settings) -> str:
    """The arguments and settings as JSON. Paths are absolute, for a run in another folder.

    Left out: the output, which the ledger has, and what concerns one run alone.
    """
    output = args.output if args.output is not None and is_stored(args.output) else None
    body = {
        "image": _located(args.image),
        "voices": [_located(voice) for voice in args.voices],
        "speakers": [_located_speaker(text) for text in args.speakers],
        "prompt": args.prompt,
        "seed": args.seed,
        "output": output,
        "name": args.name,
        "upload": args.upload,
        "upload_to": args.upload_to,
        "settings": {name: settings[name] for name in SETTINGS if name not in _UNUSED},
    }
    return json.dumps(body, separators=(",", ":"))


def restore_arguments(
    recorded: str, places: Mapping[str, str], output: str | None, given: Mapping[str, object]
) -> tuple[GenerateArgs, Settings]:
    """The arguments and settings of another run.

    places: recorded location of an input -> where it is now. output: None for one that is stored.
    given: settings that replace the recorded ones. Raises UsageError for a job without any.
    """
    if not recorded:
        raise UsageError(
            "an older version recorded this job without its arguments",
            code="E_NO_ARGUMENTS",
            hint="multitalk generate IMAGE VOICE, as it was typed for this job",
        )
    body: dict[str, Any] = json.loads(recorded)
    args = GenerateArgs(
        image=places.get(body["image"], body["image"]),
        voices=tuple(places.get(voice, voice) for voice in body["voices"]),
        speakers=tuple(_speaker_now(text, places) for text in body["speakers"]),
        prompt=body["prompt"],
        seed=body["seed"],
        output=output if body["output"] is None else body["output"],
        upload=body["upload"],
        upload_to=body["upload_to"],
        name=body.get("name"),
    )
    return args, _settings(body["settings"], given)


def _settings(recorded: Mapping[str, object], given: Mapping[str, object]) -> Settings:
    """The recorded settings, whatever this folder and this shell set, and those that are given."""
    chosen = load_settings(given)
    replaced = with_preset(name for name, value in given.items() if value is not None)
    values = {}
    for name, setting in SETTINGS.items():
        value = recorded.get(name, setting.default)
        is_default = value == setting.default
        values[name] = SettingValue(
            setting.default if is_default else setting.parse(value),
            "default" if is_default else "the job",
        )
    values |= {n: SettingValue(chosen[n], chosen.origin(n)) for n in replaced}
    return Settings({**values, "backend": SettingValue("modal", "the job")})


def _located(text: str) -> str:
    return text if is_stored(text) else str(Path(text).absolute())


def _located_speaker(text: str) -> str:
    place, _, voice = text.partition("=")
    return f"{place}={_located(voice)}"


def _speaker_now(text: str, places: Mapping[str, str]) -> str:
    place, _, voice = text.partition("=")
    return f"{place}={places.get(voice, voice)}"
