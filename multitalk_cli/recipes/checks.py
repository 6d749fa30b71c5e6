"""A video compared with its recipe: as it was made, or cut, encoded again, re-muxed, stripped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from multitalk_cli.media.video.digests import Packets, StreamDigests, digest
from multitalk_cli.media.video.video import MOVIE_TICKS
from multitalk_cli.recipes.recipe import Recipe
from multitalk_cli.recipes.video import KnownVideo
from multitalk_cli.reporting.formatting import human_count

Verdict = Literal["same", "differs", "unknown", "note"]
NOT_RECORDED = "not recorded"
_SLACK_S = 0.1
"""Other containers begin later by what their encoders put before the sound."""
_MOST_DIGESTED = 50_000_000
"""Packets that are digested in search of a window: a second of work."""
_ORIGINS = {
    "video": "in the file",
    "sidecar": "not in the file, but next to it",
    "ledger": "not in the file, but in the ledger of jobs",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that a recipe records, and what was found.

    verdict: "unknown" where it was not recorded, "note" for what takes nothing from the video.
    """

    name: str
    recorded: str
    found: str
    verdict: Verdict


def check_video(video: KnownVideo) -> tuple[Check, ...]:
    """All that can be checked of a video with a recipe."""
    recipe = video.require_recipe()
    return (
        _check_recipe(video),
        _check_container(video, recipe),
        _check_size(video, recipe),
        _check_length(video, recipe),
        _check_frames(video.packets, recipe),
        _check_sound(video.packets, recipe.streams),
    )


def _check_recipe(video: KnownVideo) -> Check:
    is_there = video.origin == "video"
    return Check(
        name="recipe",
        recorded="in the file",
        found=_ORIGINS[str(video.origin)],
        verdict="same" if is_there else "note",
    )


def _check_container(video: KnownVideo, recipe: Recipe) -> Check:
    info = video.info
    is_own = info.faststart and info.movie_ticks == MOVIE_TICKS * recipe.fps and not video.writer
    found = f"re-muxed by {video.writer if video.writer else 'another program'}"
    return Check(
        name="file",
        recorded="written by multitalk",
        found="written by multitalk" if is_own else found,
        verdict="same" if is_own else "note",
    )


def _check_size(video: KnownVideo, recipe: Recipe) -> Check:
    width, height = recipe.size
    found = (video.info.width, video.info.height)
    # A preview has a strip below the picture.
    is_same = found == recipe.size if recipe.model_output else found[0] == width
    return Check(
        name="size",
        recorded=f"{width}x{height}" + ("" if recipe.model_output else " and the preview's strip"),
        found=f"{found[0]}x{found[1]}",
        verdict="same" if is_same and found[1] >= height else "differs",
    )


def _check_length(video: KnownVideo, recipe: Recipe) -> Check:
    info, seconds = video.info, recipe.frames_made / recipe.fps
    is_as_long = abs(info.duration_s - seconds) <= max(_SLACK_S, 1 / recipe.fps)
    is_same = info.frames == recipe.frames_made and is_as_long
    return Check(
        name="length",
        recorded=_length(recipe.frames_made, seconds),
        found=_length(info.frames, info.duration_s),
        verdict="same" if is_same else "differs",
    )


def _length(frames: int, seconds: float) -> str:
    return f"{human_count(frames, 'frame')}, {seconds:.2f} s"


def _check_frames(packets: Packets, recipe: Recipe) -> Check:
    streams = recipe.streams
    if streams is None:
        return Check(name="frames", recorded=NOT_RECORDED, found="", verdict="unknown")
    windows, whole = len(streams.frames), _find_windows(packets.frames, streams)
    is_same = len(whole) == windows and len(packets.frames) == recipe.frames_made
    return Check(
        name="frames",
        recorded=human_count(windows, "window"),
        found="unchanged"
        if is_same
        else _describe_frames(packets.frames, recipe.frames_made, whole),
        verdict="same" if is_same else "differs",
    )


def _describe_frames(frames: Sequence[str], recorded: int, whole: Sequence[int]) -> str:
    parts = [] if len(frames) == recorded else [f"{len(frames):,} of {recorded:,} frames"]
    if whole:
        numbers = f"window {whole[0] + 1}" if len(whole) == 1 else f"windows {_numbers(whole)}"
        return ", ".join([*parts, f"only {numbers} unchanged"])
    return ", ".join([*parts, "no window unchanged"]) if parts else "encoded again, or others"


def _numbers(windows: Sequence[int]) -> str:
    """`1 to 3, 5`: numbers from 1."""
    runs: list[list[int]] = []
    for window in windows:
        if runs and window == runs[-1][-1] + 1:
            runs[-1].append(window)
        else:
            runs.append([window])
    return ", ".join(
        f"{run[0] + 1}" if len(run) == 1 else f"{run[0] + 1} to {run[-1] + 1}" for run in runs
    )


def _find_windows(frames: Sequence[str], streams: StreamDigests) -> list[int]:
    """The windows whose frames are unchanged, in their place or, in a cut video, elsewhere."""
    counts = [count for count, _ in streams.frames]
    starts = accumulate(counts, initial=0)
    in_place = [
        window
        for window, (start, (count, recorded)) in enumerate(
            zip(starts, streams.frames, strict=False)
        )
        if digest(frames[start : start + count]) == recorded
    ]
    if in_place or len(frames) == sum(counts):
        return in_place
    found = {digest_ for count in {*counts} for digest_ in _runs(frames, count)}
    return [window for window, (_, recorded) in enumerate(streams.frames) if recorded in found]


def _runs(frames: Sequence[str], count: int) -> Iterator[str]:
    """Digests of all runs of so many frames; none where there are too many."""
    starts = range(len(frames) - count + 1)
    if len(starts) * count <= _MOST_DIGESTED:
        yield from (digest(frames[start : start + count]) for start in starts)


def _check_sound(packets: Packets, streams: StreamDigests | None) -> Check:
    is_there = packets.has_sound
    if streams is None:
        return Check(
            name="sound",
            recorded=f"there, its digest {NOT_RECORDED}",
            found="there" if is_there else "no sound",
            verdict="unknown" if is_there else "differs",
        )
    if streams.sound is None:
        is_same, recorded = not is_there, "no sound"
    else:
        is_same = streams.sound[1] in _runs(packets.sound, streams.sound[0])
        recorded = "there"
    found = "no sound" if not is_there else "unchanged" if is_same else "cut or encoded again"
    return Check(
        name="sound", recorded=recorded, found=found, verdict="same" if is_same else "differs"
    )
