"""Limits of a request, and the arithmetic of frames, samples and seconds."""

import math
import re

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
_LINE_ENDS = "\n\r\v\f\x85\u2028\u2029"


class ContractError(ValueError):
    """A value that breaks the contract; the message names the field and the value seen."""


class UnknownError(ContractError):
    """A field or a word that this version does not know, and a newer one may. what: names it."""

    def __init__(self, message: str, what: str) -> None:
        super().__init__(message)
        self.what = what


def require(condition: bool, field: str, expected: str, seen: object) -> None:
    if not condition:
        raise ContractError(f"{field} must be {expected}, not {seen!r}")


def require_text(field: str, text: str) -> None:
    """Refuses text that no wire format can carry: bytes of a command line that were not UTF-8."""
    is_text = not any("\ud800" <= character <= "\udfff" for character in text)
    require(is_text, field, "text in UTF-8", text)


def require_amount(field: str, value: float | None) -> None:
    is_amount = value is None or (math.isfinite(value) and value >= 0)
    require(is_amount, field, "a finite amount of 0 or more", value)


def require_counted(field: str, first: int, done: int, total: int) -> None:
    require(first <= done <= total, field, f"{first} to {total}", done)


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


def check_side(name: str, pixels: int) -> None:
    """Raises ContractError unless a side has a length that the model can make."""
    require(
        MIN_SIDE_PX <= pixels <= MAX_SIDE_PX and pixels % SIDE_MULTIPLE_PX == 0,
        name,
        f"a multiple of {SIDE_MULTIPLE_PX} from {MIN_SIDE_PX} to {MAX_SIDE_PX}",
        pixels,
    )


def find_flaw(key: str) -> str:
    """The first character that no key or token has: `a line end at position 9 of 9`; or empty.

    Files of variables, as for containers, keep the quotes that a shell removes. Headers of HTTP
    cannot carry most of the others, and libraries print the whole key when they refuse.
    """
    if len(key) > 1 and key[0] == key[-1] and key[0] in "\"'":
        return "quotes around it"
    for position, character in enumerate(key, 1):
        if "!" <= character <= "~":
            continue
        kind = "a space" if character.isspace() else "an invalid character"
        kind = "a line end" if character in _LINE_ENDS else kind
        return f"{kind} at position {position} of {len(key)}"
    return ""


def is_unicode(text: str) -> bool:
    """Whether the text holds no bytes that were not UTF-8, which Python keeps as surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in text)
