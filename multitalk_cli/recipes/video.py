"""A video file, and its recipe: in the file, beside it, or in the ledger of jobs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from multitalk_cli.errors import FileError
from multitalk_cli.files import is_there, open_input, shown_path
from multitalk_cli.generation.output_path import sidecar_of
from multitalk_cli.jobs.ledger import Job, Ledger
from multitalk_cli.media.video.digests import Packets, digest, read_packets
from multitalk_cli.media.video.probe import VideoInfo, probe_video
from multitalk_cli.media.video.recipe import COMMENT, WRITER, read_recipe, read_tags
from multitalk_cli.recipes.recipe import Recipe, parse_recipe, sha256_of_text, unusable
from multitalk_cli.settings import DEFAULT_PROMPT, NEGATIVE_PROMPT

RecipeOrigin = Literal["video", "sidecar", "ledger"]
_FORMAT_KEY = "multitalk"
_MAX_SIDECAR_BYTES = 1 << 20
# In the recipe of a result, JSON within JSON: thousands of them are not parsed.
_FIRST_WINDOW = re.compile(r'streams\\":\s?\{\\"frames\\":\s?\[\[(\d{1,9}),\s?\\"([0-9a-f]{16})\\"')


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KnownVideo:
    """A video file, and what it was made from as far as that is known.

    writer: the program that wrote the file, if it names itself. origin: where the recipe was found.
    prompt, negative_prompt: None where they are not known here. job: the id of the job that made
    it, None where the ledger has none. gpu_seconds, price_usd: of that job, where they are known.
    """

    path: Path
    info: VideoInfo
    size_bytes: int
    packets: Packets
    writer: str
    recipe: Recipe | None
    origin: RecipeOrigin | None
    prompt: str | None
    negative_prompt: str | None
    job: str | None
    gpu_seconds: float | None = None
    price_usd: float | None = None

    def require_recipe(self) -> Recipe:
        """The recipe. Raises FileError E_RECIPE where there is none."""
        if self.recipe is None:
            raise FileError(
                f"{shown_path(self.path)} has no recipe, and none is next to it or in the ledger",
                code="E_RECIPE",
                facts={"video": str(self.path)},
            )
        return self.recipe


def read_video(path: Path) -> KnownVideo:
    """A video with its recipe. Raises FileError for what is no MP4 or has an absurd recipe."""
    info, tags = probe_video(path), read_tags(path)
    packets, jobs = read_packets(path), _jobs()
    job = _find_job(path, packets, jobs)
    held: list[tuple[RecipeOrigin, Recipe | None]] = [
        ("video", _own_recipe(path, tags)),
        ("sidecar", _sidecar_recipe(path)),
        ("ledger", None if job is None else _recorded_recipe(job)),
    ]
    recipes = [(origin, recipe) for origin, recipe in held if recipe is not None]
    origin, recipe = recipes[0] if recipes else (None, None)
    prompts = chain((each.prompt for _, each in recipes), [DEFAULT_PROMPT], _prompts(jobs))
    negatives = chain(
        (each.negative_prompt for _, each in recipes), [NEGATIVE_PROMPT], _negative_prompts(jobs)
    )
    return KnownVideo(
        path=path,
        info=info,
        size_bytes=path.stat().st_size,
        packets=packets,
        writer=tags.get(WRITER, ""),
        recipe=recipe,
        origin=origin,
        prompt=None if recipe is None else _find_text(recipe.prompt_sha256, prompts),
        negative_prompt=None
        if recipe is None
        else _find_text(recipe.negative_prompt_sha256, negatives),
        job=None if job is None else job.id,
        gpu_seconds=None if job is None else job.gpu_seconds,
        price_usd=None if job is None else job.price_usd,
    )


def _own_recipe(path: Path, tags: Mapping[bytes, str]) -> Recipe | None:
    raw = read_recipe(path)
    if raw is None and f'"{_FORMAT_KEY}"' in tags.get(COMMENT, "")[:100]:
        raise unusable(path, "it is too long, or no JSON")
    return None if raw is None or _FORMAT_KEY not in raw else parse_recipe(raw, path)


def _sidecar_recipe(path: Path) -> Recipe | None:
    sidecar = sidecar_of(path)
    if not is_there(sidecar):
        return None
    with open_input(sidecar) as file:
        text = file.read(_MAX_SIDECAR_BYTES + 1)
    raw = _to_object(text) if len(text) <= _MAX_SIDECAR_BYTES else {}
    return parse_recipe(raw, sidecar) if _FORMAT_KEY in raw else None


def _to_object(text: Any) -> dict[str, Any]:
    """A JSON object; empty for any other text."""
    with suppress(TypeError, ValueError, RecursionError):
        raw = json.loads(text)
        return raw if isinstance(raw, dict) else {}
    return {}


def _find_text(sha256: str, candidates: Iterable[str | None]) -> str | None:
    """The one of these texts that has this digest."""
    texts = (text for text in candidates if text is not None)
    return next((text for text in texts if sha256_of_text(text) == sha256), None)


# The ledger


def _jobs() -> list[Job]:
    """The jobs of the ledger; none where it is unusable: a video tells enough without it."""
    try:
        return Ledger().newest()
    except FileError:
        return []


def _find_job(path: Path, packets: Packets, jobs: Iterable[Job]) -> Job | None:
    """The job that made these frames, or else the newest that wrote a video at this path."""
    of_path = None
    for job in jobs:
        if job.result and _is_of_frames(job, packets):
            return job
        if of_path is None and job.result and job.target == str(path.absolute()):
            of_path = job
    return of_path


def _is_of_frames(job: Job, packets: Packets) -> bool:
    """Whether the first window of the job's video is that of this one.

    A version that recorded no digests made a video that cannot be found so.
    """
    window = _FIRST_WINDOW.search(job.result)
    return window is not None and digest(packets.frames[: int(window[1])]) == window[2]


def _raw_recipe(job: Job) -> dict[str, Any]:
    return _to_object(_to_object(job.result).get("recipe", ""))


def _recorded_recipe(job: Job) -> Recipe:
    return parse_recipe(_raw_recipe(job), Path(job.target if job.target else job.id))


def _prompts(jobs: Iterable[Job]) -> Iterable[str]:
    return (job.prompt for job in jobs)


def _negative_prompts(jobs: Iterable[Job]) -> Iterable[str | None]:
    recorded = (_to_object(job.request).get("settings") for job in jobs)
    return (each.get("negative_prompt") for each in recorded if isinstance(each, dict))
