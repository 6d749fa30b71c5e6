"""Finds faces in a picture, offline and deterministic.

Three small published networks (see models/NOTICE): YuNet decides where faces are, BlazeFace places
the boxes of those that it sees too, and a third one fits a mesh of 468 points to each. Coordinates
are pixels, x to the right, y downwards, pixel centres at halves.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from multitalk_cli.media.faces import yunet
from multitalk_cli.media.faces.candidates import BoxPx, Candidate, grouped, is_same_face, overlap
from multitalk_cli.media.faces.network import Network, load_network

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from multitalk_cli.media.faces.candidates import Points

# Points of the mesh along the lips, each from the corner at the picture's left of an upright,
# unmirrored face to the other corner.
UPPER_LIP_INNER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
LOWER_LIP_INNER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
UPPER_LIP_OUTER = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)
LOWER_LIP_OUTER = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)
FOREHEAD, NOSE_BASE, CHIN = 10, 2, 152

RELIABLE_MESH = 0.5
MIN_FACE_HEIGHT = 0.04  # of the picture's height; smaller ones count only without larger ones

_MODELS = Path(__file__).parent / "models" / "face_models.npz"
_DETECTOR_PX, _MESH_PX, _GRID = 192, 192, 48
# YuNet's scores from which on a face counts by itself, and with a sure mesh. Measured with
# tests/bench/test_faces.py: faces 0.78 to 0.96, nearly all with a mesh above 0.96; things and
# animals up to 0.80, with a mesh of at most 0.7.
_SURE_SCORE, _LIKELY_SCORE, _SURE_MESH = 0.83, 0.5, 0.9
# BlazeFace's, from the second one on only with a reliable mesh on a box that is large enough.
_BLAZE_SURE_SCORE, _BLAZE_MIN_SCORE = 0.72, 0.55
_MESH_HEIGHT = 0.12  # of the picture's height
# Smaller ones are faces only if BlazeFace sees them too: they look like those of puppies.
_MIN_FACE_PX = 32
# Upright faces score higher than this, and by so much more than the same faces turned.
_UPRIGHT_SCORE, _UPRIGHT_LEAD = 0.92, 0.03
_TURNED_SIDES_PX = (320,)
_SEARCH_PIXELS = 1_500_000  # a larger picture is searched in a smaller copy
_RECALLED = 32  # pictures
_UPRIGHT_DEGREES = 45
_HAIRLINE = 0.12  # from the top of a face to the hairline, in heights of the face
_MESH_CROP = 1.5  # side of the mesh's crop, in sides of the face's box
_SURE_MOVE = 0.1  # in heights of the face: after a larger one the mesh is fitted once more
_SURE_TURN_DEGREES, _SURE_GROWTH = 8, 1.125  # since the face was found


_recalled: dict[tuple[tuple[int, ...], bytes], tuple[Face, ...]] = {}
"""The faces of the newest pictures, the oldest one first."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Face:
    """One face.

    box: x0, y0, x1, y1, about from the brows to the chin. keypoints: [4, 2], the eye at the left of
    an upright face, the eye at the right, nose, mouth. score: 0 to 1, of the box. mesh: [468, 2].
    mesh_score: 0 to 1; below RELIABLE_MESH the points are a guess, as on drawings.
    """

    box: BoxPx
    keypoints: Points
    score: float
    mesh: Points
    mesh_score: float

    @property
    def center(self) -> tuple[float, float]:
        """The middle of the box."""
        x0, y0, x1, y1 = self.box
        return (x0 + x1) / 2, (y0 + y1) / 2

    @property
    def height_px(self) -> float:
        """Height of the box."""
        return self.box[3] - self.box[1]

    @property
    def width_px(self) -> float:
        """Width of the box."""
        return self.box[2] - self.box[0]

    @property
    def tilt(self) -> float:
        """By how many degrees the line of the eyes is turned, clockwise as seen, -180 to 180."""
        across, down = (float(value) for value in self.keypoints[1] - self.keypoints[0])
        return math.degrees(math.atan2(down, across))

    @property
    def is_upright(self) -> bool:
        """Whether it is nearer to upright than to lying on a side."""
        return abs(self.tilt) <= _UPRIGHT_DEGREES

    @property
    def whole(self) -> BoxPx:
        """The box, widened to the mesh where that is reliable."""
        if self.mesh_score < RELIABLE_MESH:
            return self.box
        low, high = self.mesh.min(0), self.mesh.max(0)
        x0, y0, x1, y1 = self.box
        return (
            min(x0, float(low[0])),
            min(y0, float(low[1])),
            max(x1, float(high[0])),
            max(y1, float(high[1])),
        )

    @property
    def hairline_y(self) -> float:
        """The hairline of an upright face, which the box and the mesh do not reach."""
        _, top, _, bottom = self.whole
        return top - _HAIRLINE * (bottom - top)

    def moved(self, to: Callable[[Points], Points]) -> Face:
        """The same face after `to` mapped all its points, such as into a prepared frame."""
        import numpy as np

        corners = to(np.array(self.box).reshape(2, 2))
        (x0, y0), (x1, y1) = corners.min(0), corners.max(0)
        box = float(x0), float(y0), float(x1), float(y1)
        return dataclasses.replace(self, box=box, keypoints=to(self.keypoints), mesh=to(self.mesh))


