"""What client and container agree on: limits, requests, events, results and their wire form.

Standard library only. On the wire everything is a plain dict of str, number, bool, bytes, list,
dict and None.
"""

import dataclasses
import json
import math
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from multitalk_cli import __version__

CONTRACT_VERSION = 1

MIN_FPS, MAX_FPS, DEFAULT_FPS = 8, 60, 24
MIN_STEPS, MAX_STEPS = 1, 100
MIN_SIDE_PX, MAX_SIDE_PX, SIDE_MULTIPLE_PX = 32, 2048, 16
DEFAULT_SIZE_PX = (896, 448)
"""Width and height."""
MIN_WINDOW_FRAMES, DEFAULT_WINDOW_FRAMES, MAX_WINDOW_FRAMES = 5, 81, 201
DEFAULT_MOTION_FRAMES = 25
MAX_SPEAKERS = 2
MIN_SPEECH_S, MAX_SPEECH_S = 0.2, 1800.0
MAX_SEED = 2**63 - 1
MODEL_RATE_HZ = 16_000
JOB_ID = re.compile(r"[a-z0-9]{8,32}")
ERROR_CODE = re.compile(r"E_[A-Z][A-Z0-9_]{2,40}")


APP_NAME = "multitalk"
STACK_CLASSES = {"current": "Current", "cuda12.1": "Cuda121"}
"""Stack -> the deployed class that runs on it."""
WEIGHTS_VOLUME, JOBS_VOLUME, CACHES_VOLUME = (
    "multitalk-weights",
    "multitalk-jobs",
    "multitalk-caches",
)
PACK_FOLDER = "bf16"
"""Where in the Volume of weights the pack lies."""
PACK_FORMAT = 2
"""Of the packs that this version writes and reads."""
STATES_DICT, INDEX_DICT, DEPLOYMENTS_DICT = (
    "multitalk-states",
    "multitalk-index",
    "multitalk-deployments",
)
AWS_SECRET, HUGGINGFACE_SECRET = "aws-secret", "huggingface-secret"
SECRETS = (AWS_SECRET, HUGGINGFACE_SECRET)
PREPARE_FUNCTION, STORE_FUNCTION = "prepare", "store"
STORAGE_FUNCTION, SOUND_FUNCTION = "check_storage", "check_sound"
DOWNLOAD_FUNCTION, WEIGHTS_FUNCTION = "download", "look_at_weights"
"""Deployed functions that need no GPU."""
PART_BYTES = 8 * 1024**2
"""Finished videos are kept in parts of this size, so that a broken transfer goes on."""
RESULT_FILE = "result.json"
JOBS_KEPT_S = 7 * 24 * 3600.0


class ContractError(ValueError):
    """A value that breaks the contract; the message names the field and the value seen."""


class VersionMismatchError(ContractError):
    """The other side speaks another version of the contract."""


def _require(condition: bool, field: str, expected: str, seen: object) -> None:
    if not condition:
        raise ContractError(f"{field} must be {expected}, not {seen!r}")


def _require_text(field: str, text: str) -> None:
    """Refuses what no wire format can carry: bytes of a command line that were not UTF-8."""
    is_text = not any("\ud800" <= character <= "\udfff" for character in text)
    _require(is_text, field, "text in UTF-8", text)


def _require_amount(field: str, value: float | None) -> None:
    is_amount = value is None or (math.isfinite(value) and value >= 0)
    _require(is_amount, field, "a finite amount of 0 or more", value)


def _require_counted(field: str, first: int, done: int, total: int) -> None:
    _require(first <= done <= total, field, f"{first} to {total}", done)


def is_frame_count(frames: int) -> bool:
    """Whether a clip can have this many frames: 4n+1, at least one."""
    return frames >= 1 and frames % 4 == 1


