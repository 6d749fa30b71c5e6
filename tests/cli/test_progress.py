"""Progress without bars: bounded lines on a pipe, JSON lines for programs."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multitalk_cli.cli.progress import lines_view
from multitalk_cli.contract import (
    Done,
    Failed,
    Fetching,
    Loading,
    Queued,
    Stage,
    Step,
    WindowDone,
    event_from_wire,
    to_wire,
)
from tests.terminal.timelines import RESULT, Clock, timelines, video


@pytest.fixture
def clock():
    return Clock()


def play(kind, clock, timeline):
    """The lines that a view prints when (seconds, event) pairs happen after one another."""
    lines = []
    view = lines_view(kind, lines.append, clock)
    for pause_s, event, *spent_usd in timeline:
        clock.now_s += pause_s
        view.show(event, *spent_usd)
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
        (Queued(), "waiting     for a GPU, usually 1-2 min"),
        (
            Loading(done_bytes=38_100_000_000, total_bytes=81_900_000_000),
            "loading     38.1 GB of 81.9 GB",
        ),
        (Stage(name="encoding"), "encoding"),
        (Stage(name="drawing", done=3, total=9), "drawing     3/9"),
        (
            Stage(name="throttled", done=0, total=55),
            "throttled   the hub is throttling, retrying in 55 s",
        ),
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


def test_a_pause_of_the_hub_counts_down(clock):
    seconds = [(1.0, Stage(name="throttled", done=passed_s, total=55)) for passed_s in range(55)]

    lines = play("plain", clock, seconds)

    assert lines[1] == "throttled   the hub is throttling, retrying in 36 s"
    assert len(lines) == 5


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


# Any


def test_none_shows_nothing(clock, capsys):
    assert play("none", clock, steps(windows=1, count=3, seconds=20.0)) == []
    assert capsys.readouterr() == ("", "")


def test_a_wait_is_told_with_its_time_and_what_is_usual(clock):
    lines = play("plain", clock, [(2.0, Queued())] * 20)

    assert lines[-1] == "waiting     for a GPU, 38 s, usually 1-2 min"
    assert len(lines) == 4


def test_the_lines_of_a_whole_run_fit_on_any_screen():
    lines = play("plain", Clock(), video(windows=300, steps=2))

    assert len(lines) > 100
    assert max(map(len, lines)) < 80


@pytest.mark.parametrize("kind", ["plain", "json", "none"])
@given(timeline=timelines)
def test_lines_stand_any_order_of_events(kind, timeline):
    lines = play(kind, Clock(), timeline)

    assert all(line.isprintable() for line in lines)
    assert len(lines) <= len(timeline)
