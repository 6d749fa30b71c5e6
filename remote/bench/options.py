"""Options of the benchmark."""

from dataclasses import dataclass
from typing import Any

import torch

from remote.engine.config import ModelConfig
from remote.weights.manifest import STORED_TYPES

PROMPT_TOKENS = (60, 100)  # of the prompt and of the negative prompt
Report = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchOptions:
    """A benchmark's scope. steps: of a planned clip. measured_steps: of each measured window.

    gpu_gib: limits the GPU to so much memory; blocks are streamed as it needs. float16: computes
    as on GPUs without bfloat16. tiers: compares the tiers instead.
    """

    width_px: int = 896
    height_px: int = 448
    frames: int = 81
    motion_frames: int = 25
    fps: int = 24
    steps: int = 20
    measured_steps: int = 3
    persons: tuple[int, ...] = (1, 2)
    device: str = "cuda"
    profile: bool = False
    gpu_gib: float | None = None
    float16: bool = False
    tiers: bool = False

    @property
    def dtype(self) -> torch.dtype:
        """The type in which the transformer computes."""
        if self.float16:
            return torch.float16
        return STORED_TYPES["bf16" if self.device == "cuda" else "fp32"]["dit"]


def token_grid(options: BenchOptions, config: ModelConfig) -> tuple[int, int, int]:
    """The frames, rows and columns of tokens of one window."""
    return config.dit.token_grid(options.frames, options.height_px, options.width_px)
