"""The people of a plan's picture."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from multitalk_cli.media.faces.detect import Face
from multitalk_cli.media.faces.speaker_spec import parse_speaker
from multitalk_cli.media.faces.speakers import place_speakers
from multitalk_cli.media.image.frame import frame_picture
from multitalk_cli.planning.plan_image import sheet_persons
from tests.media.image.pictures import to_picture

WIDTH, HEIGHT = 896, 448
PICTURE = to_picture(Image.new("RGB", (WIDTH, HEIGHT)))


def scene(*centers):
    faces = [
        Face(
            box=(x - 40.0, y - 40.0, x + 40.0, y + 40.0),
            keypoints=np.zeros((4, 2)),
            score=1.0,
            mesh=np.zeros((468, 2)),
            mesh_score=0.0,
        )
        for x, y in centers
    ]
    framed = frame_picture(PICTURE, WIDTH, HEIGHT, "cover", ())
    return dataclasses.replace(framed, faces=tuple(faces))


def drawn(framed, *speakers):
    specs = [parse_speaker(speaker) for speaker in speakers]
    people = place_speakers(specs, PICTURE, framed)
    voices = [SimpleNamespace(path=spec.voice) for spec in specs]
    return sheet_persons(framed, people, voices)


@given(st.integers(500, 560), st.integers(30, 80), st.integers(830, 870), st.integers(360, 430))
def test_a_typed_box_is_drawn_as_typed_under_the_number_of_its_face(x0, y0, x1, y1):
    framed = scene((220, 180), (680, 190))

    silent, speaking = drawn(framed, f"box:{x0},{y0},{x1},{y1}=a.wav")

    assert (silent.number, silent.voice, silent.box) == (1, None, framed.faces[0].box)
    assert (speaking.number, speaking.voice) == (2, 0)
    assert speaking.box == pytest.approx((x0, y0, x1, y1))


def test_a_typed_box_without_a_face_is_drawn_after_the_faces():
    face, box = drawn(scene((220, 180)), "box:500,50,800,400=a.wav")

    assert (face.number, face.voice) == (1, None)
    assert (box.number, box.voice) == (2, 0)
    assert box.box == pytest.approx((500, 50, 800, 400))


def test_a_face_is_drawn_as_it_was_found():
    framed = scene((220, 180), (680, 190))

    people = drawn(framed, "right=a.wav", "left=b.wav")

    assert [person.box for person in people] == [face.box for face in framed.faces]
    assert [person.voice for person in people] == [1, 0]


@pytest.mark.parametrize("center", [(20, 200), (450, 10), (WIDTH - 5, HEIGHT - 5)])
def test_a_face_is_drawn_as_far_as_the_frame(center):
    (face,) = drawn(scene(center), "face:1=a.wav")

    x0, y0, x1, y1 = face.box
    assert 0 <= x0 < x1 <= WIDTH
    assert 0 <= y0 < y1 <= HEIGHT
    assert (x0 + x1) / 2 == pytest.approx(center[0], abs=40)
