"""Rows of a proof, from what is compared."""

from __future__ import annotations

import math
from collections.abc import Iterable

from torch import Tensor

from multitalk_cli.contract.proof import ProofRow


def compare_tensors(
    part: str, pairs: Iterable[tuple[Tensor, Tensor]], limit: float, note: str
) -> ProofRow:
    """A row of the pair, ours and the reference, that differs most.

    The figures are root-mean-squares; the difference is that of the gap, relative to the reference.
    """
    figures = []
    for ours, reference in pairs:
        scale = _rms(reference)
        gap = _rms(ours.double().cpu() - reference.double().cpu())
        figures.append((gap / max(scale, 1e-30), _rms(ours), scale))
    # A not-a-number compares as larger than anything.
    worst = max(figures, key=lambda figure: (math.isnan(figure[0]), figure[0]))
    return compare(part, worst[1], worst[2], worst[0], limit, note)


def _rms(values: Tensor) -> float:
    return values.double().square().mean().sqrt().item()


def compare(
    part: str, ours: float, reference: float, difference: float, limit: float, note: str = ""
) -> ProofRow:
    """A row; figures that are not finite are left out, and outside of every limit."""
    ours_, reference_, difference_ = (
        value if math.isfinite(value) else None for value in (ours, reference, difference)
    )
    return ProofRow(
        part=part,
        limit=limit,
        ours=ours_,
        reference=reference_,
        difference=difference_,
        is_within=difference_ is not None and difference_ <= limit,
        note=note,
    )
