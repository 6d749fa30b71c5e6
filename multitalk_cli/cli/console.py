"""The only printer: results on stdout, everything else on stderr."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, TextIO, TypeVar, cast

from multitalk_cli.cli import interrupts, layout
from multitalk_cli.cli.streams import (
    StreamForRich,
    is_dumb,
    is_foreground_terminal,
    lost_reader,
    terminal_width,
    without_controls,
    without_size,
    write,
)
from multitalk_cli.errors import ExitCode, FileError, MultitalkError, UsageError, masking
from multitalk_cli.reporting.formatting import printable
from multitalk_cli.reporting.reporter import LOOK_S

if TYPE_CHECKING:
    from pathlib import Path

    from multitalk_cli.cli.bars import LiveBars
    from multitalk_cli.cli.terminal import Terminal
    from multitalk_cli.reporting.reporter import Progress, StopRequests

Bars = TypeVar("Bars", bound="LiveBars")
JSON_VERSION = 1
PROGRESS_KINDS = ("auto", "bars", "plain", "json", "none")
BUG = "internal error of multitalk"
_ERROR_WIDTH, _NEXT_WIDTH = 7, 9
_NEXT = "next:"
_BELOW_BARS = b"\x1b[0m\r\n\x1b[?25h"
"""Ends colours, and shows the cursor on a line of its own."""
OTHER_PROGRAM = "ffmpeg"
"""The command whose words belong to another program."""
VALUED = "op"
"""Letters of options with a value, which may follow without a space: -oFILE, -pTEXT."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputOptions:
    """The global options that shape the output."""

    json: bool = False
    quiet: bool = False
    debug: bool = False
    color: bool = True
    progress: str = "auto"


def split_output_options(argv: Sequence[str]) -> tuple[list[str], OutputOptions]:
    """Separates the global options from a command line; words behind a `--` are files."""
    flags = {"--json": "json", "--quiet": "quiet", "-q": "quiet", "--debug": "debug"}
    rest: list[str] = []
    chosen: dict[str, Any] = {}
    words = deque(argv)
    while words:
        word = words.popleft()
        if word == "--":
            return [*rest, word, *words], OutputOptions(**chosen)
        if [*rest, word] == [OTHER_PROGRAM] and words and words[0] not in ("--", "--help"):
            return [word, "--", *words], OutputOptions(**chosen)
        if word in flags:
            chosen[flags[word]] = True
        elif _has_quiet(word):
            chosen["quiet"] = True
            rest.append(word.replace("q", "", 1))
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


def _has_quiet(word: str) -> bool:
    """Whether flags of one letter that were typed together hold -q: -fq, but not -pq."""
    letters = word[1:] if word[:1] == "-" and word[1:2] != "-" else ""
    flags = letters[: next((at for at, one in enumerate(letters) if one in VALUED), None)]
    return len(letters) > 1 and letters.isalpha() and "q" in flags


def check_output_options(options: OutputOptions) -> None:
    """Raises UsageError for an unknown kind of progress."""
    if options.progress not in PROGRESS_KINDS:
        kinds = ", ".join(PROGRESS_KINDS)
        raise UsageError(
            f"--progress must be one of {kinds}, not {options.progress!r}",
            code="E_RANGE",
            hint="multitalk --help",
        )


