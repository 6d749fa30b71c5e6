"""The backend's interface: a task in, a started run out."""

import secrets
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from multitalk_cli.contract import Event, GenerateRequest

if TYPE_CHECKING:
    from multitalk_cli.cloud.remote_storage import CloudStore
    from multitalk_cli.errors.exceptions import Fact
    from multitalk_cli.jobs.ledger import KnownInput
    from multitalk_cli.media.faces.detect import Face
    from multitalk_cli.planning.windows import Plan
    from multitalk_cli.storage.upload import UploadTarget


Events = Generator[Event, None, None]
Start = Callable[["GenerateTask"], "StartedRun"]
Identify = Callable[[Mapping[str, Any]], tuple[str, int]]
Check = Callable[["Plan"], None]
FindLoras = Callable[[], Mapping[str, str]]
FindKnown = Callable[["Wanted"], "KnownJob | None"]


def _new_job(recipe: Mapping[str, Any]) -> tuple[str, int]:
    """A new job id, and the recipe's seed."""
    return secrets.token_hex(8), recipe["seed"]


def _nothing_to_check(_plan: "Plan") -> None:
    """Every plan fits this backend."""


def _no_loras() -> Mapping[str, str]:
    """This backend merges none."""
    return {}


def _nothing_known(_wanted: "Wanted") -> None:
    """This backend remembers no jobs."""


def _nothing_spent() -> None:
    """Nothing is paid."""


def _nothing_kept() -> None:
    """The cloud holds nothing of this task."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Wanted:
    """A video before anything is said about it.

    target: of the whole video. first: whether its first window alone is asked for. inputs: the
    picture, then the voices. fingerprints(): see `GenerateTask`; encodes the inputs. recipe: as
    far as it is known.
    """

    target: Path | None
    first: bool
    inputs: "tuple[KnownInput, ...]"
    fingerprints: Callable[[], tuple[str, ...]]
    overwrite: bool
    recipe: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownJob:
    """The job of an earlier command that makes, made or began the same video.

    state: "done" where its video is kept, "running", or "stopped" where it resumes after `windows`
    finished windows, which are paid. is_first: whether only its first window is kept.
    """

    job_id: str
    seed: int
    state: Literal["done", "running", "stopped"]
    windows: int = 0
    is_first: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GenerateTask:
    """One video to make.

    recipe: a JSON object. fingerprints: names of the inputs as prepared and the options as given;
    a job is recorded under the first and found by any.
    request: None where the cloud keeps it under the job's id. faces: of each speaker, in pixels of
    the request's picture; empty where the cloud prepared the inputs. name: of the video's file.
    arguments: the arguments as given, as JSON. inputs: the picture, then the voices.
    target: None for a video that is only stored. first: whether it is to be the first window alone.
    whole: the target of the whole video. is_temporary: the target is removed once it was read, and
    is not recorded. keep(): is called before a call is made that needs what the cloud
    holds.
    """

    job_id: str
    seed: int
    recipe: str
    prompt: str
    arguments: str
    inputs: "tuple[KnownInput, ...]"
    fingerprints: tuple[str, ...]
    request: GenerateRequest | None
    faces: "tuple[Face | None, ...]"
    name: str
    target: Path | None
    whole: Path | None
    first: bool
    upload: "UploadTarget | None"
    overwrite: bool
    is_temporary: bool = False
    keep: Callable[[], None] = _nothing_kept


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StartedRun:
    """A video in the making.

    job_id: the id that its video has, which an earlier job may have given it. events: what happens,
    `Done` or `Failed` last, and the video at its place before `Done`; closing the iterator stops
    the work on this machine and leaves no partial file. can_detach: whether the run continues
    without this process. spent_usd(): the cost so far; None where it is unknown or free.
    adjusted: what was changed in the request automatically. is_paid_before: whether an earlier
    command paid for the video, which is only fetched. facts: of its errors, the app that makes it.
    """

    job_id: str
    events: Events
    is_paid_before: bool = False
    can_detach: bool = False
    spent_usd: Callable[[], float | None] = _nothing_spent
    adjusted: tuple[str, ...] = ()
    facts: "Mapping[str, Fact]" = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """Something that makes a video.

    model_output: False where no model is involved. is_paid: whether a run costs money.
    start(task): starts the video; a call in the cloud is running when it returns.
    identify(recipe): the job's id and its seed, so that the same arguments resume a job that was
    stopped.
    find_known(wanted): the job of the same video, if there is one; raises where another job is to
    write to its target.
    check(plan): raises what keeps it from making such a video, before anything is paid.
    store: the user's store, which only the cloud has. find_loras(): the sha256 of each LoRA that it
    would merge, by name; raises where that cannot be known.
    """

    name: str
    model_output: bool
    is_paid: bool
    start: Start
    identify: Identify = _new_job
    check: Check = _nothing_to_check
    find_known: FindKnown = _nothing_known
    store: "CloudStore | None" = None
    find_loras: FindLoras = _no_loras
