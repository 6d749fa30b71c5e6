"""Framing: cover, contain or stretch a picture to exactly the pixels of the video."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from multitalk_cli.errors import UsageError
from multitalk_cli.media.image.load import Picture

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from multitalk_cli.media.faces.candidates import BoxPx, Points
    from multitalk_cli.media.faces.detect import Face


Fit = Literal["cover", "contain", "stretch"]

# The share of the rows that are cropped which is cropped at the top.
_ABOVE, _ABOVE_UNSEEN_HEAD = 0.35, 0.05


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FramedPicture:
    """The picture as the model receives it.

    pixels: [height, width, 3] uint8. crop: the visible part of the file, x0, y0, x1, y1 in its
    upright pixels. scale, offset: frame pixels = picture pixels * scale + offset, x then y.
    faces: the visible ones, in pixels of the frame, from left to right. faces_outside: how many
    more were found, beyond the frame.
    """

    pixels: NDArray[np.uint8]
    fit: Fit
    crop: BoxPx
    scale: tuple[float, float]
    offset: tuple[float, float]
    faces: tuple[Face, ...]
    faces_outside: int = 0
    adjusted: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def width_px(self) -> int:
        """Width of the frame."""
        return int(self.pixels.shape[1])

    @property
    def height_px(self) -> int:
        """Height of the frame."""
        return int(self.pixels.shape[0])

    def to_frame(self, box: BoxPx) -> BoxPx:
        """A box in pixels of Picture.pixels as pixels of the frame; it may lie outside."""
        (across, down), (x, y) = self.scale, self.offset
        x0, y0, x1, y1 = box
        return x0 * across + x, y0 * down + y, x1 * across + x, y1 * down + y

    def from_frame(self, box: BoxPx) -> BoxPx:
        """A box in pixels of the frame as pixels of Picture.pixels."""
        (across, down), (x, y) = self.scale, self.offset
        x0, y0, x1, y1 = box
        return (x0 - x) / across, (y0 - y) / down, (x1 - x) / across, (y1 - y) / down

    def points_to_frame(self, points: Points) -> Points:
        """[..., 2] points of Picture.pixels as pixels of the frame."""
        import numpy as np

        moved: Points = points * np.array(self.scale) + np.array(self.offset)
        return moved


def frame_picture(
    picture: Picture,
    width: int,
    height: int,
    fit: Fit,
    faces: Sequence[Face],
    keep: Sequence[BoxPx] = (),
) -> FramedPicture:
    """The picture on exactly width x height pixels.

    cover fills the frame and crops the rest, keeping faces whole if possible; contain shows
    everything, on bars of the background's colour; stretch distorts.
    faces, keep: faces, and boxes to treat like them, in pixels of picture.pixels.
    """
    if fit not in get_args(Fit):
        raise UsageError(f"--fit is cover, contain or stretch, not {fit!r}", code="E_RANGE")
    if fit == "cover":
        return _cover(picture, width, height, faces, keep)
    if fit == "contain":
        return _contain(picture, width, height, faces)
    return _stretch(picture, width, height, faces)


def _cover(
    picture: Picture, width: int, height: int, faces: Sequence[Face], keep: Sequence[BoxPx]
) -> FramedPicture:
    scale = max(width / picture.width_px, height / picture.height_px)
    cut_width = min(width / scale, picture.width_px)
    cut_height = min(height / scale, picture.height_px)
    whole = _whole(picture)
    found = [_head_of(face).inside(whole) for face in faces]
    boxes = [_Head(face=box, hairline_y=box[1], roomy=box).inside(whole) for box in keep]
    heads = [*found, *boxes]
    left = _place_cut(heads, 0, cut_width, picture.width_px, 0.5)
    # Without a face, a tall picture is likelier a person than a view.
    is_tall = picture.height_px > picture.width_px
    above = _ABOVE_UNSEEN_HEAD if is_tall and not heads else _ABOVE
    top = _place_cut(heads, 1, cut_height, picture.height_px, above)
    right = min(left + cut_width, picture.width_px)
    bottom = min(top + cut_height, picture.height_px)
    box = (left, top, right, bottom)
    cut = sum(not _contains(box, head.face) for head in found)
    warnings: tuple[str, ...] = ()
    if cut:
        subject = "the face" if len(found) == 1 else f"{cut} of the {len(found)} faces found"
        warnings = (
            f"{subject} cannot be whole in {width}x{height}: try --size auto or --fit contain",
        )
    return _framed(picture, box, (width, height), (0, 0, width, height), "cover", faces, warnings)


def _contain(picture: Picture, width: int, height: int, faces: Sequence[Face]) -> FramedPicture:
    scale = min(width / picture.width_px, height / picture.height_px)
    inner = max(1, round(picture.width_px * scale)), max(1, round(picture.height_px * scale))
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    place = (left, top, left + inner[0], top + inner[1])
    return _framed(picture, _whole(picture), (width, height), place, "contain", faces)


def _stretch(picture: Picture, width: int, height: int, faces: Sequence[Face]) -> FramedPicture:
    place = (0, 0, width, height)
    return _framed(picture, _whole(picture), (width, height), place, "stretch", faces)


def _whole(picture: Picture) -> BoxPx:
    return 0.0, 0.0, float(picture.width_px), float(picture.height_px)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Head:
    """A box that a crop must keep, and a larger one that it keeps as well if there is room.

    hairline_y: where a crop begins at the latest if the larger box does not fit.
    """

    face: BoxPx
    hairline_y: float
    roomy: BoxPx

    def inside(self, whole: BoxPx) -> _Head:
        """The same, limited to the picture."""
        return _Head(
            face=clipped(self.face, whole),
            hairline_y=max(self.hairline_y, whole[1]),
            roomy=clipped(self.roomy, whole),
        )


def clipped(box: BoxPx, limit: BoxPx) -> BoxPx:
    """The part of a box inside `limit`; without area if there is none."""
    x0, x1 = (min(max(x, limit[0]), limit[2]) for x in (box[0], box[2]))
    y0, y1 = (min(max(y, limit[1]), limit[3]) for y in (box[1], box[3]))
    return x0, y0, x1, y1


def _head_of(face: Face) -> _Head:
    x0, y0, x1, y1 = face.whole
    width, height = x1 - x0, y1 - y0
    roomy = x0 - 0.3 * width, y0 - 0.6 * height, x1 + 0.3 * width, y1 + 0.4 * height
    return _Head(face=face.whole, hairline_y=face.hairline_y, roomy=roomy)


def _contains(outer: BoxPx, inner: BoxPx) -> bool:
    slack = 1e-6 * max(outer)
    return all(o <= i + slack for o, i in zip(outer[:2], inner[:2], strict=True)) and all(
        o >= i - slack for o, i in zip(outer[2:], inner[2:], strict=True)
    )


def _place_cut(
    heads: Sequence[_Head], axis: int, length: float, whole: int, preferred: float
) -> float:
    """The start of a cut of `length` out of `whole` pixels, along x (axis 0) or y (axis 1).

    Without faces: `preferred`, a share of the pixels that are cropped. With faces: as near as
    possible to their middle, with room for hair and chin if there is any; if they do not all fit,
    on whole faces, the largest in sum.
    """
    rest = whole - length
    if rest <= 0:
        return 0.0
    if not heads:
        return rest * preferred
    faces = [(head.face[axis], head.face[axis + 2]) for head in heads]
    roomy = [(head.roomy[axis], head.roomy[axis + 2]) for head in heads]
    group = _largest_group(faces, length)
    low, high = min(faces[n][0] for n in group), max(faces[n][1] for n in group)
    roomy_low = min(roomy[n][0] for n in group)
    roomy_high = max(roomy[n][1] for n in group)
    if roomy_high - roomy_low <= length:
        low, high = roomy_low, roomy_high
    wanted = (low + high) / 2 - length / 2 if axis == 0 else low - preferred * (length - high + low)
    start = min(max(wanted, high - length), low) if high - low <= length else wanted
    hairline_y = min(heads[n].hairline_y for n in group)
    if axis == 1 and high - hairline_y <= length:
        start = min(start, hairline_y)
    return min(max(start, 0.0), rest)


def _largest_group(spans: Sequence[tuple[float, float]], length: float) -> list[int]:
    """The spans that fit in `length` together and are the longest in sum; else the longest one."""
    groups = [
        [n for n, (low, high) in enumerate(spans) if low >= start and high <= start + length]
        for start, _ in spans
    ]
    best = max(groups, key=lambda group: sum(spans[n][1] - spans[n][0] for n in group))
    return best if best else [max(range(len(spans)), key=lambda n: spans[n][1] - spans[n][0])]


def _framed(
    picture: Picture,
    box: BoxPx,
    size: tuple[int, int],
    place: tuple[int, int, int, int],
    fit: Fit,
    faces: Sequence[Face],
    warnings: tuple[str, ...] = (),
) -> FramedPicture:
    """Draws the part `box` of the picture onto `place` of a frame of `size`."""
    scale = ((place[2] - place[0]) / (box[2] - box[0]), (place[3] - place[1]) / (box[3] - box[1]))
    framed = FramedPicture(
        pixels=_drawn(picture, box, size, place),
        fit=fit,
        crop=_in_file(picture, box),
        scale=scale,
        offset=(place[0] - box[0] * scale[0], place[1] - box[1] * scale[1]),
        faces=(),
        adjusted=_framing_notes(picture, box, size, place, fit),
        warnings=warnings,
    )
    seen = [face.moved(framed.points_to_frame) for face in faces]
    visible = tuple(face for face in seen if _is_visible(face, place))
    return dataclasses.replace(framed, faces=visible, faces_outside=len(seen) - len(visible))


def _is_visible(face: Face, place: tuple[int, int, int, int]) -> bool:
    """Whether the middle of the face is in the frame."""
    x, y = face.center
    return place[0] <= x < place[2] and place[1] <= y < place[3]


def _drawn(
    picture: Picture, box: BoxPx, size: tuple[int, int], place: tuple[int, int, int, int]
) -> NDArray[np.uint8]:
    import numpy as np
    from PIL import Image

    inner = (place[2] - place[0], place[3] - place[1])
    shown = Image.fromarray(picture.pixels).resize(
        inner, Image.Resampling.LANCZOS, box=box, reducing_gap=3.0
    )
    if inner != size:
        frame = Image.new("RGB", size, picture.background)
        frame.paste(shown, place[:2])
        shown = frame
    return np.array(shown, dtype=np.uint8)


def _in_file(picture: Picture, box: BoxPx) -> BoxPx:
    across = picture.source_width_px / picture.width_px
    down = picture.source_height_px / picture.height_px
    return box[0] * across, box[1] * down, box[2] * across, box[3] * down


def _framing_notes(
    picture: Picture,
    box: BoxPx,
    size: tuple[int, int],
    place: tuple[int, int, int, int],
    fit: Fit,
) -> tuple[str, ...]:
    target = f"{size[0]}x{size[1]}"
    notes = []
    cut = _whole(picture) != box
    if fit == "cover" and cut:
        notes.append(f"cropped to {target}")
    elif fit == "contain" and (place[2] - place[0], place[3] - place[1]) != size:
        notes.append(f"bars added to fill {target}")
    elif fit == "stretch":
        distortion = (size[0] / picture.width_px) / (size[1] / picture.height_px)
        if abs(distortion - 1) > 0.005:
            notes.append(f"stretched to {target}: {_times(distortion)}")
    x0, y0, x1, y1 = _in_file(picture, box)
    enlarged = max((place[2] - place[0]) / (x1 - x0), (place[3] - place[1]) / (y1 - y0))
    if enlarged > 1.05:
        notes.append(f"enlarged {enlarged:.1f} times: the picture has fewer pixels than the video")
    return tuple(notes)


def _times(distortion: float) -> str:
    if distortion > 1:
        return f"{distortion:.2f} times wider than it was"
    return f"{1 / distortion:.2f} times taller than it was"


def to_png(pixels: NDArray[np.uint8]) -> bytes:
    """[H, W, 3] uint8 as a PNG, for the request."""
    import io
    import zlib

    from PIL import Image

    store = io.BytesIO()
    # For a photograph as small as with Pillow's default, in a quarter of the time.
    Image.fromarray(pixels).save(store, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return store.getvalue()
