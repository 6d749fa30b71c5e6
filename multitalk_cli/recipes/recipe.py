"""A video's recipe, checked as a request is: its text comes from a file, and so from anywhere."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from multitalk_cli import contract
from multitalk_cli.contract.codec import from_plain
from multitalk_cli.contract.limits import ContractError, check_side, require
from multitalk_cli.errors import FileError, UsageError
from multitalk_cli.files import shown_path
from multitalk_cli.media.video.digests import StreamDigests
from multitalk_cli.planning.presets import default_shift, denoising_of, name_of
from multitalk_cli.planning.request import RECIPE_FORMAT, RECORDED_OPTIONS
from multitalk_cli.settings import SETTINGS

_SHA256 = re.compile("[0-9a-f]{64}")
_MAX_FRAMES = int(contract.MAX_SPEECH_S * contract.MAX_FPS)
_MOST_COUNTED = 10**9
_EIGHT_BIT = ("stored", "computed")
_LONGEST_WORD, _LONGEST_PROBLEM = 200, 200
_TEXT_CONTROLS = frozenset("\n\r\t")
_PLACES = {"the picture": "", "the left half": "left", "the right half": "right"}
"""Places as recipes name them -> as `--speaker` does; empty for a voice given by position."""
_NO_FIGURES: dict[str, Any] = {
    "av_offset_frames": None,
    "mouth_correlation": (),
    "color_drift": (),
}
_FACE = re.compile("face ([0-9]{1,4})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What a video was made from. Fields are named as in the file, and valid.

    speakers: the place of each person, those with a voice first, in the order of the voices.
    size: of the picture, width and height. prompt, negative_prompt: None where the recipe does not
    hold them; they fit their digests. image, voices: names of the inputs, if it is a full recipe.
    streams, quality: None where they were not recorded. work: counts of what was computed, and
    where 8-bit weights came from.
    options: by the names of settings. first_window: whether the video is that of its first window
    alone, made by `job`.
    """

    multitalk: int
    client: str
    backend: str
    model_output: bool
    image_sha256: str
    voices_sha256: tuple[str, ...]
    speakers: tuple[str, ...]
    order: Literal["sequence", "together"]
    size: tuple[int, int]
    fps: int
    frames: int
    windows: tuple[int, ...]
    shift: float
    seed: int
    seed_drawn: bool
    prompt_sha256: str
    negative_prompt_sha256: str
    prompt: str | None = None
    negative_prompt: str | None = None
    image: str | None = None
    voices: tuple[str, ...] = ()
    engine: Mapping[str, str] = field(default_factory=dict)
    weights: str | None = None
    gpu: str | None = None
    work: Mapping[str, int | str] = field(default_factory=dict)
    quality: contract.Quality | None = None
    streams: StreamDigests | None = None
    first_window: bool = False
    job: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require(self.multitalk == RECIPE_FORMAT, "multitalk", str(RECIPE_FORMAT), self.multitalk)
        self._check_words()
        for name in ("width", "height"):
            check_side(f"size: {name}", self.size[name == "height"])
        low, high = contract.MIN_FPS, contract.MAX_FPS
        require(low <= self.fps <= high, "fps", f"{low} to {high}", self.fps)
        require(1 <= self.frames <= _MAX_FRAMES, "frames", f"1 to {_MAX_FRAMES}", self.frames)
        require(0 <= self.seed <= contract.MAX_SEED, "seed", "0 to 2**63-1", self.seed)
        require(bool(self.windows), "windows", "one or more", self.windows)
        require(all(each >= 1 for each in self.windows), "windows", "of frames", "others")
        for name, digest in (
            ("prompt", self.prompt_sha256),
            ("negative_prompt", self.negative_prompt_sha256),
        ):
            text = getattr(self, name)
            require(text is None or _is_text(text), name, "text without control characters", text)
            require(text is None or sha256_of_text(text) == digest, name, "of its sha256", text)
        if self.streams is not None:
            counts = [count for count, _ in self.streams.frames]
            is_counted = all(count >= 1 for count in counts) and 1 <= sum(counts) <= self.frames
            require(is_counted, "streams", f"of at most {self.frames} frames", counts)

    def _check_words(self) -> None:
        for name in ("image", "prompt", "negative_prompt"):
            digest = getattr(self, f"{name}_sha256")
            require(bool(_SHA256.fullmatch(digest)), f"{name}_sha256", "64 hex digits", digest)
        for digest in self.voices_sha256:
            require(bool(_SHA256.fullmatch(digest)), "voices_sha256", "64 hex digits each", digest)
        voices, people = len(self.voices_sha256), len(self.speakers)
        most = contract.MAX_SPEAKERS
        require(1 <= voices <= most, "voices_sha256", f"1 to {most}", voices)
        require(voices <= people <= most, "speakers", f"{voices} to {most}", people)
        for place in self.speakers:
            _typed_place(place)
        is_id = not self.job or bool(contract.JOB_ID.fullmatch(self.job))
        require(is_id, "job", "the id of a job", self.job)
        for name in ("client", "backend", "weights", "gpu", "image", "voices", "engine"):
            value = getattr(self, name)
            words = [value] if isinstance(value, str | None) else list(value)
            words += self.engine.values() if name == "engine" else []
            for word in words:
                is_word = word is None or (word.isprintable() and len(word) <= _LONGEST_WORD)
                require(is_word, name, f"printable, at most {_LONGEST_WORD} characters", word)

    @property
    def frames_made(self) -> int:
        """Frames of the video: all that were planned, unless fewer were recorded."""
        streams = self.streams
        if streams is None and self.first_window:
            return min(self.windows[0], self.frames)
        return self.frames if streams is None else sum(count for count, _ in streams.frames)

    @property
    def typed_places(self) -> tuple[str, ...]:
        """The place of each voice, as `--speaker` takes it; empty for voices given by position."""
        places = [_typed_place(place) for place in self.speakers[: len(self.voices_sha256)]]
        return tuple(places) if all(places) else ()

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides the video beside inputs, prompts and seed, by the names of settings."""
        size = f"{self.size[0]}x{self.size[1]}"
        return {"size": size, "fps": self.fps, "order": self.order, **self.options}

    @property
    def own_shift(self) -> float | None:
        """The shift; None where it is the one of the size or the LoRA."""
        without = dataclasses.replace(denoising_of(self.settings), shift=None)
        is_own = self.shift != without.shift_at(default_shift(*self.size))
        return self.shift if is_own else None

    @property
    def preset(self) -> str:
        """The preset that it was made with; empty where it was none."""
        return name_of(denoising_of(self.settings), default_shift(*self.size))


def sha256_of_text(text: str) -> str:
    """The digest by which recipes name prompts."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def parse_recipe(raw: Mapping[str, Any], path: Path) -> Recipe:
    """The recipe of a file, which anyone may have written. Unknown entries are left out.

    Raises FileError E_RECIPE for what no request could hold.
    """
    form = raw.get("multitalk")
    if type(form) is int and form > RECIPE_FORMAT:
        raise unusable(path, f"a newer version of multitalk wrote it (format {form})")
    try:
        return _parse(raw)
    except ValueError as error:
        problem = str(error).removeprefix("Recipe.")
        if len(problem) > _LONGEST_PROBLEM:
            problem = f"{problem[:_LONGEST_PROBLEM]}..."
        raise unusable(path, problem) from None


