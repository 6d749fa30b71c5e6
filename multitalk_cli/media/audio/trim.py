"""Silence before and after the speech: found, and left out on demand."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from multitalk_cli.contract import MODEL_RATE_HZ
from multitalk_cli.files import shown_path
from multitalk_cli.media.audio.loudness import measure_lufs
from multitalk_cli.reporting.formatting import human_length

if TYPE_CHECKING:
    from multitalk_cli.media.audio.tracks import Order
    from multitalk_cli.media.audio.voice import Voice

# Less is a natural pause.
_LONG_S = 3.0


def silence_warnings(voices: Sequence[Voice], order: Order) -> Iterator[str]:
    """A sentence for each voice with much silence around its speech."""
    for voice, (start_s, end_s) in zip(voices, _spans_s(voices, order), strict=True):
        after_s = voice.duration_s - end_s
        if start_s + after_s >= _LONG_S:
            yield (
                f"{_described(start_s, after_s)} of {shown_path(voice.path)} become "
                "video too; --trim-silence leaves them out"
            )


def trim_silence(voices: Sequence[Voice], order: Order) -> tuple[Voice, ...]:
    """The voices without the silence before and after their speech.

    Voices that speak together keep their places: what is silent in all of them goes.
    """
    # A cut must lie on a sample of every speech and recording, or they would drift apart.
    step = math.lcm(*(MODEL_RATE_HZ // math.gcd(MODEL_RATE_HZ, voice.rate_hz) for voice in voices))
    spans = _spans_s(voices, order)
    return tuple(_trimmed(voice, *span, step) for voice, span in zip(voices, spans, strict=True))


def _described(before_s: float, after_s: float) -> str:
    if after_s < 0.05:
        return f"{human_length(before_s)} of silence before the speech"
    if before_s < 0.05:
        return f"{human_length(after_s)} of silence after the speech"
    return (
        f"{human_length(before_s)} of silence before and {human_length(after_s)} after the speech"
    )


def _spans_s(voices: Sequence[Voice], order: Order) -> list[tuple[float, float]]:
    """From when to when each voice is needed."""
    spans = [
        (0.0, voice.duration_s) if voice.speaks_s is None else voice.speaks_s for voice in voices
    ]
    if order == "sequence":
        return spans
    start_s, end_s = min(start for start, _ in spans), max(end for _, end in spans)
    return [(min(start_s, voice.duration_s), min(end_s, voice.duration_s)) for voice in voices]


def _trimmed(voice: Voice, start_s: float, end_s: float, step: int) -> Voice:
    start = int(start_s * MODEL_RATE_HZ) // step * step
    end = math.ceil(end_s * MODEL_RATE_HZ / step) * step
    first = start * voice.rate_hz // MODEL_RATE_HZ
    last = min(voice.samples, end * voice.rate_hz // MODEL_RATE_HZ)
    before_s, after_s = first / voice.rate_hz, (voice.samples - last) / voice.rate_hz
    if before_s + after_s < 0.05:
        return voice
    speech = voice.speech[start:end]
    cut = f"{_described(before_s, after_s)} cut from {shown_path(voice.path)}"
    return replace(
        voice,
        first=voice.first + first,
        samples=last - first,
        speech=speech,
        loudness_lufs=measure_lufs(speech, MODEL_RATE_HZ),
        speaks_s=None,
        adjusted=(*voice.adjusted, cut),
    )
