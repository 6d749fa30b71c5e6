"""What is heard in a recording: when somebody speaks, whether anybody does, on which channel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multitalk_cli.contract import MODEL_RATE_HZ
from multitalk_cli.media.audio.envelope import SILENCE_DB, WINDOW, band_levels

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LEVELS_PER_S = 20
_STEP = MODEL_RATE_HZ // LEVELS_PER_S
_CHUNK = 512
# Syllables and pauses change the level of speech by 20 dB and more; hum and noise hardly by 2.
_LEAST_CHANGE_DB = 6.0
_LEAST_S = 1.0
# The speech is measured on its loudest second, so that a minute of silence does not hide it.
_LOUDEST = LEVELS_PER_S
_BELOW_SPEECH_DB, _ABOVE_NOISE_DB = 35.0, 8.0
_RUN = 3  # measurements in a row: a click is no speech
_MARGIN_S = 0.3
_APART_DB, _LEAST_ALONE = 12.0, 0.15


def speech_levels(speech: NDArray[np.float32]) -> NDArray[np.float32]:
    """Level of the speech band in dB, 20 times a second; samples [n], 16 kHz."""
    import numpy as np

    count = max(0, (len(speech) - WINDOW) // _STEP + 1)
    levels = np.full(count, SILENCE_DB, np.float32)
    for first in range(0, count, _CHUNK):
        last = min(first + _CHUNK, count)
        levels[first:last] = band_levels(speech, np.arange(first, last) * _STEP)
    return levels


def is_steady(levels: NDArray[np.float32]) -> bool:
    """Whether the level hardly changes, as that of hum, noise or silence: nobody speaks."""
    import numpy as np

    if len(levels) < _LEAST_S * LEVELS_PER_S:
        return False
    low, high = float(np.percentile(levels, 10)), _loudest(levels)
    return high - low < _LEAST_CHANGE_DB or high <= SILENCE_DB


def _loudest(levels: NDArray[np.float32]) -> float:
    """The median of the loudest second, wherever its parts are."""
    import numpy as np

    return float(np.sort(levels)[-(_LOUDEST // 2)])


def speech_span_s(levels: NDArray[np.float32]) -> tuple[float, float] | None:
    """From when to when there is speech, with a margin; None where nothing stands out."""
    import numpy as np

    if len(levels) < _LEAST_S * LEVELS_PER_S:
        return None
    loud = _loudest(levels)
    noise = min(float(np.percentile(levels, 5)), loud - 20)
    active = levels > max(loud - _BELOW_SPEECH_DB, noise + _ABOVE_NOISE_DB)
    runs = np.convolve(active, np.ones(_RUN), "valid") == _RUN
    places = np.flatnonzero(runs)
    if not len(places):
        return None
    end_s = len(levels) / LEVELS_PER_S
    first_s, last_s = places[0] / LEVELS_PER_S, (places[-1] + _RUN) / LEVELS_PER_S
    return max(0.0, float(first_s) - _MARGIN_S), min(end_s, float(last_s) + _MARGIN_S)


def has_two_speakers(powers: NDArray[np.float32]) -> bool:
    """Whether two people speak, each on a channel of their own.

    powers: [n, 2], mean squares of each channel, 20 times a second.
    """
    import numpy as np

    levels = 10 * np.log10(np.maximum(powers, 1e-10))
    count = len(levels)
    if count < 2 * _LEAST_S * LEVELS_PER_S:
        return False
    loud = np.sort(levels, axis=0)[-max(1, count // 20)]
    active = levels > np.maximum(loud - 25, -55)
    apart = levels[:, 0] - levels[:, 1]
    first = active[:, 0] & (apart > _APART_DB)
    second = active[:, 1] & (apart < -_APART_DB)
    alone = first.sum() + second.sum()
    least = _LEAST_ALONE * active.any(axis=1).sum()
    return bool(min(first.sum(), second.sum()) > least and alone > 0.5 * active.any(axis=1).sum())
