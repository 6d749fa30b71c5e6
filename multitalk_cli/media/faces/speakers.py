"""The person of each voice, and that person's place in the frame."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from multitalk_cli.contract import MAX_SIDE_PX, MAX_SPEAKERS, SIDE_MULTIPLE_PX, Box
from multitalk_cli.errors import UsageError
from multitalk_cli.media.faces.candidates import overlap
from multitalk_cli.media.faces.speaker_spec import SpeakerPlace, SpeakerSpec, speaker_error
from multitalk_cli.media.image.frame import clipped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multitalk_cli.media.faces.candidates import BoxPx
    from multitalk_cli.media.faces.detect import Face
    from multitalk_cli.media.image.frame import FramedPicture
    from multitalk_cli.media.image.load import Picture

_PERSON_HEIGHT = 0.5  # of the largest face; smaller ones are in the background
MIN_BOX_PX = 32  # two patches of the model: a smaller box may contain no whole patch
# The published default for two people: each in a half, a twentieth away from its borders.
_LEFT_HALF = Box(x0=0.025, y0=0.05, x1=0.475, y1=0.95)
_RIGHT_HALF = Box(x0=0.525, y0=0.05, x1=0.975, y1=0.95)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlacedSpeaker:
    """One person of the video.

    voice: None for a silent person. box: in fractions of the frame; None for the published
    default. face: in pixels of the frame, if one was found there. place: for the report.
    is_box: whether the user typed the box, and not a face that it was made around.
    """

    voice: Path | None
    box: Box | None
    face: Face | None
    place: str
    is_box: bool = False
    adjusted: tuple[str, ...] = ()


def boxes_to_keep(wanted: Sequence[SpeakerSpec | Path], picture: Picture) -> tuple[BoxPx, ...]:
    """The boxes that the user gave, in pixels of picture.pixels, for a crop that keeps them."""
    places = [speaker.place for speaker in wanted if isinstance(speaker, SpeakerSpec)]
    return tuple(_picture_box(place, picture) for place in places if place.kind == "box")


def _picture_box(place: SpeakerPlace, picture: Picture) -> BoxPx:
    size = (picture.source_width_px, picture.source_height_px)
    whole = (1.0, 1.0) if place.is_percent else size
    x0, y0, x1, y1 = place.box
    if x1 > whole[0] or y1 > whole[1]:
        raise speaker_error(
            f"{place.text} goes beyond the picture, which is {size[0]}x{size[1]} pixels"
        )
    across, down = picture.width_px / whole[0], picture.height_px / whole[1]
    return x0 * across, y0 * down, x1 * across, y1 * down


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Target:
    """The target of a place: a face of the frame, or the user's box, in pixels of the frame."""

    voice: Path | None
    place: str
    core: BoxPx
    face: Face | None
    is_box: bool
    adjusted: tuple[str, ...] = ()

    @property
    def side_px(self) -> float:
        """The shorter side."""
        return min(self.core[2] - self.core[0], self.core[3] - self.core[1])


def place_speakers(
    wanted: Sequence[SpeakerSpec | Path], picture: Picture, framed: FramedPicture
) -> tuple[PlacedSpeaker, ...]:
    """All speakers in the order of the voices, then a silent second person if there is one.

    Voices without a place go to the people from left to right: to faces at least half as high as
    the largest. Raises UsageError for places that do not exist, are the same, overlap or are not
    visible.
    """
    if not 1 <= len(wanted) <= MAX_SPEAKERS:
        raise UsageError(
            f"{len(wanted)} voices given; the model animates one or two people",
            code="E_TOO_MANY_VOICES",
        )
    if _by_default(wanted, framed):
        return _default_places(wanted, framed)
    people = _people(framed, len(wanted))
    targets = [_target(speaker, n, people, picture, framed) for n, speaker in enumerate(wanted)]
    _check_large(targets, picture, framed)
    _check_apart(targets, framed)
    if len(targets) == 1:
        targets += _silent(targets[0], framed)
    regions = [_region(target, targets, framed) for target in targets]
    if len(regions) == 2 and overlap(*regions) > 0:
        raise _too_close(targets[1])
    return tuple(
        PlacedSpeaker(
            voice=target.voice,
            box=_to_fractions(region, framed),
            face=target.face,
            place=target.place,
            is_box=target.is_box,
            adjusted=target.adjusted,
        )
        for target, region in zip(targets, regions, strict=True)
    )


