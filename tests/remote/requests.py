"""Requests that the recorded tiny checkpoint makes in a second, and what is in their videos."""

import io
import json

import numpy as np
import soundfile
from PIL import Image

from multitalk_cli import contract
from multitalk_cli.media.video.video import read_frames
from remote.weights.model import PackedModel
from remote.weights.pack import pack
from tests.engine import tiny
from tests.engine.published import write_published_checkpoint

WINDOW, MOTION, FPS = 13, 5, 25
RATE_HZ = contract.MODEL_RATE_HZ


def tiny_windows(count):
    """Windows of 13 frames that overlap by 5."""
    fresh = WINDOW - MOTION
    return tuple(contract.Window(start=n * fresh, frames=WINDOW) for n in range(count))


def voice(frames, seed=0):
    """A FLAC of syllables of noise, as long as the frames at 25 fps."""
    count = frames * RATE_HZ // FPS
    noise = np.random.default_rng(seed).normal(size=count) * 0.1
    syllables = 0.5 - 0.5 * np.cos(2 * np.pi * (4 + seed) * np.arange(count) / RATE_HZ)
    return flac((noise * syllables).astype(np.float32))


def flac(samples, rate_hz=RATE_HZ):
    """A FLAC file of [n] or [n, channels]."""
    stored = io.BytesIO()
    soundfile.write(stored, samples, rate_hz, format="FLAC", subtype="PCM_16")
    return stored.getvalue()


def png(width=48, height=32):
    """A smooth picture of many colours."""
    rows, columns = np.mgrid[0:height, 0:width]
    pixels = np.stack([rows * 255 // height, columns * 255 // width, 128 + 0 * rows], axis=-1)
    stored = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(stored, "PNG")
    return stored.getvalue()


def tiny_request(windows=2, **changes):
    """One person, two steps, and a video of 13 + 8 (windows - 1) - 2 frames."""
    frames = WINDOW + (WINDOW - MOTION) * (windows - 1) - 2
    values = {
        "job_id": "tinytiny",
        "image": png(),
        "width_px": 48,
        "height_px": 32,
        "speakers": (contract.Speaker(audio=voice(frames)),),
        "sound": voice(frames),
        "prompt": "A person talks",
        "negative_prompt": "blurred",
        "sample_steps": 2,
        "seed": 7,
        "text_guidance": 5.0,
        "audio_guidance": 4.0,
        "shift": 7.0,
        "fps": FPS,
        "frames": frames,
        "windows": tiny_windows(windows),
        "motion_frames": MOTION,
        "recipe": json.dumps({"multitalk": 1, "seed": 7}),
    }
    return contract.GenerateRequest(**values | changes)


def frames_of(video):
    """All frames, [n, h, w, 3]."""
    return np.stack(list(read_frames(video)))


def write_tiny_pack(golden_dir, folder):
    """Packs the tiny checkpoint in float32 from its published files, and gives the pack."""
    source = write_published_checkpoint(golden_dir, folder / "published")
    pack(source, folder / "pack", "fp32", tiny.tiny_model_config(golden_dir))
    return folder / "pack"


def open_model(pack, features=None):
    """The model of a pack on this machine's CPU."""
    return PackedModel(pack, "cpu", features)
