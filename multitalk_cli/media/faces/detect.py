"""Finds faces in a picture, offline and deterministic, and warns of what could spoil their video.

Two small published networks (see models/NOTICE): one finds boxes, the other fits a mesh of 468
points to each. Coordinates are pixels, x to the right, y downwards, pixel centres at halves.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from multitalk_cli.media.faces.network import Network, load_network

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    Points = NDArray[np.float64]  # [..., 2] as x, y

BoxPx = tuple[float, float, float, float]

# Points of the mesh along the lips, each from the corner at the picture's left of an upright,
# unmirrored face to the other corner.
UPPER_LIP_INNER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
LOWER_LIP_INNER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
UPPER_LIP_OUTER = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)
LOWER_LIP_OUTER = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)
FOREHEAD, NOSE_BASE, CHIN = 10, 2, 152

RELIABLE_MESH = 0.5
SMALL_FACE_PX = 64
MIN_FACE_HEIGHT = 0.04  # of the picture's height; smaller ones count only without larger ones
EDGE_MARGIN = 0.02  # of the picture's side

_MODELS = Path(__file__).parent / "models" / "face_models.npz"
_DETECTOR_PX, _MESH_PX, _GRID = 192, 192, 48
# A box counts by itself from the first score on; from the second one if the mesh finds a face there
# too, and the box is large enough for the mesh to be reliable. Measured: real and drawn faces score
# 0.74 to 0.96, squeezed or turned ones 0.57 and more with a sure mesh; objects reach 0.67, with a
# sure mesh only on specks of less than a tenth of the picture.
_SURE_SCORE, _MIN_SCORE = 0.72, 0.55
_MESH_HEIGHT = 0.12  # of the picture's height
_SEARCH_PIXELS = 1_500_000  # a larger picture is searched in a smaller copy
_SAME_FACE_IOU, _SAME_FACE_COVER = 0.3, 0.6
_MESH_CROP = 1.5  # side of the mesh's crop, in sides of the face's box


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Face:
    """One face.

    box: x0, y0, x1, y1, about from the brows to the chin. keypoints: [6, 2], the eye at the left,
    the eye at the right, nose, mouth, ear, ear. score: 0 to 1, of the box. mesh: [468, 2].
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

    def moved(self, to: Callable[[Points], Points]) -> Face:
        """The same face after `to` mapped all its points, such as into a prepared frame."""
        import numpy as np

        corners = to(np.array(self.box).reshape(2, 2))
        x0, y0, x1, y1 = (float(value) for value in corners.ravel())
        return dataclasses.replace(
            self, box=(x0, y0, x1, y1), keypoints=to(self.keypoints), mesh=to(self.mesh)
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Candidate:
    score: float
    points: Points  # [8, 2]: the box's two corners, then the six keypoints


def find_faces(pixels: NDArray[np.uint8]) -> tuple[Face, ...]:
    """All faces of a picture, from left to right.

    pixels: [H, W, 3] sRGB. Faces lower than 4 % of the picture are left out, unless all are.
    """
    from PIL import Image

    picture = Image.fromarray(pixels)
    small, scale = _search_copy(picture)
    found = _merge(
        [candidate for tile in _tiles(*small.size) for candidate in _detect(small, tile)]
    )
    faces = [_with_mesh(small, candidate) for candidate in found]
    likely = [face for face in faces if _is_likely(face, small.height)]
    tall = [face for face in likely if face.height_px >= MIN_FACE_HEIGHT * small.height]
    faces = tall if tall else likely[:1]
    full_size = [face.moved(lambda points: points * scale) for face in faces]
    return tuple(sorted(full_size, key=lambda face: face.center[0]))


def follow_face(pixels: NDArray[np.uint8], face: Face) -> Face:
    """Fits the mesh again to a face that has hardly moved since it was found, in another frame.

    pixels: [H, W, 3] sRGB. Far cheaper than finding the face again.
    """
    import numpy as np
    from PIL import Image

    corners = np.array(face.box).reshape(2, 2)
    candidate = _Candidate(score=face.score, points=np.concatenate([corners, face.keypoints]))
    return _with_mesh(Image.fromarray(pixels), candidate)


def _is_likely(face: Face, picture_height: int) -> bool:
    if face.score >= _SURE_SCORE:
        return True
    return face.mesh_score >= RELIABLE_MESH and face.height_px >= _MESH_HEIGHT * picture_height


def _search_copy(picture: Image.Image) -> tuple[Image.Image, float]:
    from PIL import Image

    pixels = picture.width * picture.height
    if pixels <= _SEARCH_PIXELS:
        return picture, 1.0
    scale = (pixels / _SEARCH_PIXELS) ** 0.5
    size = (max(1, round(picture.width / scale)), max(1, round(picture.height / scale)))
    small = picture.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    return small, scale


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


@cache
def _networks() -> tuple[Network, Network]:
    import numpy as np

    with np.load(_MODELS) as arrays:
        return load_network(arrays, "det"), load_network(arrays, "mesh")


def _sigmoid(values: NDArray[np.float32]) -> NDArray[np.float64]:
    import numpy as np

    squashed: NDArray[np.float64] = 1 / (1 + np.exp(-np.clip(values.astype(np.float64), -80, 80)))
    return squashed


def _detect(picture: Image.Image, tile: tuple[int, int, int, int]) -> list[_Candidate]:
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
    scores = _sigmoid(logits.ravel())
    kept = np.flatnonzero(scores > _MIN_SCORE)
    points = (_decode(boxes.reshape(-1, 8, 2)[kept], kept) - shift) / scale + (left, top)
    return [_Candidate(score=float(scores[n]), points=p) for n, p in zip(kept, points, strict=True)]


def _decode(raw: NDArray[np.float32], cells: NDArray[np.intp]) -> Points:
    """Corners and keypoints in the detector's pixels.

    raw: [n, 8, 2], the box's centre and size, then six points, relative to the middle of their
    cell of a 48 x 48 grid.
    """
    import numpy as np

    middles = (np.stack([cells % _GRID, cells // _GRID], -1) + 0.5) * (_DETECTOR_PX / _GRID)
    values = raw.astype(np.float64)
    center, half = values[:, 0] + middles, values[:, 1] / 2
    corners = np.stack([center - half, center + half], 1)
    return np.concatenate([corners, values[:, 2:] + middles[:, None]], 1)


def overlap(first: BoxPx, second: BoxPx) -> float:
    """The area that two boxes share."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    return max(width, 0.0) * max(height, 0.0)


def _area(box: BoxPx) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _is_same(first: _Candidate, second: _Candidate) -> bool:
    a, b = _corners(first), _corners(second)
    shared = overlap(a, b)
    union = _area(a) + _area(b) - shared
    return shared > _SAME_FACE_IOU * union or shared > _SAME_FACE_COVER * min(_area(a), _area(b))


def _corners(candidate: _Candidate) -> BoxPx:
    x0, y0, x1, y1 = (float(value) for value in candidate.points[:2].ravel())
    return x0, y0, x1, y1


def _merge(candidates: Sequence[_Candidate]) -> list[_Candidate]:
    """One candidate a face, the best first: the mean of those that overlap, by their scores."""
    import numpy as np

    groups: list[list[_Candidate]] = []
    for candidate in sorted(candidates, key=lambda c: -c.score):
        group = next((g for g in groups if _is_same(candidate, g[0])), None)
        if group is None:
            groups.append([candidate])
        else:
            group.append(candidate)
    means = []
    for group in groups:
        points = np.average([c.points for c in group], axis=0, weights=[c.score for c in group])
        means.append(_Candidate(score=group[0].score, points=points))
    return means


def _with_mesh(picture: Image.Image, candidate: _Candidate) -> Face:
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
        box=_corners(candidate),
        keypoints=keypoints,
        score=candidate.score,
        mesh=mesh,
        mesh_score=float(_sigmoid(logit.ravel())[0]),
    )


def face_warnings(faces: Sequence[Face], voices: int, width: int, height: int) -> tuple[str, ...]:
    """Warnings of what could spoil the video. faces: in pixels of a width x height frame."""
    if not faces:
        return ("no face found in the picture: the model may animate nothing, or something else",)
    warnings = []
    if len(faces) < voices:
        warnings.append(
            f"{len(faces)} face found for {voices} voices: "
            "add the other person's place with --speaker box:x0%,y0%,x1%,y1%=VOICE"
        )
    for number, face in enumerate(faces, 1):
        name = "the face" if len(faces) == 1 else f"face {number}"
        if face.height_px < SMALL_FACE_PX:
            warnings.append(
                f"{name} is only {face.height_px:.0f} px high in the {width}x{height} frame: "
                "its lips will hardly be visible; crop the picture closer"
            )
        if _is_near_edge(face, width, height):
            warnings.append(f"{name} is near or over the edge of the frame")
    return tuple(warnings)


def _is_near_edge(face: Face, width: int, height: int) -> bool:
    x0, y0, x1, y1 = face.box
    across, down = EDGE_MARGIN * width, EDGE_MARGIN * height
    return x0 < across or y0 < down or x1 > width - across or y1 > height - down
