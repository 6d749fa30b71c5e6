"""Progress: bounded lines on a pipe, JSON lines for programs, bars for people."""

import io
import json
import os
import re
import sys
import textwrap
import threading
from dataclasses import replace

import pyte
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multitalk_cli.cli.progress import open_view
from multitalk_cli.cli.terminal import Terminal
from multitalk_cli.contract import (
    Done,
    Failed,
    Fetching,
    Loading,
    Queued,
    Result,
    Stage,
    Step,
    WindowDone,
    event_from_wire,
    to_wire,
)
from tests.cli.programs import Program

RESULT = Result(
    job_id="0123456789abcdef",
    backend="modal",
    model_output=True,
    frames=135,
    fps=24,
    width_px=896,
    height_px=448,
    size_bytes=1,
    seed=0,
    recipe='{"seed": 0}',
)


class Clock:
    """A clock that only moves when told to."""

    def __init__(self):
        self.now_s = 100.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


def play(kind, clock, timeline):
    """The lines that a view prints when (seconds, event) pairs happen after one another."""
    lines = []

    def terminal():
        return Terminal(file=sys.stderr, width=100)

    with open_view(kind, write=lines.append, terminal=terminal, clock=clock) as view:
        for pause_s, event in timeline:
            clock.now_s += pause_s
            view.show(event)
    return lines


def steps(windows, count, seconds):
    """The events of a run in which every step takes equally long."""
    for window in range(1, windows + 1):
        for step in range(1, count + 1):
            yield seconds, Step(window=window, windows=windows, step=step, steps=count)
        yield 0.0, WindowDone(window=window, windows=windows)


# Plain


def test_plain_lines_come_at_most_every_ten_seconds(clock):
    lines = play("plain", clock, steps(windows=5, count=20, seconds=1.0))

    assert len(lines) == 10
    assert lines[0].startswith("window 1/5  step 10/20")


@given(st.lists(st.floats(0, 30), max_size=60))
def test_plain_lines_are_bounded_whatever_happens(pauses):
    clock = Clock()
    lines = play("plain", clock, [(pause_s, Queued()) for pause_s in pauses])

    assert len(lines) <= sum(pauses) / 10


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (Queued(), "waiting     for a GPU"),
        (
            Loading(done_bytes=38_100_000_000, total_bytes=81_900_000_000),
            "loading     38.1 GB of 81.9 GB",
        ),
        (Stage(name="encoding"), "encoding"),
        (Stage(name="drawing", done=3, total=9), "drawing     3/9"),
    ],
)
def test_plain_lines_say_what_is_done(clock, event, line):
    assert play("plain", clock, [(10.0, event)]) == [line]


def fetching(done_bytes, number=1):
    return Fetching(
        name=f"file-{number}.pth",
        number=number,
        count=2,
        file_bytes=done_bytes % 1_000_000,
        file_total_bytes=1_000_000,
        done_bytes=done_bytes,
        total_bytes=4_000_000,
    )


def test_fetching_tells_speed_and_time_left_of_what_this_run_fetches(clock):
    lines = play("plain", clock, [(0.0, fetching(1_000_000)), (10.0, fetching(2_000_000, 2))])

    assert lines == ["fetching    2 MB of 4 MB, 100 kB/s, 20 s left"]


def test_a_short_run_says_nothing_on_a_pipe(clock):
    assert play("plain", clock, steps(windows=1, count=9, seconds=1.0)) == []


def test_the_time_left_counts_the_steps_of_all_windows(clock):
    lines = play("plain", clock, steps(windows=2, count=20, seconds=10.0))

    assert lines[0] == "window 1/2  step 1/20"
    assert lines[19] == "window 1/2  step 20/20, 3 min 20 s left"
    assert lines[20] == "window 2/2  step 1/20, 3 min 10 s left"


def test_kept_windows_do_not_shorten_the_time_left(clock):
    resumed = [
        (0.0, WindowDone(window=1, windows=3)),
        (0.0, Step(window=2, windows=3, step=1, steps=10)),
        (10.0, Step(window=2, windows=3, step=2, steps=10)),
    ]

    assert play("plain", clock, resumed)[-1] == "window 2/3  step 2/10, 3 min left"


def test_no_time_is_promised_before_there_is_one(clock):
    lines = play("plain", clock, [(60.0, Stage(name="drawing", done=5, total=9))])

    assert lines == ["drawing     5/9"]


# JSON


