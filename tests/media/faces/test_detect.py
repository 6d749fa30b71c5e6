"""Faces are found where people are, and nowhere else."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from multitalk_cli.media.faces import detect as finder
from multitalk_cli.media.faces.detect import (
    CHIN,
    FOREHEAD,
    RELIABLE_MESH,
    Face,
    find_faces,
    follow_face,
    has_changed,
)
from multitalk_cli.media.image.frame import frame_picture
from multitalk_cli.media.image.sizes import BUCKETS_480P, BUCKETS_720P
from tests.generation.backends.previews import PORTRAIT
from tests.media.image.pictures import as_jpeg, beside, darker, drawing, photograph, to_picture
from tests.recordings import extra_inputs

pytestmark = pytest.mark.slow

BICUBIC = Image.Resampling.BICUBIC


def _astronaut():
    return photograph("astronaut.png")


def _camera():
    return photograph("camera.png")


# Two photographs of two people; every other row is a variant or a montage of them, as named.
PHOTOGRAPHS = {
    "astronaut": (_astronaut, 1),
    "photographer, in profile": (_camera, 1),
    "variant: mirrored": (lambda: ImageOps.mirror(_astronaut()), 1),
    "variant: profile mirrored": (lambda: ImageOps.mirror(_camera()), 1),
    "variant: grey": (lambda: ImageOps.grayscale(_astronaut()).convert("RGB"), 1),
    "variant: dark": (lambda: darker(_astronaut(), 0.25), 1),
    "variant: turned 15 degrees": (lambda: _astronaut().rotate(15, BICUBIC), 1),
    "variant: turned 15 degrees the other way": (lambda: _astronaut().rotate(-15, BICUBIC), 1),
    "variant: JPEG quality 10": (lambda: as_jpeg(_astronaut(), 10), 1),
    "variant: 128 pixels": (lambda: _astronaut().resize((128, 128), BICUBIC), 1),
    "variant: cut close": (lambda: _astronaut().crop((140, 20, 320, 220)), 1),
    "variant: enlarged": (lambda: _astronaut().resize((1536, 1536), BICUBIC), 1),
    "montage: two people": (lambda: beside(_astronaut(), _camera()), 2),
    "montage: one person twice": (lambda: beside(_astronaut(), ImageOps.mirror(_astronaut())), 2),
    "montage: three": (
        lambda: beside(_astronaut(), _camera(), _astronaut().crop((60, 0, 400, 340))),
        3,
    ),
}
# Their faces end at the picture's edges or beyond.
TIGHT = {
    "variant: filled by the face": (lambda: _astronaut().crop((172, 65, 272, 185)), 1),
    "variant: without forehead": (lambda: _astronaut().crop((172, 95, 272, 185)), 1),
}
DRAWINGS = {
    "one": (lambda: drawing((896, 448), [(448, 200, 90)]), 1),
    "two": (lambda: drawing((896, 448), [(250, 200, 80), (650, 210, 85)]), 2),
    "upright": (lambda: drawing((448, 640), [(224, 250, 110)]), 1),
    "three": (lambda: drawing((1216, 448), [(250, 200, 70), (600, 210, 75), (980, 200, 70)]), 3),
    "in ink": (lambda: drawing((640, 640), [(320, 280, 140)], ink=True), 1),
}
THINGS = (
    "coffee.png",
    "chelsea.png",
    "rocket.jpg",
    "motorcycle_left.png",
    "coins.png",
    "hubble_deep_field.jpg",
    "logo.png",
    "brick.png",
)
WITH_FACES = {**PHOTOGRAPHS, **DRAWINGS}


@pytest.mark.parametrize("name", [*WITH_FACES, *TIGHT])
def test_every_face_is_found_from_left_to_right(name):
    make, count = (WITH_FACES | TIGHT)[name]
    faces = find_faces(np.asarray(make()))
    assert len(faces) == count
    assert [f.center[0] for f in faces] == sorted(f.center[0] for f in faces)


@pytest.mark.parametrize("name", THINGS)
def test_no_face_is_found_on_things(name):
    thing = photograph(name)
    framed = frame_picture(to_picture(thing), 896, 448, "cover", ())
    assert find_faces(np.asarray(thing)) == ()
    assert find_faces(framed.pixels) == ()


@pytest.mark.parametrize("name", ["horse.png", "brick.png", "gravel.png", "page.png"])
def test_nothing_is_searched_further_where_nothing_is_seen(name, monkeypatch):
    def fail(*_):
        raise AssertionError("BlazeFace ran")

    monkeypatch.setattr(finder, "_detect", fail)
    assert find_faces(np.asarray(photograph(name))) == ()


CERTAIN = [
    (lambda: Image.open(PORTRAIT), 1),
    (_astronaut, 1),
    (PHOTOGRAPHS["montage: one person twice"][0], 2),
    *((lambda path=path: Image.open(path), 1) for path in extra_inputs("single_single1.png")),
    *((lambda path=path: Image.open(path), 2) for path in extra_inputs("multi_1_multi1.png")),
]


@pytest.mark.parametrize(("make", "count"), CERTAIN)
def test_faces_seen_from_the_front_are_certain(make, count):
    faces = find_faces(np.asarray(make().convert("RGB")))
    assert len(faces) == count
    assert all(face.mesh_score > 0.9 for face in faces)


@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.long)])
@pytest.mark.parametrize("name", WITH_FACES)
def test_cover_keeps_whole_faces_at_the_published_sizes(name, step):
    picture = to_picture(WITH_FACES[name][0]())
    faces = find_faces(picture.pixels)
    for bucket in (*BUCKETS_480P, *BUCKETS_720P)[::step]:
        width, height = bucket.width_px, bucket.height_px
        framed = frame_picture(picture, width, height, "cover", faces)
        whole = [f for f in framed.faces if _is_inside(f.whole, width, height)]
        if _all_can_fit(faces, picture, width, height):
            assert len(whole) == len(faces), bucket
            assert framed.warnings == ()
        else:
            assert len(framed.warnings) == 1


def _is_inside(box, width, height):
    return (
        box[0] >= -1e-6 and box[1] >= -1e-6 and box[2] <= width + 1e-6 and box[3] <= height + 1e-6
    )


def _all_can_fit(faces, picture, width, height):
    """Whether a cut of the frame's shape, as large as the picture allows, can hold all faces."""
    scale = max(width / picture.width_px, height / picture.height_px)
    boxes = np.array([face.whole for face in faces])
    limits = np.tile([picture.width_px, picture.height_px], 2)
    boxes = np.clip(boxes, 0, limits)
    wide, tall = boxes[:, 2].max() - boxes[:, 0].min(), boxes[:, 3].max() - boxes[:, 1].min()
    return wide * scale <= width + 1e-6 and tall * scale <= height + 1e-6


