"""Checkpoints of an unfinished job, from which a later run resumes."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path

from torch import Tensor

from multitalk_cli import contract
from multitalk_cli.contract.codec import ADDED, from_plain, to_plain
from multitalk_cli.errors import FileError
from multitalk_cli.media.video.probe import probe_video
from multitalk_cli.planning.fingerprint import digests_of
from remote.engine.checkpoint.tensorfile import TensorFile, TensorInfo, write_tensor_file
from remote.service.quality import WindowFigures
from remote.service.retry import twice
from remote.service.store import RECORD, Store
from remote.weights.machine import Machine

_MOTION_KEY = "motion"
_UNSEEN = ("job_id", "sound", "recipe", "contract", "client")  # decide nothing of the pixels
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The finished windows: the first ones of a video, each with the machine that made it.

    fingerprint: of the request and the weights. seconds: spent on it in all runs so far.
    forwards: passes through the transformer for them; those of earlier versions are not counted.
    """

    fingerprint: str
    machines: tuple[Machine, ...]
    seconds: float
    forwards: int = field(default=0, metadata={ADDED: True})

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


def figures_name(window: int) -> str:
    """The name under which what was measured of a window is kept."""
    return f"figures-{window + 1:04}.json"


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
        record = from_plain(Record, json.loads(path.read_bytes()), use_defaults=True)
        if record.fingerprint not in (name, first_name):
            _log.info("job %s: kept pieces are of another request or weights", request.job_id)
            return nothing
        # What cannot be read twice is made again, and paid for.
        twice(lambda: _check_pieces(store, request, record), "reading kept windows")
    except (ValueError, RecursionError, FileError) as error:
        _log.warning("job %s: kept pieces cannot be used: %s", request.job_id, error)
        return nothing
    return replace(record, fingerprint=name)


def _check_pieces(store: Store, request: contract.GenerateRequest, record: Record) -> None:
    if record.windows > len(request.windows) or record.seconds < 0:
        raise ValueError(f"{record.windows} windows of {len(request.windows)}")
    for window in range(record.windows):
        name = segment_name(window)
        segment = store.load(request.job_id, name)
        frames = 0 if segment is None else probe_video(segment).frames
        if frames != len(request.new_frames(window)):
            raise ValueError(f"{name} holds {frames} frames")
    if record.windows and store.load(request.job_id, motion_name(record.windows - 1)) is None:
        raise ValueError("the last frames are absent")


def load_motion(store: Store, job_id: str, window: int) -> Tensor:
    """The frames [3, T, H, W] that a window ended with, exactly as they were."""
    path = store.load(job_id, motion_name(window))
    if path is None:
        raise ValueError(f"the last frames of window {window + 1} are absent")
    with TensorFile(path) as file:
        return file.read(_MOTION_KEY)


def read_figures(path: Path) -> WindowFigures:
    """What was measured of a window. Raises ValueError for a damaged file."""
    return from_plain(WindowFigures, json.loads(path.read_bytes()))


def load_figures(store: Store, job_id: str, window: int) -> WindowFigures | None:
    """What was measured of a window; None where that failed, or an older version made it."""
    try:
        path = store.load(job_id, figures_name(window))
        return None if path is None else read_figures(path)
    except (OSError, ValueError, RecursionError) as error:
        _log.warning("job %s: figures of window %d cannot be used: %s", job_id, window + 1, error)
        return None


def save_windows(
    store: Store,
    job_id: str,
    record: Record,
    pieces: Mapping[str, Path],
    motion: Tensor,
    folder: Path,
) -> None:
    """Keeps the last windows of a record; the record is written after the files that it names.

    pieces: segments and figures that are not kept yet, by name. folder: for temporary files.
    """
    motion_file, record_file = folder / "motion.safetensors", folder / "record.json"
    info = TensorInfo(dtype=motion.dtype, shape=tuple(motion.shape))
    write_tensor_file(motion_file, {_MOTION_KEY: info}, [motion])
    record_file.write_text(json.dumps(to_plain(record)), "utf-8")
    newest = motion_name(record.windows - 1)
    # Every window's last frames would be gigabytes; only the newest are needed.
    outdated = [motion_name(window) for window in range(record.windows - 1)]
    store.save(job_id, {**pieces, newest: motion_file, RECORD: record_file}, outdated)


def describe_machines(machines: tuple[Machine, ...]) -> str:
    """The windows of each machine in words, if there were several; "" otherwise."""
    runs = [(machine, len(list(group))) for machine, group in groupby(machines)]
    if len(set(machines)) < 2:
        return ""
    names = [
        f"{machine.gpu} ({machine.stack}, tier {machine.tier}, attention {machine.attention}, "
        f"kernels {machine.kernels}, engine {machine.engine})"
        for machine, _ in runs
    ]
    first, parts = 1, []
    for name, (_, count) in zip(names, runs, strict=True):
        span = f"window {first}" if count == 1 else f"windows {first} to {first + count - 1}"
        parts.append(f"{span} on {name}")
        first += count
    return f"not all windows were made alike, so a seam may show: {', '.join(parts)}"
