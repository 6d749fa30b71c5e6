"""Which backend makes the video, and why."""

import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multitalk_cli.contract import Event, GenerateRequest
from multitalk_cli.errors import SetupError

if TYPE_CHECKING:
    from multitalk_cli.output import Output
    from multitalk_cli.settings import Settings

Run = Callable[[GenerateRequest, Path, bool], Iterator[Event]]
Identify = Callable[[Mapping[str, Any]], tuple[str, int]]


def _new_job(recipe: Mapping[str, Any]) -> tuple[str, int]:
    """A job id that nobody had before, and the seed that was asked for or drawn."""
    return secrets.token_hex(8), recipe["seed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """Something that makes a video.

    model_output: False where no model is involved. is_paid: whether a run costs money.
    run(request, target, overwrite): writes the MP4 at `target` and yields what happens, `Done` or
    `Failed` last; closing the iterator stops the work and leaves nothing behind.
    identify(recipe): the job's id and its seed, so that the same command goes on with a job that
    was stopped.
    """

    name: str
    model_output: bool
    is_paid: bool
    run: Run
    identify: Identify = _new_job


def choose_backend(settings: "Settings", output: "Output") -> Backend:
    """The backend that the settings name.

    `auto` takes this machine where weights are set, and a preview only where a person sees it.
    Raises SetupError E_NO_BACKEND in a script that did not name one, or what `local` lacks.
    """
    is_auto = settings["backend"] == "auto"
    if settings["backend"] == "local" or (is_auto and settings["weights"] is not None):
        return _local(settings)
    if is_auto:
        if not output.interactive:
            raise SetupError(
                "no backend is set up that makes real videos, and a script gets no preview unasked",
                code="E_NO_BACKEND",
                hint="add --backend preview",
            )
        output.fact("backend", "preview, because no other is set up (--backend chooses)")
    return _preview()


def _local(settings: "Settings") -> Backend:
    from multitalk_cli.backends import local

    weights = local.check_setup(settings["weights"])

    def run(request: GenerateRequest, target: Path, overwrite: bool) -> Iterator[Event]:
        return local.run(request, target, weights, settings["device"], overwrite=overwrite)

    return Backend(
        name=local.NAME, model_output=True, is_paid=False, run=run, identify=local.identify
    )


def _preview() -> Backend:
    def run(request: GenerateRequest, target: Path, overwrite: bool) -> Iterator[Event]:
        from multitalk_cli.backends import preview

        return preview.run(request, target, overwrite=overwrite)

    return Backend(name="preview", model_output=False, is_paid=False, run=run)
