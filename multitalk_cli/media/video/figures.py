"""Figures of a video file: how its lips follow its sound, how much it moves, how colours drift."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from multitalk_cli.contract import MODEL_RATE_HZ
from multitalk_cli.media.audio.envelope import mouth_openings, voice_levels
from multitalk_cli.media.audio.flac import speech_flac
from multitalk_cli.media.faces.detect import RELIABLE_MESH, Face, find_faces, follow_face
from multitalk_cli.media.faces.lips import (
    chance,
    highest,
    lag_correlations,
    lip_gap,
    looked_at,
    offset_frames,
)
from multitalk_cli.media.image.lab import to_lab
from multitalk_cli.media.video import ffmpeg
from multitalk_cli.media.video.probe import VideoInfo, probe_video
from multitalk_cli.media.video.video import read_frames

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Frame = NDArray[np.uint8]  # [H, W, 3]

_MOST_FACES = 2
_STRIDE_PX = 2
_CHUNK_BYTES = 1 << 20
_REPORTS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoFigures:
    """What was measured on the frames and the sound of a file.

    motion: mean change of brightness from frame to frame, in levels of 255; None for one frame.
    color_drift: distance of the mean Lab colours of the last second from those of the first frame.
    mouth_correlation, correlation_floor: of each face from left to right, at most two, with the
    sound track; None where it could not be measured. av_offset_frames: by which lips trail it.
    """

    motion: float | None
    color_drift: float
    mouth_correlation: tuple[float | None, ...]
    correlation_floor: tuple[float | None, ...]
    av_offset_frames: float | None


Show = Callable[[int, int], None]
"""Receives how many frames of how many are measured."""


def measure_video(path: Path, show: Show) -> VideoFigures:
    """Measures an MP4. Raises FileError for what cannot be decoded."""
    import numpy as np

    info = probe_video(path)
    fps = _whole_fps(info)
    meter = _Meter(info.frames, fps)
    for number, frame in enumerate(read_frames(path)):
        meter.read(number, frame)
        if number % max(1, info.frames // _REPORTS) == 0:
            show(number, info.frames)
    voice = _voice(path, info.frames, fps) if info.has_audio else np.zeros(info.frames)
    lips = [np.array(gaps, np.float64) for gaps in meter.gaps]
    curves = [lag_correlations(gaps, voice, fps) for gaps in lips]
    return VideoFigures(
        motion=float(np.mean(meter.changes)) if meter.changes else None,
        color_drift=meter.color_drift,
        mouth_correlation=tuple(highest(curve) for curve in curves),
        correlation_floor=tuple(chance(gaps, voice, fps) for gaps in lips),
        av_offset_frames=offset_frames(curves) if curves else None,
    )


def _whole_fps(info: VideoInfo) -> int:
    return max(1, round(info.mean_fps))


def _voice(path: Path, frames: int, fps: int) -> NDArray[np.float64]:
    """How far a mouth would open for the sound track in each frame."""
    import numpy as np

    # A sound track may claim to be longer than the frames.
    arguments = [*ffmpeg.read_from(path, "mov"), "-map", "0:a:0", "-t", f"{frames / fps:.3f}"]
    arguments += ["-ac", "1", "-ar", str(MODEL_RATE_HZ), "-f", "f32le", "pipe:1"]
    sound = bytearray()
    with ffmpeg.running(arguments, reads=True) as process:
        while chunk := process.read(_CHUNK_BYTES):
            sound += chunk
        process.finish()
    samples = np.frombuffer(sound, np.float32)
    if not len(samples):
        return np.zeros(frames)
    openings = mouth_openings(voice_levels(speech_flac(samples), frames, fps))
    return openings.astype(np.float64)


@dataclass(slots=True)
class _Meter:
    """Reads the frames of a video, one after the other.

    gaps: between the lips of each face in each frame, NaN where they were not seen. changes: of the
    brightness from frame to frame.
    """

    frames: int
    fps: int
    gaps: list[list[float]] = field(default_factory=list)
    changes: list[float] = field(default_factory=list)
    _before: NDArray[np.float32] | None = None
    _first: NDArray[np.float64] | None = None
    _last: list[NDArray[np.float64]] = field(default_factory=list)
    _borders: tuple[float, ...] | None = None
    _faces: dict[int, Face] = field(default_factory=dict)
    _is_turned: bool = False

    @property
    def color_drift(self) -> float:
        """The distance of the last second from the first frame."""
        import numpy as np

        if self._first is None or not self._last:
            return 0.0
        return float(np.linalg.norm(np.mean(self._last, axis=0) - self._first))

    def read(self, number: int, frame: Frame) -> None:
        """Measures the next frame."""
        import numpy as np

        small = frame[::_STRIDE_PX, ::_STRIDE_PX]
        light = small.mean(axis=2, dtype=np.float32)
        if self._before is not None:
            self.changes.append(float(np.abs(light - self._before).mean()))
        self._before = light
        if number == 0:
            self._first = to_lab(small).reshape(-1, 3).mean(axis=0)
        if number >= self.frames - self.fps:
            self._last.append(to_lab(small).reshape(-1, 3).mean(axis=0))
        self._read_lips(number, frame)

    def _read_lips(self, number: int, frame: Frame) -> None:
        place = looked_at(self.frames, self.fps).get(number)
        if self._borders is None:
            faces = _largest(find_faces(frame))
            centers = [face.center[0] for face in faces]
            self._borders = tuple((a + b) / 2 for a, b in pairwise(centers))
            self.gaps = [[] for _ in faces]
            self._is_turned = any(not face.is_upright for face in faces)
        if place is not None and place % self.fps == 0:
            self._faces = self._find(frame)
        for person, gaps in enumerate(self.gaps):
            gap = self._gap(person, frame) if place is not None else None
            gaps.append(float("nan") if gap is None else gap)

    def _gap(self, person: int, frame: Frame) -> float | None:
        """Between the lips of a face, which is followed from here on."""
        known = self._faces.get(person)
        if known is None:
            return None
        face = follow_face(frame, known)
        if face.mesh_score >= RELIABLE_MESH:
            self._faces[person] = face
        return lip_gap(face)

    def _find(self, frame: Frame) -> dict[int, Face]:
        """The largest face at each person's place, which the borders between them part."""
        assert self._borders is not None
        found: dict[int, Face] = {}
        faces = find_faces(frame, turned=self._is_turned)
        for face in sorted(faces, key=lambda each: each.height_px):
            found[sum(face.center[0] >= border for border in self._borders)] = face
        return found


def _largest(faces: Sequence[Face]) -> list[Face]:
    """The largest faces, from left to right."""
    largest = sorted(faces, key=lambda face: -face.height_px)[:_MOST_FACES]
    return sorted(largest, key=lambda face: face.center[0])
