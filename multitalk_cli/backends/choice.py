"""Which backend makes the video, and why."""

import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multitalk_cli.contract import Event, GenerateRequest
from multitalk_cli.errors import SetupError, UsageError

if TYPE_CHECKING:
    from multitalk_cli.output import Output
    from multitalk_cli.plan import Plan
    from multitalk_cli.settings import Settings

Run = Callable[[GenerateRequest, Path, bool], Iterator[Event]]
Identify = Callable[[Mapping[str, Any]], tuple[str, int]]
Check = Callable[["Plan"], None]
Spent = Callable[[], float | None]


def _new_job(recipe: Mapping[str, Any]) -> tuple[str, int]:
    """A job id that nobody had before, and the seed that was asked for or drawn."""
    return secrets.token_hex(8), recipe["seed"]


def _nothing_to_check(_plan: "Plan") -> None:
    """What such a video needs is there."""


def _nothing_spent() -> None:
    """Nothing is paid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """Something that makes a video.

    model_output: False where no model is involved. is_paid: whether a run costs money.
    run(request, target, overwrite): writes the MP4 at `target` and yields what happens, `Done` or
    `Failed` last; closing the iterator stops the work and leaves nothing behind.
    identify(recipe): the job's id and its seed, so that the same command goes on with a job that
    was stopped.
    check(plan): raises what keeps it from making such a video, before anything is paid.
    spent_usd(): what the run has cost so far, None where that is not known or nothing.
    """

    name: str
    model_output: bool
    is_paid: bool
    run: Run
    identify: Identify = _new_job
    check: Check = _nothing_to_check
    spent_usd: Spent = _nothing_spent


def choose_backend(settings: "Settings", output: "Output", *, detach: bool = False) -> Backend:
    """The backend that the settings name.

    `auto` takes this machine where weights are set, Modal where there is a token, and a preview
    only where a person sees it: with a token that is refused nobody gets a preview unasked.
    Raises SetupError E_NO_BACKEND in a script that has neither, or what the named one lacks.
    """
    name = settings["backend"]
    if name == "auto":
        name = _choose_name(settings, output)
    if name == "modal":
        return _modal(settings, output, detach=detach)
    if detach:
        raise UsageError(
            f"--detach is for --backend modal, not {name}", code="E_CONFLICT", hint="drop --detach"
        )
    return _local(settings) if name == "local" else _preview()


def _choose_name(settings: "Settings", output: "Output") -> str:
    from multitalk_cli import modal_config

    if settings["weights"] is not None:
        return "local"
    if modal_config.has_token():
        return "modal"
    if not output.interactive:
        raise SetupError(
            "no backend is set up that makes real videos, and a script gets no preview unasked",
            code="E_NO_BACKEND",
            hint="multitalk login, or add --backend preview",
        )
    output.fact("backend", "preview, because no other is set up (--backend chooses)")
    return "preview"


def _modal(settings: "Settings", output: "Output", *, detach: bool) -> Backend:
    from multitalk_cli import modal_config
    from multitalk_cli.backends import modal
    from multitalk_cli.cloud import Place

    modal_config.require_token()
    options = modal.Options(
        place=Place(app=settings["app"], environment=settings["environment"]),
        stack=settings["stack"],
        gpu=settings["gpu"],
        detach=detach,
        keep_inputs=settings["keep_inputs"],
    )
    backend = modal.ModalBackend(options, output)
    return Backend(
        name=modal.NAME,
        model_output=True,
        is_paid=True,
        run=backend.run,
        check=backend.check,
        spent_usd=backend.spent_usd,
    )


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
