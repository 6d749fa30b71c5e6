"""Checkpoints of an unfinished job, from which a later run resumes."""

import json
import logging
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from torch import Tensor

from multitalk_cli import contract
from multitalk_cli.contract.codec import from_plain, to_plain
from multitalk_cli.errors import FileError
from multitalk_cli.media.video.probe import probe_video
from multitalk_cli.planning.fingerprint import digests_of
from remote.engine.checkpoint.tensorfile import TensorFile, TensorInfo, write_tensor_file
from remote.service.store import Store
from remote.weights.machine import Machine

RECORD = "checkpoint.json"

_MOTION_KEY = "motion"
_UNSEEN = ("job_id", "sound", "recipe", "contract", "client")  # decide nothing of the pixels
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The finished windows: the first ones of a video, each with the machine that made it.

    fingerprint: of the request and the weights. seconds: spent on it in all runs so far.
    """

    fingerprint: str
    machines: tuple[Machine, ...]
    seconds: float

    @property
    def windows(self) -> int:
        """The number of finished windows."""
        return len(self.machines)


def segment_name(window: int) -> str:
    """The name under which a window's frames are kept; windows count from 0."""
    return f"window-{window + 1:04}.mp4"


def motion_name(window: int) -> str:
    """The name under which the frames that the next window starts from are kept."""
    return f"motion-{window + 1:04}.safetensors"


def fresh_frames(request: contract.GenerateRequest, window: int) -> int:
    """The number of frames that a window adds to the video."""
    start = request.windows[window - 1].end if window else 0
    return min(request.windows[window].end, request.frames) - start


def fingerprints(request: contract.GenerateRequest, revision: str) -> tuple[str, str]:
    """Names of all that decides the pixels of a video: of its content, of its encoded bytes.

    The same command encodes the same picture and voices in other bytes once a library is upgraded,
    so records are kept under the first. Those of version 0.1.0 have the second.
    """
    wire = contract.to_wire(request)
    seen = {name: item for name, item in wire.items() if name not in _UNSEEN}
    return digests_of(request, [revision, seen])


def load_record(store: Store, request: contract.GenerateRequest, revision: str) -> Record:
    """The finished windows of exactly this video; none if they are of another or damaged."""
    name, first_name = fingerprints(request, revision)
    nothing = Record(fingerprint=name, machines=(), seconds=0.0)
    path = store.load(request.job_id, RECORD)
    if path is None:
        return nothing
    try:
        record = from_plain(Record, json.loads(path.read_bytes()))
        if record.fingerprint not in (name, first_name):
            _log.info("job %s: kept pieces are of another request or weights", request.job_id)
            return nothing
        _check_pieces(store, request, record)
    except (ValueError, RecursionError, FileError) as error:
        _log.warning("job %s: kept pieces cannot be used: %s", request.job_id, error)
        return nothing
    return replace(record, fingerprint=name)


def _check_pieces(store: Store, request: contract.GenerateRequest, record: Record) -> None:
    if record.windows > len(request.windows) or record.seconds < 0:
        raise ValueError(f"{record.windows} windows of {len(request.windows)}")
    for window, segment in enumerate(segments(store, request.job_id, record.windows)):
        frames = probe_video(segment).frames
        if frames != fresh_frames(request, window):
            raise ValueError(f"{segment.name} holds {frames} frames")
    if record.windows and store.load(request.job_id, motion_name(record.windows - 1)) is None:
        raise ValueError("the last frames are absent")


def segments(store: Store, job_id: str, windows: int) -> list[Path]:
    """The kept segments of the first windows. Raises ValueError where one is absent."""
    found = [store.load(job_id, segment_name(window)) for window in range(windows)]
    present = [path for path in found if path is not None]
    if len(present) < windows:
        raise ValueError(f"{windows - len(present)} of {windows} segments are absent")
    return present


def load_motion(store: Store, job_id: str, window: int) -> Tensor:
    """The frames [3, T, H, W] that a window ended with, exactly as they were."""
    path = store.load(job_id, motion_name(window))
    if path is None:
        raise ValueError(f"the last frames of window {window + 1} are absent")
    with TensorFile(path) as file:
        return file.read(_MOTION_KEY)


def save_window(store: Store, job_id: str, record: Record, segment: Path, motion: Tensor) -> None:
    """Keeps the last window of a record; the record is written after the files that it names."""
    folder, window = segment.parent, record.windows - 1
    motion_file, record_file = folder / "motion.safetensors", folder / "record.json"
    info = TensorInfo(dtype=motion.dtype, shape=tuple(motion.shape))
    write_tensor_file(motion_file, {_MOTION_KEY: info}, [motion])
    record_file.write_text(json.dumps(to_plain(record)), "utf-8")
    pieces = {
        segment_name(window): segment,
        motion_name(window): motion_file,
        RECORD: record_file,
    }
    # Every window's last frames would be gigabytes; only the newest are needed.
    store.save(job_id, pieces, [motion_name(window - 1)] if window else [])


def describe_machines(machines: tuple[Machine, ...]) -> str:
    """The windows of each machine in words, if there were several; "" otherwise."""
    runs = [(machine, len(list(group))) for machine, group in groupby(machines)]
    if len(set(machines)) < 2:
        return ""
    names = [
        f"{machine.gpu} ({machine.stack}, attention {machine.attention}, kernels "
        f"{machine.kernels}, engine {machine.engine})"
        for machine, _ in runs
    ]
    first, parts = 1, []
    for name, (_, count) in zip(names, runs, strict=True):
        span = f"window {first}" if count == 1 else f"windows {first} to {first + count - 1}"
        parts.append(f"{span} on {name}")
        first += count
    return f"not all windows were made alike, so a seam may show: {', '.join(parts)}"
