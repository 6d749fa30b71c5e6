"""Output names: defaults, templates, collisions, and places that cannot be used."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multitalk_cli.cli.next_command import next_command
from multitalk_cli.errors import FileError, UsageError
from multitalk_cli.generation.output_path import (
    OutputNames,
    check_sidecar,
    choose_output,
    choose_plan_picture,
    plan_folder,
    write_sidecar,
)
from multitalk_cli.generation.reuse import is_already_made, is_already_stored
from multitalk_cli.planning import fingerprint
from multitalk_cli.planning.presets import values_of
from multitalk_cli.storage.upload import ObjectStatus


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*voices, image="in/host.jpg", seed=7, preview=False):
    paths = tuple(Path(voice) for voice in voices or ("in/voice.wav",))
    return OutputNames(image=Path(image), voices=paths, seed=seed, preview=preview)


def is_root():
    return os.geteuid() == 0


# OutputNames


@pytest.mark.parametrize(
    ("voices", "preview", "expected"),
    [
        (("in/voice.wav",), False, "voice.mp4"),
        (("in/voice.wav",), True, "voice.preview.mp4"),
        (("a.wav", "b/c.flac"), False, "host-a-c.mp4"),
        (("a.wav", "b.wav"), True, "host-a-b.preview.mp4"),
        (("my voice.tar.wav",), False, "my voice.tar.mp4"),
        ((".wav",), False, ".wav.mp4"),
        (("in/-dash.wav",), False, "-dash.mp4"),
        (("a\nb.wav",), False, "a\nb.mp4"),
        (("{n}.wav",), False, "{n}.mp4"),
        (("caf\udce9.wav",), False, "caf\udce9.mp4"),
        (("v..wav",), False, "v..mp4"),
        (("x" * 251 + ".wav",), False, "x" * 251 + ".mp4"),
        (("x" * 251 + ".wav",), True, "x" * 238 + ".preview.mp4"),
        (("é" * 125 + "a.wav",), True, "é" * 119 + ".preview.mp4"),
    ],
)
def test_a_name_is_made_of_the_inputs_and_lies_in_this_folder(voices, preview, expected):
    assert choose_output(None, names(*voices, preview=preview)) == Path(expected)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("talk.mp4", "talk.mp4"),
        ("made", "made/voice.mp4"),
        ("made/", "made/voice.mp4"),
        (".", "voice.mp4"),
        ("./talk.mp4", "talk.mp4"),
        ("{image}.mp4", "host.mp4"),
        ("{image}-{voice}-{seed}.mp4", "host-voice-7.mp4"),
        ("made/{seed:05}.mp4", "made/00007.mp4"),
        ("{image}/", "host/voice.mp4"),
        ("{{x}}.mp4", "{x}.mp4"),
        ("take {n}.mp4", "take 1.mp4"),
    ],
)
def test_an_output_may_be_a_file_a_folder_or_a_template(folder, asked, expected):
    (folder / "made").mkdir()
    (folder / "host").mkdir()

    assert choose_output(asked, names()) == Path(expected)


def test_two_voices_are_one_word_of_a_template():
    assert choose_output("{voice}.mp4", names("a.wav", "b.wav")) == Path("a-b.mp4")


def test_a_folder_that_looks_like_a_template_is_a_folder(folder):
    (folder / "{seed}").mkdir()

    assert choose_output("{seed}", names()) == Path("{seed}/voice.mp4")


def test_a_number_is_the_first_that_is_free(folder):
    for taken in ("1.mp4", "2.mp4", "4.mp4"):
        (folder / taken).touch()

    assert choose_output("{n}.mp4", names()) == Path("3.mp4")


def test_a_number_passes_over_broken_links(folder):
    (folder / "1.mp4").symlink_to("nowhere")

    assert choose_output("{n}.mp4", names()) == Path("2.mp4")


def test_an_escaped_number_is_no_number(folder):
    (folder / "{n}.mp4").touch()

    assert choose_output("{{n}}.mp4", names()) == Path("{n}.mp4")


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{sed}.mp4", "unknown field {sed}"),
        ("{}.mp4", "unknown field {}"),
        ("{0}.mp4", "unknown field {0}"),
        ("{image.parent}.mp4", "unknown field {image.parent}"),
        ("{seed.__class__}.mp4", "unknown field"),
        ("{voice[0]}.mp4", "unknown field"),
        ("{seed:999999999}.mp4", "a layout other than {seed:03}"),
        ("{seed:{n}}.mp4", "a layout other than {seed:03}"),
        ("{image!r}.mp4", "a layout other than {image:03}"),
        ("{seed.mp4", "'{seed.mp4' has"),
        ("{seed}}.mp4", "'{seed}}.mp4' has"),
        ("{seed:03!r}.mp4", "has"),
    ],
)
def test_a_bad_template_is_refused_with_the_fields_that_there_are(template, expected):
    with pytest.raises(UsageError) as caught:
        choose_output(template, names())

    assert expected in caught.value.message
    assert caught.value.code == "E_OUTPUT_NAME"
    assert "{image}, {voice}, {seed}, {n}" in next_command(caught.value, ["generate"])


letters = st.sampled_from(["{", "}", "n", "seed", ":", "03", "!", "/", ".mp4", "a", " ", "\n", "é"])


@given(st.lists(letters, max_size=8).map("".join))
def test_every_template_gives_a_path_or_is_refused(asked):
    try:
        target = choose_output(asked, names())
    except (UsageError, FileError) as error:
        assert error.message
    else:
        assert target.name.endswith(".mp4")


# Endings


@pytest.mark.parametrize(
    ("asked", "preview", "hint"),
    [
        ("talk.mp4", True, "-o talk.preview.mp4"),
        ("talk", True, "-o talk.preview.mp4"),
        ("talk.MOV", True, "-o talk.preview.mp4"),
        ("my talk.mp4", True, "-o 'my talk.preview.mp4'"),
        (".preview.mp4", True, "-o .preview.preview.mp4"),
        ("notes.txt", True, "-o notes.preview.mp4"),
        ("picture.PNG", False, "-o picture.mp4"),
        ("talk.", False, "-o talk.mp4"),
        ("...", True, "-o voice.preview.mp4"),
        ("-talk.mov", False, "-o -talk.mp4"),
        ("{image}.mov", True, "-o '{image}.preview.mp4'"),
        ("{image}-{seed:05}", False, "-o '{image}-{seed:05}.mp4'"),
        ("{image}.preview.mp4", False, "-o '{image}.mp4'"),
        ("talk", False, "-o talk.mp4"),
        ("talk.v2", False, "-o talk.v2.mp4"),
        ("talk.MP4", False, "-o talk.mp4"),
        ("talk.preview.mp4", False, "-o talk.mp4"),
        (".mp4", False, "-o .mp4.mp4"),
        ("", False, "-o voice.mp4"),
        ("", True, "-o voice.preview.mp4"),
    ],
)
def test_a_name_that_does_not_fit_is_refused_with_one_that_does(asked, preview, hint):
    with pytest.raises(UsageError) as caught:
        choose_output(asked, names(preview=preview))

    command = next_command(caught.value, ["generate"])
    assert (caught.value.code, command) == ("E_OUTPUT_NAME", f"multitalk generate {hint}")
    proposed = hint.removeprefix("-o ").strip("'")
    if "{" not in proposed:
        assert choose_output(proposed, names(preview=preview)) == Path(proposed)


name_parts = st.sampled_from(
    [".", "..", "-", "~", "a", "é", " ", ".txt", ".mov", ".mp4", "\x1b[2J"]
)


@given(st.lists(name_parts, min_size=1, max_size=6).map("".join), st.booleans())
def test_what_is_proposed_for_any_name_is_taken(asked, preview):
    chosen = names(preview=preview)
    try:
        target = choose_output(asked, chosen)
    except UsageError as error:
        target = choose_output(error.facts["proposed"], chosen)

    assert target.name.endswith(chosen.suffix)
    assert preview or not target.name.endswith(".preview.mp4")


# Places


def refused(asked, chosen=None):
    with pytest.raises(FileError) as caught:
        choose_output(asked, chosen if chosen is not None else names())
    assert caught.value.code == "E_OUTPUT_PATH"
    return caught.value


def test_a_missing_folder_is_refused_with_the_command_that_makes_it():
    error = refused("no such/talk.mp4")

    assert "'no such' does not exist" in error.message
    assert next_command(error, ["generate"]) == "mkdir -p 'no such'"


def test_a_file_in_a_folder_s_place_is_refused(folder):
    (folder / "file").touch()

    assert "'file' is not a folder" in refused("file/talk.mp4").message


def test_only_a_regular_file_is_overwritten(folder):
    os.mkfifo(folder / "talk.mp4")

    assert "not a regular file" in refused("talk.mp4").message


@pytest.mark.parametrize("link", [os.symlink, os.link, None])
def test_an_input_is_never_the_output(folder, link):
    (folder / "voice.mp4").write_bytes(b"a recording")
    if link is not None:
        link("voice.mp4", "talk.mp4")

    error = refused(None if link is None else "talk.mp4", names("voice.mp4"))

    assert "is one of the inputs" in error.message
    assert (folder / "voice.mp4").read_bytes() == b"a recording"


def test_the_picture_is_an_input_too(folder):
    (folder / "host.mp4").touch()

    assert "is one of the inputs" in refused("host.mp4", names(image="host.mp4")).message


def test_a_name_that_is_too_long_is_refused():
    assert "too long" in refused("x" * 300 + ".mp4").message


def test_a_long_name_that_fits_is_taken(folder):
    name = "é" * 125 + ".mp4"

    assert choose_output(name, names()) == Path(name)
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(is_root(), reason="needs a user without root's right to write everywhere")
@pytest.mark.parametrize("mode", [0o500, 0o000])
def test_a_folder_that_may_not_be_written_is_refused(folder, mode):
    (folder / "locked").mkdir(mode=mode)

    assert "locked" in refused("locked/talk.mp4").message


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no /proc here")
def test_a_file_system_that_takes_no_files_is_refused():
    named = "/proc/talk.mp4" if is_root() else "/proc"

    assert named in refused("/proc/talk.mp4").message


def test_choosing_a_name_leaves_nothing_behind(folder):
    choose_output("talk.mp4", names())

    assert list(folder.iterdir()) == []


# Collisions

RECIPE = {"seed": 1, "seed_drawn": False, "fps": 24, "client": "0.1.0"}


def test_what_does_not_exist_is_not_made(folder):
    assert not is_already_made(folder / "talk.mp4", RECIPE, None, force=False)


@pytest.mark.parametrize(
    ("found", "asked"),
    [
        (RECIPE, RECIPE),
        ({**RECIPE, "client": "0.2.0", "gpu": "h100"}, RECIPE),
        ({**RECIPE, "seed": 9}, {**RECIPE, "seed_drawn": True}),
        ({**RECIPE, "seed_drawn": True}, RECIPE),
    ],
)
def test_the_same_recipe_is_not_made_again(folder, found, asked):
    (folder / "talk.mp4").touch()

    assert is_already_made(folder / "talk.mp4", asked, found, force=False)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (None, "was not made by multitalk"),
        ({**RECIPE, "fps": 25}, "was made with another --fps (25, now 24)"),
        ({**RECIPE, "fps": "\x1b[2J"}, "was made with another --fps"),
        ({**RECIPE, "seed": 2}, "was made with another --seed (2, now 1)"),
        ({**RECIPE, "seed": "\x1b[2J"}, "was made with another --seed"),
        ({"seed": 2}, "was made with another --seed (2, now 1), --fps"),
        ({**RECIPE, "\x1b[2J": "x" * 9}, "was made with another version of multitalk"),
    ],
)
def test_another_recipe_is_refused(folder, found, expected):
    (folder / "talk.mp4").touch()

    with pytest.raises(FileError) as caught:
        is_already_made(folder / "talk.mp4", RECIPE, found, force=False)

    assert caught.value.code == "E_OUTPUT_EXISTS"
    assert caught.value.message.endswith(expected)
    assert "--force" in next_command(caught.value, ["generate"])


STANDARD = {
    **RECIPE, **values_of("standard"), "shift": 7.0, "times": [], "size": [896, 448],
    "speakers": ["face 1"],
}  # fmt: skip
FAST = {**values_of("fast"), "shift": 5.0, "times": [1000.0]}


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        (FAST, "--preset (fast, now standard)"),
        ({**FAST, "fps": 25}, "--fps (25, now 24), --preset (fast, now standard)"),
        (
            {"sample_steps": 12, "tier": "near", "size": [640, 640]},
            "--tier (near, now exact), --steps (12, now 20), --size (640x640, now 896x448)",
        ),
        ({"lora": "lips:0.5"}, "--lora (lips:0.5, now none)"),
        ({"size": "\x1b[2J"}, "--size"),
        ({"lora": ["lips"]}, "--lora"),
        ({"shift": 5.0}, "--shift (5, now 7)"),
        ({"fps": 25, "frames": 50, "speakers": []}, "--fps (25, now 24)"),
        ({"speakers": []}, "--speaker"),
    ],
)
def test_only_what_was_typed_is_named(folder, entries, expected):
    (folder / "talk.mp4").touch()
    with pytest.raises(FileError) as caught:
        is_already_made(folder / "talk.mp4", STANDARD, {**STANDARD, **entries}, force=False)

    assert caught.value.message.endswith(f"was made with another {expected}")


def test_the_shift_that_was_asked_for_is_not_told_as_the_preset_s(folder):
    (folder / "talk.mp4").touch()
    asked = {**STANDARD, **FAST, "shift": 3.0, "times": [999.0]}
    with pytest.raises(FileError) as caught:
        is_already_made(folder / "talk.mp4", asked, {**STANDARD, **FAST}, force=False)

    assert caught.value.message.endswith("another --shift (5, now 3)")


def test_a_preset_that_had_other_values_is_told_by_these(folder):
    (folder / "talk.mp4").touch()
    before = {**STANDARD, **FAST, "sample_steps": 6, "times": [900.0]}
    with pytest.raises(FileError) as caught:
        is_already_made(folder / "talk.mp4", {**STANDARD, **FAST}, before, force=False)

    assert caught.value.message.endswith("another --steps (6, now 4 by --preset fast)")


@pytest.mark.parametrize(
    ("found", "asked"),
    [
        (RECIPE, {**RECIPE, "sharpness": 0.5}),
        ({**RECIPE, "sharpness": 0.5}, RECIPE),
        ({**RECIPE, "windows": [49, 45]}, {**RECIPE, "windows": [93]}),
    ],
)
def test_what_came_later_changes_no_finished_video(folder, monkeypatch, found, asked):
    monkeypatch.setitem(fingerprint.ADDED_DEFAULTS, "sharpness", 0.5)
    (folder / "talk.mp4").touch()

    assert is_already_made(folder / "talk.mp4", asked, found, force=False)
    assert is_already_stored(spot_of(found), asked, None, force=False)


def test_another_text_is_named_in_words(folder):
    (folder / "talk.mp4").touch()
    found, wanted = (
        {**RECIPE, "prompt_sha256": text, "negative_prompt_sha256": text} for text in "ab"
    )

    with pytest.raises(FileError) as caught:
        is_already_made(folder / "talk.mp4", wanted, found, force=False)

    assert caught.value.message.endswith("was made with another --prompt, --negative-prompt")


@pytest.mark.parametrize(
    ("found", "asked", "expected"),
    [
        (RECIPE, {**RECIPE, "sharpness": 0.6}, "was made with another sharpness"),
        ({**RECIPE, "sharpness": 0.6}, RECIPE, "was made with another version of multitalk"),
        (
            {**RECIPE, "sharpness": 0.6},
            {**RECIPE, "sharpness": 0.5},
            "was made with another sharpness",
        ),
    ],
)
def test_a_new_option_that_was_not_at_its_default_makes_another_video(
    folder, monkeypatch, found, asked, expected
):
    monkeypatch.setitem(fingerprint.ADDED_DEFAULTS, "sharpness", 0.5)
    (folder / "talk.mp4").touch()

    with pytest.raises(FileError) as caught:
        is_already_made(folder / "talk.mp4", asked, found, force=False)

    assert caught.value.message.endswith(expected)


def spot_of(recipe):
    """The status of an address at which a video is stored."""
    return ObjectStatus(address="s3://b/talk.mp4", is_taken=True, recipe=json.dumps(recipe))


def test_a_broken_link_is_something_that_exists(folder):
    (folder / "talk.mp4").symlink_to("nowhere")

    with pytest.raises(FileError, match="exists"):
        is_already_made(folder / "talk.mp4", RECIPE, None, force=False)


def test_force_makes_it_again(folder):
    (folder / "talk.mp4").touch()

    assert not is_already_made(folder / "talk.mp4", RECIPE, RECIPE, force=True)


# Files next to the video


def test_a_sidecar_is_the_recipe_beside_the_video(folder):
    path = write_sidecar(folder / "talk.mp4", {"prompt": "A café"}, overwrite=False)

    assert path.name == "talk.mp4.json"
    assert json.loads(path.read_text()) == {"prompt": "A café"}
    assert [file.name for file in folder.iterdir()] == ["talk.mp4.json"]


def test_a_sidecar_that_cannot_be_written_is_refused(folder):
    with pytest.raises(FileError, match="cannot be written"):
        write_sidecar(folder / "gone" / "talk.mp4", {}, overwrite=True)


@pytest.mark.parametrize("make", [Path.touch, lambda path: path.symlink_to("nowhere")])
def test_a_sidecar_overwrites_nothing_unless_forced(folder, make):
    make(folder / "talk.mp4.json")

    with pytest.raises(FileError) as caught:
        check_sidecar(Path("talk.mp4"), force=False)

    assert caught.value.code == "E_OUTPUT_EXISTS"
    check_sidecar(Path("talk.mp4"), force=True)
    with pytest.raises(FileError, match="exists"):
        write_sidecar(Path("talk.mp4"), {}, overwrite=False)


def test_a_sidecar_whose_name_would_be_too_long_is_refused_early():
    with pytest.raises(FileError, match="too long"):
        check_sidecar(Path("x" * 248 + ".mp4"), force=False)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (None, "."),
        ("talk.mp4", "."),
        ("-", "."),
        ("made", "made"),
        ("made/", "made"),
        ("made/{n}.mp4", "made"),
    ],
)
def test_a_plan_lies_beside_the_output(folder, asked, expected):
    (folder / "made").mkdir()

    assert plan_folder(asked) == Path(expected)


def test_a_plan_needs_its_folder():
    with pytest.raises(FileError, match="does not exist"):
        plan_folder("gone/talk.mp4")


def plan_picture(content, *, force=False):
    return str(choose_plan_picture(Path(), Path("in/host.jpg"), content, force=force))


def test_a_plan_s_picture_takes_no_other_file_s_place(folder):
    assert plan_picture(b"one") == "host.plan.png"
    (folder / "host.plan.png").write_bytes(b"one")
    (folder / "host.2.plan.png").symlink_to("nowhere")

    assert plan_picture(b"one") == "host.plan.png"
    assert plan_picture(b"two") == "host.3.plan.png"
    assert plan_picture(b"two", force=True) == "host.plan.png"


def test_a_folder_in_the_place_of_a_plan_s_picture_is_passed_over(folder):
    (folder / "host.plan.png").mkdir()

    assert plan_picture(b"one") == "host.2.plan.png"
