"""How long a test waits for what must come."""

HANG_S = 300.0
"""Far longer than anything takes on a busy machine: ends what hangs, judges nothing."""
