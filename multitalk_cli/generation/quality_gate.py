"""The quality gate: fails a video whose lips follow the voice too little."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from multitalk_cli.errors import RefusedError
from multitalk_cli.generation.job import GenerateJob

if TYPE_CHECKING:
    from collections.abc import Sequence


def check_quality(job: GenerateJob, correlations: Sequence[float | None]) -> None:
    """Raises RefusedError E_QUALITY where a mouth follows its voice less than `fail_under`.

    correlations: of every speaker; None where it could not be measured, or for a silent person.
    Experimental: real talking heads reach about 0.4, and sounds that were not spoken up to 0.4 too.
    """
    least = job.settings["fail_under"]
    if least is None or not job.backend.model_output:
        return
    voiced = [person.voice is not None for person in job.inputs.summary.people]
    measured = [value for value, is_voiced in zip(correlations, voiced, strict=False) if is_voiced]
    path = job.name if job.target is None else str(job.target)
    require_quality(least, measured, sum(voiced), path)


def require_quality(least: float, measured: Sequence[float | None], voices: int, path: str) -> None:
    """Raises RefusedError E_QUALITY where a mouth follows its voice less than `least`.

    measured: of each voice. path: of the video, which is kept.
    """
    if len(measured) < voices or None in measured:
        raise RefusedError(
            f"how lips follow the voice could not be measured; {path} is kept",
            code="E_QUALITY",
        )
    worst = min(value for value in measured if value is not None)
    if worst < least:
        raise RefusedError(
            f"lips follow the voice by {worst:.2f}, less than --fail-under {least:g}; "
            f"{path} is kept",
            code="E_QUALITY",
        )


def recorded_correlations(recipe: dict[str, Any]) -> list[float | None]:
    """The figures in a finished video's recipe, which may come from anywhere: it is untrusted."""
    quality = recipe.get("quality")
    values = quality.get("mouth_correlation") if isinstance(quality, dict) else None
    found = values if isinstance(values, list) else []
    return [float(v) if isinstance(v, int | float) else None for v in found]
