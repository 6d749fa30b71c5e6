"""The report of `multitalk doctor` as lines and JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from multitalk_cli.cli.app_options import for_app
from multitalk_cli.cli.layout import Block, Line, Row, Style, Table
from multitalk_cli.cli.next_command import next_command
from multitalk_cli.cli.views.next_step import GENERATE
from multitalk_cli.contract.codec import to_plain
from multitalk_cli.doctor.check import STEPS, CheckResult, State
from multitalk_cli.doctor.report import DoctorReport
from multitalk_cli.errors import ExitCode, TemporaryError
from multitalk_cli.reporting.formatting import human_figure

if TYPE_CHECKING:
    from multitalk_cli.contract.proof import ProofRow
    from multitalk_cli.errors.exceptions import Fact
    from multitalk_cli.settings import Settings

_STYLES: dict[str, Style] = {"ok": "", "warn": "yellow", "fail": "red", "skip": "dim"}
_SUBJECTS = ("local", "account", "deployment", "weights", "secrets", "storage", "gpu", "model")
"""The lines of the screen, in the order of a first set-up."""
# Shown if nothing is wrong; the rest is in --all and --json.
_SHOWN = (
    "python", "ffmpeg", "disk", "workspace", "network", "app", "version", "pack", "huggingface",
    "aws", "bucket", "model", "card", "attention", "load", "sound", "canary", "speed",
    "host", "volume", "modal",
    "encoders", "step",
)  # fmt: skip


PROOF_TITLES = ("part", "ours", "reference", "difference", "limit", "verdict")
_PROOF_STYLES: dict[bool | None, Style] = {True: "", False: "red", None: "dim"}


class _Row(NamedTuple):
    """One line of the screen."""

    label: str
    state: State
    text: str
    remedy: str


def of_app(report: DoctorReport, chosen: Settings | None) -> DoctorReport:
    """The report with commands that help for the app of these settings."""
    if chosen is None:
        return report
    place: dict[str, Fact] = {name: chosen[name] for name in ("app", "environment")}
    checks = [
        replace(check, outcome=replace(check.outcome, remedy=for_app(remedy(check), place)))
        for check in report.checks
    ]
    return replace(report, checks=tuple(checks), place=place)


def remedy(check: CheckResult) -> str:
    """The command that helps with a check's finding; empty if there is none."""
    if check.outcome.remedy or check.outcome.error is None:
        return check.outcome.remedy
    if isinstance(check.outcome.error, TemporaryError):
        return ""
    return next_command(check.outcome.error, ["doctor"]).partition("\n")[0]


def next_step(report: DoctorReport) -> str:
    """The command for the first failure; without one, the command that generates what can be."""
    # Without a network, which no command brings back, only this machine can be set up.
    is_offline = any(isinstance(check.outcome.error, TemporaryError) for check in report.failed)
    checks = [check for check in report.failed if check.group == "local" or not is_offline]
    remedies = [text for check in checks if (text := remedy(check))]
    if remedies or not report.failed:
        return remedies[0] if remedies else for_app(GENERATE, report.place)
    return f"{GENERATE} --backend preview" if report.preview_ready else "multitalk doctor --all"


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
    if report.measured is not None:
        found["gpu"] = dict(report.measured)
    if report.proof is not None:
        found["model"] = to_plain(report.proof)
    return found


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
    """The screen. every: a line for each check, not each subject."""
    rows = _rows_of_checks(report.checks) if every else _rows_of_subjects(report)
    preview = f"preview: {'ready' if report.preview_ready else 'not ready'}"
    steps = f"{report.steps_done} of {len(STEPS)} steps done, missing: {', '.join(report.missing)}"
    video = "ready" if report.video_ready else steps
    return [
        *_laid_out(rows, columns),
        Line(""),
        *_proof_table(report),
        Row(preview, f"real video: {video}", width=len(preview) + 6),
        Row("next:", next_step(report), "bold", width=7, wraps=False),
    ]


def _proof_table(report: DoctorReport) -> Iterator[Block]:
    """What was compared, and what could not be."""
    if report.proof is None or not report.proof.rows:
        return
    rows = [proof_cells(row) for row in report.proof.rows]
    styles: list[Style] = [_PROOF_STYLES[row.is_within] for row in report.proof.rows]
    yield Table(rows=rows, titles=PROOF_TITLES, right=(1, 2, 3, 4), styles=styles)
    yield Line("")


def proof_cells(row: ProofRow) -> tuple[str, ...]:
    """A row of the table of the model's parts."""
    if row.is_within is None:
        return (row.part, "", "", "", human_figure(row.limit), "not run")
    figures = (row.ours, row.reference, row.difference, row.limit)
    return (row.part, *map(human_figure, figures), "ok" if row.is_within else "outside")


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


def _rows_of_subjects(report: DoctorReport) -> list[_Row]:
    """One line a subject; findings of paid containers are long, and get a line each."""
    rows = []
    for subject in _SUBJECTS:
        checks = [check for check in report.checks if _subject(check) == subject]
        if subject in ("gpu", "model"):
            rows += [_row(subject, [check]) for check in checks if _is_shown(check)]
        elif checks:
            rows.append(_row(subject, checks))
    return rows


def _subject(check: CheckResult) -> str:
    return "secrets" if check.name == "huggingface" else check.group


def _row(subject: str, checks: Sequence[CheckResult]) -> _Row:
    """The worst that was found, with the first command that helps; else all that is well."""
    for state in ("fail", "warn", "ok", "skip"):
        found = [check for check in checks if check.state == state and _is_shown(check)]
        if found:
            # One cause may be found by several checks.
            texts = dict.fromkeys(check.text for check in found)
            remedies = [text for check in found if (text := remedy(check))]
            between = ", " if state == "ok" else "; "
            shown = list(texts)[:1] if state == "skip" else texts
            return _Row(subject, state, between.join(shown), next(iter(remedies), ""))
    return _Row(subject, "ok", "", "")


def _is_shown(check: CheckResult) -> bool:
    if check.state == "skip":
        return check.is_blocked or bool(remedy(check))
    return check.state != "ok" or check.name in _SHOWN
