"""From paths to all that the plan and the request are made of; it decides and never prints."""

from __future__ import annotations

import secrets
import shlex
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from multitalk_cli.contract import MAX_SEED, MAX_SPEAKERS, MODEL_RATE_HZ, frames_from_samples
from multitalk_cli.errors import UsageError
from multitalk_cli.plan import Plan, make_plan
from multitalk_cli.settings import is_unicode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from multitalk_cli.media.picture import FramedPicture, Picture
    from multitalk_cli.media.speakers import PlacedSpeaker, SpeakerSpec
    from multitalk_cli.media.tracks import Order, Tracks
    from multitalk_cli.media.voice import Voice
    from multitalk_cli.settings import Settings

ORDERS: dict[str, Order] = {
    "sequence": "sequence",
    "add": "sequence",
    "together": "together",
    "para": "together",
}
SHIFT, SHIFT_720P, PIXELS_480P = 7.0, 11.0, 640 * 640


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the command line asked for, beyond the settings."""

    image: str
    voices: tuple[str, ...]
    speakers: tuple[str, ...]
    prompt: str
    seed: int | None
    output: str | None
    plan: bool
    force: bool
    detach: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """The inputs as read, placed and planned.

    voices: in the order given. people: everybody that the model is told of, the silent one too.
    """

    picture: Picture
    framed: FramedPicture
    voices: tuple[Voice, ...]
    people: tuple[PlacedSpeaker, ...]
    tracks: Tracks
    order: Order
    plan: Plan
    shift: float
    seed: int
    seed_drawn: bool
    adjusted: tuple[str, ...]
    warnings: tuple[str, ...]


def prepare(asked: Asked, settings: Settings) -> Prepared:
    """Reads and checks the inputs and plans the video. Raises what is wrong with them."""
    from multitalk_cli.media.loudness import TARGET_LUFS
    from multitalk_cli.media.tracks import arrange

    wanted = _wanted(asked)
    seed = _seed(asked)
    _check_inputs(asked, wanted)
    with ThreadPoolExecutor() as pool:
        # The picture and its faces take as long as the voices; both leave Python's lock often.
        framing = pool.submit(_frame, asked, wanted, settings)
        voices = _load_voices(wanted)
        picture, framed, people, notes, warnings = framing.result()
    order = ORDERS[settings["order"]]
    tracks = arrange(voices, order, target_lufs=TARGET_LUFS if settings["loudness"] else None)
    plan = make_plan(
        frames_from_samples(tracks.samples, MODEL_RATE_HZ, settings["fps"]),
        settings["fps"],
        size=(framed.width_px, framed.height_px),
        sample_steps=settings["sample_steps"],
        text_guidance=settings["text_guidance"],
        persons=len(people),
    )
    return Prepared(
        picture=picture,
        framed=framed,
        # The tracks hold the speech from here on: ten minutes of it are 38 MB.
        voices=tuple(replace(voice, speech=voice.speech[:0].copy()) for voice in voices),
        people=people,
        tracks=tracks,
        order=order,
        plan=plan,
        shift=_shift(settings, framed),
        seed=seed,
        seed_drawn=asked.seed is None,
        adjusted=(*notes, *_voice_notes(voices, tracks)),
        warnings=(*warnings, *(warning for voice in voices for warning in voice.warnings)),
    )


def _voice_notes(voices: tuple[Voice, ...], tracks: Tracks) -> Iterator[str]:
    for voice, gain_db in zip(voices, tracks.gains_db, strict=True):
        yield from voice.adjusted
        if gain_db is not None and abs(gain_db) >= 0.1 and voice.loudness_lufs is not None:
            yield (
                f"loudness for the model: {voice.loudness_lufs:.1f} to "
                f"{voice.loudness_lufs + gain_db:.0f} LUFS (your sound track is kept)"
            )


def _seed(asked: Asked) -> int:
    if asked.seed is None:
        return secrets.randbelow(2**32)
    if not 0 <= asked.seed <= MAX_SEED:
        raise UsageError(f"--seed must be from 0 to {MAX_SEED}, not {asked.seed}", code="E_RANGE")
    return asked.seed


def _wanted(asked: Asked) -> list[SpeakerSpec | Path]:
    from multitalk_cli.media.speakers import parse_speaker

    if asked.voices and asked.speakers:
        raise UsageError(
            "voices given by position and by --speaker do not mix",
            code="E_CONFLICT",
            hint="give every voice as --speaker PLACE=VOICE, or none",
        )
    if not asked.voices and not asked.speakers:
        raise UsageError(
            "a voice is missing",
            code="E_USAGE",
            hint=f"multitalk generate {shlex.quote(asked.image)} VOICE.wav",
        )
    if asked.voices:
        return [Path(voice) for voice in asked.voices]
    return [parse_speaker(speaker) for speaker in asked.speakers]


def _path(speaker: SpeakerSpec | Path) -> Path:
    return speaker if isinstance(speaker, Path) else speaker.voice


def _check_inputs(asked: Asked, wanted: list[SpeakerSpec | Path]) -> None:
    """What is wrong with the command line as a whole, before anything is decoded."""
    from multitalk_cli.media.inputs import open_input

    if not is_unicode(asked.prompt):
        raise UsageError(
            f"--prompt must be text in UTF-8, not {asked.prompt!r}",
            code="E_USAGE",
            hint="multitalk generate --help",
        )
    paths = [_path(speaker) for speaker in wanted]
    if len(paths) > MAX_SPEAKERS:
        image = shlex.quote(asked.image)
        raise UsageError(
            f"{len(paths)} voices were given; the model drives one or two people "
            "(a pattern such as *.wav becomes many files)",
            code="E_TOO_MANY_VOICES",
            hint=f'for f in *.wav; do multitalk generate {image} "$f"; done',
        )
    for path in (Path(asked.image), *paths):
        open_input(path).close()
    _check_swapped(asked, paths)
    if len(paths) == 2 and _is_same(paths[0], paths[1]):
        raise UsageError(f"{str(paths[0])!r} was given as both voices", code="E_SAME_VOICE")


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _check_swapped(asked: Asked, voices: list[Path]) -> None:
    from multitalk_cli.media.picture import looks_like_picture
    from multitalk_cli.media.voice import looks_like_sound

    if not looks_like_sound(Path(asked.image)):
        return
    pictures = [voice for voice in voices if looks_like_picture(voice)]
    if pictures:
        rest = [str(voice) for voice in voices if voice is not pictures[0]]
        corrected = shlex.join([str(pictures[0]), asked.image, *rest])
        raise UsageError(
            f"{asked.image!r} is a sound and {str(pictures[0])!r} a picture: they are swapped",
            code="E_SWAPPED",
            hint=f"multitalk generate {corrected}",
        )


def _load_voices(wanted: list[SpeakerSpec | Path]) -> tuple[Voice, ...]:
    from multitalk_cli.media.voice import load_voice

    voices = tuple(load_voice(_path(speaker)) for speaker in wanted)
    if len(voices) == 2 and voices[0].sha256 == voices[1].sha256:
        raise UsageError(
            f"{voices[0].path.name!r} and {voices[1].path.name!r} are the same recording",
            code="E_SAME_VOICE",
        )
    return voices


def _frame(
    asked: Asked, wanted: list[SpeakerSpec | Path], settings: Settings
) -> tuple[Picture, FramedPicture, tuple[PlacedSpeaker, ...], tuple[str, ...], tuple[str, ...]]:
    """The picture, its frame, the people in it, adjustments and warnings."""
    from multitalk_cli.media import faces, picture, speakers

    loaded = picture.load_picture(
        Path(asked.image), background=_color(settings["background"], settings)
    )
    width, height, size_warnings = picture.resolve_size(settings["size"], loaded)
    framed = picture.frame_picture(
        loaded,
        width,
        height,
        settings["fit"],
        faces.find_faces(loaded.pixels),
        keep=speakers.boxes_to_keep(wanted, loaded),
    )
    people = speakers.place_speakers(wanted, loaded, framed)
    notes = (*loaded.adjusted, *framed.adjusted, *(n for one in people for n in one.adjusted))
    face_warnings = faces.face_warnings(framed.faces, len(wanted), width, height)
    return loaded, framed, people, notes, (*size_warnings, *framed.warnings, *face_warnings)


def _color(name: str, settings: Settings) -> tuple[int, int, int]:
    from PIL import ImageColor

    try:
        red, green, blue = ImageColor.getrgb(name)[:3]
    except ValueError:
        raise UsageError(
            f"{settings.origin('background')}: {name!r} is not a colour",
            code="E_RANGE",
            hint="use a name such as white, or #rrggbb",
        ) from None
    return red, green, blue


def _shift(settings: Settings, framed: FramedPicture) -> float:
    if settings["shift"] is not None:
        return float(settings["shift"])
    is_large = framed.width_px * framed.height_px > 2 * PIXELS_480P
    return SHIFT_720P if is_large else SHIFT
