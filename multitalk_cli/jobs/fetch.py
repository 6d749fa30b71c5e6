"""A finished job's video: from the cloud to a file that appears whole or not at all."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multitalk_cli import contract
from multitalk_cli.cloud.call_result import read_answer, read_event, to_error
from multitalk_cli.errors import (
    FileError,
    MultitalkError,
    RemoteError,
    TemporaryError,
    error_from_code,
)
from multitalk_cli.files import partial_file, user_folder
from multitalk_cli.jobs import ledger as jobs_ledger
from multitalk_cli.media.video.names import first_of
from multitalk_cli.planning.cost import price_of
from multitalk_cli.planning.gpus import gpu_from_device, paid_gpu
from multitalk_cli.storage.retry import SYSTEM_CLOCK, Clock, RetryPolicy

if TYPE_CHECKING:
    from multitalk_cli.cloud.client import Cloud
    from multitalk_cli.jobs.ledger import Job, Ledger


RETRIES = RetryPolicy(pauses_s=(0.5, 1, 2, 4, 8))
_PART_NAME = re.compile(r"(?:part|first)-[0-9]{4,6}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of a finished video, as its container recorded it."""

    name: str
    size: int
    sha256: str

    def __post_init__(self) -> None:
        # It becomes a path here.
        if not _PART_NAME.fullmatch(self.name):
            raise contract.ContractError(f"{self.name!r} is not the name of a part")


def load_result(cloud: Cloud, job: Job) -> dict[str, Any] | None:
    """The answer of a finished job, from its Volume; None if it is not kept.

    That of its first window where nothing else was made, and nothing else is being made.
    """
    names = (contract.RESULT_FILE, *((contract.FIRST_FILE,) if job.is_first else ()))
    for name in names:
        try:
            text = b"".join(cloud.read_file(contract.JOBS_VOLUME, f"{job.id}/{name}"))
        except FileNotFoundError:
            continue
        return {**json.loads(text), "video": None}
    return None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FinishedJob:
    """A finished job with the answer of its call.

    is_fresh: whether it ended just now. copied: its file on this machine, from which a video comes
    that the cloud no longer keeps.
    """

    cloud: Cloud
    ledger: Ledger
    job: Job
    answer: Mapping[str, Any]
    is_fresh: bool = False
    copied: Path | None = None

    @property
    def done(self) -> contract.Done:
        """The event that it ended with."""
        event = read_event(self.answer["event"], {"job": self.job.id})
        if not isinstance(event, contract.Done):
            raise ValueError(f"job {self.job.id} ended with {event.kind}, not with a video")
        return event

    @property
    def is_for_store(self) -> bool:
        """Whether its call stored the video, or was to store it."""
        return self.done.result.stored is not None or self.answer.get("unstored") is not None


def fetch(
    finished: FinishedJob,
    target: Path | None,
    *,
    overwrite: bool,
    is_recorded: bool = True,
    clock: Clock = SYSTEM_CLOCK,
) -> Iterator[contract.Event]:
    """Writes the video of a finished job at `target`; `Done` comes last, with the price.

    target: None for a video that is only stored. A file there that is this video already is no
    error. is_recorded: whether the ledger names the file. Raises FileError with the fact `job`, by
    which the video can be fetched elsewhere.
    """
    answer = finished.answer
    result = priced(finished.done.result, finished.job)
    if target is not None:
        is_first = result.is_first_window
        may_replace = overwrite or is_video_of(target, finished.job, first=is_first)
        try:
            with partial_file(target, overwrite=may_replace, durable=True) as path:
                if finished.copied is not None:
                    shutil.copyfile(finished.copied, path)
                elif answer["video"] is None:
                    parts = [Part(**part) for part in answer["parts"]]
                    yield from _download(finished, parts, path, clock)
                else:
                    path.write_bytes(answer["video"])
        except FileError as error:
            # Another command that followed the same job may have been faster.
            is_same = is_video_of(target, finished.job, first=is_first)
            if error.code != "E_OUTPUT_EXISTS" or not is_same:
                error.facts["job"] = finished.job.id
                raise
    note_stored(finished, target if is_recorded else None, result)
    yield contract.Done(result=result)


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiedVideo:
    """A finished video in a file on this machine, and the answer that its call gave."""

    path: Path
    answer: Mapping[str, Any]


def copied_video(job: Job) -> CopiedVideo | None:
    """The file that the ledger names, if it still is the video of the finished job."""
    path = first_of(Path(job.target)) if job.is_first else Path(job.target)
    if not job.result or not job.target or not path.is_file():
        return None
    if not is_video_of(path, job, first=job.is_first):
        return None
    try:
        result = contract.from_wire(contract.Result, json.loads(job.result))
    except contract.VersionMismatchError:
        # A newer client wrote it; the cloud may have the video too.
        return None
    done = contract.Done(result=result)
    return CopiedVideo(
        path=path, answer={"event": contract.to_wire(done), "parts": [], "video": None}
    )


