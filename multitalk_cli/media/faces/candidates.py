"""Places where a detector sees a face, and which of them are the same face.

Coordinates are pixels, x to the right, y downwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    Points = NDArray[np.float64]  # [..., 2] as x, y

BoxPx = tuple[float, float, float, float]

_SAME_FACE_IOU, _SAME_FACE_COVER = 0.3, 0.6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidate:
    """One detection. points: [6, 2], two corners of the box, eye, eye, nose, mouth."""

    score: float
    points: Points

    @property
    def box(self) -> BoxPx:
        """The box: x0, y0, x1, y1."""
        x0, y0, x1, y1 = (float(value) for value in self.points[:2].ravel())
        return x0, y0, x1, y1


def overlap(first: BoxPx, second: BoxPx) -> float:
    """The area that two boxes share."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    return max(width, 0.0) * max(height, 0.0)


def area(box: BoxPx) -> float:
    """The area of a box."""
    return (box[2] - box[0]) * (box[3] - box[1])


def is_same_face(a: BoxPx, b: BoxPx) -> bool:
    """Whether two boxes cover one face."""
    shared = overlap(a, b)
    union = area(a) + area(b) - shared
    return shared > _SAME_FACE_IOU * union or shared > _SAME_FACE_COVER * min(area(a), area(b))


def grouped(candidates: Sequence[Candidate]) -> list[list[Candidate]]:
    """The candidates of each face, the best first."""
    groups: list[list[Candidate]] = []
    for candidate in sorted(candidates, key=lambda c: -c.score):
        group = next((g for g in groups if is_same_face(candidate.box, g[0].box)), None)
        if group is None:
            groups.append([candidate])
        else:
            group.append(candidate)
    return groups
