"""The choice of the backend."""

from pathlib import Path
from typing import TYPE_CHECKING

from multitalk_cli.contract import GenerateRequest
from multitalk_cli.errors import SetupError, UsageError
from multitalk_cli.generation.backends.base import Backend, GenerateTask, StartedRun
from multitalk_cli.planning.presets import denoising_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from multitalk_cli.reporting.reporter import Reporter
    from multitalk_cli.settings import Settings


def choose_backend(
    settings: "Settings", reporter: "Reporter", *, detach: bool = False, for_plan: bool = False
) -> Backend:
    """The backend that the settings name; for a plan it need not be able to make a video.

    `auto` is this machine where weights are set, Modal where there is a token (even one that is
    refused), and else a preview, but only where a person watches.
    Raises SetupError E_NO_BACKEND in a script without weights and token, or for what the named
    backend lacks.
    """
    name = choose_name(settings, reporter)
    if name == "modal":
        return _modal(settings, reporter, for_plan=for_plan)
    if detach:
        raise UsageError(
            f"--detach is for --backend modal, not {name}",
            code="E_CONFLICT",
            facts={"options": ("--detach", "--backend")},
        )
    return _local(settings) if name == "local" else _preview()


def choose_name(settings: "Settings", reporter: "Reporter") -> str:
    """The name of the backend that makes the video. Raises SetupError E_NO_BACKEND."""
    name = backend_name(settings, is_interactive=reporter.is_interactive)
    report_default(reporter, [(settings, name)])
    return name


def report_default(reporter: "Reporter", chosen: "Iterable[tuple[Settings, str]]") -> None:
    """Says once that videos become previews for want of another backend."""
    if any(name == "preview" and settings["backend"] == "auto" for settings, name in chosen):
        reporter.fact("backend", "preview, because no other is set up (--backend chooses)")


def backend_name(settings: "Settings", *, is_interactive: bool) -> str:
    """The name of the backend that the settings lead to. Raises SetupError E_NO_BACKEND."""
    from multitalk_cli.cloud import modal_config

    if settings["backend"] != "auto":
        return str(settings["backend"])
    if settings["weights"] is not None:
        return "local"
    if modal_config.has_token():
        return "modal"
    if not is_interactive:
        raise SetupError(
            "no backend is set up that makes real videos; in a script, pass --backend preview",
            code="E_NO_BACKEND",
        )
    return "preview"


def _modal(settings: "Settings", reporter: "Reporter", *, for_plan: bool) -> Backend:
    from multitalk_cli.cloud import modal_config
    from multitalk_cli.cloud.errors import AppRef
    from multitalk_cli.generation.backends import modal

    modal_config.require_token()
    parameters = settings["persistent_params"]  # users write 8e9
    options = modal.ModalOptions(
        place=AppRef(app=settings["app"], environment=settings["environment"]),
        stack=settings["stack"],
        attention=settings["attention"],
        gpu=settings["gpu"],
        keep_inputs=settings["keep_inputs"],
        denoising=denoising_of(settings),
        persistent_params=None if parameters is None else int(parameters),
        max_cost=settings["max_cost"],
        for_plan=for_plan,
    )
    backend = modal.ModalBackend(options, reporter)
    return Backend(
        name=modal.NAME,
        model_output=True,
        is_paid=True,
        start=backend.start,
        check=backend.check,
        find_known=backend.find_known,
        store=backend.store,
        find_loras=backend.find_loras,
    )


def _local(settings: "Settings") -> Backend:
    from multitalk_cli.generation.backends import local

    weights = local.check_setup(settings["weights"], settings.origin("weights"))
    loras = denoising_of(settings).loras
    local.check_loras(weights, loras)
    parameters = settings["persistent_params"]  # users write 8e9

    def start(task: GenerateTask) -> StartedRun:
        request, target = _files(task)
        events = local.run(
            request,
            target,
            weights,
            settings["device"],
            overwrite=task.overwrite,
            first=task.first,
            persistent_params=None if parameters is None else int(parameters),
        )
        return StartedRun(job_id=task.job_id, events=events)

    return Backend(
        name=local.NAME,
        model_output=True,
        is_paid=False,
        start=start,
        identify=local.identify,
        find_loras=lambda: local.find_digests(weights, loras),
    )


def _preview() -> Backend:
    def start(task: GenerateTask) -> StartedRun:
        from multitalk_cli.generation.backends import preview

        request, target = _files(task)
        request = request.first_window() if task.first else request
        events = preview.run(request, task.faces, target, overwrite=task.overwrite)
        return StartedRun(job_id=task.job_id, events=events)

    return Backend(name="preview", model_output=False, is_paid=False, start=start)


def _files(task: GenerateTask) -> tuple[GenerateRequest, Path]:
    """The request and the file of a backend without a store."""
    if task.request is None or task.target is None:
        raise ValueError(f"job {task.job_id} has no request or no file, and this is not the cloud")
    return task.request, task.target
