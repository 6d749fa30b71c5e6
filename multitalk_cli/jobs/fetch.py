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
from multitalk_cli.errors import (
    MultitalkError,
    RemoteError,
    TemporaryError,
    error_from_code,
)
from multitalk_cli.files import partial_file
from multitalk_cli.jobs import ledger as jobs_ledger
from multitalk_cli.planning.cost import price_of
from multitalk_cli.planning.gpus import gpu_from_device

if TYPE_CHECKING:
    from multitalk_cli.cloud.client import Cloud
    from multitalk_cli.jobs.ledger import Job, Ledger


ATTEMPTS = 6
FIRST_WAIT_S = 0.5
_PART_NAME = re.compile(r"part-[0-9]{4,6}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A piece of a finished video, as the container noted it."""

    name: str
    size: int
    sha256: str

    def __post_init__(self) -> None:
        # It becomes a path here.
        if not _PART_NAME.fullmatch(self.name):
            raise contract.ContractError(f"{self.name!r} is no name of a part")


def load_result(cloud: Cloud, job_id: str) -> dict[str, Any] | None:
    """The answer of a finished job as its Volume keeps it; None where it is not there."""
    path = f"{job_id}/{contract.RESULT_FILE}"
    try:
        text = b"".join(cloud.read_file(contract.JOBS_VOLUME, path))
    except FileNotFoundError:
        return None
    return {**json.loads(text), "video": None}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FinishedJob:
    """A finished job, and what its call answered. is_fresh: whether that was just now."""

    cloud: Cloud
    ledger: Ledger
    job: Job
    answer: Mapping[str, Any]
    is_fresh: bool = False


def fetch(kept: FinishedJob, target: Path | None, *, overwrite: bool) -> Iterator[contract.Event]:
    """Writes the video of a finished job at `target`; `Done` comes last, with the price.

    target: None for a video that is only stored.
    """
    answer = kept.answer
    event = contract.event_from_wire(answer["event"])
    if not isinstance(event, contract.Done):
        raise ValueError(f"{event.kind} is no finished job")
    result = _priced(event.result, kept.job)
    if target is not None:
        with partial_file(target, overwrite=overwrite, durable=True) as path:
            if answer["video"] is None:
                parts = [Part(**part) for part in answer["parts"]]
                yield from _download(kept.cloud, kept.job.id, parts, path)
            else:
                path.write_bytes(answer["video"])
    note_stored(kept, target, result)
    yield contract.Done(result=result)


def note_stored(kept: FinishedJob, target: Path | None, result: contract.Result) -> contract.Result:
    """Notes in the ledger where a finished video is, and gives its result."""
    place = result.stored if target is None else str(target.absolute())
    kept.ledger.update(
        kept.job.id,
        state=jobs_ledger.DONE,
        target="" if place is None else place,
        price_usd=result.price_usd,
        result=json.dumps(contract.to_wire(result)),
    )
    return result


def check_stored(kept: FinishedJob, target: Path | None) -> None:
    """Raises what kept a call that ended just now from storing its video."""
    wire = kept.answer.get("unstored")
    if wire is None or not kept.is_fresh:
        return
    failed = contract.from_wire(contract.Failed, wire)
    raise unstored(kept.job, target, error_from_code(failed.code, failed.message, failed.hint))


def unstored(job: Job, target: Path | None, error: MultitalkError) -> MultitalkError:
    """The error for a video that was made and not stored: it says where the video is."""
    message = f"the video is made, but not stored: {error.message}"
    if target is None:
        return error_from_code(error.code, message, f"multitalk jobs fetch {job.id}")
    return error_from_code(
        error.code,
        f"{message}; it is at {target}",
        "the same command again stores it, --upload-to under another key; nothing is paid twice",
    )


def _priced(result: contract.Result, job: Job) -> contract.Result:
    gpu = gpu_from_device(result.gpu, job.gpu)
    price = None if result.gpu_seconds is None else price_of(gpu, result.gpu_seconds)
    return replace(result, gpu=gpu, price_usd=price)


def _download(
    cloud: Cloud, job_id: str, parts: Sequence[Part], path: Path
) -> Iterator[contract.Event]:
    """Fetches the parts that are not here yet, and puts all together."""
    import platformdirs

    folder = platformdirs.user_cache_path("multitalk") / "parts" / job_id
    folder.mkdir(parents=True, exist_ok=True)
    total, done = sum(part.size for part in parts), 0
    for part in parts:
        if not _is_whole(folder / part.name, part):
            _fetch_part(cloud, job_id, part, folder)
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


def _fetch_part(cloud: Cloud, job_id: str, part: Part, folder: Path) -> None:
    """Fetches one part, again where the transfer broke or brought something else."""
    target, wait_s = folder / part.name, FIRST_WAIT_S
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with target.open("wb") as file:
                file.writelines(cloud.read_file(contract.JOBS_VOLUME, f"{job_id}/{part.name}"))
        except FileNotFoundError:
            message = f"the video of job {job_id} is no longer kept"
            raise RemoteError(message, code="E_EXPIRED") from None
        except TemporaryError:
            if attempt == ATTEMPTS:
                raise
        if _is_whole(target, part):
            return
        time.sleep(wait_s)
        wait_s *= 2
    raise TemporaryError(
        f"{part.name} of job {job_id} arrives damaged",
        code="E_NETWORK",
        hint=f"multitalk jobs fetch {job_id}",
    )
