"""One exception class for each exit code."""

from collections.abc import Mapping
from typing import Any, ClassVar

from multitalk_cli.errors.codes import CODES, ExitCode
from multitalk_cli.errors.masking import mask

Fact = str | int | float | bool | tuple[str, ...]


class MultitalkError(Exception):
    """An error that a user can act on; each child class has an exit code.

    message: the failure, with the value seen. code: a row of CODES with the same exit code.
    facts: values from which the command line makes a command that helps. hint: such a command, or
    advice, from a container; the remedy of the code by default.
    """

    exit_code: ClassVar[ExitCode]

    def __init__(
        self, message: str, *, code: str, hint: str = "", facts: Mapping[str, Fact] | None = None
    ) -> None:
        # What a library said is part of many messages.
        message = mask(message)
        super().__init__(message)
        if CODES[code].exit_code is not self.exit_code:
            raise ValueError(f"{code} does not exit with {self.exit_code!r}")
        self.message = message
        self.code = code
        self.facts = {} if facts is None else dict(facts)
        self.hint = hint if hint else CODES[code].remedy

    def __reduce__(self) -> tuple[Any, ...]:
        """What pickle and copy need: without it they would leave out `code`, which must be given.

        All fields, also those of a child class, are in `__dict__`.
        """
        return (_blank, (type(self), self.message), self.__dict__)


def _blank(kind: type[MultitalkError], message: str) -> MultitalkError:
    """An error of this class whose fields are set next."""
    return kind.__new__(kind, message)


class UsageError(MultitalkError):
    """The command line is wrong."""

    exit_code = ExitCode.USAGE


class FileError(MultitalkError):
    """A file is unusable or missing, or an output cannot be written or would be overwritten."""

    exit_code = ExitCode.FILE


class SetupError(MultitalkError):
    """Something must be set up first."""

    exit_code = ExitCode.SETUP


class RemoteError(MultitalkError):
    """The run itself failed."""

    exit_code = ExitCode.REMOTE


class StorageError(MultitalkError):
    """The store rejected a request or failed."""

    exit_code = ExitCode.STORAGE


class TemporaryError(MultitalkError):
    """The same command may succeed later: network, capacity."""

    exit_code = ExitCode.TEMPORARY


class RefusedError(MultitalkError):
    """Rejected: a cost, quality or GPU limit."""

    exit_code = ExitCode.REFUSED


class InterruptedRunError(MultitalkError):
    """Ctrl-C or SIGTERM."""

    exit_code = ExitCode.INTERRUPTED


_BY_EXIT_CODE: dict[ExitCode, type[MultitalkError]] = {
    kind.exit_code: kind for kind in MultitalkError.__subclasses__()
}


def error_from_code(
    code: str, message: str, hint: str = "", facts: Mapping[str, Fact] | None = None
) -> MultitalkError:
    """The exception for a failure reported as data, such as a contract event.

    A code that this version does not know becomes E_REMOTE and is named in the message.
    """
    if code not in CODES:
        return RemoteError(f"{message} ({code})", code="E_REMOTE", hint=hint, facts=facts)
    kind = _BY_EXIT_CODE.get(CODES[code].exit_code, RemoteError)
    if kind.exit_code is not CODES[code].exit_code:
        return RemoteError(f"{message} ({code})", code="E_REMOTE", hint=hint, facts=facts)
    return kind(message, code=code, hint=hint, facts=facts)
