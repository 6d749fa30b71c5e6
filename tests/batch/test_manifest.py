"""Manifests of every form become the same rows; what is none is refused with the remedy."""

import json

import pytest

from multitalk_cli.batch.manifest import read_manifest, read_pairs
from multitalk_cli.errors import FileError, UsageError

ROWS = [{"id": "1", "image": "a, b.png"}, {"id": "2", "image": "c.png"}]
CSV = 'id,image,voice\r\n1,"a, b.png",\r\n2,c.png,\r\n'
LINES = "".join(f"{json.dumps({**row, 'voice': None})}\n" for row in ROWS)


def values(manifest):
    return [row.values for row in manifest.rows]


@pytest.mark.parametrize(
    "content",
    [
        CSV.encode(),
        CSV.replace("\r\n", "\n").encode(),
        b"\xef\xbb\xbf" + CSV.encode(),
        CSV.encode("utf-16"),
        b'id;image;voice\n1;"a, b.png";\n2;c.png;',
        b"SEP=;\r\n" + CSV.replace(",", ";").replace("a;", "a,").encode(),
        b"ID\t Image \t--voice\n1\ta, b.png\t\n2\tc.png\n",
        f"\n\n{CSV}\n,,\n".encode(),
        LINES.encode(),
        b"\xef\xbb\xbf\n" + LINES.encode(),
    ],
    ids=["crlf", "lf", "bom", "utf16", "semicolons", "named", "tabs", "blank", "json", "json-bom"],
)
def test_every_form_gives_the_same_rows(content):
    manifest = read_manifest("-", content)

    assert values(manifest) == ROWS
    assert not manifest.problems


def test_rows_are_counted_as_a_spreadsheet_does():
    manifest = read_manifest("-", b'image,voice\na.png,"two\nlines.wav"\n\nb.png,c.wav\n')

    assert [row.number for row in manifest.rows] == [2, 4]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PK\x03\x04rest", "save it as CSV"),
        (b"\xd0\xcf\x11\xe0rest", "save it as CSV"),
        (b"image,voice\nf\xfcr.png,a.wav\n", "not text in UTF-8 (line 2)"),
        (b"image,voice\n", "has no rows"),
        ("image,voice\n".encode("utf-16-le"), "not text in UTF-8 (line 1)"),
        (b" \n\n", "has no rows"),
        (b"", "has no rows"),
    ],
)
def test_what_is_no_manifest_is_refused(content, said):
    with pytest.raises(UsageError) as caught:
        read_manifest("-", content)

    assert caught.value.code == "E_MANIFEST"
    assert said in caught.value.message


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"image,voice\na,b,c\n", "row 2: 3 cells, and there are 2 columns (quote commas)"),
        (b"image,image\na,b\n", "row 1: there are 2 columns 'image'"),
        (b'image\n"a\n', "row 2: a quote is not closed"),
        (b'{"image": "a"}\n[1]\n', "row 2: no JSON object; each line is one, {...}"),
        (b'{"image": "a"}\n{"b"\n', "row 2: no JSON: Expecting ':' delimiter"),
        (b"[" * 99_999, "row 1: no JSON"),
        (b'{"image": "a", "--Image": null}', "row 1: no JSON: 'image' stands 2 times"),
        (b"a.png,a.wav\n", "row 1: no column 'image': the first row has the names"),
        (b"image\n%s,b\n" % (b"a" * 9_999), "row 2: 2 cells"),
    ],
)
def test_rows_of_a_wrong_form_are_problems(content, line):
    assert any(found.startswith(line) for found in read_manifest("-", content).problems.lines())


def test_relative_paths_begin_in_the_manifest_s_folder(folder):
    (folder / "below").mkdir()
    (folder / "below" / "list.csv").write_text("image\na.png\n")

    assert str(read_manifest("below/list.csv").folder) == "below"


def test_a_folder_s_pictures_and_voices_become_rows(folder, portrait, voice):
    for name in ("b.png", "a.jpg", "lonely.png", "b.wav", "a.MP3", "x.wav", "a.plan.png", ".b.wav"):
        (folder / name).write_bytes(b"any")
    portrait.unlink()
    voice.unlink()

    manifest = read_pairs(folder)

    assert values(manifest) == [
        {"id": "a", "image": "a.jpg", "voice": "a.MP3"},
        {"id": "b", "image": "b.png", "voice": "b.wav"},
    ]
    assert manifest.unpaired == ("lonely.png", "x.wav")


def test_two_voices_of_one_name_are_a_problem(folder):
    for name in ("a.png", "a.wav", "a.mp3"):
        (folder / name).write_bytes(b"any")

    assert read_pairs(folder).problems.lines() == [
        "row 1: several voices are called 'a': a.mp3, a.wav"
    ]


def test_a_folder_without_pairs_or_that_is_missing_is_refused(folder):
    with pytest.raises(UsageError, match="no picture and voice"):
        read_pairs(folder)
    with pytest.raises(FileError, match="cannot be read"):
        read_pairs(folder / "gone")
