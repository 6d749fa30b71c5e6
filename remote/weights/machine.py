"""The hardware and software that frames depend on."""

from dataclasses import dataclass, field

from multitalk_cli.contract.codec import ADDED


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The hardware and software that made frames: where all of it is equal, frames are equal.

    stack: torch and CUDA. attention, kernels: the implementations of attention and of the steps
    between matrix products. tier: of exactness. engine: its version. loras: file and strength of
    each that is merged. lora_keys: how many of their keys are. eight_bit: whether the weights in
    8 bits were "stored" so or "computed", which gives the same; empty where there are none.
    """

    gpu: str
    stack: str
    attention: str
    kernels: str
    tier: str
    engine: str
    loras: tuple[str, ...] = field(default=(), metadata={ADDED: True})
    lora_keys: int = field(default=0, metadata={ADDED: True})
    eight_bit: str = field(default="", compare=False, metadata={ADDED: True})
