"""Colour anchoring: each frame takes the Lab mean and spread of a reference picture.

Axes: T video frames, H W height and width. Pixels are red, green, blue on the first axis.
"""

import torch
from torch import Tensor

# sRGB with the D65 white of the 2 degree observer
_TO_XYZ = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
_FROM_XYZ = tuple(
    tuple(row) for row in torch.tensor(_TO_XYZ, dtype=torch.float64).inverse().tolist()
)
_WHITE = (0.95047, 1.0, 1.08883)


def match_color(frames: Tensor, reference: Tensor, strength: float) -> Tensor:
    """Moves the colours of each frame towards the reference's.

    frames: [3, T, H, W] in -1..1; reference: [3, H, W] in -1..1; strength: 0 leaves the frames
    as they are, 1 gives them the reference's statistics. Returns float32 like frames.
    """
    if strength == 0:
        return frames
    rgb = _to_unit(frames)
    lab = rgb_to_lab(rgb)
    mean, std = _statistics(lab)
    target_mean, target_std = _statistics(rgb_to_lab(_to_unit(reference[:, None])))
    scale = torch.where(std == 0, 0, target_std / std)  # a flat frame takes the mean alone
    matched = lab_to_rgb((lab - mean) * scale + target_mean)
    return torch.lerp(rgb, matched, strength) * 2 - 1


def _to_unit(pixels: Tensor) -> Tensor:
    return ((pixels.float() + 1) / 2).clamp_(0, 1)


def _statistics(lab: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and population deviation of each channel and frame, [3, T, 1, 1] float32.

    In float64, so that the deviation of a flat frame is exactly zero.
    """
    variance, mean = torch.var_mean(lab.double(), dim=(2, 3), correction=0, keepdim=True)
    return mean.float(), variance.sqrt().float()


def rgb_to_lab(rgb: Tensor) -> Tensor:
    """Converts sRGB 0..1 [3, T, H, W] to CIE Lab."""
    linear = torch.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    xyz = _mix(_TO_XYZ, linear) / _white(rgb)
    root = torch.where(xyz > 0.008856, xyz.clamp_min(1e-9) ** (1 / 3), 7.787 * xyz + 16 / 116)
    x, y, z = root
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def lab_to_rgb(lab: Tensor) -> Tensor:
    """Converts CIE Lab [3, T, H, W] to sRGB, clipped to 0..1."""
    lightness, a, b = lab
    y = (lightness + 16) / 116
    root = torch.stack([y + a / 500, y, (y - b / 200).clamp_min(0)])
    xyz = torch.where(root > 0.2068966, root**3, (root - 16 / 116) / 7.787) * _white(lab)
    linear = _mix(_FROM_XYZ, xyz)
    bent = 1.055 * linear.clamp_min(1e-9) ** (1 / 2.4) - 0.055
    return torch.where(linear > 0.0031308, bent, linear * 12.92).clamp_(0, 1)


def _mix(matrix: tuple[tuple[float, ...], ...], pixels: Tensor) -> Tensor:
    """Multiplies each pixel by a 3 x 3 matrix; no matmul, whose precision a GPU may lower."""
    x, y, z = pixels
    return torch.stack([row[0] * x + row[1] * y + row[2] * z for row in matrix])


def _white(like: Tensor) -> Tensor:
    return torch.tensor(_WHITE, device=like.device).view(3, 1, 1, 1)
