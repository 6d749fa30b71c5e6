"""The option `--speaker`, as it is typed."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from multitalk_cli.errors import UsageError

if TYPE_CHECKING:
    from multitalk_cli.media.faces.candidates import BoxPx

_FORM = "left, right, face:N or box:x0%,y0%,x1%,y1%"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeakerPlace:
    """A person's place as the user typed it.

    text: as typed. number: of the face, from 1. box: x0, y0, x1, y1 of the upright picture, as
    fractions where is_percent, else in pixels of the file.
    """

    kind: Literal["left", "right", "face", "box"]
    text: str
    number: int = 0
    box: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    is_percent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeakerSpec:
    """One `--speaker PLACE=VOICE`."""

    place: SpeakerPlace
    voice: Path


def parse_speaker(text: str) -> SpeakerSpec:
    """Reads `left=a.wav`, `face:2=a.wav` or `box:10%,20%,40%,80%=a.wav`; UsageError otherwise."""
    place, equals, voice = text.partition("=")
    if not equals or not voice:
        raise speaker_error(f"--speaker {text}: expected PLACE=VOICE with PLACE {_FORM}")
    return SpeakerSpec(place=_parse_place(place.strip().lower(), text), voice=Path(voice))


def speaker_error(message: str, facts: Mapping[str, str] | None = None) -> UsageError:
    """The error for a speaker that cannot be placed."""
    return UsageError(message, code="E_SPEAKER", facts=facts or {})


def _parse_place(place: str, text: str) -> SpeakerPlace:
    if place == "left":
        return SpeakerPlace(kind="left", text=place)
    if place == "right":
        return SpeakerPlace(kind="right", text=place)
    name, _, value = place.partition(":")
    if name == "face":
        return _parse_face(value, place, text)
    if name == "box":
        return _parse_box(value, place, text)
    near = difflib.get_close_matches(name, ("left", "right", "face", "box"), n=1)
    guess = f"; did you mean {near[0]}?" if near else ""
    raise speaker_error(f"--speaker {text}: the place is {_FORM}, not {place!r}{guess}")


def _parse_face(value: str, place: str, text: str) -> SpeakerPlace:
    if not re.fullmatch(r"[0-9]{1,4}", value) or int(value) == 0:
        raise speaker_error(
            f"--speaker {text}: faces are numbered from 1, as face:1, not {place!r}"
        )
    return SpeakerPlace(kind="face", text=place, number=int(value))


def _parse_box(value: str, place: str, text: str) -> SpeakerPlace:
    parts = [part.strip() for part in value.split(",")]
    percents = [part.endswith("%") for part in parts]
    if len(parts) != 4 or any(percents) != all(percents):
        raise speaker_error(
            f"--speaker {text}: a box is four numbers, all in percent or all in pixels, "
            "as box:10%,20%,40%,80%"
        )
    x0, y0, x1, y1 = (_number(part.removesuffix("%"), text) for part in parts)
    scale = 100.0 if percents[0] else 1.0
    if not (0 <= x0 < x1 and 0 <= y0 < y1):
        raise speaker_error(
            f"--speaker {text}: the box is empty; it is left, top, right, bottom, "
            "from the picture's upper left corner"
        )
    if not percents[0] and max(x1, y1) <= 1:
        raise _fractions(text, (x0, y0, x1, y1))
    if percents[0] and max(x1, y1) > 100:
        raise speaker_error(f"--speaker {text}: the box goes beyond 100 %")
    box = (x0 / scale, y0 / scale, x1 / scale, y1 / scale)
    return SpeakerPlace(kind="box", text=place, box=box, is_percent=percents[0])


def _fractions(text: str, box: BoxPx) -> UsageError:
    """The error for a box of fractions of the picture, which in pixels would be a single one."""
    place = f"box:{','.join(f'{100 * edge:g}%' for edge in box)}"
    return UsageError(
        f"--speaker {text}: a box is in percent or in pixels, not in fractions of 1; "
        f"in percent it is {place}",
        code="E_SPEAKER",
        facts={"typed": text.partition("=")[0], "example": place},
    )


def _number(text: str, speaker: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise speaker_error(f"--speaker {speaker}: {text!r} is not a number")
    return value