def _people(framed: FramedPicture, voices: int) -> list[int]:
    """The numbers of the faces that are people of the video, from left to right.

    Faces in the background are not, unless there are more voices than people.
    """
    heights = {number: face.height_px for number, face in enumerate(framed.faces, 1)}
    by_height = sorted(heights, key=lambda number: -heights[number])
    least = _PERSON_HEIGHT * max(heights.values(), default=0.0)
    return sorted(
        number for rank, number in enumerate(by_height) if rank < voices or heights[number] >= least
    )


def choice_notes(wanted: Sequence[SpeakerSpec | Path], framed: FramedPicture) -> tuple[str, ...]:
    """A sentence about who got voices without a place, if there was a choice."""
    voices = sum(isinstance(speaker, Path) for speaker in wanted)
    if voices == 0 or len(framed.faces) < 3:
        return ()
    numbers = _people(framed, voices)[:voices]
    chosen = " and ".join(f"face {number}" for number in numbers)
    speak = "speaks" if voices == 1 else "speak"
    return (
        f"{chosen} of {len(framed.faces)} {speak}; choose others with --speaker face:N=VOICE, "
        "numbered from the left",
    )


def _voice(speaker: SpeakerSpec | Path) -> Path:
    return speaker.voice if isinstance(speaker, SpeakerSpec) else speaker


def _side(speaker: SpeakerSpec | Path, number: int) -> str:
    if isinstance(speaker, SpeakerSpec):
        return speaker.place.kind
    return "left" if number == 1 else "right"


def _by_default(wanted: Sequence[SpeakerSpec | Path], framed: FramedPicture) -> bool:
    """Whether the model's own regions apply: one person, or two halves without two faces."""
    faces = len(framed.faces)
    if len(wanted) == 2:
        sides = {_side(speaker, number) for number, speaker in enumerate(wanted, 1)}
        return faces < 2 and sides == {"left", "right"}
    (speaker,) = wanted
    people = _people(framed, 1)
    if isinstance(speaker, Path):
        return len(people) < 2
    place = speaker.place
    return len(people) == 1 and (place.kind in ("left", "right") or place.number == people[0])


def _default_places(
    wanted: Sequence[SpeakerSpec | Path], framed: FramedPicture
) -> tuple[PlacedSpeaker, ...]:
    if len(wanted) == 1:
        people = _people(framed, 1)
        place, lone = "the picture", None
        if people:
            place, lone = f"face {people[0]}", framed.faces[people[0] - 1]
        return (PlacedSpeaker(voice=_voice(wanted[0]), box=None, face=lone, place=place),)
    face = framed.faces[0] if framed.faces else None
    sides = [_side(speaker, number) for number, speaker in enumerate(wanted, 1)]
    halves = {"left": _LEFT_HALF, "right": _RIGHT_HALF}
    there = None if face is None else _half_of(face, framed)
    return tuple(
        PlacedSpeaker(
            voice=_voice(speaker),
            # The default puts the first voice at the left; the other order needs boxes.
            box=None if sides == ["left", "right"] else halves[side],
            face=face if side == there else None,
            place=f"the {side} half",
        )
        for speaker, side in zip(wanted, sides, strict=True)
    )


def _half_of(face: Face, framed: FramedPicture) -> str:
    return "left" if face.center[0] < framed.width_px / 2 else "right"


def _target(
    speaker: SpeakerSpec | Path,
    voice: int,
    people: Sequence[int],
    picture: Picture,
    framed: FramedPicture,
) -> _Target:
    """voice: its number among the voices, from 0. people: the numbers of their faces."""
    faces = len(framed.faces)
    if isinstance(speaker, Path):
        return _face_target(speaker, people[voice], framed)
    place = speaker.place
    if place.kind == "box":
        return _box_target(speaker, picture, framed)
    if place.kind == "face":
        if place.number > faces:
            raise speaker_error(f"{place.text} does not exist: {_found(framed)}")
        return _face_target(speaker.voice, place.number, framed)
    if faces == 0:
        half = _LEFT_HALF if place.kind == "left" else _RIGHT_HALF
        core = _to_pixels(half, framed)
        where = f"the {place.kind} half"
        return _Target(voice=speaker.voice, place=where, core=core, face=None, is_box=True)
    return _face_target(speaker.voice, people[0 if place.kind == "left" else -1], framed)


def _face_target(voice: Path | None, number: int, framed: FramedPicture) -> _Target:
    face = framed.faces[number - 1]
    core = clipped(face.whole, _usable(framed))
    return _Target(voice=voice, place=f"face {number}", core=core, face=face, is_box=False)


