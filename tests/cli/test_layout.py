"""Lines, labelled rows and tables: plain on a pipe, wrapped at words on a terminal."""

import io
import os
import subprocess
import sys

import pyte
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from multitalk_cli.cli.console import Console, OutputOptions
from multitalk_cli.cli.layout import Line, Row, Table, drawn, is_command, plain, shorten
from multitalk_cli.cli.terminal import Terminal
from tests.command_line import ROOT

WORDS = "nothing, made on this machine; the video: about $0.25 on an H100, rates of 2026-07-01"


def plain_lines(block):
    return list(plain(block, str))


def drawn_lines(block, width):
    """The lines of a terminal of this width."""
    shown = io.StringIO()
    terminal = Terminal(lambda: width, file=shown, force_terminal=True, color_system=None)
    keeps = isinstance(block, Row) and not block.wraps
    terminal.print(drawn(block, str, width), width=width, soft_wrap=keeps, crop=False)
    return [line.rstrip() for line in shown.getvalue().rstrip("\n").split("\n")]


# Plain


def test_a_pipe_gets_one_line_for_each_row():
    assert plain_lines(Row("price", WORDS)) == [f"price       {WORDS}"]
    assert plain_lines(Row("a-very-long-name.wav", "12 s")) == ["a-very-long-name.wav 12 s"]
    assert plain_lines(Line("text", indent=2)) == ["  text"]


def test_columns_are_aligned_and_end_without_spaces():
    table = Table(rows=[("a", "bb", "c"), ("dddd", "e", "")])

    assert plain_lines(table) == ["a     bb  c", "dddd  e"]
    assert table.width == 11


def test_numbers_are_aligned_at_the_right_below_their_titles():
    table = Table(
        rows=[("9 kB", "a"), ("120 MB", "b")], titles=("size", "key"), right=(0,), indent=1
    )

    assert plain_lines(table) == ["   size  key", "   9 kB  a", " 120 MB  b"]


def test_a_table_without_rows_has_no_lines():
    assert plain_lines(Table(rows=[])) == []
    assert drawn_lines(Table(rows=[]), 80) == [""]


# Drawn


def test_words_stay_whole_and_hang_below_their_column():
    lines = drawn_lines(Row("price", WORDS), 60)

    assert lines[0].startswith("price       nothing, made")
    assert all(line.startswith(" " * 12) and line[12] != " " for line in lines[1:])
    assert " ".join(line[12:] for line in lines) == WORDS


def test_a_word_that_is_wider_than_its_column_is_folded():
    path = "/home/somebody/" + "x" * 100

    lines = drawn_lines(Row("file", path), 50)

    assert "".join(line[12:] for line in lines) == path


