"""Further attempts at work that a busy or lost network makes fail, and the pauses before them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


def _now_s() -> float:
    return time.monotonic()


def _sleep(seconds: float) -> None:
    time.sleep(seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Time as retries see it; tests pass their own, or replace `time` in this module."""

    now_s: Callable[[], float] = _now_s
    sleep: Callable[[float], None] = _sleep


SYSTEM_CLOCK = Clock()


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Pauses between attempts.

    pauses_s: one before each further attempt. limit_s: how long after the first failure attempts
    continue, the last pause being repeated; None for no more attempts than pauses.
    """

    pauses_s: tuple[float, ...]
    limit_s: float | None = None

    def start(self, clock: Clock = SYSTEM_CLOCK) -> Retry:
        """The retries of one piece of work."""
        return Retry(self, clock)


class Retry:
    """The retries of one piece of work.

    while True:
        try:
            return attempt()
        except OSError:
            if not retry.wait():
                raise
    """

    def __init__(self, policy: RetryPolicy, clock: Clock = SYSTEM_CLOCK) -> None:
        self._policy, self._clock = policy, clock
        self._failures, self._first_failure_s = 0, 0.0

    @property
    def has_failed(self) -> bool:
        """Whether an attempt failed since the last success."""
        return self._failures > 0

    def wait(self) -> bool:
        """Pauses after a failed attempt; False, without a pause, where no further one is due."""
        now_s = self._clock.now_s()
        if not self.has_failed:
            self._first_failure_s = now_s
        pauses_s, limit_s = self._policy.pauses_s, self._policy.limit_s
        if limit_s is None:
            if self._failures >= len(pauses_s):
                return False
        elif now_s - self._first_failure_s > limit_s:
            return False
        pause_s = pauses_s[min(self._failures, len(pauses_s) - 1)]
        self._failures += 1
        self._clock.sleep(pause_s)
        return True

    def succeed(self) -> None:
        """Forgets earlier failures: the next one counts as the first."""
        self._failures = 0
