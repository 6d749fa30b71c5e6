"""Which backend makes the video, and why."""

import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multitalk_cli.contract import Event, GenerateRequest
from multitalk_cli.errors import SetupError, UsageError

if TYPE_CHECKING:
    from multitalk_cli.cloud_store import CloudStore
    from multitalk_cli.output import Output
    from multitalk_cli.plan import Plan
    from multitalk_cli.prepared import Upload
    from multitalk_cli.settings import Settings

Run = Callable[["Work"], Iterator[Event]]
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


def _nothing_kept() -> None:
    """Nothing is kept that a call could need."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Work:
    """One video to make.

    recipe: a JSON object. fingerprint: of the inputs as prepared and the options as given.
    request: None where the cloud keeps it under the job's id. name: of the video's file. target:
    None for a video that is only stored. keep(): is called before a call is made that needs what
    the cloud keeps.
    """

    job_id: str
    seed: int
    recipe: str
    fingerprint: str
    request: GenerateRequest | None
    name: str
    target: Path | None
    upload: "Upload | None"
    overwrite: bool
    keep: Callable[[], None] = _nothing_kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """Something that makes a video.

    model_output: False where no model is involved. is_paid: whether a run costs money.
    run(work): makes the video where it belongs and yields what happens, `Done` or `Failed` last;
    closing the iterator stops the work and leaves nothing behind.
    identify(recipe): the job's id and its seed, so that the same command goes on with a job that
    was stopped.
    check(plan): raises what keeps it from making such a video, before anything is paid.
    spent_usd(): what the run has cost so far, None where that is not known or nothing.
    store: the way to a store of objects, which only the cloud has.
    """

    name: str
    model_output: bool
    is_paid: bool
    run: Run
    identify: Identify = _new_job
    check: Check = _nothing_to_check
    spent_usd: Spent = _nothing_spent
    store: "CloudStore | None" = None


def choose_backend(
    settings: "Settings", output: "Output", *, detach: bool = False, for_plan: bool = False
) -> Backend:
    """The backend that the settings name; for a plan it need not be able to make a video.

    `auto` takes this machine where weights are set, Modal where there is a token, and a preview
    only where a person sees it: with a token that is refused nobody gets a preview unasked.
    Raises SetupError E_NO_BACKEND in a script that has neither, or what the named one lacks.
    """
    name = settings["backend"]
    if name == "auto":
        name = _choose_name(settings, output)
    if name == "modal":
        return _modal(settings, output, detach=detach, for_plan=for_plan)
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


def _modal(settings: "Settings", output: "Output", *, detach: bool, for_plan: bool) -> Backend:
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
        persistent_params=_whole(settings["persistent_params"]),
        for_plan=for_plan,
    )
    backend = modal.ModalBackend(options, output)
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
    from multitalk_cli.backends import local

    weights = local.check_setup(settings["weights"])

    def run(work: Work) -> Iterator[Event]:
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
    def run(work: Work) -> Iterator[Event]:
        from multitalk_cli.backends import preview

        request, target = _files(work)
        return preview.run(request, target, overwrite=work.overwrite)

    return Backend(name="preview", model_output=False, is_paid=False, run=run)


def _files(work: Work) -> tuple[GenerateRequest, Path]:
    """What a backend without a store works with."""
    if work.request is None or work.target is None:
        raise ValueError(f"job {work.job_id} has no request or no file, and this is not the cloud")
    return work.request, work.target
