"""Files of plain samples, WAV, AIFF and AU: where the samples are, and what follows them."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

from multitalk_cli.contract import MAX_SPEECH_S
from multitalk_cli.media.audio import plain, tags
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
# Names that tell a chunk from bytes that only look like one.
_CHUNKS = frozenset((
    b"fmt ", b"data", b"LIST", b"fact", b"bext", b"iXML", b"axml", b"PEAK", b"cue ", b"smpl",
    b"inst", b"JUNK", b"junk", b"PAD ", b"FLLR", b"id3 ", b"ID3 ", b"DISP", b"acid", b"wavl",
    b"COMM", b"SSND", b"FVER", b"MARK", b"INST", b"COMT", b"NAME", b"AUTH", b"ANNO", b"(c) ",
    b"APPL", b"CHAN",
))  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One WAV, AIFF or AU file in a file. start, end: of all of it that is read.

    body: where the samples start. shape: format, channels, rate and width of the samples.
    claimed: bytes of samples after its header; is_stale: whether that claim is not what is read;
    is_unknown: whether the header claims nothing, or as much as streams do. missing: bytes that
    the header announces behind the end. rest: bytes behind it that are neither samples nor chunks.
    more: further chunks of samples. next_start: where another such file follows. is_odd: whether
    other readers do not find the samples: an odd chunk before them is not filled up, or their
    format is not said in full.
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
    is_odd: bool = False

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


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Where the body of a chunk starts, and the length that its header claims."""

    body: int
    length: int
    is_unpadded: bool


def _find_chunk(window: Window, start: int, wanted: bytes, order: str) -> _Chunk | None:
    """The first such chunk. is_unpadded: whether one before it was odd and not filled up."""
    at, is_unpadded = start + 12, False
    for _ in range(_MAX_CHUNKS):
        header = window.at(at, 8)
        if len(header) < 8:
            return None
        length = struct.unpack(order + "I", header[4:])[0]
        if header[:4] == wanted:
            return _Chunk(at + 8, length, is_unpadded)
        at += 8 + length
        if length % 2 and not _is_unpadded(window, at, order):
            at += 1
        elif length % 2:
            is_unpadded = True
    return None


def _is_unpadded(window: Window, at: int, order: str) -> bool:
    """Whether the chunk behind one of odd length starts at once: not every program fills one up."""
    here, padded = window.at(at, 8), window.at(at + 1, 8)
    if padded[:4] in _CHUNKS or len(here) < 8:
        return False
    if here[:4] in _CHUNKS:
        return True
    return _is_chunk(window, at, here, order) and not _is_chunk(window, at + 1, padded, order)


def _is_chunk(window: Window, at: int, header: bytes, order: str) -> bool:
    """Whether this may be the header of a chunk: a name, and a length that the file has."""
    is_name = len(header) >= 8 and all(0x20 <= byte < 0x7F for byte in header[:4])
    if not is_name or header[:4] in _FILES:
        return False
    return at + 8 + int(struct.unpack(order + "I", header[4:8])[0]) <= window.size


def claims_unknown(claimed: int, available: int, bytes_per_s: float) -> bool:
    """Whether a claim of more than there is stands for an unknown length, and not for a loss."""
    if claimed <= available:
        return False
    is_too_long = bytes_per_s > 0 and claimed / bytes_per_s > MAX_SPEECH_S
    return claimed in _PLACEHOLDERS or claimed >= _HUGE or is_too_long


def read_wav(window: Window, start: int) -> Part | None:
    """The WAV file that starts here; None for one without samples or format."""
    order = ">" if window.at(start, 4) == b"RIFX" else "<"
    data = _find_chunk(window, start, b"data", order)
    described = _find_chunk(window, start, b"fmt ", order)
    if data is None or described is None or described.length < 14:
        return None
    described_shape = _shape(window.at(described.body, min(40, described.length)), order)
    if described_shape is None:
        return None
    claimed, (shape, is_vague) = data.length, described_shape
    large = _find_chunk(window, start, b"ds64", order)
    if large is not None and claimed == 0xFFFF_FFFF and large.length >= 16:
        claimed = struct.unpack("<Q", window.at(large.body + 8, 8))[0]
    part = Part(
        start=start,
        body=data.body,
        end=window.size,
        order=order,
        shape=shape,
        claimed=claimed,
        is_odd=data.is_unpadded or described.is_unpadded or is_vague,
    )
    return _judged(window, part)


