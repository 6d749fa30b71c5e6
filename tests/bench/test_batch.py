"""Batches on the local control plane: hundreds of jobs while much goes wrong, and long lists.

Prints tables; what is checked is that the work was done, and paid once.
Run with: make bench
"""

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter

import pytest

from multitalk_cli import contract
from multitalk_cli.jobs import ledger as jobs_ledger
from multitalk_cli.jobs.ledger import Ledger
from multitalk_cli.media.video.recipe import read_recipe
from tests.end_to_end.product import CLASS, SMALL
from tests.end_to_end.test_many import CONTAINERS

pytestmark = pytest.mark.bench

ROWS = int(os.environ.get("BENCH_ROWS", "500"))
PLANNED = 1000
SEED, PAUSE_S = 11, (15.0, 45.0)
WORDS = ("--backend", "modal", "--parallel", "12", "--budget", "1000", *SMALL)
LAUNCHER = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss)
"""
FAULTS = ("preempt", "kill a container", "network lost", "connections cut", "kill the client")
WEIGHTS = (4, 2, 3, 3, 2)


class Chaos:
    """Runs a batch again and again until it ends well, while random things happen to it."""

    def __init__(self, cloud, user, seed):
        self.cloud, self.user, self.random = cloud, user, random.Random(seed)
        self.happened, self.exits, self.runs = Counter(), Counter(), 0

    def run(self, *words):
        """Ends when the command has made every video."""
        for _ in range(200):
            self.runs += 1
            process = subprocess.Popen(
                self.user.command(*words), env=self.user.env, cwd=self.user.folder,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            try:
                code = self._disturb(process)
            finally:
                process.kill()
            self.exits[code] += 1
            if code == 0:
                return
        raise AssertionError(f"no end: {self.exits}")

    def _disturb(self, process):
        """Lets something happen every few seconds until the process has ended."""
        while True:
            try:
                return process.wait(self.random.uniform(*PAUSE_S))
            except subprocess.TimeoutExpired:
                self._happen(process)

    def _happen(self, process):
        what = self.random.choices(FAULTS, WEIGHTS)[0]
        busy = self.cloud.containers(busy=True)
        if what == "kill the client":
            process.kill()
        elif what == "network lost":
            with self.cloud.network_lost():
                time.sleep(self.random.uniform(0.2, 2.0))
        elif what == "connections cut":
            self.cloud.hang_up()
        elif not busy:
            return
        elif what == "preempt":
            self.cloud.preempt(self.random.choice(busy))
        else:
            self.cloud.kill(self.random.choice(busy))
        self.happened[what] += 1


def write_list(user, count):
    voice = user.speech("row.wav", 0.2)
    rows = [f"{number},host.png,{voice},{number}.mp4,{number}" for number in range(count)]
    (user.folder / "list.csv").write_text("\n".join(["id,image,voice,output,seed", *rows]))


def test_hundreds_of_jobs_while_much_goes_wrong(cloud, deployed, rpcs):
    definition = cloud.function(contract.APP_NAME, CLASS).definition
    definition.autoscaler_settings.max_containers = CONTAINERS
    write_list(deployed, ROWS)
    chaos, began_s = Chaos(cloud, deployed, SEED), time.monotonic()

    chaos.run("batch", "list.csv", *WORDS)

    took_s, calls = time.monotonic() - began_s, rpcs.count("FunctionMap")
    jobs = Ledger(deployed.home / ".local" / "state" / "multitalk" / "jobs.sqlite3").newest()
    done = [job for job in jobs if job.state == jobs_ledger.DONE]
    assert sorted(job.seed for job in done) == [*range(ROWS)]
    for number in range(ROWS):
        assert read_recipe(deployed.folder / f"{number}.mp4")["seed"] == number
    assert not [job for job in jobs if job.is_unfinished]
    again = deployed.run("batch", "list.csv", *WORDS, "--json")
    assert (again.code, again.data["price_usd"]) == (0, 0.0)
    assert rpcs.count("FunctionMap") == calls
    ends = _ends_reported(cloud)
    assert max(ends.values()) == 1
    print(
        f"\n{ROWS} rows on {CONTAINERS} containers, seed {SEED}: {took_s:.0f} s, "
        f"{chaos.runs} commands, exit codes {dict(chaos.exits)}\n"
        f"what happened: {dict(chaos.happened)}\n"
        f"jobs {len(jobs)}, by state {dict(Counter(job.state for job in jobs))}; "
        f"GPU calls {calls}; of one video at most {max(ends.values())} reported its end; "
        f"calls by the rerun: 0\n"
        f"procedures: {dict(Counter(entry.name for entry in rpcs).most_common(12))}"
    )


def _ends_reported(cloud):
    """How many jobs of each video, by its seed, a container reported the end of."""
    states = cloud.entries(contract.STATES_DICT)
    jobs = [json.loads(text) for job, text in states.items() if "/" not in job]
    ended = [state["event"] for state in jobs if state["event"]["kind"] == "done"]
    return Counter(event["result"]["seed"] for event in ended)


def test_twenty_rows_some_bad_killed_three_times(cloud, deployed, rpcs):
    """BENCH_REPORT names a folder that the page of the batch is copied to."""
    chance, words = random.Random(SEED), ("batch", "twenty.csv", *WORDS, "--report", "report")
    voices = [deployed.speech(f"twenty-{number}.wav", 0.4) for number in range(20)]
    # The tiny model follows no voice as well as that.
    limits = ["1" if number in (6, 13) else "" for number in range(20)]
    table = ["id,image,voice,seed,fail-under"]
    table += [f"row-{n},host.png,{voices[n]},{n},{limits[n]}" for n in range(20)]
    bad = [*table, "none,host.png,absent.wav,1,", "odd,host.png,twenty-1.wav,many,"]
    (deployed.folder / "twenty.csv").write_text("\n".join(bad))
    refused = deployed.run(*words)
    assert (refused.code, rpcs.count("FunctionMap")) == (2, 0), refused.stderr
    assert "row 22" in refused.stderr and "row 23" in refused.stderr

    (deployed.folder / "twenty.csv").write_text("\n".join(table))
    counts = []
    for _ in range(3):
        running, most = deployed.start(*words), rpcs.count("FunctionMap") + chance.randint(2, 7)
        cloud.wait_until(lambda most=most: rpcs.count("FunctionMap") >= min(20, most), "calls")
        time.sleep(chance.uniform(0, 2))
        running.kill()
        counts.append(rpcs.count("FunctionMap"))
    last = deployed.run(*words)
    again = deployed.run(*words)

    counts += [rpcs.count("FunctionMap")]
    rows = [json.loads(line) for line in last.stdout.splitlines()]
    states = Counter(row["state"] for row in rows)
    print(
        f"\n20 rows, seed {SEED}: GPU calls after each kill and at the end {counts}; "
        f"exit codes {last.code}, {again.code}; {dict(states)}; "
        f"errors {[row['error']['code'] for row in rows if row['error']]}\n"
        f"procedures: {dict(Counter(entry.name for entry in rpcs).most_common(10))}"
    )
    if "BENCH_REPORT" in os.environ:
        shutil.copytree(deployed.folder / "report", os.environ["BENCH_REPORT"], dirs_exist_ok=True)
    assert counts[-1] == 20
    assert (last.code, again.code, states) == (5, 5, {"done": 18, "failed": 2})


def test_a_list_of_a_thousand_rows(deployed):
    """Read, checked and priced, without a network."""
    write_list(deployed, PLANNED)
    command = deployed.command("batch", "list.csv", "--plan", "--backend", "modal", *SMALL)
    began_s = time.monotonic()
    # Not from here: what this process has would count as the command's.
    launcher = [sys.executable, "-c", LAUNCHER, *command]
    run = subprocess.run(
        launcher, env=deployed.env, cwd=deployed.folder, capture_output=True, text=True, check=True
    )
    cpu_s, most_kib = map(float, run.stdout.split())
    print(
        f"\n--plan of {PLANNED:,} rows: {time.monotonic() - began_s:.1f} s, "
        f"{cpu_s:.1f} s of a processor, {most_kib / 1024:.0f} MiB at most"
    )
