"""The form of a backend, and of the task that it gets."""

import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multitalk_cli.contract import Event, GenerateRequest

if TYPE_CHECKING:
    from multitalk_cli.cloud.remote_storage import CloudStore
    from multitalk_cli.planning.windows import Plan
    from multitalk_cli.storage.upload import UploadTarget


Run = Callable[["GenerateTask"], Iterator[Event]]
Identify = Callable[[Mapping[str, Any]], tuple[str, int]]
Check = Callable[["Plan"], None]
Spent = Callable[[], float | None]


def _new_job(recipe: Mapping[str, Any]) -> tuple[str, int]:
    """A job id that nobody had before, and the seed that was asked for or drawn."""
    return secrets.token_hex(8), recipe["seed"]


def _nothing_to_check(_plan: "Plan") -> None:
    """What such a video needs is there."""


def _nothing_spent() -> None:
    """Nothing is paid."""


def _nothing_kept() -> None:
    """Nothing is kept that a call could need."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GenerateTask:
    """One video to make.

    recipe: a JSON object. fingerprints: names of the inputs as prepared and the options as given;
    a job is recorded under the first and found by any.
    request: None where the cloud keeps it under the job's id. name: of the video's file. target:
    None for a video that is only stored. keep(): is called before a call is made that needs what
    the cloud keeps.
    """

    job_id: str
    seed: int
    recipe: str
    fingerprints: tuple[str, ...]
    request: GenerateRequest | None
    name: str
    target: Path | None
    upload: "UploadTarget | None"
    overwrite: bool
    keep: Callable[[], None] = _nothing_kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """Something that makes a video.

    model_output: False where no model is involved. is_paid: whether a run costs money.
    run(work): makes the video where it belongs and yields what happens, `Done` or `Failed` last;
    closing the iterator stops the work and leaves nothing behind.
    identify(recipe): the job's id and its seed, so that the same command goes on with a job that
    was stopped.
    check(plan): raises what keeps it from making such a video, before anything is paid.
    spent_usd(): what the run has cost so far, None where that is not known or nothing.
    store: the way to a store of objects, which only the cloud has.
    """

    name: str
    model_output: bool
    is_paid: bool
    run: Run
    identify: Identify = _new_job
    check: Check = _nothing_to_check
    spent_usd: Spent = _nothing_spent
    store: "CloudStore | None" = None
