"""The level of a voice in each video frame, and how far a mouth would open for it.

Both are curves on the output clock: one value per frame, measured around the frame's middle.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from multitalk_cli.contract import MODEL_RATE_HZ

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Curve = NDArray[np.float32]  # [frames]

SILENCE_DB = -100.0
WINDOW = 1024
"""Samples that one level is measured over: 64 ms."""
_BAND_HZ = (150.0, 4000.0)  # where vowels are; leaves out hum, breath and hiss
_CHUNK_FRAMES = 512
_QUIET_DB = -55.0  # below this a frame is a pause, however loud the rest of the voice is
_REFERENCE_PERCENTILE = 95
_RANGE_DB = 34.0  # from a closed mouth to a fully open one
_CURVATURE = 1.3
_ATTACK, _RELEASE = 0.95, 0.75  # share of the way to the new level that a mouth moves in one frame


def voice_levels(voice: bytes, frames: int, fps: int) -> Curve:
    """Level of each frame in dB below a full-scale sine, at least SILENCE_DB.

    voice: a sound file, 16 kHz mono, starting at frame 0; frames after its end are silent.
    Holds a few seconds of samples at a time.
    """
    import numpy as np
    import soundfile

    levels = np.full(frames, SILENCE_DB, np.float32)
    with soundfile.SoundFile(io.BytesIO(voice)) as file:
        if (file.samplerate, file.channels) != (MODEL_RATE_HZ, 1):
            raise ValueError(f"expected 16 kHz mono, not {file.samplerate} Hz x {file.channels}")
        for first in range(0, frames, _CHUNK_FRAMES):
            numbers = np.arange(first, min(first + _CHUNK_FRAMES, frames))
            starts = (2 * numbers + 1) * MODEL_RATE_HZ // (2 * fps) - WINDOW // 2
            if starts[0] >= file.frames:
                break
            levels[numbers] = band_levels(
                _read(file, int(starts[0]), int(starts[-1])), starts - starts[0]
            )
    return levels


def _read(file: object, first: int, last: int) -> NDArray[np.float32]:
    """The samples from `first` to the end of the window at `last`; zeros outside the file."""
    import numpy as np
    import soundfile

    assert isinstance(file, soundfile.SoundFile)
    samples = np.zeros(last - first + WINDOW, np.float32)
    start, end = max(first, 0), min(last + WINDOW, file.frames)
    file.seek(start)
    samples[start - first : end - first] = file.read(end - start, dtype="float32")
    return samples


def band_levels(samples: NDArray[np.float32], starts: NDArray[np.int64]) -> Curve:
    """Levels in the band of speech of the windows of 64 ms at `starts`, at least SILENCE_DB."""
    import numpy as np

    taper = np.hanning(WINDOW).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[starts]
    power = np.abs(np.fft.rfft(windows * taper, axis=1)) ** 2
    tones = np.fft.rfftfreq(WINDOW, 1 / MODEL_RATE_HZ)
    inside = (tones >= _BAND_HZ[0]) & (tones <= _BAND_HZ[1])
    full_scale = WINDOW * float(np.sum(taper**2)) / 4  # the band's power of a full-scale sine
    shares = power[:, inside].sum(1) / full_scale
    levels: Curve = (10 * np.log10(np.maximum(shares, 10 ** (SILENCE_DB / 10)))).astype(np.float32)
    return levels


def mouth_openings(levels: Curve) -> Curve:
    """The opening of the mouth in each frame, 0 (shut) to 1; it opens fast and shuts more slowly.

    The loud parts of each voice open its mouth fully, so a quiet recording moves like a loud one.
    """
    import numpy as np

    voiced = levels[levels > _QUIET_DB]
    if voiced.size == 0:
        return np.zeros_like(levels)
    loud = float(np.percentile(voiced, _REFERENCE_PERCENTILE))
    targets = np.clip((levels - (loud - _RANGE_DB)) / _RANGE_DB, 0, 1) ** _CURVATURE
    opening, openings = 0.0, []
    for target in np.where(levels > _QUIET_DB, targets, 0).tolist():
        opening += (target - opening) * (_ATTACK if target > opening else _RELEASE)
        openings.append(opening)
    return np.array(openings, np.float32)
