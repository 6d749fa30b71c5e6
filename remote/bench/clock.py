"""Times and peak memory of work on a device."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Median, least and largest of n measured seconds."""

    median: float
    least: float
    most: float
    n: int


def spread(seconds: Sequence[float]) -> Spread:
    return Spread(
        median=statistics.median(seconds), least=min(seconds), most=max(seconds), n=len(seconds)
    )


class Clock:
    """Reads the host's clock when the device has finished, and the memory that it took."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def time(self, work: Callable[[], object], repeats: int = 3, warmups: int = 1) -> Spread:
        for _ in range(warmups):
            work()
        seconds = []
        for _ in range(repeats):
            start = self.now()
            work()
            seconds.append(self.now() - start)
        return spread(seconds)

    def forget_peak(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)

    def peak_gib(self) -> float:
        if self.device.type != "cuda":
            return 0.0
        return torch.cuda.max_memory_allocated(self.device) / 2**30
