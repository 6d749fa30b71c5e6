"""Talking videos from a picture and a voice: the `multitalk` command, and `Client` for programs."""

__version__ = "0.1.0"

__all__ = [
    "BatchResult",
    "Client",
    "ComparedVideos",
    "Done",
    "Event",
    "Failed",
    "Fetching",
    "FileError",
    "InspectedVideo",
    "InterruptedRunError",
    "JobHandle",
    "Loading",
    "MultitalkError",
    "Queued",
    "RefusedError",
    "RemoteError",
    "SetupError",
    "Stage",
    "Step",
    "StorageError",
    "TemporaryError",
    "UsageError",
    "VerifiedVideo",
    "Video",
    "VideoPlan",
    "WindowDone",
    "__version__",
]

TYPE_CHECKING = False  # typing itself would take a fifth of the time of `multitalk --version`
if TYPE_CHECKING:
    from multitalk_cli.api import Client
    from multitalk_cli.batch.run import BatchResult
    from multitalk_cli.contract import (
        Done,
        Event,
        Failed,
        Fetching,
        Loading,
        Queued,
        Stage,
        Step,
        WindowDone,
    )
    from multitalk_cli.errors import (
        FileError,
        InterruptedRunError,
        MultitalkError,
        RefusedError,
        RemoteError,
        SetupError,
        StorageError,
        TemporaryError,
        UsageError,
    )
    from multitalk_cli.generation.result import Video, VideoPlan
    from multitalk_cli.job_handle import JobHandle
    from multitalk_cli.recipes.compare import ComparedVideos
    from multitalk_cli.recipes.inspect import InspectedVideo, VerifiedVideo

_MODULES = {
    "BatchResult": "batch.run",
    "Client": "api",
    "ComparedVideos": "recipes.compare",
    "InspectedVideo": "recipes.inspect",
    "JobHandle": "job_handle",
    "VerifiedVideo": "recipes.inspect",
    "Video": "generation.result",
    "VideoPlan": "generation.result",
}
_EVENTS = (
    "Done",
    "Event",
    "Failed",
    "Fetching",
    "Loading",
    "Queued",
    "Stage",
    "Step",
    "WindowDone",
)


def __getattr__(name: str) -> object:
    """A public name, imported when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module = _MODULES.get(name, "contract" if name in _EVENTS else "errors")
    value = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
