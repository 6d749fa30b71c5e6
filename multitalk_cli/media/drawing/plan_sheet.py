"""The plan as one picture: the crop, the persons, and when each of them speaks."""

from __future__ import annotations

import io
import itertools
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from multitalk_cli.contract import Window
from multitalk_cli.reporting.formatting import human_count

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image, ImageDraw, ImageFont

    Box = tuple[float, float, float, float]  # x0, y0, x1, y1
    Color = tuple[int, int, int]

WIDTH_PX = 1120
MAX_PERSONS = 50

_SCALE = 2  # all is drawn twice as large and reduced, for smooth edges
_MARGIN, _GAP = 32, 20
_PANELS_MAX_HEIGHT = 528  # of a 2:1 frame that is as wide as the sheet
_ONE_PANEL_SHARE = 0.5  # of the source: a smaller crop is drawn next to its source
_LABELS_WIDTH, _ROW_HEIGHT, _ROW_GAP = 196, 64, 10
_MIN_BORDER_GAP = 5.0  # borders closer together than this merge into grey
_MIN_NUMBER_GAP = 26.0
_TICK_GAP = 74.0
_TICKS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600)
_MIN_LABEL_WIDTH = 190.0

_PAPER: Color = (250, 250, 248)
_INK: Color = (28, 32, 38)
_SOFT_INK: Color = (92, 99, 109)
_LINE: Color = (208, 211, 215)
_LANE: Color = (240, 241, 242)
_WHITE: Color = (255, 255, 255)
_SILENT: Color = (98, 104, 114)
# Distinguishable with any kind of colour vision, and readable under white text.
SPEAKER_COLORS: tuple[Color, ...] = ((24, 94, 190), (180, 78, 8))


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetPerson:
    """A numbered face or box of the frame.

    box: in pixels of the frame. voice: number of that person's track, from 0; None if silent.
    """

    number: int
    box: Box
    voice: int | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SheetTrack:
    """One voice. levels: [frames] 0 to 1, silence to loud, one value per frame of the video."""

    name: str
    levels: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SheetSource:
    """The picture that the frame was cropped from.

    pixels: [H, W, 3] uint8. crop: the frame's part of it, in its pixels. size_text: of the file.
    """

    pixels: NDArray[np.uint8]
    crop: Box
    size_text: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlanSheet:
    """The content of the picture.

    frame: [height, width, 3] uint8, the model's input. frames: length of the video.
    source: None unless the frame was cropped. title, facts: lines above the picture.
    """

    frame: NDArray[np.uint8]
    persons: Sequence[SheetPerson]
    tracks: Sequence[SheetTrack]
    windows: Sequence[Window]
    frames: int
    fps: int
    title: str
    facts: Sequence[str] = ()
    source: SheetSource | None = None

    @property
    def duration_s(self) -> float:
        """Duration of the video."""
        return self.frames / self.fps


def encode_plan(plan: PlanSheet) -> bytes:
    """The plan as a PNG."""
    encoded = io.BytesIO()
    draw_plan(plan).save(encoded, format="PNG", compress_level=3)
    return encoded.getvalue()


def draw_plan(plan: PlanSheet) -> Image.Image:
    """The plan as an RGB picture, WIDTH_PX wide."""
    panels = _panels(plan)
    panels_top = 2 * _MARGIN + 16 + 22 * len(plan.facts)
    time_top = panels_top + max(panel.height for panel in panels) + 30 + _GAP
    canvas = _Canvas(WIDTH_PX, time_top + _timeline_height(plan) + _MARGIN)
    _draw_heading(canvas, plan)
    for panel in panels:
        _draw_panel(canvas, panel, panels_top, plan)
    _draw_timeline(canvas, plan, time_top)
    return canvas.finished()


