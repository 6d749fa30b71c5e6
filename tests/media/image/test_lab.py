"""CIE Lab against the published formulas' reference implementation."""

import numpy as np
from skimage.color import rgb2lab

from multitalk_cli.media.image.lab import to_lab


def test_colours_are_those_of_scikit_image():
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3)).astype(np.uint8)
    pixels[0, :3] = [[0, 0, 0], [255, 255, 255], [3, 3, 3]]

    assert np.abs(to_lab(pixels) - rgb2lab(pixels)).max() < 0.02
