"""The structure of a sound file: the recordings in it, and what its headers claim about them.

A container is judged by what decodes; what is found here says what should.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from multitalk_cli.errors import FileError
from multitalk_cli.files import shown_path
from multitalk_cli.media.audio import blocks, flac_frames, kinds, mpeg, ogg, riff, tags
from multitalk_cli.media.audio.plain import PlainSamples
from multitalk_cli.media.audio.window import Window

# A container may lose its last few bytes without losing sound worth a word.
_TOLERATED_BYTES = 64
_MAX_RECORDINGS = 400
_MAX_BOXES = 10_000
_RAW_ENDINGS = (".pcm", ".raw", ".l16", ".sln")
_EBML = b"\x1a\x45\xdf\xa3"
_FLAC_START = b"fLaC\0\0\0\x22"
_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"styp", b"moof", b"uuid",
          b"udta", b"meta", b"sidx", b"mfra", b"emsg", b"prft")  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The recordings of a file. kind: a key of kinds.DEMUXERS.

    size: of the file. spans: start and end of each recording in it. samples: how many there must
    be, if something says so.
    is_plain: whether the file is as its format wants it, so that any reader reads all of it.
    plain: the samples of a WAV file whose header is wrong. gaps_s: time that no packet fills.
    has_clock: whether its times start at 0, so that sound may begin later. is_damaged: whether
    parts are lost, which the warnings say.
    """

    kind: str
    size: int
    spans: tuple[tuple[int, int], ...]
    is_plain: bool = True
    samples: int | None = None
    plain: PlainSamples | None = None
    gaps_s: float = 0.0
    has_clock: bool = False
    is_damaged: bool = False
    adjusted: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def broken(path: Path, reason: str) -> FileError:
    """The error for damaged sound."""
    return FileError(f"{shown_path(path)} {reason}", code="E_AUDIO_BROKEN")


