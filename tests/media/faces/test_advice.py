"""Faces that could spoil the video are warned of, in words that say what to do."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from multitalk_cli.media.faces.advice import face_warnings
from multitalk_cli.media.faces.detect import Face, find_faces
from multitalk_cli.media.image.frame import frame_picture
from tests.media.image.pictures import beside, photograph, to_picture


def _face(box, tilt=0.0):
    """A face whose eyes are turned by `tilt` degrees."""
    angle = np.radians(tilt)
    across = np.array([np.cos(angle), np.sin(angle)])
    keypoints = np.array([-across, across, np.zeros(2), np.zeros(2)])
    return Face(box=box, keypoints=keypoints, score=1.0, mesh=np.zeros((468, 2)), mesh_score=0.0)


MIDDLE = (400, 100, 500, 200)


@pytest.mark.parametrize(
    ("faces", "voices", "words"),
    [
        ([], 1, ["no face found"]),
        ([_face(MIDDLE)], 1, []),
        ([_face(MIDDLE)], 2, ["1 face found for 2 voices"]),
        ([_face((400, 100, 440, 140))], 1, ["40 px high"]),
        ([_face((2, 100, 102, 200))], 1, ["near or over the edge"]),
        (
            [_face((100, 100, 200, 200)), _face((700, 400, 760, 446))],
            2,
            ["face 2 is only", "face 2 is near"],
        ),
        ([_face((400, 12, 500, 112))], 1, []),
        ([_face((400, 8, 500, 108))], 1, ["near or over the edge"]),
        ([_face((400, -2, 500, 98))], 1, ["the forehead of the face is cut by 12 %"]),
        ([_face(MIDDLE, 25)], 1, []),
        ([_face(MIDDLE, -40)], 1, ["tilted by 40 degrees"]),
        ([_face(MIDDLE, 88)], 1, ["lies on its side: turn it with --rotate 270"]),
        ([_face(MIDDLE, -95)], 1, ["lies on its side: turn it with --rotate 90"]),
        ([_face(MIDDLE, 179)], 1, ["upside down: turn it with --rotate 180"]),
        ([_face(MIDDLE, -170), _face((600, 100, 700, 200), 175)], 2, ["upside down"]),
        ([_face(MIDDLE, 85), _face((600, 100, 700, 200))], 2, ["face 1 is tilted by 85"]),
    ],
)
def test_faces_that_could_spoil_the_video_are_warned_of(faces, voices, words):
    warnings = face_warnings(faces, voices, 896, 448)
    assert len(warnings) == len(words), warnings
    assert all(word in warning for word, warning in zip(words, warnings, strict=True))


@pytest.mark.parametrize("visible", [[], [_face(MIDDLE)]])
def test_faces_that_the_crop_left_out_are_not_said_to_be_missing_in_the_picture(visible):
    warnings = face_warnings(visible, 2, 896, 448, outside=1)
    assert warnings[0].endswith("face in the frame for 2 voices")


def test_a_missing_face_names_the_box():
    (warning,) = face_warnings([], 1, 896, 448)
    assert "an animal with --speaker box:" in warning


@pytest.mark.parametrize(("above", "remedy"), [(True, "--fit contain"), (False, "in the picture")])
def test_a_cut_forehead_has_a_remedy_where_the_crop_cut_it(above, remedy):
    cut = [_face((400, 1, 500, 101))]
    (warning,) = face_warnings(cut, 1, 896, 448, is_cropped_above=above)
    assert "the forehead of the face is cut by 10 %" in warning
    assert warning.endswith(remedy)


def test_a_crop_that_cuts_the_face_itself_is_said_once():
    cut = [_face((400, -12, 500, 88))]
    warnings = face_warnings(cut, 1, 896, 448, is_cropped_above=True)
    assert not any("forehead" in warning for warning in warnings)


TURNS = {
    Image.Transpose.ROTATE_90: "on its side: turn it with --rotate 90",
    Image.Transpose.ROTATE_180: "upside down: turn it with --rotate 180",
    Image.Transpose.ROTATE_270: "on its side: turn it with --rotate 270",
}


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("people", [1, 2])
def test_a_photograph_that_lies_is_said_to(turn, people):
    portrait = photograph("astronaut.png")
    upright = portrait if people == 1 else beside(portrait, ImageOps.mirror(portrait))
    picture = to_picture(upright.transpose(turn))
    faces = find_faces(picture.pixels)
    framed = frame_picture(picture, 896, 448, "contain", faces)
    assert len(framed.faces) == people
    assert TURNS[turn] in " ".join(face_warnings(framed.faces, people, 896, 448))
