"""Expected errors of the deployed methods as answers that cross the wire."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from multitalk_cli import __version__, contract
from multitalk_cli.errors import RefusedError, TemporaryError, error_from_code
from remote.service.failures import to_failed

CANCELLED = "the job was cancelled"

Answer = dict[str, Any]
P = ParamSpec("P")
T = TypeVar("T")


def event_answer(failed: contract.Failed) -> Answer:
    """The answer of a method that reports a failure as its event."""
    return {"event": contract.to_wire(failed)}


def as_answer(
    to_answer: Callable[[contract.Failed], Answer] = event_answer,
) -> Callable[[Callable[P, Answer]], Callable[P, Answer]]:
    """Makes a method answer with its expected errors; bugs pass through.

    to_answer: the form in which the method's client reads a failure.
    """

    def decorate(method: Callable[P, Answer]) -> Callable[P, Answer]:
        @wraps(method)
        def answer(*args: P.args, **kwargs: P.kwargs) -> Answer:
            try:
                return method(*args, **kwargs)
            except contract.NewerPeerError as error:
                message = (
                    f"this client (version {error.peer}) is newer than the deployed app (version "
                    f"{__version__}), which does not know {error.what}"
                )
                return to_answer(contract.Failed(code="E_CONTRACT", message=message))
            except contract.VersionMismatchError as error:
                return to_answer(contract.Failed(code="E_CONTRACT", message=str(error)))
            except Exception as error:
                failed = to_failed(error)
                if failed is None:
                    raise
                return to_answer(failed)

        return answer

    return decorate


@contextmanager
def gpu_expected() -> Iterator[None]:
    """Turns a GPU that is not found into one that failed.

    The container was given one: no option of the user's helps, but another container may.
    """
    try:
        yield
    except RefusedError as error:
        if error.code != "E_CPU_ONLY":
            raise
        raise TemporaryError(error.message, code="E_GPU_FAILED") from error


def read_wire(kind: type[T], wire: Mapping[str, Any]) -> T:
    """Rebuilds what a client sent.

    Raises VersionMismatchError for another contract, RemoteError E_REQUEST for malformed values.
    """
    try:
        return contract.from_wire(kind, wire)
    except contract.VersionMismatchError:
        raise
    except contract.ContractError as error:
        raise error_from_code("E_REQUEST", str(error)) from error