def unusable(path: Path, problem: str) -> FileError:
    """The error for a recipe that cannot be used."""
    return FileError(f"the recipe of {shown_path(path)} is unusable: {problem}", code="E_RECIPE")


def _parse(raw: Mapping[str, Any]) -> Recipe:
    others = {"options", "engine", "quality", "work"}
    fields = {each.name for each in dataclasses.fields(Recipe)} - others
    engine, quality = raw.get("engine"), raw.get("quality")
    known: dict[str, Any] = {name: raw[name] for name in fields & raw.keys()}
    known["engine"] = _texts(engine) if isinstance(engine, Mapping) else {}
    if quality is not None:
        known["quality"] = quality
    if isinstance(quality, Mapping):
        figures = {each.name for each in dataclasses.fields(contract.Quality)}
        known["quality"] = _NO_FIGURES | {name: quality[name] for name in figures & quality.keys()}
    recipe = from_plain(Recipe, known, use_defaults=True)
    return dataclasses.replace(recipe, options=_options(raw), work=_work(raw.get("work")))


def _texts(words: Mapping[str, Any]) -> dict[str, str]:
    return {name: word for name, word in words.items() if isinstance(word, str)}


def _work(work: object) -> dict[str, int | str]:
    """What the engine can have recorded of its work, by name."""
    entries = work.items() if isinstance(work, Mapping) else ()
    return {
        name: value
        for name, value in entries
        if isinstance(name, str) and _can_be_recorded(name, value)
    }


def _can_be_recorded(name: str, value: object) -> bool:
    if name == "eight_bit":
        return value in _EIGHT_BIT
    return type(value) is int and 0 <= value <= _MOST_COUNTED


def _options(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The recorded options, each as its setting takes it; those that came later at defaults."""
    options = {}
    for name in (*RECORDED_OPTIONS, "shift"):
        setting = SETTINGS[name]
        value = raw.get(name, setting.default)
        try:
            options[name] = setting.default if value == setting.default else setting.parse(value)
        except ValueError as error:
            raise ContractError(f"{name} {error}") from None
    return options


def _typed_place(place: str) -> str:
    """The place of a person as `--speaker` takes it. Raises ContractError for anything else."""
    from multitalk_cli.media.faces.speaker_spec import parse_speaker

    face = _FACE.fullmatch(place)
    typed = f"face:{face[1]}" if face else _PLACES.get(place, place)
    try:
        return parse_speaker(f"{typed}=voice").place.text if typed else ""
    except UsageError:
        raise ContractError(f"speakers must be places of people, not {place!r}") from None


def _is_text(text: str) -> bool:
    return all(each.isprintable() or each in _TEXT_CONTROLS for each in text)
