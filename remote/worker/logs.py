"""The log of a container: one line a stage, on stdout, where `multitalk jobs logs` finds it."""

from __future__ import annotations

import logging
import sys


def log_to_stdout() -> None:
    """Prints what this project's modules log; of libraries, warnings. Once in a process."""
    logging.basicConfig(
        stream=sys.stdout,
        level=logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    logging.getLogger("remote").setLevel(logging.INFO)
