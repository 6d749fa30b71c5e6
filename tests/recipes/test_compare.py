"""Two videos next to each other, with what their recipes say."""

from pathlib import Path

import pytest

from multitalk_cli import Client
from multitalk_cli.cli.views.compare import _describe_offset
from multitalk_cli.media.video.probe import probe_video
from tests.recipes.made import copied, model_video, recipe_of_model, with_recipe


@pytest.fixture(scope="module")
def talk(tmp_path_factory):
    return model_video(tmp_path_factory.mktemp("talk"))


def test_a_copy_is_identical_and_of_the_same_recipe(talk, tmp_path):
    compared = Client().compare(talk, copied(talk, tmp_path / "b.mp4", "-c", "copy"))

    assert (compared.has_same_frames, compared.has_same_sound) == (True, True)
    assert compared.differences == ()


def test_a_cut_copy_has_the_same_first_frames_only(talk, tmp_path):
    compared = Client().compare(talk, copied(talk, tmp_path / "b.mp4", "-c", "copy", "-t", "1"))

    assert (compared.likeness.psnr_db, compared.has_same_frames) == (None, False)


def test_what_differs_is_named(cli, talk, tmp_path):
    other = recipe_of_model(seed=6, sample_steps=40, voices_sha256=["c" * 64], gpu="l40s")
    again = copied(talk, tmp_path / "x.mp4", "-c:v", "libx264", "-crf", "40", "-c:a", "copy")
    changed = with_recipe(again, tmp_path / "b.mp4", other)

    data = cli("compare", talk, changed, "--json").json["data"]
    assert {each["name"]: each["values"] for each in data["differences"]} == {
        "voices": [["b" * 64], ["c" * 64]],
        "seed": [5, 6],
        "sample steps": [20, 40],
        "gpu": ["h100", "l40s"],
    }
    assert 10 < data["psnr_db"] < 60
    assert 0.2 < data["ssim"] < 1
    shown = cli("compare", talk, changed)
    assert shown.code == 0
    for words in (
        "sample steps  20",
        "sha256 bbbbbbbbbbbb...",
        "PSNR ",
        " dB, SSIM ",
        " of 1 over 50 frames",
        " of 255 a frame",
        " in CIELAB at the end",
        "length  2.08 s, 50 frames",
    ):
        assert words in shown.stdout


@pytest.mark.parametrize(
    ("frames", "fps", "text"),
    [
        (1.1, 25.0, "1.1 frames (44 ms) late"),
        (-2, 25.0, "2.0 frames (80 ms) early"),
        (0.01, 25.0, "0.0 frames, 0 ms"),
        (1.1, 0.0, "1.1 frames late"),
    ],
)
def test_an_offset_is_told_in_frames_and_milliseconds(frames, fps, text):
    assert _describe_offset(frames, fps) == text


def test_a_video_of_uneven_frames_has_a_mean_rate(talk, tmp_path):
    """As of telephones, screen recorders and joined files."""
    uneven = copied(talk, tmp_path / "b.mp4", "-c", "copy", "-bsf:v", "setts=ts=TS+1000*gt(N\\,9)")
    info, even = probe_video(uneven), probe_video(talk)

    assert (info.fps, even.mean_fps) == (0, even.fps)
    assert info.mean_fps == pytest.approx(float(even.fps), rel=0.1)


def test_a_video_without_a_recipe_is_compared_too(cli, talk, tmp_path):
    bare = copied(talk, tmp_path / "bare.mp4", "-c", "copy", "-map_metadata", "-1", "-an")
    shown = cli("compare", talk, bare)

    assert "frames      identical, 50 frames" in shown.stdout
    assert "recipes     not compared" in shown.stdout


def test_a_missing_sound_track_is_not_called_another(cli, talk, tmp_path):
    silent = copied(talk, tmp_path / "b.mp4", "-c", "copy", "-an")

    assert "sound       only in the first" in cli("compare", talk, silent).stdout
    assert "sound       none" in cli("compare", silent, silent).stdout


def test_a_missing_video_is_an_error(cli, talk):
    assert cli("compare", talk, Path("nowhere.mp4")).code == 3
