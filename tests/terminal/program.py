"""Programs on a terminal of their own, and what it shows."""

import os
import re
import sys
import termios
from itertools import pairwise
from pathlib import Path

import pexpect
import pyte

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


def broken_words(lines, columns):
    """Words that the end of a line cuts in two, but for paths, hashes and commands to copy."""
    found = []
    for first, second in pairwise(lines):
        is_cut = len(first) == columns and second and not second.startswith(" ")
        if is_cut:
            found.append(first.split()[-1] + second.split()[0])
    return [word for word in found if not re.search(r"[/=]|[0-9a-f]{12}", word)]


class Program:
    """A program on a terminal, and its screen."""

    def __init__(self, argv, env, *, columns=100, rows=ROWS, cwd=ROOT):
        """argv: a command line. env: its environment, without what changes the look."""
        self.columns = columns
        self.child = pexpect.spawn(
            str(argv[0]),
            [str(word) for word in argv[1:]],
            dimensions=(rows, columns),
            cwd=str(cwd),
            env={"TERM": "xterm-256color", **env},
            timeout=20,
        )
        self.child.delaybeforesend = None
        self.raw = b""

    def until(self, text):
        """Waits until the terminal shows a text."""
        self.child.expect_exact(text)
        self.raw += self.child.before + self.child.after

    def answer(self, question, text):
        """Types text at a question."""
        self.until(question)
        self.child.send(text)

    def end(self):
        """Waits for the end; gives the lines of the screen that are not blank."""
        self.child.expect(pexpect.EOF)
        self.raw += self.child.before
        self.modes = termios.tcgetattr(self.child.child_fd)
        self.child.close()
        return self.lines

    @property
    def code(self):
        """The exit code; the negative number of a signal."""
        number = self.child.signalstatus
        return self.child.exitstatus if number is None else -number

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
        return [piece.rstrip() for piece in pieces if piece.strip()]

    @property
    def reads_lines(self):
        """Whether the terminal reads whole lines and shows what is typed, as a shell wants it."""
        return self.modes[3] & (termios.ICANON | termios.ECHO) == termios.ICANON | termios.ECHO


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
    assert not broken_words(lines, program.columns), shown
    assert_bars(program)


def assert_bars(program):
    """Bars are whole, wide enough, and none is left twice."""
    least = 20 if program.columns >= 80 else 12
    for piece in program.drawn:
        assert bar_cells(piece) == 0 or bar_cells(piece) >= least, piece
        assert bar_cells(piece) == 0 or len(piece) < program.columns, piece
    labels = [line.split("━")[0] for line in program.lines if bar_cells(line)]
    assert len(labels) == len(set(labels)), "\n".join(program.lines)
