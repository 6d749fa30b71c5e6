"""A picture as strips of rows, so that one that is too large is never decoded whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from PIL import Image


MAX_WHOLE_BYTES = 240_000_000
"""A picture that takes more is decoded strip by strip where its format allows it."""


def whole_bytes(image: Image.Image) -> int:
    """The memory that the reader takes for all pixels of an opened picture."""
    bytes_of = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2}
    return image.width * image.height * bytes_of.get(image.mode, 4)


class Rows(Protocol):
    """The rows of a picture, as they are stored.

    missing: how many of the last rows are not in the file, known behind the last strip; they repeat
    the one above.
    """

    missing: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""

    @property
    def mode(self) -> str:
        """Pillow's mode of every strip."""

    def strip(self, top: int, bottom: int) -> Image.Image:
        """The rows from `top` to `bottom`, which follow the strip before."""


class WholeRows:
    """The rows of a picture that is decoded."""

    missing = 0

    def __init__(self, image: Image.Image) -> None:
        self._image = image
        self.size, self.mode = image.size, image.mode

    def strip(self, top: int, bottom: int) -> Image.Image:
        """The rows from `top` to `bottom`."""
        return self._image.crop((0, top, self._image.width, bottom))
