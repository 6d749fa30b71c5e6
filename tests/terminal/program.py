"""Programs on a terminal of their own, and what it shows."""

import os
import re
import sys
import termios
from pathlib import Path

import pexpect
import pyte
import pytest
from pexpect.fdpexpect import fdspawn

from tests.waiting import HANG_S

ROOT = Path(__file__).resolve().parents[2]
ROWS = 24
_UNWANTED = ("CI", "COLUMNS", "NO_COLOR")
_BAR = re.compile("[━╸╺]")
# What moves the cursor or erases, as opposed to colours.
_MOVES = re.compile(r"\x1b\[[0-9;?]*[A-Zhl]|[\r\n]")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class Screen:
    """The screen of a terminal, with the lines that have left it at the top."""

    def __init__(self, columns, rows=ROWS):
        self.pyte = pyte.HistoryScreen(columns, rows, history=10_000, ratio=0.5)
        # A line feed begins a line, as the kernel's terminal makes of it for a real screen.
        self.pyte.set_mode(pyte.modes.LNM)
        self._stream = pyte.Stream(self.pyte)

    def feed(self, text):
        """Shows text."""
        self._stream.feed(text)

    @property
    def lines(self):
        """Every line that was shown and not erased, without blank ones at the end."""
        buffer = self.pyte.buffer
        rows = [*self.pyte.history.top, *(buffer[y] for y in range(self.pyte.lines))]
        lines = [_text(row, self.pyte.columns) for row in rows]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    @property
    def is_orderly(self):
        """Whether the cursor is visible at the start of a line, and colours have ended."""
        cursor = self.pyte.cursor
        return (cursor.hidden, cursor.x, cursor.attrs) == (False, 0, self.pyte.default_char)


def _text(row, columns):
    # Rows are sparse: most of a screen is empty.
    return "".join(row[x].data for x in range(min(columns, max(row, default=-1) + 1))).rstrip()


def bar_cells(line):
    """The cells of the bar in a line; 0 if there is none."""
    return len(_BAR.findall(line))


def broken_words(pieces, columns):
    """Words that the end of a line cuts in two, but for paths, hashes and commands to copy."""
    found = []
    for piece in pieces:
        for end in range(columns, len(piece), columns):
            if piece[end - 1 : end + 1].strip() == piece[end - 1 : end + 1]:
                found.append(piece[:end].split()[-1] + piece[end:].split()[0])
    return [word for word in found if not re.search(r"[/=]|[0-9a-f]{12}", word)]


class Program:
    """A program on a terminal, and its screen.

    code: once it has ended, the exit code, or the negative number of a signal.
    """

    def __init__(self, argv, env, *, columns=100, rows=ROWS, cwd=ROOT):
        """argv: a command line. env: its environment, without what changes the look."""
        self.columns = columns
        self.child = pexpect.spawn(
            str(argv[0]),
            [str(word) for word in argv[1:]],
            dimensions=(rows, columns),
            cwd=str(cwd),
            env={"TERM": "xterm-256color", **env},
            timeout=HANG_S,
        )
        self.child.delaybeforesend = None
        self.raw = b""

    def type(self, text):
        """Types text, or a key such as Ctrl-C: "\\x03"."""
        self.child.send(text)

    def until(self, text):
        """Waits until the terminal shows a text."""
        self._expect(text.encode())
        self.raw += self.child.after

    def _expect(self, text):
        try:
            self.child.expect_exact(text)
        except (pexpect.TIMEOUT, pexpect.EOF):
            self.raw += self.child.before
            pytest.fail(f"{text} was not shown, but:\n" + "\n".join(self.lines))
        self.raw += self.child.before

    def answer(self, question, text):
        """Types text at a question."""
        self.until(question)
        self.type(text)

    def end(self):
        """Waits for the end; gives the lines of the screen that are not blank."""
        self._expect(pexpect.EOF)
        self.modes = termios.tcgetattr(self.child.child_fd)
        self._close()
        return self.lines

    def _close(self):
        self.child.close()
        number = self.child.signalstatus
        self.code = self.child.exitstatus if number is None else -number

    @property
    def screen(self):
        """The screen as it is now."""
        screen = Screen(self.columns)
        screen.feed(self.raw.decode("utf-8", "replace"))
        return screen

    @property
    def lines(self):
        """The lines of the screen that are not blank."""
        return [line for line in self.screen.lines if line]

    @property
    def drawn(self):
        """Every piece of a line that was ever drawn, also what was erased later."""
        pieces = _MOVES.split(_COLOURS.sub("", self.raw.decode("utf-8", "replace")))
        # A Ctrl-C throws away what was not shown yet: half a colour is left of a bar cut so.
        return [piece.rstrip() for piece in pieces if piece.strip() and "\x1b" not in piece]

    @property
    def reads_lines(self):
        """Whether the terminal reads whole lines and shows what is typed, as a shell wants it."""
        return self.modes[3] & (termios.ICANON | termios.ECHO) == termios.ICANON | termios.ECHO


class ForkedProgram(Program):
    """A command of a fork server, which saves its imports, on a terminal."""

    def __init__(self, server, words, env, *, columns, rows=ROWS, cwd):
        self.columns, self.raw, self._server = columns, b"", server
        ours, theirs = os.openpty()
        termios.tcsetwinsize(theirs, (rows, columns))
        env = {"TERM": "xterm-256color", **env}
        self.pid = server.fork_on_terminal(words, env, cwd, theirs)
        self.child = fdspawn(ours, timeout=HANG_S)
        self.child.delaybeforesend = None
        os.close(theirs)

    def _close(self):
        self.code = self._server.status(self.pid, HANG_S)
        self.child.close()


def colourful(env):
    """An environment without what forbids colours and bars."""
    return {name: value for name, value in env.items() if name not in _UNWANTED}


def start_python(script, *words, columns=100, **variables):
    """A program that a test has written, on a terminal."""
    env = {**colourful(os.environ), **variables}
    return Program([sys.executable, "-c", script, *words], env, columns=columns)


def assert_orderly(program):
    """The program has ended without an internal error, and left the terminal as it was."""
    lines = program.lines
    shown = "\n".join(lines)
    assert "internal error" not in shown and "Traceback" not in shown, shown
    assert program.screen.is_orderly, shown
    assert program.reads_lines
    assert not broken_words(program.drawn, program.columns), shown
    assert_bars(program)


def assert_bars(program):
    """Bars are whole, wide enough, and none is left twice."""
    least = 20 if program.columns >= 80 else 12
    # At a Ctrl-C the terminal throws away what is on its way, also half of a bar, and echoes it.
    for piece in (each for each in program.drawn if bar_cells(each) and "^C" not in each):
        assert bar_cells(piece) >= least, piece
        assert len(piece) < program.columns, piece
    labels = [line.split("━")[0] for line in program.lines if bar_cells(line)]
    assert len(labels) == len(set(labels)), "\n".join(program.lines)
