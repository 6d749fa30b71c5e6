"""The colours of a decoded picture: which space they are in, and how they become sRGB."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from multitalk_cli.media.image.profiles import (
    ADOBE_GAMMA,
    ADOBE_RGB,
    ColorSpace,
    grey_profile,
    rgb_profile,
)

if TYPE_CHECKING:
    from PIL import Image

# A profile called sRGB that differs from it by no more levels is left alone.
_SRGB_SLACK = 10
_NAMELESS, _LONGEST_NAME = "the picture's profile", 200
_NO_FIT = "a colour profile that does not fit the picture ignored"
_EXIF_IFD, _INTEROP_IFD, _COLOR_SPACE_TAG, _INTEROP_TAG = 0x8769, 0xA005, 0xA001, 1
_ADOBE, _UNCALIBRATED = 2, 0xFFFF


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Conversion:
    """How a picture becomes sRGB, and notes of it.

    transform: of profiles, from pixels in `mode`; None to convert as if they were sRGB.
    """

    mode: str
    transform: Any
    notes: tuple[str, ...] = ()

    def apply(self, image: Image.Image) -> Image.Image:
        """RGB in sRGB, of an L, RGB, CMYK or LAB picture."""
        if self.transform is None:
            return image.convert("RGB")
        converted: Image.Image = self.transform.apply(image.convert(self.mode))
        return converted


def conversion(mode: str, profile: bytes | None, stated: ColorSpace | None) -> Conversion:
    """The conversion of L, RGB, CMYK or LAB pixels.

    profile: the file's own, which wins; stated: the space that the file names otherwise.
    """
    from PIL import ImageCms

    notes = [f"{mode} converted to sRGB"] if mode in ("CMYK", "LAB") else []
    if mode == "CMYK" and profile is None:
        notes = ["CMYK without a profile converted to sRGB: its colours are approximate"]
    is_embedded = profile is not None
    if profile is None and stated is not None and mode in ("L", "RGB"):
        profile = _stated_profile(mode, stated)
    try:
        source = _source_profile(mode, profile)
        if source is None:
            return Conversion(mode=mode, transform=None, notes=tuple(notes))
        space = source.profile.xcolor_space.strip()
        name = _profile_name(source)
        if mode == "L" and space == "RGB":
            mode = "RGB"  # a photograph made grey that kept its profile
        if space != {"L": "GRAY", "LAB": "Lab"}.get(mode, mode):
            raise ValueError(f"a profile for {space} on a picture in {mode}")
        transform = _to_srgb(source, mode)
        if mode == "RGB" and "sRGB" in name and _is_nearly_srgb(transform):
            return Conversion(mode=mode, transform=None)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, AttributeError):
        return Conversion(mode=mode, transform=None, notes=(*notes, _NO_FIT))
    if not notes:
        shown = f'"{name}"' if is_embedded else name
        notes.append(f"colours converted from {shown if name else _NAMELESS} to sRGB")
    return Conversion(mode=mode, transform=transform, notes=tuple(notes))


def _to_srgb(source: Any, mode: str) -> Any:
    from PIL import ImageCms

    return ImageCms.buildTransform(
        source,
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
    )


def _stated_profile(mode: str, stated: ColorSpace) -> bytes | None:
    try:
        return grey_profile(stated) if mode == "L" else rgb_profile(stated)
    except ValueError:
        return b"primaries that span no colours"


def _source_profile(mode: str, profile: bytes | None) -> Any:
    from PIL import ImageCms

    if mode == "LAB":
        return ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    return ImageCms.ImageCmsProfile(io.BytesIO(profile)) if profile else None


def _profile_name(source: Any) -> str:
    """The profile's own description, on one line; empty without one."""
    text = source.profile.profile_description or ""
    words = "".join(c if c.isprintable() else " " for c in text).split()
    return " ".join(words)[:_LONGEST_NAME]


def _is_nearly_srgb(transform: Any) -> bool:
    """Whether the transform leaves colours all over the cube about as they are."""
    import numpy as np
    from PIL import Image

    levels = np.array([0, 8, 16, 32, 64, 96, 128, 160, 192, 224, 255], dtype=np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    moved = np.asarray(transform.apply(Image.fromarray(cube)), dtype=np.int16)
    return bool(np.abs(moved - cube).max() <= _SRGB_SLACK)


def exif_color_space(image: Image.Image) -> ColorSpace | None:
    """Adobe RGB where a camera's EXIF names it; cameras embed no profile."""
    try:
        exif = image.getexif()
        space = exif.get_ifd(_EXIF_IFD).get(_COLOR_SPACE_TAG)
        if space == _UNCALIBRATED and str(exif.get_ifd(_INTEROP_IFD)[_INTEROP_TAG])[:3] == "R03":
            space = _ADOBE
    except Exception:  # noqa: BLE001 - metadata of any kind of damage; the picture is whole
        return None
    if space != _ADOBE:
        return None
    return ColorSpace(name="Adobe RGB", primaries=ADOBE_RGB, curve=ADOBE_GAMMA)
