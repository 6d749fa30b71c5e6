"""The pages of an Ogg file: its streams, one after the other, and what is lost between them."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field

from multitalk_cli.media.audio.window import Window

_START, _HEAD_BYTES = b"OggS\0", 27
_BEGINS = 2
_NO_PACKET_ENDS = -1
_OPUS_HZ = 48_000
_LEAST_GAP = _OPUS_HZ // 25
# A larger jump of their numbers is another stream, and no loss.
_MAX_LOST = 10_000
_CHECKSUM = slice(22, 26)
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
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
    """pages, lost: how many are there, and how many are not or have a wrong checksum. missing:
    bytes of the last page behind the end. is_whole: whether no page is lost and times only grow.
    gaps_s: time of Opus that no packet fills."""

    links: list[Link] = field(default_factory=list)
    pages: int = 0
    lost: int = 0
    missing: int = 0
    is_whole: bool = True
    gaps_s: float = 0.0


@dataclass(frozen=True, slots=True)
class _Page:
    """One page. table: the lengths of its segments, which start at `body`. time: in samples, of the
    last packet that ends in it."""

    start: int
    flags: int
    time: int
    serial: int
    number: int
    table: bytes
    wanted_segments: int

    @property
    def body(self) -> int:
        return self.start + _HEAD_BYTES + len(self.table)

    @property
    def end(self) -> int:
        return self.body + sum(self.table)


def walk(window: Window) -> OggPages:
    """Reads every page; one with a wrong checksum counts as lost, as for any reader."""
    pages = OggPages()
    next_number: dict[int, int] = {}
    last_time: dict[int, int] = {}
    at = damaged = 0
    is_broken = False
    while at < window.size:
        page = _page(window, at)
        if page is None or not _is_whole(window, page):
            following = window.find(_START, at + 1, window.size)
            if following < 0:
                _add_end(pages, window, at, page)
                break
            damaged += page is not None
            pages.is_whole, is_broken, at = False, True, following
            continue
        link = pages.links[-1] if pages.links else None
        if link is None or (page.flags & _BEGINS and link.pages):
            link = Link(at, at)
            pages.links.append(link)
            next_number, last_time = {}, {}
        pages.pages += 1
        if page.flags & _BEGINS:
            link.shape = link.shape or _shape(window.at(page.body, 64))
        else:
            link.pages += 1
            if link.shape[:8] == b"OpusHead" and page.time > 0:
                filled = _opus_samples(window, page.body, page.table)
                gap = page.time - last_time.get(page.serial, page.time - filled) - filled
                pages.gaps_s += gap / _OPUS_HZ if gap > _LEAST_GAP else 0
        jump = page.number - next_number.get(page.serial, page.number)
        # A live stream is caught anywhere: its headers come first, then its pages of now.
        is_loss = 0 < jump <= _MAX_LOST and (is_broken or last_time.get(page.serial, 0) > 0)
        pages.lost += max(damaged, jump if is_loss else 0)
        damaged, is_broken = 0, False
        is_back = page.time != _NO_PACKET_ENDS and page.time < last_time.get(page.serial, page.time)
        pages.is_whole = pages.is_whole and not jump and not is_back
        next_number[page.serial] = page.number + 1
        if page.time != _NO_PACKET_ENDS:
            last_time[page.serial] = page.time
        at = link.end = page.end
    pages.lost += damaged
    return pages


def _page(window: Window, at: int) -> _Page | None:
    """The page that starts here."""
    head = window.at(at, _HEAD_BYTES)
    if not head.startswith(_START) or len(head) < _HEAD_BYTES:
        return None
    flags, time, serial, number = struct.unpack("<xxxxxBqII", head[:22])
    return _Page(at, flags, time, serial, number, window.at(at + _HEAD_BYTES, head[26]), head[26])


def _is_whole(window: Window, page: _Page) -> bool:
    """Whether all of a page is there, as it was written."""
    if page.end > window.size or len(page.table) < page.wanted_segments:
        return False
    content = bytearray(window.at(page.start, page.end - page.start))
    written = int.from_bytes(content[_CHECKSUM], "little")
    content[_CHECKSUM] = bytes(4)
    # Ogg's checksum is zlib's without inversions, and with the bits of all bytes mirrored.
    seen = zlib.crc32(content.translate(_MIRRORED), 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return seen.to_bytes(4, "big").translate(_MIRRORED) == written.to_bytes(4, "big")[::-1]


def _add_end(pages: OggPages, window: Window, at: int, page: _Page | None) -> None:
    """Notes what is behind the last page that is whole: part of another, a tag or padding."""
    head = window.at(at, _HEAD_BYTES)
    if page is None:
        pages.missing = _HEAD_BYTES - len(head) if head[:4] == _START[:4] else 0
    elif page.end > window.size or len(page.table) < page.wanted_segments:
        pages.missing = max(1, page.end - window.size)
    else:
        pages.lost += 1
        pages.is_whole = False


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
