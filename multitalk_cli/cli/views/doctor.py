"""The report of `multitalk doctor` as lines and JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from multitalk_cli.cli.layout import Block, Line, Row, Style, Table
from multitalk_cli.cli.next_command import next_command
from multitalk_cli.cli.views.next_step import GENERATE
from multitalk_cli.doctor.check import GROUPS, STEPS, CheckResult, State
from multitalk_cli.doctor.report import DoctorReport
from multitalk_cli.errors import ExitCode

_STYLES: dict[str, Style] = {"ok": "", "warn": "yellow", "fail": "red", "skip": "dim"}
# Shown if nothing is wrong; the rest is in --all and --json.
_SHOWN = (
    "python", "ffmpeg", "disk", "workspace", "network", "app", "version", "pack", "huggingface",
    "aws", "bucket", "model", "card", "attention", "load", "sound", "canary", "speed",
)  # fmt: skip


class _Row(NamedTuple):
    """One line of the screen."""

    label: str
    state: State
    text: str
    remedy: str


def remedy(check: CheckResult) -> str:
    """The command that helps with a check's finding; empty if there is none."""
    if check.outcome.remedy or check.outcome.error is None:
        return check.outcome.remedy
    return next_command(check.outcome.error, ["doctor"]).partition("\n")[0]


def next_step(report: DoctorReport) -> str:
    """The command for the first failure; without one, the command that generates."""
    remedies = [text for check in report.failed if (text := remedy(check))]
    return remedies[0] if remedies else GENERATE


def data(report: DoctorReport) -> dict[str, Any]:
    """The JSON of the report."""
    found = {
        "checks": [_check_data(check) for check in report.checks],
        "preview_ready": report.preview_ready,
        "video_ready": report.video_ready,
        "steps_done": report.steps_done,
        "steps": len(STEPS),
        "next": next_step(report),
    }
    return found if report.measured is None else {**found, "gpu": dict(report.measured)}


def _check_data(check: CheckResult) -> dict[str, Any]:
    return {
        "name": check.name,
        "group": check.group,
        "state": check.state,
        "seen": check.text,
        "remedy": remedy(check),
        "code": check.code,
        "is_blocked": check.is_blocked,
    }


def errors(report: DoctorReport) -> list[dict[str, Any]]:
    """One error for each failed check; `doctor` exits with 4, whatever a check's own code says."""
    return [
        {
            "code": check.code,
            "message": f"{check.name}: {check.text}",
            "hint": remedy(check),
            "exit_code": int(ExitCode.SETUP),
        }
        for check in report.failed
    ]


def blocks(report: DoctorReport, *, every: bool, columns: int) -> list[Block]:
    """The screen. every: a line for each check, not each group."""
    rows = _rows_of_checks(report.checks) if every else _rows_of_groups(report)
    preview = "ready" if report.preview_ready else "not ready"
    steps = f"{report.steps_done} of {len(STEPS)} steps done"
    video = "ready" if report.video_ready else steps
    return [
        *_laid_out(rows, columns),
        Line(""),
        Line(f"preview: {preview}      real video: {video}"),
        Row("next:", next_step(report), "bold", width=7, wraps=False),
    ]


def _laid_out(rows: Sequence[_Row], columns: int) -> Iterator[Block]:
    """A table; on a narrow terminal the remedy gets a line of its own."""
    table = Table(rows=rows, styles=[_STYLES[row.state] for row in rows])
    if table.width <= columns:
        yield table
        return
    label_width = max(len(row.label) for row in rows) + 2
    for row in rows:
        label, style = f"{row.label:<{label_width}}{row.state}", _STYLES[row.state]
        yield Row(label, row.text, style, width=label_width + 6)
        if row.remedy:
            yield Row("", row.remedy, "bold", width=label_width + 6, wraps=False)


def _rows_of_checks(checks: Sequence[CheckResult]) -> list[_Row]:
    return [
        _Row(f"{check.group} {check.name}", check.state, check.text, remedy(check))
        for check in checks
    ]


def _rows_of_groups(report: DoctorReport) -> list[_Row]:
    """One line for all that is well in a group, and one for each other check."""
    rows = []
    for group in GROUPS:
        checks = report.of(group)
        well = [check.text for check in checks if check.state == "ok" and check.name in _SHOWN]
        # Findings about a GPU are long: a line each.
        texts = well if group == "gpu" else [", ".join(well)] if well else []
        rows += [_Row(group, "ok", text, "") for text in texts]
        blocked = [check for check in checks if check.is_blocked]
        other = [check for check in checks if check.state in ("warn", "fail")]
        other += [c for c in checks if c.state == "skip" and not c.is_blocked and remedy(c)]
        rows += [_Row(group, check.state, check.text, remedy(check)) for check in other]
        if blocked and not any(check.state == "fail" for check in other):
            rows.append(_Row(group, "skip", blocked[0].text, ""))
    return rows
