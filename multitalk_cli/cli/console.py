"""The only printer: results on stdout, everything else on stderr."""

import json
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO
from urllib.parse import quote

from multitalk_cli.errors import ExitCode, FileError, MultitalkError, UsageError
from multitalk_cli.reporting.formatting import printable, printable_lines

if TYPE_CHECKING:
    from multitalk_cli.cli.interrupts import PendingSignals
    from multitalk_cli.reporting.reporter import Progress


JSON_VERSION = 1
PROGRESS_KINDS = ("auto", "bars", "plain", "json", "none")
LABEL_WIDTH = 12
SHORTEST_HIDDEN = 6
"""Shorter values stay: they are parts of words, and no secrets that anybody gives out."""

_STYLES = {"dim": "2", "yellow": "33", "red": "1;31", "bold": "1", "cyan": "36"}


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputOptions:
    """The global options that shape what is printed."""

    json: bool = False
    quiet: bool = False
    debug: bool = False
    color: bool = True
    progress: str = "auto"


def split_output_options(argv: Sequence[str]) -> tuple[list[str], OutputOptions]:
    """Takes the global options out of a command line, wherever they stand before a `--`."""
    flags = {"--json": "json", "--quiet": "quiet", "-q": "quiet", "--debug": "debug"}
    rest: list[str] = []
    chosen: dict[str, Any] = {}
    words = deque(argv)
    while words:
        word = words.popleft()
        if word == "--":
            return [*rest, word, *words], OutputOptions(**chosen)
        if word in flags:
            chosen[flags[word]] = True
        elif word == "--no-color":
            chosen["color"] = False
        elif word == "--progress":
            has_kind = bool(words) and not words[0].startswith("-")
            chosen["progress"] = words.popleft() if has_kind else ""
        elif word.startswith("--progress="):
            chosen["progress"] = word.partition("=")[2]
        else:
            rest.append(word)
    return rest, OutputOptions(**chosen)


def check_output_options(options: OutputOptions) -> None:
    """Raises UsageError for an unknown kind of progress."""
    if options.progress not in PROGRESS_KINDS:
        kinds = ", ".join(PROGRESS_KINDS)
        raise UsageError(
            f"--progress must be one of {kinds}, not {options.progress!r}",
            code="E_RANGE",
            hint="multitalk --help",
        )


def is_foreground_terminal(stream: TextIO | None) -> bool:
    """Whether a person is looking at this stream now."""
    try:
        if stream is None or not stream.isatty():
            return False
        return os.tcgetpgrp(stream.fileno()) == os.getpgrp()
    except (OSError, ValueError):
        return False


