"""Error codes with their explanations, and one exception class for each exit code."""

from multitalk_cli.errors.codes import CODES, ExitCode, Explanation
from multitalk_cli.errors.exceptions import (
    FileError,
    InterruptedRunError,
    MultitalkError,
    RefusedError,
    RemoteError,
    SetupError,
    StorageError,
    TemporaryError,
    UsageError,
    error_from_code,
)

__all__ = [
    "CODES",
    "ExitCode",
    "Explanation",
    "FileError",
    "InterruptedRunError",
    "MultitalkError",
    "RefusedError",
    "RemoteError",
    "SetupError",
    "StorageError",
    "TemporaryError",
    "UsageError",
    "error_from_code",
]
