"""Streams of MPEG frames, MP3 and AAC: where their frames, tags and gaps are.

Nothing outside the frames says how long such a file is, so the frames are counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from multitalk_cli.contract import MAX_SPEECH_S
from multitalk_cli.media.audio.tags import tag_length
from multitalk_cli.media.audio.window import Window

_L2 = (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384)
_L3 = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_LOW = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_RATES_HZ = (44_100, 48_000, 32_000)
_ADTS_RATES_HZ = (
    96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000,
    7_350,
)  # fmt: skip
# As many frames as chance does not put one behind the other in other data.
_SURE_FRAMES, _SURE_AT_END = 8, 4
_MAX_TRIES = 100_000
_MAX_SKIPPED_BYTES = 1 << 24
_HEAD_BYTES = 192
_MAX_TAGS = 1_000


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame. shape: what all frames of a stream have in common."""

    length: int
    samples: int
    rate_hz: int
    shape: tuple[int, ...]


Parser = Callable[[bytes], Frame | None]


@dataclass(slots=True)
class Recording:
    """A run of frames as one encoder wrote it. claimed_frames: of its own Xing or Info frame."""

    start: int
    end: int
    shape: tuple[int, ...]
    rate_hz: int
    frames: int = 0
    samples: int = 0
    claimed_frames: int | None = None

    @property
    def claimed_s(self) -> float | None:
        """The duration that its own header claims."""
        if self.claimed_frames is None or not self.frames:
            return None
        return self.claimed_frames * self.samples / self.frames / self.rate_hz


@dataclass(slots=True)
class MpegStream:
    """A file of frames. missing: bytes of the last frame behind the end. skipped: bytes between
    frames that belong to no frame and no tag. rest_start: where neither frames nor tags follow."""

    recordings: list[Recording] = field(default_factory=list)
    missing: int = 0
    skipped: int = 0
    rest_start: int | None = None


def mp3_frame(head: bytes) -> Frame | None:
    """The MPEG layer II or III frame that starts with these bytes."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = (head[1] >> 3) & 3, (head[1] >> 1) & 3
    kbits, rate = head[2] >> 4, (head[2] >> 2) & 3
    if version == 1 or layer not in (1, 2) or kbits in (0, 15) or rate == 3:
        return None
    is_first = version == 3
    table = (_L2 if layer == 2 else _L3) if is_first else _LOW
    rate_hz = _RATES_HZ[rate] >> (0 if is_first else 1 if version == 2 else 2)
    samples = 1152 if is_first or layer == 2 else 576
    length = samples // 8 * table[kbits - 1] * 1000 // rate_hz + (head[2] >> 1 & 1)
    channels = 1 if head[3] >> 6 == 3 else 2
    return Frame(length, samples, rate_hz, (version, layer, rate_hz, channels))


def adts_frame(head: bytes) -> Frame | None:
    """The AAC frame with an ADTS header that starts with these bytes."""
    if len(head) < 7 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0:
        return None
    rate, length = head[2] >> 2 & 15, (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    if rate >= len(_ADTS_RATES_HZ) or length < 8:
        return None
    channels = (head[2] & 1) << 2 | head[3] >> 6
    rate_hz = _ADTS_RATES_HZ[rate]
    return Frame(length, 1024 * ((head[6] & 3) + 1), rate_hz, (rate_hz, channels))


PARSERS: dict[str, Parser] = {"mp3": mp3_frame, "aac": adts_frame}


def first_frame(window: Window, start: int, end: int, parse: Parser) -> int:
    """Where several frames of one shape follow each other for the first time, or -1."""
    for _ in range(_MAX_TRIES):
        start = window.find(b"\xff", start, end)
        if start < 0:
            return -1
        if _is_sure(window, start, parse):
            return start
        start += 1
    return -1


def _is_sure(window: Window, at: int, parse: Parser) -> bool:
    shapes = set()
    for count in range(_SURE_FRAMES):
        frame = parse(window.at(at, _HEAD_BYTES))
        if frame is None:
            return count >= _SURE_AT_END and tag_length(window, at) > 0
        shapes.add(frame.shape)
        at += frame.length
        if len(shapes) > 1:
            return False
        if at >= window.size:
            return count + 1 >= _SURE_AT_END
    return True


def walk(window: Window, start: int, parse: Parser) -> MpegStream:
    """Counts the frames from `start` to the end of the file, or of what a video can be long."""
    stream = MpegStream()
    now: Recording | None = None
    at: int | None = start
    tags, is_lost = 0, False
    while at is not None and at < window.size:
        head = window.at(at, _HEAD_BYTES)
        frame = parse(head)
        goes_on = not is_lost and (now is None or (frame is not None and frame.shape == now.shape))
        if frame is None or not (goes_on or _begins(window, at, frame, parse)):
            length = tag_length(window, at) if tags < _MAX_TAGS else 0
            tags, is_lost = tags + 1, not length
            now = None if head[:3] == b"ID3" else now
            at = at + length if length else _after_gap(window, at, parse, stream)
            continue
        is_lost = False
        claimed = _claimed_frames(head, frame)
        if now is None or claimed is not None or frame.shape != now.shape:
            now = Recording(at, at, frame.shape, frame.rate_hz, claimed_frames=claimed)
            stream.recordings.append(now)
        at += frame.length
        if at > window.size:
            stream.missing = at - window.size
            break
        now.end = at
        if claimed is None:
            now.frames, now.samples = now.frames + 1, now.samples + frame.samples
        if now.samples > 2 * MAX_SPEECH_S * now.rate_hz:
            break
    return stream


def _begins(window: Window, at: int, frame: Frame, parse: Parser) -> bool:
    """Whether frames begin here, and not bytes that look like one."""
    is_header = _claimed_frames(window.at(at, _HEAD_BYTES), frame) is not None
    return is_header or _is_sure(window, at, parse)


def _after_gap(window: Window, at: int, parse: Parser, stream: MpegStream) -> int | None:
    """Where frames follow bytes that belong to none; None where none do."""
    found = first_frame(window, at + 1, window.size, parse)
    if found < 0 or stream.skipped > _MAX_SKIPPED_BYTES:
        stream.rest_start = at
        return None
    stream.skipped += found - at
    return found


def _claimed_frames(head: bytes, frame: Frame) -> int | None:
    """The number of frames in a Xing or Info frame, 0 if it has none; None for a frame of sound."""
    if len(frame.shape) != 4:
        return None
    version, _, _, channels = frame.shape
    at = 4 + ((32 if channels == 2 else 17) if version == 3 else (17 if channels == 2 else 9))
    if head[at : at + 4] not in (b"Xing", b"Info") or len(head) < at + 12:
        return None
    has_count = head[at + 7] & 1
    return int.from_bytes(head[at + 8 : at + 12], "big") if has_count else 0
