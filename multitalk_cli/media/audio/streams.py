"""The sound tracks of a container: what they are, when they start, and gaps between packets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from multitalk_cli.contract import MAX_SPEECH_S
from multitalk_cli.media.video import ffmpeg

WITH_TRACKS = {"mp4", "webm", "avi", "asf", "mpegts", "mpeg", "flv", "rm"}
"""Kinds of file that may hold several tracks, and times at which packets play."""

_MAX_LINE_BYTES = 1 << 16
_READ_BYTES = 1 << 18
_MAX_TRACKS = 64
_MAX_LENGTHS = 4096
# Codecs whose packets are all equally long: MP4 makes the one before a gap longer.
_EVEN = {"aac", "opus", "mp3", "mp2", "ac3", "eac3", "amr_nb", "amr_wb", "alac"}


@dataclass(slots=True)
class Track:
    """One sound track. start_s: of its first packet; gaps_s, back_s: sums of the times that no
    packet fills, and that two packets fill. title: its name and language, if it has any.
    last_length: of the last packet in ticks, 0 where the file does not say it."""

    codec: str = ""
    layout: str = ""
    rate_hz: int = 0
    title: str = ""
    tick_s: Fraction = Fraction(1, 1000)
    start_s: float = 0.0
    end_s: float = 0.0
    gaps_s: float = 0.0
    back_s: float = 0.0
    packets: int = 0
    last_length: int = 0
    lengths: Counter[int] = field(default_factory=Counter)

    @property
    def described(self) -> str:
        """`"Mic", aac, mono`."""
        name = [f'"{self.title}"'] if self.title else []
        return ", ".join([*name, *filter(None, (self.codec, self.layout))])


@dataclass(slots=True)
class _Reader:
    """Reads ffmpeg's list of packets, line by line."""

    tolerance_s: float
    tracks: dict[int, Track] = field(default_factory=dict)

    def line(self, text: str) -> None:
        if text.startswith("#"):
            self._header(text[1:])
            return
        fields = text.split(",", 4)
        if len(fields) < 5:
            return
        try:
            number, time, length = int(fields[0]), int(fields[2]), int(fields[3])
        except ValueError:
            return
        track = self.tracks.get(number)
        if track is None:
            return
        start_s = float(time * track.tick_s)
        if track.packets == 0:
            track.start_s = start_s
        elif track.last_length > 0:
            jump_s = start_s - track.end_s
            track.gaps_s += jump_s if jump_s > self.tolerance_s else 0
            track.back_s -= jump_s if jump_s < -self.tolerance_s else 0
        track.packets += 1
        track.last_length = length
        if len(track.lengths) < _MAX_LENGTHS or length in track.lengths:
            track.lengths[length] += 1
        track.end_s = start_s + float(length * track.tick_s)

    def _header(self, text: str) -> None:
        name, _, value = text.partition(": ")
        word, _, number = name.partition(" ")
        if not number.isdigit() or int(number) >= _MAX_TRACKS:
            return
        track = self.tracks.setdefault(int(number), Track())
        if word == "tb":
            up, _, down = value.partition("/")
            track.tick_s = Fraction(int(up), max(1, int(down)))
        elif word == "codec_id":
            track.codec = value
        elif word == "channel_layout_name":
            track.layout = value
        elif word == "sample_rate":
            track.rate_hz = int(value)


def read_tracks(source: Sequence[str], *, has_clock: bool, tolerance_s: float) -> list[Track]:
    """The sound tracks of an input, without decoding.

    source: ffmpeg's arguments that open it. has_clock: whether its times start at 0. tolerance_s:
    the longest time between two packets that is no gap. A file that ffmpeg cannot open has none:
    decoding it reports why.
    """
    clock = ["-copyts"] if has_clock else []
    arguments = [*clock, *source, "-map", "0:a?", "-c", "copy", "-f", "framecrc", "pipe:1"]
    reader = _Reader(tolerance_s)
    with ffmpeg.running(arguments, reads=True) as process:
        pending = b""
        while block := process.read(_READ_BYTES):
            *lines, pending = (pending + block).split(b"\n")
            pending = pending[:_MAX_LINE_BYTES]
            for line in lines:
                reader.line(line.decode("ascii", "replace").strip())
            if any(track.end_s > 2 * MAX_SPEECH_S for track in reader.tracks.values()):
                break
    tracks = [reader.tracks[number] for number in sorted(reader.tracks)]
    for track in tracks:
        track.gaps_s += _hidden_gaps_s(track, tolerance_s)
    if len(tracks) > 1:
        for track, title in zip(tracks, _titles(source), strict=False):
            track.title = title
    return tracks


def _hidden_gaps_s(track: Track, tolerance_s: float) -> float:
    """The time by which packets are longer than the usual one."""
    if track.codec not in _EVEN or not track.lengths:
        return 0.0
    usual = track.lengths.most_common(1)[0][0]
    gaps = (
        (length - usual) * count
        for length, count in track.lengths.items()
        if (length - usual) * track.tick_s > tolerance_s
    )
    return float(sum(gaps) * track.tick_s)


def _titles(source: Sequence[str]) -> list[str]:
    """The names of the sound tracks, as far as the file has them."""
    arguments = [*source, "-map", "0:a", "-c", "copy", "-t", "0", "-f", "ffmetadata", "pipe:1"]
    with ffmpeg.running(arguments, reads=True) as process:
        text = process.read(_READ_BYTES).decode("utf-8", "replace")
    titles = []
    for section in text.split("[STREAM]\n")[1:]:
        entries = dict(line.partition("=")[::2] for line in section.splitlines())
        name = entries.get("title", "")
        language = entries.get("language", "und")
        parts = [name, "" if language == "und" else language]
        shown = " ".join(part for part in parts if part)[:60]
        titles.append("".join(each if each.isprintable() else " " for each in shown))
    return titles


def describe_tracks(tracks: Sequence[Track]) -> str:
    """`1 (aac, stereo), 2 ("Mic", aac, mono)`."""
    return ", ".join(f"{number} ({track.described})" for number, track in enumerate(tracks, 1))
