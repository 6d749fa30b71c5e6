"""Screens that are kept as text, to be looked at: `RECORD_SCREENS=1 pytest tests/terminal`.

What differs from run to run is replaced: times, money, ids, folders, free space. Bars of a real
command depend on when it looked, and are left out; `test_views.py` keeps whole ones.
"""

import difflib
import os
import re
from pathlib import Path

import pytest

from tests.terminal.program import bar_cells

FOLDER = Path(__file__).parent / "screens"
_RENEW = "after a look at it: RECORD_SCREENS=1 pytest tests/terminal"
_PLACES = (
    (r"\b[0-9a-f]{64}\b", "SHA256"),
    (r"\b(?=[0-9a-f]*[0-9])[0-9a-f]{12,40}\b", "ID"),
    (r"\b(job|jobs attach) [0-9a-f]{8}\b", r"\1 ID"),
    (r"tf-\w+", "tf-ID"),
    (r"127\.0\.0\.1:\d+", "127.0.0.1:PORT"),
    (r"\d[\d.]* [MGT]B\s+free", "N GB free"),
    (r"(Python|modal|ffmpeg|torch|librosa) n?\d[\d.]*\d(\+\w+)?", r"\1 N"),
    # The kernels depend on what is installed.
    (r"(?s)(attention sdpa).*?(?=\ngpu )", r"\1, ..."),
    (r"librosa N by \S+ %", "librosa N by N %"),
    (r"at most \d[\d.]* [MG]B(\s)of main memory", r"at most N MB\1of main memory"),
    # An earlier call may have loaded them.
    (r"\ngpu .* of weights in .*/s(?=\n)", ""),
)
_FIGURES = (
    # How long depends on the starts that were seen; so does where the line ends.
    (r"on an\s+H100 or H200 \([^)]*\),\s+rates\s+of\s+", "on an H100 or H200 (N s), rates of "),
    (r"(GPU time +).* in all", r"\1N s in all"),
    (r"\d+ ms\b", "N ms"),
    (r"\d[\d.]* [kMG]B/s", "N MB/s"),
    (r"(?<![\d.x])\d[\d.]* (?:min \d+ s|h \d+ min|min|s|h)\b", "N s"),
    # A range or, where both ends are the same cents, an amount.
    (r"\$\d[\d.,]*(?:\s+to\s+\$\d[\d.,]*)?", "$N"),
    (r"((?:fps|N s), )[\d.]+ [kM]B", r"\1N kB"),
    (r"\d+\.\d frames", "N frames"),
    (r"seed \d{2,}", "seed N"),
)


def settled(lines, *folders, has_figures=False):
    """The lines without what differs from run to run. has_figures: times and money stay."""
    text = "\n".join(line for line in lines if not bar_cells(line))
    for folder in folders:
        text = text.replace(str(folder), "~")
    # A path goes to the next line or not, as long as the real folder's name is.
    text = re.sub(r"\n +~/", " ~/", text)
    for pattern, word in _PLACES if has_figures else (*_PLACES, *_FIGURES):
        text = re.sub(pattern, word, text)
    return text.splitlines()


def assert_kept(name, lines):
    """The screen is the kept one."""
    file, text = FOLDER / f"{name}.txt", "\n".join(lines) + "\n"
    if os.environ.get("RECORD_SCREENS"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    kept = file.read_text(encoding="utf-8") if file.is_file() else ""
    if text != kept:
        shown = difflib.unified_diff(kept.splitlines(), text.splitlines(), "kept", "seen", n=1)
        pytest.fail("\n".join([f"{file.name} differs; {_RENEW}", *shown]))