def test_json_lines_are_events_of_the_contract(clock):
    events = [
        Queued(),
        Loading(done_bytes=1, total_bytes=2),
        Stage(name="encoding", done=1, total=1),
        Step(window=1, windows=1, step=1, steps=2),
        WindowDone(window=1, windows=1),
        Done(result=RESULT),
        Failed(code="E_REMOTE", message="\u202e", hint=""),
    ]
    lines = play("json", clock, [(0.0, event) for event in events])

    bodies = [json.loads(line) for line in lines]
    assert bodies[5]["result"]["recipe"] == {"seed": 0}
    bodies[5]["result"]["recipe"] = RESULT.recipe
    version = {name: to_wire(Queued())[name] for name in ("contract", "client")}
    read = [event_from_wire({"kind": body.pop("event"), **version, **body}) for body in bodies]
    assert read == events
    assert all(line.isprintable() for line in lines)


def test_json_lines_say_nothing_of_the_wire(clock):
    (line,) = play("json", clock, [(0.0, Queued())])

    assert json.loads(line) == {"event": "queued"}


def test_json_lines_are_bounded_but_the_end_of_a_stage_is_told(clock):
    frames = [(0.001, Stage(name="drawing", done=n, total=2000)) for n in range(2001)]
    lines = play("json", clock, frames)

    assert len(lines) <= 23
    assert json.loads(lines[0])["done"] == 0
    assert json.loads(lines[-1])["done"] == 2000


def test_a_new_stage_is_told_at_once(clock):
    lines = play("json", clock, [(0.0, Stage(name=name)) for name in ("encoding", "drawing")])

    assert [json.loads(line)["name"] for line in lines] == ["encoding", "drawing"]


# None and bars


def test_none_shows_nothing(clock, capsys):
    assert play("none", clock, steps(windows=1, count=3, seconds=20.0)) == []
    assert capsys.readouterr() == ("", "")


def test_bars_without_a_terminal_print_their_end_once(clock, monkeypatch):
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)

    play("bars", clock, steps(windows=2, count=5, seconds=1.0))

    assert stderr.getvalue().count("window 2/2") == 1


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


LONG = "models_clip_open-clip-xlm-roberta-large-vit-huge-14-onlyvisual.safetensors"
amounts = st.integers(0, 82_000_000_000)
pairs = st.tuples(amounts, amounts).map(sorted)
counts = st.integers(1, 12)
events = st.one_of(
    st.just(Queued()),
    pairs.map(lambda p: Loading(done_bytes=p[0], total_bytes=p[1])),
    st.builds(
        lambda file, all_, number, name: Fetching(
            name=name,
            number=min(number, 14),
            count=14,
            file_bytes=file[0],
            file_total_bytes=file[1],
            done_bytes=all_[0],
            total_bytes=all_[1],
        ),
        pairs,
        pairs,
        counts,
        st.sampled_from([LONG, "a.json", "wan/\u30d5\u30a1\u30a4\u30eb.safetensors"]),
    ),
    st.builds(
        lambda name, p: Stage(name=name, done=p[0], total=p[1]),
        st.sampled_from(["encoding", "drawing", "uploading", "fetching", "figures"]),
        st.sampled_from([(0, 0), (0, 9), (3, 9), (9, 9), (1_000_000, 250_000_000)]),
    ),
    st.builds(
        lambda w, s: Step(window=min(w), windows=max(w), step=min(s), steps=max(s)),
        st.tuples(counts, counts),
        st.tuples(counts, counts),
    ),
    counts.map(lambda n: WindowDone(window=n, windows=12)),
    st.just(Done(result=RESULT)),
    st.just(Failed(code="E_REMOTE", message="out of memory", hint="")),
)


class Screen(io.StringIO):
    """A terminal's screen; each piece of text is shown whole, as bars move in another thread."""

    def __init__(self, width):
        super().__init__()
        self.pyte = pyte.Screen(width, 200)
        self.pyte.set_mode(pyte.modes.LNM)
        self._stream, self._lock = pyte.Stream(self.pyte), threading.Lock()

    def write(self, text):
        with self._lock:
            self._stream.feed(text)
        return len(text)

    @property
    def lines(self):
        with self._lock:
            return [line.rstrip() for line in self.pyte.display if line.strip()]


def on_screen(width, timeline, fails=False):
    """The screen, and its lines after each event (pause, event, dollars) and a printed line."""
    screen, clock, drawn = Screen(width), Clock(), []
    look = {"force_terminal": True, "color_system": "256", "no_color": False}
    terminal = Terminal(file=screen, width=width, height=200, **look)
    try:
        with open_view("bars", write=print, terminal=lambda: terminal, clock=clock) as view:
            for number, (pause_s, event, spent_usd) in enumerate(timeline):
                clock.now_s += pause_s
                view.show(event, spent_usd)
                terminal.print(f"line {number}")
                drawn.append(screen.lines)
            if fails:
                raise RuntimeError("lost")
    except RuntimeError:
        pass
    return screen.pyte, [*drawn, screen.lines]


