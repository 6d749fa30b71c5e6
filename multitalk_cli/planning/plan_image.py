"""The plan of prepared inputs as a picture; the container uses it too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multitalk_cli.planning.describe import describe_plan
from multitalk_cli.reporting.formatting import human_length

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multitalk_cli.media.audio.voice import Voice
    from multitalk_cli.media.drawing.plan_sheet import SheetPerson, SheetTrack
    from multitalk_cli.media.faces.speakers import PlacedSpeaker
    from multitalk_cli.media.image.frame import FramedPicture
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
            persons=sheet_persons(framed, prepared.people, prepared.voices),
            tracks=_tracks(prepared),
            windows=plan.windows,
            frames=plan.frames,
            fps=plan.fps,
            title=f"Plan: {human_length(plan.duration_s)}",
            # Nothing of steps and presets: plans that differ in these alone share a picture.
            facts=(describe_plan(plan),),
            source=source if framed.fit == "cover" else None,
        )
    )


def sheet_persons(
    framed: FramedPicture, people: Sequence[PlacedSpeaker], voices: Sequence[Voice]
) -> list[SheetPerson]:
    """The people of the request, and the other faces of the frame.

    A typed box is drawn where a face was found in it, too, under the number of that face.
    """
    from multitalk_cli.media.drawing.plan_sheet import SheetPerson
    from multitalk_cli.media.image.frame import clipped

    paths = [voice.path for voice in voices]
    of_faces = [next((one for one in people if one.face is face), None) for face in framed.faces]
    without_face = [one for one in people if one.face is None and one.box is not None]
    shown = [*zip(framed.faces, of_faces, strict=True), *((None, one) for one in without_face)]
    drawn = []
    for number, (face, one) in enumerate(shown, 1):
        voice = None if one is None or one.voice is None else paths.index(one.voice)
        if one is not None and one.box is not None and (one.is_box or face is None):
            width, height = framed.width_px, framed.height_px
            box = one.box
            edges = (box.x0 * width, box.y0 * height, box.x1 * width, box.y1 * height)
            drawn.append(SheetPerson(number=number, box=edges, voice=voice))
        elif face is not None:
            # A face that fills the frame goes beyond it.
            box_px = clipped(face.box, (0.0, 0.0, float(framed.width_px), float(framed.height_px)))
            drawn.append(SheetPerson(number=number, box=box_px, voice=voice))
    return drawn


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
