"""Console: what goes to stdout, what to stderr, and in which form."""

import io
import json
import os
import sys
from pathlib import Path

import pytest
import typer.main
from hypothesis import given
from hypothesis import strategies as st

from multitalk_cli.cli.app import app, run
from multitalk_cli.cli.completion.tree import read_tree
from multitalk_cli.cli.console import (
    VALUED,
    Console,
    OutputOptions,
    check_output_options,
    split_output_options,
)
from multitalk_cli.cli.layout import Line
from multitalk_cli.cli.streams import has_reader, is_foreground_terminal, terminal_width
from multitalk_cli.contract import Stage
from multitalk_cli.errors import CODES, FileError, UsageError
from multitalk_cli.files import is_printable, is_safe_name, shown_path
from multitalk_cli.reporting.formatting import printable, shell_word


class Streams:
    """stdout and stderr as bytes."""

    def __init__(self, capture):
        self._capture, self._out, self._err = capture, b"", b""

    def _read(self):
        found = self._capture.readouterr()
        self._out, self._err = self._out + found.out, self._err + found.err

    @property
    def out(self):
        self._read()
        return self._out

    @property
    def stdout(self):
        return self.out.decode()

    @property
    def stderr(self):
        self._read()
        return self._err.decode()


@pytest.fixture
def streams(capsysbinary):
    return Streams(capsysbinary)


def make(**options):
    return Console(OutputOptions(**options))


ERROR = FileError("voice.wav is silent", code="E_AUDIO_SILENT", hint="multitalk generate a.png b")


# Global options


@pytest.mark.parametrize(
    ("argv", "rest", "options"),
    [
        ([], [], {}),
        (["config", "--json", "show"], ["config", "show"], {"json": True}),
        (["-q", "demo", "--debug"], ["demo"], {"quiet": True, "debug": True}),
        (["-q", "ffmpeg", "-i", "a", "-q"], ["ffmpeg", "--", "-i", "a", "-q"], {"quiet": True}),
        (["ffmpeg", "--help"], ["ffmpeg", "--help"], {}),
        (["demo", "--no-color"], ["demo"], {"color": False}),
        (["--progress", "json", "demo"], ["demo"], {"progress": "json"}),
        (["demo", "--progress=none"], ["demo"], {"progress": "none"}),
        (["demo", "--progress"], ["demo"], {"progress": ""}),
        (["--progress", "--json", "demo"], ["demo"], {"progress": "", "json": True}),
        (["demo", "--", "--json"], ["demo", "--", "--json"], {}),
        (["--quiet", "--", "-q", "--"], ["--", "-q", "--"], {"quiet": True}),
        (["--prompt=--json"], ["--prompt=--json"], {}),
        (["demo", "-fq"], ["demo", "-f"], {"quiet": True}),
        (["demo", "-qfy"], ["demo", "-fy"], {"quiet": True}),
        (["demo", "-fpq"], ["demo", "-fpq"], {}),
        (["demo", "-oquick.mp4", "-pq"], ["demo", "-oquick.mp4", "-pq"], {}),
        (["demo", "-f", "q"], ["demo", "-f", "q"], {}),
    ],
)
def test_global_options_are_taken_from_anywhere_before_the_dashes(argv, rest, options):
    assert split_output_options(argv) == (rest, OutputOptions(**options))


def test_letters_with_a_value_are_those_of_the_commands():
    root = read_tree(typer.main.get_command(app))
    options = [option for command in root.all() for option in command.options]
    valued = {
        name[1:]
        for option in options
        for name in option.names
        if option.value is not None and len(name) == 2
    }

    assert valued == set(VALUED)


@given(st.lists(st.sampled_from(["--json", "-q", "--progress", "--", "x", "", "--progress="])))
def test_splitting_keeps_the_rest_in_order_and_all_behind_the_dashes(argv):
    rest, _ = split_output_options(argv)

    words = iter(argv)
    assert all(word in words for word in rest), "the rest is a part of the line, in its order"
    behind = argv[argv.index("--") :] if "--" in argv else []
    assert rest[len(rest) - len(behind) :] == behind