def recall_faces(pixels: NDArray[np.uint8]) -> tuple[Face, ...]:
    """Like `find_faces`, which is asked once for a picture that the rows of a batch repeat."""
    key = (pixels.shape, hashlib.blake2b(pixels.tobytes()).digest())
    # Rows are prepared in several threads: each step is whole, and a lost entry is found again.
    found = _recalled.pop(key, None)
    faces = find_faces(pixels) if found is None else found
    _recalled[key] = faces
    for oldest in list(_recalled)[:-_RECALLED]:
        _recalled.pop(oldest, None)
    return faces


def find_faces(pixels: NDArray[np.uint8], *, turned: bool = True) -> tuple[Face, ...]:
    """All faces of a picture, from left to right.

    pixels: [H, W, 3] sRGB. turned: look for those of a picture that lies on its side too, which
    takes as long again. Faces lower than 4 % of the picture are left out, unless all are.
    """
    from PIL import Image

    picture = Image.fromarray(pixels)
    small, scale = _search_copy(picture)
    seen = yunet.search(small)
    lying = _turned_faces(small, seen) if turned else []
    faces = lying or _upright_faces(small, seen)
    tall = [face for face in faces if face.height_px >= MIN_FACE_HEIGHT * small.height]
    faces = tall if tall else faces[:1]
    full_size = [face.moved(lambda points: points * scale) for face in faces]
    return tuple(sorted(full_size, key=lambda face: face.center[0]))


def follow_face(pixels: NDArray[np.uint8], face: Face) -> Face:
    """Fits the mesh again to a face that has moved a little since it was seen, in another frame.

    Box and keypoints move with the mesh, so that the face can be followed on from there; they are
    not scaled or turned, as the mesh depends on the size of its crop. With a score below
    RELIABLE_MESH the face is lost. pixels: [H, W, 3] sRGB. Far cheaper than a search.
    """
    from PIL import Image

    picture = Image.fromarray(pixels)
    followed = _moved_along(face, _with_mesh(picture, _candidate(face)))
    distance = math.dist(followed.center, face.center)
    if followed.mesh_score < RELIABLE_MESH or distance <= _SURE_MOVE * face.height_px:
        return followed
    # A mesh is exact in the middle of its crop.
    return _moved_along(followed, _with_mesh(picture, _candidate(followed)))


def has_changed(face: Face, found: Face) -> bool:
    """Whether a face that was followed is so much larger, smaller or turned that a search pays."""
    import numpy as np

    # As complex numbers: a factor is a size and an angle.
    before, after = ((mesh - mesh.mean(axis=0)) @ [1, 1j] for mesh in (found.mesh, face.mesh))
    turn = complex(np.vdot(before, after) / np.vdot(before, before))
    size = abs(turn)
    is_turned = abs(math.degrees(math.atan2(turn.imag, turn.real))) > _SURE_TURN_DEGREES
    return is_turned or not 1 / _SURE_GROWTH < size < _SURE_GROWTH


def _candidate(face: Face) -> Candidate:
    import numpy as np

    corners = np.array(face.box).reshape(2, 2)
    return Candidate(score=face.score, points=np.concatenate([corners, face.keypoints]))


