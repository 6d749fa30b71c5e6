"""Commands that find a job, or return to it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from multitalk_cli.reporting.formatting import shell_line

if TYPE_CHECKING:
    from multitalk_cli.errors.exceptions import Fact


def find_jobs(facts: Mapping[str, Fact], _words: list[str]) -> str:
    """The list of jobs; of a file, what it was made from and by which job."""
    if "job_prefix" not in facts:
        return ""
    if Path(file := str(facts["job_prefix"])).is_file():
        return shell_line(["multitalk", "inspect", file])
    return "multitalk jobs ls" if "is_local" in facts else "multitalk jobs ls --remote"


def return_to_job(facts: Mapping[str, Fact], _words: list[str]) -> str:
    """The command for a job that could not be followed, fetched or cancelled to the end."""
    if "job" not in facts:
        return ""
    return f"multitalk jobs {facts.get('step', 'attach')} {facts['job']}"
