"""Preparation of a job's inputs in the cloud, next to the user's store."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from multitalk_cli import contract
from multitalk_cli.errors import FileError, MultitalkError, RemoteError, error_from_code
from multitalk_cli.planning.remote_task import PrepareRequest, PrepareResult
from multitalk_cli.reporting.formatting import human_bytes
from remote.worker import upload
from remote.worker.failures import as_answer, read_wire

if TYPE_CHECKING:
    from multitalk_cli.planning.inputs import InputRef
    from multitalk_cli.planning.prepare import Preparation
    from multitalk_cli.planning.summary import Summary
    from remote.worker.volume_store import VolumeStore

BACKEND = "modal"
MAX_INPUT_BYTES = 4 << 30
_UNSAFE = re.compile(r"[^\w .,()+@=-]")
_NAME_CHARACTERS = 60  # of four bytes each: names of files have at most 255


@as_answer(upload.failed_answer)
def prepare_inputs(wire: Mapping[str, Any], files: VolumeStore) -> dict[str, Any]:
    """Fetches, checks and prepares the inputs of a job.

    wire: a PrepareRequest. Answers with a PrepareResult.
    """
    from multitalk_cli.planning import prepare as planning

    task = read_wire(PrepareRequest, wire)
    bucket = upload.open_bucket()
    spot = None if task.upload is None else upload.find_object(bucket, task.upload, task.job_id)
    with _sources(task, files, bucket) as inputs, _as_named(inputs):
        prepared = planning.prepare(inputs[0], inputs[1:], task.options)
        outcome = _outcome(task, prepared, files, _named(planning.summarize(prepared), inputs))
    return contract.to_wire(replace(outcome, spot=spot))


def _outcome(
    task: PrepareRequest, prepared: Preparation, files: VolumeStore, summary: Summary
) -> PrepareResult:
    from multitalk_cli.planning.fingerprint import fingerprints
    from multitalk_cli.planning.plan_image import draw
    from multitalk_cli.planning.request import make_recipe, make_request

    recipe = make_recipe(summary, task.options, BACKEND, model_output=True)
    outcome = PrepareResult(
        summary=summary,
        recipe=json.dumps(recipe),
        fingerprint="",
        notes=(),
        drawing=draw(prepared) if task.draws else None,
        spot=None,
    )
    if not task.keeps:
        return outcome
    request, notes = make_request(prepared, task.job_id, recipe)
    files.keep_request(task.job_id, contract.to_wire(request))
    files.delete_outdated()
    files.commit()
    return replace(outcome, fingerprint=" ".join(fingerprints(request)), notes=notes)


# The inputs as files


@contextmanager
def _sources(
    task: PrepareRequest, files: VolumeStore, bucket: upload.OpenBucket
) -> Iterator[list[InputRef]]:
    """Every input as a file of this container; those in the job's folder are removed afterwards."""
    sources = (task.image, *task.voices)
    sent = [source.file for source in sources if source.file]
    if sent:
        files.reload()
    try:
        with TemporaryDirectory(prefix="multitalk-") as folder, ThreadPoolExecutor() as pool:
            places = [Path(folder) / str(number) for number in range(len(sources))]
            yield list(
                pool.map(
                    lambda source, place: _fetch(task.job_id, source, place, files, bucket),
                    sources,
                    places,
                )
            )
    finally:
        if sent:
            files.remove(task.job_id, sent)
            files.commit()


def _fetch(
    job_id: str, source: InputRef, folder: Path, files: VolumeStore, bucket: upload.OpenBucket
) -> InputRef:
    folder.mkdir()
    path = folder / file_name(source.text)
    if source.file:
        sent = files.load(job_id, source.file)
        if sent is None:
            raise RemoteError(f"{source.text} did not arrive", code="E_EXPIRED")
        shutil.copyfile(sent, path)
    else:
        _fetch_object(source.text, path, bucket)
    return replace(source, file=str(path))


def _fetch_object(text: str, path: Path, bucket: upload.OpenBucket) -> None:
    from multitalk_cli.storage.address import parse_uri

    address = parse_uri(text)
    size_bytes = bucket.storage.find(address).size_bytes
    if size_bytes > MAX_INPUT_BYTES:
        size, most = human_bytes(size_bytes), human_bytes(MAX_INPUT_BYTES)
        message = f"{text} is {size}, of at most {most}"
        raise FileError(message, code="E_FILE_UNREADABLE")
    bucket.storage.get(address, path, overwrite=False)


def file_name(text: str) -> str:
    """A name that is safe for a file, close to the last part of a path or key."""
    name = _UNSAFE.sub("_", text.rpartition("/")[2]).lstrip(". ")
    path = Path(name if name else "input")
    suffix = path.suffix[:12]
    return path.stem[: _NAME_CHARACTERS - len(suffix)] + suffix


# Their names


@contextmanager
def _as_named(inputs: list[InputRef]) -> Iterator[None]:
    """Replaces paths in errors by the names that the user typed."""
    try:
        yield
    except MultitalkError as error:
        message, hint = _renamed(error.message, inputs), _renamed(error.hint, inputs)
        raise error_from_code(error.code, message, hint) from error


def _named(summary: Summary, inputs: list[InputRef]) -> Summary:
    return replace(
        summary,
        adjusted=tuple(_renamed(note, inputs) for note in summary.adjusted),
        warnings=tuple(_renamed(warning, inputs) for warning in summary.warnings),
    )


def _renamed(text: str, inputs: list[InputRef]) -> str:
    for one in inputs:
        text = text.replace(str(one.path), one.text)
    return text