def _box_target(speaker: SpeakerSpec, picture: Picture, framed: FramedPicture) -> _Target:
    wanted = framed.to_frame(_picture_box(speaker.place, picture))
    core = clipped(wanted, _usable(framed))
    in_frame = _area(clipped(wanted, _frame(framed))) / _area(wanted)
    if in_frame < 0.5:
        raise speaker_error(
            f"{speaker.place.text} is outside the frame, "
            f"{_percent_of_picture(framed, picture)} of the picture: "
            "move it, or pass --fit contain or --size auto"
        )
    inside = [face for face in framed.faces if _holds(core, face)]
    return _Target(
        voice=speaker.voice,
        place=speaker.place.text,
        core=core,
        face=max(inside, key=lambda face: _area(face.box)) if inside else None,
        is_box=True,
        adjusted=() if in_frame > 0.995 else (f"{speaker.place.text} cut to the frame",),
    )


def _percent_of_picture(framed: FramedPicture, picture: Picture) -> str:
    width, height = picture.source_width_px, picture.source_height_px
    whole = (width, height, width, height)
    parts = [100 * edge / size for edge, size in zip(framed.crop, whole, strict=True)]
    return ",".join(f"{part:.0f}%" for part in parts)


def _holds(box: BoxPx, face: Face) -> bool:
    x, y = face.center
    return box[0] <= x <= box[2] and box[1] <= y <= box[3]


def _frame(framed: FramedPicture) -> BoxPx:
    return 0.0, 0.0, float(framed.width_px), float(framed.height_px)


def _usable(framed: FramedPicture) -> BoxPx:
    """The frame without a margin of one patch of the model, which needs some background."""
    margin = SIDE_MULTIPLE_PX / 2 if min(_frame(framed)[2:]) < 2 * MIN_BOX_PX else SIDE_MULTIPLE_PX
    return margin, margin, framed.width_px - margin, framed.height_px - margin


def _area(box: BoxPx) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _to_pixels(box: Box, framed: FramedPicture) -> BoxPx:
    width, height = framed.width_px, framed.height_px
    return box.x0 * width, box.y0 * height, box.x1 * width, box.y1 * height


def _to_fractions(box: BoxPx, framed: FramedPicture) -> Box:
    width, height = framed.width_px, framed.height_px
    return Box(x0=box[0] / width, y0=box[1] / height, x1=box[2] / width, y1=box[3] / height)


def _found(framed: FramedPicture) -> str:
    """The faces that were found, for a message."""
    if not framed.faces:
        where = "is in the frame" if framed.faces_outside else "was found in the picture"
        return f"no face {where}"
    places = [
        f"face {number} at {100 * face.center[0] / framed.width_px:.0f}%,"
        f"{100 * face.center[1] / framed.height_px:.0f}%"
        for number, face in enumerate(framed.faces, 1)
    ]
    count = "1 face was found" if len(places) == 1 else f"{len(places)} faces were found"
    if framed.faces_outside:
        count += f" in the frame and {framed.faces_outside} outside it"
    return f"{count}, {', '.join(places)} of the frame"


def _check_large(targets: Sequence[_Target], picture: Picture, framed: FramedPicture) -> None:
    small = [target for target in targets if target.side_px < _least(framed)]
    if not small:
        return
    places = " and ".join(target.place for target in small)
    verb, each = ("is", "it needs") if len(small) == 1 else ("are", "each needs")
    side_px = min(target.side_px for target in small)
    boxes = [target for target in small if target.is_box]
    raise speaker_error(
        f"{places} {verb} too small in the {framed.width_px}x{framed.height_px} frame: "
        f"{each} at least {_least(framed)} pixels a side",
        _larger_box(boxes[0], picture, framed) if boxes else _larger_size(side_px, framed),
    )


def _check_apart(targets: Sequence[_Target], framed: FramedPicture) -> None:
    if len(targets) < 2:
        return
    first, second = targets
    if first.place == second.place or (first.face is not None and first.face is second.face):
        raise speaker_error(
            f"two voices are given to one person ({first.place}, {second.place}): {_found(framed)}"
        )
    shared = overlap(first.core, second.core)
    if (first.is_box or second.is_box) and shared > 0:
        raise speaker_error(
            f"{first.place} and {second.place} overlap by "
            f"{100 * shared / min(_area(first.core), _area(second.core)):.0f} %: {_found(framed)}"
        )


