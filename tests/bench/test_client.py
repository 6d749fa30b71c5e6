"""The client's time and memory: start-up, errors, plans, previews. Prints a table; no check.

Run with: make bench
"""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytestmark = pytest.mark.bench

EXAMPLES = Path(__file__).resolve().parents[2] / "multitalk_cli" / "examples"
RUNS = 10


def _run(*words, cwd):
    """Seconds and peak memory in MB of one command, and its exit code."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "CI": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE")
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "multitalk_cli", *words],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    return seconds, usage.ru_maxrss / 1024, process.returncode


def _voice(path, seconds):
    """Noise in syllables, 44.1 kHz stereo."""
    rate, rng = 44_100, np.random.default_rng(1)
    with soundfile.SoundFile(path, "w", rate, 2, "PCM_16") as file:
        for _ in range(seconds):
            swell = np.abs(np.sin(np.linspace(0, 4 * np.pi, rate)))[:, None]
            file.write(0.2 * swell * rng.standard_normal((rate, 2)))
    return str(path)


@pytest.fixture
def table():
    rows = []
    yield rows
    print(f"\n{'what':<34}{'min':>9}{'median':>9}{'max':>9}{'MB':>7}  exit")
    for what, runs in rows:
        seconds = [run[0] for run in runs]
        figures = (min(seconds), statistics.median(seconds), max(seconds))
        memory, code = max(run[1] for run in runs), runs[0][2]
        print(f"{what:<34}{''.join(f'{s * 1000:>7.0f}ms' for s in figures)}{memory:>7.0f}  {code}")


def test_client_costs(table, tmp_path):
    portrait = str(EXAMPLES / "portrait.png")
    five, ten_minutes = _voice(tmp_path / "5s.wav", 5), _voice(tmp_path / "600s.wav", 600)
    preview = ("generate", portrait, five, "--backend", "preview", "--force")
    long_preview = ("generate", portrait, ten_minutes, "--backend", "preview", "--force")
    cases = [
        ("--version", ("--version",), RUNS, 0),
        ("--help", ("--help",), RUNS, 0),
        ("generate --help", ("generate", "--help"), RUNS, 0),
        ("refuse a missing picture", ("generate", "no.png", five, "--backend", "preview"), RUNS, 3),
        ("refuse --steps 51", ("generate", portrait, five, "--steps", "51"), RUNS, 2),
        ("plan of 5 s", ("generate", portrait, five, "--plan"), RUNS, 0),
        ("preview of 5 s", preview, 3, 0),
        ("plan of 10 min", ("generate", portrait, ten_minutes, "--plan"), 2, 0),
        ("preview of 10 min", long_preview, 1, 0),
    ]
    for what, words, runs, code in cases:
        assert _run(*words, cwd=tmp_path)[2] == code
        table.append((what, [_run(*words, cwd=tmp_path) for _ in range(runs)]))
