"""Figures of each window of a video: lips against voices, frames against the picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, starmap
from typing import TYPE_CHECKING

import numpy as np

from multitalk_cli import contract
from multitalk_cli.media.audio.envelope import mouth_openings, voice_levels
from multitalk_cli.media.faces.detect import (
    CHIN,
    FOREHEAD,
    NOSE_BASE,
    RELIABLE_MESH,
    Face,
    find_faces,
    follow_face,
    has_changed,
)
from multitalk_cli.media.faces.lips import (
    chance,
    highest,
    lag_correlations,
    lip_gap,
    looked_at,
    offset_frames,
)
from multitalk_cli.media.image.lab import to_lab

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Frame = NDArray[np.uint8]  # [H, W, 3]
    Curve = NDArray[np.float64]  # [frames], NaN where nothing was seen
    _Places = dict[int, dict[int, Face]]  # frame of a window -> person -> face

_COLOR_STRIDE_PX = 2
_LEAST_SPREAD, _LEAST_DETAIL = 1.0, 1e-3  # of a picture of one colour, which has none to compare
_BLACK_LEVEL, _BRIGHT_LEVEL = 8, 40  # as the engine's, which ends a run for a wholly black window


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowFigures:
    """Figures of the frames that one window adds to a video, each against the picture.

    color_drift: distance of the mean Lab colours. color_spread: mean change of the deviation of
    each Lab channel, in percent. sharpness: doublings of fine detail; below 0 is blurred.
    face_stretch: of the rigid part of the faces, longest over shortest axis less 1; None without a
    face. lips: the gap between the lips of each person with a voice in each frame that is looked
    at, in heights of the face; None where it was not seen.
    """

    color_drift: float
    color_spread: float
    sharpness: float
    face_stretch: float | None
    black_frames: int
    frozen_frames: int
    lips: tuple[tuple[float | None, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _MeasuredPerson:
    """A speaker with a voice. region: x0, y0, x1, y1 in pixels, where the face is looked for."""

    number: int
    region: tuple[float, float, float, float]
    expected: Curve


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Look:
    """Colours and detail of a picture or frame. mean, spread: of the Lab channels, [3]."""

    mean: NDArray[np.float64]
    spread: NDArray[np.float64]
    detail: float


class Meter:
    """Measures the windows of one video, and puts their figures together."""

    def __init__(self, request: contract.GenerateRequest, picture: Frame) -> None:
        """picture: [H, W, 3], what the video is made from."""
        self._request = request
        self._people = _people(request)
        self._looked_at = looked_at(request.frames, request.fps)
        self._look = _look(picture)
        self._is_bright = int(picture.max()) > _BRIGHT_LEVEL
        self._faces = _match(find_faces(picture), self._people)
        self._is_turned = any(not face.is_upright for face in self._faces.values())

    def measure(
        self, window: int, frames: NDArray[np.uint8], unanchored: NDArray[np.uint8]
    ) -> WindowFigures:
        """The figures of one window.

        frames: [T, H, W, 3], all that it adds to the video. unanchored: [a few, H, W, 3], as the
        model made them.
        """
        looks = [_look(frame) for frame in unanchored]
        mean = np.mean([each.mean for each in looks], axis=0)
        spread = np.mean([each.spread for each in looks], axis=0)
        detail = float(np.mean([each.detail for each in looks]))
        changes = np.abs(spread - self._look.spread) / np.maximum(self._look.spread, _LEAST_SPREAD)
        lips, places = self._lips(window, frames)
        is_black = frames.reshape(len(frames), -1).max(axis=1) <= _BLACK_LEVEL
        return WindowFigures(
            color_drift=float(np.linalg.norm(mean - self._look.mean)),
            color_spread=100 * float(changes.mean()),
            sharpness=float(
                np.log2((detail + _LEAST_DETAIL) / (self._look.detail + _LEAST_DETAIL))
            ),
            face_stretch=self._stretch(unanchored, len(frames), places),
            black_frames=int(is_black.sum()) if self._is_bright else 0,
            frozen_frames=sum(starmap(np.array_equal, pairwise(frames))),
            lips=lips,
        )

    def _stretch(self, samples: NDArray[np.uint8], frames: int, places: _Places) -> float | None:
        """How much the faces are stretched: longest axis over shortest, less 1.

        samples: of a window of so many frames, evenly spread. places: of the faces in it.
        """
        maps = []
        numbers = np.linspace(0, frames - 1, len(samples)).round().astype(int)
        for number, sample in zip(numbers.tolist(), samples, strict=True):
            nearest = min(places, key=lambda each: abs(each - number))
            places[number] = self._follow(sample, places[nearest])
            maps += [
                _map_of_rigid(self._faces[person].mesh, face.mesh)
                for person, face in places[number].items()
                if person in self._faces and _has_mesh(face) and _has_mesh(self._faces[person])
            ]
        if not maps:
            return None
        # An open mouth bends the whole mesh a little, in one way or the other.
        longest, shortest = np.linalg.svd(np.mean(maps, axis=0), compute_uv=False)
        return float(longest / shortest - 1)

    def _follow(self, frame: Frame, faces: Mapping[int, Face]) -> dict[int, Face]:
        """The faces in another frame of their window; they are found again if one is lost."""
        followed = {number: follow_face(frame, face) for number, face in faces.items()}
        return followed if all(map(_has_mesh, followed.values())) else self._find(frame)

    def _lips(
        self, window: int, frames: NDArray[np.uint8]
    ) -> tuple[tuple[tuple[float | None, ...], ...], _Places]:
        """Lips in the frames to look at, and where the faces are in them.

        Faces are followed from frame to frame. Every second they are searched for again unless all
        are still seen where they belong, about as large and upright as they were found.
        """
        gaps: list[list[float | None]] = [[] for _ in self._people]
        found: dict[int, Face] = {}
        known: dict[int, Face] = {}
        places: _Places = {}
        for number in self._numbers(window):
            place = number - self._request.new_frames(window).start
            frame, is_second = frames[place], self._looked_at[number] % self._request.fps == 0
            faces = {person: follow_face(frame, face) for person, face in known.items()}
            if not places or (is_second and not self._are_all_seen(faces, found)):
                faces = known = found = self._find(frame)
            # Where one is lost it is looked for in the next frame.
            known = known | {person: face for person, face in faces.items() if _has_mesh(face)}
            places[place] = known
            for person, seen in zip(self._people, gaps, strict=True):
                face = faces.get(person.number)
                seen.append(None if face is None else lip_gap(face))
        return tuple(tuple(seen) for seen in gaps), places or {0: self._find(frames[0])}

    def _are_all_seen(self, faces: Mapping[int, Face], found: Mapping[int, Face]) -> bool:
        """Whether each person's face is followed, in the person's region and as it was found."""
        return all(
            person.number in faces
            and _has_mesh(faces[person.number])
            and _is_inside(faces[person.number], person.region)
            and not has_changed(faces[person.number], found[person.number])
            for person in self._people
        )

    def _numbers(self, window: int) -> list[int]:
        """The frames of a window to look at."""
        return [n for n in self._request.new_frames(window) if n in self._looked_at]

    def _find(self, frame: Frame) -> dict[int, Face]:
        """The faces of a frame, which stand as those of the picture do."""
        return _match(find_faces(frame, turned=self._is_turned), self._people)

    def quality(self, windows: Sequence[WindowFigures | None]) -> contract.Quality:
        """The figures of the whole video. windows: of each window, None where not measured."""
        request, speakers = self._request, len(self._request.speakers)
        curves: list[list[float | None]] = []
        correlations: list[float | None] = [None] * speakers
        floors: list[float | None] = [None] * speakers
        for place, person in enumerate(self._people):
            seen = self._seen(place, windows)
            curves.append(lag_correlations(seen, person.expected, request.fps))
            correlations[person.number] = highest(curves[-1])
            floors[person.number] = chance(seen, person.expected, request.fps)
        known = [each for each in windows if each is not None]
        return contract.Quality(
            av_offset_frames=offset_frames(curves),
            mouth_correlation=tuple(correlations),
            color_drift=tuple(each.color_drift for each in known if len(known) == len(windows)),
            correlation_floor=tuple(floors),
            color_spread=tuple(None if each is None else each.color_spread for each in windows),
            sharpness=tuple(None if each is None else each.sharpness for each in windows),
            face_stretch=tuple(None if each is None else each.face_stretch for each in windows),
        )

    def _seen(self, place: int, windows: Sequence[WindowFigures | None]) -> Curve:
        seen = np.full(self._request.frames, np.nan)
        for window, figures in enumerate(windows):
            if figures is not None:
                gaps = figures.lips[place]
                seen[self._numbers(window)] = [np.nan if gap is None else gap for gap in gaps]
        return seen


def describe_bad_frames(
    windows: Sequence[WindowFigures | None], request: contract.GenerateRequest
) -> list[str]:
    """A sentence for each window with black or frozen frames."""
    sentences = []
    for number, figures in enumerate(windows):
        if figures is None:
            continue
        total = len(request.new_frames(number))
        for count, how in ((figures.black_frames, "black"), (figures.frozen_frames, "frozen")):
            if count:
                verb = "is" if count == 1 else "are"
                sentences.append(f"window {number + 1}: {count} of {total} frames {verb} {how}")
    return sentences


def _people(request: contract.GenerateRequest) -> list[_MeasuredPerson]:
    """The speakers who have a voice."""
    people = []
    for number, speaker in enumerate(request.speakers):
        if speaker.audio is not None:
            levels = voice_levels(speaker.audio, request.frames, request.fps)
            people.append(
                _MeasuredPerson(
                    number=number,
                    region=_region(request, number),
                    expected=mouth_openings(levels).astype(np.float64),
                )
            )
    return people


def _region(request: contract.GenerateRequest, number: int) -> tuple[float, float, float, float]:
    """A speaker's box, or share of the width, in pixels."""
    width, height = request.width_px, request.height_px
    box, count = request.speakers[number].box, len(request.speakers)
    if box is not None:
        return box.x0 * width, box.y0 * height, box.x1 * width, box.y1 * height
    return number * width / count, 0.0, (number + 1) * width / count, float(height)


