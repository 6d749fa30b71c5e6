"""Loudness after ITU-R BS.1770-4, with the filters of pyloudnorm, in numpy alone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TARGET_LUFS = -23.0
_BLOCK_S, _STEP = 0.4, 0.25
_ABSOLUTE_GATE_LUFS, _RELATIVE_GATE_LU = -70.0, -10.0
_OFFSET_LU = -0.691
# A larger reading means silence, as in the published preparation of the voices.
_MAX_READING_LUFS = 100.0


def measure_lufs(samples: NDArray[np.floating], rate_hz: int) -> float | None:
    """Integrated loudness of one channel.

    samples: [n], full scale 1. Returns None below 0.4 s, or if every block is gated as silent.
    Source: ITU-R BS.1770-4; block borders and filter constants as pyloudnorm 0.2 sets them.
    """
    import numpy as np

    if len(samples) < _BLOCK_S * rate_hz:
        return None
    power = _block_power(samples, rate_hz)
    with np.errstate(divide="ignore"):
        levels = _OFFSET_LU + 10 * np.log10(power)
    audible = levels >= _ABSOLUTE_GATE_LUFS
    if not audible.any():
        return None
    relative = _level(float(power[audible].mean())) + _RELATIVE_GATE_LU
    is_loud = (levels > relative) & (levels > _ABSOLUTE_GATE_LUFS)
    return _level(float(power[is_loud].mean())) if is_loud.any() else None


def normalize(
    samples: NDArray[np.floating], rate_hz: int, target_lufs: float = TARGET_LUFS
) -> tuple[NDArray[np.float32], float | None]:
    """The samples at the target loudness as float32, and the gain in dB.

    Sound that is too short or too quiet to measure is returned unchanged, with gain None.
    """
    return leveled(samples, measure_lufs(samples, rate_hz), target_lufs)


def leveled(
    samples: NDArray[np.floating], loudness_lufs: float | None, target_lufs: float
) -> tuple[NDArray[np.float32], float | None]:
    """Like `normalize`, for samples whose loudness was measured."""
    import numpy as np

    if loudness_lufs is None or abs(loudness_lufs) > _MAX_READING_LUFS:
        return samples.astype(np.float32, copy=False), None
    gain_db = target_lufs - loudness_lufs
    # A Python float keeps float32 samples float32: no copy at twice the size.
    return (samples * float(10 ** (gain_db / 20))).astype(np.float32, copy=False), gain_db


def _level(power: float) -> float:
    return _OFFSET_LU + 10 * math.log10(power)


def _block_power(samples: NDArray[np.floating], rate_hz: int) -> NDArray[np.float64]:
    """Mean square of the weighted sound in each block of 0.4 s, a new one each 0.1 s: [blocks]."""
    import numpy as np

    duration_s = len(samples) / rate_hz
    count = round((duration_s - _BLOCK_S) / (_BLOCK_S * _STEP)) + 1
    # Truncated products as in pyloudnorm: exact borders would differ by a sample now and then.
    first = np.array([int(_BLOCK_S * (j * _STEP) * rate_hz) for j in range(count)])
    last = np.array([int(_BLOCK_S * (j * _STEP + 1) * rate_hz) for j in range(count)])
    borders = np.unique(np.concatenate([first, last]))
    energy = _energy_between(samples, rate_hz, borders)
    total = np.concatenate([[0.0], np.cumsum(energy)])
    sums = total[np.searchsorted(borders, last)] - total[np.searchsorted(borders, first)]
    return np.asarray(np.maximum(sums, 0.0) / (_BLOCK_S * rate_hz))


def _energy_between(
    samples: NDArray[np.floating], rate_hz: int, borders: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Sum of squares of the weighted sound between neighbouring borders: [borders - 1].

    Filters in overlapping chunks with the response cut where it is far below float64's precision,
    so that half an hour takes no more memory than a second.
    """
    import numpy as np

    response = _weighting(rate_hz)
    size = len(response)
    spectrum = np.fft.rfft(response, 2 * size)
    energy = np.zeros(len(borders) - 1)
    for start in range(0, min(len(samples), int(borders[-1])), size):
        chunk = np.zeros(2 * size)
        before = max(0, start - size)
        piece = samples[before : start + size]
        chunk[size - (start - before) : size - (start - before) + len(piece)] = piece
        squares = np.fft.irfft(np.fft.rfft(chunk) * spectrum)[size:] ** 2
        inside = borders[(borders > start) & (borders < start + size)] - start
        parts = np.add.reduceat(squares, np.concatenate([[0], inside]).astype(np.intp))
        at = int(np.searchsorted(borders, start, side="right")) - 1
        kept = min(len(parts), len(energy) - at)
        energy[at : at + kept] += parts[:kept]
    return energy


def _weighting(rate_hz: int) -> NDArray[np.float64]:
    """Impulse response of the K weighting, over at least 0.5 s, a power of two long."""
    import numpy as np

    size = 1 << math.ceil(math.log2(max(rate_hz, 4096) / 2))
    turn = np.exp(-2j * np.pi * np.arange(size + 1) / (2 * size))
    response = np.ones(len(turn), dtype=complex)
    for over, under in (_high_shelf(rate_hz), _high_pass(rate_hz)):
        response *= np.polyval(over[::-1], turn) / np.polyval(under[::-1], turn)
    return np.asarray(np.fft.irfft(response)[:size])


def _high_shelf(rate_hz: int) -> tuple[list[float], list[float]]:
    """The head's shelf, +4 dB above 1.5 kHz: numerator and denominator in powers of 1/z."""
    amplitude, turn = 10 ** (4.0 / 40), 2 * math.pi * 1500.0 / rate_hz
    cosine, up, down = math.cos(turn), amplitude + 1, amplitude - 1
    slope = math.sqrt(amplitude) * math.sin(turn) * math.sqrt(2)
    over = [up + down * cosine + slope, -2 * (down + up * cosine), up + down * cosine - slope]
    under = [up - down * cosine + slope, 2 * (down - up * cosine), up - down * cosine - slope]
    return [amplitude * term for term in over], under


def _high_pass(rate_hz: int) -> tuple[list[float], list[float]]:
    """The second-order high pass at 38 Hz with quality 0.5, in powers of 1/z."""
    turn = 2 * math.pi * 38.0 / rate_hz
    cosine, alpha = math.cos(turn), math.sin(turn)
    over = [(1 + cosine) / 2, -(1 + cosine), (1 + cosine) / 2]
    return over, [1 + alpha, -2 * cosine, 1 - alpha]
