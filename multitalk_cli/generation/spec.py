"""The arguments of `generate`, checked as far as that needs no file and no network."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from multitalk_cli.contract import MAX_SEED, MAX_SPEAKERS
from multitalk_cli.contract.limits import is_unicode
from multitalk_cli.errors import UsageError
from multitalk_cli.planning.inputs import ORDERS, GenerateOptions, GenerateSpec, InputRef
from multitalk_cli.planning.presets import STEP_PRESET, denoising_of, find_problem
from multitalk_cli.settings import SETTINGS
from multitalk_cli.storage.address import is_stored, parse_uri

if TYPE_CHECKING:
    from multitalk_cli.errors.exceptions import Fact
    from multitalk_cli.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateArgs:
    """The arguments of one video, beyond the settings.

    image, voices: paths or s3:// addresses. speakers: PLACE=VOICE, where the voices have no place
    of their own. seed: random if None. output: a file, FOLDER/, a template or an s3:// address.
    force: overwrite it. is_temporary: the output is removed once it was read, so that no record
    names it. upload: store the video too. upload_to: where, None for the bucket's own folder.
    name: of the output without its ending, where `output` names none; from the inputs if None.
    maybe_made: a file that is the result if it was made from the same inputs and options.
    seed_is_drawn: whether a given seed was drawn before, for a video that is made further.
    first: make the first window alone, and leave the rest to `finish`.
    """

    image: str
    voices: tuple[str, ...]
    speakers: tuple[str, ...]
    prompt: str
    seed: int | None
    output: str | None = None
    force: bool = False
    detach: bool = False
    is_temporary: bool = False
    upload: bool = False
    upload_to: str | None = None
    name: str | None = None
    maybe_made: Path | None = None
    seed_is_drawn: bool = False
    first: bool = False


def build_spec(args: GenerateArgs, settings: Settings) -> GenerateSpec:
    """The checked arguments. Raises UsageError for what contradicts itself or is malformed."""
    voices = _voices(args)
    _check_voices(args.image, voices)
    check_denoising(settings)
    if not is_unicode(args.prompt):
        raise UsageError(
            f"--prompt must be text in UTF-8, not {args.prompt!r}",
            code="E_USAGE",
            facts={"option": "--prompt"},
        )
    return GenerateSpec(
        image=_input_ref(args.image),
        voices=voices,
        options=_options(args, settings, _seed(args)),
    )


def check_denoising(settings: Settings) -> None:
    """Raises UsageError E_RANGE for steps, guidance and LoRA that do not fit together."""
    problem = find_problem(denoising_of(settings), settings.origin("lora"))
    if problem is None:
        return
    setting, origin = SETTINGS[problem.setting], settings.origin(problem.setting)
    facts: dict[str, Fact] = {"option": setting.option, "example": str(problem.valid)}
    if origin == "default":
        # A step LoRA alone: nothing else was chosen for it.
        origin, facts = setting.option, {"option": "--preset", "example": STEP_PRESET}
    elif origin != problem.setting and not origin.startswith(("--", "MULTITALK_")):
        # A preset, a file, a recipe, a job; not a column or an argument, which has its name.
        origin = f"{setting.option} of {origin}"
    raise UsageError(f"{origin} {problem.message}", code="E_RANGE", facts=facts)


def _voices(args: GenerateArgs) -> tuple[InputRef, ...]:
    from multitalk_cli.media.faces.speaker_spec import parse_speaker

    if args.voices and args.speakers:
        raise UsageError(
            "voices given by position and by --speaker do not mix",
            code="E_CONFLICT",
            facts={"options": ("VOICE", "--speaker")},
        )
    if not args.voices and not args.speakers:
        raise UsageError(
            "a voice is missing",
            code="E_USAGE",
            facts={"image": args.image},
        )
    if args.voices:
        return tuple(_input_ref(voice) for voice in args.voices)
    return tuple(
        _input_ref(text.partition("=")[2], parse_speaker(text).place.text) for text in args.speakers
    )


def _check_voices(image: str, voices: tuple[InputRef, ...]) -> None:
    if len(voices) > MAX_SPEAKERS:
        raise UsageError(
            f"{len(voices)} voices were given; the model drives one or two people "
            "(a pattern such as *.wav becomes many files)",
            code="E_TOO_MANY_VOICES",
            facts={"image": image},
        )
    contents = {voice.text if voice.address is None else voice.address for voice in voices}
    if len(contents) < len(voices):
        raise UsageError(
            f"{voices[0].text!r} was given as both voices",
            code="E_SAME_VOICE",
            facts={"voice": voices[1].text},
        )


def _input_ref(text: str, place: str = "") -> InputRef:
    """An input, its address checked. Raises UsageError E_S3_ADDRESS."""
    ref = InputRef(text=text, place=place)
    if is_stored(text):
        if not is_unicode(text):
            raise UsageError(f"{text!r} must be text in UTF-8", code="E_S3_ADDRESS")
        key = parse_uri(text).key
        if not key or key.endswith("/"):
            raise UsageError(f"{text!r} names no object", code="E_S3_ADDRESS")
    return ref


def _seed(args: GenerateArgs) -> int:
    if args.seed is None:
        return secrets.randbelow(2**32)
    if not 0 <= args.seed <= MAX_SEED:
        nearest = min(max(args.seed, 0), MAX_SEED)
        raise UsageError(
            f"--seed must be from 0 to {MAX_SEED}, not {args.seed}",
            code="E_RANGE",
            facts={"option": "--seed", "example": str(nearest)},
        )
    return args.seed


def _options(args: GenerateArgs, settings: Settings, seed: int) -> GenerateOptions:
    return GenerateOptions(
        size=settings["size"],
        fit=settings["fit"],
        background=settings["background"],
        fps=settings["fps"],
        order=ORDERS[settings["order"]],
        sample_steps=settings["sample_steps"],
        text_guidance=settings["text_guidance"],
        audio_guidance=settings["audio_guidance"],
        shift=settings["shift"],
        loudness=settings["loudness"],
        prompt=args.prompt,
        negative_prompt=settings["negative_prompt"],
        embed_prompt=settings["embed_prompt"],
        seed=seed,
        seed_drawn=args.seed is None or args.seed_is_drawn,
        audio_track=settings["audio_track"],
        trim_silence=settings["trim_silence"],
        rotate=settings["rotate"],
        sound_level=settings["sound_level"],
        attention=settings["attention"],
        tier=settings["tier"],
        lora=settings["lora"],
        text_gate=settings["text_gate"],
    )
