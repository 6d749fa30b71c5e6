"""The configuration that a pack's manifest records: sizes of the networks and of videos."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from multitalk_cli.contract import SIDE_MULTIPLE_PX
from multitalk_cli.media.image.sizes import BUCKETS_480P, BUCKETS_720P, AspectBucket
from remote.engine.config import ModelConfig


def _published_buckets() -> Mapping[str, tuple[AspectBucket, ...]]:
    return {"480": BUCKETS_480P, "720": BUCKETS_720P}


@dataclass(frozen=True, slots=True, kw_only=True)
class PackConfig(ModelConfig):
    """Sizes of all the networks. buckets: resolution -> video sizes that the model was trained at.

    Raises ValueError for sizes that do not fit together.
    """

    buckets: Mapping[str, tuple[AspectBucket, ...]] = field(default_factory=_published_buckets)

    def __post_init__(self) -> None:
        ModelConfig.__post_init__(self)
        for resolution, buckets in self.buckets.items():
            if not buckets:
                raise ValueError(f"no video sizes for {resolution}")
            for bucket in buckets:
                sides = (bucket.width_px, bucket.height_px)
                if min(sides) < 1 or any(side % SIDE_MULTIPLE_PX for side in sides):
                    raise ValueError(f"{sides[0]}x{sides[1]} px are no multiples of 16")


PUBLISHED = PackConfig()
