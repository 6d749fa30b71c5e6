"""Colours as eyes tell them apart: CIE Lab."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# sRGB with the D65 white of the 2 degree observer
_TO_XYZ = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
_WHITE = (0.95047, 1.0, 1.08883)


def to_lab(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """CIE Lab of sRGB pixels, both [..., 3]."""
    import numpy as np

    codes = np.arange(256) / 255
    linear = np.where(codes > 0.04045, ((codes + 0.055) / 1.055) ** 2.4, codes / 12.92)
    xyz = linear[pixels] @ np.array(_TO_XYZ).T / np.array(_WHITE)
    x, y, z = np.moveaxis(np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116), -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
