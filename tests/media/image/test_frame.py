"""Pictures are framed to exactly the pixels of the video, with whole faces if possible."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from multitalk_cli.errors import UsageError
from multitalk_cli.media.faces.detect import Face
from multitalk_cli.media.image.frame import frame_picture
from multitalk_cli.media.image.sizes import BUCKETS_480P, BUCKETS_720P
from tests.media.image.pictures import (
    assert_quarters,
    drawing,
    near,
    photograph,
    quarters,
    to_picture,
)
from tests.repetitions import examples


def test_cover_without_faces_cuts_the_middle_and_more_below_than_above():
    wide = frame_picture(to_picture(Image.new("RGB", (2000, 500))), 896, 448, "cover", ())
    square = frame_picture(to_picture(Image.new("RGB", (500, 500))), 896, 448, "cover", ())
    assert wide.crop == pytest.approx((500, 0, 1500, 500))
    assert square.crop == pytest.approx((0, 87.5, 500, 337.5))
    assert wide.adjusted == ("cropped to 896x448",)
    assert wide.pixels.shape == (448, 896, 3)


@pytest.mark.parametrize("height", [501, 750, 1000, 3000])
def test_cover_keeps_the_top_of_a_tall_picture_without_faces(height):
    picture = to_picture(Image.new("RGB", (500, height)))
    framed = frame_picture(picture, 896, 448, "cover", ())
    assert 0 <= framed.crop[1] <= 0.05 * height


@pytest.mark.parametrize("room", [0.0, 0.1, 0.3, 2.0])
@pytest.mark.parametrize("top", [60.0, 200.0, 500.0])
def test_cover_begins_at_the_hairline_or_above_if_the_face_fits_with_it(room, top):
    face = _face((100, top, 380, top + 280))
    height = 280 * (1.12 + room)
    framed = frame_picture(
        to_picture(Image.new("RGB", (500, 1500))), 500, round(height), "cover", [face]
    )
    assert framed.crop[1] <= face.hairline_y + 1
    assert framed.crop[3] >= top + 280 - 1


def test_cover_prefers_a_large_face_to_two_small_ones():
    small = [_face((20, 20, 60, 60)), _face((120, 20, 160, 60))]
    large = _face((600, 300, 900, 600))
    picture = to_picture(Image.new("RGB", (1000, 1000)))
    framed = frame_picture(picture, 640, 640 // 2, "cover", [*small, large])
    assert framed.crop[1] <= 300
    assert framed.crop[3] >= 600
    assert "2 of the 3 faces found cannot be whole" in framed.warnings[0]


def test_picture_of_the_right_shape_is_left_alone():
    image = photograph("astronaut.png").resize((896, 448))
    framed = frame_picture(to_picture(image), 896, 448, "cover", ())
    assert framed.adjusted == ()
    assert np.array_equal(framed.pixels, np.asarray(image))


def _face(box):
    return Face(
        box=box, keypoints=np.zeros((4, 2)), score=1.0, mesh=np.zeros((468, 2)), mesh_score=0.0
    )


@given(
    size=st.tuples(st.integers(64, 900), st.integers(64, 900)),
    bucket=st.sampled_from((*BUCKETS_480P, *BUCKETS_720P)),
    data=st.data(),
)
@settings(max_examples=examples(150))
def test_cover_keeps_faces_whenever_it_can(size, bucket, data):
    width, height = size
    share = st.floats(0, 1)
    faces = []
    for _ in range(data.draw(st.integers(1, 3))):
        x0, x1 = sorted((data.draw(share) * width, data.draw(share) * width))
        y0, y1 = sorted((data.draw(share) * height, data.draw(share) * height))
        faces.append(_face((x0, y0, max(x1, x0 + 4), max(y1, y0 + 4))))
    picture = to_picture(Image.new("RGB", size))
    framed = frame_picture(picture, bucket.width_px, bucket.height_px, "cover", faces)
    x0, y0, x1, y1 = framed.crop
    boxes = np.clip([face.box for face in faces], 0, [width, height, width, height])
    fits = np.ptp(boxes[:, ::2]) <= x1 - x0 and np.ptp(boxes[:, 1::2]) <= y1 - y0
    kept = all(
        b[0] >= x0 - 1e-6 and b[1] >= y0 - 1e-6 and b[2] <= x1 + 1e-6 and b[3] <= y1 + 1e-6
        for b in boxes
    )
    assert kept or not fits
    assert bool(framed.warnings) is not kept
    assert 0 <= x0 < x1 <= width
    assert 0 <= y0 < y1 <= height


def test_cover_leaves_room_for_hair_where_there_is_any():
    framed = frame_picture(
        to_picture(Image.new("RGB", (500, 1000))), 896, 448, "cover", [_face((200, 700, 280, 780))]
    )
    assert framed.crop[1] <= 700 - 0.6 * 80
    assert framed.crop[3] >= 780 + 0.4 * 80


def test_cover_keeps_a_box_that_the_user_gave():
    picture = to_picture(Image.new("RGB", (500, 1000)))
    framed = frame_picture(picture, 896, 448, "cover", (), keep=[(100, 800, 300, 1000)])
    assert framed.crop[1] <= 800
    assert framed.crop[3] == pytest.approx(1000)


def test_a_box_around_a_face_is_no_other_face():
    faces = [_face((100, 300, 200, 400)), _face((700, 300, 800, 400))]
    picture = to_picture(Image.new("RGB", (1000, 1000)))
    framed = frame_picture(picture, 896, 448, "cover", faces, keep=[(50, 100, 300, 900)])
    assert framed.warnings == ()


def test_faces_that_cannot_all_stay_are_named():
    faces = [_face((10, 10, 60, 60)), _face((100, 20, 150, 70)), _face((900, 20, 990, 110))]
    picture = to_picture(Image.new("RGB", (1000, 300)))
    framed = frame_picture(picture, 448, 896, "cover", faces)
    assert framed.warnings[0].startswith("1 of the 3 faces found cannot be whole in 448x896")
    assert (len(framed.faces), framed.faces_outside) == (2, 1)


def test_contain_shows_everything_on_bars_of_the_background():
    picture = to_picture(quarters(400, 400))
    framed = frame_picture(picture, 896, 448, "contain", [_face((100, 100, 200, 200))])
    assert framed.pixels.shape == (448, 896, 3)
    assert framed.crop == (0, 0, 400, 400)
    assert near(framed.pixels[224, 10], (255, 255, 255), 0)
    assert_quarters(framed.pixels[:, 224:672])
    assert framed.faces[0].box == pytest.approx((336, 112, 448, 224))
    assert framed.adjusted[0] == "bars added to fill 896x448"


def test_stretching_is_noted_with_its_factor():
    picture = to_picture(quarters(400, 400))
    framed = frame_picture(picture, 896, 448, "stretch", ())
    assert_quarters(framed.pixels)
    assert framed.adjusted[0] == "stretched to 896x448: 2.00 times wider than it was"
    same = frame_picture(to_picture(quarters(1792, 896)), 896, 448, "stretch", ())
    assert same.adjusted == ()


def test_unknown_fit_is_refused():
    with pytest.raises(UsageError, match="cover, contain or stretch"):
        frame_picture(to_picture(quarters()), 896, 448, "crop", ())


@pytest.mark.parametrize("fit", ["cover", "contain", "stretch"])
def test_coordinates_map_both_ways_and_meet_the_pixels(fit):
    image = drawing((700, 500), [(300, 200, 60)])
    image.paste((255, 0, 255), (420, 240, 440, 260))
    framed = frame_picture(to_picture(image), 640, 640, fit, ())
    box = (420.0, 240.0, 440.0, 260.0)
    x0, y0, x1, y1 = framed.to_frame(box)
    assert near(framed.pixels[round((y0 + y1) / 2), round((x0 + x1) / 2)], (255, 0, 255), 3)
    assert framed.from_frame(framed.to_frame(box)) == pytest.approx(box)
    corners = np.array(box).reshape(2, 2)
    assert framed.points_to_frame(corners).ravel() == pytest.approx(framed.to_frame(box))


def test_enlarging_a_small_picture_is_noted():
    framed = frame_picture(to_picture(Image.new("RGB", (224, 112))), 896, 448, "cover", ())
    assert framed.adjusted == ("enlarged 4.0 times: the picture has fewer pixels than the video",)