def clip_frames(frames: int) -> int:
    """The smallest 4n+1 that holds `frames` frames, at least 5."""
    return max(MIN_WINDOW_FRAMES, -(-(frames - 1) // 4) * 4 + 1)


def frames_from_samples(samples: int, rate_hz: int, fps: int) -> int:
    """Frames that cover `samples` of sound: rounded up, in integers so that no frame is lost."""
    return -(-samples * fps // rate_hz)


def samples_from_frames(frames: int, rate_hz: int, fps: int) -> int:
    """Samples that last as long as `frames` frames, rounded to the nearest."""
    return (2 * frames * rate_hz + fps) // (2 * fps)


def seconds_from_frames(frames: int, fps: int) -> float:
    """Duration of `frames` frames."""
    return frames / fps


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A rectangle in fractions (0 to 1) of the prepared picture, x to the right, y downwards."""

    x0: float
    y0: float
    x1: float
    y1: float

    def __post_init__(self) -> None:
        for name in ("x0", "y0", "x1", "y1"):
            value = getattr(self, name)
            _require(math.isfinite(value) and 0 <= value <= 1, f"box.{name}", "0 to 1", value)
        _require(self.x0 < self.x1 and self.y0 < self.y1, "box", "x0 < x1 and y0 < y1", self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Speaker:
    """One person of the picture.

    audio: that person's voice as the model hears it, a FLAC or WAV file, 16 kHz mono, starting at
    frame 0; None for somebody who stays silent.
    box: where the person is; None for the published default (the whole picture, or its left or
    right half).
    """

    audio: bytes | None
    box: Box | None = None

    def __post_init__(self) -> None:
        _require(self.audio != b"", "speaker.audio", "a sound file or None", b"")


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """One clip of the model on the output clock: frames [start, start + frames)."""

    start: int
    frames: int

    def __post_init__(self) -> None:
        _require(self.start >= 0, "window.start", "0 or more", self.start)
        _require(
            is_frame_count(self.frames) and MIN_WINDOW_FRAMES <= self.frames <= MAX_WINDOW_FRAMES,
            "window.frames",
            f"4n+1 from {MIN_WINDOW_FRAMES} to {MAX_WINDOW_FRAMES}",
            self.frames,
        )

    @property
    def end(self) -> int:
        """The first frame after the window."""
        return self.start + self.frames


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateRequest:
    """Everything that decides the pixels and the sound of one video.

    image: the prepared picture, a PNG of exactly width_px x height_px, RGB.
    sound: the sound track to mux, a FLAC file with the user's channels and rate, or None.
    frames: how many frames the video has; the windows cover at least these.
    recipe: a JSON object to keep in the MP4's metadata.
    """

    job_id: str
    image: bytes
    width_px: int
    height_px: int
    speakers: tuple[Speaker, ...]
    sound: bytes | None
    prompt: str
    negative_prompt: str
    sample_steps: int
    seed: int
    text_guidance: float
    audio_guidance: float
    shift: float
    fps: int
    frames: int
    windows: tuple[Window, ...]
    motion_frames: int
    recipe: str

    def __post_init__(self) -> None:
        _require(bool(JOB_ID.fullmatch(self.job_id)), "job_id", "8 to 32 of a-z, 0-9", self.job_id)
        _require(bool(self.image), "image", "a PNG", self.image)
        for name in ("width_px", "height_px"):
            check_side(name, getattr(self, name))
        self._check_speakers()
        _require(
            MIN_STEPS <= self.sample_steps <= MAX_STEPS,
            "sample_steps",
            f"{MIN_STEPS} to {MAX_STEPS}",
            self.sample_steps,
        )
        _require(0 <= self.seed <= MAX_SEED, "seed", f"0 to {MAX_SEED}", self.seed)
        for name in ("text_guidance", "audio_guidance"):
            value = getattr(self, name)
            _require(math.isfinite(value) and 0 <= value <= 30, name, "0 to 30", value)
        _require(
            math.isfinite(self.shift) and 0 < self.shift <= 100,
            "shift",
            "over 0, to 100",
            self.shift,
        )
        _require(MIN_FPS <= self.fps <= MAX_FPS, "fps", f"{MIN_FPS} to {MAX_FPS}", self.fps)
        self._check_texts()
        self._check_windows()

    def _check_texts(self) -> None:
        for name in ("prompt", "negative_prompt", "recipe"):
            _require_text(name, getattr(self, name))
        try:
            recipe = json.loads(self.recipe)
        except (ValueError, RecursionError):
            recipe = None
        _require(isinstance(recipe, dict), "recipe", "a JSON object", self.recipe)

    def _check_speakers(self) -> None:
        count = len(self.speakers)
        _require(1 <= count <= MAX_SPEAKERS, "speakers", f"1 to {MAX_SPEAKERS}", count)
        voiced = sum(speaker.audio is not None for speaker in self.speakers)
        _require(voiced >= 1, "speakers", "at least one with a voice", voiced)

    def _check_windows(self) -> None:
        _require(self.frames >= 1, "frames", "1 or more", self.frames)
        _require(is_frame_count(self.motion_frames), "motion_frames", "4n+1", self.motion_frames)
        _require(bool(self.windows), "windows", "one or more", self.windows)
        _require(self.windows[0].start == 0, "windows[0].start", "0", self.windows[0].start)
        for before, window in zip(self.windows, self.windows[1:], strict=False):
            overlap = before.end - window.start
            _require(
                overlap == self.motion_frames and window.frames > overlap,
                "windows",
                f"overlapping by the {self.motion_frames} motion frames",
                overlap,
            )
        _require(
            self.windows[-1].end >= self.frames,
            "windows",
            f"covering {self.frames} frames",
            self.windows[-1].end,
        )
        before_last = self.windows[-2].end if len(self.windows) > 1 else 0
        _require(
            before_last < self.frames,
            "windows",
            f"none beyond the {self.frames} frames",
            before_last,
        )


def check_side(name: str, pixels: int) -> None:
    """Raises ContractError unless a side has a length that the model can make."""
    _require(
        MIN_SIDE_PX <= pixels <= MAX_SIDE_PX and pixels % SIDE_MULTIPLE_PX == 0,
        name,
        f"a multiple of {SIDE_MULTIPLE_PX} from {MIN_SIDE_PX} to {MAX_SIDE_PX}",
        pixels,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Figures measured on the finished video.

    av_offset_frames: frames by which the mouths trail the sound; None where no face was found.
    mouth_correlation: per speaker, of the voice's level with the mouth's opening; None where it
    could not be measured.
    color_drift: per window, mean Lab distance of its frames from the picture.
    """

    av_offset_frames: float | None
    mouth_correlation: tuple[float | None, ...]
    color_drift: tuple[float, ...]

    def __post_init__(self) -> None:
        for value in (self.av_offset_frames, *self.mouth_correlation, *self.color_drift):
            is_figure = value is None or math.isfinite(value)
            _require(is_figure, "quality", "finite figures", value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What was made, for the report and for the job's record.

    model_output is False for a preview. gpu_seconds and price_usd are None where nothing was paid.
    stored: the address of the video in the user's store.
    """

    job_id: str
    backend: str
    model_output: bool
    frames: int
    fps: int
    width_px: int
    height_px: int
    size_bytes: int
    seed: int
    recipe: str
    adjusted: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    gpu: str | None = None
    gpu_seconds: float | None = None
    price_usd: float | None = None
    quality: Quality | None = None
    stored: str | None = None

    def __post_init__(self) -> None:
        for name in ("frames", "width_px", "height_px", "size_bytes"):
            _require(getattr(self, name) >= 1, name, "1 or more", getattr(self, name))
        _require(MIN_FPS <= self.fps <= MAX_FPS, "fps", f"{MIN_FPS} to {MAX_FPS}", self.fps)
        _require(0 <= self.seed <= MAX_SEED, "seed", f"0 to {MAX_SEED}", self.seed)
        _require_amount("gpu_seconds", self.gpu_seconds)
        _require_amount("price_usd", self.price_usd)

    @property
    def duration_s(self) -> float:
        """How long the video plays."""
        return seconds_from_frames(self.frames, self.fps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """Waiting for a machine."""

    kind: Literal["queued"] = "queued"


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """Reading weights."""

    done_bytes: int
    total_bytes: int
    kind: Literal["loading"] = "loading"

    def __post_init__(self) -> None:
        _require_counted("done_bytes", 0, self.done_bytes, self.total_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetching:
    """Fetching published weights: file `number` of `count`, and all of them together."""

    name: str
    number: int
    count: int
    file_bytes: int
    file_total_bytes: int
    done_bytes: int
    total_bytes: int
    kind: Literal["fetching"] = "fetching"

    def __post_init__(self) -> None:
        _require_counted("number", 1, self.number, self.count)
        _require_counted("file_bytes", 0, self.file_bytes, self.file_total_bytes)
        _require_counted("done_bytes", 0, self.done_bytes, self.total_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A named piece of work, `done` of `total` units; total 0 where it cannot be counted."""

    name: str
    done: int = 0
    total: int = 0
    kind: Literal["stage"] = "stage"

    def __post_init__(self) -> None:
        _require(self.total >= 0, "total", "0 or more", self.total)
        _require_counted("done", 0, self.done, self.total if self.total else self.done)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Denoising: `step` of `steps` finished in window `window` of `windows`, all counted from 1."""

    window: int
    windows: int
    step: int
    steps: int
    kind: Literal["step"] = "step"

    def __post_init__(self) -> None:
        _require_counted("window", 1, self.window, self.windows)
        _require_counted("step", 1, self.step, self.steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowDone:
    """A window's frames are encoded and kept; a re-run continues after it."""

    window: int
    windows: int
    kind: Literal["window"] = "window"

    def __post_init__(self) -> None:
        _require_counted("window", 1, self.window, self.windows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The video is complete."""

    result: Result
    kind: Literal["done"] = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """An expected failure: a stable code, what happened, and what to do next."""

    code: str
    message: str
    hint: str = ""
    kind: Literal["failed"] = "failed"

    def __post_init__(self) -> None:
        _require(bool(ERROR_CODE.fullmatch(self.code)), "code", "an error code", self.code)


Event = Queued | Loading | Fetching | Stage | Step | WindowDone | Done | Failed
_EVENTS: dict[str, type] = {
    get_args(get_type_hints(event)["kind"])[0]: event for event in get_args(Event)
}

T = TypeVar("T")


def to_wire(value: object) -> dict[str, Any]:
    """A request, event or result as a plain dict that names its contract and client versions."""
    plain: dict[str, Any] = _plain(value)
    return {"contract": CONTRACT_VERSION, "client": __version__, **plain}


def from_wire(kind: type[T], wire: Mapping[str, Any]) -> T:
    """Rebuilds a `kind` from what `to_wire` gave; nothing unknown is let through.

    Raises VersionMismatchError for another contract version, ContractError for anything malformed.
    """
    return _build(kind, check_version(wire), kind.__name__)


def event_from_wire(wire: Mapping[str, Any]) -> Event:
    """Rebuilds whichever event the dict holds; errors as `from_wire`."""
    body = check_version(wire)
    name = body.get("kind")
    kind = _EVENTS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ContractError(f"unknown event kind {name!r}")
    event: Event = _build(kind, body, kind.__name__)
    return event


def check_version(wire: Mapping[str, Any]) -> dict[str, Any]:
    """The dict without its versions. Raises VersionMismatchError for another contract."""
    if not isinstance(wire, Mapping):
        raise ContractError(f"expected a mapping, not {type(wire).__name__}")
    version = wire.get("contract")
    # True equals 1 in Python, and is no version.
    if type(version) is not int or version != CONTRACT_VERSION:
        raise VersionMismatchError(
            f"the other side (version {wire.get('client')!r}) speaks contract {version!r}, "
            f"this one (version {__version__}) speaks {CONTRACT_VERSION}; bring both to one "
            "version with: multitalk deploy"
        )
    return {name: item for name, item in wire.items() if name not in ("contract", "client")}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def _build(kind: type[T], body: Mapping[str, Any], path: str) -> T:
    hints = get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(str(name) for name in set(body) - set(fields))
    if unknown:
        raise ContractError(f"{path} has unknown fields: {', '.join(unknown)}")
    missing = [
        name
        for name, field in fields.items()
        if name not in body and field.default is dataclasses.MISSING
    ]
    if missing:
        raise ContractError(f"{path} lacks: {', '.join(missing)}")
    return kind(
        **{name: _convert(hints[name], item, f"{path}.{name}") for name, item in body.items()}
    )


def _convert(hint: Any, item: Any, path: str) -> Any:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _convert_optional(hint, item, path)
    if origin is tuple:
        if not isinstance(item, list | tuple):
            raise ContractError(f"{path} must be a list, not {type(item).__name__}")
        inner = get_args(hint)[0]
        return tuple(_convert(inner, part, f"{path}[{n}]") for n, part in enumerate(item))
    if origin is typing.Literal:
        _require(item in get_args(hint), path, f"one of {get_args(hint)}", item)
        return item
    if dataclasses.is_dataclass(hint):
        if not isinstance(item, Mapping):
            raise ContractError(f"{path} must be a mapping, not {type(item).__name__}")
        return _build(hint, item, path)  # type: ignore[arg-type]
    return _convert_scalar(hint, item, path)


def _convert_optional(hint: Any, item: Any, path: str) -> Any:
    if item is None:
        return None
    (inner,) = (arg for arg in get_args(hint) if arg is not types.NoneType)
    return _convert(inner, item, path)


def _convert_scalar(hint: type, item: Any, path: str) -> Any:
    if hint is float and isinstance(item, int) and not isinstance(item, bool):
        _require(abs(item) < 2**53, path, "a number that a float can hold", item)
        return float(item)
    # bool is an int to Python, but a flag is no number to the reader of a request.
    if not isinstance(item, hint) or (isinstance(item, bool) and hint is not bool):
        raise ContractError(f"{path} must be {hint.__name__}, not {type(item).__name__}")
    return item
