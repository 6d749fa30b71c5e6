"""What a preparation is asked for and what it finds, as both sides of the wire know it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from multitalk_cli import contract
from multitalk_cli.plan import Plan
from multitalk_cli.storage import Address

OUTPUTS = "outputs/"
SUFFIX = ".mp4"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Everything beside the inputs that decides a request.

    seed_drawn: whether nobody asked for this seed.
    """

    size: str
    fit: Literal["cover", "contain", "stretch"]
    background: str
    fps: int
    order: Literal["sequence", "together"]
    sample_steps: int
    text_guidance: float
    audio_guidance: float
    shift: float | None
    loudness: bool
    prompt: str
    negative_prompt: str
    embed_prompt: bool
    seed: int
    seed_drawn: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """Where a video is to be stored.

    bucket: empty for the one that the secret names. key: whole, or empty or with a slash at its end
    for a folder, where a name is made from `stem` and the job.
    """

    bucket: str
    key: str
    stem: str
    overwrite: bool

    def address(self, job_id: str, default_bucket: str) -> Address:
        """The place of a job's video. default_bucket: the one that the secret names."""
        key = self.key
        if not key or key.endswith("/"):
            key = f"{key if key else OUTPUTS}{self.stem}-{job_id}{SUFFIX}"
        return Address(bucket=self.bucket if self.bucket else default_bucket, key=key)

    def is_at(self, address: str | None, job_id: str) -> bool:
        """Whether a video that is stored there is where it should be."""
        if address is None:
            return False
        bucket = address.removeprefix("s3://").partition("/")[0]
        return address == str(self.address(job_id, bucket)) and self.bucket in ("", bucket)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """A place in the store. recipe: of the video that stands there, None where it has none."""

    address: str
    is_taken: bool
    recipe: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureFacts:
    """The picture. text: as the user named it. width_px, height_px: of the file."""

    text: str
    name: str
    sha256: str
    width_px: int
    height_px: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceFacts:
    """One recording, and when it is heard. text: as the user named it."""

    text: str
    name: str
    sha256: str
    duration_s: float
    rate_hz: int
    channels: int
    loudness_lufs: float | None
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonFacts:
    """Somebody that the model is told of. voice: which of the voices, None for a silent person."""

    place: str
    voice: int | None
    box: contract.Box | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What was prepared, without pixels and samples.

    crop: x0, y0, x1, y1 of the picture as the user sees it. faces: boxes in pixels of the frame.
    """

    picture: PictureFacts
    voices: tuple[VoiceFacts, ...]
    people: tuple[PersonFacts, ...]
    crop: tuple[float, ...]
    faces: tuple[tuple[float, ...], ...]
    plan: Plan
    shift: float
    adjusted: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One input of a preparation in the cloud.

    text: as the user named it; the address of an object, unless `file` names a file that was put
    into the job's folder. place: of a voice given with one, else empty.
    """

    text: str
    file: str = ""
    place: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A preparation in the cloud.

    keeps: whether the request is kept for a call that makes the video. draws: whether the plan's
    picture is wanted. upload: where the video will be stored, so that it is looked at before.
    """

    job_id: str
    image: Source
    voices: tuple[Source, ...]
    options: Options
    upload: Upload | None
    keeps: bool
    draws: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a preparation in the cloud gave.

    recipe: a JSON object. notes: what was adjusted in the sound track. drawing: the plan's picture,
    a PNG. spot: where the video will be stored.
    """

    summary: Summary
    recipe: str
    fingerprint: str
    notes: tuple[str, ...]
    drawing: bytes | None
    spot: Spot | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Storing:
    """A finished video that is to be stored, or with `looks` the question what stands there.

    video: the MP4; None for the one that the job kept.
    """

    job_id: str
    upload: Upload
    looks: bool
    video: bytes | None = None
