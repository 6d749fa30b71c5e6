"""Videos as they were made, and copies that were cut, muted, encoded again, re-muxed, stripped."""

import json
import shutil
from pathlib import Path

import pytest

from multitalk_cli.errors import FileError
from multitalk_cli.jobs.ledger import DONE, Job, Ledger
from multitalk_cli.recipes.inspect import inspect, verify
from multitalk_cli.recipes.video import read_video
from tests.media.audio.sounds import film
from tests.recipes.made import (
    copied,
    kept_recipe,
    make_preview,
    model_video,
    recipe_of_model,
    with_recipe,
)
from tests.recordings import HERE

COPY = ("-c", "copy")
REQUEST = '{"settings": {"negative_prompt": "noise"}}'


@pytest.fixture(scope="module")
def talk(tmp_path_factory):
    """A video of two windows, of 30 and 20 frames, with sound."""
    return model_video(tmp_path_factory.mktemp("talk"))


def verdicts(video, *inputs):
    """Name -> verdict of each check, without those that are as recorded."""
    checks = verify(video, inputs).checks
    return {check.name: check.verdict for check in checks if check.verdict != "same"}


def found(video, name):
    (check,) = [check for check in verify(video).checks if check.name == name]
    return check.found


def test_a_video_as_it_was_made_differs_in_nothing(talk):
    assert verdicts(talk) == {}
    assert not inspect(talk).changes


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "ts"])
def test_a_copy_through_another_container_is_noted_and_no_difference(talk, tmp_path, suffix):
    there = copied(talk, tmp_path / f"there.{suffix}", *COPY)
    recipe = kept_recipe(talk)
    back = with_recipe(copied(there, tmp_path / "x.mp4", *COPY), tmp_path / "back.mp4", recipe)

    assert verdicts(back) == {"file": "note"}
    assert "re-muxed" in found(back, "file")


@pytest.mark.parametrize(
    ("options", "differing", "frames"),
    [
        ((*COPY, "-t", "1.5"), {"length", "frames", "sound"}, "only window 1 unchanged"),
        ((*COPY, "-an"), {"sound"}, "unchanged"),
        ((*COPY, "-c:a", "aac", "-b:a", "32k"), {"sound"}, "unchanged"),
        (("-c:v", "libx264", "-c:a", "copy"), {"frames"}, "encoded again, or others"),
        (("-c:v", "libx265", "-c:a", "copy"), {"frames"}, "encoded again, or others"),
        (("-vf", "scale=32:-2", "-c:a", "copy"), {"size", "frames"}, "encoded again, or others"),
        ((*COPY, "-vn", "-map", "0:a"), None, ""),
    ],
)
def test_what_is_gone_is_named(talk, tmp_path, options, differing, frames):
    changed = copied(talk, tmp_path / "changed.mp4", *options)
    if differing is None:
        with pytest.raises(FileError, match="no video track"):
            verify(changed)
        return

    assert {check.name for check in verify(changed).differences} == differing
    assert frames in found(changed, "frames")


def test_a_window_is_known_behind_a_beginning_that_was_cut_off(talk, tmp_path):
    late = copied(talk, tmp_path / "late.mp4", *COPY, start_s=30 / 24)

    assert found(late, "frames") == "20 of 50 frames, only window 2 unchanged"


def test_frames_that_an_edit_hides_make_a_video_shorter(talk, tmp_path):
    hidden = copied(talk, tmp_path / "hidden.mp4", *COPY, start_s=0.5)

    assert verdicts(hidden) == {"file": "note", "length": "differs"}
    assert found(hidden, "length") == "50 frames, 1.58 s"


def test_the_recipe_of_a_stripped_video_is_beside_it_or_in_the_ledger(talk, tmp_path):
    stripped = copied(talk, tmp_path / "stripped.mp4", *COPY, "-map_metadata", "-1")
    assert inspect(stripped).recipe is None
    with pytest.raises(FileError) as caught:
        verify(stripped)
    assert caught.value.code == "E_RECIPE"

    add_job(talk, target="/elsewhere/talk.mp4")
    known = read_video(stripped)
    assert (known.origin, known.job, known.recipe.seed) == ("ledger", "job12345", 5)
    assert verdicts(stripped) == {"recipe": "note", "file": "note"}

    full = {**kept_recipe(talk), "prompt": "A talk", "image": "a.png", "voices": ["b.wav"]}
    Path(f"{stripped}.json").write_text(json.dumps(full))
    known = read_video(stripped)
    assert (known.origin, known.prompt, known.recipe.image) == ("sidecar", "A talk", "a.png")


def add_job(video, *, target, prompt="", request="{}", recipe=None):
    """A finished job in the ledger that made this video."""
    recipe = json.dumps(kept_recipe(video) if recipe is None else recipe)
    Ledger().start(
        Job(
            id="job12345", fingerprint="f", app="a", environment="", stack="s", gpu="h100", seed=5,
            target=target, label="talk", recipe="{}", state=DONE, prompt=prompt, request=request,
            result=json.dumps({"recipe": recipe}),
        )
    )  # fmt: skip