def _moved_along(face: Face, fitted: Face) -> Face:
    """The fitted face with the box and keypoints of `face`, moved as its mesh was."""
    moved = fitted.mesh.mean(axis=0) - face.mesh.mean(axis=0)
    placed = face.moved(lambda points: points + moved)
    return dataclasses.replace(fitted, box=placed.box, keypoints=placed.keypoints)


def _search_copy(picture: Image.Image) -> tuple[Image.Image, float]:
    from PIL import Image

    pixels = picture.width * picture.height
    if pixels <= _SEARCH_PIXELS:
        return picture, 1.0
    scale = (pixels / _SEARCH_PIXELS) ** 0.5
    size = (max(1, round(picture.width / scale)), max(1, round(picture.height / scale)))
    small = picture.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    return small, scale


# Where faces are


def _upright_faces(picture: Image.Image, seen: Sequence[Candidate]) -> list[Face]:
    """The faces among `seen`, the best first, with BlazeFace's boxes where it sees them too.

    BlazeFace came first, and its boxes decide crops and requests: a video that was made with them
    is found again only with the same ones.
    """
    faces = [
        face
        for face in _blaze_faces(picture, seen)
        if any(is_same_face(face.box, candidate.box) for candidate in seen)
    ]
    for candidate in seen:
        is_known = any(is_same_face(candidate.box, face.box) for face in faces)
        is_large = candidate.box[3] - candidate.box[1] >= _MIN_FACE_PX
        if is_known or not is_large or candidate.score < _LIKELY_SCORE:
            continue
        face = _with_mesh(picture, candidate)
        if face.score >= _SURE_SCORE or face.mesh_score >= _SURE_MESH:
            faces.append(face)
    return faces


def _turned_faces(picture: Image.Image, seen: Sequence[Candidate]) -> list[Face]:
    """The faces of a picture that lies on its side or upside down; none of one that does not."""
    upright = max((candidate.score for candidate in seen), default=0.0)
    if upright >= _UPRIGHT_SCORE:
        return []
    turns = [
        (quarters, yunet.search(_turned(picture, quarters), _TURNED_SIDES_PX))
        for quarters in (1, 2, 3)
    ]
    quarters, found = max(turns, key=lambda turn: max((one.score for one in turn[1]), default=0.0))
    found = [candidate for candidate in found if candidate.score >= _SURE_SCORE]
    if not found or found[0].score < upright + _UPRIGHT_LEAD:
        return []
    faces = [_with_mesh(_turned(picture, quarters), candidate) for candidate in found]
    if faces[0].mesh_score < _SURE_MESH:
        return []
    return [face.moved(lambda points: _turned_back(points, quarters, picture)) for face in faces]


def _turned(picture: Image.Image, quarters: int) -> Image.Image:
    """The picture turned anticlockwise by quarters of a turn."""
    from PIL import Image

    methods = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)
    return picture.transpose(methods[quarters - 1])


def _turned_back(points: Points, quarters: int, picture: Image.Image) -> Points:
    """Points of the turned picture as points of the picture."""
    import numpy as np

    x, y = points[..., 0], points[..., 1]
    width, height = picture.size
    pairs = ((width - y, x), (width - x, height - y), (y, height - x))
    return np.stack(pairs[quarters - 1], -1)


# BlazeFace


@cache
def _networks() -> tuple[Network, Network]:
    import numpy as np

    with np.load(_MODELS) as arrays:
        return load_network(arrays, "det"), load_network(arrays, "mesh")


def _blaze_faces(picture: Image.Image, seen: Sequence[Candidate]) -> list[Face]:
    """What BlazeFace takes for faces, the best first, in the tiles in which something was seen."""
    if not seen:
        return []
    whole, *squares = _tiles(*picture.size)
    tiles = [tile for tile in squares if any(overlap(tile, one.box) > 0 for one in seen)]
    found = _merge([candidate for tile in (whole, *tiles) for candidate in _detect(picture, tile)])
    faces = [_with_mesh(picture, candidate) for candidate in found]
    return [face for face in faces if _is_likely(face, picture.height)]


