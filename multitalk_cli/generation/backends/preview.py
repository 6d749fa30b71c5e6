"""The preview: a moving sketch made on this machine, without the model.

It shows the picture framed as the real video will be, who speaks when, and how long it lasts. Each
speaker's mouth opens and shuts with that speaker's voice; nothing else of the picture moves.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from multitalk_cli import contract
from multitalk_cli.media.audio.envelope import mouth_openings, voice_levels
from multitalk_cli.media.drawing.mouth import Mouth
from multitalk_cli.media.drawing.strip import VOICE_COLORS, Meter, Strip, StripVoice
from multitalk_cli.media.faces.candidates import BoxPx
from multitalk_cli.media.faces.detect import RELIABLE_MESH, Face
from multitalk_cli.media.video.video import VideoWriter, join_segments

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from multitalk_cli.generation.backends.base import Events
    from multitalk_cli.media.audio.envelope import Curve

NAME = "preview"
MARK = "Preview drawn by multitalk without the model: framing, timing and who speaks only"
_REPORTS = 100  # progress events of the drawing, at most


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _DrawnPerson:
    """A speaker with a voice: the drawing that moves with it, and its row in the strip."""

    mover: Mouth | Meter
    openings: Curve
    strip: StripVoice


def run(
    request: contract.GenerateRequest,
    faces: Sequence[Face | None],
    target: Path,
    *,
    overwrite: bool = False,
) -> Events:
    """Writes the preview at `target`, and yields events; `Done` comes last.

    faces: of each speaker of the request, as it was planned, in pixels of the request's picture.
    Raises FileError where the video cannot be written. Closing the iterator removes partial files.
    """
    picture = _picture(request)
    people = _people(request, picture, faces)
    strip = Strip(
        [person.strip for person in people],
        width=request.width_px,
        height=request.height_px,
        frames=request.frames,
        fps=request.fps,
    )
    with TemporaryDirectory(prefix="multitalk-preview-") as folder:
        segment = Path(folder) / "frames.mp4"
        yield from _draw(request, picture, people, strip, segment)
        yield contract.Stage(name="joining")
        recipe = _join(request, segment, target, overwrite=overwrite)
    yield contract.Done(
        result=contract.Result(
            job_id=request.job_id,
            backend=NAME,
            model_output=False,
            frames=request.frames,
            fps=request.fps,
            width_px=request.width_px,
            height_px=strip.height,
            size_bytes=target.stat().st_size,
            seed=request.seed,
            recipe=recipe,
            warnings=_warnings(request.speakers, faces),
        )
    )


def _picture(request: contract.GenerateRequest) -> NDArray[np.uint8]:
    import numpy as np
    from PIL import Image

    with Image.open(io.BytesIO(request.image), formats=["PNG"]) as image:
        pixels = np.asarray(image.convert("RGB"))
    expected = (request.height_px, request.width_px, 3)
    if pixels.shape != expected:
        raise ValueError(f"the request's picture is {pixels.shape}, not {expected}")
    return pixels


def _place(speaker: contract.Speaker, number: int, count: int, width: int, height: int) -> BoxPx:
    """A speaker's area in pixels: the box, else a half of the picture, else all of it."""
    box = speaker.box
    if box is not None:
        return box.x0 * width, box.y0 * height, box.x1 * width, box.y1 * height
    return number * width / count, 0.0, (number + 1) * width / count, float(height)


def _people(
    request: contract.GenerateRequest, picture: NDArray[np.uint8], faces: Sequence[Face | None]
) -> list[_DrawnPerson]:
    people: list[_DrawnPerson] = []
    count = len(request.speakers)
    for n, (speaker, face) in enumerate(zip(request.speakers, faces, strict=True)):
        if speaker.audio is None:
            continue
        color = VOICE_COLORS[len(people)]
        box = _place(speaker, n, count, request.width_px, request.height_px)
        levels = voice_levels(speaker.audio, request.frames, request.fps)
        openings = mouth_openings(levels)
        name = f"voice {len(people) + 1}"
        if face is not None and face.mesh_score < RELIABLE_MESH:
            name += "?"
        strip = StripVoice(
            name=name,
            anchor_px=face.center[0] if face is not None else (box[0] + box[2]) / 2,
            color=color,
            levels=levels,
            openings=openings,
        )
        mover = Mouth(picture, face) if face is not None else Meter(picture, box, color)
        people.append(_DrawnPerson(mover=mover, openings=openings, strip=strip))
    return people


def _warnings(
    speakers: Sequence[contract.Speaker], faces: Sequence[Face | None]
) -> tuple[str, ...]:
    """A warning for each voice whose face is missing or unreliable, with the remedy."""
    warnings = []
    of_voices = [
        face for speaker, face in zip(speakers, faces, strict=True) if speaker.audio is not None
    ]
    for number, face in enumerate(of_voices, 1):
        if face is None:
            warnings.append(
                f"voice {number} has no face at its position: a meter is drawn instead; name the "
                "position with --speaker box:x0%,y0%,x1%,y1%=VOICE"
            )
        elif face.mesh_score < RELIABLE_MESH:
            warnings.append(f"the mouth of voice {number} is a guess: marked with a ? in the video")
    return tuple(warnings)


def _draw(
    request: contract.GenerateRequest,
    picture: NDArray[np.uint8],
    people: Sequence[_DrawnPerson],
    strip: Strip,
    segment: Path,
) -> Iterator[contract.Event]:
    """Draws and encodes frame after frame; only one is ever held."""
    frame = strip.frame(picture)
    view = frame[strip.picture]
    every = -(-request.frames // _REPORTS)
    size = {"width": request.width_px, "height": strip.height}
    with VideoWriter(segment, **size, fps=request.fps, crf=20, preset="veryfast") as writer:
        for number in range(request.frames):
            if number % every == 0:
                yield contract.Stage(name="drawing", done=number, total=request.frames)
            for person in people:
                person.mover.draw_on(view, float(person.openings[number]))
            strip.draw_on(frame, number)
            writer.write(frame)
    yield contract.Stage(name="drawing", done=request.frames, total=request.frames)


def _join(
    request: contract.GenerateRequest, segment: Path, target: Path, *, overwrite: bool
) -> str:
    """Writes the video; returns its recipe."""
    sound = None
    if request.sound is not None:
        sound = segment.with_name("sound.flac")
        sound.write_bytes(request.sound)
    return join_segments(
        [segment],
        sound,
        target,
        frames=request.frames,
        fps=request.fps,
        recipe=request.recipe,
        mark=MARK,
        overwrite=overwrite,
    )
