"""The strip around a preview's picture: notice, speakers, levels and time.

Above the picture a line of text and a tag over each speaker, below it a lane for each voice.
Nothing covers the picture, so that its framing is visible as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from multitalk_cli.media.audio.envelope import SILENCE_DB

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import ImageDraw, ImageFont

    from multitalk_cli.media.audio.envelope import Curve

    Pixels = NDArray[np.uint8]  # [H, W, 3]
    Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

Color = tuple[int, int, int]

VOICE_COLORS: tuple[Color, ...] = ((255, 186, 66), (92, 194, 255))
BACKGROUND: Color = (18, 19, 22)
NOTICES = (
    "PREVIEW, drawn without a model: it shows framing, timing and who speaks. Not model output.",
    "PREVIEW without a model: framing, timing, who speaks",
    "PREVIEW, not model output",
    "PREVIEW",
)
_TEXT, _NOTICE, _LANE = (205, 208, 212), (255, 214, 110), (30, 32, 37)
_SPEAKING = 0.12  # opening of the mouth from which a tag lights up
_LANE_RANGE_DB = 40.0  # from an empty lane to a full one
_CLOCK_CHARACTERS = "0123456789:. /"
_BARS = (0.45, 0.75, 1.0, 0.75, 0.45)  # heights of a meter's bars
_METER_STEPS = 32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StripVoice:
    """One voice of the strip.

    name: of the tag. anchor_px: x in the picture that the tag points to. levels: dB a frame.
    openings: 0 to 1 a frame.
    """

    name: str
    anchor_px: float
    color: Color
    levels: Curve
    openings: Curve


class Strip:
    """A frame with room for the picture; `draw_on` updates it from frame to frame."""

    def __init__(
        self, voices: Sequence[StripVoice], *, width: int, height: int, frames: int, fps: int
    ) -> None:
        """width, height: of the picture, both even."""
        self._voices, self._frames, self._fps = tuple(voices), frames, fps
        self._width = width
        self._text_px = min(max(round(width / 60), 9), 20)
        row = self._text_px * 3 // 2
        self._notice_rows = slice(0, row)
        self._tag_rows = slice(row, 2 * row + row // 3)
        top = self._tag_rows.stop + self._tag_rows.stop % 2
        self.picture = (slice(top, top + height), slice(0, width))
        self._lanes_top = top + height
        self._lane = row + row % 2
        self._margin = min(self._text_px * 3 // 2, width // 8)
        self.height = self._lanes_top + max(1, len(self._voices)) * self._lane
        self._tags = self._arranged_tags()
        self._dim, self._lit = self._lanes(0.38), self._lanes(1.0)

    def frame(self, picture: Pixels) -> Pixels:
        """A new frame [height, W, 3] around the picture, for `draw_on`."""
        import numpy as np
        from PIL import Image, ImageDraw

        canvas = Image.new("RGB", (self._width, self.height), BACKGROUND)
        draw = ImageDraw.Draw(canvas)
        middle = self._notice_rows.stop / 2
        inset = self._text_px // 2
        room = self._width - 3 * inset - self._clock_width
        notice = _first_that_fits(NOTICES, self._font, room)
        draw.text((inset, middle), notice, _NOTICE, font=self._font, anchor="lm")
        for tag in self._tags:
            tag.draw_pointer(draw, self._tag_rows)
        frame = np.array(canvas)
        frame[self.picture] = picture
        frame[self._lanes_top :] = self._dim
        return frame

    def draw_on(self, frame: Pixels, number: int) -> None:
        """Draws tags, lanes and clock of frame `number`; frames come in order from 0."""
        for tag, voice in zip(self._tags, self._voices, strict=True):
            speaking = bool(voice.openings[number] > _SPEAKING)
            image = tag.speaking if speaking else tag.quiet
            height, width = image.shape[:2]
            frame[self._tag_rows.start : self._tag_rows.start + height, tag.x : tag.x + width] = (
                image
            )
        before, now = self._column(max(number - 1, 0)), self._column(number)
        lanes = frame[self._lanes_top :]
        lanes[:, before : now + 1] = self._lit[:, before : now + 1]
        lanes[:, now : now + 2] = 255
        self._draw_clock(frame, number)

    def _column(self, number: int) -> int:
        span = self._width - self._margin - 2
        return self._margin + number * span // max(self._frames - 1, 1)

    @cached_property
    def _font(self) -> Font:
        from PIL import ImageFont

        return ImageFont.load_default(self._text_px)

    def _lanes(self, strength: float) -> Pixels:
        """All lanes with their levels, [n * lane, W, 3], in dimmed or full colours."""
        import numpy as np
        from PIL import Image, ImageDraw

        count = max(1, len(self._voices))
        canvas = Image.new("RGB", (self._width, count * self._lane), _LANE)
        draw = ImageDraw.Draw(canvas)
        for n, voice in enumerate(self._voices):
            color = _mixed(voice.color, _LANE, strength)
            middle = (n + 0.5) * self._lane
            draw.rectangle((0, n * self._lane, self._width, n * self._lane), BACKGROUND)
            draw.text((self._margin / 2, middle), str(n + 1), voice.color, self._font, anchor="mm")
            for x, share in enumerate(self._columns(voice.levels), self._margin):
                half = share * (self._lane / 2 - 2)
                if half >= 0.5:
                    draw.line((x, round(middle - half), x, round(middle + half)), color)
        return np.asarray(canvas)

    def _columns(self, levels: Curve) -> list[float]:
        """The loudest level of each column of a lane, 0 to 1."""
        import numpy as np

        frames = len(levels)
        columns = np.arange(self._width - self._margin)
        last = max(len(columns) - 2, 1)
        # The frame under each column: the playhead of frame n is at the column of n.
        first = np.minimum(-(-columns * max(frames - 1, 1) // last), frames - 1)
        loudest = np.maximum.reduceat(levels, first)
        shares = np.clip((loudest - levels.max() + _LANE_RANGE_DB) / _LANE_RANGE_DB, 0, 1) ** 1.5
        # A track without any sound has an empty lane, and not one filled by its noise floor.
        return [float(share) if levels.max() > SILENCE_DB + 1 else 0.0 for share in shares]

    def _arranged_tags(self) -> list[_Tag]:
        room = self._width // max(1, len(self._voices))
        tags = [_Tag.of(voice, self._font, self._tag_rows, room) for voice in self._voices]
        free = self._width
        for tag in reversed(sorted(tags, key=lambda tag: tag.anchor)):
            tag.x = max(0, min(tag.x, free - tag.width))
            free = tag.x
        occupied = 0
        for tag in sorted(tags, key=lambda tag: tag.anchor):
            tag.x = max(tag.x, occupied)
            occupied = tag.x + tag.width
        return tags

    @cached_property
    def _characters(self) -> dict[str, Pixels]:
        """A picture of each character of the clock; digits are equally wide, so that none moves."""
        import numpy as np
        from PIL import Image, ImageDraw

        digit_width = max(round(self._font.getlength(digit)) for digit in "0123456789")
        pictures = {}
        for character in _CLOCK_CHARACTERS:
            narrow = character in ":./"
            width = round(self._font.getlength(character)) + 1 if narrow else digit_width
            size = (width, self._notice_rows.stop)
            canvas = Image.new("RGB", size, BACKGROUND)
            middle = (width / 2, self._notice_rows.stop / 2)
            ImageDraw.Draw(canvas).text(middle, character, _TEXT, self._font, anchor="mm")
            pictures[character] = np.asarray(canvas)
        return pictures

    @cached_property
    def _total(self) -> str:
        return _clock(self._frames, self._fps)

    @cached_property
    def _clock_width(self) -> int:
        """The width of the last text of the clock, and so of all."""
        text = f"{self._total} / {self._total}"
        return sum(self._characters[character].shape[1] for character in text)

    def _draw_clock(self, frame: Pixels, number: int) -> None:
        x = self._width - self._text_px // 2 - self._clock_width
        if x < self._font.getlength(NOTICES[-1]) + self._text_px:
            return
        for character in f"{_clock(number, self._fps):>{len(self._total)}} / {self._total}":
            picture = self._characters[character]
            frame[self._notice_rows, x : x + picture.shape[1]] = picture
            x += picture.shape[1]


class _Tag:
    """The name of a voice above its speaker, drawn once lit and once dim."""

    def __init__(
        self, *, x: int, anchor: float, color: Color, speaking: Pixels, quiet: Pixels
    ) -> None:
        self.x, self.anchor, self.color = x, anchor, color
        self.speaking, self.quiet = speaking, quiet

    @property
    def width(self) -> int:
        """The width in pixels."""
        return int(self.speaking.shape[1])

    @classmethod
    def of(cls, voice: StripVoice, font: Font, rows: slice, room: int) -> _Tag:
        """Centred over its speaker; with a shorter name where the full one is wider than room."""
        height = (rows.stop - rows.start) * 3 // 4
        padding = height // 2
        name = _first_that_fits((voice.name, voice.name.split()[-1], ""), font, room - 2 * padding)
        width = max(1, min(room, round(font.getlength(name)) + 2 * padding))
        size = (width, height)
        return cls(
            x=round(voice.anchor_px - width / 2),
            anchor=voice.anchor_px,
            color=voice.color,
            speaking=_label(name, font, size, voice.color, BACKGROUND),
            quiet=_label(name, font, size, _mixed(voice.color, BACKGROUND, 0.2), voice.color),
        )

    def draw_pointer(self, draw: ImageDraw.ImageDraw, rows: slice) -> None:
        """The small triangle between the tag and the picture."""
        top, size = rows.start + self.speaking.shape[0], (rows.stop - rows.start) // 4
        x = min(max(self.anchor, self.x + size), self.x + self.width - size)
        draw.polygon([(x - size, top), (x + size, top), (x, top + size)], self.color)


def _label(name: str, font: Font, size: tuple[int, int], fill: Color, text: Color) -> Pixels:
    import numpy as np
    from PIL import Image, ImageDraw

    canvas = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    draw.rounded_rectangle((0, 0, size[0] - 1, size[1] - 1), size[1] // 4, fill=fill)
    draw.text((size[0] / 2, size[1] / 2), name, text, font, anchor="mm")
    return np.asarray(canvas)


def _first_that_fits(texts: Sequence[str], font: Font, room: float) -> str:
    """The first text that is not wider than room, else the last."""
    return next((text for text in texts if font.getlength(text) <= room), texts[-1])


def _mixed(color: Color, other: Color, share: float) -> Color:
    red, green, blue = (
        round(share * a + (1 - share) * b) for a, b in zip(color, other, strict=True)
    )
    return red, green, blue


def _clock(frames: int, fps: int) -> str:
    """Minutes, seconds and hundredths."""
    minutes, hundredths = divmod(frames * 100 // fps, 6000)
    return f"{minutes}:{hundredths // 100:02}.{hundredths % 100:02}"


class Meter:
    """Bars that move with a voice, in the place of a speaker without a face."""

    def __init__(
        self, picture: Pixels, box: tuple[float, float, float, float], color: Color
    ) -> None:
        """picture: [H, W, 3]. box: x0, y0, x1, y1 of the place, in its pixels."""
        x0, y0, x1, y1 = (round(edge) for edge in box)
        side = max(8, min(x1 - x0, y1 - y0, picture.shape[0] // 3))
        left, top = (x0 + x1 - side) // 2, (y0 + y1 - side) // 2
        self.region = (slice(max(top, 0), top + side), slice(max(left, 0), left + side))
        self._under = picture[self.region]
        self._color = color
        self._patches: dict[int, Pixels] = {}

    def draw_on(self, frame: Pixels, opening: float) -> None:
        """Draws the bars, of height 0 to 1, on a copy of the picture, [H, W, 3]."""
        step = round(min(max(opening, 0.0), 1.0) * _METER_STEPS)
        if step not in self._patches:
            self._patches[step] = self._draw(step / _METER_STEPS)
        frame[self.region] = self._patches[step]

    def _draw(self, opening: float) -> Pixels:
        import numpy as np
        from PIL import Image, ImageDraw

        panel = Image.fromarray(self._under).point(lambda value: value * 0.35)
        width, height = panel.size
        draw = ImageDraw.Draw(panel)
        for n, weight in enumerate(_BARS):
            middle = width * (n + 1) / (len(_BARS) + 1)
            half = height * (0.03 + 0.4 * weight * opening)
            box = (middle - width / 18, height / 2 - half, middle + width / 18, height / 2 + half)
            draw.rounded_rectangle(box, width / 30, fill=self._color)
        mask = Image.new("L", panel.size)
        corner = min(panel.size) / 8
        ImageDraw.Draw(mask).rounded_rectangle((0, 0, width - 1, height - 1), corner, 255)
        return np.asarray(Image.composite(panel, Image.fromarray(self._under), mask))