class _Canvas:
    """A surface to draw on, in pixels of the finished picture."""

    def __init__(self, width: float, height: float) -> None:
        from PIL import Image, ImageDraw

        size = (round(width) * _SCALE, round(height) * _SCALE)
        self.image: Image.Image = Image.new("RGB", size, _PAPER)
        self._draw: ImageDraw.ImageDraw = ImageDraw.Draw(self.image)

    def finished(self) -> Image.Image:
        return self.image.reduce(_SCALE)

    def text(self, x: float, y: float, text: str, size: float, color: Color = _INK) -> None:
        """y is the middle of the line."""
        place = (x * _SCALE, y * _SCALE)
        self._draw.text(place, text, fill=color, font=_font(size), anchor="lm")

    def block(self, box: Box, color: Color, radius: float = 0) -> None:
        x0, y0, x1, y1 = _scaled(box)
        self._draw.rounded_rectangle((x0, y0, x1 - 1, y1 - 1), radius * _SCALE, fill=color)

    def outline(self, box: Box, color: Color, width: float, radius: float = 0) -> None:
        x0, y0, x1, y1 = _scaled(box)
        self._draw.rounded_rectangle(
            (x0, y0, x1 - 1, y1 - 1), radius * _SCALE, outline=color, width=round(width * _SCALE)
        )

    def upright(self, x: float, top: float, bottom: float, color: Color) -> None:
        """A vertical line one pixel wide."""
        self.block((x - 0.5, top, x + 0.5, bottom), color)

    def columns(self, left: float, base: float, heights: NDArray[np.float32], color: Color) -> None:
        """A curve filled down to `base`: one height for each pixel of the surface."""
        first, bottom = round(left * _SCALE), round(base * _SCALE)
        for number, height in enumerate((heights * _SCALE).tolist()):
            x = first + number
            self._draw.line((x, bottom - max(round(height), 1), x, bottom - 1), fill=color)

    def picture(self, box: Box, pixels: NDArray[np.uint8]) -> None:
        from PIL import Image

        x0, y0, x1, y1 = _scaled(box)
        size = (max(1, x1 - x0), max(1, y1 - y0))
        picture = Image.fromarray(pixels)
        shown = picture.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
        self.image.paste(shown, (x0, y0))


def _scaled(box: Box) -> tuple[int, int, int, int]:
    x0, y0, x1, y1 = (round(value * _SCALE) for value in box)
    return x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)


@cache
def _font(size: float) -> ImageFont.FreeTypeFont:
    from PIL import ImageFont

    font = ImageFont.load_default(size * _SCALE)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


def _text_width(text: str, size: float) -> float:
    return _font(size).getlength(text) / _SCALE


