"""Colours by name, as `--background` takes them."""

from __future__ import annotations

import difflib


def parse_color(name: str) -> tuple[int, int, int]:
    """Red, green and blue of a colour's name. Raises ValueError with the expected values."""
    from PIL import ImageColor

    try:
        red, green, blue = ImageColor.getrgb(name)[:3]
    except ValueError:
        raise ValueError(f"must be a colour such as white or #rrggbb, not {name!r}") from None
    return red, green, blue


def find_nearest_color(name: str) -> str | None:
    """A colour whose name is similar; None without one."""
    from PIL import ImageColor

    return next(iter(difflib.get_close_matches(name.lower(), ImageColor.colormap, n=1)), None)
