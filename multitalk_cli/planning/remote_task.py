"""A preparation in the cloud: what is asked, what it gives."""

from __future__ import annotations

from dataclasses import dataclass

from multitalk_cli.planning.inputs import GenerateOptions
from multitalk_cli.planning.summary import Summary
from multitalk_cli.storage.upload import ObjectStatus, UploadTarget


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteInput:
    """One input of a preparation in the cloud.

    text: as the user named it; the address of an object, unless `file` names a file that was put
    into the job's folder. place: of a voice given with one, else empty.
    """

    text: str
    file: str = ""
    place: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareRequest:
    """A preparation in the cloud.

    keeps: whether the request is kept for a call that makes the video. draws: whether the plan's
    picture is wanted. upload: where the video will be stored, so that it is looked at before.
    """

    job_id: str
    image: RemoteInput
    voices: tuple[RemoteInput, ...]
    options: GenerateOptions
    upload: UploadTarget | None
    keeps: bool
    draws: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareResult:
    """What a preparation in the cloud gave.

    recipe: a JSON object. notes: what was adjusted in the sound track. drawing: the plan's picture,
    a PNG. spot: where the video will be stored.
    """

    summary: Summary
    recipe: str
    fingerprint: str
    notes: tuple[str, ...]
    drawing: bytes | None
    spot: ObjectStatus | None
