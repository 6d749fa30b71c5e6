"""Sizes of the video: the published aspect buckets, and `--size`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from multitalk_cli.contract import MAX_SIDE_PX, MIN_SIDE_PX, SIDE_MULTIPLE_PX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multitalk_cli.media.image.load import Picture


@dataclass(frozen=True, slots=True)
class AspectBucket:
    """A published size. ratio: about height / width, compared with that of a picture."""

    ratio: float
    height_px: int
    width_px: int


# Sizes that the model was trained with, in the order of its own tables.
BUCKETS_480P = (
    AspectBucket(0.26, 320, 1216),
    AspectBucket(0.38, 384, 1024),
    AspectBucket(0.50, 448, 896),
    AspectBucket(0.67, 512, 768),
    AspectBucket(0.82, 576, 704),
    AspectBucket(1.00, 640, 640),
    AspectBucket(1.22, 704, 576),
    AspectBucket(1.50, 768, 512),
    AspectBucket(1.86, 832, 448),
    AspectBucket(2.00, 896, 448),
    AspectBucket(2.50, 960, 384),
    AspectBucket(2.83, 1088, 384),
    AspectBucket(3.60, 1152, 320),
    AspectBucket(3.80, 1216, 320),
    AspectBucket(4.00, 1280, 320),
)
BUCKETS_720P = (
    AspectBucket(0.22, 448, 2048),
    AspectBucket(0.29, 512, 1792),
    AspectBucket(0.36, 576, 1600),
    AspectBucket(0.45, 640, 1408),
    AspectBucket(0.55, 704, 1280),
    AspectBucket(0.63, 768, 1216),
    AspectBucket(0.76, 832, 1088),
    AspectBucket(0.88, 896, 1024),
    AspectBucket(1.00, 960, 960),
    AspectBucket(1.14, 1024, 896),
    AspectBucket(1.31, 1088, 832),
    AspectBucket(1.50, 1152, 768),
    AspectBucket(1.58, 1216, 768),
    AspectBucket(1.82, 1280, 704),
    AspectBucket(1.91, 1344, 704),
    AspectBucket(2.20, 1408, 640),
    AspectBucket(2.30, 1472, 640),
    AspectBucket(2.67, 1536, 576),
    AspectBucket(2.89, 1664, 576),
    AspectBucket(3.62, 1856, 512),
    AspectBucket(3.75, 1920, 512),
)


def nearest_bucket(width: float, height: float, buckets: Sequence[AspectBucket]) -> AspectBucket:
    """The bucket that the published model picks; of two that are equally near, the earlier."""
    return min(buckets, key=lambda bucket: abs(bucket.ratio - height / width))


_TABLES = {"auto": BUCKETS_480P, "720p": BUCKETS_720P}


def resolve_size(option: str, picture: Picture) -> tuple[int, int, tuple[str, ...]]:
    """Width, height and warnings for `--size`: `896x448`, `auto`, `720p` or any WxH.

    Raises ValueError for a size that the model cannot make.
    """
    table = _TABLES.get(option.strip().lower())
    if table is not None:
        bucket = nearest_bucket(picture.source_width_px, picture.source_height_px, table)
        return bucket.width_px, bucket.height_px, ()
    width, height = parse_size(option)
    if any((b.width_px, b.height_px) == (width, height) for b in (*BUCKETS_480P, *BUCKETS_720P)):
        return width, height, ()
    nearest = nearest_bucket(width, height, BUCKETS_480P)
    return (
        width,
        height,
        (
            f"{width}x{height} is not a size that the model was trained with; "
            f"the nearest is {nearest.width_px}x{nearest.height_px}",
        ),
    )


def check_size(option: str) -> None:
    """Raises ValueError with the expected values unless it is what `resolve_size` takes."""
    if option.strip().lower() not in _TABLES:
        parse_size(option)


def parse_size(option: str) -> tuple[int, int]:
    """Width and height of `WxH`; raises ValueError unless the model can make that size."""
    given = _read_size(option)
    if given is None:
        raise ValueError(f"must be auto, 720p or WIDTHxHEIGHT such as 896x448, not {option!r}")
    nearest = find_nearest_size(option)
    if nearest != f"{given[0]}x{given[1]}":
        raise ValueError(
            f"must have sides that are multiples of {SIDE_MULTIPLE_PX} from {MIN_SIDE_PX} to "
            f"{MAX_SIDE_PX}, not {option!r}; the nearest is {nearest}"
        )
    return given


def find_nearest_size(option: str) -> str | None:
    """The size nearest to `WxH` that the model can make; None for anything else."""
    given = _read_size(option)
    return None if given is None else f"{_nearest_side(given[0])}x{_nearest_side(given[1])}"


def _read_size(option: str) -> tuple[int, int] | None:
    match = re.fullmatch(r"(\d{1,6})[xX×](\d{1,6})", option.strip())  # noqa: RUF001
    return None if match is None else (int(match[1]), int(match[2]))


def _nearest_side(side: int) -> int:
    return min(max(round(side / SIDE_MULTIPLE_PX) * SIDE_MULTIPLE_PX, MIN_SIDE_PX), MAX_SIDE_PX)