def is_video_of(target: Path, job: Job, *, first: bool = False) -> bool:
    """Whether the file is this job's video, so that overwriting it loses nothing.

    first: whether it is the video of its first window alone.
    """
    from multitalk_cli.media.video.recipe import read_recipe

    try:
        found = read_recipe(target)
    except FileError:
        return False
    if found is None or (found.get(contract.FIRST_WINDOW) is True) != first:
        return False
    return {**found, **json.loads(job.recipe)} == found


def note_stored(
    finished: FinishedJob, target: Path | None, result: contract.Result
) -> contract.Result:
    """Records in the ledger where a finished video is, and returns its result.

    Of a first window alone only that it was made: the target is that of the whole video.
    """
    ended_s = finished.job.ended_s
    changes: dict[str, Any] = {
        "gpu_seconds": result.gpu_seconds,
        "price_usd": result.price_usd,
        "result": json.dumps(contract.to_wire(result)),
        "ended_s": time.time() if ended_s is None else ended_s,
    }
    if result.is_first_window:
        changes |= {"state": jobs_ledger.FIRST, "first": jobs_ledger.MADE}
    else:
        location = result.stored if target is None else str(target.absolute())
        changes |= {"state": jobs_ledger.DONE, "fetched_s": time.time()}
        changes["target"] = "" if location is None else location
    finished.ledger.update(finished.job.id, **changes)
    return result


def check_stored(finished: FinishedJob, target: Path | None) -> None:
    """Raises the reason why a call that ended just now did not store its video."""
    wire = finished.answer.get("unstored")
    if wire is None or not finished.is_fresh:
        return
    failed = read_answer(contract.Failed, wire)
    raise unstored(finished.job, target, to_error(failed))


def unstored(job: Job, target: Path | None, error: MultitalkError) -> MultitalkError:
    """The error for a video that was made but not stored, with where the video is."""
    message = f"the video is made, but not stored: {error.message}"
    if target is None:
        return error_from_code(error.code, message, facts={"unstored_job": job.id})
    return error_from_code(
        error.code,
        f"{message}; it is at {target}",
        "the same command again stores it, --upload-to under another key; nothing is paid twice",
    )


def priced(result: contract.Result, job: Job) -> contract.Result:
    """The result with the GPU and the price that it had."""
    paid = paid_gpu(result.gpu, job.gpu)
    price = None if result.gpu_seconds is None else price_of(paid, result.gpu_seconds)
    return replace(result, gpu=gpu_from_device(result.gpu, job.gpu), price_usd=price)


def _download(
    finished: FinishedJob, parts: Sequence[Part], path: Path, clock: Clock
) -> Iterator[contract.Event]:
    """Fetches the parts that are missing on this machine, and joins all of them."""
    folder = user_folder("cache") / "parts" / finished.job.id
    folder.mkdir(parents=True, exist_ok=True)
    total, done = sum(part.size for part in parts), 0
    for part in parts:
        if not _is_whole(folder / part.name, part):
            _fetch_part(finished, part, folder / part.name, clock)
        done += part.size
        yield contract.Stage(name="downloading", done=done, total=total)
    with path.open("wb") as whole:
        for part in parts:
            with (folder / part.name).open("rb") as piece:
                shutil.copyfileobj(piece, whole, 1 << 20)
    shutil.rmtree(folder)


def _is_whole(path: Path, part: Part) -> bool:
    if not path.is_file() or path.stat().st_size != part.size:
        return False
    return hashlib.sha256(path.read_bytes()).hexdigest() == part.sha256


def _fetch_part(finished: FinishedJob, part: Part, target: Path, clock: Clock) -> None:
    """Fetches one part, again where the transfer broke or the checksum is wrong."""
    job, retry = finished.job, RETRIES.start(clock)
    error: TemporaryError | None
    while True:
        try:
            with target.open("wb") as file:
                path = f"{job.id}/{part.name}"
                file.writelines(finished.cloud.read_file(contract.JOBS_VOLUME, path))
            error = None
        except FileNotFoundError:
            message = f"the video of job {job.id} is no longer kept"
            raise RemoteError(message, code="E_EXPIRED") from None
        except TemporaryError as broken:
            error = broken
        if _is_whole(target, part):
            return
        if not retry.wait():
            break
    message = f"the checksum of {part.name} of job {job.id} is wrong"
    raise TemporaryError(
        message if error is None else error.message,
        code="E_NETWORK",
        facts={"job": job.id, "step": "fetch"},
    ) from error
