"""A second try of work that costs nothing next to what was paid already."""

import logging
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_log = logging.getLogger(__name__)


def twice(work: Callable[[], T], what: str) -> T:
    """The result of work on files, tried once more where it failed."""
    try:
        return work()
    # Whatever it was may have passed; the second failure is raised.
    except Exception:  # noqa: BLE001
        _log.warning("%s failed, trying it once more", what, exc_info=True)
        return work()
