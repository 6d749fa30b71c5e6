"""The task of a benchmark in a container, as it crosses the wire."""

from dataclasses import dataclass, field

from multitalk_cli import contract
from multitalk_cli.contract.codec import ADDED
from multitalk_cli.contract.request import require_attention

MIN_STEPS, MAX_STEPS = 1, 10
PERSONS = {"1": (1,), "2": (2,), "both": (1, 2)}
WINDOWS = 2
"""A first one, and one that continues it."""
ONE_BRANCH, GUIDED, FEW_STEPS, GATED = "one branch", "guided 5/4", "guided 1/2", "gated 5/4"
BY_PROMPT, BY_VOICE = "dText", "dAudio"
QUANTITIES = (ONE_BRANCH, GUIDED, FEW_STEPS, BY_PROMPT, BY_VOICE, GATED)
"""What a tier's errors are of: velocities of one branch, with guidance of the standard and of few
steps, what the prompt and the voice change, and guidance that is kept from an earlier step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchTask:
    """One benchmark: windows of the default length at one size.

    job_id: where its progress is written. persons: how many are timed, one after another.
    steps: of each window that is timed. persistent_params: at most so many stay on the GPU,
    None for all that fit. attention: as of a GenerateRequest. quality: whether the errors of the
    tiers are measured instead, with an example and these prompts.
    """

    job_id: str
    width_px: int
    height_px: int
    persons: tuple[int, ...]
    steps: int
    persistent_params: int | None = None
    attention: str = field(default=contract.AUTO_ATTENTION, metadata={ADDED: True})
    quality: bool = field(default=False, metadata={ADDED: True})
    prompt: str = field(default="", metadata={ADDED: True})
    negative_prompt: str = field(default="", metadata={ADDED: True})

    def __post_init__(self) -> None:
        if not contract.JOB_ID.fullmatch(self.job_id):
            raise contract.ContractError(f"job_id must be 8 to 32 of a-z, 0-9, not {self.job_id!r}")
        for name in ("width_px", "height_px"):
            contract.check_side(name, getattr(self, name))
        if self.persons not in PERSONS.values():
            raise contract.ContractError(f"persons must be 1, 2 or both, not {self.persons!r}")
        if not MIN_STEPS <= self.steps <= MAX_STEPS:
            raise contract.ContractError(
                f"steps must be {MIN_STEPS} to {MAX_STEPS}, not {self.steps}"
            )
        require_attention(self.attention)
        if self.persistent_params is not None and self.persistent_params < 0:
            raise contract.ContractError(
                f"persistent_params must be 0 or more, not {self.persistent_params}"
            )
