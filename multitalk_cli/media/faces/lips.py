"""Lips of a video against what a voice asks for: how far they agree, and how late they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from multitalk_cli.media.faces.detect import (
    CHIN,
    FOREHEAD,
    LOWER_LIP_INNER,
    RELIABLE_MESH,
    UPPER_LIP_INNER,
    Face,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Curve = NDArray[np.float64]  # [frames], NaN where nothing was seen

_SPANS, _SPAN_S = 4, 4  # of a long video; 20 ms of work a frame and face
_REACH_S = 0.5  # the largest offset that can be found
_LEAST_SEEN_S = 0.5
_LEAST_PEAK = 0.2  # below this no offset is reported
_OTHER_SOUNDS = 8


def looked_at(frames: int, fps: int) -> Mapping[int, int]:
    """The frames whose lips are looked at, each with its place in its span."""
    length = _SPAN_S * fps
    if frames <= _SPANS * length:
        return {number: number for number in range(frames)}
    starts = [span * (frames - length) // (_SPANS - 1) for span in range(_SPANS)]
    return {start + n: n for start in starts for n in range(length)}


def lip_gap(face: Face) -> float | None:
    """The gap between the inner edges of the lips, in heights of the face; None where a guess."""
    import numpy as np

    if face.mesh_score < RELIABLE_MESH:
        return None
    # The corners of a mouth move little, and in other ways.
    upper = face.mesh[list(UPPER_LIP_INNER[3:-3])]
    lower = face.mesh[list(LOWER_LIP_INNER[3:-3])]
    height = np.hypot(*(face.mesh[CHIN] - face.mesh[FOREHEAD]))
    return float(np.hypot(*(lower - upper).T).mean() / height)


def lag_correlations(seen: Curve, expected: Curve, fps: int) -> list[float | None]:
    """Of the lips with what the voice asks for, which they trail by each lag that is tried."""
    reach = max(1, round(_REACH_S * fps))
    return [_correlation(seen, expected, lag, fps) for lag in range(-reach, reach + 1)]


def _correlation(seen: Curve, expected: Curve, lag: int, fps: int) -> float | None:
    """Pearson's; None where too little was seen, or one of the two does not move."""
    import numpy as np

    numbers = np.flatnonzero(np.isfinite(seen))
    numbers = numbers[(numbers >= lag) & (numbers - lag < len(seen))]
    if len(numbers) < _LEAST_SEEN_S * fps:
        return None
    lips, voice = seen[numbers], expected[numbers - lag]
    if np.ptp(lips) < 1e-4 or np.ptp(voice) < 1e-4:
        return None
    return float(np.corrcoef(lips, voice)[0, 1])


def _peak(curve: Sequence[float | None]) -> int | None:
    """Where a curve is highest; None at its ends: there the search ended, not the rise."""
    import numpy as np

    known = [-1.0 if value is None else value for value in curve]
    best = int(np.argmax(known)) if known else 0
    return best if 0 < best < len(known) - 1 and curve[best] is not None else None


def highest(curve: Sequence[float | None]) -> float | None:
    """The correlation where they agree best; None where that was not found."""
    best = _peak(curve)
    return None if best is None else curve[best]


def chance(seen: Curve, expected: Curve, fps: int) -> float | None:
    """The best that sounds reach which these lips did not speak: the voice backwards, shifted."""
    import numpy as np

    backwards = expected[::-1]
    shifts = [number * len(expected) // _OTHER_SOUNDS for number in range(_OTHER_SOUNDS)]
    reached = [highest(lag_correlations(seen, np.roll(backwards, by), fps)) for by in shifts]
    return max((value for value in reached if value is not None), default=None)


def offset_frames(curves: Sequence[Sequence[float | None]]) -> float | None:
    """Frames by which the lips trail the voices, to a fraction of a frame."""
    import numpy as np

    means: list[float | None] = []
    for values in zip(*curves, strict=True):
        known = [value for value in values if value is not None]
        means.append(float(np.mean(known)) if known else None)
    best = _peak(means)
    if best is None:
        return None
    before, peak, after = (-1.0 if each is None else each for each in means[best - 1 : best + 2])
    if peak < _LEAST_PEAK:
        return None
    bend = before - 2 * peak + after
    return best - len(means) // 2 + (0.5 * (before - after) / bend if bend < 0 else 0.0)
