"""The kind of a sound file by its first bytes, and whether it is cut off.

The bytes are untrusted, and reads are bounded.
"""

import os
import struct
from typing import BinaryIO

from multitalk_cli.media import file_types

# Programs that write to a pipe do not know the length and write a huge number instead.
_UNKNOWN_LENGTH = 0x7FFF_F000
_MAX_CHUNKS = 10_000

_PICTURES = {*file_types.READABLE_PICTURES, *file_types.OTHER_PICTURES}
_STARTS = {
    b"fLaC": "flac",
    b"OggS": "ogg",
    b"RF64": "wav",
    b"RIFX": "wav",
    b"riff": "w64",
    b"caff": "caf",
    b".snd": "au",
    b"\x1a\x45\xdf\xa3": "webm",
}
_MOVIE_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")


def sound_kind(head: bytes) -> str:
    """The kind of sound that starts with these bytes.

    head: the first 4 kB. Returns wav, w64, aiff, au, caf, flac, ogg, mp3, aac, mp4 or webm,
    "picture", "playlist", or "" for anything else.
    """
    if file_types.kind_of(head) in _PICTURES:
        return "picture"
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"#EXTM3U", b"ffconcat", b"[playlist]")):
        return "playlist"
    if head[:4] == b"RIFF":
        return "wav" if head[8:12] == b"WAVE" else ""
    if head[:4] == b"FORM":
        return "aiff" if head[8:12] in (b"AIFF", b"AIFC") else ""
    if head[4:8] in _MOVIE_BOXES:
        return "mp4"
    return _STARTS.get(head[:4]) or _mpeg_kind(head)


def _mpeg_kind(head: bytes) -> str:
    if head[:3] == b"ID3":
        return "mp3"
    sound = head.lstrip(b"\0")
    if len(sound) < 4 or sound[0] != 0xFF:
        return ""
    if sound[1] & 0xF6 == 0xF0:
        return "aac"
    return "mp3" if _mpeg_frame(sound) else ""


def _mpeg_frame(header: bytes) -> bool:
    """Whether four bytes can start a frame of MPEG sound of layer II or III."""
    version, layer = (header[1] >> 3) & 3, (header[1] >> 1) & 3
    kbits, rate = header[2] >> 4, (header[2] >> 2) & 3
    return (
        header[0] == 0xFF
        and header[1] & 0xE0 == 0xE0
        and version != 1
        and layer in (1, 2)
        and kbits not in (0, 15)
        and rate != 3
    )


def missing_bytes(file: BinaryIO, kind: str) -> int:
    """The bytes that the file's own structure announces beyond its end; 0 if none or unknown."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    check = {
        "wav": _missing_wav,
        "aiff": _missing_aiff,
        "mp4": _missing_mp4,
        "webm": _missing_webm,
        "ogg": _missing_ogg,
        "mp3": _missing_mp3,
    }.get(kind)
    return 0 if check is None else max(0, check(file, size))


def _missing_wav(file: BinaryIO, size: int) -> int:
    order = ">" if file.read(4) == b"RIFX" else "<"
    return _missing_chunk(file, size, b"data", order)


def _missing_aiff(file: BinaryIO, size: int) -> int:
    return _missing_chunk(file, size, b"SSND", ">")


def _missing_chunk(file: BinaryIO, size: int, wanted: bytes, order: str) -> int:
    at = 12
    for _ in range(_MAX_CHUNKS):
        file.seek(at)
        header = file.read(8)
        if len(header) < 8:
            return 0
        length = struct.unpack(order + "I", header[4:])[0]
        if header[:4] == wanted:
            return 0 if length >= _UNKNOWN_LENGTH else at + 8 + length - size
        at += 8 + length + length % 2
    return 0


def _missing_mp4(file: BinaryIO, size: int) -> int:
    at = 0
    for _ in range(_MAX_CHUNKS):
        file.seek(at)
        header = file.read(16)
        if len(header) < 8:
            return 0
        length = struct.unpack(">I", header[:4])[0]
        if length == 1 and len(header) == 16:
            length = struct.unpack(">Q", header[8:])[0]
        if length == 0:
            return 0
        if at + length > size:
            return int(at + length - size)
        at += max(length, 8)
    return 0


def _missing_webm(file: BinaryIO, size: int) -> int:
    head = file.read(64)
    _, after_id = _ebml_number(head, 0, keep_marker=True)
    length, at = _ebml_number(head, after_id, keep_marker=False)
    segment, after_id = _ebml_number(head, at + length, keep_marker=True)
    if segment != 0x18538067:
        return 0
    length, at = _ebml_number(head, after_id, keep_marker=False)
    unknown = (1 << (7 * (at - after_id))) - 1
    return 0 if length == unknown else at + length - size


def _ebml_number(data: bytes, at: int, *, keep_marker: bool) -> tuple[int, int]:
    """A number of variable length at `at`, and its end; (0, at) for none."""
    if at >= len(data) or data[at] == 0:
        return 0, at
    width = 9 - data[at].bit_length()
    value = int.from_bytes(data[at : at + width], "big")
    return (value if keep_marker else value & ((1 << (7 * width)) - 1)), at + width


def _missing_ogg(file: BinaryIO, size: int) -> int:
    # A page is at most 65,307 bytes long, so that the last one starts in the last 64 KiB.
    start = max(0, size - 65_536)
    file.seek(start)
    tail = file.read(65_536)
    at = tail.rfind(b"OggS\0")
    if at < 0 or at + 27 > len(tail):
        return 27 if at >= 0 else 0
    segments = tail[at + 27 : at + 27 + tail[at + 26]]
    return start + at + 27 + tail[at + 26] + sum(segments) - size


def _missing_mp3(file: BinaryIO, size: int) -> int:
    """Compares the byte count of a Xing or Info frame, if any, with the file."""
    head = file.read(10)
    at = 0
    if head[:3] == b"ID3" and len(head) == 10:
        at = 10 + sum(
            (byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True)
        )
    file.seek(at)
    frame = file.read(4096)
    for name in (b"Xing", b"Info"):
        tag = frame.find(name, 0, 64)
        if tag < 0 or len(frame) < tag + 16:
            continue
        flags = struct.unpack(">I", frame[tag + 4 : tag + 8])[0]
        if flags & 2:
            field = tag + 8 + (4 if flags & 1 else 0)
            return at + int(struct.unpack(">I", frame[field : field + 4])[0]) - size
    return 0