def test_an_unknown_kind_of_progress_is_refused():
    with pytest.raises(UsageError, match="--progress must be one of auto, bars") as caught:
        check_output_options(OutputOptions(progress="fancy"))

    assert caught.value.code == "E_RANGE"


# The human form


def test_only_the_result_is_on_stdout(streams):
    output = make()
    output.fact("plan", "298 frames")
    output.adjusted("loudness")
    output.warn("no face")
    output.note("made")
    output.succeed("generate", {"output": "a.mp4"}, ["a.mp4"])

    assert streams.stdout == "a.mp4\n"
    assert streams.stderr == (
        "plan        298 frames\nadjusted    loudness\nwarning     no face\nmade\n"
    )


def test_a_long_label_keeps_a_space(streams):
    make().fact("a-very-long-name.wav", "12.4 s")

    assert streams.stderr == "a-very-long-name.wav 12.4 s\n"


def test_quiet_says_errors_and_results_only(streams):
    output = make(quiet=True)
    output.fact("plan", "x")
    output.warn("y")
    output.fail("generate", ERROR)
    output.succeed("generate", {}, ["a.mp4"])

    assert streams.stdout == "a.mp4\n"
    assert streams.stderr.startswith("error: voice.wav is silent\n")


def test_an_error_says_what_failed_what_to_run_next_and_its_code(streams):
    make().fail("generate", ERROR)

    assert streams.stdout == ""
    assert streams.stderr.splitlines() == [
        "error: voice.wav is silent",
        "  next:  multitalk generate a.png b",
        "  (E_AUDIO_SILENT, exit 3; multitalk explain E_AUDIO_SILENT)",
    ]


def test_more_lines_of_an_error_are_indented(streams):
    make().fail("generate", UsageError("a\nb", code="E_USAGE", hint="c\nd"))

    assert streams.stderr.splitlines()[:4] == [
        "error: a",
        "  b",
        "  next:  c",
        "         d",
    ]


def test_a_bug_shows_its_traceback_only_when_asked(streams):
    make().bug("generate", KeyError("x"), "Traceback ...")
    without = streams.stderr
    make(debug=True).bug("generate", KeyError("x"), "Traceback ...")

    assert "internal error" in without
    assert "--debug" in without
    assert "Traceback" not in without
    assert "Traceback ..." in streams.stderr


@given(st.text())
def test_no_text_can_move_the_cursor_or_begin_a_line(text):
    shown = printable(text)

    assert is_printable(shown)
    assert printable(shown) == shown


def test_escapes_show_what_they_hide():
    assert printable("a\x1b[2Jb\n\u202e\udcff") == r"a\x1b[2Jb\n\u202e\udcff"


def test_joiners_of_persian_and_of_emoji_are_part_of_a_name():
    for name in ("\u0645\u06cc\u200c\u062e.wav", "\N{WOMAN}\u200d\N{MICROPHONE}.wav"):
        assert printable(name) == name
        assert shown_path(Path(name)) == name
        assert is_safe_name(name)
        assert shell_word(name) in (name, f"'{name}'")


class Cell(io.TextIOBase):
    """A stream of a notebook, which has no bytes behind it."""

    encoding = "UTF-8"

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text
        return len(text)


def test_a_notebook_s_cell_shows_everything(monkeypatch):
    """As with `%run -m multitalk_cli`; Rich would draw beside the stream."""
    shell = type("ZMQInteractiveShell", (), {})
    monkeypatch.setattr("builtins.get_ipython", shell, raising=False)
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, Cell())

    codes = [run(words) for words in (["--help"], ["explain", "E_BUG"], ["frobnicate"])]

    assert codes == [0, 0, 2]
    assert sys.stdout.text.startswith("Usage: multitalk")
    assert "E_BUG (exit 1)" in sys.stdout.text
    assert sys.stderr.text.startswith("error: No such command 'frobnicate'")


