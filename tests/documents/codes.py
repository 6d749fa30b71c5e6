"""Renews the README's table of error codes: python -m tests.documents.codes"""

from pathlib import Path

from multitalk_cli.errors import CODES

README = Path(__file__).resolve().parents[2] / "README.md"
BEGIN, END = "<!-- codes: begin -->\n", "<!-- codes: end -->"


def table():
    """The Markdown table of every code."""
    rows = [
        f"| `{code}` | {int(row.exit_code)} | {row.summary} | {row.remedy} |"
        for code, row in CODES.items()
    ]
    return "\n".join(
        ["| code | exit | what happened | what helps |", "|---|---|---|---|", *rows, ""]
    )


def renewed(text):
    """The README's text with the table of now."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + table() + END + after


if __name__ == "__main__":
    README.write_text(renewed(README.read_text(encoding="utf-8")), encoding="utf-8")
