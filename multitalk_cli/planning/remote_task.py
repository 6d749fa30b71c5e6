"""The request and the result of a preparation in the cloud."""

from __future__ import annotations

from dataclasses import dataclass

from multitalk_cli.planning.inputs import GenerateOptions, InputRef
from multitalk_cli.planning.summary import Summary
from multitalk_cli.storage.upload import ObjectStatus, UploadTarget


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareRequest:
    """Inputs to prepare in the cloud.

    image, voices: objects, or with `file` files of the job's folder. keeps: whether the request is
    kept for the call that makes the video. draws: whether to draw the plan's picture. upload: where
    the video will be stored, so that an object in its way is found first.
    """

    job_id: str
    image: InputRef
    voices: tuple[InputRef, ...]
    options: GenerateOptions
    upload: UploadTarget | None
    keeps: bool
    draws: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareResult:
    """Inputs as prepared in the cloud.

    recipe: a JSON object. fingerprint: the names of the request, the newest first, with blanks
    between; the oldest alone where the app was deployed before there were several. notes:
    adjustments of the sound track. drawing: the plan's picture, a PNG. spot: the object at the
    place where the video will be stored.
    """

    summary: Summary
    recipe: str
    fingerprint: str
    notes: tuple[str, ...]
    drawing: bytes | None
    spot: ObjectStatus | None
