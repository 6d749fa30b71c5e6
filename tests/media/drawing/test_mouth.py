"""Mouths of still pictures open and shut, and nothing else of the picture changes."""

import itertools

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from multitalk_cli.media.drawing.mouth import OPENINGS, Mouth
from multitalk_cli.media.faces.detect import find_faces
from tests.generation.backends.previews import PORTRAIT, framed
from tests.media.image.pictures import drawing, photograph

pytestmark = pytest.mark.slow


def _portrait():
    return framed(Image.open(PORTRAIT))


def _astronaut():
    return framed(photograph("astronaut.png"))


PICTURES = {
    "portrait": _portrait,
    "photograph with an open smile": _astronaut,
    "mirrored": lambda: framed(ImageOps.mirror(photograph("astronaut.png"))),
    "turned": lambda: framed(photograph("astronaut.png").rotate(20, Image.Resampling.BICUBIC)),
    "drawing": lambda: framed(drawing((896, 448), [(448, 200, 90)])),
}


@pytest.fixture(scope="module", params=PICTURES)
def scene(request):
    pixels = PICTURES[request.param]()
    face = find_faces(pixels)[0]
    return pixels, face, Mouth(pixels, face)


def _drawn(scene, opening):
    pixels, _, mouth = scene
    frame = pixels.copy()
    mouth.draw_on(frame, opening)
    return frame.astype(int)


def _dark(frame, face):
    """Pixels around the lips that are darker than skin."""
    x, y = face.mesh[[13, 14]].mean(0)
    reach = 0.16 * face.height_px
    window = frame[int(y - reach) : int(y + 2 * reach), int(x - 2 * reach) : int(x + 2 * reach)]
    brightness = window.mean(-1)
    return int((brightness < 0.6 * np.median(brightness)).sum())


def test_a_wider_opening_shows_more_darkness(scene):
    # Up to its own opening, a mouth that smiles uncovers bright teeth.
    shut, half, wide, widest = (
        _dark(_drawn(scene, opening), scene[1]) for opening in (0, 0.5, 0.75, 1)
    )
    assert max(half, wide) < widest
    assert widest > shut + 0.003 * scene[1].height_px ** 2


SHUT_MOUTHS = {
    "light": lambda: Image.open(PORTRAIT).convert("RGB"),
    "dark": lambda: Image.open(PORTRAIT).convert("RGB").point(lambda value: value * 0.4),
    "grey": lambda: Image.open(PORTRAIT).convert("L").convert("RGB"),
    "drawing": lambda: drawing((896, 448), [(448, 200, 90)]),
}


@pytest.fixture(scope="module", params=SHUT_MOUTHS)
def shut_scene(request):
    pixels = framed(SHUT_MOUTHS[request.param]())
    face = find_faces(pixels)[0]
    return pixels, face, Mouth(pixels, face)


def _inside(scene):
    """Colours along the middle of the wide open mouth, from the upper lip to the lower, [n, 3]."""
    frame, face = _drawn(scene, 1), scene[1]
    x, y = face.mesh[[13, 14]].mean(0).astype(int)
    height = face.height_px
    return frame[y - int(0.03 * height) : y + int(0.09 * height), x - 2 : x + 3].mean(1)


