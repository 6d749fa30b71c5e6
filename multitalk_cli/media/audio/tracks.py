"""Voices on one clock: the speech track of each speaker, and the sound of the video."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from multitalk_cli.contract import MAX_SPEECH_S, MODEL_RATE_HZ, samples_from_frames
from multitalk_cli.errors import FileError
from multitalk_cli.files import write_atomically
from multitalk_cli.media.audio.decode import open_sound
from multitalk_cli.media.audio.flac import to_flac
from multitalk_cli.media.audio.loudness import TARGET_LUFS, leveled
from multitalk_cli.media.audio.voice import Voice

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Order = Literal["sequence", "together"]

# The rates that AAC has; every player reads these.
_AAC_RATES_HZ = (
    7_350, 8_000, 11_025, 12_000, 16_000, 22_050, 24_000,
    32_000, 44_100, 48_000, 64_000, 88_200, 96_000,
)  # fmt: skip
_BLOCK_SAMPLES = 32_768


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tracks:
    """The speech tracks of a request, in the order of the voices.

    speech: each [samples] float32, 16 kHz, all equally long, silent while others speak.
    starts_s, ends_s: of each voice.
    """

    speech: tuple[NDArray[np.float32], ...]
    starts_s: tuple[float, ...]
    ends_s: tuple[float, ...]
    samples: int

    @property
    def duration_s(self) -> float:
        """Duration of the speech of all."""
        return self.samples / MODEL_RATE_HZ


def arrange(
    voices: Sequence[Voice], order: Order, *, target_lufs: float | None = TARGET_LUFS
) -> Tracks:
    """Puts the voices one after the other, or all at the start.

    target_lufs: the loudness of each speech track; None leaves them unchanged. The model scales
    every voice to the same variance, so its lips do not depend on it.
    Raises FileError (E_AUDIO_LENGTH) if they last longer together than a video can.
    """
    lengths = [len(voice.speech) for voice in voices]
    in_turn = order == "sequence"
    total = sum(lengths) if in_turn else max(lengths)
    if total > MAX_SPEECH_S * MODEL_RATE_HZ:
        raise FileError(
            f"the voices last {total / MODEL_RATE_HZ:.0f} s together; "
            f"a video lasts at most {MAX_SPEECH_S / 60:.0f} minutes",
            code="E_AUDIO_LENGTH",
        )
    ends = list(itertools.accumulate(lengths)) if in_turn else lengths
    starts = [end - length for end, length in zip(ends, lengths, strict=True)]
    return Tracks(
        speech=tuple(
            _padded(_leveled(voice, target_lufs), start, total)
            for voice, start in zip(voices, starts, strict=True)
        ),
        starts_s=tuple(start / MODEL_RATE_HZ for start in starts),
        ends_s=tuple(end / MODEL_RATE_HZ for end in ends),
        samples=total,
    )


def _leveled(voice: Voice, target_lufs: float | None) -> NDArray[np.float32]:
    if target_lufs is None:
        return voice.speech
    speech, _ = leveled(voice.speech, voice.loudness_lufs, target_lufs)
    return speech


def _padded(speech: NDArray[np.float32], start: int, total: int) -> NDArray[np.float32]:
    import numpy as np

    if len(speech) == total:
        return speech
    track = np.zeros(total, dtype=np.float32)
    track[start : start + len(speech)] = speech
    return track


def sound_rate_hz(rate_hz: int) -> int:
    """The sound track's rate for a recording: its own where AAC has it, else the next higher."""
    return next((rate for rate in _AAC_RATES_HZ if rate >= rate_hz), _AAC_RATES_HZ[-1])


def write_sound_track(
    voices: Sequence[Voice], order: Order, target: Path, frames: int, fps: int
) -> tuple[str, ...]:
    """Writes `sound_track` to a file and returns its notes. Raises FileError for a full disk."""
    sound, adjusted = sound_track(voices, order, frames, fps)
    write_atomically(target, sound)
    return adjusted


def sound_track(
    voices: Sequence[Voice],
    order: Order,
    frames: int,
    fps: int,
    *,
    level_lufs: float | None = None,
) -> tuple[bytes, tuple[str, ...]]:
    """The video's sound as FLAC, as long as its frames, with notes of adjustments.

    level_lufs: the loudness of each voice that can be measured; None leaves them as they are. One
    voice: exactly the user's samples and channels. Two: the higher rate and the larger number
    of channels, in turn or summed. Silence fills the rest of the last frame.
    Raises FileError if a voice has changed or can no longer be read.
    """
    mix = _Mix(voices, order, level_lufs)
    total = samples_from_frames(frames, mix.rate_hz, fps)
    adjusted = [*mix.adjusted]
    gain = 1.0
    if mix.may_exceed:
        peak = max((_peak(block) for block in mix.blocks()), default=0.0)
        if peak > 1:
            gain = 1 / peak
            adjusted.append(f"the sound track is {peak:.2f} times full scale: reduced to fit")
    blocks = _louder(_fitted(mix.blocks(), total), gain)
    return to_flac(blocks, mix.rate_hz, mix.channels, mix.bits), tuple(adjusted)


def _gain_db(voice: Voice, level_lufs: float | None) -> float:
    """The gain that brings a voice to a loudness; 0 where none is wanted or can be measured."""
    if level_lufs is None or voice.loudness_lufs is None:
        return 0.0
    return level_lufs - voice.loudness_lufs


