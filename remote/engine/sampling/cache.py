"""The step cache: skips the blocks of a step whose time embedding has hardly moved.

The decision depends on the time alone, so that all branches of a step share one; what the blocks
last added to the tokens is kept for each branch.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from torch import Tensor

# Per tier, the published polynomial (highest power first) from the embedding's relative change to
# the expected change of the output.
COEFFICIENTS: dict[str, tuple[float, ...]] = {
    "480": (257151.496, -35422.9917, 1402.86849, -13.5890334, 0.132517977),
    "720": (8107.0546, 2133.93892, -372.934672, 16.6203073, -0.0417769401),
}
WARMUP_STEPS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSettings:
    """The limit of the summed expected change, from which a step is computed again."""

    threshold: float = 0.2
    coefficients: tuple[float, ...] = COEFFICIENTS["480"]
    warmup_steps: int = WARMUP_STEPS

    def __post_init__(self) -> None:
        if self.threshold < 0:
            raise ValueError(f"threshold is {self.threshold}, negative")


@dataclass(slots=True, kw_only=True)
class StepDecider:
    """Decides, step after step of one window, whether to compute."""

    settings: CacheSettings
    accumulated: float = 0.0
    _steps: int = 0
    _previous: Tensor | None = None

    def decide(self, modulation: Tensor) -> bool:
        """modulation: the step's time embedding for the blocks, any shape. True: compute."""
        previous, self._previous = self._previous, modulation
        self._steps += 1
        if previous is None or self._steps <= self.settings.warmup_steps:
            return True
        change = (modulation - previous).abs().mean() / previous.abs().mean()
        self.accumulated += _polynomial(self.settings.coefficients, change.item())
        if self.accumulated < self.settings.threshold:
            return False
        self.accumulated = 0.0
        return True


def plan_steps(settings: CacheSettings | None, modulations: Iterable[Tensor]) -> list[bool]:
    """The steps of a window that are computed; all of them without settings."""
    if settings is None:
        return [True for _ in modulations]
    decider = StepDecider(settings=settings)
    return [decider.decide(modulation) for modulation in modulations]


@dataclass(slots=True)
class Residuals:
    """The last change of the tokens by the blocks, for each branch."""

    _kept: dict[str, Tensor] = field(default_factory=dict)

    def run(
        self, branch: str, x: Tensor, compute: bool, blocks: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """blocks(x), or x with the branch's last residual if it need not be computed."""
        if not compute:
            return x + self._kept[branch]
        out = blocks(x)
        self._kept[branch] = out - x
        return out


def _polynomial(coefficients: tuple[float, ...], x: float) -> float:
    value = 0.0
    for coefficient in coefficients:
        value = value * x + coefficient
    return value
