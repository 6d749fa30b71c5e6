"""From a preparation to its recipe and its request.

The container uses it too.
"""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from multitalk_cli import __version__, contract

if TYPE_CHECKING:
    from collections.abc import Mapping

    from multitalk_cli.planning.inputs import GenerateOptions
    from multitalk_cli.planning.prepare import Preparation
    from multitalk_cli.planning.summary import Summary

RECIPE_FORMAT = 1
RECORDED_OPTIONS = (
    "fit", "background", "loudness", "sample_steps", "text_guidance", "audio_guidance",
    "audio_track", "trim_silence", "rotate", "sound_level", "attention", "tier", "lora",
    "text_gate",
)  # fmt: skip


def make_recipe(
    summary: Summary, options: GenerateOptions, backend: str, *, model_output: bool
) -> dict[str, Any]:
    """Everything that decides the video, without paths, names or hosts; the prompt on demand."""
    plan = summary.plan
    recipe: dict[str, Any] = {
        "multitalk": RECIPE_FORMAT,
        "client": __version__,
        "ai_generated": True,
        "backend": backend,
        "model_output": model_output,
        "image_sha256": summary.picture.sha256,
        "voices_sha256": [voice.sha256 for voice in summary.voices],
        "speakers": [person.place for person in summary.people],
        "order": options.order,
        "size": [plan.width_px, plan.height_px],
        "fps": plan.fps,
        "frames": plan.frames,
        "windows": [window.frames for window in plan.windows],
        "motion_frames": plan.motion_frames,
        "shift": summary.shift,
        "seed": options.seed,
        "seed_drawn": options.seed_drawn,
        "prompt_sha256": _sha256(options.prompt),
        "negative_prompt_sha256": _sha256(options.negative_prompt),
    }
    recipe |= {name: getattr(options, name) for name in RECORDED_OPTIONS}
    if options.denoising.times:
        recipe["times"] = list(options.denoising.times)
    if options.embed_prompt:
        recipe["prompt"] = options.prompt
    return recipe


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EncodedMedia:
    """A request's picture, sound track and speech of each voice, being encoded."""

    image: Future[bytes]
    sound: Future[tuple[bytes, tuple[str, ...]]]
    speech: tuple[Future[bytes], ...]


def begin_encoding(prepared: Preparation) -> EncodedMedia:
    """Starts to encode the media of a request, in threads of its own."""
    from multitalk_cli.media.audio.flac import speech_flac
    from multitalk_cli.media.audio.tracks import sound_track
    from multitalk_cli.media.image.frame import to_png
    from multitalk_cli.planning.fingerprint import content_digest

    order, plan = prepared.options.order, prepared.plan
    size_px = (prepared.framed.width_px, prepared.framed.height_px)
    pool = ThreadPoolExecutor()
    media = EncodedMedia(
        image=pool.submit(to_png, prepared.framed.pixels),
        sound=pool.submit(
            sound_track,
            prepared.voices,
            order,
            plan.frames,
            plan.fps,
            level_lufs=prepared.options.sound_level,
        ),
        speech=tuple(pool.submit(speech_flac, samples) for samples in prepared.tracks.speech),
    )
    for encoded in (media.image, *media.speech):
        pool.submit(lambda encoded: content_digest(encoded.result(), size_px=size_px), encoded)
    pool.submit(lambda: content_digest(media.sound.result()[0], size_px=size_px))
    pool.shutdown(wait=False)
    return media


def make_request(
    prepared: Preparation,
    job_id: str,
    recipe: Mapping[str, Any],
    media: EncodedMedia | None = None,
) -> tuple[contract.GenerateRequest, tuple[str, ...]]:
    """The request with the recipe's seed, and notes of adjustments to its sound track.

    media: of `prepared`, if its encoding has begun. Raises FileError for a voice that has changed
    since it was prepared.
    """
    media = begin_encoding(prepared) if media is None else media
    options, plan, denoising = prepared.options, prepared.plan, prepared.options.denoising
    sound, notes = media.sound.result()
    speech = {
        voice.path: encoded.result()
        for voice, encoded in zip(prepared.voices, media.speech, strict=True)
    }
    request = contract.GenerateRequest(
        job_id=job_id,
        image=media.image.result(),
        width_px=prepared.framed.width_px,
        height_px=prepared.framed.height_px,
        speakers=tuple(
            contract.Speaker(
                audio=None if person.voice is None else speech[person.voice], box=person.box
            )
            for person in prepared.people
        ),
        sound=sound,
        prompt=options.prompt,
        negative_prompt=options.negative_prompt,
        sample_steps=options.sample_steps,
        seed=recipe["seed"],
        text_guidance=options.text_guidance,
        audio_guidance=options.audio_guidance,
        shift=prepared.shift,
        fps=plan.fps,
        frames=plan.frames,
        windows=plan.windows,
        motion_frames=plan.motion_frames,
        recipe=json.dumps(recipe, separators=(",", ":")),
        attention=options.attention,
        tier=denoising.tier,
        loras=denoising.loras,
        times=denoising.times,
        text_steps=denoising.text_steps,
    )
    return request, notes
