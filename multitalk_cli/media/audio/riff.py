"""Files of plain samples, WAV, AIFF and AU: where the samples are, and what follows them."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

from multitalk_cli.contract import MAX_SPEECH_S
from multitalk_cli.media.audio import plain
from multitalk_cli.media.audio.window import Window

Shape = tuple[int, int, int, int, int, int]
"""Format, channels, rate, bytes of a second and of a sample, and width, as in a WAV header."""

_MAX_CHUNKS = 10_000
_EXTENSIBLE = 0xFFFE
_AIFC = {
    b"NONE": (plain.PCM, ">"), b"twos": (plain.PCM, ">"), b"sowt": (plain.PCM, "<"),
    b"fl32": (plain.FLOAT, ">"), b"FL32": (plain.FLOAT, ">"), b"fl64": (plain.FLOAT, ">"),
    b"ulaw": (plain.MU_LAW, ">"), b"ULAW": (plain.MU_LAW, ">"), b"alaw": (plain.A_LAW, ">"),
}  # fmt: skip
_AU = {
    1: (plain.MU_LAW, 8), 3: (plain.PCM, 16), 4: (plain.PCM, 24), 5: (plain.PCM, 32),
    6: (plain.FLOAT, 32), 7: (plain.FLOAT, 64), 27: (plain.A_LAW, 8),
}  # fmt: skip
# Programs that write to a pipe do not know the length and write one of these, or a huge one.
_PLACEHOLDERS = {0, 1_000_000_000, 2_000_000_000}
_HUGE = 0x7FF0_0000
_MAX_PEAK = 100.0
# Bytes without a meaning have 0.58, letters 0.75 of full scale.
_LOUD_RMS = 0.3
_FILES = (b"RIFF", b"RIFX", b"RF64", b"BW64", b"FORM")
_FORMS = (b"WAVE", b"AIFF", b"AIFC")
_TAGS = (b"ID3", b"TAG", b"APETAGEX")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One WAV, AIFF or AU file in a file. start, end: of all of it that is read.

    body: where the samples start. shape: format, channels, rate and width of the samples.
    claimed: bytes of samples after its header; stale: whether that claim is not what is read.
    missing: bytes that the header announces behind the end. rest: bytes behind it that are neither
    samples nor chunks. more: further chunks of samples. next_start: where another such file
    follows.
    """

    start: int
    body: int
    end: int
    order: str
    shape: Shape
    claimed: int
    is_stale: bool = False
    is_unknown: bool = False
    missing: int = 0
    rest: int = 0
    more: tuple[tuple[int, int], ...] = ()
    next_start: int | None = None

    @property
    def block_bytes(self) -> int:
        """Bytes of one sample of all channels; 0 for compressed sound."""
        tag, channels, _, _, block, bits = self.shape
        is_plain = plain.is_readable(tag, bits) and block == channels * bits // 8
        return block if is_plain else 0

    @property
    def piece(self) -> tuple[int, int]:
        """Start and end of the samples that are read."""
        end = self.end if self.is_stale or self.is_unknown else self.body + self.claimed
        return self._whole(self.body, min(end, self.end))

    @property
    def pieces(self) -> tuple[tuple[int, int], ...]:
        """Start and end of all samples that are read, those of further chunks included."""
        return self.piece, *(self._whole(start, end) for start, end in self.more)

    def _whole(self, start: int, end: int) -> tuple[int, int]:
        return start, end - (end - start) % max(1, self.block_bytes)

    @property
    def bytes_per_s(self) -> int:
        """Bytes of a second of sound."""
        _, _, rate_hz, byte_rate, _, _ = self.shape
        return self.block_bytes * rate_hz if self.block_bytes else byte_rate


def find_chunk(window: Window, start: int, wanted: bytes, order: str) -> tuple[int, int] | None:
    """Where the body of the first such chunk starts, and the length that its header claims."""
    at = start + 12
    for _ in range(_MAX_CHUNKS):
        header = window.at(at, 8)
        if len(header) < 8:
            return None
        length = struct.unpack(order + "I", header[4:])[0]
        if header[:4] == wanted:
            return at + 8, length
        at += 8 + length + length % 2
    return None


