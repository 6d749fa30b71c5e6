"""The plan of prepared inputs as a picture; the container uses it too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multitalk_cli.planning.describe import describe_plan
from multitalk_cli.reporting.formatting import human_length

if TYPE_CHECKING:
    from multitalk_cli.media.drawing.plan_sheet import SheetPerson, SheetTrack
    from multitalk_cli.planning.prepare import Preparation


def draw(prepared: Preparation) -> bytes:
    """The plan's picture, a PNG."""
    from multitalk_cli.media.drawing.plan_sheet import PlanSheet, SheetSource, encode_plan

    framed, picture, plan = prepared.framed, prepared.picture, prepared.plan
    crop = framed.from_frame((0.0, 0.0, float(framed.width_px), float(framed.height_px)))
    source = SheetSource(
        pixels=picture.pixels,
        crop=crop,
        size_text=f"{picture.source_width_px}x{picture.source_height_px}",
    )
    return encode_plan(
        PlanSheet(
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


def _persons(prepared: Preparation) -> list[SheetPerson]:
    """The people of the request, and the other faces of the frame."""
    from multitalk_cli.media.drawing.plan_sheet import SheetPerson

    framed = prepared.framed
    paths = [voice.path for voice in prepared.voices]
    persons = []
    for number, face in enumerate(framed.faces, 1):
        voice = next((one.voice for one in prepared.people if one.face is face), None)
        index = paths.index(voice) if voice is not None else None
        persons.append(SheetPerson(number=number, box=face.box, voice=index))
    for one in prepared.people:
        if one.face is None and one.box is not None:
            box = one.box
            width, height = framed.width_px, framed.height_px
            edges = (box.x0 * width, box.y0 * height, box.x1 * width, box.y1 * height)
            index = paths.index(one.voice) if one.voice is not None else None
            persons.append(SheetPerson(number=len(persons) + 1, box=edges, voice=index))
    return persons


def _tracks(prepared: Preparation) -> list[SheetTrack]:
    from multitalk_cli.media.audio.envelope import mouth_openings, voice_levels
    from multitalk_cli.media.audio.flac import speech_flac
    from multitalk_cli.media.drawing.plan_sheet import SheetTrack

    plan = prepared.plan
    return [
        SheetTrack(
            name=voice.path.name,
            levels=mouth_openings(voice_levels(speech_flac(speech), plan.frames, plan.fps)),
        )
        for voice, speech in zip(prepared.voices, prepared.tracks.speech, strict=True)
    ]
