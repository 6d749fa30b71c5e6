"""Comparisons of parts of the model with references, as they cross the wire."""

from dataclasses import dataclass

CORES, MEMORY_MIB = 8.0, 40 * 1024
"""Of the container without a GPU: it holds the text encoder in float32, 22.7 GB, and a file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofRow:
    """One part: our figure, that of the reference, and how far they may differ.

    difference: relative to the reference, or a count; None where it is no finite number.
    is_within: whether it is at most the limit; None where nothing was compared, and `note` has the
    reason.
    """

    part: str
    limit: float
    ours: float | None = None
    reference: float | None = None
    difference: float | None = None
    is_within: bool | None = None
    note: str = ""
