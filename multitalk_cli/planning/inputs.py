"""Inputs and options of a video."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from multitalk_cli.contract import AUTO_ATTENTION, EXACT_TIER
from multitalk_cli.contract.codec import ADDED
from multitalk_cli.planning.presets import FIELDS, Denoising
from multitalk_cli.storage.address import S3Uri, is_stored, parse_uri

if TYPE_CHECKING:
    from multitalk_cli.media.audio.tracks import Order


ORDERS: dict[str, Order] = {
    "sequence": "sequence",
    "add": "sequence",
    "together": "together",
    "para": "together",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class InputRef:
    """A picture or voice as the user names it: a file, or an object of a store.

    place: the position of that voice's person, or empty. file: the path of the content if that is
    not `text`: a fetched object, or the name of a file in the job's folder.
    """

    text: str
    file: str = ""
    place: str = ""

    @property
    def path(self) -> Path:
        """The file; before an object is fetched, a path that only names are made of."""
        return Path(self.file if self.file else self.text)

    @property
    def address(self) -> S3Uri | None:
        """The object's address; None for a file. Raises UsageError E_S3_ADDRESS."""
        return parse_uri(self.text) if is_stored(self.text) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateSpec:
    """The inputs and options of one video, checked as far as that needs no file."""

    image: InputRef
    voices: tuple[InputRef, ...]
    options: GenerateOptions

    @property
    def inputs(self) -> tuple[InputRef, ...]:
        """The picture, then the voices."""
        return self.image, *self.voices

    @property
    def stored(self) -> tuple[InputRef, ...]:
        """The inputs that are objects of a store."""
        return tuple(one for one in self.inputs if is_stored(one.text))


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateOptions:
    """Everything but the inputs that decides a request.

    seed_drawn: whether the seed is random, and not the user's. audio_track: of files with several,
    from 1; None for the first with a voice. rotate: by how many degrees the picture is turned
    clockwise. attention: the kernel, as of a GenerateRequest. tier, lora, text_gate: as of a
    Denoising.
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
    audio_track: int | None = field(default=None, metadata={ADDED: True})
    trim_silence: bool = field(default=False, metadata={ADDED: True})
    rotate: Literal["0", "90", "180", "270"] = field(default="0", metadata={ADDED: True})
    sound_level: float | None = field(default=None, metadata={ADDED: True})
    attention: str = field(default=AUTO_ATTENTION, metadata={ADDED: True})
    tier: str = field(default=EXACT_TIER, metadata={ADDED: True})
    lora: str = field(default="", metadata={ADDED: True})
    text_gate: float = field(default=1.0, metadata={ADDED: True})

    @property
    def denoising(self) -> Denoising:
        """How the frames are denoised."""
        return Denoising(**{name: getattr(self, name) for name in FIELDS})
