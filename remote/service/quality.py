"""Figures measured on a finished video: lips against voices, and colours against the picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from multitalk_cli import contract
from multitalk_cli.media.audio.envelope import mouth_openings, voice_levels
from multitalk_cli.media.faces.detect import (
    CHIN,
    FOREHEAD,
    LOWER_LIP_INNER,
    RELIABLE_MESH,
    UPPER_LIP_INNER,
    Face,
    find_faces,
    follow_face,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Frame = NDArray[np.uint8]  # [H, W, 3]
    Curve = NDArray[np.float64]  # [frames], NaN where nothing was seen

_SPANS, _SPAN_S = 4, 4  # of a long video; 20 ms of work a frame and face
_REACH_S = 0.5  # the largest offset that can be found
_LEAST_SEEN_S = 0.5
_LEAST_PEAK = 0.2  # chance reaches 0.15 over 16 s: below this no offset is reported
_COLOR_FRAMES = 4  # of each window
_COLOR_STRIDE_PX = 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _MeasuredPerson:
    """A speaker with a voice. region: x0, y0, x1, y1 in pixels, where the face is looked for."""

    number: int
    region: tuple[float, float, float, float]
    expected: Curve
    seen: Curve


def measure(
    frames: Iterable[Frame], picture: Frame, request: contract.GenerateRequest
) -> contract.Quality:
    """Measures a video, holding one frame at a time.

    frames: all of the video's. picture: [H, W, 3], what it was made from.
    """
    people = _people(request)
    lips, colors = _LipTrack(people, request), _Colors(picture, request)
    for number, frame in enumerate(frames):
        lips.see(number, frame)
        colors.see(number, frame)
    correlations: list[float | None] = [None] * len(request.speakers)
    for person in people:
        correlations[person.number] = _correlation(person, 0, request.fps)
    return contract.Quality(
        av_offset_frames=_offset_frames(people, request.fps),
        mouth_correlation=tuple(correlations),
        color_drift=colors.drifts(),
    )


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
                    seen=np.full(request.frames, np.nan),
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


class _LipTrack:
    """The gap between each person's lips, frame by frame, in a few spans of the video."""

    def __init__(
        self, people: Sequence[_MeasuredPerson], request: contract.GenerateRequest
    ) -> None:
        self._people, self._fps = people, request.fps
        self._looked_at = _looked_at(request.frames, request.fps)
        self._faces: dict[int, Face] = {}

    def see(self, number: int, frame: Frame) -> None:
        """Notes the lips of one frame; faces are detected every second, and tracked in between."""
        since = self._looked_at.get(number)
        if since is None:
            return
        if since % self._fps == 0:
            self._faces = self._match(find_faces(frame))
        for person in self._people:
            if person.number in self._faces:
                person.seen[number] = _gap(follow_face(frame, self._faces[person.number]))

    def _match(self, faces: Sequence[Face]) -> dict[int, Face]:
        """The largest face in each person's region."""
        found = {}
        for person in self._people:
            inside = [face for face in faces if _is_inside(face, person.region)]
            if inside:
                found[person.number] = max(inside, key=lambda face: face.height_px)
        return found


def _looked_at(frames: int, fps: int) -> dict[int, int]:
    """The frames to look at, each with its place in its span."""
    length = _SPAN_S * fps
    if frames <= _SPANS * length:
        return {number: number for number in range(frames)}
    starts = [span * (frames - length) // (_SPANS - 1) for span in range(_SPANS)]
    return {start + n: n for start in starts for n in range(length)}


def _is_inside(face: Face, region: tuple[float, float, float, float]) -> bool:
    x, y = face.center
    left, top, right, bottom = region
    return left <= x <= right and top <= y <= bottom


def _gap(face: Face) -> float:
    """The gap between the inner edges of the lips, in heights of the face; NaN where a guess."""
    if face.mesh_score < RELIABLE_MESH:
        return float("nan")
    # The corners of a mouth move little, and in other ways.
    upper = face.mesh[list(UPPER_LIP_INNER[3:-3])]
    lower = face.mesh[list(LOWER_LIP_INNER[3:-3])]
    height = np.hypot(*(face.mesh[CHIN] - face.mesh[FOREHEAD]))
    return float(np.hypot(*(lower - upper).T).mean() / height)


def _correlation(person: _MeasuredPerson, lag: int, fps: int) -> float | None:
    """Pearson's of the lips with what the voice `lag` frames earlier asks for.

    None where too little was seen, or one of the two does not move.
    """
    numbers = np.flatnonzero(np.isfinite(person.seen))
    numbers = numbers[(numbers >= lag) & (numbers - lag < len(person.seen))]
    if len(numbers) < _LEAST_SEEN_S * fps:
        return None
    seen, expected = person.seen[numbers], person.expected[numbers - lag]
    if np.ptp(seen) < 1e-4 or np.ptp(expected) < 1e-4:
        return None
    return float(np.corrcoef(seen, expected)[0, 1])


def _offset_frames(people: Sequence[_MeasuredPerson], fps: int) -> float | None:
    """Frames by which the lips trail the voices, to a fraction of a frame."""
    reach = max(1, round(_REACH_S * fps))
    means = []
    for lag in range(-reach, reach + 1):
        found = [_correlation(person, lag, fps) for person in people]
        known = [value for value in found if value is not None]
        means.append(float(np.mean(known)) if known else -1.0)
    best = int(np.argmax(means))
    if means[best] < _LEAST_PEAK:
        return None
    if best in (0, 2 * reach):
        return float(best - reach)
    before, peak, after = means[best - 1 : best + 2]
    bend = before - 2 * peak + after
    return best - reach + (0.5 * (before - after) / bend if bend < 0 else 0.0)


class _Colors:
    """The distance of the frames' mean colour from the picture's, window by window."""

    def __init__(self, picture: Frame, request: contract.GenerateRequest) -> None:
        self._reference = _mean_lab(picture)
        self._window_of = _sampled(request)
        self._distances: list[list[float]] = [[] for _ in request.windows]

    def see(self, number: int, frame: Frame) -> None:
        window = self._window_of.get(number)
        if window is not None:
            distance = float(np.linalg.norm(_mean_lab(frame) - self._reference))
            self._distances[window].append(distance)

    def drifts(self) -> tuple[float, ...]:
        """The mean distance of each window."""
        return tuple(float(np.mean(distances)) for distances in self._distances)


def _sampled(request: contract.GenerateRequest) -> dict[int, int]:
    """The frames whose colours are looked at, each with the window that added it."""
    sampled: dict[int, int] = {}
    start = 0
    for window, each in enumerate(request.windows):
        end = min(each.end, request.frames)
        places = np.linspace(start, end - 1, _COLOR_FRAMES).round().astype(int)
        sampled |= dict.fromkeys(places.tolist(), window)
        start = end
    return sampled


def _mean_lab(frame: Frame) -> NDArray[np.float64]:
    """The mean CIE Lab colour of a frame, [3]."""
    import torch

    from remote.engine.sampling.color import rgb_to_lab

    small = np.ascontiguousarray(frame[::_COLOR_STRIDE_PX, ::_COLOR_STRIDE_PX].transpose(2, 0, 1))
    lab = rgb_to_lab(torch.from_numpy(small)[:, None].float() / 255)
    mean: NDArray[np.float64] = lab.double().mean(dim=(1, 2, 3)).numpy()
    return mean
