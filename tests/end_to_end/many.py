"""Many jobs from one process: `python -P many.py COUNT WORDS`, WORDS beginning with `generate`.

Starts them all detached, then brings all their videos. Prints a JSON object: the memory of the
process after the first job, after the last was started, and its peak, in MiB; and seconds.
"""

import contextlib
import io
import json
import sys
import time
from pathlib import Path

from multitalk_cli.cli.app import run


def memory_mib(name: str) -> float:
    """A figure of this process from the kernel: VmRSS now, VmHWM at most."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition(f"{name}:")[2].split()[0]) / 1024


def said(*words: str) -> str:
    """What a command prints on stdout; the process ends where the command fails."""
    # Results are written as bytes: a path need not be text.
    with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO())) as stdout:
        code = run(words)
        stdout.flush()
    if code != 0:
        sys.exit(f"{words} ended with {code}")
    return stdout.buffer.getvalue().decode().strip()


def main(count: int, words: list[str]) -> None:
    """Starts, then brings."""
    began_s = time.monotonic()
    jobs, first_mib = [], 0.0
    for number in range(count):
        jobs.append(said(*words, "--detach", "--seed", str(number), "-o", f"many-{number}.mp4"))
        first_mib = first_mib or memory_mib("VmRSS")
    started_s, started_mib = time.monotonic() - began_s, memory_mib("VmRSS")
    for job in jobs:
        said("jobs", "attach", job)
    figures = {
        "first_mib": first_mib,
        "started_mib": started_mib,
        "peak_mib": memory_mib("VmHWM"),
        "started_s": started_s,
        "all_s": time.monotonic() - began_s,
        "jobs": jobs,
    }
    sys.stdout.write(json.dumps(figures))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
