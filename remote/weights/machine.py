"""The hardware and software that frames depend on."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The hardware and software that made frames: where all of it is equal, frames are equal.

    stack: torch and CUDA. attention, kernels: the implementations of attention and of the steps
    between matrix products. tier: of exactness. engine: its version.
    """

    gpu: str
    stack: str
    attention: str
    kernels: str
    tier: str
    engine: str
