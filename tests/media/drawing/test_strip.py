"""The strip around a preview names it a preview, leaves the picture alone, and follows the time."""

import numpy as np
import pytest
from PIL import ImageFont

from multitalk_cli.media.audio.envelope import SILENCE_DB
from multitalk_cli.media.drawing.strip import (
    BACKGROUND,
    NOTICES,
    VOICE_COLORS,
    Meter,
    Strip,
    StripVoice,
    _clock,
    _first_that_fits,
)

WIDTH, HEIGHT, FRAMES = 896, 448, 50
PICTURE = np.full((HEIGHT, WIDTH, 3), 77, np.uint8)


def _voice(number=0, *, anchor=448.0, spoken=range(FRAMES)):
    openings = np.isin(np.arange(FRAMES), spoken).astype(np.float32)
    levels = np.where(openings > 0, -20.0, SILENCE_DB).astype(np.float32)
    return StripVoice(
        name=f"voice {number + 1}",
        anchor_px=anchor,
        color=VOICE_COLORS[number],
        levels=levels,
        openings=openings,
    )


def _strip(*voices, width=WIDTH, height=HEIGHT):
    return Strip(voices, width=width, height=height, frames=FRAMES, fps=25)


def _drawn(strip, last, picture=PICTURE):
    frame = strip.frame(picture)
    for number in range(last + 1):
        strip.draw_on(frame, number)
    return frame


def _has(pixels, color):
    return bool((np.abs(pixels.astype(int) - color).max(-1) < 8).any())


def test_the_picture_is_whole_and_untouched():
    strip = _strip(_voice(0, anchor=100), _voice(1, anchor=700))
    for last in (0, 20, FRAMES - 1):
        assert np.array_equal(_drawn(strip, last)[strip.picture], PICTURE)
    assert strip.height % 2 == 0
    assert strip.height > HEIGHT


def test_every_notice_begins_with_preview_and_the_longest_that_fits_is_drawn():
    assert all(notice.startswith("PREVIEW") for notice in NOTICES)
    assert "Not model output" in NOTICES[0]
    font = ImageFont.load_default(14)
    lengths = [font.getlength(notice) for notice in NOTICES]
    assert lengths == sorted(lengths, reverse=True)
    assert [_first_that_fits(NOTICES, font, length) for length in lengths] == list(NOTICES)
    assert _first_that_fits(NOTICES, font, 1) == "PREVIEW"


@pytest.mark.parametrize("width", [256, 448, 896, 1280])
def test_the_notice_and_the_clock_are_drawn(width):
    strip = _strip(_voice(anchor=width / 2), width=width)
    frame = _drawn(strip, 0, np.full((HEIGHT, width, 3), 77, np.uint8))
    row = frame[: strip._notice_rows.stop].astype(int)
    assert (np.abs(row[:, : width // 4] - BACKGROUND).max(-1) > 60).any()
    assert (np.abs(row[:, -width // 8 :] - BACKGROUND).max(-1) > 60).any()


def test_a_tag_stands_over_its_speaker_and_lights_up():
    strip = _strip(_voice(anchor=200, spoken=range(10, 20)))
    for number, lit in ((5, False), (15, True), (25, False)):
        over = _drawn(strip, number)[strip._tag_rows.start : strip._tag_rows.start + 6, 190:210]
        assert _has(over, VOICE_COLORS[0]) is lit


@pytest.mark.parametrize("anchors", [(440, 456), (0, 5), (890, 896), (700, 100)])
def test_tags_never_cover_each_other(anchors):
    first, second = _strip(*(_voice(n, anchor=x) for n, x in enumerate(anchors)))._tags
    assert first.x + first.width <= second.x or second.x + second.width <= first.x
    for tag in (first, second):
        assert 0 <= tag.x <= WIDTH - tag.width


def test_the_lane_is_lit_up_to_the_playhead():
    strip = _strip(_voice())
    frame = _drawn(strip, FRAMES // 2)
    lane = frame[strip._lanes_top :]
    playhead = int(np.flatnonzero((lane == 255).all((0, 2)))[0])
    share = (playhead - strip._margin) / (WIDTH - strip._margin)
    assert share == pytest.approx((FRAMES // 2) / (FRAMES - 1), abs=0.01)
    assert _has(lane[:, playhead - 5], VOICE_COLORS[0])
    assert not _has(lane[:, playhead + 5], VOICE_COLORS[0])
    assert ((lane == 255).all((0, 2))).sum() == 2


def test_each_lane_shows_when_its_voice_speaks():
    strip = _strip(_voice(0, spoken=range(25)), _voice(1, spoken=range(25, 50)))
    lanes = _drawn(strip, FRAMES - 1)[strip._lanes_top :]
    upper, lower = np.split(lanes, 2)
    left, right = slice(30, WIDTH // 2 - 10), slice(WIDTH // 2 + 30, WIDTH - 10)
    assert _has(upper[:, left], VOICE_COLORS[0])
    assert not _has(upper[:, right], VOICE_COLORS[0])
    assert _has(lower[:, right], VOICE_COLORS[1])
    assert not _has(lower[:, left], VOICE_COLORS[1])


def test_a_silent_lane_is_empty():
    strip = _strip(_voice(spoken=()))
    lane = _drawn(strip, FRAMES - 1)[strip._lanes_top :, 30 : WIDTH - 10]
    assert not _has(lane, VOICE_COLORS[0])


@pytest.mark.parametrize(
    ("frames", "fps", "text"),
    [(0, 24, "0:00.00"), (75, 24, "0:03.12"), (1500, 25, "1:00.00"), (43_199, 24, "29:59.95")],
)
def test_the_clock_counts_minutes_seconds_and_hundredths(frames, fps, text):
    assert _clock(frames, fps) == text


def test_a_meter_grows_with_the_voice_and_stays_in_its_box():
    meter = Meter(PICTURE, (100, 50, 300, 350), VOICE_COLORS[1])
    shares = []
    for opening in (0, 0.5, 1):
        frame = PICTURE.copy()
        meter.draw_on(frame, opening)
        changed = np.argwhere((frame != PICTURE).any(-1))
        assert changed.min(0)[1] >= 100
        assert changed.max(0)[1] <= 300
        shares.append((np.abs(frame.astype(int) - VOICE_COLORS[1]).max(-1) < 8).sum())
    assert shares[0] < shares[1] < shares[2]
