"""Renews the README's tables of error codes: python -m tests.documents.codes"""

from pathlib import Path

from multitalk_cli.errors import CODES

README = Path(__file__).resolve().parents[2] / "README.md"
TROUBLES = {
    "attention": ("E_ATTENTION",),
    "size of the picture": ("E_IMAGE_SIZE", "E_RANGE"),
    "frames": ("E_REQUEST",),
    "length of the speech": ("E_AUDIO_LENGTH", "E_AUDIO_SILENT"),
    "memory": ("E_OUT_OF_MEMORY", "E_GPU_TOO_SMALL"),
    "boxes": ("E_SPEAKER",),
    "cold start": ("E_START", "E_TIMEOUT"),
    "quota": ("E_CAPACITY", "E_COST"),
    "set-up": ("E_NO_TOKEN", "E_NOT_DEPLOYED", "E_CONTRACT", "E_WEIGHTS_MISSING"),
}
"""What goes wrong often; each code is caused in a test, and mended as its row says."""


def table():
    """The Markdown table of every code."""
    rows = [
        f"| `{code}` | {int(row.exit_code)} | {row.summary} | {row.remedy} |"
        for code, row in CODES.items()
    ]
    return _markdown(("code", "exit", "what happened", "what helps"), rows)


def troubles():
    """The Markdown table of what goes wrong often, with its causes."""
    rows = [
        f"| {name} | `{code}` | {CODES[code].cause} | {CODES[code].remedy} |"
        for name, codes in TROUBLES.items()
        for code in codes
    ]
    return _markdown(("about", "code", "why", "what helps"), rows)


def _markdown(head, rows):
    return "\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *rows, ""])


def renewed(text):
    """The README's text with the tables of now."""
    return _between(_between(text, "codes", table()), "troubles", troubles())


def _between(text, name, content):
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    return before + begin + content + end + after


if __name__ == "__main__":
    README.write_text(renewed(README.read_text(encoding="utf-8")), encoding="utf-8")