def _peak(block: NDArray[np.float32]) -> float:
    return float(max(block.max(), -block.min()))


def _louder(blocks: Iterator[NDArray[np.float32]], gain: float) -> Iterator[NDArray[np.float32]]:
    import numpy as np

    return blocks if gain == 1 else (block * np.float32(gain) for block in blocks)


class _Mix:
    """The sound of all voices at one rate, with one number of channels; can be read repeatedly."""

    def __init__(
        self, voices: Sequence[Voice], order: Order, level_lufs: float | None = None
    ) -> None:
        self._voices, self._order = voices, order
        self._gains_db = [_gain_db(voice, level_lufs) for voice in voices]
        highest_hz = max(voice.rate_hz for voice in voices)
        self.rate_hz = sound_rate_hz(highest_hz)
        self.channels = max(voice.channels for voice in voices)
        self.bits = max(voice.bits for voice in voices)
        resampled = any(voice.rate_hz != self.rate_hz for voice in voices)
        is_leveled = any(self._gains_db)
        if resampled or is_leveled:
            self.bits = 24
        summed = order == "together" and len(voices) > 1
        is_loud = any(voice.peak_dbfs > 0 for voice in voices)
        self.may_exceed = resampled or summed or is_leveled or is_loud
        self.adjusted: tuple[str, ...] = tuple(
            f"sound of {voice.path.name}: {voice.loudness_lufs:.1f} to {level_lufs:.1f} LUFS"
            for voice, gain_db in zip(voices, self._gains_db, strict=True)
            if gain_db
        )
        if highest_hz != self.rate_hz:
            self.adjusted += (
                f"sound track: {highest_hz} to {self.rate_hz} Hz, a rate that AAC has",
            )

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Blocks [n, channels]."""
        each = [
            _louder(self._spread(voice), 10 ** (gain_db / 20))
            for voice, gain_db in zip(self._voices, self._gains_db, strict=True)
        ]
        if self._order == "sequence":
            return itertools.chain.from_iterable(each)
        return _summed([_rechunked(blocks) for blocks in each])

    def _spread(self, voice: Voice) -> Iterator[NDArray[np.float32]]:
        """One voice at the common rate and channels; a single channel goes to both sides."""
        import numpy as np

        for block in _resampled(voice, self.rate_hz):
            if voice.channels == self.channels:
                yield block
                continue
            wide = np.zeros((len(block), self.channels), dtype=np.float32)
            wide[:, : max(2, voice.channels)] = block
            yield wide


def _resampled(voice: Voice, rate_hz: int) -> Iterator[NDArray[np.float32]]:
    import numpy as np
    import soxr

    with open_sound(voice.source) as sound:
        if (sound.rate_hz, sound.channels) != (voice.rate_hz, voice.channels):
            raise FileError(
                f"{voice.path.name} has changed since it was read", code="E_AUDIO_BROKEN"
            )
        blocks = _part(sound.blocks(), voice.first, voice.samples)
        if sound.rate_hz == rate_hz:
            yield from blocks
            return
        stream = soxr.ResampleStream(
            sound.rate_hz, rate_hz, sound.channels, dtype="float32", quality="VHQ"
        )
        for block in blocks:
            yield stream.resample_chunk(block)
        yield stream.resample_chunk(np.zeros((0, sound.channels), np.float32), last=True)


def _part(
    blocks: Iterator[NDArray[np.float32]], first: int, samples: int
) -> Iterator[NDArray[np.float32]]:
    """The samples from `first` on; all that follow are read, so that damage is found."""
    for block in blocks:
        part = block[first : first + samples]
        first, samples = max(0, first - len(block)), samples - len(part)
        if len(part):
            yield part


def _rechunked(blocks: Iterator[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    """The same samples in blocks of one size, the last one shorter."""
    import numpy as np

    pending: list[NDArray[np.float32]] = []
    count = 0
    for block in blocks:
        pending.append(block)
        count += len(block)
        if count < _BLOCK_SAMPLES:
            continue
        joined = np.concatenate(pending)
        whole = count - count % _BLOCK_SAMPLES
        for start in range(0, whole, _BLOCK_SAMPLES):
            yield joined[start : start + _BLOCK_SAMPLES]
        pending, count = [joined[whole:]], count - whole
    if count:
        yield np.concatenate(pending)


def _summed(each: Sequence[Iterator[NDArray[np.float32]]]) -> Iterator[NDArray[np.float32]]:
    import numpy as np

    for blocks in itertools.zip_longest(*each):
        present = [block for block in blocks if block is not None]
        total = np.zeros((max(len(block) for block in present), present[0].shape[1]), np.float32)
        for block in present:
            total[: len(block)] += block
        yield total


def _fitted(blocks: Iterator[NDArray[np.float32]], total: int) -> Iterator[NDArray[np.float32]]:
    """The blocks, cut or filled with silence to `total` samples."""
    import numpy as np

    left, channels = total, 1
    for block in blocks:
        channels = block.shape[1]
        if left == 0:
            return
        yield block[:left]
        left -= min(left, len(block))
    while left:
        count = min(left, _BLOCK_SAMPLES)
        yield np.zeros((count, channels), np.float32)
        left -= count