def _match(faces: Sequence[Face], people: Sequence[_MeasuredPerson]) -> dict[int, Face]:
    """The largest face in each person's region."""
    found = {}
    for person in people:
        inside = [face for face in faces if _is_inside(face, person.region)]
        if inside:
            found[person.number] = max(inside, key=lambda face: face.height_px)
    return found


def _has_mesh(face: Face) -> bool:
    return face.mesh_score >= RELIABLE_MESH


def _is_inside(face: Face, region: tuple[float, float, float, float]) -> bool:
    x, y = face.center
    left, top, right, bottom = region
    return left <= x <= right and top <= y <= bottom


# Frames against the picture


def _look(frame: Frame) -> _Look:
    lab = to_lab(frame[::_COLOR_STRIDE_PX, ::_COLOR_STRIDE_PX]).reshape(-1, 3)
    light = frame.mean(axis=2, dtype=np.float32)
    inner = light[1:-1, 1:-1]
    curvature = 4 * inner - light[:-2, 1:-1] - light[2:, 1:-1] - light[1:-1, :-2] - light[1:-1, 2:]
    return _Look(
        mean=lab.mean(axis=0),
        spread=lab.std(axis=0, ddof=1),
        # Of all detail, so that contrast does not count.
        detail=float((curvature**2).mean() / max(float(inner.var()), 1e-3)),
    )


def _map_of_rigid(reference: NDArray[np.float64], mesh: NDArray[np.float64]) -> NDArray[np.float64]:
    """The linear map from the reference's face to the mesh's, without its size: [2, 2].

    Of the face above the mouth, which does not move in itself: [468, 2] both.
    """
    down = reference[CHIN] - reference[FOREHEAD]
    depth = (reference - reference[FOREHEAD]) @ down
    rigid = depth < depth[NOSE_BASE]
    centered = [points[rigid] - points[rigid].mean(axis=0) for points in (reference, mesh)]
    found, *_ = np.linalg.lstsq(centered[0], centered[1], rcond=None)
    return np.asarray(found / np.sqrt(abs(np.linalg.det(found))))