@pytest.mark.parametrize(("width", "column"), [(60, 12), (80, 16), (140, 16)])
def test_a_name_is_whole_in_half_of_a_line_and_else_loses_its_middle(width, column):
    name = "interview-with-the-mayor-part-3.wav"
    labels = ("plan", "a.png", name, "\u30d5" * 9, "x" * 100)
    lines = [drawn_lines(Row(label, "896x448"), width) for label in labels]

    assert all(len(shown) == 1 for shown in lines)
    assert all(line.partition("896x448")[0].endswith(" ") for (line,) in lines)
    found = [cell_len(line.partition("896x448")[0]) for (line,) in lines]
    whole = min(len(name) + 1, width // 2)
    assert found == [column, column, whole, 19, width // 2]
    assert (name in lines[2][0]) == (width > 60)
    assert "…" in lines[4][0]


@given(
    st.lists(st.text("abc 1:", min_size=1, max_size=30).map(str.strip).filter(bool), min_size=1),
    st.sampled_from([60, 80, 140]),
)
def test_parts_that_stay_whole_are_never_broken(parts, width):
    row = Row("windows", " | ".join(parts), separator=" | ")
    lines = [line[16 if width >= 80 else 12 :] for line in drawn_lines(row, width)]

    assert plain_lines(row) == [f"windows     {' | '.join(parts)}"]
    assert [part for line in lines for part in line.split(" | ")] == parts


def test_a_command_is_never_broken_so_that_it_can_be_copied():
    command = "multitalk generate host.png voice.wav --prompt 'a woman speaks' --gpu l40s"

    assert drawn_lines(Row("  next:", command, width=9, wraps=False), 50) == [f"  next:  {command}"]


def test_advice_wraps_at_words_where_a_command_stays_whole():
    advice = "pass --revision with a commit that this version runs, or upgrade multitalk-cli"

    assert [is_command(text) for text in (advice, "multitalk login", "pipx install .")] == [
        False, True, True,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("multitalk generate a.png 'b, c.wav' -p 'Hello, world.'", True),
        ("unset X; pip install y", True),
        ("multitalk deploy deploys it.", False),
        ("multitalk config set bucket NAME, or write s3://BUCKET/KEY", False),
        ("multitalk deploy upgrades the deployment to this client's version", False),
        ("", False),
    ],
)
def test_a_sentence_that_begins_with_a_command_is_none(text, is_one):
    assert is_command(text) is is_one


def test_names_stay_whole_where_the_columns_that_give_way_are_narrow():
    row = ("standard", "300", "1 min 50 s to 3 min 30 s", "$0.81 to $1.05", "exact, chosen")
    titles = ("preset", "forwards", "time", "price", "class")
    lines = drawn_lines(Table(rows=[row], titles=titles, right=(1,), gives_way=(4,)), 60)

    assert lines[0].split() == [*titles]
    assert lines[1].startswith("standard       300  1 min 50 s")


def test_columns_give_way_in_their_order():
    row = ("7f3a", "running  window 2/5 step 8/20", "9 min", "/home/me/videos/a-long-name.mp4")
    table = Table(rows=[row], gives_way=(3, 1))

    wide, narrow, narrower = (drawn_lines(table, width) for width in (100, 60, 50))

    assert wide == ["  ".join(row)]
    assert narrow[0].startswith("7f3a  running  window 2/5 step 8/20  9 min  /home/me/vi")
    assert narrower[0].startswith("7f3a  running  window 2/5")
    assert "9 min  /home/me/vid" in narrower[0]


LISTED = [
    ("3cd4717c5e33be42", "done", "7 h", "/home/me/a.mp4"),
    (
        "15391fd5049ef094",
        "failed (E_OUT_OF_MEMORY)",
        "12 min",
        "/home/me/" + "long-" * 15 + "b.mp4",
    ),
]
TITLES = ("id", "state", "age", "video")


def test_a_long_cell_goes_below_its_row_and_the_others_stay_on_one_line():
    lines = drawn_lines(Table(rows=LISTED, titles=TITLES, below=(3, 1)), 70)

    assert lines[:2] == [
        "id                state                     age     video",
        "3cd4717c5e33be42  done                      7 h     /home/me/a.mp4",
    ]
    assert lines[2].split() == ["15391fd5049ef094", "failed", "(E_OUT_OF_MEMORY)", "12", "min"]
    assert lines[3].startswith("  /home/me/long-")
    assert "".join(line.strip() for line in lines[3:]) == LISTED[1][3]
    assert all(line.startswith("  ") for line in lines[3:])


def test_a_title_goes_below_with_all_its_cells():
    rows = [(key, state, age, f"/home/somebody/videos{path}") for key, state, age, path in LISTED]

    lines = drawn_lines(Table(rows=rows, titles=TITLES, below=(3, 1)), 60)

    assert lines[:4] == [
        "id                state                     age",
        "  video",
        "3cd4717c5e33be42  done                      7 h",
        "  /home/somebody/videos/home/me/a.mp4",
    ]


@given(st.integers(30, 200))
def test_no_cell_goes_below_that_fits(width):
    table = Table(rows=LISTED, titles=TITLES, below=(3, 1))

    lines = drawn_lines(table, width)

    assert (len(lines) == 3) is (table.width <= width)


def test_the_widest_column_gives_way_where_nothing_is_said():
    lines = drawn_lines(Table(rows=[("E_X", "exit 1", WORDS)]), 50)

    assert len(lines) > 1
    assert all(len(line) <= 50 for line in lines)


@given(
    st.lists(st.tuples(*[st.text("abc de-/\u30d5", max_size=40)] * 3), min_size=1, max_size=4),
    st.integers(50, 140),
)
def test_a_table_keeps_to_the_terminal_and_loses_no_letter(rows, width):
    lines = drawn_lines(Table(rows=rows), width)

    screen = pyte.Screen(width, 300)
    pyte.Stream(screen).feed("\r\n".join(lines))
    assert all(len(line) <= width for line in lines)
    for letter in "abcde/\u30d5":
        shown = sum(line.count(letter) for line in lines)
        assert shown == sum(cell.count(letter) for row in rows for cell in row)


@given(st.text("abcd\u30d5\N{MICROPHONE}", max_size=60), st.integers(1, 60))
def test_a_shortened_text_fits_and_keeps_its_ends(text, width):
    short = shorten(text, width)

    assert cell_len(short) <= width
    # A character of two cells may not fit into the last one.
    assert short == text or (cell_len(short) >= width - 2 and "…" in short)
    if width >= 7 and short != text:
        assert (short[0], short[-1]) == (text[0], text[-1])


def test_an_encoding_without_the_usual_sign_shows_another(monkeypatch):
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "iso8859-1")

    assert shorten("abcdefghij", 6) == "ab~hij"


@pytest.mark.parametrize("block", [Line("x"), Row("a", "x"), Table(rows=[("a", "x")])])
def test_every_text_of_a_block_is_cleaned(block):
    assert not any("x" in line for line in plain(block, lambda text: text.replace("x", "*")))


def test_a_secret_is_masked_before_its_line_is_wrapped(capsysbinary):
    console = Console(OutputOptions())
    console.hide(["ABCDEFGHIJKLMNOP"])
    block = Row("token", "word " * 8 + "ABCDEFGHIJKLMNOP")

    shown = io.StringIO()
    terminal = Terminal(lambda: 50, file=shown, force_terminal=True, color_system=None)
    terminal.print(drawn(block, console._clean, 50), width=50)

    assert "***" in shown.getvalue()
    assert "ABC" not in shown.getvalue()
    assert capsysbinary.readouterr() == (b"", b"")


@pytest.mark.parametrize("words", [["--version"], ["config", "show", "--json"], ["explain"]])
def test_rich_is_imported_only_where_something_is_drawn(words):
    script = (
        "import sys; from multitalk_cli.cli.app import run; run(sys.argv[1:]);"
        "assert not [name for name in sys.modules if name.split('.')[0] == 'rich']"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, *words],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )

    assert (ran.returncode, ran.stderr) == (0, b"")
    assert ran.stdout


def test_one_long_value_does_not_push_the_columns_of_a_pipe_apart():
    rows = [("size", "896x448", "default"), ("prompt", "x" * 500, "file")]

    first, second = plain(Table(rows=rows), str)

    assert first == "size    896x448  default"
    assert second.endswith("x  file")