def test_labels_from_outside_cannot_move_the_cursor(streams):
    make().fact("\x1b[2J.wav", "12 s")

    assert "\x1b" not in streams.stderr


def test_a_path_is_printed_as_the_bytes_that_it_is(streams):
    make().succeed("generate", {}, [os.fsdecode(b"/tmp/caf\xe9 \xf0\x9f\x8e\xa4.mp4")])

    assert streams.out == b"/tmp/caf\xe9 \xf0\x9f\x8e\xa4.mp4\n"


def test_no_colour_without_a_terminal(streams, monkeypatch):
    monkeypatch.delenv("NO_COLOR")
    output = make()
    output.warn("x")

    assert not output.color
    assert "\x1b" not in streams.stderr


# JSON


def test_json_is_one_versioned_object(streams):
    output = make(json=True)
    output.warn("no face")
    output.succeed("generate", {"seed": 0}, ["a.mp4"])

    assert json.loads(streams.stdout) == {
        "version": 1,
        "command": "generate",
        "status": "ok",
        "data": {"seed": 0, "warnings": ["no face"]},
        "errors": [],
    }
    assert streams.stderr == "warning     no face\n"


def test_json_is_one_object_on_failure_too(streams):
    make(json=True).fail("generate", ERROR)

    found = json.loads(streams.stdout)
    assert (found["status"], found["data"]) == ("error", {})
    assert found["errors"] == [
        {
            "code": "E_AUDIO_SILENT",
            "message": "voice.wav is silent",
            "hint": "multitalk generate a.png b",
            "exit_code": 3,
        }
    ]


@pytest.mark.parametrize(
    ("report", "code"),
    [
        (lambda output: output.bug("x", ValueError("odd"), ""), "E_BUG"),
        (lambda output: output.interrupted("x"), "E_INTERRUPTED"),
    ],
)
def test_bugs_and_interruptions_are_objects_as_well(streams, report, code):
    report(make(json=True))

    (error,) = json.loads(streams.stdout)["errors"]
    assert error["code"] == code
    assert error["exit_code"] == int(CODES[code].exit_code)


def test_progress_in_json_makes_every_line_of_stderr_an_object(streams):
    output = make(progress="json")
    output.fact("plan", "298 frames")
    output.adjusted("loudness")
    output.warn("no face")
    output.note()
    output.note("made")
    output.fail("generate", ERROR)
    output.bug("generate", KeyError("x"), "Traceback ...")
    output.succeed("generate", {}, ["a.mp4"])

    lines = [json.loads(line) for line in streams.stderr.splitlines()]
    assert lines[:4] == [
        {"event": "fact", "label": "plan", "text": "298 frames"},
        {"event": "adjusted", "text": "loudness"},
        {"event": "warning", "text": "no face"},
        {"event": "note", "text": "made"},
    ]
    assert [(line["event"], line["code"]) for line in lines[4:]] == [
        ("error", "E_AUDIO_SILENT"),
        ("error", "E_BUG"),
    ]
    assert streams.stdout == "a.mp4\n"


# Streams that fail


def with_stream(monkeypatch, name, file):
    monkeypatch.setattr(sys, name, io.TextIOWrapper(file, write_through=True))


