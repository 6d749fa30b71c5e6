"""What became of several jobs that a command waited for, fetched, cancelled or ran again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from multitalk_cli.cli.next_command import next_command
from multitalk_cli.cli.views.jobs import next_step, state_text, video_lines, video_location
from multitalk_cli.errors import CODES, ExitCode, RemoteError
from multitalk_cli.jobs import ledger as jobs_ledger
from multitalk_cli.jobs import states

if TYPE_CHECKING:
    from multitalk_cli.errors import MultitalkError
    from multitalk_cli.generation.rerun import RerunOutcome
    from multitalk_cli.jobs.control import CancelledJob, FetchOutcome
    from multitalk_cli.jobs.ledger import Job
    from multitalk_cli.jobs.refresh import ListedJob

_BAD = (states.FAILED, states.CANCELLED, states.STOPPED, states.EXPIRED)


def error_rows(
    outcomes: Sequence[FetchOutcome | RerunOutcome], typed: Sequence[str]
) -> list[dict[str, Any]]:
    """An error for each job of which no video was made or written. typed: as of `_error_row`."""
    return [_error_row(each.error, typed) for each in outcomes if each.error is not None]


def _error_row(error: MultitalkError, typed: Sequence[str]) -> dict[str, Any]:
    """An error among the results of a command, as in the JSON of a failure.

    typed: the words after `multitalk`.
    """
    return {
        "code": error.code,
        "message": error.message,
        "hint": next_command(error, [*typed]),
        "exit_code": int(error.exit_code),
    }


def ended_badly(jobs: Sequence[ListedJob], typed: Sequence[str]) -> list[dict[str, Any]]:
    """An error for each job that ended without a video."""
    bad = [each for each in jobs if states.state_of(each.job) in _BAD]
    return [
        _error_row(
            RemoteError(
                f"job {each.job.id} {state_text(each)}",
                code=_code_of(each.job),
                hint=next_step(each),
            ),
            typed,
        )
        for each in bad
    ]


def _code_of(job: Job) -> str:
    """The code of the job's own failure, where that is one of a remote run."""
    is_remote = job.error in CODES and CODES[job.error].exit_code is ExitCode.REMOTE
    cancelled = job.state == jobs_ledger.CANCELLED
    return job.error if is_remote else "E_CANCELLED" if cancelled else "E_REMOTE"


def fetched_data(outcomes: Sequence[FetchOutcome]) -> dict[str, Any]:
    """The JSON of `jobs fetch` of several jobs."""
    return {
        "videos": [
            {
                "job": each.job.id,
                "output": None if each.video is None else video_location(each.video),
                "error": None if each.error is None else each.error.code,
            }
            for each in outcomes
        ]
    }


def fetched_lines(outcomes: Sequence[FetchOutcome]) -> list[str]:
    """The paths of the videos."""
    return [line for each in outcomes if each.video for line in video_lines(each.video)]


def all_cancelled_data(cancelled: Sequence[CancelledJob]) -> dict[str, Any]:
    """The JSON of `jobs cancel`: of one job as it is, of several as a list."""
    rows = [cancelled_data(each) for each in cancelled]
    return rows[0] if len(rows) == 1 else {"jobs": rows}


def cancelled_data(cancelled: CancelledJob) -> dict[str, Any]:
    """The JSON of one cancelled job."""
    data: dict[str, Any] = {"job": cancelled.job_id, "state": cancelled.state}
    if cancelled.is_confirmed is not None:
        data["confirmed"] = cancelled.is_confirmed
    return data


def rerun_data(outcomes: Sequence[RerunOutcome]) -> dict[str, Any]:
    """The JSON of `jobs rerun` of several jobs."""
    return {
        "jobs": [
            {
                "job": each.job.id,
                "new_job": each.job_id,
                "output": each.place,
                "error": None if each.error is None else each.error.code,
            }
            for each in outcomes
        ]
    }


def rerun_lines(outcomes: Sequence[RerunOutcome]) -> list[str]:
    """The path or address of each video, or the id of the job that makes it."""
    return [each.place or each.job_id for each in outcomes if each.error is None]