def _is_likely(face: Face, picture_height: int) -> bool:
    if face.score >= _BLAZE_SURE_SCORE:
        return True
    return face.mesh_score >= RELIABLE_MESH and face.height_px >= _MESH_HEIGHT * picture_height


def _tiles(width: int, height: int) -> Iterator[tuple[int, int, int, int]]:
    """The whole picture, and overlapping squares along its longer side."""
    yield 0, 0, width, height
    side, length = min(width, height), max(width, height)
    count = round(2 * length / side) - 1
    for n in range(count if count > 1 else 0):
        start = round(n * (length - side) / (count - 1))
        if width >= height:
            yield start, 0, start + side, side
        else:
            yield 0, start, side, start + side


def _detect(picture: Image.Image, tile: tuple[int, int, int, int]) -> list[Candidate]:
    """Faces in one tile, which is scaled into the detector's square and centred there."""
    import numpy as np
    from PIL import Image

    left, top, right, bottom = tile
    scale = _DETECTOR_PX / max(right - left, bottom - top)
    width = max(1, round((right - left) * scale))
    height = max(1, round((bottom - top) * scale))
    shift = np.array([(_DETECTOR_PX - width) // 2, (_DETECTOR_PX - height) // 2])
    seen = picture.resize((width, height), Image.Resampling.BILINEAR, box=tile, reducing_gap=2.0)
    square = np.zeros((_DETECTOR_PX, _DETECTOR_PX, 3), np.float32)
    square[shift[1] : shift[1] + height, shift[0] : shift[0] + width] = (
        np.asarray(seen, np.float32) / 127.5 - 1
    )
    boxes, logits = _networks()[0](square)
    scores = yunet.sigmoid(logits.ravel())
    kept = np.flatnonzero(scores > _BLAZE_MIN_SCORE)
    points = (_decode(boxes.reshape(-1, 8, 2)[kept], kept) - shift) / scale + (left, top)
    return [Candidate(score=float(scores[n]), points=p) for n, p in zip(kept, points, strict=True)]


def _decode(raw: NDArray[np.float32], cells: NDArray[np.intp]) -> Points:
    """Corners and keypoints without the ears, in the detector's pixels.

    raw: [n, 8, 2], the box's centre and size, then six points, relative to the middle of their
    cell of a 48 x 48 grid.
    """
    import numpy as np

    middles = (np.stack([cells % _GRID, cells // _GRID], -1) + 0.5) * (_DETECTOR_PX / _GRID)
    values = raw.astype(np.float64)
    center, half = values[:, 0] + middles, values[:, 1] / 2
    corners = np.stack([center - half, center + half], 1)
    return np.concatenate([corners, values[:, 2:6] + middles[:, None]], 1)


def _merge(candidates: Sequence[Candidate]) -> list[Candidate]:
    """One candidate a face, the best first: the mean of those that overlap, by their scores."""
    import numpy as np

    means = []
    for group in grouped(candidates):
        points = np.average([c.points for c in group], axis=0, weights=[c.score for c in group])
        means.append(Candidate(score=group[0].score, points=points))
    return means


# The mesh


def _with_mesh(picture: Image.Image, candidate: Candidate) -> Face:
    """Fits the mesh in a square around the face, rotated so that its eyes are level."""
    import numpy as np
    from PIL import Image

    corners, keypoints = candidate.points[:2], candidate.points[2:]
    across = keypoints[1] - keypoints[0]
    angle = np.arctan2(across[1], across[0])
    step = _MESH_CROP * float(np.ptp(corners, axis=0).max()) / _MESH_PX
    turn = step * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    origin = corners.mean(0) - turn @ np.full(2, _MESH_PX / 2)
    affine = (*turn[0], origin[0], *turn[1], origin[1])
    crop = picture.transform(
        (_MESH_PX, _MESH_PX), Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR
    )
    points, logit = _networks()[1](np.asarray(crop, np.float32) / np.float32(255))
    mesh = points.reshape(-1, 3)[:, :2].astype(np.float64) @ turn.T + origin
    return Face(
        box=candidate.box,
        keypoints=keypoints,
        score=candidate.score,
        mesh=mesh,
        mesh_score=float(yunet.sigmoid(logit.ravel())[0]),
    )
