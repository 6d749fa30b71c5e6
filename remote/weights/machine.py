"""What frames depend on beside the request and the weights."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What frames may depend on beside the request: the same of all of this gives the same frames.

    stack: torch and CUDA. attention, kernels: what computes attention, and all else. tier: how
    exactly. engine: version.
    """

    gpu: str
    stack: str
    attention: str
    kernels: str
    tier: str
    engine: str
