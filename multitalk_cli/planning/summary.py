"""The summary of a preparation, as it crosses the wire."""

from __future__ import annotations

from dataclasses import dataclass, field

from multitalk_cli import contract
from multitalk_cli.contract.codec import ADDED
from multitalk_cli.planning.windows import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureFacts:
    """The picture. text: as the user named it. width_px, height_px: of the file."""

    text: str
    name: str
    sha256: str
    width_px: int
    height_px: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceFacts:
    """One recording and its place in the video. text: as the user named it."""

    text: str
    name: str
    sha256: str
    duration_s: float
    rate_hz: int
    channels: int
    loudness_lufs: float | None
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonFacts:
    """A person of the request. voice: number of the voice, from 0; None for a silent person."""

    place: str
    voice: int | None
    box: contract.Box | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A preparation without pixels and samples.

    crop: x0, y0, x1, y1 of the picture as the user sees it. faces: boxes in pixels of the frame.
    faces_outside: how many more the picture has.
    """

    picture: PictureFacts
    voices: tuple[VoiceFacts, ...]
    people: tuple[PersonFacts, ...]
    crop: tuple[float, ...]
    faces: tuple[tuple[float, ...], ...]
    plan: Plan
    shift: float
    adjusted: tuple[str, ...]
    warnings: tuple[str, ...]
    faces_outside: int = field(default=0, metadata={ADDED: True})
