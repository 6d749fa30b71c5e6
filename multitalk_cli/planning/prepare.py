"""From files to everything that the plan and the request are made of; the container uses it too."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from multitalk_cli.contract import MODEL_RATE_HZ, frames_from_samples
from multitalk_cli.errors import UsageError
from multitalk_cli.planning.inputs import GenerateOptions, InputRef
from multitalk_cli.planning.presets import default_shift
from multitalk_cli.planning.summary import PersonFacts, PictureFacts, Summary, VoiceFacts
from multitalk_cli.planning.windows import Plan, make_plan
from multitalk_cli.reporting.formatting import human_length

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from multitalk_cli.media.audio.tracks import Tracks
    from multitalk_cli.media.audio.voice import Voice
    from multitalk_cli.media.faces.speaker_spec import SpeakerSpec
    from multitalk_cli.media.faces.speakers import PlacedSpeaker
    from multitalk_cli.media.image.frame import FramedPicture
    from multitalk_cli.media.image.load import Picture


LONG_SPEECH_S, VERY_LONG_SPEECH_S = 20.0, 40.0
LONG_AUDIO_GUIDANCE = 3.0
"""The authors' advice for long videos."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Preparation:
    """The inputs, decoded and checked, with the plan.

    inputs: the picture, then the voices in the order given, as `voices`. people: everyone whom the
    model animates, a silent person included.
    """

    inputs: tuple[InputRef, ...]
    options: GenerateOptions
    picture: Picture
    framed: FramedPicture
    voices: tuple[Voice, ...]
    people: tuple[PlacedSpeaker, ...]
    tracks: Tracks
    plan: Plan
    shift: float
    adjusted: tuple[str, ...]
    warnings: tuple[str, ...]


def prepare(
    image: InputRef, voice_refs: Sequence[InputRef], options: GenerateOptions
) -> Preparation:
    """Reads and checks the inputs and plans the video. Raises the errors of unusable inputs."""
    from multitalk_cli.media.audio.loudness import TARGET_LUFS
    from multitalk_cli.media.audio.tracks import arrange
    from multitalk_cli.media.audio.trim import silence_warnings

    check_inputs(image, voice_refs)
    given_speakers = _given_speakers(voice_refs)
    with ThreadPoolExecutor() as pool:
        # The picture and its faces take as long as the voices; both leave Python's lock often.
        framing = pool.submit(_frame, image, given_speakers, options)
        voices = _load_voices(voice_refs, options)
        scene = framing.result()
    target_lufs = TARGET_LUFS if options.loudness else None
    tracks = arrange(voices, options.order, target_lufs=target_lufs)
    plan = make_plan(
        frames_from_samples(tracks.samples, MODEL_RATE_HZ, options.fps),
        options.fps,
        size=(scene.framed.width_px, scene.framed.height_px),
        persons=len(scene.people),
        denoising=options.denoising,
    )
    return Preparation(
        inputs=(image, *voice_refs),
        options=options,
        picture=scene.picture,
        framed=scene.framed,
        # The tracks hold the speech from here on: ten minutes of it are 38 MB.
        voices=tuple(replace(voice, speech=voice.speech[:0].copy()) for voice in voices),
        people=scene.people,
        tracks=tracks,
        plan=plan,
        shift=options.denoising.shift_at(
            default_shift(scene.framed.width_px, scene.framed.height_px)
        ),
        adjusted=(*scene.adjusted, *_voice_notes(voices)),
        warnings=(
            *scene.warnings,
            *(warning for voice in voices for warning in voice.warnings),
            *silence_warnings(voices, options.order),
            *_length_warnings(plan, options),
        ),
    )


def summarize(prepared: Preparation) -> Summary:
    """The facts of a preparation, for a report and for the wire."""
    picture, framed, tracks = prepared.picture, prepared.framed, prepared.tracks
    image, *voice_refs = prepared.inputs
    paths = [one.path for one in voice_refs]
    voices = tuple(
        VoiceFacts(
            text=one.text,
            name=voice.path.name,
            sha256=voice.sha256,
            duration_s=voice.duration_s,
            rate_hz=voice.rate_hz,
            channels=voice.channels,
            loudness_lufs=voice.loudness_lufs,
            start_s=start,
            end_s=end,
        )
        for one, voice, start, end in zip(
            voice_refs, prepared.voices, tracks.starts_s, tracks.ends_s, strict=True
        )
    )
    return Summary(
        picture=PictureFacts(
            text=image.text,
            name=image.path.name,
            sha256=picture.sha256,
            width_px=picture.source_width_px,
            height_px=picture.source_height_px,
        ),
        voices=voices,
        people=tuple(
            PersonFacts(
                place=person.place,
                voice=None if person.voice is None else paths.index(person.voice),
                box=person.box,
            )
            for person in prepared.people
        ),
        crop=tuple(float(edge) for edge in framed.crop),
        faces=tuple(tuple(float(edge) for edge in face.box) for face in framed.faces),
        plan=prepared.plan,
        shift=prepared.shift,
        adjusted=prepared.adjusted,
        warnings=prepared.warnings,
        faces_outside=framed.faces_outside,
    )


