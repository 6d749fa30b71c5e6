"""A first window and its rest on this machine: files, prices, and orders that make no sense."""

import json

import pytest

from multitalk_cli.media.video.names import first_of, whole_of
from multitalk_cli.media.video.probe import probe_video
from multitalk_cli.media.video.recipe import read_recipe
from tests.media.audio.sounds import speech_like, write_wav

SMALL = ("--backend", "preview", "--size", "64x32")


@pytest.fixture
def words(portrait, folder):
    """The words of a small preview of two windows."""
    write_wav(folder / "talk.wav", speech_like(4.4, seed=1))
    return ("generate", "host.png", "talk.wav", *SMALL)


def test_a_first_window_is_looked_at_and_finished(cli, folder, words):
    first = cli(*words, "--first")
    again = cli(*words, "--first", "--json").json["data"]
    inspected = cli("inspect", "talk.first.preview.mp4", "--json").json["data"]
    whole = cli("finish", "talk.first.preview.mp4")

    video = folder / "talk.first.preview.mp4"
    assert (first.code, first.stdout) == (0, f"{video}\n"), first.stderr
    assert "2.88 s of 4.42 s, window 1 of 2" in first.stderr
    assert "next:  multitalk finish" in first.stderr
    info, recipe = probe_video(video), read_recipe(video)
    assert (info.frames, info.audio_duration_s) == (69, 69 / 24)
    assert (again["already_made"], again["frames"], again["first_window"]["windows"]) == (
        True, 69, 2,
    )  # fmt: skip
    assert (inspected["recipe"]["first_window"], inspected["changed"]) == (True, False)
    assert (whole.code, whole.stdout) == (0, f"{folder / 'talk.preview.mp4'}\n"), whole.stderr
    of_whole = read_recipe(folder / "talk.preview.mp4")
    assert probe_video(folder / "talk.preview.mp4").frames == 106
    assert of_whole["seed"] == recipe["seed"]
    assert {**recipe, "streams": 0} == {**of_whole, "streams": 0, "first_window": True}
    # What is whole has no rest, and no first window to make.
    over = cli("finish", "talk.preview.mp4", "--json").json["errors"][0]
    assert (over["code"], over["hint"]) == ("E_NOT_FIRST", "multitalk inspect talk.preview.mp4")
    assert cli(*words, "--first").stdout == whole.stdout


def test_the_plan_names_both_prices(cli, words):
    plan = cli(*words, "--first", "--plan", "--json").json["data"]
    enough = cli(*words, "--first", "--plan", "--max-cost", "0.22", "--json")
    dear = cli(*words, "--plan", "--steps", "50", "--size", "720p", "--max-cost", "0.3", "--json")

    first, rest = plan["first_window"]["estimate"], plan["first_window"]["rest"]
    assert plan["first_window"]["frames"] == 69
    # Each of them starts a container.
    assert min(first["price_start_usd"], rest["price_start_usd"]) > 0
    assert enough.code == 0 and dear.code == 8
    assert first["price_usd"] + rest["price_usd"] > plan["estimates"][0]["price_usd"]


def test_a_single_window_is_made_whole(cli, folder, portrait):
    write_wav(folder / "short.wav", speech_like(0.4, seed=1))

    ran = cli("generate", "host.png", "short.wav", *SMALL, "--first")

    assert ran.stdout == f"{folder / 'short.preview.mp4'}\n", ran.stderr
    assert "a single window: --first makes all of it" in ran.stderr
    assert "finish" not in ran.stderr


def test_a_batch_of_first_windows_is_finished_by_its_files(cli, folder, words):
    (folder / "list.csv").write_text("id,image,voice,first\na,host.png,talk.wav,yes\n")

    first = cli("batch", "list.csv", *SMALL, "--report", "report")
    row = json.loads(first.stdout)
    whole = cli(*row["first_window"]["finish"].split()[1:])

    assert (row["seconds"], row["first_window"]["job"]) == (2.875, None)
    page = (folder / "report" / "index.html").read_text()
    assert ">first window</span>" in page and "2.9 s of 4.4 s" in page
    assert "next:  multitalk finish talk.first.preview.mp4" in first.stderr
    assert whole.stdout == f"{folder / 'talk.preview.mp4'}\n", whole.stderr


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("generate", "host.png", "talk.wav", "--first", "-o", "s3://b/k.mp4"), "E_CONFLICT"),
        (("finish", "absent.mp4"), "E_FILE_MISSING"),
        (("finish", "a", "b", "-o", "talk.mp4"), "E_CONFLICT"),
    ],
)
@pytest.mark.usefixtures("words")
def test_wrong_orders_are_said(cli, words, code):
    assert cli(*words, "--json").json["errors"][0]["code"] == code


@pytest.mark.parametrize(
    ("whole", "first"),
    [
        ("talk.mp4", "talk.first.mp4"),
        ("out/talk.preview.mp4", "out/talk.first.preview.mp4"),
        (f"{'n' * 251}.mp4", f"{'n' * 245}.first.mp4"),
    ],
)
def test_names_of_first_windows(tmp_path, whole, first):
    assert first_of(tmp_path / whole) == tmp_path / first
    if len(whole) < 200:
        assert whole_of(tmp_path / first) == whole_of(tmp_path / whole) == tmp_path / whole
