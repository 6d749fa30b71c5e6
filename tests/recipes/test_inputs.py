"""Inputs are found by their content, where the ledger saw them or beside the video."""

from pathlib import Path

import pytest

from multitalk_cli.jobs.ledger import KnownInput, Ledger
from multitalk_cli.recipes import inputs
from multitalk_cli.recipes.inputs import find_inputs, sha256_of_path
from multitalk_cli.recipes.recipe import parse_recipe
from tests.recipes.made import recipe_of_model


@pytest.fixture
def files(folder):
    """A picture and two voices in a folder of their own, and a recipe of them."""
    Path("inputs").mkdir()
    paths = {}
    for name in ("host.png", "a.wav", "b.wav"):
        paths[name] = Path("inputs", name).absolute()
        paths[name].write_bytes(name.encode())
    return paths


@pytest.fixture
def recipe(files):
    picture, *voices = (sha256_of_path(path) for path in files.values())
    entries = {"image_sha256": picture, "voices_sha256": voices}
    return parse_recipe(recipe_of_model(**entries, speakers=["face 1", "face 2"]), Path("x"))


def locations(recipe, folder=Path()):
    return {each.role: each.location for each in find_inputs(recipe, folder)}


def seen(*paths):
    Ledger().remember_inputs(
        [KnownInput(sha256=sha256_of_path(path), location=str(path)) for path in paths]
    )


def test_inputs_are_where_the_ledger_saw_them(files, recipe):
    seen(*files.values())

    assert locations(recipe) == dict(
        zip(("image", "voice 1", "voice 2"), map(str, files.values()), strict=True)
    )


def test_inputs_are_found_beside_the_video_or_in_this_folder(files, recipe):
    files["b.wav"].rename("renamed")

    assert locations(recipe, Path("inputs")) == {
        "image": str(files["host.png"]),
        "voice 1": str(files["a.wav"]),
        "voice 2": str(Path("renamed").absolute()),
    }


def test_what_moved_or_changed_is_not_taken_for_the_input(files, recipe):
    seen(*files.values())
    files["a.wav"].unlink()
    files["b.wav"].write_bytes(b"another recording")

    assert locations(recipe)["image"] == str(files["host.png"])
    assert (locations(recipe)["voice 1"], locations(recipe)["voice 2"]) == (None, None)


def test_an_address_of_the_ledger_is_not_asked(recipe):
    address = "s3://bucket/a.wav"
    Ledger().remember_inputs([KnownInput(sha256=recipe.voices_sha256[0], location=address)])

    assert locations(recipe)["voice 1"] == address


def test_folders_below_are_not_searched_nor_more_than_a_bound(files, recipe, monkeypatch):
    assert set(locations(recipe, Path().absolute()).values()) == {None}
    monkeypatch.setattr(inputs, "_MOST_BYTES", 5)
    assert list(locations(recipe, Path("inputs")).values()).count(None) == 2


def test_an_unusable_ledger_is_no_reason_to_find_nothing(files, recipe):
    from multitalk_cli.jobs.ledger import ledger_path

    ledger_path().parent.mkdir(parents=True)
    ledger_path().write_text("no database")

    assert locations(recipe, Path("inputs"))["image"] == str(files["host.png"])
