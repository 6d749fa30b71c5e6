"""The cost of S3 and of Tab: memory of long listings, speed, milliseconds. Prints; no check.

Run with: make bench
"""

import hashlib
import os
import shutil
import statistics
import subprocess
import sys
import time

import pexpect
import pytest

from multitalk_cli.storage import recent_keys
from tests.tools.write_completions import FOLDER

pytestmark = pytest.mark.bench


PEAK = """
import atexit, pathlib, runpy, sys
def say():
    status = pathlib.Path("/proc/self/status").read_text()
    print(status.split("VmHWM:")[1].split()[0], file=sys.stderr)
atexit.register(say)
sys.argv[0] = "multitalk"
runpy.run_module("multitalk_cli", run_name="__main__", alter_sys=True)
"""


def _run(*words, cwd):
    """Seconds and peak memory in MB of one command.

    The kernel's figure for a child counts what its parent held when it was started.
    """
    began = time.perf_counter()
    ran = subprocess.run(
        [sys.executable, "-c", PEAK, *words],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(FOLDER.parent), "CI": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    return time.perf_counter() - began, int(ran.stderr.split()[-1]) / 1024


def test_listing_costs(scripted_s3, tmp_path):
    server = scripted_s3(listed=1000)
    for server.listed in (1000, 10_000, 100_000):
        seconds, megabytes = _run("s3", "ls", "s3://bucket/outputs/", "-r", cwd=tmp_path)
        print(f"\nls of {server.listed:>7} objects: {seconds:.1f} s, {megabytes:.0f} MB", end="")
    print()


def test_fetching_costs(scripted_s3, tmp_path):
    body = os.urandom(1 << 20) * 400
    scripted_s3(body=body, etag=f'"{hashlib.md5(body).hexdigest()}"')

    seconds, megabytes = _run("s3", "get", "s3://bucket/k.mp4", cwd=tmp_path)

    print(f"\nget of 419 MB from this machine: {seconds:.1f} s, {megabytes:.0f} MB of memory")


BASH = """
source {folder}/multitalk.bash
COMP_WORDS=({words}) COMP_LINE='{line}'
COMP_POINT=${{#COMP_LINE}} COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
began=$EPOCHREALTIME
for ((n = 0; n < 100; n++)); do _multitalk; done
ended=$EPOCHREALTIME
echo "$(((${{ended/./}} - ${{began/./}}) / 100)) ${{COMPREPLY[0]}}"
"""


@pytest.mark.parametrize(
    "line", ["multitalk gen", "multitalk generate a.png --fit c", "multitalk generate ho"]
)
def test_tab_in_bash(line, tmp_path):
    (tmp_path / "host.png").touch()
    script = BASH.format(folder=FOLDER, words=line, line=line)

    ran = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )

    microseconds, answer = ran.stdout.split()
    print(f"\nTab in bash, {line!r}: {int(microseconds) / 1000:.2f} ms -> {answer}")


def test_tab_in_fish():
    if shutil.which("fish") is None:
        pytest.skip("fish is absent")
    code = (
        f"source {FOLDER}/multitalk.fish; set b (date +%s%N); "
        "for n in (seq 50); complete -C'multitalk generate --fit c' >/dev/null; end; "
        "set e (date +%s%N); math \\($e - $b\\) / 50000000"
    )

    ran = subprocess.run(
        ["fish", "--no-config", "-c", code], capture_output=True, text=True, check=True
    )

    print(f"\nTab in fish: {float(ran.stdout):.2f} ms")


def test_jobs_and_keys(tmp_path):
    recent_keys.remember(f"s3://b/outputs/{number}.mp4" for number in range(1000))
    seconds = [_run("_complete", "keys", "s3://b/", cwd=tmp_path)[0] for _ in range(10)]

    low, middle = min(seconds) * 1000, statistics.median(seconds) * 1000
    print(f"\nkeys from the cache: {low:.0f} ms at least, median {middle:.0f} ms")


def test_tab_in_zsh():
    if shutil.which("zsh") is None:
        pytest.skip("zsh is absent")
    child = pexpect.spawn("zsh", ["-f", "-i"], timeout=20, encoding="utf-8")
    child.delaybeforesend = None
    child.sendline(
        f"PS1='READY''>'; fpath=({FOLDER} $fpath); autoload -Uz compinit; compinit -D -u"
    )
    child.expect("READY>")
    milliseconds = []
    for _ in range(11):
        child.send("multitalk generate --backend lo")
        child.expect("lo")
        began = time.perf_counter()
        child.send("\t")
        child.expect("cal")
        milliseconds.append((time.perf_counter() - began) * 1000)
        child.send("\x15")
        child.expect("READY>|\x1b")
        time.sleep(0.05)
    child.close(force=True)
    first, *rest = milliseconds
    print(f"\nTab in zsh, terminal and all: first {first:.1f} ms, then {min(rest):.1f} ms")
