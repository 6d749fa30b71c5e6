"""The plan's picture shows the crop, who has which voice, and when each speaks."""

import numpy as np
import pytest

from multitalk_cli.media.drawing.plan_sheet import (
    MAX_PERSONS,
    SPEAKER_COLORS,
    WIDTH_PX,
    PlanSheet,
    SheetPerson,
    SheetSource,
    SheetTrack,
    draw_plan,
    drawable,
    elide,
)
from multitalk_cli.planning.windows import plan_windows

GREEN, RED = (40, 160, 60), (200, 30, 40)
BLUE, ORANGE = SPEAKER_COLORS
LANE = slice(228, 1088)  # the columns of the time line


def filled(width, height, color=GREEN):
    return np.full((height, width, 3), color, np.uint8)


def speech(frames, *spoken):
    levels = np.zeros(frames, np.float32)
    for start, end in spoken:
        levels[start:end] = 0.8
    return levels


def sheet_of(**changes):
    plan = {
        "frame": filled(896, 448),
        "persons": [SheetPerson(number=1, box=(300, 100, 500, 300), voice=0)],
        "tracks": [SheetTrack(name="voice.wav", levels=speech(240, (0, 120)))],
        "windows": plan_windows(240),
        "frames": 240,
        "fps": 24,
        "title": "host.png",
        "facts": ["240 frames", "about $1"],
    } | changes
    return PlanSheet(**plan)


def drawn(**changes):
    return np.asarray(draw_plan(sheet_of(**changes)))


def places(picture, color):
    """Rows and columns of the pixels with exactly that colour."""
    return np.nonzero((picture == color).all(axis=2))


def test_the_sheet_has_one_width_and_shows_the_whole_frame():
    picture = drawn()

    rows, columns = places(picture, GREEN)
    assert picture.shape[1] == WIDTH_PX
    assert (np.ptp(columns) + 1) / (np.ptp(rows) + 1) == pytest.approx(2, abs=0.01)
    assert np.ptp(columns) + 1 == WIDTH_PX - 64


@pytest.mark.parametrize(
    ("width", "height"), [(896, 448), (448, 896), (640, 640), (1280, 720), (2048, 32), (32, 2048)]
)
def test_every_shape_of_frame_keeps_its_shape(width, height):
    picture = drawn(frame=filled(width, height), persons=[])

    rows, columns = places(picture, GREEN)
    ratio = (np.ptp(columns) + 1) / (np.ptp(rows) + 1)
    assert ratio == pytest.approx(width / height, rel=0.15)
    assert max(columns) < WIDTH_PX - 31


def test_what_is_cut_off_is_dimmed_and_what_stays_is_not():
    pixels = filled(1000, 600)
    pixels[500:] = RED
    source = SheetSource(pixels=pixels, crop=(0, 0, 1000, 500), size_text="1000 x 600")

    picture = drawn(frame=filled(896, 448), source=source, persons=[])

    assert len(places(picture, GREEN)[0]) > 100_000
    assert len(places(picture, RED)[0]) == 0
    below = picture[max(places(picture, GREEN)[0]) + 20, 100]
    assert np.ptp(below) < 4
    assert below.min() > 150


def test_a_small_crop_is_shown_large_beside_its_source():
    pixels = filled(600, 1200, RED)
    pixels[200:500] = GREEN
    source = SheetSource(pixels=pixels, crop=(0, 200, 600, 500), size_text="600 x 1200")

    picture = drawn(source=source, persons=[])

    columns = places(picture, GREEN)[1]
    gap = np.flatnonzero(np.diff(np.unique(columns)) > 10)
    assert len(gap) == 1
    assert max(columns) < WIDTH_PX - 31


def test_boxes_stand_where_they_are_in_the_frame_in_their_voices_colour():
    boxes = [
        SheetPerson(number=1, box=(100, 150, 200, 250), voice=0),
        SheetPerson(number=2, box=(600, 150, 700, 250), voice=1),
    ]
    tracks = [SheetTrack(name=name, levels=speech(240)) for name in ("a.wav", "b.wav")]

    picture = drawn(persons=boxes, tracks=tracks)[:650]

    scale = (WIDTH_PX - 64) / 896
    for color, (left, right) in ((BLUE, (100, 200)), (ORANGE, (600, 700))):
        rows, columns = places(picture, color)
        outline = np.bincount(columns[rows > rows.max() - 100], minlength=WIDTH_PX) > 60
        assert np.flatnonzero(outline)[0] == pytest.approx(32 + left * scale, abs=2)
        assert np.flatnonzero(outline)[-1] == pytest.approx(32 + right * scale, abs=2)


def test_boxes_of_a_source_are_placed_within_its_crop():
    source = SheetSource(
        pixels=filled(1000, 500), crop=(200, 100, 1000, 500), size_text="1000 x 500"
    )

    picture = drawn(
        source=source, persons=[SheetPerson(number=1, box=(0, 300, 200, 448), voice=0)]
    )[:650]

    scale = (WIDTH_PX - 64) / 1000
    columns = places(picture, BLUE)[1]
    assert min(columns) == pytest.approx(32 + 200 * scale, abs=6)


