"""Results of `multitalk jobs logs` as lines and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from multitalk_cli.jobs import states

if TYPE_CHECKING:
    from multitalk_cli.cloud.logs import LogLine
    from multitalk_cli.jobs.ledger import Job
    from multitalk_cli.jobs.refresh import ListedJob


def log_data(job: Job, lines: Sequence[LogLine]) -> dict[str, Any]:
    """The JSON of a log."""
    return {"job": job.id, "lines": [line_data(each) for each in lines]}


def line_data(line: LogLine) -> dict[str, Any]:
    """The JSON of one line of a log."""
    return {"time_s": line.time_s, "source": line.source, "text": line.text}


def followed_data(listed: ListedJob) -> dict[str, Any]:
    """The JSON after the lines of a log that was followed to the job's end."""
    return {"job": listed.job.id, "state": states.state_of(listed.job)}


def log_lines(lines: Sequence[LogLine]) -> list[str]:
    """What the containers printed, as it was."""
    return [each.text for each in lines]
