"""Bars on screens of any width: they stand every order of events, and never break a line."""

import io
import re
import textwrap
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.control import Control

from multitalk_cli.cli.bars import BarsView
from multitalk_cli.cli.terminal import Terminal
from multitalk_cli.contract import Fetching, Queued, Stage, Step, WindowDone
from tests.repetitions import examples
from tests.terminal.program import Screen, assert_orderly, bar_cells, start_python
from tests.terminal.screens import assert_kept
from tests.terminal.timelines import LONGEST, Clock, download, lost_connection, timelines
from tests.terminal.timelines import video as video_timeline

pytestmark = pytest.mark.slow

WIDTHS = (60, 80, 100, 140)
ROWS = 60


class ScreenFile(io.StringIO):
    """A screen as a file; each piece of text is shown whole, as bars move in another thread."""

    def __init__(self, columns):
        super().__init__()
        self.screen, self._lock = Screen(columns, ROWS), threading.Lock()

    def write(self, text):
        with self._lock:
            self.screen.feed(text)
        return len(text)

    @property
    def lines(self):
        with self._lock:
            return self.screen.lines


def play(columns, timeline, *, prints=False, fails=False, every=1):
    """The screen at the end, and its lines after each event. prints: a line after each.

    every: only each so many events are drawn.
    """
    file, clock, shown = ScreenFile(columns), Clock(), []
    look = {"force_terminal": True, "color_system": "256", "no_color": False}
    terminal = Terminal(lambda: columns, file=file, height=ROWS, **look)
    try:
        with BarsView(terminal, clock) as view:
            for number, (pause_s, event, spent_usd) in enumerate(timeline):
                clock.now_s += pause_s
                view.show(event, spent_usd)
                if number % every == 0:
                    terminal.print(f"line {number}" if prints else Control())
                    shown.append(file.lines)
            if fails:
                raise RuntimeError("lost")
    except RuntimeError:
        pass
    return file.screen, [*shown, file.lines]


def assert_bars(bars, columns):
    for bar in bars:
        assert bar_cells(bar) >= (20 if columns >= 80 else 12), bar
        assert len(bar) < columns
        assert re.match(r"[^━╺]{11,} [━╺╸]", bar), bar


