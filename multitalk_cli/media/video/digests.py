"""Digests of a video's encoded frames and sound, by which they are known again in a copy."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from multitalk_cli.contract.codec import to_plain
from multitalk_cli.errors import FileError
from multitalk_cli.files import shown_path
from multitalk_cli.media.video import ffmpeg
from multitalk_cli.media.video.probe import probe_video
from multitalk_cli.media.video.recipe import MAX_RECIPE_BYTES, replace_recipe

KEY = "streams"
"""The entry of a recipe that holds the digests."""
_LENGTH = 16
_TRIMMED_PACKETS, _MOST_PACKETS = 2, 99_999_999
_CHUNK_BYTES, _MAX_TEXT_BYTES = 1 << 20, 1 << 27
"""A packet is listed in about 100 bytes."""
# Other containers repeat the decoder's settings in front of frames: only the slices count.
_SLICES = "h264_mp4toannexb,filter_units=pass_types=1-5"


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamDigests:
    """What a recipe keeps of the streams.

    frames: of each window, in order, how many it adds, and their digest. sound: how many packets,
    and their digest, without those at both ends, which other containers trim; None without sound.
    """

    frames: tuple[tuple[int, str], ...]
    sound: tuple[int, str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Packets:
    """Digests of single packets, as they are stored: of frames and of sound.

    has_sound: whether there is a sound track, which may be empty.
    """

    frames: tuple[str, ...]
    sound: tuple[str, ...]
    has_sound: bool

    def digests(self, counts: Sequence[int]) -> StreamDigests:
        """The digests of so many frames, and so many after them; together all frames."""
        if sum(counts) != len(self.frames):
            raise ValueError(f"there are {len(self.frames)} frames, not {sum(counts)}")
        spans = pairwise(accumulate(counts, initial=0))
        return StreamDigests(
            frames=tuple((end - start, digest(self.frames[start:end])) for start, end in spans),
            sound=self._sound_digest() if self.has_sound else None,
        )

    def _sound_digest(self) -> tuple[int, str]:
        is_short = len(self.sound) <= 4 * _TRIMMED_PACKETS
        middle = self.sound if is_short else self.sound[_TRIMMED_PACKETS:-_TRIMMED_PACKETS]
        return len(middle), digest(middle)


def digest(packets: Sequence[str]) -> str:
    """The digest of several packets in a row."""
    return hashlib.sha256("".join(packets).encode()).hexdigest()[:_LENGTH]


def read_packets(path: Path) -> Packets:
    """Reads an MP4 without decoding it; frames that an edit hides count too.

    Raises FileError for what is no MP4, or has more packets than many hours of video.
    """
    info = probe_video(path)
    arguments = ffmpeg.read_from(path, "mov", options=["-ignore_editlist", "1"])
    arguments += ["-map", "0:v:0", *(["-map", "0:a:0"] if info.has_audio else []), "-c", "copy"]
    arguments += ["-bsf:v", _SLICES] if info.pix_fmt else []
    text = bytearray()
    with ffmpeg.running([*arguments, "-f", "framehash", "pipe:1"], reads=True) as process:
        while chunk := process.read(_CHUNK_BYTES):
            text += chunk
            if len(text) > _MAX_TEXT_BYTES:
                raise FileError(f"{shown_path(path)} has too many packets", code="E_VIDEO_BROKEN")
        process.finish()
    lines = [line.split(",") for line in text.decode().splitlines() if not line.startswith("#")]
    frames, sound = (
        tuple(fields[-1].strip() for fields in lines if fields[0] == stream) for stream in "01"
    )
    return Packets(frames=frames, sound=sound, has_sound=info.has_audio)


def plan_digests(recipe: str, counts: Sequence[int], *, has_sound: bool) -> str:
    """The recipe with room for the digests of such a video.

    What makes it too long to be kept is left out: digests, then figures, then the prompt.
    """
    blank = "0" * _LENGTH
    frames = tuple((count, blank) for count in counts)
    sound = (_MOST_PACKETS, blank) if has_sound else None
    entries = json.loads(recipe)
    if not isinstance(entries, dict):
        return recipe
    entries[KEY] = to_plain(StreamDigests(frames=frames, sound=sound))
    for name in (KEY, "quality", "prompt"):
        if len(_to_text(entries)) > MAX_RECIPE_BYTES:
            entries.pop(name, None)
    return _to_text(entries)


def write_digests(video: Path, planned: str) -> str:
    """Writes the digests of a video into its recipe, made by `plan_digests`; returns the recipe."""
    entries = json.loads(planned)
    if KEY not in entries:
        return planned
    counts = [count for count, _ in entries[KEY]["frames"]]
    written = _to_text({**entries, KEY: to_plain(read_packets(video).digests(counts))})
    # Equally long: blanks at the end are no part of a JSON object.
    replace_recipe(video, planned, written.ljust(len(planned)))
    return written


def _to_text(entries: dict[str, Any]) -> str:
    return json.dumps(entries, separators=(",", ":"))
