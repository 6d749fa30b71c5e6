"""Ten thousand videos by the library over a network that fails; the account and time are simulated.

Prints a table; what is checked is that each video ended once, and was paid once.
Run with: make bench
"""

import gc
import os
import sys
import time
from functools import partial

import pytest

from multitalk_cli.jobs.ledger import Ledger
from tests.end_to_end.many import memory_mib
from tests.jobs.simulated import CALM
from tests.jobs.test_many_jobs import check_all, crowd_of

pytestmark = pytest.mark.bench

__all__ = ["crowd_of"]
JOBS = int(os.environ.get("BENCH_JOBS", "10000"))
SEED = 2026


def size_of(value, seen=None):
    """The bytes of an object and of all that it holds."""
    seen = set() if seen is None else seen
    if id(value) in seen:
        return 0
    seen.add(id(value))
    held = [*value] if isinstance(value, list | tuple | set) else []
    held += [*value, *value.values()] if isinstance(value, dict) else []
    held += [*vars(value).values()] if hasattr(value, "__dict__") else []
    held += [getattr(value, each, None) for each in getattr(value, "__slots__", ())]
    return sys.getsizeof(value) + sum(size_of(each, seen) for each in held)


@pytest.fixture
def usual_garbage():
    """Garbage is searched for as often as in a program that leaves that to Python."""
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*before)


def show_checked(crowd, count):
    """A line for each 512 videos, of a run that may be ended before the last one."""
    if count % 512:
        return
    check_all(crowd, count)
    facts = (
        f"{count:,} videos checked, {crowd.transport.counts['spawn']:,} calls",
        f"{crowd.commands:,} commands of which {crowd.killed:,} killed",
        f"{time.process_time():,.0f} s of a processor, at most {memory_mib('VmHWM'):,.0f} MiB",
    )
    print(", ".join(facts), flush=True)


def test_ten_thousand_videos(crowd_of, usual_garbage):
    crowd, before_mib = crowd_of(SEED), memory_mib("VmRSS")
    crowd.on_end = partial(show_checked, crowd)
    print(f"\n{JOBS:,} videos, seed {SEED}, {before_mib:,.0f} MiB before")
    began_s, began_cpu_s = time.monotonic(), time.process_time()

    crowd.make(JOBS)

    account_mib = size_of(crowd.transport) / 2**20
    wall_s, cpu_s = time.monotonic() - began_s, time.process_time() - began_cpu_s
    check_all(crowd, JOBS)
    transport, spent_usd = crowd.transport, sum(job.price_usd or 0 for job in Ledger().newest())
    spawned, requests = transport.counts["spawn"], transport.counts.total()
    transport.odds, crowd.cancelled = CALM, 0.0
    crowd.make_again()
    check_all(crowd, JOBS)
    assert transport.counts["spawn"] == spawned
    rows = {
        "videos, seed": f"{JOBS:,}, {SEED}",
        "ended": ", ".join(
            f"{[*crowd.ends.values()].count(end):,} {end}" for end in ("done", "cancelled")
        ),
        "commands": f"{crowd.commands:,}, {crowd.killed:,} killed",
        "errors of commands": ", ".join(f"{n:,} {code}" for code, n in crowd.errors.most_common()),
        "faults": ", ".join(f"{n:,} {name}" for name, n in transport.events.most_common() if n),
        "requests, calls made": f"{requests:,}, {spawned:,}",
        "calls by the rerun of all": "0",
        "simulated time, money": f"{transport.now_s / 3600:,.0f} h, ${spent_usd:,.0f}",
        "time, processor time": f"{wall_s:,.0f} s, {cpu_s:,.0f} s",
        "memory before, at most": f"{before_mib:,.0f} MiB, {memory_mib('VmHWM'):,.0f} MiB; "
        f"the simulated account has {account_mib:,.0f} MiB of it",
    }
    print()
    for name, value in rows.items():
        print(f"{name:<28}{value}")