@settings(max_examples=examples(40))
@given(st.sampled_from(WIDTHS), timelines, st.booleans())
def test_bars_stand_any_order_of_events_at_any_width(columns, timeline, fails):
    screen, shown = play(columns, timeline, prints=True, fails=fails)

    assert screen.is_orderly
    for number, lines in enumerate(shown, start=1):
        printed = [line for line in lines if re.fullmatch(r"line \d+", line)]
        assert printed == [f"line {n}" for n in range(min(number, len(timeline)))]
        assert_bars(lines[len(printed) :], columns)


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize(
    "timeline",
    [
        list(download()),
        list(video_timeline(windows=3)),
        list(video_timeline(windows=300, steps=1)),
        lost_connection(),
    ],
    ids=["download", "video", "hundreds of windows", "lost connection"],
)
def test_bars_of_real_work_keep_their_place(columns, timeline):
    screen, shown = play(columns, timeline, every=len(timeline) // 15)

    assert screen.is_orderly
    for lines in shown:
        assert_bars(lines, columns)
        labels = [line.split()[0] for line in lines]
        assert len(labels) == len(set(labels))


@pytest.mark.parametrize("columns", [60, 80])
@pytest.mark.parametrize(
    ("name", "timeline"), [("download", list(download())), ("video", list(video_timeline()))]
)
def test_bars_look_as_kept(columns, name, timeline):
    _, shown = play(columns, timeline)
    # Each kind of work on its first event, in its middle and at its end would be too much to read.
    moments = [shown[at] for at in range(1, len(shown), max(1, len(shown) // 8))]
    lines = [line for moment in [*moments, shown[-1]] for line in [*moment, ""]]

    assert_kept(f"bars-{name}-{columns}", lines[:-1])


@pytest.mark.parametrize("columns", WIDTHS)
def test_names_are_shortened_so_that_amounts_and_bars_keep_their_room(columns):
    first, fetch = (
        Fetching(
            name=LONGEST,
            number=11,
            count=14,
            file_bytes=file_bytes,
            file_total_bytes=9_900_000_000,
            done_bytes=done_bytes,
            total_bytes=92_500_000_000,
        )
        for file_bytes, done_bytes in ((0, 31_900_000_000), (6_200_000_000, 38_100_000_000))
    )
    _, shown = play(columns, [(0.0, first, None), (15.6, fetch, None)])

    whole, file = shown[1]
    assert re.search("━ 38.1/92.5 GB  .*2 min 20 s left$", whole)
    assert ("397 MB/s" in whole) == (columns > 60)
    assert "6.2/9.9 GB" in file
    assert "…" in file
    assert file.endswith("tensors")
    assert whole.rindex("━") == file.rindex("━")


def test_a_wait_shows_its_time_and_what_is_usual():
    _, shown = play(80, [(0.0, Queued(), None), (0.0, Queued(), None), (72.0, Queued(), None)])

    assert shown[1][0].endswith("━ for a GPU  usually 1-2 min")
    assert shown[2][0].endswith("━ for a GPU, 1 min 10 s  usually 1-2 min")


def test_a_lost_connection_leaves_no_bar_once_it_is_back():
    step = Step(window=1, windows=2, step=3, steps=20)
    timeline = [(0.0, step, 0.1), (5.0, Stage(name="reconnecting"), 0.1), (5.0, step, 0.1)]
    _, shown = play(80, timeline)

    assert [line.split()[0] for line in shown[1]] == ["window", "reconnecting"]
    assert [line.split()[0] for line in shown[2]] == ["window"]
    assert "step 3/20" in shown[1][0]


def test_a_failure_leaves_the_bar_where_it_was_and_promises_nothing():
    steps = [(9.0, Step(window=1, windows=1, step=n, steps=20), 0.1) for n in (1, 2, 3)]
    _, shown = play(80, steps, fails=True)

    assert "left" in shown[2][0]
    assert shown[3][0].endswith("step 3/20")
    assert "╺" in shown[3][0] or "╸" in shown[3][0]


def test_bars_without_a_terminal_print_their_end_once():
    file = io.StringIO()
    with BarsView(Terminal(lambda: 100, file=file), Clock()) as view:
        for window in (1, 2):
            view.show(Step(window=window, windows=2, step=4, steps=4))
            view.show(WindowDone(window=window, windows=2))

    assert file.getvalue().count("window 2/2") == 1


# A process


SCRIPT = textwrap.dedent("""
    import sys, time
    from multitalk_cli.contract import Loading, Stage, Step, WindowDone
    from multitalk_cli.cli.console import Console, OutputOptions

    output = Console(OutputOptions())
    output.fact("plan", "2 windows")
    try:
        with output.progress() as progress:
            progress.show(Loading(done_bytes=500_000, total_bytes=1_000_000))
            progress.show(Stage(name="encoding", done=1, total=3))
            for window in (1, 2):
                for step in (1, 2, 3, 4):
                    progress.show(Step(window=window, windows=2, step=step, steps=4))
                    time.sleep(0.15)
                    if (window, step) == (2, 2):
                        output.warn("a mouth is hidden")
                        if sys.argv[1:]:
                            time.sleep(30)
                progress.show(WindowDone(window=window, windows=2))
    except KeyboardInterrupt:
        output.note("interrupted")
    output.succeed("generate", {}, ["/home/me/voice.mp4"])
""")


def test_bars_end_full_with_messages_above_them():
    screen = start_python(SCRIPT).end()

    assert screen[:2] == ["plan            2 windows", "warning         a mouth is hidden"]
    assert [line.partition(" ━")[0].rstrip() for line in screen[2:5]] == [
        "loading",
        "encoding",
        "window 2/2",
    ]
    assert screen[4].endswith("step 4/4")
    assert screen[5:] == ["/home/me/voice.mp4"]


def test_bars_show_the_step_and_the_time_left_while_they_run():
    terminal = start_python(SCRIPT, "wait")
    terminal.until("a mouth is hidden")
    terminal.until("left")
    terminal.child.sendintr()

    assert "step 2/4" in terminal.raw.decode()
    terminal.end()


def test_an_interrupted_bar_gives_the_cursor_back():
    terminal = start_python(SCRIPT, "wait")
    terminal.until("a mouth is hidden")
    terminal.child.sendintr()
    screen = terminal.end()

    assert "interrupted" in screen
    assert_orderly(terminal)


@pytest.mark.parametrize("name", ["NO_COLOR", "CI"])
def test_colours_can_be_unwanted(surroundings, name):
    terminal = start_python(SCRIPT, **{name: "1"})
    terminal.end()

    assert b"\x1b[33m" not in terminal.raw
    assert b"\x1b[3" not in terminal.raw.replace(b"\x1b[39m", b"")


def test_colours_are_used_on_a_terminal():
    terminal = start_python(SCRIPT)
    terminal.end()

    assert b"\x1b[33m" in terminal.raw


@pytest.mark.parametrize("name", ["dumb", "unknown", ""])
def test_a_terminal_that_can_do_nothing_gets_lines(name):
    terminal = start_python(SCRIPT, TERM=name)

    assert terminal.end() == [
        "plan        2 windows",
        "warning     a mouth is hidden",
        "/home/me/voice.mp4",
    ]
    assert b"\x1b" not in terminal.raw


def test_a_width_of_an_earlier_window_breaks_no_line():
    """COLUMNS stays as it was exported when the window is made narrower."""
    terminal = start_python(SCRIPT, columns=60, COLUMNS="120")
    lines = terminal.end()

    assert_orderly(terminal)
    assert sum(bar_cells(line) > 0 for line in lines) == 3


PATH_SCRIPT = r"""
import sys
from multitalk_cli.cli.console import Console, OutputOptions
console = Console(OutputOptions(color=False))
console.succeed("generate", {}, ["/home/me/\x1b[31mred\x07\x9b2J\u202e.mp4", "if\tso\nthen"])
"""


def test_a_path_with_controls_does_nothing_to_the_terminal():
    terminal = start_python(PATH_SCRIPT)
    lines = terminal.end()

    assert not re.search(rb"[\x00-\x08\x1b\x7f]|\xc2\x9b|\xe2\x80\xae", terminal.raw)
    assert lines == [r"/home/me/\x1b[31mred\x07\x9b2J\u202e.mp4", "if      so", "then"]