def drawable(text: str) -> str:
    """The text in letters of the built-in font: without accents, other scripts as `?`."""
    plain = (c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return "".join(c if " " <= c <= "~" else "?" for c in plain)


def elide(text: str, size: float, width: float) -> str:
    """The text, or its beginning and end with an ellipsis between, in at most `width` pixels."""
    if _text_width(text, size) <= width:
        return text
    for kept in range(len(text) - 1, 1, -1):
        head = (kept + 1) // 2
        short = f"{text[:head].rstrip()}…{text[head - kept :].lstrip()}"
        if _text_width(short, size) <= width:
            return short
    return "…"


def _draw_heading(canvas: _Canvas, plan: PlanSheet) -> None:
    width = WIDTH_PX - 2 * _MARGIN
    canvas.text(_MARGIN, _MARGIN + 12, elide(drawable(plan.title), 24, width), 24)
    for number, fact in enumerate(plan.facts):
        y = _MARGIN + 44 + 22 * number
        canvas.text(_MARGIN, y, elide(drawable(fact), 15, width), 15, _SOFT_INK)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Panel:
    """A picture on the sheet.

    view: the part of the pixels that is the frame; persons are drawn in it, the rest is dimmed.
    """

    pixels: NDArray[np.uint8]
    left: float
    width: float
    height: float
    view: Box
    with_persons: bool
    caption: str

    @property
    def scale(self) -> float:
        return float(self.width / self.pixels.shape[1])


def _panels(plan: PlanSheet) -> list[_Panel]:
    """One panel if the crop is most of the source, else the frame and its source next to it."""
    height, width = plan.frame.shape[:2]
    framed = f"as it will be framed, {width}x{height}"
    if plan.source is None:
        return [_panel(plan.frame, _MARGIN, _fitting(plan.frame), None, True, framed)]
    source = plan.source
    share = _area(source.crop) / (source.pixels.shape[0] * source.pixels.shape[1])
    caption = f"framed {width}x{height} out of {source.size_text}"
    if share >= _ONE_PANEL_SHARE:
        scale = _fitting(source.pixels)
        return [_panel(source.pixels, _MARGIN, scale, source.crop, True, caption)]
    frame_ratio, source_ratio = width / height, source.pixels.shape[1] / source.pixels.shape[0]
    room = WIDTH_PX - 2 * _MARGIN - _GAP
    shared = min(_PANELS_MAX_HEIGHT, room / (frame_ratio + source_ratio))
    main = _panel(plan.frame, _MARGIN, shared / height, None, True, framed)
    left, scale = _MARGIN + main.width + _GAP, shared / source.pixels.shape[0]
    caption = f"out of {source.size_text}"
    return [main, _panel(source.pixels, left, scale, source.crop, False, caption)]


def _panel(
    pixels: NDArray[np.uint8],
    left: float,
    scale: float,
    view: Box | None,
    with_persons: bool,
    caption: str,
) -> _Panel:
    height, width = pixels.shape[:2]
    return _Panel(
        pixels=pixels,
        left=left,
        width=width * scale,
        height=height * scale,
        view=(0.0, 0.0, float(width), float(height)) if view is None else view,
        with_persons=with_persons,
        caption=caption,
    )


def _fitting(pixels: NDArray[np.uint8]) -> float:
    height, width = pixels.shape[:2]
    return float(min(_PANELS_MAX_HEIGHT / height, (WIDTH_PX - 2 * _MARGIN) / width))


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _draw_panel(canvas: _Canvas, panel: _Panel, top: float, plan: PlanSheet) -> None:
    place = (panel.left, top, panel.left + panel.width, top + panel.height)
    view = _moved(panel.view, panel.scale, panel.left, top)
    canvas.picture(place, panel.pixels)
    if _area(panel.view) < panel.pixels.shape[0] * panel.pixels.shape[1] * 0.999:
        _dim_outside(canvas, place, view)
        canvas.outline(view, _WHITE, 2)
    caption = elide(drawable(panel.caption), 13, max(panel.width, 120))
    canvas.text(panel.left, place[3] + 15, caption, 13, _SOFT_INK)
    if panel.with_persons:
        frame_scale = (view[2] - view[0]) / plan.frame.shape[1]
        _draw_persons(canvas, plan, view, frame_scale)


def _moved(box: Box, scale: float, left: float, top: float) -> Box:
    return (
        left + box[0] * scale,
        top + box[1] * scale,
        left + box[2] * scale,
        top + box[3] * scale,
    )


def _dim_outside(canvas: _Canvas, place: Box, view: Box) -> None:
    from PIL import Image

    outer, inner = _scaled(place), _scaled(view)
    kept = canvas.image.crop(inner)
    around = canvas.image.crop(outer).convert("L").convert("RGB")
    canvas.image.paste(Image.blend(around, Image.new("RGB", around.size, _PAPER), 0.62), outer[:2])
    canvas.image.paste(kept, inner[:2])


def _draw_persons(canvas: _Canvas, plan: PlanSheet, view: Box, scale: float) -> None:
    persons = list(plan.persons)[:MAX_PERSONS]
    boxes = [_moved(person.box, scale, view[0], view[1]) for person in persons]
    for person, box in zip(persons, boxes, strict=True):
        color = _color(person.voice)
        canvas.outline(_grown(box, 1), _WHITE, 5, radius=5)
        canvas.outline(box, color, 3, radius=4)
    badges: list[Box] = []
    for person, box in zip(persons, boxes, strict=True):
        name = "silent" if person.voice is None else plan.tracks[person.voice].name
        badges.append(_draw_badge(canvas, person, name, box, view, badges))


def _color(voice: int | None) -> Color:
    return _SILENT if voice is None else SPEAKER_COLORS[voice % len(SPEAKER_COLORS)]


def _grown(box: Box, by: float) -> Box:
    return box[0] - by, box[1] - by, box[2] + by, box[3] + by


def _draw_badge(
    canvas: _Canvas, person: SheetPerson, name: str, box: Box, view: Box, badges: Sequence[Box]
) -> Box:
    """Draws number and name at a box, if possible off the other badges. Returns their place."""
    number = str(person.number)
    number_width = _text_width(number, 17) + 18
    room = min(max(box[2] - box[0], _MIN_LABEL_WIDTH), view[2] - view[0]) - number_width - 18
    label = elide(drawable(name), 15, room)
    width = number_width + _text_width(label, 15) + 18
    place = _badge_place(box, view, width, 28, badges)
    canvas.block(_grown(place, 1.5), _WHITE, 6.5)
    canvas.block(place, _color(person.voice), 5)
    canvas.text(place[0] + 9, place[1] + 14, number, 17, _WHITE)
    divider = place[0] + number_width
    canvas.upright(divider, place[1] + 6, place[3] - 6, _WHITE)
    canvas.text(divider + 9, place[1] + 14, label, 15, _WHITE)
    return place


def _badge_place(box: Box, view: Box, width: float, height: float, badges: Sequence[Box]) -> Box:
    left = min(max(box[0], view[0] + 4), max(view[2] - width - 4, view[0]))
    tops = (box[1] - height - 5, box[3] + 5, box[1] + 6, box[3] - height - 6)
    inside = [top for top in tops if view[1] + 2 <= top and top + height <= view[3] - 2]
    for top in inside:
        place = (left, top, left + width, top + height)
        if not any(_overlap(place, other) for other in badges):
            return place
    top = inside[0] if inside else view[1]
    return left, top, left + width, top + height


def _overlap(first: Box, second: Box) -> bool:
    across = first[0] < second[2] and second[0] < first[2]
    return across and first[1] < second[3] and second[1] < first[3]


def _timeline_height(plan: PlanSheet) -> float:
    return 24 + len(plan.tracks) * (_ROW_HEIGHT + _ROW_GAP) + 20


def _draw_timeline(canvas: _Canvas, plan: PlanSheet, top: float) -> None:
    left, right = _MARGIN + _LABELS_WIDTH, WIDTH_PX - _MARGIN
    lanes_top = top + 24
    bottom = lanes_top + len(plan.tracks) * (_ROW_HEIGHT + _ROW_GAP) - _ROW_GAP
    numbers = {person.voice: person.number for person in plan.persons if person.voice is not None}
    for number, track in enumerate(plan.tracks):
        lane = lanes_top + number * (_ROW_HEIGHT + _ROW_GAP)
        canvas.block((left, lane, right, lane + _ROW_HEIGHT), _LANE)
        heights = _heights(track.levels, plan.frames, round((right - left) * _SCALE))
        color = _color(number)
        canvas.columns(left, lane + _ROW_HEIGHT, heights * (_ROW_HEIGHT - 6), color)
        _draw_lane_label(canvas, lane + _ROW_HEIGHT / 2, numbers.get(number), track, color)
    _draw_borders(canvas, plan, (left, top, right, bottom))
    _draw_ticks(canvas, plan.duration_s, left, right, bottom)


def _heights(levels: NDArray[np.float32], frames: int, columns: int) -> NDArray[np.float32]:
    """A smooth curve through the frames' middles; [columns] 0 to 1.

    With fewer columns than frames each shows its loudest frame, so that no short word is lost.
    """
    import numpy as np

    padded = np.zeros(frames, np.float32)
    shown = np.nan_to_num(np.clip(levels[:frames], 0, 1))
    padded[: len(shown)] = shown
    per_column = frames / columns
    if per_column < 1:
        middles = (np.arange(columns) + 0.5) * per_column - 0.5
        curve: NDArray[np.float32] = np.interp(middles, np.arange(frames), padded)
        return curve.astype(np.float32)
    starts = (np.arange(columns) * per_column).astype(np.int64)
    heights: NDArray[np.float32] = np.maximum.reduceat(padded, starts)
    return heights


def _draw_lane_label(
    canvas: _Canvas, middle: float, number: int | None, track: SheetTrack, color: Color
) -> None:
    name_left, room = float(_MARGIN), float(_LABELS_WIDTH - 16)
    if number is not None:
        width = _text_width(str(number), 15) + 16
        place = (_MARGIN, middle - 13, _MARGIN + width, middle + 13)
        canvas.block(place, color, 5)
        canvas.text(_MARGIN + 8, middle, str(number), 15, _WHITE)
        name_left, room = _MARGIN + width + 9, room - width - 9
    else:
        canvas.text(name_left, middle + 11, "no face or box", 13, _SOFT_INK)
        middle -= 9
    canvas.text(name_left, middle, elide(drawable(track.name), 15, room), 15)


def _draw_borders(canvas: _Canvas, plan: PlanSheet, area: Box) -> None:
    """Draws the borders of the windows; of too many, only their number and length."""
    left, top, right, bottom = area
    ends = [min(window.end, plan.frames) for window in plan.windows]
    places = [left, *(left + (right - left) * end / plan.frames for end in ends)]
    gap = (right - left) / len(plan.windows)
    has_borders, has_numbers = gap >= _MIN_BORDER_GAP, gap >= _MIN_NUMBER_GAP
    text = human_count(len(ends), "window")
    if not has_borders:
        text += f" of about {(ends[1] - ends[0]) / plan.fps:.1f} s"
    canvas.text(_MARGIN, top + 10, text, 13, _SOFT_INK)
    for place in places[1:-1] if has_borders else ():
        canvas.upright(place, top + (0 if has_numbers else 18), bottom, _SOFT_INK)
    for number, (start, end) in enumerate(itertools.pairwise(places), start=1):
        if has_numbers and len(ends) > 1 and end - start >= _MIN_NUMBER_GAP / 2:
            width = _text_width(str(number), 13)
            canvas.text((start + end - width) / 2, top + 10, str(number), 13, _SOFT_INK)


def _draw_ticks(
    canvas: _Canvas, duration_s: float, left: float, right: float, bottom: float
) -> None:
    canvas.block((left, bottom, right, bottom + 1), _LINE)
    per_s = (right - left) / duration_s
    step = next((step for step in _TICKS_S if step * per_s >= _TICK_GAP), _TICKS_S[-1])
    end = _clock(duration_s, duration_s, 0.1)
    last = right - _text_width(end, 13)
    for number in range(int(duration_s / step + 1e-9) + 1):
        text = _clock(number * step, duration_s, step)
        x = left + number * step * per_s
        if x + _text_width(text, 13) + 14 < last:
            canvas.block((x, bottom, x + 1, bottom + 6), _SOFT_INK)
            canvas.text(x, bottom + 16, text, 13, _SOFT_INK)
    canvas.block((right - 1, bottom, right, bottom + 6), _SOFT_INK)
    canvas.text(last, bottom + 16, end, 13, _INK)


def _clock(seconds: float, duration_s: float, step: float) -> str:
    if duration_s >= 120:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes}:{rest:02d}"
    return f"{seconds:.1f} s" if step < 1 else f"{seconds:.0f} s"
