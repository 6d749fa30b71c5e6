"""A clock that waits for nothing."""

from multitalk_cli.storage.retry import Clock


class FakeClock:
    """Time that passes by sleeping only; stands in for the module `time` too.

    slept_s: every pause. clock: what the product takes.
    """

    def __init__(self):
        self.now_s = 0.0
        self.slept_s = []
        self.clock = Clock(now_s=self.monotonic, sleep=self.sleep)

    def advance(self, seconds):
        """Lets time pass."""
        self.now_s += seconds

    def monotonic(self):
        """The time now."""
        return self.now_s

    def sleep(self, seconds):
        """Passes the time at once."""
        self.slept_s.append(seconds)
        self.now_s += seconds
