"""Names of requests, by which finished work is found again instead of being paid for twice.

The container uses it too.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import asdict
from functools import lru_cache, partial
from typing import Any

from multitalk_cli import contract
from multitalk_cli.planning.windows import plan_windows

_UNSEEN = ("job_id", "contract", "client", "recipe")
_FIRST_WINDOW_FRAMES, _FIRST_MOTION_FRAMES = 81, 25
_PNG_SIGNATURE = b"\x89PNG"
_BLOCK_SAMPLES = 65_536

ADDED_DEFAULTS: dict[str, Any] = {
    "audio_track": None,
    "trim_silence": False,
    "rotate": "0",
    "sound_level": None,
    "attention": "auto",
    "tier": "exact",
    "lora": "",
    "text_gate": 1.0,
    "loras": [],
    "times": [],
    "text_steps": None,
    contract.FIRST_WINDOW: False,
}
"""Keys of recipes and fields of requests that came after the first release, with their defaults.

The default is the value that makes the video as it was made before the key existed. A recipe
without the key counts as one with its default, and a request at the default has the fingerprint of
one without the field. So every added option needs a line here, and finished work stays finished.
"""


def fingerprints(request: contract.GenerateRequest) -> tuple[str, str]:
    """Names of the inputs as prepared and the options as given: of their content, of their bytes.

    New jobs are recorded under the first. The second covers the encoded picture and sounds, which
    differ with the version of Pillow, zlib or libFLAC; version 0.1.0 recorded jobs under it.
    A drawn seed does not count, nor do the windows: the first release's are used instead.
    """
    recipe = json.loads(request.recipe)
    unseen = {*_UNSEEN, "seed"} if recipe.get("seed_drawn") else set(_UNSEEN)
    windows = plan_windows(
        request.frames, window_frames=_FIRST_WINDOW_FRAMES, motion_frames=_FIRST_MOTION_FRAMES
    )
    planned = {
        "windows": [asdict(window) for window in windows],
        "motion_frames": _FIRST_MOTION_FRAMES,
    }
    wire = {name: item for name, item in contract.to_wire(request).items() if name not in unseen}
    return digests_of(request, wire | planned)


def digests_of(request: contract.GenerateRequest, fields: object) -> tuple[str, str]:
    """Digests of a request's fields: with pictures and sounds by content, and by their bytes.

    Options at defaults that were added later count as absent.
    """
    seen = _without_added_defaults(fields)
    size_px = (request.width_px, request.height_px)
    by_content, by_bytes = (
        _sha256(json.dumps(seen, sort_keys=True, default=name_of).encode())
        for name_of in (partial(content_digest, size_px=size_px), _sha256)
    )
    return by_content, by_bytes


def is_added_default(name: str, value: object) -> bool:
    """Whether an entry means the same as its absence; see `ADDED_DEFAULTS`."""
    return name in ADDED_DEFAULTS and value == ADDED_DEFAULTS[name]


def _without_added_defaults(wire: Any) -> Any:
    if isinstance(wire, list):
        return [_without_added_defaults(item) for item in wire]
    if not isinstance(wire, dict):
        return wire
    return {
        name: _without_added_defaults(item)
        for name, item in wire.items()
        if not is_added_default(name, item)
    }


# Content


@lru_cache(maxsize=8)
def content_digest(data: bytes, *, size_px: tuple[int, int]) -> str:
    """The digest of a picture's pixels or a sound's samples; kept, since decoding takes time.

    That of the bytes where they cannot be decoded: making the video reports it.
    """
    is_picture = data.startswith(_PNG_SIGNATURE)
    return _pixels_digest(data, size_px) if is_picture else _samples_digest(data)


def _pixels_digest(png: bytes, size_px: tuple[int, int]) -> str:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
            # Before decoding: a small file may claim a huge picture.
            if image.size != size_px:
                return _sha256(png)
            return _sha256(b"RGB %dx%d\n" % size_px + image.convert("RGB").tobytes())
    except (OSError, SyntaxError, Image.DecompressionBombError):
        return _sha256(png)


def _samples_digest(sound: bytes) -> str:
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(sound)) as file:
            shape = f"sound {file.samplerate} Hz {file.channels} {file.frames}\n"
            digest = hashlib.sha256(shape.encode())
            # Integers of 16 or 24 bits fill the upper bits of 32.
            for block in file.blocks(_BLOCK_SAMPLES, dtype="int32", always_2d=True):
                digest.update(block.astype("<i4", copy=False).tobytes())
    except soundfile.LibsndfileError:
        return _sha256(sound)
    return digest.hexdigest()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
