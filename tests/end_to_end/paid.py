"""Recorded jobs: what `tests/tools/record_paid.py` left in `tests/recordings/paid`."""

import base64
import io
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from multitalk_cli import contract

FOLDER = Path(__file__).resolve().parents[1] / "recordings" / "paid"
BUCKET = "paid-videos"
WORKING_FOLDER = "/tmp/multitalk-paid/work"
"""Where the recorded commands ran."""


def read_json(name):
    """A recorded JSON file."""
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


def recorded_fingerprint(job):
    """What the ledger knows a job by."""
    return _ledger("SELECT fingerprint FROM jobs WHERE id = ?", job["job"])


def job_in_state(state):
    """The id of the one job that the ledger has in a state."""
    return _ledger("SELECT id FROM jobs WHERE state = ?", state)


def _ledger(query, value):
    with closing(sqlite3.connect(f"file:{FOLDER / 'jobs.sqlite3'}?mode=ro", uri=True)) as db:
        ((found,),) = db.execute(query, (value,))
    return found


# Requests


def encoded(name):
    """The bytes of a picture or a sound as a request had them."""
    return (FOLDER / "encoded" / name).read_bytes()


def inputs_json(wire):
    """A request as the cloud keeps it for its job."""

    def to_text(name):
        return {"base64": base64.b64encode(encoded(name)).decode("ascii")}

    return json.dumps(_filled(wire, to_text))


def recorded_request(job):
    """A job's request."""
    return contract.from_wire(contract.GenerateRequest, _filled(job["request"], encoded))


def _filled(value, to_content):
    """The same with the content of every file in place of its name."""
    if isinstance(value, list):
        return [_filled(item, to_content) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"file"}:
        return to_content(value["file"])
    return {name: _filled(item, to_content) for name, item in value.items()}


def encodings(request):
    """A request's picture and sounds in one order."""
    return request.image, request.sound, *(speaker.audio for speaker in request.speakers)


def is_alike(one, other):
    """Whether two encodings hold the same, but for what another processor may round otherwise."""
    if one is None or other is None:
        return one is other
    mine, theirs = _decoded(one), _decoded(other)
    if mine.shape != theirs.shape:
        return False
    # One level of a picture, two of 24 bits.
    limit = 1 if one.startswith(b"\x89PNG") else 2.0**-22
    return bool(np.abs(mine - theirs).max() <= limit)


def _decoded(data):
    if data.startswith(b"\x89PNG"):
        return np.asarray(Image.open(io.BytesIO(data)), dtype=np.int16)
    return soundfile.read(io.BytesIO(data), dtype="float64")[0]