def test_one_face_is_never_cut_by_any_published_size():
    picture = to_picture(_astronaut())
    faces = find_faces(picture.pixels)
    for bucket in (*BUCKETS_480P, *BUCKETS_720P):
        framed = frame_picture(picture, bucket.width_px, bucket.height_px, "cover", faces)
        assert _is_inside(framed.faces[0].whole, bucket.width_px, bucket.height_px), bucket


QUARTERS = {
    90: Image.Transpose.ROTATE_90,
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("degrees", QUARTERS)
@pytest.mark.parametrize("name", ["astronaut", "montage: one person twice"])
def test_faces_of_a_picture_that_lies_are_found_where_they_are(name, degrees):
    make, count = PHOTOGRAPHS[name]
    upright = find_faces(np.asarray(make()))
    lying = make().transpose(QUARTERS[degrees])
    faces = find_faces(np.asarray(lying))
    assert len(faces) == count
    for face in faces:
        assert (face.tilt + degrees - upright[0].tilt + 180) % 360 - 180 == pytest.approx(0, abs=12)
        lips = face.mesh[[*finder.UPPER_LIP_OUTER, *finder.LOWER_LIP_OUTER]].mean(0)
        assert np.linalg.norm(lips - face.keypoints[3]) < 0.15 * face.height_px
        tile = lying.crop([round(edge) for edge in face.box]).rotate(-degrees, expand=True)
        # Turned back, the mouth lies in the lower half of the face.
        assert find_faces(np.asarray(tile.resize((300, 300))))[0].tilt == pytest.approx(0, abs=15)


def test_mesh_stands_on_the_face():
    (face,) = find_faces(np.asarray(_astronaut()))
    x0, y0, x1, y1 = face.box
    assert face.mesh.shape == (468, 2)
    assert face.mesh_score > 0.9
    assert face.mesh[FOREHEAD, 1] < face.mesh[CHIN, 1]
    mouth = face.mesh[[*finder.UPPER_LIP_OUTER, *finder.LOWER_LIP_OUTER]].mean(0)
    assert x0 < mouth[0] < x1
    assert (y0 + y1) / 2 < mouth[1] < y1
    assert np.linalg.norm(mouth - face.keypoints[3]) < 0.1 * face.height_px


def test_lip_lines_run_from_one_corner_to_the_other():
    (face,) = find_faces(np.asarray(_astronaut()))
    for upper, lower in (
        (finder.UPPER_LIP_INNER, finder.LOWER_LIP_INNER),
        (finder.UPPER_LIP_OUTER, finder.LOWER_LIP_OUTER),
    ):
        assert (upper[0], upper[-1]) == (lower[0], lower[-1])
        assert np.all(np.diff(face.mesh[list(upper), 0]) > 0)
        middle = len(upper) // 2
        assert face.mesh[upper[middle], 1] < face.mesh[lower[middle], 1]


def test_mirrored_picture_gives_mirrored_boxes():
    (face,) = find_faces(np.asarray(_astronaut()))
    (other,) = find_faces(np.asarray(ImageOps.mirror(_astronaut())))
    assert other.center[0] == pytest.approx(512 - face.center[0], abs=0.05 * face.width_px)
    assert other.center[1] == pytest.approx(face.center[1], abs=0.05 * face.width_px)


def test_scale_does_not_change_where_the_face_is():
    (face,) = find_faces(np.asarray(_astronaut()))
    (large,) = find_faces(np.asarray(_astronaut().resize((2048, 2048), BICUBIC)))
    assert np.array(large.box) / 4 == pytest.approx(np.array(face.box), abs=0.05 * face.width_px)


def test_same_picture_gives_the_same_numbers():
    pixels = np.asarray(beside(_astronaut(), _camera()))
    first, second = find_faces(pixels), find_faces(pixels)
    assert [f.box for f in first] == [f.box for f in second]
    assert all(np.array_equal(a.mesh, b.mesh) for a, b in zip(first, second, strict=True))


def test_reliable_mesh_widens_the_face():
    low, high = np.array([90.0, 80.0]), np.array([260.0, 230.0])
    mesh = np.linspace(low, high, 468)
    points = np.zeros((4, 2))
    unsure = Face(
        box=(100, 100, 200, 200), keypoints=points, score=1.0, mesh=np.zeros((468, 2)), mesh_score=0
    )
    sure = Face(box=unsure.box, keypoints=unsure.keypoints, score=1.0, mesh=mesh, mesh_score=0.9)
    assert unsure.whole == unsure.box
    assert sure.whole == (90, 80, 260, 230)


def test_a_picture_that_is_repeated_is_searched_once(monkeypatch):
    monkeypatch.setattr(finder, "_RECALLED", 2)
    first, second, third = (np.full((64, 64, 3), grey, np.uint8) for grey in (10, 20, 30))
    first[:] = np.asarray(_astronaut().convert("RGB").resize((64, 64)))
    found = finder.recall_faces(first)

    assert [face.box for face in found] == [face.box for face in find_faces(first)]
    assert finder.recall_faces(first.copy()) is found
    assert finder.recall_faces(second) == ()
    assert finder.recall_faces(first) is found
    finder.recall_faces(third)
    assert finder.recall_faces(first) is found
    assert len(finder._recalled) == 2


# From frame to frame


def _moved(picture, turned=0.0, scale=1.0, right=0, down=0):
    """The picture as a camera would show it a moment later, [H, W, 3]."""
    wide = picture.rotate(turned, BICUBIC).resize([round(side * scale) for side in picture.size])
    canvas = Image.new("RGB", picture.size, (90, 90, 90))
    canvas.paste(wide, (right, down))
    return np.asarray(canvas)


def test_a_face_is_followed_across_the_picture():
    picture = photograph("astronaut.png")
    (face,) = find_faces(np.asarray(picture))
    assert face.width_px < 120
    for step in range(8, 161, 8):
        face = follow_face(_moved(picture, right=step, down=step), face)
    (found,) = find_faces(_moved(picture, right=160, down=160), turned=False)
    assert face.center == pytest.approx(found.center, abs=0.08 * found.height_px)
    assert np.abs(face.mesh - found.mesh).max() < 0.06 * found.height_px
    assert not has_changed(face, found)


def test_a_step_of_a_third_of_the_face_is_followed_at_once():
    picture = photograph("astronaut.png")
    (face,) = find_faces(np.asarray(picture))
    frame = _moved(picture, right=round(face.width_px / 3))
    (found,) = find_faces(frame, turned=False)
    assert np.abs(follow_face(frame, face).mesh - found.mesh).max() < 0.06 * found.height_px


@pytest.mark.parametrize("change", [{"scale": 1.25}, {"scale": 0.75}, {"turned": 15.0}])
def test_a_face_that_is_larger_or_turned_has_changed(change):
    picture = photograph("astronaut.png")
    (face,) = find_faces(np.asarray(picture))
    (now,) = find_faces(_moved(picture, **change), turned=False)
    assert has_changed(now, face) and not has_changed(face, face)


def test_a_face_that_is_gone_is_lost():
    picture = photograph("astronaut.png")
    (face,) = find_faces(np.asarray(picture))
    lost = follow_face(np.full((512, 512, 3), 90, np.uint8), face)
    assert lost.mesh_score < RELIABLE_MESH