@settings(max_examples=60)
@given(
    st.sampled_from([60, 80, 100, 140]),
    st.lists(
        st.tuples(st.floats(0, 900), events, st.none() | st.floats(0, 1000)),
        min_size=1,
        max_size=12,
    ),
    st.booleans(),
)
def test_bars_stand_any_order_of_events_at_any_width(width, timeline, fails):
    screen, drawn = on_screen(width, timeline, fails)

    assert not screen.cursor.hidden
    assert screen.cursor.x == 0
    for number, lines in enumerate(drawn, start=1):
        printed = [line for line in lines if re.fullmatch(r"line \d+", line)]
        bars = lines[len(printed) :]
        assert printed == [f"line {n}" for n in range(min(number, len(timeline)))]
        assert all(re.match(r"(waiting|\w+|window \S+|file \S+) ", bar) for bar in bars)
        for bar in bars:
            assert len(re.findall("[━╸╺]", bar)) >= (12 if width < 80 else 20), bar


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_bars_keep_their_width_and_names_are_shortened(width):
    fetch = Fetching(
        name=LONG,
        number=11,
        count=14,
        file_bytes=6_200_000_000,
        file_total_bytes=9_900_000_000,
        done_bytes=38_100_000_000,
        total_bytes=92_500_000_000,
    )
    first = replace(fetch, file_bytes=0, done_bytes=31_900_000_000)
    _, drawn = on_screen(width, [(0.0, first, None), (15.6, fetch, None)])

    _, _, whole, file = drawn[1]
    assert "38.1/92.5 GB, 397 MB/s" in whole
    assert ("left" in whole) == (width > 60)
    assert "6.2/9.9 GB" in file
    assert ("…" in file and file.endswith("tensors")) == (width < 140)
    assert whole.rindex("━") == file.rindex("━")


@pytest.mark.parametrize("kind", ["plain", "json", "none"])
@given(timeline=st.lists(st.tuples(st.floats(0, 900), events), max_size=12))
def test_lines_stand_any_order_of_events(kind, timeline):
    lines = play(kind, Clock(), timeline)

    assert all(line.isprintable() for line in lines)
    assert len(lines) <= len(timeline)


@pytest.fixture
def surroundings():
    return {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM")}


def test_bars_end_full_with_messages_above_them(surroundings):
    screen = Program(["-c", SCRIPT], surroundings).end()

    assert screen[:2] == ["plan        2 windows", "warning     a mouth is hidden"]
    assert [line.partition(" ━")[0].rstrip() for line in screen[2:5]] == [
        "loading",
        "encoding",
        "window 2/2",
    ]
    assert screen[4].endswith("step 4/4")
    assert screen[5:] == ["/home/me/voice.mp4"]


def test_bars_show_the_step_and_the_time_left_while_they_run(surroundings):
    terminal = Program(["-c", SCRIPT, "wait"], surroundings)
    terminal.until("a mouth is hidden")
    terminal.until("left")
    terminal.child.sendintr()

    assert "step 2/4" in terminal.raw.decode()
    terminal.end()


def test_an_interrupted_bar_gives_the_cursor_back(surroundings):
    terminal = Program(["-c", SCRIPT, "wait"], surroundings)
    terminal.until("a mouth is hidden")
    terminal.child.sendintr()
    screen = terminal.end()

    assert terminal.raw.rfind(b"\x1b[?25h") > terminal.raw.rfind(b"\x1b[?25l")
    assert "interrupted" in screen


@pytest.mark.parametrize("name", ["NO_COLOR", "CI"])
def test_colours_can_be_unwanted(surroundings, name):
    terminal = Program(["-c", SCRIPT], {**surroundings, name: "1"})
    terminal.end()

    assert b"\x1b[33m" not in terminal.raw
    assert b"\x1b[3" not in terminal.raw.replace(b"\x1b[39m", b"")


def test_colours_are_used_on_a_terminal(surroundings):
    terminal = Program(["-c", SCRIPT], surroundings)
    terminal.end()

    assert b"\x1b[33m" in terminal.raw


def test_a_dumb_terminal_gets_lines(surroundings):
    terminal = Program(["-c", SCRIPT], {**surroundings, "TERM": "dumb"})

    assert terminal.end() == [
        "plan        2 windows",
        "warning     a mouth is hidden",
        "/home/me/voice.mp4",
    ]
    assert b"\x1b" not in terminal.raw
