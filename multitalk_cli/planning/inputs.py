"""Inputs and options of a video, as everything after the command line knows them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from multitalk_cli.storage.address import S3Uri

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
    """An input as the user names it: a file, or an object of a store.

    place: where that voice's person is, or empty.
    """

    text: str
    place: str = ""
    address: S3Uri | None = None

    @property
    def path(self) -> Path:
        """What names are made of; of an object no file has this path."""
        return Path(self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateSpec:
    """The inputs, and everything beside them that decides the video."""

    image: InputRef
    voices: tuple[InputRef, ...]
    options: GenerateOptions

    @property
    def inputs(self) -> tuple[InputRef, ...]:
        """The picture, then the voices."""
        return self.image, *self.voices

    @property
    def stored(self) -> tuple[InputRef, ...]:
        """The inputs that lie in a store."""
        return tuple(one for one in self.inputs if one.address is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFile:
    """One file. text: what the user calls it. place: where that voice's person is, or empty."""

    text: str
    path: Path
    place: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateOptions:
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
