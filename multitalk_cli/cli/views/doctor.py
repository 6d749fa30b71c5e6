"""What the checks mean together: what is ready, how far the rest is, and the one next command."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from multitalk_cli.doctor.check import GROUPS, STEPS, CheckResult
from multitalk_cli.errors import CODES, ExitCode
from multitalk_cli.reporting.formatting import align

GENERATE = "multitalk generate PICTURE VOICE"
_STYLES = {"ok": "", "warn": "yellow", "fail": "red", "skip": "dim"}
# A preview is made whatever the clock says, and leaves no job.
_NOT_FOR_PREVIEWS = ("clock", "jobs", "model")
# What matters to a reader when nothing is wrong; the rest is in --all and --json.
_SAID = (
    "python", "ffmpeg", "disk", "workspace", "network", "app", "version", "pack", "huggingface",
    "aws", "bucket", "model", "card", "attention", "load", "sound", "canary", "speed",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The checks in the order in which a newcomer meets them."""

    checks: tuple[CheckResult, ...]

    @property
    def failed(self) -> tuple[CheckResult, ...]:
        """What must be mended."""
        return tuple(check for check in self.checks if check.state == "fail")

    @property
    def preview_ready(self) -> bool:
        """Whether a preview can be made on this machine."""
        return not any(
            check.group == "local" and check.name not in _NOT_FOR_PREVIEWS for check in self.failed
        )

    @property
    def steps_done(self) -> int:
        """How many of the groups have nothing left to do."""
        return sum(self._is_done(group) for group in STEPS)

    @property
    def video_ready(self) -> bool:
        """Whether a real video can be made now."""
        return self.steps_done == len(STEPS)

    @property
    def is_deployed(self) -> bool:
        """Whether a container of the account can be asked to make a video."""
        needed = {check.name: check.state for check in self.checks}
        return self.video_ready and needed.get("app") == needed.get("pack") == "ok"

    @property
    def next_command(self) -> str:
        """What mends the first failure, or what to do where there is none."""
        remedies = [check.remedy for check in self.failed if check.remedy]
        return remedies[0] if remedies else GENERATE

    def _is_done(self, group: str) -> bool:
        return not any(check.state == "fail" or check.is_blocked for check in self.of(group))

    def of(self, group: str) -> tuple[CheckResult, ...]:
        """The checks of a group."""
        return tuple(check for check in self.checks if check.group == group)

    def data(self) -> dict[str, Any]:
        """The same for a program."""
        return {
            "checks": [asdict(check) for check in self.checks],
            "preview_ready": self.preview_ready,
            "video_ready": self.video_ready,
            "steps_done": self.steps_done,
            "steps": len(STEPS),
            "next": self.next_command,
        }

    def errors(self) -> list[dict[str, Any]]:
        """One error for each failure."""
        return [
            {
                "code": check.code,
                "message": f"{check.name}: {check.seen}",
                "hint": check.remedy,
                "exit_code": int(CODES[check.code].exit_code if check.code else ExitCode.SETUP),
            }
            for check in self.failed
        ]

    def lines(self, *, every: bool, columns: int) -> list[tuple[str, str]]:
        """The screen, each line with its style. every: a line for each check, not each group."""
        rows = _each(self.checks) if every else _grouped(self)
        styled = list(_drawn(rows, columns))
        return [*styled, ("", ""), (self._readiness(), ""), (f"next:  {self.next_command}", "bold")]

    def _readiness(self) -> str:
        preview = "ready" if self.preview_ready else "not ready"
        steps = f"{self.steps_done} of {len(STEPS)} steps done"
        video = "ready" if self.video_ready else steps
        return f"preview: {preview}      real video: {video}"


def _drawn(rows: Sequence[tuple[str, str, str, str]], columns: int) -> Iterator[tuple[str, str]]:
    """Lines in columns; what mends stands below where it does not fit beside."""
    lines = align(rows)
    if max(map(len, lines)) <= columns:
        yield from ((line, _STYLES[row[1]]) for line, row in zip(lines, rows, strict=True))
        return
    left = max(len(label) for label, *_ in rows) + len("  skip  ")
    for label, state, seen, remedy in rows:
        yield f"{label:<{left - 6}}{state:<4}  {seen}", _STYLES[state]
        if remedy:
            yield f"{'':<{left}}{remedy}", "bold"


def order(checks: Sequence[CheckResult]) -> Verdict:
    """The checks by group, each group in the order in which it was looked at."""
    return Verdict(checks=tuple(sorted(checks, key=lambda check: GROUPS.index(check.group))))


def _each(checks: Sequence[CheckResult]) -> list[tuple[str, str, str, str]]:
    return [
        (f"{check.group} {check.name}", check.state, check.seen, check.remedy) for check in checks
    ]


def _grouped(verdict: Verdict) -> list[tuple[str, str, str, str]]:
    """One line for what is well in a group, one for everything else in it."""
    rows = []
    for group in GROUPS:
        checks = verdict.of(group)
        well = [check.seen for check in checks if check.state == "ok" and check.name in _SAID]
        # What a container says is long: a line each.
        texts = well if group == "gpu" else [", ".join(well)] if well else []
        rows += [(group, "ok", text, "") for text in texts]
        blocked = [check for check in checks if check.is_blocked]
        other = [check for check in checks if check.state in ("warn", "fail")]
        other += [c for c in checks if c.state == "skip" and not c.is_blocked and c.remedy]
        rows += [(group, check.state, check.seen, check.remedy) for check in other]
        if blocked and not any(check.state == "fail" for check in other):
            rows.append((group, "skip", blocked[0].seen, ""))
    return rows