def test_a_video_encoded_again_is_known_by_its_path(talk, tmp_path):
    other = tmp_path / "talk.mp4"
    copied(talk, other, "-map_metadata", "-1")
    add_job(talk, target=str(other))

    assert read_video(other).job == "job12345"
    assert verdicts(other)["frames"] == "differs"


@pytest.mark.parametrize("where", ["job", "default", "nowhere"])
def test_a_prompt_is_known_by_its_digest(talk, where):
    if where == "job":
        add_job(talk, target="/x.mp4", prompt="A talk", request=REQUEST)
    known = read_video(talk)

    expected = ("A talk", "noise") if where == "job" else (None, None)
    assert (known.prompt, known.negative_prompt) == expected


def test_a_video_of_an_earlier_version_says_what_was_not_recorded():
    video = HERE / "paid" / "videos" / "drawn.mp4"

    assert verdicts(video) == {"frames": "unknown", "sound": "unknown"}
    assert not inspect(video).changes
    assert not verify(video).differences


def test_a_shorter_video_of_an_earlier_version_differs(tmp_path):
    cut = copied(HERE / "paid" / "videos" / "drawn.mp4", tmp_path / "a.mp4", *COPY, "-t", "0.2")

    assert verdicts(cut)["length"] == "differs"


def test_a_video_of_fewer_frames_than_were_planned_is_whole(tmp_path):
    """As the look at a first window is."""
    video = model_video(tmp_path / "first", frames=500)

    assert verdicts(video) == {}
    assert found(video, "length") == "50 frames, 2.08 s"


def test_a_foreign_video_has_no_recipe(tmp_path):
    inspected = inspect(film(tmp_path / "a.mp4", None))

    assert (inspected.recipe, inspected.inputs, inspected.checks) == (None, (), ())


@pytest.mark.parametrize(
    "recipe",
    [
        recipe_of_model(size=[10**6, 10**6]),
        '{"multitalk": 1, "note": "' + "x" * 70_000 + '"}',
        '{"multitalk": ' + "[" * 40_000,
        '{"multitalk": 1e999}',
    ],
    ids=["size", "long", "deep", "infinite"],
)
def test_an_absurd_recipe_is_refused(talk, tmp_path, recipe):
    absurd = with_recipe(talk, tmp_path / "absurd.mp4", recipe)
    for read in (inspect, verify):
        with pytest.raises(FileError) as caught:
            read(absurd)
        assert caught.value.code == "E_RECIPE"


def test_an_absurd_sidecar_is_refused_and_a_foreign_one_left_alone(talk, tmp_path):
    video = Path(shutil.copy(talk, tmp_path))
    sidecar = Path(f"{video}.json")
    for foreign in ('{"a": 1}', "[1]", "{", "x" * (1 << 21)):
        sidecar.write_text(foreign)
        assert read_video(video).origin == "video"
    sidecar.write_text(json.dumps(recipe_of_model(fps=10**9)))
    with pytest.raises(FileError, match=r"talk\.mp4\.json"):
        read_video(video)


# On the command line


@pytest.fixture
def preview(portrait, voice, cli):
    make_preview()
    return Path("voice.preview.mp4")


def test_the_commands_of_a_preview(cli, preview, tmp_path):
    shown = cli("inspect", preview)
    assert shown.code == 0
    for line in ("made        by multitalk", "since then  unchanged", "seed        7, as given"):
        assert line in shown.stdout
    assert "image       host.png" in shown.stdout

    assert cli("verify", preview, "host.png", "voice.wav").code == 0
    other = cli("verify", preview, "host.png", preview, "--json")
    assert (other.code, other.error["code"]) == (8, "E_CHANGED")
    assert other.json["data"]["verified"] is False
    assert [each["verdict"] for each in other.json["data"]["checks"]][-2:] == ["same", "differs"]


def test_a_video_without_a_recipe_leads_to_inspect(cli, preview):
    copied(preview, "bare.mp4", *COPY, "-map_metadata", "-1")
    ran = cli("verify", "bare.mp4")

    assert (ran.code, "next:  multitalk inspect bare.mp4" in ran.stderr) == (3, True)
    assert "not by multitalk, or its recipe was removed" in cli("inspect", "bare.mp4").stdout


def test_words_of_a_recipe_move_no_cursor(cli, preview):
    recipe = {**kept_recipe(preview), "prompt": "\x1b[2Jx"}
    with_recipe(preview, Path("evil.mp4"), recipe)
    ran = cli("inspect", "evil.mp4")

    assert ran.code == 3
    assert "\x1b" not in ran.stderr + ran.stdout
