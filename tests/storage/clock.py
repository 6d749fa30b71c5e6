"""A clock that waits for nothing."""

from multitalk_cli.storage.retry import Clock


class FakeClock:
    """Time that passes by sleeping only. slept_s: every pause; clock: what the product takes."""

    def __init__(self):
        self.now_s = 0.0
        self.slept_s = []
        self.clock = Clock(now_s=lambda: self.now_s, sleep=self._sleep)

    def advance(self, seconds):
        """Lets time pass."""
        self.now_s += seconds

    def _sleep(self, seconds):
        self.slept_s.append(seconds)
        self.now_s += seconds