def test_a_reader_that_left_is_no_error(monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    with_stream(monkeypatch, "stdout", open(writing, "wb", buffering=0))  # noqa: SIM115, PTH123

    assert has_reader()
    make().succeed("generate", {}, ["a.mp4"])
    assert not has_reader()
    make().succeed("generate", {}, ["b.mp4"])

    sys.stdout.close()


def test_a_result_that_cannot_be_written_is_an_error(monkeypatch, streams):
    with_stream(monkeypatch, "stdout", open("/dev/full", "wb", buffering=0))  # noqa: SIM115, PTH123
    output = make(json=True)

    with pytest.raises(FileError, match="No space left") as caught:
        output.succeed("generate", {}, ["a.mp4"])
    output.fail("generate", caught.value)

    sys.stdout.close()
    assert "stdout" in streams.stderr


def test_messages_that_cannot_be_written_are_lost_quietly(monkeypatch, streams):
    with_stream(monkeypatch, "stderr", open("/dev/full", "wb", buffering=0))  # noqa: SIM115, PTH123

    make().warn("x")
    make().succeed("generate", {}, ["a.mp4"])

    sys.stderr.close()
    assert streams.stdout == "a.mp4\n"


@pytest.mark.parametrize("name", ["stdin", "stdout", "stderr"])
def test_closed_streams_are_tolerated(monkeypatch, streams, name):
    monkeypatch.setattr(sys, name, None)
    output = make()

    output.warn("x")
    output.succeed("generate", {}, ["a.mp4"])

    assert not output.can_ask
    assert streams.stdout == ("" if name == "stdout" else "a.mp4\n")


def test_what_is_no_terminal_has_nobody_before_it(tmp_path):
    with (tmp_path / "file").open("w") as file:
        assert not is_foreground_terminal(file)
    assert not is_foreground_terminal(file)
    assert not is_foreground_terminal(None)


# The rest


@pytest.mark.parametrize(
    ("options", "shows"),
    [
        ({}, True),
        ({"quiet": True}, False),
        ({"progress": "none"}, False),
        ({"progress": "plain", "quiet": True}, True),
    ],
)
def test_progress_is_plain_without_a_terminal(streams, monkeypatch, options, shows):
    monkeypatch.setattr("multitalk_cli.cli.progress.PLAIN_INTERVAL_S", 0.0)
    with make(**options).progress() as progress:
        progress.show(Stage(name="drawing", done=1, total=9))

    assert streams.stderr == ("drawing     1/9\n" if shows else "")
    assert streams.stdout == ""


def test_progress_that_was_asked_for_is_shown_even_when_quiet(streams):
    with make(quiet=True, progress="json").progress() as progress:
        progress.show(Stage(name="drawing", done=1, total=9))

    assert json.loads(streams.stderr)["event"] == "stage"


@pytest.mark.parametrize("options", [{}, {"json": True}, {"debug": True}])
def test_hidden_values_are_never_printed_in_any_form(streams, options):
    value = "wJal'r/\"key+with=signs"
    output = make(**options)
    output.hide([value])

    output.note(f"the value is {value}")
    output.fail("generate", FileError(f"{value} {value!r}", code="E_AUDIO_SILENT"))
    output.bug("generate", ValueError(value), f"Traceback\nValueError: {value}")

    printed = streams.stdout + streams.stderr
    assert "wJal" not in printed
    assert "***" in printed


def test_short_hidden_values_do_not_blacken_words(streams):
    output = make()
    output.hide(["a", "note"])

    output.note("a note")

    assert streams.stderr == "a note\n"


def test_a_failure_that_cannot_be_printed_keeps_its_exit_code(shell):
    ran = shell("multitalk explain nope --json > /dev/full")

    assert ran.code == shell("multitalk explain nope --json").code
    assert "Traceback" not in ran.stderr
    assert "NOPE" in ran.stderr


@pytest.mark.parametrize(
    ("columns", "width"),
    [("²", 80), ("0", 80), ("-5", 80), ("9" * 23, 1000), ("9" * 5000, 80), ("5", 50), ("70", 70)],
)
def test_the_width_is_limited_whatever_columns_is(streams, monkeypatch, columns, width):
    def without_a_size(_descriptor):
        return os.terminal_size((0, 0))

    monkeypatch.setattr(os, "get_terminal_size", without_a_size)
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("LINES", columns)

    make().show_page("help", [Line("word " * 400)])

    assert terminal_width() == width
    assert width - 5 <= max(map(len, streams.stdout.splitlines())) <= width
