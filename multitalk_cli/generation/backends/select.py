"""Which backend makes the video, and why."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from multitalk_cli.contract import Event, GenerateRequest
from multitalk_cli.errors import SetupError, UsageError
from multitalk_cli.generation.backends.base import Backend, GenerateTask

if TYPE_CHECKING:
    from multitalk_cli.reporting.reporter import Reporter
    from multitalk_cli.settings import Settings


def choose_backend(
    settings: "Settings", reporter: "Reporter", *, detach: bool = False, for_plan: bool = False
) -> Backend:
    """The backend that the settings name; for a plan it need not be able to make a video.

    `auto` takes this machine where weights are set, Modal where there is a token, and a preview
    only where a person sees it: with a token that is refused nobody gets a preview unasked.
    Raises SetupError E_NO_BACKEND in a script that has neither, or what the named one lacks.
    """
    name = settings["backend"]
    if name == "auto":
        name = _choose_name(settings, reporter)
    if name == "modal":
        return _modal(settings, reporter, detach=detach, for_plan=for_plan)
    if detach:
        raise UsageError(
            f"--detach is for --backend modal, not {name}", code="E_CONFLICT", hint="drop --detach"
        )
    return _local(settings) if name == "local" else _preview()


def _choose_name(settings: "Settings", reporter: "Reporter") -> str:
    from multitalk_cli.cloud import modal_config

    if settings["weights"] is not None:
        return "local"
    if modal_config.has_token():
        return "modal"
    if not reporter.is_interactive:
        raise SetupError(
            "no backend is set up that makes real videos, and a script gets no preview unasked",
            code="E_NO_BACKEND",
            hint="multitalk login, or add --backend preview",
        )
    reporter.fact("backend", "preview, because no other is set up (--backend chooses)")
    return "preview"


def _modal(settings: "Settings", reporter: "Reporter", *, detach: bool, for_plan: bool) -> Backend:
    from multitalk_cli.cloud import modal_config
    from multitalk_cli.cloud.errors import AppRef
    from multitalk_cli.generation.backends import modal

    modal_config.require_token()
    options = modal.ModalOptions(
        place=AppRef(app=settings["app"], environment=settings["environment"]),
        stack=settings["stack"],
        gpu=settings["gpu"],
        detach=detach,
        keep_inputs=settings["keep_inputs"],
        persistent_params=_whole(settings["persistent_params"]),
        for_plan=for_plan,
    )
    backend = modal.ModalBackend(options, reporter)
    return Backend(
        name=modal.NAME,
        model_output=True,
        is_paid=True,
        run=backend.run,
        check=backend.check,
        spent_usd=backend.spent_usd,
        store=backend.store,
    )


def _whole(value: float | None) -> int | None:
    """A number that users write as 8e9."""
    return None if value is None else int(value)


def _local(settings: "Settings") -> Backend:
    from multitalk_cli.generation.backends import local

    weights = local.check_setup(settings["weights"])

    def run(work: GenerateTask) -> Iterator[Event]:
        request, target = _files(work)
        return local.run(
            request,
            target,
            weights,
            settings["device"],
            overwrite=work.overwrite,
            persistent_params=_whole(settings["persistent_params"]),
        )

    return Backend(
        name=local.NAME, model_output=True, is_paid=False, run=run, identify=local.identify
    )


def _preview() -> Backend:
    def run(work: GenerateTask) -> Iterator[Event]:
        from multitalk_cli.generation.backends import preview

        request, target = _files(work)
        return preview.run(request, target, overwrite=work.overwrite)

    return Backend(name="preview", model_output=False, is_paid=False, run=run)


def _files(work: GenerateTask) -> tuple[GenerateRequest, Path]:
    """What a backend without a store works with."""
    if work.request is None or work.target is None:
        raise ValueError(f"job {work.job_id} has no request or no file, and this is not the cloud")
    return work.request, work.target
