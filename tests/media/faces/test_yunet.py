"""YuNet computes what the reference runtime computes, and sees faces wherever they are."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from multitalk_cli.media.faces import yunet
from tests import recordings
from tests.media.image.pictures import photograph

RECORDED = json.loads((Path(recordings.__file__).parent / "yunet.json").read_text())
TOLERANCE = 2e-5  # float32 sums in another order; outputs reach 10


def _outputs():
    """All outputs for the recorded picture, as the reference names them."""
    square = np.zeros((640, 640, 3), np.float32)
    square[:512, :512] = np.asarray(photograph("astronaut.png"))[..., ::-1]
    names = [f"{kind}_{cell}" for kind in ("cls", "obj", "bbox", "kps") for cell in (8, 16, 32)]
    outputs = dict(zip(names, yunet._network()(square), strict=True))
    return {
        name: yunet.sigmoid(values) if name[:3] in ("cls", "obj") else values
        for name, values in outputs.items()
    }


@pytest.fixture(scope="module")
def outputs():
    return _outputs()


@pytest.mark.parametrize("name", RECORDED)
def test_outputs_are_those_of_the_reference(name, outputs):
    recorded, ours = RECORDED[name], outputs[name]
    ours = ours.reshape(-1, ours.shape[-1]).astype(np.float64)
    np.testing.assert_allclose(ours[recorded["cells"]], recorded["values"], atol=TOLERANCE)
    assert ours.mean() == pytest.approx(recorded["mean"], abs=TOLERANCE)
    assert (ours**2).mean() == pytest.approx(recorded["mean_square"], abs=10 * TOLERANCE)


@pytest.mark.parametrize("size", [(64, 64), (512, 512), (900, 450), (450, 900), (2000, 1100)])
def test_places_are_in_pixels_of_the_picture(size):
    whole = photograph("astronaut.png").crop((100, 0, 356, 256))
    picture = Image.new("RGB", size, "gray")
    side = min(size)
    left, top = size[0] - side, size[1] - side
    picture.paste(whole.resize((side, side), Image.Resampling.BICUBIC), (left, top))
    (best, *_) = yunet.search(picture)
    eyes_and_mouth = (best.points[[2, 3, 5]] - (left, top)) / side * 256
    expected = [(104, 102), (148, 106), (121, 148)]
    np.testing.assert_allclose(eyes_and_mouth, expected, atol=8)
    assert best.score > 0.85


def test_nothing_is_seen_on_a_blank_picture():
    assert yunet.search(Image.new("RGB", (640, 360), "white")) == []