def claims_unknown(claimed: int, available: int, bytes_per_s: float) -> bool:
    """Whether a claim of more than there is stands for an unknown length, and not for a loss."""
    if claimed <= available:
        return False
    is_too_long = bytes_per_s > 0 and claimed / bytes_per_s > MAX_SPEECH_S
    return claimed in _PLACEHOLDERS or claimed >= _HUGE or is_too_long


def read_wav(window: Window, start: int) -> Part | None:
    """The WAV file that starts here; None for one without samples or format."""
    order = ">" if window.at(start, 4) == b"RIFX" else "<"
    data = find_chunk(window, start, b"data", order)
    described = find_chunk(window, start, b"fmt ", order)
    if data is None or described is None or described[1] < 16:
        return None
    (body, claimed), shape = data, _shape(window.at(described[0], 40), order)
    if shape is None:
        return None
    large = find_chunk(window, start, b"ds64", order)
    if large is not None and claimed == 0xFFFF_FFFF and large[1] >= 16:
        claimed = struct.unpack("<Q", window.at(large[0] + 8, 8))[0]
    part = Part(start=start, body=body, end=window.size, order=order, shape=shape, claimed=claimed)
    return _judged(window, part)


def read_aiff(window: Window, start: int) -> Part | None:
    """The AIFF file that starts here; None for one without samples or format."""
    data, common = find_chunk(window, start, b"SSND", ">"), find_chunk(window, start, b"COMM", ">")
    if data is None or common is None:
        return None
    fields, offset = window.at(common[0], 22), window.at(data[0], 4)
    if len(fields) < 18 or len(offset) < 4:
        return None
    channels, bits, exponent, mantissa = struct.unpack(">H4xHHQ", fields[:18])
    power = (exponent & 0x7FFF) - 16_446
    rate_hz = int(mantissa * 2.0**power) if -64 < power < 0 else 0
    tag, order = plain.PCM, ">"
    if window.at(start + 8, 4) == b"AIFC":
        tag, order = _AIFC.get(fields[18:], (0, ">"))
    # Its samples of 8 bits are signed, unlike those of WAV.
    tag = 0 if (tag, bits) == (plain.PCM, 8) else tag
    block, before = channels * bits // 8, 8 + int.from_bytes(offset, "big")
    part = Part(
        start=start,
        body=data[0] + before,
        end=window.size,
        order=order,
        shape=(tag, channels, rate_hz, rate_hz * block, block, bits),
        claimed=max(0, data[1] - before),
    )
    return _judged(window, part)


def read_au(window: Window, start: int) -> Part | None:
    """The AU file that starts here; None for one whose header is cut off."""
    fields = window.at(start, 24)
    if len(fields) < 24:
        return None
    body, claimed, encoding, rate_hz, channels = struct.unpack(">4xIIIII", fields)
    tag, bits = _AU.get(encoding, (0, 8))
    block = channels * bits // 8
    part = Part(
        start=start,
        body=start + body,
        end=window.size,
        order=">",
        shape=(tag, channels, rate_hz, rate_hz * block, block, bits),
        claimed=claimed,
    )
    return _judged(window, part)


