"""Voices go to the people that the user means, and places that cannot work are refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from multitalk_cli.contract import Speaker
from multitalk_cli.errors import UsageError
from multitalk_cli.media.faces.detect import Face, overlap
from multitalk_cli.media.faces.speaker_spec import parse_speaker
from multitalk_cli.media.faces.speakers import boxes_to_keep, choice_notes, place_speakers
from multitalk_cli.media.image.frame import frame_picture
from tests.media.image.pictures import to_picture
from tests.repetitions import examples

FIRST, SECOND = Path("first.wav"), Path("second.wav")


@pytest.mark.parametrize(
    ("text", "kind", "number", "box", "voice"),
    [
        ("left=a.wav", "left", 0, (0, 0, 0, 0), "a.wav"),
        ("RIGHT=b=c.wav", "right", 0, (0, 0, 0, 0), "b=c.wav"),
        ("face:2=x y.wav", "face", 2, (0, 0, 0, 0), "x y.wav"),
        ("box:10%,20%,40%,80%=a.wav", "box", 0, (0.1, 0.2, 0.4, 0.8), "a.wav"),
        ("box: 0 , 5, 100, 200=a.wav", "box", 0, (0, 5, 100, 200), "a.wav"),
        ("box:12.5%,0%,100%,100%=-a.wav", "box", 0, (0.125, 0, 1, 1), "-a.wav"),
    ],
)
def test_places_that_are_understood(text, kind, number, box, voice):
    spec = parse_speaker(text)
    assert (spec.place.kind, spec.place.number) == (kind, number)
    assert spec.place.box == pytest.approx(box)
    assert spec.voice == Path(voice)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a.wav", "PLACE=VOICE"),
        ("left=", "PLACE=VOICE"),
        ("=a.wav", "the place is"),
        ("leftt=a.wav", "did you mean left?"),
        ("face=a.wav", "numbered from 1"),
        ("face:0=a.wav", "numbered from 1"),
        ("face:-1=a.wav", "numbered from 1"),
        ("face:²=a.wav", "numbered from 1"),
        ("box:1,2,3=a.wav", "four numbers"),
        ("box:10%,20%,40,80%=a.wav", "four numbers"),
        ("box:a,b,c,d=a.wav", "'a' is not a number"),
        ("box:0,0,nan,10=a.wav", "not a number"),
        ("box:0,0,inf,10=a.wav", "not a number"),
        ("box:40%,20%,10%,80%=a.wav", "is empty"),
        ("box:0.55,0.1,0.8,0.5=a.wav", "in percent it is box:55%,10%,80%,50%"),
        ("box:0,0,1,1=a.wav", "in percent it is box:0%,0%,100%,100%"),
        ("box:10%,20%,10%,80%=a.wav", "is empty"),
        ("box:-5,0,10,10=a.wav", "is empty"),
        ("box:0%,0%,101%,50%=a.wav", "beyond 100 %"),
    ],
)
def test_places_that_are_refused(text, words):
    with pytest.raises(UsageError) as caught:
        parse_speaker(text)
    assert caught.value.code == "E_SPEAKER"
    assert words in caught.value.message


def _face(x, y, size=80.0):
    return Face(
        box=(x - size / 2, y - size / 2, x + size / 2, y + size / 2),
        keypoints=np.zeros((4, 2)),
        score=1.0,
        mesh=np.zeros((468, 2)),
        mesh_score=0.0,
    )


LEFT, MIDDLE, RIGHT = (220, 180), (450, 200), (680, 190)


def _scene(*centers, size=(896, 448), frame=(896, 448)):
    picture = to_picture(Image.new("RGB", size))
    faces = [_face(*center) for center in centers]
    return picture, frame_picture(picture, *frame, "cover", faces)


def _place(wanted, *centers, **scene):
    specs = [parse_speaker(item) if isinstance(item, str) else item for item in wanted]
    return place_speakers(specs, *_scene(*centers, **scene))


def _refused(wanted, *centers, words, code="E_SPEAKER", **scene):
    with pytest.raises(UsageError) as caught:
        _place(wanted, *centers, **scene)
    assert caught.value.code == code
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("voice", "centers"),
    [
        (FIRST, ()),
        (FIRST, (MIDDLE,)),
        ("left=first.wav", (RIGHT,)),
        ("right=first.wav", (LEFT,)),
        ("face:1=first.wav", (MIDDLE,)),
    ],
)
def test_one_voice_and_one_face_need_no_box(voice, centers):
    (speaker,) = _place([voice], *centers)
    assert (speaker.voice, speaker.box) == (FIRST, None)
    assert tuple(s.face.center for s in (speaker,) if s.face) == centers


@settings(max_examples=examples(15))
@given(
    corner=st.tuples(st.integers(0, 98), st.integers(0, 98)),
    size=st.sampled_from([(896, 448), (700, 1500), (5000, 900)]),
    frame=st.sampled_from([(896, 448), (96, 64), (448, 896)]),
)
def test_a_box_that_is_too_small_is_answered_with_one_that_is_not(corner, size, frame):
    x, y = corner
    place = f"box:{x}%,{y}%,{x + 1}%,{y + 1}%"
    try:
        _place([f"{place}=a.wav"], size=size, frame=frame)
    except UsageError as error:
        if "too small" not in error.message:
            return
        assert error.facts["typed"] == place
        (speaker,) = _place([f"{error.facts['example']}=a.wav"], size=size, frame=frame)
        assert speaker.is_box


def test_two_voices_go_to_the_faces_from_left_to_right():
    first, second = _place([FIRST, SECOND], LEFT, RIGHT)
    assert (first.voice, first.place, first.face.center) == (FIRST, "face 1", LEFT)
    assert (second.voice, second.place, second.face.center) == (SECOND, "face 2", RIGHT)
    assert first.box.x1 <= second.box.x0


@pytest.mark.parametrize(
    ("sizes", "one", "two"),
    [
        ((80, 80, 80), [0], [0, 1]),
        ((30, 80, 80), [1], [1, 2]),
        ((80, 30, 80), [0], [0, 2]),
        ((45, 80, 80), [0], [0, 1]),
        ((30, 80, 35), [1], [1, 2]),
        ((30, 35, 100), [2], [1, 2]),
        ((100, 36, 36), [0], [0, 1]),
    ],
)
def test_voices_go_to_people_and_not_to_the_background(sizes, one, two):
    scene = _scene(
        *((*place, size) for place, size in zip((LEFT, MIDDLE, RIGHT), sizes, strict=True))
    )
    for chosen, voices in ((one, [FIRST]), (two, [FIRST, SECOND])):
        people = place_speakers(voices, *scene)
        speaking = [scene[1].faces.index(person.face) for person in people if person.voice]
        assert speaking == chosen
        (note,) = choice_notes(voices, scene[1])
        assert all(f"face {n + 1}" in note for n in chosen)
        assert "--speaker face:N=VOICE" in note


def test_a_lone_person_before_a_background_is_one_person():
    (speaker,) = _place([FIRST], (*LEFT, 30), (*MIDDLE, 100), (*RIGHT, 20))
    assert (speaker.place, speaker.box) == ("face 2", None)


def test_the_sides_are_those_of_the_people():
    first, second = _place(
        ["right=first.wav", "left=second.wav"], (*LEFT, 30), (*MIDDLE, 90), (*RIGHT, 80)
    )
    assert (first.place, second.place) == ("face 3", "face 2")


def test_a_face_in_the_background_can_be_named():
    speaking, silent = _place(["face:1=first.wav"], (*LEFT, 36), (*RIGHT, 90))
    assert (speaking.place, silent.place) == ("face 1", "face 2")


@pytest.mark.parametrize("centers", [(LEFT,), (LEFT, RIGHT)])
def test_without_a_choice_nothing_is_said(centers):
    assert choice_notes([FIRST, SECOND], _scene(*centers)[1]) == ()


def test_named_places_choose_the_face():
    first, second = _place(["right=first.wav", "left=second.wav"], LEFT, MIDDLE, RIGHT)
    assert (first.voice, first.place) == (FIRST, "face 3")
    assert (second.voice, second.place) == (SECOND, "face 1")


def test_one_of_several_people_talks():
    speaking, silent = _place(["face:2=first.wav"], LEFT, RIGHT)
    assert (speaking.voice, speaking.place) == (FIRST, "face 2")
    assert (silent.voice, silent.place) == (None, "face 1")
    assert silent.adjusted == ("face 1 stays silent",)
    assert silent.box.x1 <= speaking.box.x0


def test_of_several_silent_people_the_largest_gets_the_second_place():
    picture = to_picture(Image.new("RGB", (896, 448)))
    faces = [_face(*LEFT), _face(*MIDDLE, size=60), _face(*RIGHT, size=120)]
    framed = frame_picture(picture, 896, 448, "cover", faces)
    places = [speaker.place for speaker in place_speakers([FIRST], picture, framed)]
    assert places == ["face 1", "face 3"]


@pytest.mark.parametrize(("centers", "faces"), [((), (None, None)), ((RIGHT,), (None, RIGHT))])
@pytest.mark.parametrize("wanted", [(FIRST, SECOND), ("left=first.wav", "right=second.wav")])
def test_two_voices_without_two_faces_take_the_halves(wanted, centers, faces):
    first, second = _place(wanted, *centers)
    assert (first.box, second.box) == (None, None)
    assert tuple(s.face and s.face.center for s in (first, second)) == faces


def test_halves_in_the_other_order_become_boxes():
    first, second = _place(["right=first.wav", "left=second.wav"])
    assert (first.voice, first.place) == (FIRST, "the right half")
    assert (first.box.x0, first.box.x1) == (0.525, 0.975)
    assert (second.box.x0, second.box.x1) == (0.025, 0.475)


def test_side_without_faces_is_that_half():
    (speaker,) = _place(["left=first.wav"])
    assert speaker.box.x1 < 0.5


def test_users_boxes_are_fractions_of_the_picture_as_seen():
    # 1000 x 1000 is cut to 896x448: a frame of 1000 x 500, from 35 % of what is cut away.
    wanted = ["box:10%,30%,40%,60%=first.wav", "box:600,300,900,600=second.wav"]
    first, second = _place(wanted, size=(1000, 1000))
    assert (first.box.x0, first.box.x1) == pytest.approx((0.1, 0.4))
    assert (first.box.y0, first.box.y1) == pytest.approx((0.25, 0.85))
    assert (second.box.x0, second.box.x1) == pytest.approx((0.6, 0.9))
    assert first.adjusted == ()


def test_face_inside_a_users_box_belongs_to_it():
    first, second = _place(["box:0%,0%,45%,100%=first.wav", "face:2=second.wav"], LEFT, RIGHT)
    assert first.face.center == LEFT
    assert first.box.x1 <= second.box.x0


def test_box_partly_outside_the_crop_is_cut_with_a_note():
    (speaker,) = _place(["box:10%,10%,40%,40%=first.wav"], size=(1000, 1000))
    assert speaker.adjusted == ("box:10%,10%,40%,40% cut to the frame",)


@pytest.mark.parametrize(
    ("wanted", "centers", "words"),
    [
        (["face:3=a.wav"], (LEFT, RIGHT), "face:3 does not exist: 2 faces were found, face 1 at"),
        (["face:1=a.wav"], (), "face:1 does not exist: no face was found"),
        (["left=a.wav", "face:1=b.wav"], (LEFT, RIGHT), "given to one person"),
        (["face:2=a.wav", "face:2=b.wav"], (LEFT, RIGHT), "given to one person"),
        (["left=a.wav", "left=b.wav"], (), "given to one person"),
        (["left=a.wav", "face:1=b.wav"], (LEFT,), "given to one person"),
        (["box:0%,0%,60%,100%=a.wav", "box:50%,0%,100%,100%=b.wav"], (), "overlap by"),
        (["box:0%,0%,60%,100%=a.wav", "face:1=b.wav"], (LEFT, RIGHT), "given to one person"),
        (["box:0%,0%,22%,100%=a.wav", "face:1=b.wav"], (LEFT, RIGHT), "overlap by"),
        (["box:10%,10%,12%,90%=a.wav"], (), "too small"),
        (["box:10%,10%,1000%,90%=a.wav"], (), "beyond 100 %"),
        (["box:0,0,2000,100=a.wav"], (), "which is 896x448 pixels"),
    ],
)
def test_places_that_cannot_work_are_refused_with_what_was_found(wanted, centers, words):
    _refused(wanted, *centers, words=words)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (["face:2=a.wav"], "face 2 is too small"),
        (["face:1=a.wav", "face:2=b.wav"], "face 1 and face 2 are too small .* each needs"),
    ],
)
def test_a_face_that_is_too_small_is_refused_with_a_size_that_does(wanted, message):
    specs = [parse_speaker(each) for each in wanted]
    sides = {30: 4.0, 90: 3.0}
    picture, framed = _scene(size=(128, 64), frame=(128, 64))
    framed = replace(framed, faces=tuple(_face(x, 30, side) for x, side in sides.items()))
    with pytest.raises(UsageError, match=message) as caught:
        place_speakers(specs, picture, framed)
    width, height = map(int, str(caught.value.facts["size"]).split("x"))
    larger, scale = _scene(size=(width, height), frame=(width, height)), width / 128
    there = tuple(_face(x * scale, 30 * scale, side * scale) for x, side in sides.items())
    placed = place_speakers(specs, larger[0], replace(larger[1], faces=there))
    assert there[1] in [each.face for each in placed]


def test_box_outside_the_crop_is_refused_with_what_is_shown():
    words = "is outside the frame, 0%,18%,100%,68% of the picture"
    _refused(["box:10%,75%,40%,100%=a.wav"], words=words, size=(1000, 1000))


def test_three_voices_are_refused():
    _refused([FIRST, SECOND, Path("c.wav")], words="3 voices", code="E_TOO_MANY_VOICES")


def test_boxes_to_keep_are_in_the_pictures_pixels():
    picture = to_picture(Image.new("RGB", (1000, 500)))
    specs = [parse_speaker("box:10%,20%,40%,80%=a.wav"), parse_speaker("left=b.wav"), FIRST]
    assert boxes_to_keep(specs, picture) == (pytest.approx((100, 100, 400, 400)),)


@settings(max_examples=examples(200))
@given(
    centers=st.lists(
        st.tuples(st.floats(30, 866), st.floats(30, 418), st.floats(20, 200)),
        min_size=2,
        max_size=5,
    )
)
def test_regions_of_two_people_never_overlap_and_hold_their_faces(centers):
    faces = sorted((_face(*center) for center in centers), key=lambda face: face.center[0])
    picture = to_picture(Image.new("RGB", (896, 448)))
    framed = frame_picture(picture, 896, 448, "cover", faces)
    try:
        first, second = place_speakers([FIRST, SECOND], picture, framed)
    except UsageError as error:
        assert "too small" in error.message or "too close" in error.message
        return
    assert overlap(_edges(first.box), _edges(second.box)) < 1e-9
    for speaker in (first, second):
        Speaker(audio=b"x", box=speaker.box)
        alone = all(_apart(speaker.face, face) for face in framed.faces if face is not speaker.face)
        inner = np.clip(speaker.face.box, 16, [880, 432, 880, 432])
        assert not alone or overlap(_pixels(speaker.box), inner) > 0.999 * _area(inner)


def _apart(first, second):
    return overlap(first.box, second.box) == 0


def _pixels(box):
    return box.x0 * 896, box.y0 * 448, box.x1 * 896, box.y1 * 448


def _area(box):
    return (box[2] - box[0]) * (box[3] - box[1])


def _edges(box):
    return box.x0, box.y0, box.x1, box.y1
