"""Which backend makes the video, and why."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from multitalk_cli.contract import Event, GenerateRequest
from multitalk_cli.errors import SetupError

if TYPE_CHECKING:
    from multitalk_cli.output import Output
    from multitalk_cli.settings import Settings

Run = Callable[[GenerateRequest, Path, bool], Iterator[Event]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """Something that makes a video.

    model_output: False where no model is involved. is_paid: whether a run costs money.
    run(request, target, overwrite): writes the MP4 at `target` and yields what happens, `Done` or
    `Failed` last; closing the iterator stops the work and leaves nothing behind.
    """

    name: str
    model_output: bool
    is_paid: bool
    run: Run


def choose_backend(settings: "Settings", output: "Output") -> Backend:
    """The backend that the settings name; `auto` takes a preview only where a person sees it.

    Raises SetupError E_NO_BACKEND in a script that did not name one.
    """
    if settings["backend"] == "auto":
        if not output.interactive:
            raise SetupError(
                "no backend is set up that makes real videos, and a script gets no preview unasked",
                code="E_NO_BACKEND",
                hint="add --backend preview",
            )
        output.fact("backend", "preview, because no other is set up (--backend chooses)")
    return _preview()


def _preview() -> Backend:
    def run(request: GenerateRequest, target: Path, overwrite: bool) -> Iterator[Event]:
        from multitalk_cli.backends import preview

        return preview.run(request, target, overwrite=overwrite)

    return Backend(name="preview", model_output=False, is_paid=False, run=run)