def _length_warnings(plan: Plan, options: GenerateOptions) -> Iterator[str]:
    """What others have published about long videos of this model."""
    if plan.duration_s <= LONG_SPEECH_S:
        return
    what = f"{human_length(plan.duration_s)} of speech"
    is_guided = options.audio_guidance <= LONG_AUDIO_GUIDANCE
    advice = "" if is_guided else f"; --audio-guidance {LONG_AUDIO_GUIDANCE:g} is advised"
    if plan.duration_s <= VERY_LONG_SPEECH_S:
        yield f"{what}: faces and colours may drift after {LONG_SPEECH_S:.0f} s{advice}"
        return
    yield (
        f"{what}: expect the picture to get worse towards the end. Published reports of this "
        f"model: decay after {LONG_SPEECH_S:.0f} s, and after 500 frames "
        f"({human_length(500 / plan.fps)} at {plan.fps} fps){advice}, or several shorter videos"
    )


def _voice_notes(voices: tuple[Voice, ...]) -> Iterator[str]:
    for voice in voices:
        yield from voice.adjusted


def _given_speakers(voices: Sequence[InputRef]) -> list[SpeakerSpec | Path]:
    """The voices as `place_speakers` receives them."""
    from multitalk_cli.media.faces.speaker_spec import parse_speaker

    return [
        parse_speaker(f"{voice.place}={voice.path}") if voice.place else voice.path
        for voice in voices
    ]


def check_inputs(image: InputRef, voices: Sequence[InputRef]) -> None:
    """Finds missing, swapped and repeated files before anything is decoded; raises their errors."""
    from multitalk_cli.files import is_same_file, open_input

    for one in (image, *voices):
        open_input(one.path).close()
    _check_swapped(image, voices)
    if len(voices) == 2 and is_same_file(voices[0].path, voices[1].path):
        raise UsageError(
            f"{voices[0].text!r} was given as both voices",
            code="E_SAME_VOICE",
            facts={"voice": voices[1].text},
        )


def _check_swapped(image: InputRef, voices: Sequence[InputRef]) -> None:
    from multitalk_cli.media.audio.decode import looks_like_sound
    from multitalk_cli.media.image.load import looks_like_picture

    if not looks_like_sound(image.path):
        return
    pictures = [voice for voice in voices if looks_like_picture(voice.path)]
    if pictures:
        picture = pictures[0].text
        raise UsageError(
            f"{image.text!r} is a sound and {picture!r} a picture: they are swapped",
            code="E_SWAPPED",
            facts={"picture": picture, "sound": image.text},
        )


def _load_voices(refs: Sequence[InputRef], options: GenerateOptions) -> tuple[Voice, ...]:
    from multitalk_cli.media.audio.trim import trim_silence
    from multitalk_cli.media.audio.voice import load_voice

    voices = tuple(
        load_voice(one.path, audio_track=options.audio_track, frame_s=1 / options.fps)
        for one in refs
    )
    if len(voices) == 2 and voices[0].sha256 == voices[1].sha256:
        raise UsageError(
            f"{voices[0].path.name!r} and {voices[1].path.name!r} are the same recording",
            code="E_SAME_VOICE",
        )
    return trim_silence(voices, options.order) if options.trim_silence else voices


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Scene:
    """The picture, its frame and the people in it, with sentences for the report."""

    picture: Picture
    framed: FramedPicture
    people: tuple[PlacedSpeaker, ...]
    adjusted: tuple[str, ...]
    warnings: tuple[str, ...]


def _frame(
    image: InputRef, given_speakers: list[SpeakerSpec | Path], options: GenerateOptions
) -> _Scene:
    from multitalk_cli.media.faces import advice, detect, speakers
    from multitalk_cli.media.image import frame, load, sizes
    from multitalk_cli.media.image.colors import parse_color

    background = parse_color(options.background)
    picture = load.load_picture(image.path, background=background, rotate=int(options.rotate))
    width, height, size_warnings = sizes.resolve_size(options.size, picture)
    framed = frame.frame_picture(
        picture,
        width,
        height,
        options.fit,
        detect.recall_faces(picture.pixels),
        keep=speakers.boxes_to_keep(given_speakers, picture),
    )
    people = speakers.place_speakers(given_speakers, picture, framed)
    face_warnings = advice.face_warnings(
        framed.faces,
        len(given_speakers),
        width,
        height,
        is_cropped_above=framed.crop[1] > 0,
        outside=framed.faces_outside,
    )
    placing_notes = [note for person in people for note in person.adjusted]
    placing_notes += speakers.choice_notes(given_speakers, framed)
    return _Scene(
        picture=picture,
        framed=framed,
        people=people,
        adjusted=(*picture.adjusted, *framed.adjusted, *placing_notes),
        warnings=(*size_warnings, *framed.warnings, *face_warnings),
    )