def missing_w64(window: Window) -> int:
    """The bytes of samples that a W64 file announces behind its end."""
    at = 40
    for _ in range(_MAX_CHUNKS):
        header = window.at(at, 24)
        if len(header) < 24:
            return 0
        length = int.from_bytes(header[16:], "little")
        if header[:4] == b"data":
            return _missing(length - 24, window.size - at - 24)
        at += max(24, (length + 7) // 8 * 8)
    return 0


def missing_caf(window: Window) -> int:
    """The bytes of samples that a CAF file announces behind its end."""
    at = 8
    for _ in range(_MAX_CHUNKS):
        header = window.at(at, 12)
        if len(header) < 12:
            return 0
        length = int.from_bytes(header[4:], "big")
        if header[:4] == b"data":
            return _missing(length, window.size - at - 12)
        at += 12 + length
    return 0


def _missing(claimed: int, available: int) -> int:
    return 0 if claims_unknown(claimed, available, 0) else max(0, claimed - available)


def _judged(window: Window, part: Part) -> Part:
    """The part with what its header claims, compared with what is there."""
    claimed, available = part.claimed, window.size - part.body
    if claimed > available:
        if claims_unknown(claimed, available, part.bytes_per_s):
            return replace(part, is_unknown=True)
        return replace(part, missing=claimed - available)
    return _with_tail(window, part)


def _shape(fields: bytes, order: str) -> Shape | None:
    if len(fields) < 16:
        return None
    tag, channels, rate_hz, byte_rate, block, bits = struct.unpack(order + "HHIIHH", fields[:16])
    if tag == _EXTENSIBLE and len(fields) >= 26:
        tag = struct.unpack(order + "H", fields[24:26])[0]
    return tag, channels, rate_hz, byte_rate, block, bits


def _with_tail(window: Window, part: Part) -> Part:
    """The part with what follows its samples: chunks, another file, more samples, anything else."""
    at, more = _after_chunks(window, part)
    part = replace(part, more=more)
    head = window.at(at, 12)
    if head[:4] in _FILES and head[8:12] in _FORMS:
        return replace(part, end=at, next_start=at)
    rest = window.size - at
    tail = window.at(at, 1 << 16)
    if rest * 25 < part.bytes_per_s or tail.startswith(_TAGS) or not tail.strip(b"\0"):
        return part
    if at > part.body + part.claimed + 1:
        # Behind a chunk there are no samples any more.
        return replace(part, end=at, rest=rest)
    is_sound = part.claimed == 0 or _looks_like_samples(tail, part)
    if is_sound:
        return replace(part, is_stale=part.claimed > 0, is_unknown=part.claimed == 0)
    return replace(part, end=at, rest=rest)


def _after_chunks(window: Window, part: Part) -> tuple[int, tuple[tuple[int, int], ...]]:
    """The end of the chunks behind the samples, and those of them that hold samples too.

    Where another WAV file follows, the end is its start.
    """
    more: list[tuple[int, int]] = []
    at = part.body + part.claimed
    little = window.at(part.start, 4) not in (b"RIFX", b"FORM")
    for _ in range(_MAX_CHUNKS):
        # Not every program fills an odd chunk up.
        places = (at + (at - part.start) % 2, at)
        for place in places:
            header = window.at(place, 12)
            if header[:4] in _FILES and header[8:] in _FORMS:
                return place, tuple(more)
            is_name = len(header) >= 8 and all(0x20 <= byte < 0x7F for byte in header[:4])
            if not is_name or header[:4] in _FILES:
                continue
            length = int.from_bytes(header[4:8], "little" if little else "big")
            if place + 8 + length <= window.size:
                at = place + 8 + length
                if header[:4] == b"data" and length > 0:
                    more.append((place + 8, at))
                break
        else:
            break
    return at, tuple(more)


def _looks_like_samples(tail: bytes, part: Part) -> bool:
    """Whether values are small, or alike where they are neighbours; other data are neither."""
    import numpy as np

    tag, channels, rate_hz, _, block, bits = part.shape
    if not part.block_bytes or len(tail) < 64 * block:
        return False
    sound = plain.PlainSamples(
        tag=tag, bits=bits, channels=channels, rate_hz=rate_hz, order=part.order, pieces=()
    )
    values = plain.to_floats(tail[: len(tail) - len(tail) % block], sound)
    if not np.isfinite(values).all() or np.abs(values).max() > _MAX_PEAK:
        return False
    rows = values.reshape(-1, channels)[:, 0].astype(np.float64)
    if (rows**2).mean() < _LOUD_RMS**2:
        return True
    rows = rows - rows.mean()
    power = float((rows**2).mean())
    step = float((np.diff(rows) ** 2).mean())
    return step < power
