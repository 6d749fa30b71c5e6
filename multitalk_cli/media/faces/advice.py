"""Warnings of faces that could spoil the video."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multitalk_cli.reporting.formatting import human_count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multitalk_cli.media.faces.detect import Face

SMALL_FACE_PX = 64
EDGE_MARGIN = 0.02  # of the picture's side
CUT_FOREHEAD = 0.05  # of the face from its hairline
TILT_DEGREES, LYING_DEGREES, UPSIDE_DOWN_DEGREES = 30, 60, 135


def face_warnings(
    faces: Sequence[Face],
    voices: int,
    width: int,
    height: int,
    *,
    is_cropped_above: bool = False,
    outside: int = 0,
) -> tuple[str, ...]:
    """Warnings of what could spoil the video.

    faces: in pixels of a width x height frame. is_cropped_above: whether the picture has more above
    the frame. outside: how many more faces the picture has.
    """
    if not faces and not outside:
        return (
            "no face found in the picture: the model may animate nothing, or something else; name "
            "the place of a person or an animal with --speaker box:x0%,y0%,x1%,y1%=VOICE",
        )
    warnings = []
    if len(faces) < voices:
        warnings.append(_too_few(len(faces), voices, outside))
    lying = _lying(faces) if faces else ""
    if lying:
        warnings.append(lying)
    for number, face in enumerate(faces, 1):
        name = "the face" if len(faces) == 1 else f"face {number}"
        if face.height_px < SMALL_FACE_PX:
            warnings.append(
                f"{name} is only {face.height_px:.0f} px high in the {width}x{height} frame: "
                "its lips will hardly be visible; crop the picture closer"
            )
        if not lying and abs(face.tilt) > TILT_DEGREES:
            warnings.append(
                f"{name} is tilted by {abs(face.tilt):.0f} degrees: the model expects upright faces"
            )
        # A crop that cuts more than the forehead has its own warning.
        is_said = is_cropped_above and face.whole[1] < 0
        cut = 0.0 if is_said else _cut_forehead(face)
        if cut > CUT_FOREHEAD and abs(face.tilt) <= TILT_DEGREES:
            remedy = "; try --size auto or --fit contain" if is_cropped_above else " in the picture"
            warnings.append(f"the forehead of {name} is cut by {100 * cut:.0f} %{remedy}")
        elif _is_near_edge(face, width, height):
            warnings.append(f"{name} is near or over the edge of the frame")
    return tuple(warnings)


def _too_few(faces: int, voices: int, outside: int) -> str:
    for_voices = f"for {human_count(voices, 'voice')}"
    if outside:
        # What helps is said with the face that the crop leaves out.
        return f"{human_count(faces, 'face') if faces else 'no face'} in the frame {for_voices}"
    return (
        f"{human_count(faces, 'face')} found {for_voices}: "
        "add the other person's place with --speaker box:x0%,y0%,x1%,y1%=VOICE"
    )


def _lying(faces: Sequence[Face]) -> str:
    """A sentence about a picture whose faces all lie on the same side; else nothing."""
    tilts = [face.tilt for face in faces]
    if min(map(abs, tilts)) >= UPSIDE_DOWN_DEGREES:
        return "the picture is upside down: turn it with --rotate 180, or the video will be so too"
    for side, degrees in ((1, 270), (-1, 90)):
        if all(LYING_DEGREES <= side * tilt < UPSIDE_DOWN_DEGREES for tilt in tilts):
            return (
                f"the picture lies on its side: turn it with --rotate {degrees}, "
                "or the video will lie so too"
            )
    return ""


def _cut_forehead(face: Face) -> float:
    """The part of a face, counted from its hairline, that is above the frame."""
    top, bottom = face.hairline_y, face.whole[3]
    return max(0.0, -top) / (bottom - top)


def _is_near_edge(face: Face, width: int, height: int) -> bool:
    x0, y0, x1, y1 = face.box
    across, down = EDGE_MARGIN * width, EDGE_MARGIN * height
    return x0 < across or y0 < down or x1 > width - across or y1 > height - down
