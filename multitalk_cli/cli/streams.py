"""The standard streams: whether they are terminals, how wide, and how text goes to them."""

from __future__ import annotations

import errno
import io
import os
import re
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO
from weakref import WeakSet

from multitalk_cli.cli import layout
from multitalk_cli.errors import FileError, masking
from multitalk_cli.reporting.formatting import printable

_USUAL_WIDTH = 80


def is_foreground_terminal(stream: TextIO | None) -> bool:
    """Whether the stream is a terminal on which we are in the foreground."""
    try:
        if stream is None or not stream.isatty():
            return False
        return os.tcgetpgrp(stream.fileno()) == os.getpgrp()
    except (OSError, ValueError):
        return False


def terminal_width(stream: TextIO | None = None) -> int:
    """COLUMNS, or the width of the terminal in characters; at least layout.LEAST_WIDTH.

    stream: a terminal that is drawn on, which COLUMNS may exceed: it stays as it was exported when
    the window gets narrower.
    """
    return max(layout.LEAST_WIDTH, min(_columns(), _most_columns(stream)))


def _most_columns(stream: TextIO | None) -> int:
    with suppress(OSError, ValueError):
        columns = 0 if stream is None else os.get_terminal_size(stream.fileno()).columns
        return columns if columns > 0 else layout.WIDEST
    return layout.WIDEST


def _columns() -> int:
    # ValueError: no number, or one of more digits than Python converts.
    with suppress(KeyError, ValueError):
        columns = int(os.environ["COLUMNS"])
        if columns > 0:
            return min(columns, layout.WIDEST)
    for descriptor in (2, 1, 0):
        with suppress(OSError):
            columns = os.get_terminal_size(descriptor).columns
            # A terminal that was not told its size has 0 columns.
            return min(columns, layout.WIDEST) if columns > 0 else _USUAL_WIDTH
    return _USUAL_WIDTH


def without_size() -> dict[str, str]:
    """The environment for Rich, which would fail on a COLUMNS or LINES that is no number."""
    return {name: each for name, each in os.environ.items() if name not in ("COLUMNS", "LINES")}


_lost: WeakSet[TextIO] = WeakSet()
"""Streams that were turned off."""


def has_reader() -> bool:
    """Whether results on stdout may still arrive."""
    return sys.stdout is not None and sys.stdout not in _lost


@contextmanager
def lost_reader(stream: TextIO) -> Iterator[None]:
    """Turns the stream off where writing fails. Raises FileError for a result that was lost."""
    try:
        yield
    except OSError as error:
        has_left = isinstance(error, BrokenPipeError) or _is_closed_terminal(stream, error)
        _turn_off(stream)
        _lost.add(stream)
        # A reader that is gone has what it wanted.
        if stream is sys.stdout and not has_left:
            raise FileError(
                f"the result cannot be written to stdout: {error.strerror}",
                code="E_OUTPUT_PATH",
                hint="send stdout somewhere that can be written to",
            ) from None


def _is_closed_terminal(stream: TextIO, error: OSError) -> bool:
    """Whether the terminal of a job that goes on without it (nohup, disown) was closed."""
    with suppress(OSError, ValueError):
        is_device = stat.S_ISCHR(os.fstat(stream.fileno()).st_mode)
        return error.errno == errno.EIO and is_device
    return False


class _MaskedStream(io.TextIOWrapper):
    """A standard stream whose text is masked, whoever writes it."""

    def write(self, text: str) -> int:
        """Writes the text without secrets."""
        super().write(masking.mask(text))
        return len(text)


def mask_streams() -> None:
    """Masks what libraries, warnings and threads that fail print past the Console too."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            masked = _MaskedStream(
                stream.detach(),
                encoding=stream.encoding,
                errors=stream.errors,
                line_buffering=stream.line_buffering,
                write_through=stream.write_through,
            )
            setattr(sys, name, masked)
            setattr(sys, f"__{name}__", masked)


def is_dumb() -> bool:
    """Whether the terminal can only print lines, or is not known to do more."""
    return os.environ.get("TERM", "").lower() in ("", "dumb", "unknown")


class StreamForRich(io.TextIOBase):
    """A stream for Rich: what it draws is masked, and dropped once the reader is gone."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._encoding = "utf-8" if stream is None else stream.encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The stream's, which decides whether bars are drawn in ASCII."""
        return self._encoding

    def write(self, text: str) -> int:
        """Writes the text without secrets."""
        write(self._stream, text)
        return len(text)


def write(stream: TextIO | None, text: str) -> None:
    """Writes text without secrets to a stream; a reader that has left is no error."""
    if stream is None:
        return
    masked = masking.mask(text)
    with lost_reader(stream):
        if hasattr(stream, "buffer"):
            stream.buffer.write(_encode(masked))
        else:
            # A cell of a notebook.
            stream.write(masked)
        stream.flush()


def without_controls(text: str) -> str:
    """A result without what a terminal obeys: the name of a file may come from outside.

    Lines and columns of scripts stay, and bytes of names that are no text.
    """
    kept = re.compile("[\n\t\udc80-\udcff]")
    return "".join(c if kept.match(c) else printable(c) for c in text)


def _encode(text: str) -> bytes:
    """A path as the bytes that it is; what the terminal's encoding lacks as an escape."""
    try:
        return os.fsencode(text)
    except UnicodeEncodeError:
        return text.encode(sys.getfilesystemencoding(), "backslashreplace")


def _turn_off(stream: TextIO) -> None:
    """Sends a stream that failed to nowhere: Python would complain again when it closes it."""
    with suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