class Console:
    """What a command says while it works, and its one result.

    In the human form the result is a path or a table on stdout; with `json` it is one object
    {version, command, status, data, errors}, also on failure.
    leaving: what is said when a signal ends the command.
    """

    def __init__(self, options: OutputOptions) -> None:
        self.options = options
        self._warnings: list[str] = []
        self._hidden: list[str] = []
        self._say_above_bars: Callable[[str], None] | None = None
        self.leaving = "interrupted; nothing unfinished was left behind"
        self.is_interactive = is_foreground_terminal(sys.stderr)
        plain_wish = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
        in_ci = bool(os.environ.get("CI"))
        self.color = options.color and self.is_interactive and not plain_wish and not in_ci
        self._animated = self.is_interactive and os.environ.get("TERM") != "dumb" and not in_ci

    @property
    def is_quiet(self) -> bool:
        """Whether results and errors alone are wanted."""
        return self.options.quiet

    @property
    def draws_results(self) -> bool:
        """Whether a result may be drawn in colours, straight on the terminal."""
        return self.color and not self.options.json and is_foreground_terminal(sys.stdout)

    @property
    def can_ask(self) -> bool:
        """Whether a question would reach a person who can answer it."""
        return self.is_interactive and is_foreground_terminal(sys.stdin) and not self.options.json

    def fact(self, label: str, text: str) -> None:
        """One line of what was seen or decided."""
        self._say(f"{label:<{LABEL_WIDTH}}{'' if len(label) < LABEL_WIDTH else ' '}{text}")

    def adjusted(self, text: str) -> None:
        """An automatic adjustment, said so that nothing happens silently."""
        self._say(f"{'adjusted':<{LABEL_WIDTH}}{text}", "dim")

    def warn(self, text: str) -> None:
        """Something that may spoil the result."""
        self._warnings.append(text)
        self._say(f"{'warning':<{LABEL_WIDTH}}{text}", "yellow")

    def note(self, text: str = "") -> None:
        """A line between the facts."""
        self._say(text)

    def confirm(self, question: str) -> bool:
        """Asks a yes-or-no question on the terminal; anything but yes is no."""
        self._write(sys.stderr, f"{printable(question)} [y/N] ", end="")
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    def ask(self, question: str) -> str:
        """Asks for a line of text on the terminal."""
        self._write(sys.stderr, f"{printable(question)}: ", end="")
        return sys.stdin.readline()

    def ask_hidden(self, question: str) -> str:
        """Asks for a line that is not shown while it is typed; the end of input is an empty one."""
        import getpass

        try:
            return getpass.getpass(f"{printable(question)}: ", stream=sys.stderr)
        except EOFError:
            return ""

    def hide(self, values: Iterable[str]) -> None:
        """Lets these values never be printed, wherever a text may have them from."""
        for value in values:
            if len(value) >= SHORTEST_HIDDEN:
                forms = {value, repr(value)[1:-1], quote(value, safe="")}
                self._hidden = sorted({*self._hidden, *forms}, key=len, reverse=True)

    @contextmanager
    def progress(self) -> "Iterator[Progress]":
        """A view that draws contract events until it is closed."""
        from multitalk_cli.cli import progress

        kind = self.options.progress
        if kind == "auto":
            kind = "bars" if self._animated else "plain"
            kind = "none" if self.options.quiet else kind
        view = progress.open_view(
            kind, color=self.color, write=lambda line: self._write(sys.stderr, line)
        )
        with view as opened:
            self._say_above_bars = opened.say if isinstance(opened, progress.BarsView) else None
            try:
                yield opened
            finally:
                self._say_above_bars = None

    @contextmanager
    def stop_requests(self) -> "Iterator[PendingSignals]":
        """Signals held back inside the block; a person is asked what Ctrl-C means."""
        from multitalk_cli.cli.interrupts import pending_signals

        with pending_signals(self.note if self.can_ask else None) as held:
            yield held

    @contextmanager
    def redirect_stdout(self) -> Iterator[None]:
        """What a library prints on stdout inside the block goes where progress belongs."""
        with redirect_stdout(sys.stderr):
            yield

    def succeed(self, command: str, data: Mapping[str, Any], lines: Sequence[str] = ()) -> None:
        """The result: `data` as JSON, or `lines` for a person or a script."""
        if self.options.json:
            self._envelope(command, "ok", data, [])
        else:
            for line in lines:
                self._write(sys.stdout, line)

    def report(
        self,
        command: str,
        data: Mapping[str, Any],
        lines: Sequence[tuple[str, str]],
        errors: Sequence[Mapping[str, Any]],
    ) -> None:
        """A result that may hold failures. lines: each with its style; errors: as in the JSON."""
        if self.options.json:
            self._envelope(command, "error" if errors else "ok", data, [dict(e) for e in errors])
            return
        for text, style in lines:
            shown = self._style(printable(text), style if self.draws_results else "")
            self._write(sys.stdout, shown)

    def fail(self, command: str, error: MultitalkError, hint: str = "") -> None:
        """An error that the user can act on. hint: the command that helps, if not the error's."""
        hint = hint if hint else error.hint
        head, *details = printable_lines(error.message)
        self._write(sys.stderr, f"{self._style('error:', 'red')} {head}")
        for line in details:
            self._write(sys.stderr, f"  {line}")
        where = f"({error.code}, exit {int(error.exit_code)}; multitalk explain {error.code})"
        first, *more = printable_lines(hint) or [""]
        self._write(sys.stderr, f"  next:  {self._style(first, 'bold')}")
        for line in more:
            self._write(sys.stderr, f"         {self._style(line, 'bold')}")
        self._write(sys.stderr, f"  {self._style(where, 'dim')}")
        self._fail_json(command, error.code, error.message, hint, error.exit_code)

    def bug(self, command: str, error: Exception, trace: str) -> None:
        """An error of ours."""
        seen = f"{type(error).__name__}: {error}"
        self._write(sys.stderr, f"{self._style('error:', 'red')} this is a bug in multitalk")
        self._write(sys.stderr, f"  {printable(seen)}")
        if self.options.debug:
            self._write(sys.stderr, trace.rstrip())
        else:
            self._write(sys.stderr, "  next:  run the command again with --debug, and report it")
        self._fail_json(command, "E_BUG", seen, "run again with --debug", ExitCode.BUG)

    def interrupted(self, command: str) -> None:
        """Ctrl-C or a signal."""
        self._say(self.leaving)
        self._fail_json(
            command, "E_INTERRUPTED", "interrupted", "run it again", ExitCode.INTERRUPTED
        )

    def _fail_json(
        self, command: str, code: str, message: str, hint: str, exit_code: ExitCode
    ) -> None:
        if self.options.json:
            error = {"code": code, "message": message, "hint": hint, "exit_code": int(exit_code)}
            self._envelope(command, "error", {}, [error])

    def _envelope(
        self, command: str, status: str, data: Mapping[str, Any], errors: list[dict[str, Any]]
    ) -> None:
        envelope = {
            "version": JSON_VERSION,
            "command": command,
            "status": status,
            "data": dict(data),
            "errors": errors,
        }
        if self._warnings:
            envelope["data"] = {**data, "warnings": self._warnings}
        self._write(sys.stdout, json.dumps(self._mask_all(envelope)))

    def _mask(self, text: str) -> str:
        for value in self._hidden:
            text = text.replace(value, "***")
        return text

    def _mask_all(self, data: Any) -> Any:
        """The same data; its texts are masked before JSON escapes them once more."""
        if isinstance(data, str):
            return self._mask(data)
        if isinstance(data, Mapping):
            return {key: self._mask_all(each) for key, each in data.items()}
        return [self._mask_all(each) for each in data] if isinstance(data, list | tuple) else data

    def _say(self, text: str, style: str = "") -> None:
        if self.options.quiet:
            return
        line = self._style(printable(text), style)
        if self._say_above_bars is not None:
            self._say_above_bars(line)
        else:
            self._write(sys.stderr, line)

    def _style(self, text: str, style: str) -> str:
        if not style or not self.color:
            return text
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m"

    def _write(self, stream: TextIO | None, text: str, end: str = "\n") -> None:
        if stream is None:
            return
        try:
            stream.buffer.write(_encode(self._mask(text) + end))
            stream.flush()
        except OSError as error:
            _turn_off(stream)
            # A reader that is gone has what it wanted; a result that was lost is a failure.
            if stream is sys.stdout and not isinstance(error, BrokenPipeError):
                raise FileError(
                    f"the result cannot be written to stdout: {error.strerror}",
                    code="E_OUTPUT_PATH",
                    hint="send stdout somewhere that can be written to",
                ) from None


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