def test_somebody_silent_is_grey():
    silent = [SheetPerson(number=1, box=(300, 100, 500, 300), voice=None)]

    picture = drawn(persons=silent, tracks=[SheetTrack(name="v.wav", levels=speech(240))])

    assert len(places(picture[:650], BLUE)[0]) == 0


def test_the_curve_is_as_long_as_the_speech_and_moves_with_it():
    def columns_of(levels):
        picture = drawn(tracks=[SheetTrack(name="v.wav", levels=levels)], persons=[])
        lane = (picture[-116:-56, LANE] == BLUE).all(axis=2)
        return np.flatnonzero(lane[:-4].any(axis=0))

    early, late = columns_of(speech(240, (0, 120))), columns_of(speech(240, (180, 240)))

    assert (early.min(), early.max()) == (0, pytest.approx(430, abs=5))
    assert late.min() == pytest.approx(645, abs=5)


def test_a_louder_frame_is_drawn_higher():
    levels = np.linspace(0.05, 1, 240, dtype=np.float32)

    picture = drawn(
        tracks=[SheetTrack(name="v.wav", levels=levels)], persons=[], windows=plan_windows(5)
    )

    heights = (picture[-116:-56, LANE] == BLUE).all(axis=2).sum(axis=0)
    assert np.corrcoef(heights, np.arange(len(heights)))[0, 1] > 0.99


def test_a_short_word_in_a_long_recording_stays_visible():
    frames = 43_200
    levels = speech(frames, (20_000, 20_001))

    picture = drawn(
        frames=frames,
        windows=plan_windows(frames),
        persons=[],
        tracks=[SheetTrack(name="v.wav", levels=levels)],
    )

    reds = picture[-116:-65, LANE].astype(int)
    bluish = (reds[..., 2] - reds[..., 0]) > 60
    assert bluish.any(axis=0).sum() in (1, 2)


def test_windows_have_borders_where_the_next_one_takes_over():
    picture = drawn(persons=[], tracks=[SheetTrack(name="v.wav", levels=speech(240))])

    lane = picture[-116:-70, LANE].astype(int).sum(axis=2)
    borders = np.flatnonzero((lane < lane.max() - 60).all(axis=0))
    ends = [window.end / 240 * 860 for window in plan_windows(240)[:-1]]
    assert len(ends) == 3
    for end in ends:
        assert np.abs(borders - end).min() <= 1


@pytest.mark.parametrize("frames", [1, 5, 24, 1441, 43_200])
@pytest.mark.parametrize("fps", [8, 24, 60])
def test_any_length_can_be_drawn(frames, fps):
    picture = drawn(
        frames=frames,
        fps=fps,
        windows=plan_windows(frames),
        tracks=[SheetTrack(name="v.wav", levels=speech(frames, (0, frames)))],
    )

    assert len(places(picture, BLUE)[0]) > 1000


def test_levels_that_are_missing_or_no_numbers_are_silence():
    levels = np.array([np.nan, np.inf, -1, 0.5], np.float32)

    picture = drawn(tracks=[SheetTrack(name="v.wav", levels=levels)], persons=[])

    assert picture.shape[1] == WIDTH_PX


def test_a_crowd_with_boxes_over_the_edges_can_be_drawn():
    crowd = [
        SheetPerson(
            number=n + 1, box=(n * 40 - 20, n * 20 - 20, n * 40 + 20, n * 20 + 30), voice=None
        )
        for n in range(MAX_PERSONS + 5)
    ]

    assert drawn(persons=crowd).shape[1] == WIDTH_PX


def test_badges_of_neighbours_do_not_hide_each_other():
    near = [
        SheetPerson(number=1, box=(300, 200, 400, 300), voice=0),
        SheetPerson(number=2, box=(310, 205, 410, 305), voice=1),
    ]
    tracks = [SheetTrack(name="voice.wav", levels=speech(240)) for _ in near]

    picture = drawn(persons=near, tracks=tracks)[:650]

    for color in SPEAKER_COLORS:
        rows, _ = places(picture, color)
        assert (np.bincount(rows) > 60).sum() >= 15


def test_long_names_are_elided_in_the_middle():
    name = "a recording of the second take with a very long name.wav"

    short = elide(name, 15, 150)

    assert short.startswith("a rec")
    assert short.endswith(".wav")
    assert "…" in short
    assert elide("short.wav", 15, 150) == "short.wav"
    assert elide(name, 15, 0) == "…"


def test_letters_that_the_font_lacks_are_replaced():
    assert drawable("Émile ß 你\n.wav") == "Emile ? ??.wav"


def test_a_voice_without_a_person_is_labelled():
    with_person, without = drawn(), drawn(persons=[])

    labels = slice(-116, -56), slice(0, 220)
    assert (with_person[labels] != without[labels]).any()