def read_layout(path: Path, file: BinaryIO) -> Layout:
    """The structure of an open file.

    Raises FileError: E_AUDIO_FORMAT for no sound, E_AUDIO_BROKEN for one that is cut off.
    """
    window = Window(file)
    kind, start = kinds.find_sound(window)
    if not kind:
        raise _no_sound(path, window.at(0, 4096))
    if kind in _READERS:
        return _READERS[kind](_Place(path, window, kind, start))
    return _other(_Place(path, window, kind, start))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a sound starts in a file."""

    path: Path
    window: Window
    kind: str
    start: int

    @property
    def name(self) -> str:
        return shown_path(self.path)

    def check(self, missing: int) -> None:
        """Raises FileError where more than a few bytes are missing."""
        if missing > _TOLERATED_BYTES:
            raise broken(self.path, f"is cut off: {missing} bytes are missing at its end")


def _no_sound(path: Path, head: bytes) -> FileError:
    what = "is a picture" if kinds.is_picture(head) else "is not a sound"
    facts: dict[str, str] = {}
    name = kinds.name_other(head)
    if name:
        what = f"is {name}"
        kind = "data_uri_file" if head.startswith(b"data:") else "base64_file"
        facts = {kind: str(path)} if name == kinds.BASE64 else {}
    elif path.suffix.lower() in _RAW_ENDINGS:
        what = "has no header (samples alone?)"
        facts = {"raw_file": str(path)}
    return FileError(
        f"{shown_path(path)} {what}, not a recording", code="E_AUDIO_FORMAT", facts=facts
    )


def _joined(place: _Place, shapes: list[object], spans: list[tuple[int, int]]) -> Layout:
    """Several recordings in one file: those that are like the first one are read."""
    alike = [span for shape, span in zip(shapes, spans, strict=True) if shape == shapes[0]]
    used = tuple(alike[:_MAX_RECORDINGS])
    adjusted: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    if len(used) > 1:
        adjusted = (f"{place.name} holds {len(used)} recordings one after the other: all are used",)
    if len(used) < len(spans):
        warnings = (
            f"{len(spans) - len(used)} of {len(spans)} recordings in {place.name} are left out: "
            "their rate or channels differ from those of the first"
            if len(alike) < len(spans)
            else f"only the first {len(used)} of {len(spans)} recordings in {place.name} are used",
        )
    whole = used == ((0, place.window.size),)
    return Layout(
        kind=place.kind,
        size=place.window.size,
        spans=used,
        is_plain=whole,
        adjusted=adjusted,
        warnings=warnings,
    )


# Plain samples


def _samples(place: _Place) -> Layout:
    read = {"wav": riff.read_wav, "aiff": riff.read_aiff, "au": riff.read_au}[place.kind]
    parts: list[riff.Part] = []
    start: int | None = place.start
    while start is not None and len(parts) < _MAX_RECORDINGS + 1:
        part = read(place.window, start)
        if part is None:
            break
        parts.append(part)
        start = part.next_start
    if not parts:
        return Layout(kind="wav", size=place.window.size, spans=((place.start, place.window.size),))
    for part in parts:
        place.check(part.missing)
    joined = _joined(
        place, [part.shape for part in parts], [(part.start, part.end) for part in parts]
    )
    used = [part for part in parts if (part.start, part.end) in joined.spans]
    first, block = used[0], used[0].block_bytes
    is_stale = any(part.is_stale for part in used)
    # Readers take a length of 0, or one with its highest bit set, for an empty file.
    is_empty = any(part.is_unknown and (part.claimed == 0 or place.kind != "wav") for part in used)
    pieces = tuple(piece for part in used for piece in part.pieces)
    is_split = len(pieces) > len(used)
    is_odd = is_empty or is_split or any(part.is_odd for part in used)
    is_plain = joined.is_plain and not is_stale and not (is_odd and block)
    tag, channels, rate_hz, _, _, bits = first.shape
    return replace(
        joined,
        is_plain=is_plain,
        samples=sum((end - start) // block for start, end in pieces) if block else None,
        plain=PlainSamples(
            tag=tag,
            bits=bits,
            channels=channels,
            rate_hz=rate_hz,
            order=first.order,
            pieces=pieces,
        )
        if block and not is_plain
        else None,
        adjusted=(*joined.adjusted, *_claims(place, used)),
        warnings=(*joined.warnings, *_rests(place, used)),
    )


def _claims(place: _Place, parts: list[riff.Part]) -> Iterator[str]:
    for part in parts:
        if part.more and part.block_bytes:
            yield f"the samples of {place.name} lie in {len(part.pieces)} chunks: all are used"
        if part.is_stale and part.bytes_per_s:
            claimed_s = part.claimed / part.bytes_per_s
            yield _claim(place, claimed_s, (part.piece[1] - part.body) / part.bytes_per_s)


def _claim(place: _Place, claimed_s: float, seen_s: float) -> str:
    return (
        f"the header of {place.name} claims {claimed_s:.1f} s: "
        f"all {seen_s:.1f} s that follow are used"
    )


def _rests(place: _Place, parts: list[riff.Part]) -> Iterator[str]:
    yield from _unread(place, sum(part.rest for part in parts))


def _unread(place: _Place, rest: int) -> Iterator[str]:
    if rest > 4096:
        yield f"{rest} bytes at the end of {place.name} are no sound that can be read: left out"


def _checked(place: _Place) -> Layout:
    window = place.window
    place.check({"w64": riff.missing_w64, "caf": riff.missing_caf}[place.kind](window))
    # libsndfile takes all that is in a W64 behind its samples for more of them.
    end = riff.w64_end(window) if place.kind == "w64" else window.size
    is_plain = place.start == 0 and end == window.size
    return Layout(kind=place.kind, size=window.size, spans=((place.start, end),), is_plain=is_plain)


def _other(place: _Place) -> Layout:
    """A sound of which only the end is looked for, so that no tag behind it is taken for sound."""
    window = place.window
    end = tags.trailers_start(window)
    blocks_end = blocks.blocks_end(window, place.kind, place.start)
    warnings: tuple[str, ...] = ()
    if blocks_end is not None and blocks_end < end:
        if not tags.is_no_sound(window, blocks_end):
            warnings = tuple(_unread(place, end - blocks_end))
        end = blocks_end
    return Layout(
        kind=place.kind,
        size=window.size,
        spans=((place.start, end),),
        is_plain=place.start == 0,
        warnings=warnings,
    )


# Streams of frames


def _frames(place: _Place) -> Layout:
    stream = mpeg.walk(place.window, place.start, mpeg.PARSERS[place.kind])
    recordings = [each for each in stream.recordings if each.frames]
    if not recordings:
        return Layout(kind=place.kind, size=place.window.size, spans=((0, place.window.size),))
    last = recordings[-1]
    # An editor cuts between frames and may leave the header as it was; a lost connection does not.
    if stream.missing and last.claimed_s and (last.claimed_frames or 0) > last.frames + 1:
        seen_s = last.samples / last.rate_hz
        raise broken(
            place.path,
            f"is cut off: its header claims {last.claimed_s:.1f} s, it holds {seen_s:.1f} s",
        )
    adjusted = tuple(_frame_claims(place, recordings))
    warnings = tuple(_frame_rests(place, stream))
    if place.kind == "aac" or len(recordings) == 1:
        # What is behind the last frame is decoded only where that frame goes on there.
        end = place.window.size if stream.missing else last.end
        return Layout(
            kind=place.kind,
            size=place.window.size,
            spans=((recordings[0].start, end),),
            is_plain=False,
            adjusted=adjusted,
            warnings=warnings,
        )
    joined = _joined(
        place,
        [each.shape for each in recordings],
        [(each.start, each.end) for each in recordings],
    )
    return Layout(
        kind=place.kind,
        size=place.window.size,
        spans=joined.spans,
        is_plain=False,
        adjusted=(*joined.adjusted, *adjusted),
        warnings=(*joined.warnings, *warnings),
    )


def _frame_rests(place: _Place, stream: mpeg.MpegStream) -> Iterator[str]:
    if stream.skipped > 4096:
        yield f"{stream.skipped} bytes in {place.name} are no sound: left out"
    start = stream.rest_start
    if start is not None and not tags.is_no_sound(place.window, start):
        yield from _unread(place, tags.trailers_start(place.window) - start)


def _frame_claims(place: _Place, recordings: list[mpeg.Recording]) -> Iterator[str]:
    for each in recordings:
        claimed_s, seen_s = each.claimed_s, each.samples / each.rate_hz
        # An encoder may leave out its last frame or two.
        if claimed_s and abs(claimed_s - seen_s) * each.rate_hz > 4 * 1152:
            yield _claim(place, claimed_s, seen_s)


# Ogg, FLAC, WebM, MP4


def _ogg(place: _Place) -> Layout:
    pages = ogg.walk(place.window)
    place.check(pages.missing)
    warnings: tuple[str, ...] = ()
    if pages.lost:
        parts = f"{pages.lost} of {pages.pages + pages.lost} parts of {place.name}"
        warnings = (f"{parts} are damaged or missing, and so is their sound",)
    if len(pages.links) < 2:
        whole = ((place.start, place.window.size),)
        is_plain = place.start == 0 and pages.is_whole and not pages.gaps_s
        return Layout(
            kind="ogg",
            size=place.window.size,
            spans=whole,
            is_plain=is_plain,
            gaps_s=pages.gaps_s,
            is_damaged=bool(warnings),
            warnings=warnings,
        )
    joined = _joined(
        place,
        [link.shape for link in pages.links],
        [(link.start, link.end) for link in pages.links],
    )
    return replace(joined, is_damaged=bool(warnings), warnings=(*joined.warnings, *warnings))


def _flac(place: _Place) -> Layout:
    window = place.window
    starts = [place.start]
    while len(starts) <= _MAX_RECORDINGS:
        found = window.find(_FLAC_START, starts[-1] + 4, window.size)
        if found < 0:
            break
        starts.append(found)
    infos = {start: flac_frames.read_info(window, start) for start in starts}
    shapes: list[object] = [window.at(start + 18, 2) + window.at(start + 20, 1) for start in starts]
    layout = _joined(place, shapes, _between(starts, window.size))
    totals = [infos[start].samples for start, _ in layout.spans]
    layout = replace(layout, samples=sum(totals) if all(totals) else None)
    end = tags.trailers_start(window)
    info = infos[place.start]
    seen = flac_frames.count_samples(window, place.start, end) if len(starts) == 1 else None
    if seen is not None and info.rate_hz and info.samples not in (0, seen):
        claim = _claim(place, info.samples / info.rate_hz, seen / info.rate_hz)
        said = (claim,) if 25 * abs(info.samples - seen) > info.rate_hz else ()
        layout = replace(layout, samples=seen, is_plain=False, adjusted=(*layout.adjusted, *said))
    if layout.is_plain:
        return layout
    return replace(layout, spans=tuple((start, min(stop, end)) for start, stop in layout.spans))


def _between(starts: list[int], end: int) -> list[tuple[int, int]]:
    return list(zip(starts, [*starts[1:], end], strict=True))


def _webm(place: _Place) -> Layout:
    window, starts = place.window, [place.start]
    for _ in range(_MAX_RECORDINGS):
        end = _segment_end(window, starts[-1])
        if end is None:
            found = window.find(_EBML, starts[-1] + 4, window.size)
        else:
            place.check(end - window.size)
            found = end if window.at(end, 4) == _EBML else -1
        if found < 0:
            break
        starts.append(found)
    joined = _joined(place, [0] * len(starts), _between(starts, window.size))
    # A live stream may be caught at any time of its clock.
    return replace(joined, has_clock=_segment_end(window, place.start) is not None)


def _segment_end(window: Window, start: int) -> int | None:
    """Where the segment of a WebM file ends; None if its length is unknown."""
    head = window.at(start, 4096)
    _, after_id = _ebml_number(head, 0, keep_marker=True)
    length, at = _ebml_number(head, after_id, keep_marker=False)
    segment, after_id = _ebml_number(head, at + length, keep_marker=True)
    if segment != 0x18538067:
        return None
    length, at = _ebml_number(head, after_id, keep_marker=False)
    unknown = (1 << (7 * (at - after_id))) - 1
    return None if length == unknown else start + at + length


def _is_protected(window: Window, start: int, length: int) -> bool:
    """Whether the index at this place describes encrypted sound."""
    end = start + length
    entries = (window.find(name, start, end) for name in (b"enca", b"drms"))
    return window.find(b"sinf", start, end) >= 0 and any(place >= 0 for place in entries)


def _ebml_number(data: bytes, at: int, *, keep_marker: bool) -> tuple[int, int]:
    """A number of variable length at `at`, and its end; (0, at) for none."""
    if at >= len(data) or data[at] == 0:
        return 0, at
    width = 9 - data[at].bit_length()
    value = int.from_bytes(data[at : at + width], "big")
    return (value if keep_marker else value & ((1 << (7 * width)) - 1)), at + width


def _mp4(place: _Place) -> Layout:
    window = place.window
    at = place.start
    starts = [place.start]
    names: set[bytes] = set()
    for _ in range(_MAX_BOXES):
        header = window.at(at, 16)
        if len(header) < 8:
            break
        length, name = struct.unpack(">I4s", header[:8])
        if length == 1 and len(header) == 16:
            length = struct.unpack(">Q", header[8:])[0]
        has_all = {b"moov", b"mdat"} <= names
        is_box = name in _BOXES or not has_all
        if length == 0 or (not is_box and (length < 8 or at + length > window.size)):
            # The last box may have no length; other bytes behind a whole file are no boxes.
            names.add(name)
            break
        if name == b"ftyp" and has_all:
            starts.append(at)
            names = set()
        place.check(at + length - window.size)
        if name == b"moov" and _is_protected(window, at, length):
            raise FileError(f"{place.name} is protected (DRM)", code="E_AUDIO_FORMAT")
        names.add(name)
        at += max(length, 8)
    if not names & {b"moov", b"moof"}:
        raise broken(place.path, "is cut off: its index is missing (a recording that never ended?)")
    joined = _joined(place, [0] * len(starts), _between(starts, window.size))
    return Layout(
        kind="mp4",
        size=window.size,
        spans=joined.spans,
        is_plain=joined.is_plain,
        has_clock=b"moof" not in names,
        adjusted=joined.adjusted,
        warnings=joined.warnings,
    )


_READERS = {
    "wav": _samples, "aiff": _samples, "au": _samples, "w64": _checked, "caf": _checked,
    "mp3": _frames, "aac": _frames, "ogg": _ogg, "flac": _flac, "webm": _webm, "mp4": _mp4,
}  # fmt: skip
