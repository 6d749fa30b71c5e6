"""The recipe and the mark inside a video."""

import pytest

from multitalk_cli.media.video import recipe
from multitalk_cli.media.video.recipe import read_recipe
from tests.media.audio.sounds import film
from tests.media.video.videos import joined


def test_the_recipe_and_the_mark_come_back(tmp_path):
    target = joined(tmp_path, title="Häßlich=;\\ name")
    found = read_recipe(target)
    assert (found["seed"], found["text"]) == (0, 'a=b;#\\ \n "é" ☃')
    tags = recipe.read_tags(target)
    assert tags[b"\xa9nam"] == "Häßlich=;\\ name"
    assert tags[b"desc"] == recipe.AI_MARK


def test_a_preview_is_marked(tmp_path):
    assert recipe.read_tags(joined(tmp_path, mark="PREVIEW"))[b"desc"] == "PREVIEW"


def test_a_long_recipe_comes_back_whole(tmp_path):
    long = '{"text": "' + "x" * 60_000 + '"}'
    assert len(read_recipe(joined(tmp_path, recipe=long))["text"]) == 60_000


@pytest.mark.parametrize("bad", ["[]", "{", '{"a": "' + "x" * 70_000 + '"}'])
def test_what_is_no_recipe_is_not_written(tmp_path, bad):
    with pytest.raises(ValueError, match=r"JSON|recipe|line 1"):
        joined(tmp_path, recipe=bad)
    assert not (tmp_path / "out.mp4").exists()


def test_other_videos_have_no_recipe(tmp_path):
    assert read_recipe(film(tmp_path / "a.mp4", None)) is None
    (tmp_path / "b.mp4").write_bytes(b"no video")
    assert read_recipe(tmp_path / "b.mp4") is None


@pytest.mark.parametrize(
    "comment", [b"[1]", b"{nonsense", b"[" * 50_000, b'{"a": NaN', b"\xff\xfe{}"]
)
def test_a_foreign_comment_is_no_recipe(tmp_path, comment):
    def box(name, body):
        return (len(body) + 8).to_bytes(4, "big") + name + body

    data = box(b"data", b"\0\0\0\1" + bytes(4) + comment)
    meta = box(b"meta", bytes(4) + box(b"ilst", box(b"\xa9cmt", data)))
    (tmp_path / "a.mp4").write_bytes(box(b"moov", box(b"udta", meta)))
    assert read_recipe(tmp_path / "a.mp4") is None
