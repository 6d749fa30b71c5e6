"""Requests for previews, and what can be measured on the finished videos, without their maker."""

import io
import itertools
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from multitalk_cli import contract
from multitalk_cli.generation.backends import preview
from multitalk_cli.media.audio.voice import load_voice
from multitalk_cli.media.faces.detect import LOWER_LIP_OUTER, UPPER_LIP_OUTER, find_faces
from multitalk_cli.media.image.frame import frame_picture, to_png
from multitalk_cli.media.video.video import read_frames
from tests.media.audio.sounds import converted
from tests.media.image.pictures import to_picture

EXAMPLES = Path(contract.__file__).parents[1] / "examples"
PORTRAIT, VOICE = EXAMPLES / "portrait.png", EXAMPLES / "voice.wav"
RANGE_DB = 40  # quieter than this below the loud parts is a pause


def speech(path: Path = VOICE, *, seconds: float | None = None):
    """A recording as the model hears it, [n] float32 at 16 kHz."""
    samples = load_voice(path).speech
    return samples if seconds is None else samples[: round(seconds * 16_000)]


def other_speech():
    """A second voice with its own rhythm: the example's sentence from its end to its beginning."""
    return speech()[::-1].copy()


def in_turn(first, second):
    """Two tracks of one length, the second voice after the first."""
    return [np.pad(first, (0, len(second))), np.pad(second, (len(first), 0))]


def framed(image: Image.Image, width: int = 896, height: int = 448):
    """The picture as it would be sent, [H, W, 3]."""
    picture = to_picture(image)
    return frame_picture(picture, width, height, "cover", find_faces(picture.pixels)).pixels


def flac(samples) -> bytes:
    """A FLAC file of [n] or [n, channels] at 16 kHz."""
    stored = io.BytesIO()
    soundfile.write(stored, samples, 16_000, format="FLAC", subtype="PCM_24")
    return stored.getvalue()


def make_request(pixels, tracks, *, boxes=None, fps: int = 24, silent: int = 0):
    """A request whose sound track has one channel for each voice.

    tracks: [n] float32 each. silent: people who say nothing, after those who speak.
    """
    samples = max(len(track) for track in tracks)
    even = [np.pad(track, (0, samples - len(track))) for track in tracks]
    boxes = boxes if boxes is not None else [None] * (len(tracks) + silent)
    voices = [flac(track) for track in even] + [None] * silent
    frames = contract.frames_from_samples(samples, 16_000, fps)
    return contract.GenerateRequest(
        job_id="preview0",
        image=to_png(pixels),
        width_px=pixels.shape[1],
        height_px=pixels.shape[0],
        speakers=tuple(
            contract.Speaker(audio=audio, box=box) for audio, box in zip(voices, boxes, strict=True)
        ),
        sound=flac(np.stack(even, 1)),
        prompt="A person talks",
        negative_prompt="",
        sample_steps=20,
        seed=0,
        text_guidance=5.0,
        audio_guidance=4.0,
        shift=7.0,
        fps=fps,
        frames=frames,
        windows=_windows(frames),
        motion_frames=25,
        recipe='{"seed": 0}',
    )


def planned_faces(request):
    """The face of each speaker, for requests whose people stand from left to right."""
    with Image.open(io.BytesIO(request.image)) as image:
        faces = find_faces(np.asarray(image.convert("RGB")))
    boxes = [speaker.box for speaker in request.speakers]
    if any(boxes):
        inside = [
            [f for f in faces if box.x0 < f.center[0] / request.width_px < box.x1] for box in boxes
        ]
        return [found[0] if found else None for found in inside]
    return [*faces[: len(boxes)], *[None] * (len(boxes) - len(faces))]


def draw(request, target: Path, **options):
    """The events of a preview of these people."""
    return preview.run(request, planned_faces(request), target, **options)


def _windows(frames: int):
    windows = [contract.Window(start=0, frames=min(81, contract.clip_frames(frames)))]
    while windows[-1].end < frames:
        windows.append(contract.Window(start=windows[-1].end - 25, frames=81))
    return tuple(windows)


def sound_levels(video: Path, frames: int, fps: int):
    """Level of each channel of an MP4's sound in each frame, dB, [frames, channels].

    What is RANGE_DB or more below a channel's loud parts counts as a pause.
    """
    samples, rate = soundfile.read(
        converted(video, video.with_suffix(".decoded.wav"), "-c:a", "pcm_f32le"), always_2d=True
    )
    edges = [round(n * rate / fps) for n in range(frames + 1)]
    power = [np.mean(samples[a:b] ** 2, axis=0) for a, b in itertools.pairwise(edges)]
    levels = 10 * np.log10(np.maximum(power, 1e-12))
    return np.maximum(levels, np.percentile(levels, 97, axis=0) - RANGE_DB)


def mouth_motion(video: Path, pixels, quiet: int):
    """How much the pixels around each face's lips differ from frame `quiet`, [frames, faces].

    pixels: the picture that was sent; it lies somewhere in each frame.
    """
    lips = [_lips_box(face, pixels.shape) for face in find_faces(pixels)]
    top = None
    seen = []
    for frame in read_frames(video):
        top = top_of(pixels, frame) if top is None else top
        seen.append([frame[top + y0 : top + y1, x0:x1].astype(np.int16) for x0, y0, x1, y1 in lips])
    shut = seen[quiet]
    return np.array([[np.abs(a - b).mean() for a, b in zip(s, shut, strict=True)] for s in seen])


def _lips_box(face, shape):
    points = face.mesh[[*UPPER_LIP_OUTER, *LOWER_LIP_OUTER]]
    (x0, y0), (x1, y1) = points.min(0), points.max(0)
    grow = 0.08 * face.height_px
    box = np.round([x0, y0 - grow, x1, y1 + 2 * grow]).astype(int)
    return np.clip(box, 0, [shape[1], shape[0], shape[1], shape[0]])


def top_of(pixels, frame) -> int:
    """The row of the frame in which the picture begins."""
    room = frame.shape[0] - pixels.shape[0]
    height = pixels.shape[0]
    errors = [
        np.abs(frame[y : y + height : 8, ::8].astype(float) - pixels[::8, ::8]).mean()
        for y in range(room + 1)
    ]
    return int(np.argmin(errors))


def correlation(first, second) -> float:
    """Pearson's, of two curves."""
    return float(np.corrcoef(first, second)[0, 1])
