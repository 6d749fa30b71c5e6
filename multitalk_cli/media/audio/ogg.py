"""The pages of an Ogg file: its streams, one after the other, and what is lost between them."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from multitalk_cli.media.audio.window import Window

_BEGINS = 2
_NO_PACKET_ENDS = -1
_OPUS_HZ = 48_000
_LEAST_GAP = _OPUS_HZ // 25
# Samples of a frame for each of the 32 configurations, RFC 6716, table 2.
_OPUS_FRAMES = (480, 960, 1920, 2880) * 3 + (480, 960) * 2 + (120, 240, 480, 960) * 4


@dataclass(slots=True)
class Link:
    """One of the streams that follow each other in a file.

    shape: the first bytes of its sound's header, which hold rate and channels.
    """

    start: int
    end: int
    shape: bytes = b""
    pages: int = 0


@dataclass(slots=True)
class OggPages:
    """missing: bytes of the last page behind the end. is_whole: whether no page is lost and times
    only grow. gaps_s: time of Opus that no packet fills."""

    links: list[Link] = field(default_factory=list)
    missing: int = 0
    is_whole: bool = True
    gaps_s: float = 0.0


def walk(window: Window) -> OggPages:
    """Reads the header of every page."""
    pages = OggPages()
    next_number: dict[int, int] = {}
    last_time: dict[int, int] = {}
    at = 0
    while at < window.size:
        head = window.at(at, 27)
        if head[:5] != b"OggS\0" or len(head) < 27:
            at = window.find(b"OggS\0", at + 1, window.size)
            if at < 0:
                # Bytes behind the last page are a tag or padding.
                pages.missing = 27 - len(head) if head[:4] == b"OggS" else 0
                break
            pages.is_whole = False
            continue
        flags, time, serial, number = struct.unpack("<xxxxxBqII", head[:22])
        table = window.at(at + 27, head[26])
        body = at + 27 + head[26]
        end = body + sum(table)
        if end > window.size or len(table) < head[26]:
            pages.missing = max(1, end - window.size)
            break
        link = pages.links[-1] if pages.links else None
        if link is None or (flags & _BEGINS and link.pages):
            link = Link(at, at)
            pages.links.append(link)
            next_number, last_time = {}, {}
        if flags & _BEGINS:
            link.shape = link.shape or _shape(window.at(body, 64))
        else:
            link.pages += 1
            if link.shape[:8] == b"OpusHead" and time > 0:
                filled = _opus_samples(window, body, table)
                gap = time - last_time.get(serial, time - filled) - filled
                pages.gaps_s += gap / _OPUS_HZ if gap > _LEAST_GAP else 0
        jumps = number != next_number.get(serial, number)
        if jumps or (time != _NO_PACKET_ENDS and time < last_time.get(serial, time)):
            pages.is_whole = False
        next_number[serial] = number + 1
        if time != _NO_PACKET_ENDS:
            last_time[serial] = time
        at = link.end = end
    return pages


def _shape(packet: bytes) -> bytes:
    """Codec, channels and rate out of a stream's first packet; empty for no sound."""
    if packet[:8] == b"OpusHead":
        return packet[:10]
    if packet[:7] == b"\x01vorbis":
        return packet[:16]
    if packet[:5] == b"\x7fFLAC":
        return packet[:5] + packet[27:31]
    return packet[:8] + packet[36:40] + packet[48:52] if packet[:5] == b"Speex" else b""


def _opus_samples(window: Window, body: int, table: bytes) -> int:
    """The samples of all packets that end in a page."""
    samples, at, begins = 0, body, True
    for length in table:
        if begins:
            head = window.at(at, 2)
            if len(head) == 2 and length:
                frames = (1, 2, 2, head[1] & 0x3F)[head[0] & 3]
                samples += frames * _OPUS_FRAMES[head[0] >> 3]
        begins = length < 255
        at += length
    return samples
