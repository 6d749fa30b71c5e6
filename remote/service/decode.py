"""A request from the wire, decoded and checked for the engine."""

import io
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from multitalk_cli import contract
from multitalk_cli.errors import FileError
from multitalk_cli.media.audio.flac import decode_speech
from remote.engine.request import ClipWindow, LoraUse, RenderRequest
from remote.engine.sampling.guidance import Guidance
from remote.engine.sampling.masks import PixelBox, box_masks, half_masks

Tokenize = Callable[[str], tuple[int, ...]]


def decode_request(request: contract.GenerateRequest, tokenize: Tokenize) -> RenderRequest:
    """The engine's request.

    Raises FileError for an unusable picture or sound, PlacesError for boxes that do not separate
    the speakers.
    """
    picture = torch.from_numpy(decode_picture(request).copy()).permute(2, 0, 1)
    _check_sound(request)
    return RenderRequest(
        picture=picture,
        height_px=request.height_px,
        width_px=request.width_px,
        voices=tuple(_voice(speaker, request) for speaker in request.speakers),
        boxes=_boxes(request),
        prompt_ids=tokenize(request.prompt),
        negative_ids=tokenize(request.negative_prompt),
        fps=request.fps,
        frames=request.frames,
        windows=tuple(ClipWindow(start=each.start, frames=each.frames) for each in request.windows),
        motion_frames=request.motion_frames,
        steps=request.sample_steps,
        shift=request.shift,
        times=request.times,
        guidance=Guidance(
            text_scale=request.text_guidance,
            audio_scale=request.audio_guidance,
            text_steps=request.text_steps,
        ),
        seed=request.seed,
        attention=request.attention,
        tier=request.tier,
        loras=tuple(LoraUse(one.name, one.strength) for one in request.loras),
    )


def decode_picture(request: contract.GenerateRequest) -> NDArray[np.uint8]:
    """The picture, [H, W, 3] uint8, of exactly the size in the request."""
    from PIL import Image, UnidentifiedImageError

    wanted = (request.width_px, request.height_px)
    try:
        with Image.open(io.BytesIO(request.image), formats=["PNG"]) as image:
            # Before decoding: a small file may claim a huge picture.
            if image.size != wanted:
                seen = f"{image.width}x{image.height}"
                message = f"the request's picture is {seen}, not {wanted[0]}x{wanted[1]}"
                raise FileError(message, code="E_IMAGE_SIZE")
            return np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError) as error:
        message = f"the request's picture is not a usable PNG: {error}"
        raise FileError(message, code="E_IMAGE_BROKEN") from error


def _check_sound(request: contract.GenerateRequest) -> None:
    """Checks the sound track now: the joining would fail after all frames were paid for."""
    import soundfile

    if request.sound is None:
        return
    try:
        with soundfile.SoundFile(io.BytesIO(request.sound)) as file:
            kind, samples = file.format, file.frames
    except soundfile.LibsndfileError as error:
        message = f"the request's sound track cannot be read: {error.error_string}"
        raise FileError(message, code="E_AUDIO_BROKEN") from error
    if kind != "FLAC" or samples < 1:
        message = f"the request's sound track is {samples} samples of {kind}, not FLAC"
        raise FileError(message, code="E_AUDIO_FORMAT")


def _voice(speaker: contract.Speaker, request: contract.GenerateRequest) -> Tensor | None:
    if speaker.audio is None:
        return None
    samples = decode_speech(speaker.audio)
    rate, fps = contract.MODEL_RATE_HZ, request.fps
    frames = contract.frames_from_samples(len(samples), rate, fps)
    if frames > request.frames:
        message = f"a voice lasts {frames} frames, the video {request.frames}"
        raise FileError(message, code="E_AUDIO_LENGTH")
    return torch.from_numpy(samples)


def _boxes(request: contract.GenerateRequest) -> tuple[PixelBox, ...] | None:
    """Each person's place in pixels; one without a box among others gets a half."""
    speakers = request.speakers
    if len(speakers) == 1 or all(speaker.box is None for speaker in speakers):
        return None
    boxes = tuple(_place(speaker.box, number, request) for number, speaker in enumerate(speakers))
    box_masks(request.height_px, request.width_px, boxes)  # refuses now, before weights are read
    return boxes


def _place(box: contract.Box | None, number: int, request: contract.GenerateRequest) -> PixelBox:
    height, width = request.height_px, request.width_px
    if box is not None:
        return PixelBox(
            top=box.y0 * height, left=box.x0 * width, bottom=box.y1 * height, right=box.x1 * width
        )
    rows, columns = half_masks(height, width)[number].nonzero().unbind(1)
    return PixelBox(
        top=float(rows.min()),
        left=float(columns.min()),
        bottom=float(rows.max() + 1),
        right=float(columns.max() + 1),
    )