class Console:
    """The reporter of a terminal, and the printer of each command's one result.

    For a person the result is a path or a table on stdout; with `json` it is one object
    {version, command, status, data, errors}, also on failure.
    leaving: the message when a signal ends the command. typed: the words after `multitalk`.
    """

    def __init__(self, options: OutputOptions) -> None:
        self.options = options
        self._warnings: list[str] = []
        self._terminals: dict[str, Terminal] = {}
        self._has_bars = False
        self._modes = interrupts.terminal_modes()
        self.leaving = "interrupted; partial files removed"
        self.typed: Sequence[str] = ()
        self.is_interactive = is_foreground_terminal(sys.stderr)
        in_ci = bool(os.environ.get("CI"))
        is_plain = bool(os.environ.get("NO_COLOR")) or in_ci or is_dumb()
        self._wants_color = options.color and not is_plain
        self.color = self._wants_color and self.is_interactive
        self._animated = self.is_interactive and not in_ci and not is_dumb()

    @property
    def is_quiet(self) -> bool:
        """Whether only results and errors are wanted."""
        return self.options.quiet

    @property
    def can_ask(self) -> bool:
        """Whether a question would reach a person who can answer it."""
        is_for_program = self.options.json or self._says_json
        return self.is_interactive and is_foreground_terminal(sys.stdin) and not is_for_program

    # The reporter

    def fact(self, label: str, text: str, *, wraps: bool = True) -> None:
        """A fact that was found or decided. wraps: False for a URL, which must stay whole."""
        self._report("fact", layout.Row(label, text, wraps=wraps))

    def adjusted(self, text: str) -> None:
        """An automatic adjustment, reported so that nothing happens silently."""
        self._report("adjusted", layout.Row("adjusted", text, "dim"))

    def warn(self, text: str) -> None:
        """Something that may spoil the result. Lines after the first are commands that help."""
        self._warnings.append(text)
        sentence, *commands = [text] if self._says_json else text.split("\n")
        self._report("warning", layout.Row("warning", sentence, "yellow"))
        for command in commands:
            self._report("warning", layout.Row("", command, "bold", width=2, wraps=False))

    def note(self, text: str = "") -> None:
        """A line between the facts."""
        self._report("note", layout.Line(text))

    def next(self, command: str) -> None:
        """The command that comes next."""
        text = f"{_NEXT}  {command}"
        is_drawn = not self._says_json and self._is_drawn(sys.stderr)
        whole = layout.Row(_NEXT, command, "bold", width=len(_NEXT) + 2, wraps=False)
        self._report("note", whole if is_drawn else layout.Line(text))

    def confirm(self, question: str, about: str = "") -> bool:
        """The answer to a yes-or-no question on the terminal; anything but yes is no.

        about: a line before the question, such as the price, shown also with --quiet.
        """
        if about:
            self.tell(about)
        # An Enter while the command started, or a yes to a price that was not seen, is no answer.
        interrupts.drop_typed()
        return self.ask(f"{question} [y/N]", end=" ").strip().lower() in ("y", "yes")

    def tell(self, text: str) -> None:
        """A line for a person who was asked something or answered, shown also with --quiet."""
        self._show(sys.stderr, layout.Line(text))

    def ask(self, question: str, end: str = ": ") -> str:
        """A line of text that the user types on the terminal."""
        self._show(sys.stderr, layout.Line(question), end=end)
        answer = ""
        try:
            # Bytes that are no text are no answer.
            with suppress(UnicodeDecodeError):
                answer = sys.stdin.readline()
        finally:
            if not answer.endswith("\n"):
                # Ctrl-C or Ctrl-D: what follows begins its own line.
                write(sys.stderr, "\n")
        return answer

    def ask_hidden(self, question: str) -> str:
        """A line that is not shown while it is typed; empty at the end of input."""
        import getpass

        while True:
            try:
                return getpass.getpass(f"{printable(question)}: ", stream=sys.stderr)
            except UnicodeDecodeError:
                write(sys.stderr, "\n")
                self.tell("what was typed has bytes that are no text; type it again")
            except EOFError:
                write(sys.stderr, "\n")
                return ""
            except KeyboardInterrupt:
                write(sys.stderr, "\n")
                raise

    def hide(self, values: Iterable[str]) -> None:
        """Masks these values in everything that is printed from now on."""
        masking.hide(values)

    def reveal(self, text: str) -> None:
        """Prints exactly this text as it is, although keys are part of it."""
        masking.reveal(text)

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """A view of events in the form that was asked for, open until the block ends."""
        from multitalk_cli.cli import progress

        kind = self.progress_kind
        if kind != "bars":
            yield progress.lines_view(kind, self.write_progress)
            return
        from multitalk_cli.cli.bars import BarsView

        with self.bars(BarsView(self.progress_terminal)) as bars:
            yield bars

    @property
    def progress_kind(self) -> str:
        """The form in which progress is shown: bars, plain, json or none."""
        kind = self.options.progress
        if kind == "auto":
            has_room = terminal_width(sys.stderr) > layout.LEAST_WIDTH
            kind = "bars" if self._animated and has_room else "plain"
            kind = "none" if self.options.quiet else kind
        return kind

    def write_progress(self, line: str) -> None:
        """Prints a line of progress as it is."""
        write(sys.stderr, f"{line}\n")

    @property
    def progress_terminal(self) -> Terminal:
        """Rich where progress is drawn."""
        return self._terminal(sys.stderr)

    @contextmanager
    def bars(self, drawn: Bars) -> Iterator[Bars]:
        """Draws bars until the block ends."""
        self._has_bars = True
        try:
            with (
                drawn as bars,
                interrupts.job_control(bars.pause, self._modes, self.restore_terminal),
            ):
                yield bars
        finally:
            self._has_bars = False

    def stop_requests(self, look_s: float = LOOK_S) -> AbstractContextManager[StopRequests]:
        """Signals held back inside the block; a person is asked what Ctrl-C means."""
        tell = self.tell if self.can_ask else self.note
        held = interrupts.PendingSignals(tell, can_ask=self.can_ask, look_s=look_s)
        return interrupts.hold_signals(held, before_end=self.restore_terminal)

    @property
    def has_bars(self) -> bool:
        """Whether bars are drawn now, which hide the cursor of a terminal."""
        return self._has_bars

    def restore_terminal(self) -> None:
        """Leaves the terminal as it was found; for a signal that ends the process at once."""
        # Neither Rich nor a stream: the signal may have come while they were locked.
        with suppress(OSError):
            if self._has_bars and os.isatty(2):
                os.write(2, _BELOW_BARS)
        interrupts.restore_modes(self._modes)

    @contextmanager
    def redirect_stdout(self) -> Iterator[None]:
        """Sends what a library prints on stdout inside the block to where progress belongs."""
        with redirect_stdout(sys.stderr):
            yield

    # Results

    def succeed(
        self,
        command: str,
        data: Mapping[str, Any],
        blocks: Sequence[layout.Block] = (),
        errors: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """The result: `data` as JSON, or `blocks` for a person or a script.

        errors: failures that the result holds, as in the JSON.
        """
        if self.options.json:
            status = "error" if errors else "ok"
            self._envelope(command, status, data, [dict(each) for each in errors])
        else:
            for block in blocks:
                self._show(sys.stdout, block)

    def result_line(self, data: Mapping[str, Any]) -> None:
        """One of several results, as a JSON object on a line of its own, with the version."""
        line = {"version": JSON_VERSION, **data}
        write(sys.stdout, f"{json.dumps(masking.mask_all(line))}\n")

    @property
    def columns(self) -> int:
        """The columns that a result may take, however few."""
        return min(shutil.get_terminal_size().columns, terminal_width(sys.stdout))

    @property
    def shows_results(self) -> bool:
        """Whether a person sees what is written to stdout."""
        return sys.stdout is not None and sys.stdout.isatty()

    def stream(self, file: Path) -> None:
        """The result as the bytes of a file, on stdout."""
        if sys.stdout is None:
            return
        with file.open("rb") as content, lost_reader(sys.stdout):
            shutil.copyfileobj(content, sys.stdout.buffer, 1 << 20)
            sys.stdout.flush()

    def show_page(self, command: str, blocks: Sequence[layout.Block]) -> None:
        """A page of help: wrapped at words also on a pipe."""
        if self.options.json:
            self._envelope(command, "ok", {"help": self._draw_page(blocks)}, [])
        elif self._is_drawn(sys.stdout):
            for block in blocks:
                self._show(sys.stdout, block)
        else:
            write(sys.stdout, f"{self._draw_page(blocks)}\n")

    def fail(self, command: str, error: MultitalkError, hint: str = "") -> None:
        """An error that the user can act on. hint: the command that helps, if not the error's."""
        hint = hint if hint else error.hint
        head, *details = error.message.split("\n") if error.message else [""]
        # Of a program that failed.
        details += getattr(error, "log", "").split("\n") if self.options.debug else []
        where = f"({error.code}, exit {int(error.exit_code)}; multitalk explain {error.code})"
        self._show_error(
            layout.Row("error:", head, label_style="red", width=_ERROR_WIDTH),
            *(layout.Line(line, indent=2) for line in details),
            *(
                layout.Row(name, line, "bold", width=_NEXT_WIDTH, wraps=not layout.is_command(line))
                for name, line in zip_longest(["  next:"], hint.split("\n"), fillvalue="")
            ),
            layout.Line(where, "dim", indent=2),
        )
        self._fail_json(command, error.code, error.message, hint, error.exit_code)

    def bug(self, command: str, error: Exception, trace: str) -> None:
        """An error of ours."""
        seen = f"{type(error).__name__}: {error}"
        advice = "run the command again with --debug: its traceback shows where"
        self._show_error(
            layout.Row("error:", BUG, label_style="red", width=_ERROR_WIDTH),
            layout.Line(seen, indent=2),
            trace.rstrip()
            if self.options.debug
            else layout.Row("  next:", advice, width=_NEXT_WIDTH),
        )
        self._fail_json(command, "E_BUG", seen, "run again with --debug", ExitCode.BUG)

    def interrupted(self, command: str) -> None:
        """Ctrl-C or a signal."""
        if sys.stderr is not None and sys.stderr.isatty():
            # Over the terminal's echo of Ctrl-C.
            write(sys.stderr, "\r")
        self.note(self.leaving)
        self._fail_json(
            command, "E_INTERRUPTED", "interrupted", "run it again", ExitCode.INTERRUPTED
        )

    def _fail_json(
        self, command: str, code: str, message: str, hint: str, exit_code: ExitCode
    ) -> None:
        error = {"code": code, "message": message, "hint": hint, "exit_code": int(exit_code)}
        if self._says_json:
            write(sys.stderr, f"{json.dumps(masking.mask_all({'event': 'error', **error}))}\n")
        if self.options.json:
            # The error itself counts, and its exit code: not that stdout is full too.
            with suppress(FileError):
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
        write(sys.stdout, f"{json.dumps(masking.mask_all(envelope))}\n")

    # Printing

    @property
    def _says_json(self) -> bool:
        """Whether stderr is for a program."""
        return self.options.progress == "json"

    def _report(self, event: str, block: layout.Line | layout.Row) -> None:
        if self.options.quiet:
            return
        if not self._says_json:
            self._show(sys.stderr, block)
        elif block.text:
            label = (
                {"label": block.label} if event == "fact" and isinstance(block, layout.Row) else {}
            )
            line = masking.mask_all({"event": event, **label, "text": block.text})
            write(sys.stderr, f"{json.dumps(line)}\n")

    def _show_error(self, *blocks: layout.Block) -> None:
        if not self._says_json:
            for block in blocks:
                self._show(sys.stderr, block)

    def _clean(self, text: str) -> str:
        """A text without secrets and without characters that move the cursor."""
        return printable(masking.mask(text))

    def _is_drawn(self, stream: TextIO | None) -> bool:
        return is_foreground_terminal(stream) and not is_dumb()

    def _show(self, stream: TextIO | None, block: layout.Block, end: str = "\n") -> None:
        """Prints a block: laid out on a terminal, plain elsewhere."""
        if isinstance(block, str) and stream is not None and stream.isatty():
            write(stream, without_controls(block) + end)
        elif isinstance(block, str):
            write(stream, block + end)
        elif self._is_drawn(stream):
            self._draw(self._terminal(stream), block, terminal_width(stream), end)
        else:
            for line in layout.plain(block, self._clean):
                write(stream, line + end)

    def _draw(self, terminal: Terminal, block: layout.Block, width: int, end: str) -> None:
        from rich.text import Text

        shown = Text(block) if isinstance(block, str) else layout.drawn(block, self._clean, width)
        keeps = isinstance(block, str) or (isinstance(block, layout.Row) and not block.wraps)
        terminal.print(shown, width=width, end=end, soft_wrap=keeps, crop=False)

    def _terminal(self, stream: TextIO | None) -> Terminal:
        """Rich on a stream; one for each, so that lines are printed above its bars."""
        from multitalk_cli.cli.terminal import Terminal

        # Not the stream itself: bars put another in its place while they are drawn.
        name = "stderr" if stream is sys.stderr else "stdout"
        if name not in self._terminals:
            self._terminals[name] = Terminal(
                lambda: terminal_width(stream),
                file=cast(TextIO, StreamForRich(stream)),
                force_terminal=is_foreground_terminal(stream),
                color_system="auto" if self._wants_color else None,
                no_color=not self._wants_color,
                _environ=without_size(),
            )
        return self._terminals[name]

    def _draw_page(self, blocks: Sequence[layout.Block]) -> str:
        """A page as text, without styles."""
        from multitalk_cli.cli.terminal import Terminal

        page = io.StringIO()
        width = terminal_width()
        terminal = Terminal(
            lambda: width,
            file=page,
            force_terminal=False,
            color_system=None,
            _environ=without_size(),
        )
        for block in blocks:
            self._draw(terminal, block, width, "\n")
        return "\n".join(line.rstrip() for line in page.getvalue().split("\n")).rstrip("\n")
