"""FLAC: the speech tracks of a request, and the sound of a video."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from multitalk_cli.contract import MAX_SPEECH_S, MODEL_RATE_HZ
from multitalk_cli.errors import FileError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from numpy.typing import NDArray


def speech_flac(samples: NDArray[np.float32], *, bits: int = 24) -> bytes:
    """A speech track of a request: 16 kHz mono FLAC.

    samples: [n]. FLAC ends at full scale: a louder track is scaled down to fit. The model sets the
    variance of every voice to one, so that the level makes no difference to it.
    """
    import numpy as np

    peak = np.float32(max(1.0, float(max(samples.max(), -samples.min()))))
    starts = range(0, len(samples), MODEL_RATE_HZ)
    blocks = (samples[start : start + MODEL_RATE_HZ] / peak for start in starts)
    return to_flac(blocks, MODEL_RATE_HZ, 1, bits)


def to_flac(blocks: Iterable[NDArray[np.float32]], rate_hz: int, channels: int, bits: int) -> bytes:
    """Sound as FLAC of 16 or 24 bits; lossless for samples that came from integers.

    blocks: [n, channels] or [n], full scale 1. Call it in a thread of its own where Ctrl-C matters:
    the library calls back, and an interrupt in there is lost.
    """
    import soundfile

    store = io.BytesIO()
    with soundfile.SoundFile(
        store, "w", rate_hz, channels, subtype=f"PCM_{bits}", format="FLAC"
    ) as file:
        for block in blocks:
            file.write(to_integers(block, bits))
    return store.getvalue()


def to_integers(block: NDArray[np.float32], bits: int) -> NDArray[np.int16] | NDArray[np.int32]:
    """Samples as the integers of a 16 or 24 bit FLAC; exact for those that came from one.

    libsndfile's own conversion scales by 32767 and would change every sample.
    """
    import numpy as np

    full = float(1 << (bits - 1))
    scaled = np.clip(np.rint(block.astype(np.float64) * full), -full, full - 1)
    if bits == 16:
        return scaled.astype(np.int16)
    # libsndfile takes the upper 24 of 32 bits.
    return scaled.astype(np.int32) << 8


def decode_speech(data: bytes) -> NDArray[np.float32]:
    """The samples of a request's speech track, [n] float32.

    Raises FileError (E_AUDIO_FORMAT, E_AUDIO_BROKEN) unless it is 16 kHz mono FLAC or WAV of a
    length that the contract allows.
    """
    import numpy as np
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            if (file.samplerate, file.channels) != (MODEL_RATE_HZ, 1):
                seen = f"{file.samplerate} Hz with {file.channels} channels"
                raise FileError(f"speech must be 16000 Hz mono, not {seen}", code="E_AUDIO_FORMAT")
            if not 0 < file.frames <= MAX_SPEECH_S * MODEL_RATE_HZ:
                raise FileError(f"speech of {file.frames} samples", code="E_AUDIO_LENGTH")
            samples: NDArray[np.float32] = file.read(dtype="float32")
            is_complete = len(samples) == file.frames
    except soundfile.LibsndfileError as error:
        raise FileError(
            f"speech cannot be decoded: {error.error_string}", code="E_AUDIO_BROKEN"
        ) from error
    if not is_complete or not np.isfinite(samples).all():
        raise FileError("speech is damaged", code="E_AUDIO_BROKEN")
    return samples
