"""A recipe from a file is checked as a request is, and nothing of it is believed unseen."""

import dataclasses
from pathlib import Path
from random import Random

import pytest

from multitalk_cli.errors import FileError
from multitalk_cli.planning.inputs import GenerateOptions
from multitalk_cli.planning.request import RECORDED_OPTIONS
from multitalk_cli.recipes.recipe import Recipe, parse_recipe
from tests.recipes.made import recipe_of_model

VIDEO = Path("talk.mp4")


def parse(**entries):
    return parse_recipe(recipe_of_model(**entries), VIDEO)


def refused(**entries):
    """The message for a recipe with these entries."""
    with pytest.raises(FileError) as caught:
        parse(**entries)
    assert (caught.value.code, int(caught.value.exit_code)) == ("E_RECIPE", 3)
    assert len(caught.value.message) < 300
    return caught.value.message


def test_a_recipe_tells_the_settings_of_its_video():
    settings = parse(size=[64, 48], fps=25, sample_steps=12, shift=5.0).settings

    assert settings["size"] == "64x48"
    assert (settings["fps"], settings["sample_steps"], settings["shift"]) == (25, 12, 5.0)
    assert settings["sound_level"] is None


def test_every_option_that_decides_a_video_is_in_its_recipe():
    """A new option must be in RECORDED_OPTIONS: a video could not be made again without it."""
    elsewhere = {"size", "fps", "order", "shift", "seed", "seed_drawn"}
    elsewhere |= {"prompt", "negative_prompt", "embed_prompt"}
    options = {field.name for field in dataclasses.fields(GenerateOptions)}

    assert options == elsewhere | set(RECORDED_OPTIONS)
    assert {"size", "fps", "order", "shift", *RECORDED_OPTIONS} == set(parse().settings)


def test_entries_of_other_versions_are_no_error():
    older = recipe_of_model()
    for name in ("audio_track", "trim_silence", "rotate", "sound_level", "quality", "engine"):
        del older[name]
    quality = {"mouth_correlation": [0.5], "a_new_figure": [1, 2]}

    assert parse_recipe(older, VIDEO).settings["trim_silence"] is False
    assert parse(a_new_entry=[1], quality=quality).quality.mouth_correlation == (0.5,)


def test_what_the_engine_recorded_of_its_work_is_kept_and_nothing_else():
    work = {"forwards": 8, "lora_keys": 812, "eight_bit": "stored"}
    others = {"forwards_gated": -1, "steps": "4", "eight": True, "later": [1]}

    assert parse(work={**others, **work}).work == work
    assert parse(work={"eight_bit": "\x1b[31m", "forwards": 10**12}).work == {}
    assert parse(work={"eight_bit": ["stored"]}).work == parse(work=[1]).work == {}


@pytest.mark.parametrize(
    ("places", "typed"),
    [
        (["face 2", "face 1"], ("face:2",)),
        (["the picture"], ()),
        (["the left half", "the right half"], ("left",)),
        (["box:5%,20%,45%,80%"], ("box:5%,20%,45%,80%",)),
    ],
)
def test_places_are_told_as_they_are_typed(places, typed):
    assert parse(speakers=places).typed_places == typed


