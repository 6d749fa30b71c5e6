"""YuNet: the detector that decides where faces are (see models/NOTICE).

It finds faces that fill the picture, tilted ones, paintings and statues, which the other detector
misses, in a fifth of its time.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from multitalk_cli.media.faces.candidates import Candidate, grouped
from multitalk_cli.media.faces.network import Network, load_network

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from multitalk_cli.media.faces.candidates import Points

_MODEL = Path(__file__).parent / "models" / "yunet.npz"
# The longer side of the picture: small faces are seen in the first, those that fill it in the
# second.
SIDES_PX = (480, 240)
_CELLS_PX = (8, 16, 32)
_MIN_SCORE = 0.4
# A picture as small as a stamp gains nothing from more.
_MOST_ENLARGED = 4


def search(picture: Image.Image, sides_px: Sequence[int] = SIDES_PX) -> list[Candidate]:
    """The best candidate of each face, with a score of at least 0.4, the best first.

    Boxes are squares about from the brows to the chin, around the middle of eyes and mouth.
    """
    most_px = _MOST_ENLARGED * max(picture.size)
    sides = sorted({min(side_px, most_px) for side_px in sides_px}, reverse=True)
    seen = [candidate for side_px in sides for candidate in _detect(picture, side_px)]
    return [group[0] for group in grouped(seen)]


@cache
def _network() -> Network:
    import numpy as np

    with np.load(_MODEL) as arrays:
        return load_network(arrays, "yunet")


def _detect(picture: Image.Image, side_px: int) -> list[Candidate]:
    import numpy as np
    from PIL import Image

    scale = side_px / max(picture.size)
    width, height = (max(1, round(length * scale)) for length in picture.size)
    # The network halves its input five times.
    across, down = (-(-length // _CELLS_PX[-1]) * _CELLS_PX[-1] for length in (width, height))
    shift = (across - width) // 2, (down - height) // 2
    small = picture.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
    framed = np.zeros((down, across, 3), np.float32)
    # Blue, green, red from 0 to 255.
    framed[shift[1] : shift[1] + height, shift[0] : shift[0] + width] = np.asarray(small)[..., ::-1]
    outputs = _network()(framed)
    found = []
    for level, cell_px in enumerate(_CELLS_PX):
        scores, points = _decode(outputs[level :: len(_CELLS_PX)], cell_px)
        points = (points - shift) * [picture.width / width, picture.height / height]
        found += [Candidate(score=float(s), points=p) for s, p in zip(scores, points, strict=True)]
    return found


def _decode(
    outputs: Sequence[NDArray[np.float32]], cell_px: int
) -> tuple[NDArray[np.float64], Points]:
    """Scores, [n], and points, [n, 6, 2], of the cells in which there may be a face.

    outputs: of one level, [rows, columns, channels]: class, object, box (middle, logarithm of the
    size) and the two eyes, the nose and the corners of the mouth, in cells from the cell's own.
    """
    import numpy as np

    kind, thing, box, marks = (values.astype(np.float64) for values in outputs)
    scores = np.sqrt(sigmoid(kind[..., 0]) * sigmoid(thing[..., 0]))
    rows, columns = np.nonzero(scores >= _MIN_SCORE)
    cells = np.stack([columns, rows], -1)
    marks = (marks[rows, columns].reshape(-1, 5, 2) + cells[:, None]) * cell_px
    sides = np.exp(box[rows, columns, 2:].mean(-1, keepdims=True)) * cell_px
    mouth = marks[:, 3:].mean(1)
    middle = (marks[:, :2].mean(1) + mouth) / 2
    corners = np.stack([middle - sides / 2, middle + sides / 2], 1)
    points = np.concatenate([corners, marks[:, :3], mouth[:, None]], 1)
    return scores[rows, columns], points


def sigmoid(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Scores of logits, 0 to 1."""
    import numpy as np

    squashed: NDArray[np.float64] = 1 / (1 + np.exp(-np.clip(values.astype(np.float64), -80, 80)))
    return squashed