def _larger_box(target: _Target, picture: Picture, framed: FramedPicture) -> dict[str, str]:
    """A box around the middle of one that is too small, in percent of the picture."""
    least, usable = 1.1 * _least(framed), _usable(framed)
    box = [0.0] * 4
    for low, high in ((0, 2), (1, 3)):
        side = max(least, target.core[high] - target.core[low])
        middle = (target.core[low] + target.core[high]) / 2
        box[low] = min(max(middle - side / 2, usable[low]), usable[high] - side)
        box[high] = box[low] + side
    x0, y0, x1, y1 = framed.from_frame((box[0], box[1], box[2], box[3]))
    across, down = 1000 / picture.width_px, 1000 / picture.height_px
    # Rounded outwards, to tenths of a percent.
    tenths = [math.floor(x0 * across), math.floor(y0 * down)]
    tenths += [math.ceil(x1 * across), math.ceil(y1 * down)]
    edges = ",".join(f"{min(max(each, 0), 1000) / 10:g}%" for each in tenths)
    return {"typed": target.place, "example": f"box:{edges}"}


def _larger_size(face_px: float, framed: FramedPicture) -> dict[str, str]:
    """The `size` of a frame in which the face is large enough; nothing where no size is."""
    patches = 1.05 * MIN_BOX_PX / max(1.0, face_px) / SIDE_MULTIPLE_PX
    sides = [SIDE_MULTIPLE_PX * math.ceil(patches * side) for side in _frame(framed)[2:]]
    return {"size": "x".join(map(str, sides))} if max(sides) <= MAX_SIDE_PX else {}


def _least(framed: FramedPicture) -> int:
    return min(MIN_BOX_PX, framed.height_px // 4, framed.width_px // 4)


def _silent(speaking: _Target, framed: FramedPicture) -> list[_Target]:
    """The largest of the other people, for a second person who does not speak."""
    people = [(number, framed.faces[number - 1]) for number in _people(framed, 1)]
    others = [
        (number, face)
        for number, face in people
        if face is not speaking.face and not _holds(speaking.core, face)
    ]
    if not others:
        return []
    number, face = max(others, key=lambda other: _area(other[1].box))
    core = clipped(face.whole, _usable(framed))
    return [
        _Target(
            voice=None,
            place=f"face {number}",
            core=core,
            face=face,
            is_box=False,
            adjusted=(f"face {number} stays silent",),
        )
    ]


def _region(target: _Target, targets: Sequence[_Target], framed: FramedPicture) -> BoxPx:
    """The box, or head and shoulders around a face, kept away from every other face and box."""
    if target.is_box:
        return target.core
    x0, y0, x1, y1 = target.core
    width, height = x1 - x0, y1 - y0
    around = (x0 - 1.1 * width, y0 - 0.8 * height, x1 + 1.1 * width, y1 + 2.0 * height)
    region = clipped(around, _usable(framed))
    for box in (other.core for other in targets if other.is_box):
        region = _parted(region, target.core, box, 1.0)
    for face in framed.faces:
        if face is not target.face:
            other = clipped(face.whole, _usable(framed))
            region = _parted(region, target.core, other, 0.5)
    if min(region[2] - region[0], region[3] - region[1]) < _least(framed) / 2:
        raise _too_close(target)
    return region


def _too_close(target: _Target) -> UsageError:
    return speaker_error(
        f"{target.place} is too close to others to be separated: "
        "add each speaker's place with --speaker box:x0%,y0%,x1%,y1%=VOICE"
    )


def _parted(region: BoxPx, core: BoxPx, other: BoxPx, share: float) -> BoxPx:
    """Cuts a region along one straight line between its core and another box.

    Both sides of a pair are cut along the same line, so that two regions never overlap. share:
    where the line runs, 0 at the core, 1 at the other box.
    """
    gaps = [max(core[n], other[n]) - min(core[n + 2], other[n + 2]) for n in (0, 1)]
    axis = 0 if gaps[0] >= gaps[1] else 1
    edges = list(region)
    if core[axis] + core[axis + 2] <= other[axis] + other[axis + 2]:
        line = core[axis + 2] + share * (other[axis] - core[axis + 2])
        edges[axis + 2] = min(edges[axis + 2], line)
    else:
        line = core[axis] + share * (other[axis + 2] - core[axis])
        edges[axis] = max(edges[axis], line)
    return edges[0], edges[1], edges[2], edges[3]