ABSURD = {
    "multitalk": [2, "1", None],
    "client": ["\x1b[2J", "x" * 201, 1],
    "backend": ["a\nb"],
    "image_sha256": ["A" * 64, "../../etc/passwd", "a" * 63],
    "voices_sha256": [[], ["b" * 64] * 3, "b" * 64, [5]],
    "speakers": [[], ["face 1"] * 3, ["face 0"], ["../x"], ["box:1,2"], ["left\x07"]],
    "order": ["para", 1],
    "size": [[64], [0, 0], [64, 33], [10**6, 10**6], [64.0, 32], "64x32", [True, 32]],
    "fps": [0, 10**9, 24.5, "24", True],
    "frames": [0, -1, 10**12, float("nan")],
    "windows": [[], [0], "81", [81.5], {"a": 1}],
    "shift": [float("inf"), 0, -1, "7"],
    "seed": [-1, 2**63, 0.5, None],
    "seed_drawn": ["yes", 1],
    "prompt_sha256": ["", None],
    "prompt": ["another prompt", 5],
    "fit": ["squash", 1],
    "background": ["\x1b]0;title\x07", "no colour", {}],
    "sample_steps": [0, 10**9, "many", 20.5, True],
    "text_guidance": [-1, float("nan"), 10**400],
    "trim_silence": ["perhaps", 2],
    "rotate": ["45", 90, None],
    "sound_level": [5, float("-inf")],
    "audio_track": [0, 10**6],
    "quality": [{"mouth_correlation": [float("nan")]}, {"color_drift": "x"}, 7],
    "streams": [
        {"frames": [[51, "a"]], "sound": None},
        {"frames": [[60, "a"], [-10, "b"]], "sound": None},
        {"frames": [], "sound": None},
        {"frames": "x", "sound": None},
        7,
    ],
    "engine": [{"version": "\x1b[31m"}],
    "gpu": ["h100\r\n"],
}


@pytest.mark.parametrize("name", ABSURD)
def test_what_no_request_holds_is_refused_by_name(name):
    for value in ABSURD[name]:
        message = refused(**{name: value})
        assert "talk.mp4" in message
        assert name.partition("_sha256")[0] in message, message


@pytest.mark.parametrize("name", [each.name for each in dataclasses.fields(Recipe)][:17])
def test_a_recipe_without_an_entry_is_refused(name):
    raw = recipe_of_model()
    del raw[name]
    with pytest.raises(FileError, match=name):
        parse_recipe(raw, VIDEO)


@pytest.mark.parametrize("character", ["\x00", "\x1b", "\x07", "\x7f", "\u202e", "\u2028"])
def test_a_prompt_holds_no_control_characters(character):
    from multitalk_cli.recipes.recipe import sha256_of_text

    text = f"A talk{character}"
    assert "control characters" in refused(prompt=text, prompt_sha256=sha256_of_text(text))


def test_lines_of_a_prompt_are_kept():
    from multitalk_cli.recipes.recipe import sha256_of_text

    text = "A talk\n\tin two lines"
    assert parse(prompt=text, prompt_sha256=sha256_of_text(text)).prompt == text


def test_a_long_value_does_not_fill_the_message():
    assert refused(background="x" * 60_000).endswith("...")


def _absurd(random, depth=0):
    """Any value that JSON can hold."""
    nested = depth < 3
    values = (
        None, True, 0, -1, 10 ** random.randrange(30), random.random() * 1e9, float("nan"),
        "x" * random.randrange(300), "\x1b[2J", "face 1", 64,
        [_absurd(random, depth + 1) for _ in range(random.randrange(3))] if nested else [],
        {str(random.randrange(9)): _absurd(random, depth + 1)} if nested else {},
    )  # fmt: skip
    return random.choice(values)


def test_a_recipe_of_a_newer_version_is_called_so():
    assert "a newer version of multitalk wrote it (format 2)" in refused(multitalk=2)


def test_a_recipe_of_any_values_is_valid_or_refused():
    random, valid = Random(1), 0
    streams = {"frames": [[30, "a"], [20, "b"]], "sound": [30, "c"]}
    for _ in range(4000):
        raw = recipe_of_model(quality={"color_drift": [1.0]}, streams=streams)
        for name in random.sample(list(raw), 2):
            raw[name] = _absurd(random)
        try:
            recipe = parse_recipe(raw, VIDEO)
        except FileError as error:
            assert error.code == "E_RECIPE"
            assert len(error.message) < 300
        else:
            valid += recipe.settings["size"] == "64x32" and 1 <= recipe.frames_made <= 50
    assert 40 < valid < 2000
