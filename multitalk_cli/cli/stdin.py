"""Standard input, read by the commands that take secrets from a pipe."""

from __future__ import annotations

import sys

from multitalk_cli.errors import UsageError


def read_pipe(max_bytes: int, hint: str) -> bytes:
    """Bytes of the pipe, at most one more than `max_bytes`.

    Raises UsageError, with `hint`, without an input, and for a terminal, which would show secrets.
    """
    if sys.stdin is None or sys.stdin.isatty():
        message = "--stdin reads a pipe; a terminal would show the secret while it is typed"
        raise UsageError(message, code="E_USAGE", hint=hint)
    try:
        return sys.stdin.buffer.read(max_bytes + 1)
    except OSError:
        # nohup replaces a terminal by a device that can only be written to.
        return b""
