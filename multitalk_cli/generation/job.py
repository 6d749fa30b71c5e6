"""One video to make, with everything decided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from multitalk_cli.generation.backends.base import Backend
from multitalk_cli.generation.prepared_inputs import PreparedInputs
from multitalk_cli.generation.spec import GenerateArgs
from multitalk_cli.planning import gpus
from multitalk_cli.planning.inputs import GenerateSpec

if TYPE_CHECKING:
    from pathlib import Path

    from multitalk_cli.settings import Settings
    from multitalk_cli.storage.upload import UploadTarget


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GenerateJob:
    """One video to make: what was prepared, where it goes, and what is kept in it.

    target: None where the video is only stored.
    """

    job_id: str
    asked: GenerateArgs
    wanted: GenerateSpec
    settings: Settings
    ready: PreparedInputs
    backend: Backend
    target: Path | None
    upload: UploadTarget | None
    recipe: dict[str, Any]

    @property
    def name(self) -> str:
        """What the video is called."""
        if self.target is not None:
            return self.target.name
        key = "" if self.upload is None else self.upload.key.rpartition("/")[2]
        stem = self.job_id if self.upload is None else self.upload.stem
        return key if key else f"{stem}.mp4"


def chosen_gpu(settings: Settings) -> str:
    return gpus.find_gpu(settings["gpu"]).name
