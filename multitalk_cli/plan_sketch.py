"""The plan of prepared inputs as a picture; the container draws it too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multitalk_cli.plan import describe_plan
from multitalk_cli.wording import human_length

if TYPE_CHECKING:
    from multitalk_cli.media.plan_picture import Person, Track
    from multitalk_cli.preparation import Prepared


def draw(prepared: Prepared) -> bytes:
    """The plan's picture, a PNG."""
    from multitalk_cli.media.plan_picture import PlanPicture, Source, encode_plan

    framed, picture, plan = prepared.framed, prepared.picture, prepared.plan
    crop = framed.from_frame((0.0, 0.0, float(framed.width_px), float(framed.height_px)))
    source = Source(
        pixels=picture.pixels,
        crop=crop,
        size_text=f"{picture.source_width_px}x{picture.source_height_px}",
    )
    return encode_plan(
        PlanPicture(
            frame=framed.pixels,
            persons=_persons(prepared),
            tracks=_tracks(prepared),
            windows=plan.windows,
            frames=plan.frames,
            fps=plan.fps,
            title=f"Plan: {human_length(plan.duration_s)}",
            facts=(describe_plan(plan),),
            source=source if framed.fit == "cover" else None,
        )
    )


def _persons(prepared: Prepared) -> list[Person]:
    """Everybody the model is told of, and the faces that nobody asked about."""
    from multitalk_cli.media.plan_picture import Person

    framed = prepared.framed
    paths = [voice.path for voice in prepared.voices]
    persons = []
    for number, face in enumerate(framed.faces, 1):
        voice = next((one.voice for one in prepared.people if one.face is face), None)
        index = paths.index(voice) if voice is not None else None
        persons.append(Person(number=number, box=face.box, voice=index))
    for one in prepared.people:
        if one.face is None and one.box is not None:
            box = one.box
            width, height = framed.width_px, framed.height_px
            edges = (box.x0 * width, box.y0 * height, box.x1 * width, box.y1 * height)
            index = paths.index(one.voice) if one.voice is not None else None
            persons.append(Person(number=len(persons) + 1, box=edges, voice=index))
    return persons


def _tracks(prepared: Prepared) -> list[Track]:
    from multitalk_cli.media.level import mouth_openings, voice_levels
    from multitalk_cli.media.plan_picture import Track
    from multitalk_cli.media.tracks import speech_flac

    plan = prepared.plan
    return [
        Track(
            name=voice.path.name,
            levels=mouth_openings(voice_levels(speech_flac(speech), plan.frames, plan.fps)),
        )
        for voice, speech in zip(prepared.voices, prepared.tracks.speech, strict=True)
    ]