def read_aiff(window: Window, start: int) -> Part | None:
    """The AIFF file that starts here; None for one without samples or format."""
    data = _find_chunk(window, start, b"SSND", ">")
    common = _find_chunk(window, start, b"COMM", ">")
    if data is None or common is None:
        return None
    fields, offset = window.at(common.body, 22), window.at(data.body, 4)
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
        body=data.body + before,
        end=window.size,
        order=order,
        shape=(tag, channels, rate_hz, rate_hz * block, block, bits),
        claimed=max(0, data.length - before),
        is_odd=data.is_unpadded or common.is_unpadded,
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
    found = _w64_samples(window)
    return 0 if found is None else _missing(found[1], window.size - found[0])


def w64_end(window: Window) -> int:
    """Where the samples of a W64 file end, or the file where it does not say that."""
    found = _w64_samples(window)
    return window.size if found is None else min(sum(found), window.size)


def _w64_samples(window: Window) -> tuple[int, int] | None:
    """Where the samples start, and how many bytes they claim."""
    at = 40
    for _ in range(_MAX_CHUNKS):
        header = window.at(at, 24)
        if len(header) < 24:
            return None
        length = int.from_bytes(header[16:], "little")
        if header[:4] == b"data":
            return at + 24, max(0, length - 24)
        at += max(24, (length + 7) // 8 * 8)
    return None


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


def _shape(fields: bytes, order: str) -> tuple[Shape, bool] | None:
    """The shape that a header describes, and whether it says too little for any other reader."""
    if len(fields) < 14:
        return None
    tag, channels, rate_hz, byte_rate, block = struct.unpack(order + "HHIIH", fields[:14])
    bits = struct.unpack(order + "H", fields[14:16])[0] if len(fields) >= 16 else 0
    if tag == _EXTENSIBLE:
        tag = struct.unpack(order + "H", fields[24:26])[0] if len(fields) >= 26 else 0
    is_plain = tag in (plain.PCM, plain.FLOAT) and bits > 0
    width = 8 * block // channels if channels else 0
    if not is_plain and tag in (0, plain.PCM, plain.FLOAT) and plain.is_readable(plain.PCM, width):
        # What is left says how wide the samples are; of a kind that is not said they are PCM.
        return (tag or plain.PCM, channels, rate_hz, byte_rate, block, width), True
    return (tag, channels, rate_hz, byte_rate, block, bits), False


def _with_tail(window: Window, part: Part) -> Part:
    """The part with what follows its samples: chunks, another file, more samples, anything else."""
    at, more = _after_chunks(window, part)
    part = replace(part, more=more)
    head = window.at(at, 12)
    if head[:4] in _FILES and head[8:12] in _FORMS:
        return replace(part, end=at, next_start=at)
    rest = window.size - at
    if rest * 25 < part.bytes_per_s or tags.is_no_sound(window, at):
        return part
    if at > part.body + part.claimed + 1:
        # Behind a chunk there are no samples any more.
        return replace(part, end=at, rest=rest)
    is_sound = part.claimed == 0 or _looks_like_samples(window.at(at, 1 << 16), part)
    if is_sound:
        return replace(part, is_stale=part.claimed > 0, is_unknown=part.claimed == 0)
    return replace(part, end=at, rest=rest)


def _after_chunks(window: Window, part: Part) -> tuple[int, tuple[tuple[int, int], ...]]:
    """The end of the chunks behind the samples, and those of them that hold samples too.

    Where another WAV file follows, the end is its start.
    """
    more: list[tuple[int, int]] = []
    at = part.body + part.claimed
    order = ">" if window.at(part.start, 4) in (b"RIFX", b"FORM") else "<"
    for _ in range(_MAX_CHUNKS):
        # Not every program fills an odd chunk up.
        places = (at + (at - part.start) % 2, at)
        for place in places:
            header = window.at(place, 12)
            if header[:4] in _FILES and header[8:] in _FORMS:
                return place, tuple(more)
            if not _is_chunk(window, place, header, order):
                continue
            at = place + 8 + int(struct.unpack(order + "I", header[4:8])[0])
            if header[:4] == b"data" and at > place + 8:
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
