"""ICC profiles of colour spaces that a file names without a profile."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# x and y of white, red, green and blue.
Primaries = tuple[float, float, float, float, float, float, float, float]
Curve = float | Literal["srgb", "pq", "hlg"]

_D65 = (0.3127, 0.3290)
SRGB: Primaries = (*_D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
ADOBE_RGB: Primaries = (*_D65, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
ADOBE_GAMMA = 563 / 256
_BT601_625: Primaries = (*_D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06)
_BT601_525: Primaries = (*_D65, 0.63, 0.34, 0.31, 0.595, 0.155, 0.07)
_BT2020: Primaries = (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046)
_DCI_P3: Primaries = (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)
_DISPLAY_P3: Primaries = (*_D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)

# Numbers of ITU-T H.273; pictures with a transfer that is not here are encoded about as sRGB.
_PRIMARIES: dict[int, tuple[str, Primaries]] = {
    5: ("BT.601", _BT601_625),
    6: ("BT.601", _BT601_525),
    7: ("BT.601", _BT601_525),
    9: ("BT.2020", _BT2020),
    11: ("DCI-P3", _DCI_P3),
    12: ("Display P3", _DISPLAY_P3),
}
_CURVES: dict[int, tuple[str, Curve]] = {
    4: (" gamma 2.2", 2.2),
    5: (" gamma 2.8", 2.8),
    8: (" linear", 1.0),
    16: (" PQ", "pq"),
    18: (" HLG", "hlg"),
}
# ITU-R BT.2408: the light of a white sheet of paper in HDR, and the peak that HLG is graded for.
_PAPER_NITS, _PQ_NITS, _HLG_NITS = 203.0, 10_000.0, 1000.0
# A multiple of 255, plus one: each 8-bit level meets an entry.
_TABLE = 4081
_D50 = (0.9642, 1.0, 0.8249)


@dataclass(frozen=True, slots=True, kw_only=True)
class ColorSpace:
    """A colour space: its name for messages, its primaries, and the curve from level to light.

    curve: an exponent, or the name of a standard's curve.
    """

    name: str
    primaries: Primaries
    curve: Curve


def from_h273(primaries: int, transfer: int) -> ColorSpace | None:
    """The colour space with these code points of ITU-T H.273; None for sRGB and unknown ones."""
    if primaries not in _PRIMARIES and transfer not in _CURVES:
        return None
    name, points = _PRIMARIES.get(primaries, ("BT.709", SRGB))
    curve_name, curve = _CURVES.get(transfer, ("", "srgb"))
    return ColorSpace(name=name + curve_name, primaries=points, curve=curve)


def rgb_profile(space: ColorSpace) -> bytes:
    """A version 2 ICC profile for RGB. Raises ValueError for primaries without an area."""
    columns = _colorants(space.primaries)
    curve = _curve_tag(space.curve)
    tags = {b"rXYZ": _xyz_tag(columns[:, 0]), b"gXYZ": _xyz_tag(columns[:, 1])}
    tags |= {b"bXYZ": _xyz_tag(columns[:, 2]), b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}
    return _profile(b"RGB ", space.name, tags)


def grey_profile(space: ColorSpace) -> bytes:
    """A version 2 ICC profile for grey with the same curve."""
    return _profile(b"GRAY", space.name, {b"kTRC": _curve_tag(space.curve)})


def _colorants(primaries: Primaries) -> NDArray[np.float64]:
    """[3, 3] XYZ of red, green and blue in columns, adapted to the white of profiles, D50."""
    import numpy as np

    points = np.array(primaries, dtype=np.float64).reshape(4, 2)
    if not (points[:, 1] > 0).all():
        raise ValueError("primaries without a luminance")
    white, *colors = (np.array([x / y, 1, (1 - x - y) / y]) for x, y in points)
    matrix = np.stack(colors, axis=1)
    if abs(np.linalg.det(matrix)) < 1e-6:
        raise ValueError("primaries on one line")
    # The Bradford adaptation, as ICC profiles use it.
    cones = np.array(
        [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
    )
    adapted = np.linalg.inv(cones) @ np.diag(cones @ _D50 / (cones @ white)) @ cones
    result: NDArray[np.float64] = adapted @ (matrix * np.linalg.solve(matrix, white))
    return result


def _light(curve: Curve) -> NDArray[np.float64]:
    """[_TABLE] light from 0 to 1 of evenly spaced levels; brighter than white is clipped."""
    import numpy as np

    level = np.linspace(0, 1, _TABLE)
    if curve == "srgb":
        return np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)
    if curve == "pq":
        root = level ** (32 / 2523)
        nits = (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (8192 / 1305)
        return np.minimum(nits * _PQ_NITS / _PAPER_NITS, 1)
    if curve == "hlg":
        scene = np.where(
            level <= 0.5,
            level**2 / 3,
            (np.exp((level - 0.55991073) / 0.17883277) + 0.28466892) / 12,
        )
        return np.minimum(scene**1.2 * _HLG_NITS / _PAPER_NITS, 1)
    assert not isinstance(curve, str)
    return np.asarray(level**curve, dtype=np.float64)


def _curve_tag(curve: Curve) -> bytes:
    import numpy as np

    table = np.round(_light(curve) * 65535).astype(">u2").tobytes()
    return b"curv" + struct.pack(">II", 0, _TABLE) + table


def _xyz_tag(xyz: NDArray[np.float64] | tuple[float, ...]) -> bytes:
    fixed = (round(float(part) * 65536) for part in xyz)
    return b"XYZ " + struct.pack(">I3i", 0, *fixed)


def _profile(space: bytes, name: str, tags: dict[bytes, bytes]) -> bytes:
    text = name.encode("ascii", "replace") + b"\0"
    desc = b"desc" + struct.pack(">II", 0, len(text)) + text + bytes(78)
    tags = {b"desc": desc, b"cprt": b"text" + bytes(5), b"wtpt": _xyz_tag(_D50), **tags}
    offset = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for key, tag in tags.items():
        table += struct.pack(">4sII", key, offset + len(body), len(tag))
        body += tag + bytes(-len(tag) % 4)
    header = bytearray(128)
    header[0:4] = struct.pack(">I", offset + len(body))
    header[8:24] = struct.pack(">I4s4s4s", 0x0240_0000, b"mntr", space, b"XYZ ")
    header[36:40] = b"acsp"
    header[68:80] = _xyz_tag(_D50)[8:]
    return bytes(header) + table + body
