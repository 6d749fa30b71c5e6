"""Outputs of the encoders for prompts and pictures, cached by content and weights."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from torch import Tensor


class FeatureStore(Protocol):
    """Storage of features between videos; a name is 64 hexadecimal digits."""

    def load(self, name: str) -> Tensor | None: ...

    def save(self, name: str, features: Tensor) -> None: ...


class MemoryStore:
    """The most recently used features, in memory."""

    def __init__(self, limit: int = 64) -> None:
        self._kept: OrderedDict[str, Tensor] = OrderedDict()
        self._limit = limit

    def load(self, name: str) -> Tensor | None:
        if name not in self._kept:
            return None
        self._kept.move_to_end(name)
        return self._kept[name]

    def save(self, name: str, features: Tensor) -> None:
        self._kept[name] = features
        if len(self._kept) > self._limit:
            self._kept.popitem(last=False)


def feature_name(kind: str, revision: str, content: bytes) -> str:
    """The name under which the features of some content are kept."""
    digest = hashlib.sha256(f"{kind}\0{revision}\0".encode())
    digest.update(content)
    return digest.hexdigest()


def cached(store: FeatureStore, name: str, encode: Callable[[], Tensor]) -> Tensor:
    """The kept features; missing ones are encoded, and kept unless values are no numbers.

    A GPU that failed once would fail every later video of the same picture or prompt.
    """
    kept = store.load(name)
    if kept is None:
        kept = encode()
        if kept.isfinite().all():
            store.save(name, kept)
    return kept
