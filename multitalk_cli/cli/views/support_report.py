"""The report of `multitalk doctor --report`, for an issue: text to read and paste."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multitalk_cli import __version__, contract, settings
from multitalk_cli.cli.views import doctor
from multitalk_cli.errors.masking import mask

if TYPE_CHECKING:
    from multitalk_cli.doctor.model import Proof
    from multitalk_cli.doctor.report import DoctorReport

_PACKAGES = (
    "modal", "typer", "rich", "numpy", "pillow", "soundfile", "soxr", "imageio-ffmpeg", "boto3",
    "huggingface-hub", "torch",
)  # fmt: skip
_LONGEST_LINE = 2000


def text(report: DoctorReport, chosen: settings.Settings | None) -> str:
    """Markdown: versions, settings and where each comes from, every check, what containers found.

    Keys, tokens and passwords are masked; the home folder is `~`.
    """
    parts = [
        ("versions", _versions()),
        ("variables", settings.surroundings()),
        ("settings", {} if chosen is None else _settings(chosen)),
        ("checks", {check.name: f"{check.state}: {check.text}" for check in report.checks}),
    ]
    lines = ["# multitalk doctor", "", f"next: `{doctor.next_step(report)}`", ""]
    for title, rows in parts:
        lines += [f"## {title}", "", "```", *_aligned(rows), "```", ""]
    if report.measured:
        answer = json.dumps(dict(report.measured), indent=1, sort_keys=True, default=str)
        lines += ["## gpu", "", "```json", *answer.splitlines(), "```", ""]
    if report.proof is not None:
        lines += ["## model", "", "```", *_aligned(_proof(report.proof)), "```", ""]
    return _without_home(mask("\n".join(lines)))


def _proof(found: Proof) -> dict[str, str]:
    """What each container ran with, and every row as on the screen, with its note."""
    facts = {name: json.dumps(dict(seen)) for name, seen in found.facts.items()}
    titles = doctor.PROOF_TITLES[1:]
    for row in found.rows:
        cells = zip(titles, doctor.proof_cells(row)[1:], strict=True)
        figures = ", ".join(f"{title} {cell}" for title, cell in cells if cell)
        facts[row.part] = f"{figures}; {row.note}" if row.note else figures
    return facts


def _versions() -> dict[str, str]:
    found = {
        "multitalk": f"{__version__}, contract {contract.CONTRACT_VERSION}",
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "system": platform.platform(),
    }
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def _settings(chosen: settings.Settings) -> dict[str, str]:
    return {
        setting.name: f"{json.dumps(value.value)} ({value.origin})"
        for setting, value in chosen.items()
    }


def _aligned(rows: Mapping[str, Any]) -> Iterator[str]:
    width = max(map(len, rows), default=0)
    for name, value in rows.items():
        # What a library says may have fences and line ends of its own.
        shown = " ".join(str(value).replace("`", "'").split())
        yield f"{name:<{width}}  {shown[:_LONGEST_LINE]}"


def _without_home(report: str) -> str:
    try:
        home = str(Path.home())
    except RuntimeError:
        return report
    return report.replace(home, "~") if len(home) > 1 else report