def test_an_open_mouth_has_teeth_a_throat_and_a_tongue(shut_scene):
    inside = _inside(shut_scene)
    brightness = inside.mean(-1)
    teeth, throat = int(brightness[: len(inside) // 2].argmax()), int(brightness.argmin())
    tongue = throat + int(brightness[throat : throat + len(inside) // 3].argmax())

    assert teeth < throat < tongue
    assert brightness[teeth] > 2 * brightness[throat]
    assert brightness[tongue] > 1.3 * brightness[throat]
    assert brightness[throat] > 0.05 * np.median(shut_scene[0])


def test_teeth_are_as_bright_as_the_light_on_the_face(shut_scene):
    pixels, face, _ = shut_scene
    x0, y0, x1, y1 = (int(edge) for edge in face.box)
    skin = pixels[y0:y1, x0:x1].mean(-1)

    teeth = _inside(shut_scene)[: int(0.06 * face.height_px)].mean(-1).max()

    assert 0.8 * np.median(skin) < teeth < 1.6 * np.median(skin)


@pytest.mark.parametrize("share", [0.1, 0.14, 0.18])
def test_an_open_mouth_that_is_dark_inside_gets_teeth(share):
    picture = Image.fromarray(_portrait())
    face = find_faces(np.asarray(picture))[0]
    (left, y), (right, _) = face.mesh[78], face.mesh[308]
    half = share * face.height_px / 2
    ImageDraw.Draw(picture).ellipse((left, y - half, right, y + half), fill=(45, 18, 16))
    pixels = np.asarray(picture)
    face = find_faces(pixels)[0]
    mouth = Mouth(pixels, face)

    brightness = _inside((pixels, face, mouth)).mean(-1)

    assert brightness[: len(brightness) // 2].max() > 2 * brightness.min()
    assert brightness[: len(brightness) // 2].max() > 0.8 * np.median(pixels[mouth.region])


def test_a_grey_picture_stays_grey():
    pixels = framed(SHUT_MOUTHS["grey"]())
    frame = pixels.copy()
    Mouth(pixels, find_faces(pixels)[0]).draw_on(frame, 1)

    assert np.ptp(frame.astype(int), axis=-1).max() <= 2


def test_the_edges_of_the_lips_are_soft(shut_scene):
    """From lip to mouth in steps, as in a photograph: no step takes most of the way."""
    brightness = _inside(shut_scene).mean(-1)
    steps = np.abs(np.diff(brightness))

    assert steps.max() < 0.55 * np.ptp(brightness)


def test_shut_lips_stay_as_they_are(shut_scene):
    pixels, _, mouth = shut_scene
    change = np.abs(_drawn(shut_scene, 0) - pixels).max(-1)

    assert change[mouth.region].mean() < 4


@pytest.mark.parametrize("scale", [1 / 7, 0.25, 0.5, 2])
def test_a_face_of_any_size_looks_alike(scale):
    pixels, size = _portrait(), (round(896 * scale), round(448 * scale))
    face = find_faces(pixels)[0].moved(lambda points: points * scale)
    scaled = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))

    frame = scaled.copy()
    Mouth(scaled, face).draw_on(frame, 1)
    whole = pixels.copy()
    Mouth(pixels, find_faces(pixels)[0]).draw_on(whole, 1)

    expected = np.asarray(Image.fromarray(whole).resize(size, Image.Resampling.BOX))
    assert np.abs(frame.astype(int) - expected).mean() < 1


def test_a_wider_opening_differs_more_from_a_shut_mouth(scene):
    shut, *others = (_drawn(scene, opening)[scene[2].region] for opening in np.linspace(0, 1, 9))
    change = [np.abs(other - shut).mean() for other in others]
    assert change == sorted(change)


def test_only_the_lower_face_changes(scene):
    pixels, face, _ = scene
    changed = np.argwhere(np.abs(_drawn(scene, 1) - pixels).max(-1) > 8)
    height = face.height_px
    eyes, mouth = face.keypoints[:2].mean(0), face.mesh[13]
    assert np.hypot(*(changed[:, ::-1] - eyes).T).min() > 0.3 * np.hypot(*(mouth - eyes))
    assert np.hypot(*(changed[:, ::-1] - mouth).T).max() < height


def test_there_is_no_edge_around_what_moves(scene):
    pixels, _, mouth = scene
    change = np.abs(_drawn(scene, 1) - pixels).max(-1)[mouth.region]
    border = np.concatenate([change[0], change[-1], change[:, 0], change[:, -1]])
    assert np.percentile(border, 99) <= 6


def test_openings_follow_each_other_smoothly(scene):
    frames = [_drawn(scene, n / OPENINGS)[scene[2].region] for n in range(OPENINGS + 1)]
    steps = [np.abs(b - a).mean() for a, b in itertools.pairwise(frames)]
    assert max(steps) < 6 * np.mean(steps)
    assert min(steps) > 0


def test_the_picture_itself_is_left_alone(scene):
    pixels, _, mouth = scene
    before = pixels.copy()
    mouth.patch(0.7)
    assert np.array_equal(pixels, before)


def test_a_patch_is_drawn_once(scene):
    _, _, mouth = scene
    assert mouth.patch(0.5) is mouth.patch(0.5 + 0.2 / OPENINGS)
    assert mouth.patch(-1) is mouth.patch(0)
    assert mouth.patch(2) is mouth.patch(1)


def test_an_open_mouth_is_shut():
    """Teeth are brighter than lips: a shut mouth shows none of those of the smile."""
    pixels = _astronaut()
    face = find_faces(pixels)[0]
    shut = pixels.copy()
    Mouth(pixels, face).draw_on(shut, 0)
    x0, x1 = sorted(int(face.mesh[n, 0]) for n in (80, 310))
    y0, y1 = int(face.mesh[13, 1]), int(face.mesh[14, 1]) + 1
    before, after = (
        np.percentile(frame[y0:y1, x0:x1].min(-1), 90) for frame in (pixels.astype(int), shut)
    )
    assert after < before - 20


@pytest.mark.parametrize("cut", [(0, 0, 448, 260), (180, 0, 448, 448), (0, 0, 300, 448)])
def test_a_face_over_the_edge_of_the_picture_works(cut):
    pixels = _astronaut()
    face = find_faces(pixels)[0]
    x0, y0, x1, y1 = cut
    part = np.ascontiguousarray(pixels[y0:y1, x0:x1])
    moved = face.moved(lambda points: points - np.array([x0, y0]))
    patch = Mouth(part, moved).patch(1.0)
    assert patch.size > 0


def test_a_mouth_outside_the_picture_changes_nothing_visible():
    pixels = _astronaut()
    face = find_faces(pixels)[0].moved(lambda points: points + np.array([5000, 0]))
    frame = pixels.copy()
    Mouth(pixels, face).draw_on(frame, 1.0)
    assert (np.abs(frame.astype(int) - pixels).max(-1) > 0).sum() <= pixels.shape[0]
