"""A mouth in a still picture, opened and closed by moving pixels along the face.

A face has two axes: u across it and v from the forehead to the chin, in pixels around the middle
of the mouth. All motion is along v: the lips part, the jaw follows, nose and neck stay. Masks and
maps cover one region of the picture and have its shape [h, w].
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from multitalk_cli.media.faces import detect

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Map = NDArray[np.float32]  # [h, w]

OPENINGS = 32  # steps between shut and open, each drawn once and cached

# Shares of the face's height, from the hairline to the chin.
_WIDEST_GAP = 0.1
_LEAST_HALF_WIDTH = 0.055
_HALF_REGION = 0.36
_BELOW_CHIN = 0.2
_THINNEST_LIP = 0.02

_UPPER_SHARE = 0.2  # of a gap, how much the upper lip rises; the lower falls by the rest
_JAW_SHARE = 0.55  # of a gap, how far the chin falls
_SHUT_MARGIN = 0.2  # a shut mouth also hides this share of the gap beyond the lips of the mesh
_RIM = 0.25  # of the gap in the picture: its lower part moves with the lower lip
_LINE = 0.035  # of the face's height: a narrower gap of the picture is the line between shut lips
_SEAM = 0.45  # how dark the line between shut lips is
_CORNER_POWER = 0.7  # below 1: an opening with rounder corners than a lens
_SOFT = 0.007  # of the face's height: half of how blurred the lips' edges are, beyond a pixel

# Colours in neutral light of brightness 1.
_TEETH_TINT = (1.0, 0.97, 0.91)
_TONGUE_TINT = (0.95, 0.42, 0.43)
_THROAT_TINT = (0.25, 0.095, 0.09)
_GREY = 10  # mean difference of a face's channels below which the picture has no colours
_TEETH_HEIGHT = 0.036  # of the face's height: the visible part of the upper teeth
_TEETH_SHARE = 0.42  # of the gap, at most
# Where teeth are looked for in a picture, as a share of the gap and of the mouth, and the light of
# the skin that they have at least. Measured: teeth 1.1 to 1.8, dark mouths 0.2, red ones 0.55.
_TEETH_END, _TEETH_LIGHT = 0.6, 0.65
_FACE_OUTLINE = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _LipShape:
    """The parts of a face along v, per pixel of the region.

    u, v: each pixel's position. top, bottom: the inner edges of the lips. lip: thickness of the
    lower lip. jaw: the face's lower edge. nose, neck: the limits of the motion. half_width: of the
    mouth. gap_px: its opening in the picture. height_px: of the face. spread: 1 at the mouth's
    middle, falling to 0 at the region's sides. lens: shape of an opening along u, 1 to 0.
    """

    u: Map
    v: Map
    top: Map
    bottom: Map
    lip: Map
    jaw: Map
    nose: float
    neck: float
    half_width: float
    gap_px: float
    height_px: float
    spread: Map
    lens: Map
    shows_teeth: bool = False

    @property
    def is_shut(self) -> bool:
        """Whether the picture shows nothing of the inside, but the line between the lips."""
        return self.gap_px <= max(2.0, _LINE * self.height_px)


class Mouth:
    """One face's mouth; `patch` draws its region at any opening."""

    def __init__(self, picture: NDArray[np.uint8], face: detect.Face) -> None:
        """picture: [H, W, 3]; it is not changed."""
        axes = _Axes.of(face)
        self.region = _region(axes, picture.shape[0], picture.shape[1])
        self._picture = picture
        self._axes = axes
        lips = _lips(axes, face, self.region)
        shows_teeth = _shows_teeth(picture, axes, lips, self.region)
        self._lips = dataclasses.replace(lips, shows_teeth=shows_teeth)
        self._tissues = _tissues(picture, axes, self._lips, self.region)
        self._patches: dict[int, NDArray[np.uint8]] = {}

    def patch(self, opening: float) -> NDArray[np.uint8]:
        """The region [h, w, 3] with the mouth open by 0 (shut) to 1; read-only."""
        step = round(min(max(opening, 0.0), 1.0) * OPENINGS)
        if step not in self._patches:
            self._patches[step] = self._draw(step / OPENINGS)
        return self._patches[step]

    def draw_on(self, frame: NDArray[np.uint8], opening: float) -> None:
        """Draws the mouth on a copy of the picture, [H, W, 3]."""
        frame[self.region] = self.patch(opening)

    def _draw(self, opening: float) -> NDArray[np.uint8]:
        import numpy as np

        lips = self._lips
        widest = max(_WIDEST_GAP * lips.height_px, lips.gap_px)
        edges = _opened(lips, opening * widest)
        shifts = _source_v(lips, edges) - lips.v
        colors = _sampled(self._picture, self.region, shifts, self._axes.down)
        inside = _interior(lips, edges)[..., None]
        colors += inside * (_shaded(self._tissues, lips, edges) - colors)
        return np.clip(np.rint(colors), 0, 255).astype(np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Axes:
    """The face's own directions: unit vectors, origin between the mouth's corners."""

    origin: NDArray[np.float64]
    across: NDArray[np.float64]
    down: NDArray[np.float64]
    height_px: float
    points: NDArray[np.float64]  # [468, 2]: the mesh as u, v

    @classmethod
    def of(cls, face: detect.Face) -> _Axes:
        import numpy as np

        mesh = face.mesh
        line = mesh[detect.CHIN] - mesh[detect.FOREHEAD]
        height = float(np.hypot(*line))
        down = line / height
        across = np.array([down[1], -down[0]])
        left, right = mesh[detect.UPPER_LIP_INNER[0]], mesh[detect.UPPER_LIP_INNER[-1]]
        origin = (left + right) / 2
        points = (mesh - origin) @ np.stack([across, down], 1)
        return cls(origin=origin, across=across, down=down, height_px=height, points=points)


def _region(axes: _Axes, height: int, width: int) -> tuple[slice, slice]:
    """The upright rectangle of the picture around all moving pixels."""
    import numpy as np

    half = _HALF_REGION * axes.height_px
    nose = axes.points[detect.NOSE_BASE, 1]
    neck = axes.points[detect.CHIN, 1] + _BELOW_CHIN * axes.height_px
    corners = np.array(
        [axes.origin + u * axes.across + v * axes.down for u in (-half, half) for v in (nose, neck)]
    )
    x0, y0 = np.floor(corners.min(0)).astype(int)
    x1, y1 = np.ceil(corners.max(0)).astype(int)
    x0, y0 = int(np.clip(x0, 0, width - 1)), int(np.clip(y0, 0, height - 1))
    x1, y1 = int(np.clip(x1, x0 + 1, width)), int(np.clip(y1, y0 + 1, height))
    return slice(y0, y1), slice(x0, x1)


def _lips(axes: _Axes, face: detect.Face, region: tuple[slice, slice]) -> _LipShape:
    import numpy as np

    rows, columns = np.mgrid[region].astype(np.float32)
    away = np.stack([columns + 0.5 - axes.origin[0], rows + 0.5 - axes.origin[1]], -1)
    u = (away @ axes.across).astype(np.float32)
    v = (away @ axes.down).astype(np.float32)
    points, height = axes.points, axes.height_px
    ends = points[list(detect.UPPER_LIP_INNER), 0]
    middle = float(ends.max() + ends.min()) / 2
    half_width = max(float(np.ptp(ends)) / 2, _LEAST_HALF_WIDTH * height)
    u -= middle
    upper = _curve(points[list(detect.UPPER_LIP_INNER)], u + middle)
    lower = _curve(points[list(detect.LOWER_LIP_INNER)], u + middle)
    gap = np.where(np.abs(u) < half_width, np.maximum(lower - upper, 0), 0)
    center = (upper + lower) / 2
    outer = _curve(points[list(detect.LOWER_LIP_OUTER)], u + middle)
    lip = np.maximum(outer - (center + gap / 2), _THINNEST_LIP * height)
    side = np.clip((_HALF_REGION * height - np.abs(u)) / (0.2 * height), 0, 1)
    spread = np.exp(-((u / (2.2 * half_width)) ** 2)) * side * side * (3 - 2 * side)
    lens = np.clip(1 - (u / half_width) ** 2, 0, 1) ** _CORNER_POWER
    return _LipShape(
        u=u,
        v=v,
        top=(center - gap / 2).astype(np.float32),
        bottom=(center + gap / 2).astype(np.float32),
        lip=lip,
        jaw=np.maximum(_jaw(points, u + middle), center + gap / 2 + lip + 0.03 * height),
        nose=float(points[detect.NOSE_BASE, 1]),
        neck=float(points[detect.CHIN, 1]) + _BELOW_CHIN * height,
        half_width=half_width,
        gap_px=float(np.hypot(*(face.mesh[13] - face.mesh[14]))),
        height_px=height,
        spread=spread.astype(np.float32),
        lens=lens.astype(np.float32),
    )


def _shows_teeth(
    picture: NDArray[np.uint8], axes: _Axes, lips: _LipShape, region: tuple[slice, slice]
) -> bool:
    """Whether something about as bright as the skin lies below the upper lip of an open mouth."""
    import numpy as np

    if lips.is_shut:
        return False
    gap = lips.bottom - lips.top
    below = (lips.v > lips.top + 0.1 * gap) & (lips.v < lips.top + _TEETH_END * gap) & (gap > 1)
    seen = picture[region][below & (np.abs(lips.u) < _TEETH_END * lips.half_width)].mean(-1)
    usual = float(np.median(_skin(picture, axes).mean(-1)))
    return bool(seen.size and np.percentile(seen, 80) > _TEETH_LIGHT * usual)


def _curve(points: NDArray[np.float64], u: Map) -> Map:
    """v of a line of mesh points at each u; level beyond its ends."""
    import numpy as np

    order = np.argsort(points[:, 0])
    along, down = points[order].T
    curve: Map = np.interp(u, along, down).astype(np.float32)
    return curve


def _jaw(points: NDArray[np.float64], u: Map) -> Map:
    """v of the face's lower edge at each u."""
    outline = points[list(_FACE_OUTLINE)]
    return _curve(outline[outline[:, 1] > 0], u)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Edges:
    """v of the parts of the face after the mouth has moved, and the gap between the lips."""

    top: Map
    bottom: Map
    lip: Map
    jaw: Map
    gap: Map
    shown: Map  # the part of the gap that the picture itself shows


def _opened(lips: _LipShape, gap_px: float) -> _Edges:
    """Moves the lips so that the gap in the middle of the mouth is gap_px high."""
    import numpy as np

    before = lips.bottom - lips.top
    more = gap_px - lips.gap_px
    after = before + more * lips.lens if more >= 0 else before * (gap_px / lips.gap_px)
    change = after - before
    fall = (1 - _UPPER_SHARE) * change
    jaw_fall = _JAW_SHARE * more * lips.spread
    top = lips.top - _UPPER_SHARE * change
    bottom = lips.bottom + fall
    lip = np.maximum(lips.bottom + lips.lip + 0.5 * fall + 0.5 * jaw_fall, bottom + 1)
    jaw = np.maximum(lips.jaw + jaw_fall, lip + 1)
    return _Edges(top=top, bottom=bottom, lip=lip, jaw=jaw, gap=after, shown=before)


def _source_v(lips: _LipShape, edges: _Edges) -> Map:
    """The v in the picture of each pixel of the region.

    Skin stretches linearly between the edges. The picture's own pixels between the lips keep their
    size and move with the upper lip, as teeth do; the lower lip uncovers or covers them.
    """
    import numpy as np

    v = lips.v
    hidden = _SHUT_MARGIN * np.maximum(edges.shown - edges.gap, 0)
    nose, neck = np.full_like(v, lips.nose), np.full_like(v, lips.neck)
    top, bottom = lips.top - hidden, lips.bottom + hidden
    lip = np.maximum(lips.bottom + lips.lip, bottom + 1)
    # Below those pixels the lower lip begins, which shines through the edge of what is drawn.
    between = np.where(v - edges.top < edges.shown, lips.top + (v - edges.top), bottom)
    source = np.where((v >= edges.top) & (v < edges.bottom), between, v)
    spans = (
        (nose, edges.top, nose, top),
        (edges.bottom, edges.lip, bottom, lip),
        (edges.lip, edges.jaw, lip, lips.jaw),
        (edges.jaw, neck, lips.jaw, neck),
    )
    for start, end, source_start, source_end in spans:
        share = (v - start) / np.maximum(end - start, 1e-3)
        inside = (v >= start) & (v < end)
        source = np.where(inside, source_start + share * (source_end - source_start), source)
    return source.astype(np.float32)


def _sampled(
    picture: NDArray[np.uint8],
    region: tuple[slice, slice],
    shifts: Map,
    down: NDArray[np.float64],
) -> NDArray[np.float32]:
    """The picture's colours [h, w, 3], each from `shifts` pixels further down the face."""
    import numpy as np

    rows, columns = np.mgrid[region].astype(np.float32)
    height, width = picture.shape[:2]
    x = np.clip(columns + shifts * np.float32(down[0]), 0, width - 1)
    y = np.clip(rows + shifts * np.float32(down[1]), 0, height - 1)
    x0 = np.minimum(x.astype(np.intp), max(width - 2, 0))
    y0 = np.minimum(y.astype(np.intp), max(height - 2, 0))
    right, below = (x - x0)[..., None], (y - y0)[..., None]
    x1, y1 = np.minimum(x0 + 1, width - 1), np.minimum(y0 + 1, height - 1)
    upper = picture[y0, x0] * (1 - right) + picture[y0, x1] * right
    lower = picture[y1, x0] * (1 - right) + picture[y1, x1] * right
    colors: NDArray[np.float32] = (upper * (1 - below) + lower * below).astype(np.float32)
    return colors


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Tissues:
    """Colours inside the mouth, [3] each, in the light on this face. rim: the lips' inner side."""

    teeth: NDArray[np.float32]
    tongue: NDArray[np.float32]
    throat: NDArray[np.float32]
    rim: NDArray[np.float32]


def _tissues(
    picture: NDArray[np.uint8], axes: _Axes, lips: _LipShape, region: tuple[slice, slice]
) -> _Tissues:
    import numpy as np

    skin = _skin(picture, axes)
    brightness = skin.mean(-1)
    usual = float(np.median(brightness))
    below = (lips.v > lips.bottom) & (lips.v < lips.bottom + lips.lip)
    shown = picture[region][below & (np.abs(lips.u) < lips.half_width)]
    lip = shown.mean(0) if shown.size else np.full(3, usual)
    # The lips of a drawing may be a black line.
    light = max(float(lip.mean()), 0.8 * usual)
    white = min(max(float(np.percentile(brightness, 97)), 1.12 * usual), 2.2 * usual, 240.0)
    cast = skin.mean(0) / max(float(skin.mean()), 1.0)
    colors = {
        "teeth": white * np.array(_TEETH_TINT) * (0.6 + 0.4 * cast),
        "tongue": 0.4 * lip + 0.6 * light * np.array(_TONGUE_TINT),
        "throat": light * np.array(_THROAT_TINT),
        "rim": 0.25 * lip + 0.35 * light * np.array(_TONGUE_TINT),
    }
    if float(np.ptp(skin, axis=-1).mean()) < _GREY:
        colors = {name: np.full(3, color.mean()) for name, color in colors.items()}
    return _Tissues(**{name: color.astype(np.float32) for name, color in colors.items()})


def _skin(picture: NDArray[np.uint8], axes: _Axes) -> NDArray[np.float32]:
    """Colours [n, 3] from all over the face, a few hundred whatever its size."""
    import numpy as np

    across, down = np.meshgrid(np.linspace(-0.9, 0.9, 25), np.linspace(-0.9, 0.9, 35))
    inside = across**2 + down**2 < 0.8
    top, bottom = axes.points[detect.FOREHEAD, 1], axes.points[detect.CHIN, 1]
    middle = axes.points[[detect.FOREHEAD, detect.CHIN], 0].mean()
    half_width = np.ptp(axes.points[:, 0]) / 2
    u = middle + across[inside] * half_width
    v = (top + bottom) / 2 + down[inside] * (bottom - top) / 2
    x, y = (axes.origin[:, None] + axes.across[:, None] * u + axes.down[:, None] * v).astype(int)
    height, width = picture.shape[:2]
    seen = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    colors: NDArray[np.float32] = picture[y[seen], x[seen]].astype(np.float32)
    return colors if len(colors) else np.full((1, 3), 128, np.float32)


def _interior(lips: _LipShape, edges: _Edges) -> Map:
    """The share of each pixel that is inside the mouth and not in the picture, 0 to 1."""
    import numpy as np

    soft = _SOFT * lips.height_px + 1
    between = _smooth((lips.v - edges.top) / soft + 0.5) * _smooth(
        (edges.bottom - lips.v) / soft + 0.5
    )
    inside = between * np.clip(edges.gap / (1.5 * soft), 0, 1) * (np.abs(lips.u) < lips.half_width)
    uncovered = np.clip(edges.gap - edges.shown, 0, _RIM * edges.shown)
    kept = edges.shown - uncovered if lips.shows_teeth else np.zeros_like(edges.shown)
    fade = 0.02 * lips.height_px + 1.5
    beyond = np.clip((lips.v - edges.top - kept) / fade + 0.5, 0, 1)
    share: Map = np.maximum(np.where(kept > 0, beyond, 1) * inside, _seam(lips, edges))
    return share


def _seam(lips: _LipShape, edges: _Edges) -> Map:
    """The dark line between lips that are apart in the picture and now shut, 0 to 1."""
    import numpy as np

    if lips.is_shut:
        return np.zeros_like(edges.gap)
    shut = np.clip(1 - edges.gap / np.maximum(edges.shown, 1e-3), 0, 1) * (edges.shown > 0)
    width = 0.006 * lips.height_px + 0.6
    line = np.exp(-(((lips.v - (edges.top + edges.bottom) / 2) / width) ** 2))
    seam: Map = (_SEAM * line * shut**4 * np.clip(3 * lips.lens, 0, 1)).astype(np.float32)
    return seam


def _smooth(share: Map) -> Map:
    """A share from 0 to 1, limited and without kinks."""
    import numpy as np

    limited = np.clip(share, 0, 1)
    smooth: Map = limited * limited * (3 - 2 * limited)
    return smooth


def _shaded(tissues: _Tissues, lips: _LipShape, edges: _Edges) -> NDArray[np.float32]:
    """Colours of the inside [h, w, 3]: teeth above, the tongue below, a dark throat between."""
    import numpy as np

    height = lips.height_px
    across = np.clip(np.abs(lips.u) / lips.half_width, 0, 1)
    from_top, from_bottom = lips.v - edges.top, edges.bottom - lips.v
    # The tongue and the teeth appear as the mouth opens: [h, w], the same everywhere.
    openness = np.full_like(lips.v, edges.gap.max() / height)
    is_wide, is_parted = _smooth((openness - 0.02) / 0.05), _smooth((openness - 0.012) / 0.025)

    colors = np.broadcast_to(tissues.throat, (*lips.v.shape, 3))
    back = edges.gap * (0.95 - 0.5 * is_wide * (1 - across**2))
    tongue = _smooth((from_top - back) / (0.25 * edges.gap + 1)) * (1 - across**4) * is_wide
    groove = 1 - 0.14 * np.exp(-((lips.u / (0.09 * lips.half_width)) ** 2))
    lit = (0.8 + 0.2 * np.clip(from_bottom / (0.03 * height), 0, 1)) * groove
    colors = _blended(colors, tissues.tongue * lit[..., None], tongue)

    soft = _SOFT * height + 0.7
    if not lips.shows_teeth:
        visible = _TEETH_HEIGHT * height * (1 - 0.3 * across**2)
        teeth_px = np.minimum(visible, _TEETH_SHARE * edges.gap)
        teeth = _smooth((teeth_px - from_top) / (2 * soft) + 0.5) * is_parted * (1 - across**6)
        shade = 0.7 + 0.3 * np.clip(from_top / (0.7 * teeth_px + 0.5), 0, 1)
        lit = shade * (1 - 0.55 * across**2)
        colors = _blended(colors, tissues.teeth * lit[..., None], teeth)

    near = np.maximum(np.minimum(from_top + 0.5 * soft, from_bottom), 0)
    return _blended(colors, tissues.rim, 0.65 * np.exp(-near / (0.01 * height + 0.6)))


def _blended(
    under: NDArray[np.float32], over: NDArray[np.float32], share: NDArray[np.floating[Any]]
) -> NDArray[np.float32]:
    """Colours [h, w, 3] over others. share: [h, w], 0 to 1."""
    blended: NDArray[np.float32] = under + share[..., None] * (over - under)
    return blended
