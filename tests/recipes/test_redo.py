"""Videos made again: by the recipe's settings, with what was changed, and a seed that is said."""

import contextlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile
from PIL import Image

from multitalk_cli import Client
from multitalk_cli.errors import FileError, UsageError
from multitalk_cli.generation.arguments import record_arguments
from multitalk_cli.jobs.ledger import KnownInput, Ledger
from multitalk_cli.media.video.recipe import read_recipe
from multitalk_cli.planning.presets import FIELDS, PRESETS, denoising_of
from multitalk_cli.recipes.inputs import sha256_of_path
from multitalk_cli.recipes.redo import Changes, redo_arguments
from multitalk_cli.reporting.reporter import QuietReporter
from multitalk_cli.settings import load_settings
from tests.command_line import EXAMPLES
from tests.media.image.pictures import beside
from tests.recipes.made import (
    copied,
    kept_recipe,
    make_preview,
    model_video,
    with_recipe,
)

pytestmark = pytest.mark.slow

VIDEO = "voice.preview.mp4"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """host.png, voice.wav of a second, and a preview of them with seed 7 at 256x128."""
    folder = tmp_path_factory.mktemp("made")
    with contextlib.chdir(folder):
        shutil.copy(EXAMPLES / "portrait.png", "host.png")
        samples, rate_hz = soundfile.read(EXAMPLES / "voice.wav")
        soundfile.write("voice.wav", samples[:rate_hz], rate_hz)
        make_preview("--steps", "12")
    return folder


@pytest.fixture
def preview(folder, made, faces_remembered):
    """The preview, and its inputs beside it."""
    for file in made.iterdir():
        shutil.copy(file, folder)
    return Path(VIDEO)


@pytest.fixture
def again(cli, preview):
    """The plan of the preview made again: `again("--fps", "25")` gives the run."""

    def run(*words, video=VIDEO):
        return cli("redo", video, "--plan", "--backend", "preview", *words, "--json")

    return run


def planned(ran):
    assert ran.code == 0, ran.stderr
    return ran.json["data"]["plan"]


# Settings and seed


def test_a_video_is_made_again_with_its_settings_and_a_new_seed(cli, preview, monkeypatch):
    monkeypatch.setenv("MULTITALK_FPS", "30")
    Path("multitalk.toml").write_text("sample_steps = 50\nsize = '720p'\n")

    ran = cli("redo", VIDEO, "--backend", "preview", "--json")

    data = ran.json["data"]
    assert (ran.json["command"], data["fps"], data["width"]) == ("redo", 24, 256)
    assert data["output"] == str(Path(f"voice-{data['seed']}.preview.mp4").absolute())
    assert f"{data['seed']}, new (the video's: 7; --seed same repeats it)" in ran.stderr
    first, second = kept_recipe(Path(VIDEO)), read_recipe(Path(data["output"]))
    assert second["seed"] != first["seed"]
    assert second["streams"] == first["streams"]
    assert {**first, "seed": 0} == {**second, "seed": 0}


def test_two_new_seeds_differ(again):
    assert planned(again())["seed"] != planned(again())["seed"]


@pytest.mark.parametrize(("typed", "seed"), [("same", 7), ("0", 0), ("123", 123)])
def test_a_seed_is_the_same_or_as_given(again, typed, seed):
    ran = again("--seed", typed)

    assert planned(ran)["seed"] == seed
    assert f"seed        {seed}, as " in ran.stderr


@pytest.mark.parametrize("typed", [(), ("--seed", "same")])
def test_several_takes_have_seeds_in_a_row(cli, preview, typed):
    ran = cli("redo", VIDEO, "--backend", "preview", "--seeds", "2", *typed, "--json")

    assert (ran.code, ran.json["command"]) == (0, "redo"), ran.stderr
    seeds = sorted(read_recipe(path)["seed"] for path in Path().glob("voice-*.preview.mp4"))
    assert seeds == ([7, 8] if typed else [seeds[0], seeds[0] + 1])


@pytest.mark.parametrize("bad", ["old", "1.5", "", "-1", str(2**63)])
def test_another_seed_is_refused(again, bad):
    assert again(f"--seed={bad}").error["code"] == "E_RANGE"


def test_options_take_the_place_of_the_recipe_s(again):
    words = ("--steps", "20", "--fps", "25", "--text-guidance", "3.0", "-p", "Another talk")
    ran = again(*words, "--seed", "same")

    plan = planned(ran)
    assert (plan["sample_steps"], plan["fps"], plan["width"]) == (20, 25, 256)
    changed = (
        "fps 25 (was 24), sample steps 20 (was 12), text guidance 3 (was 5), prompt Another talk"
    )
    assert changed in ran.stderr


@pytest.mark.parametrize(
    ("shift", "words", "expected"),
    [
        (7.0, (), None),
        (5.0, (), 5.0),
        (7.0, ("--size", "720p"), None),
        (5.0, ("--size", "720p"), 5.0),
        (7.0, ("--size", "720p", "--shift", "3"), 3.0),
    ],
)
def test_a_size_brings_its_own_shift(folder, shift, words, expected):
    video = whole_video(folder, shift=shift)
    names = [name for name in ("size", "shift") if f"--{name}" in words]
    given = {name: words[words.index(f"--{name}") + 1] for name in names}
    changes = Changes(settings=names)
    _, chosen = redo_arguments(video, changes, load_settings(given), QuietReporter())

    assert chosen["shift"] == expected


def whole_video(folder, **entries):
    """A model's video whose inputs lie beside it."""
    contents = {"image_sha256": b"picture", "voices_sha256": b"voice"}
    digests = {}
    for name, content in contents.items():
        path = folder / f"{name}.bin"
        path.write_bytes(content)
        digests[name] = sha256_of_path(path)
    digests["voices_sha256"] = [digests["voices_sha256"]]
    video = model_video(folder / "made", **{**digests, **KNOWN_TEXTS, **entries})
    return Path(shutil.move(video, folder / "talk.mp4"))


KNOWN_TEXTS = {"prompt": "A talk", "negative_prompt": "noise"}


def test_recorded_options_all_return(folder):
    entries = {
        "fit": "contain", "background": "black", "sample_steps": 33, "text_guidance": 2.5,
        "audio_guidance": 3.0, "audio_track": 2, "trim_silence": True, "sound_level": -20.0,
        "rotate": "270",
        "order": "together", "fps": 24, "size": [64, 32], "shift": 4.0,
    }  # fmt: skip
    args, chosen = redo_arguments(
        whole_video(folder, **entries), Changes(), load_settings(), QuietReporter()
    )

    recorded = json.loads(record_arguments(args, chosen))
    assert recorded["prompt"] == "A talk"
    settings = recorded["settings"]
    assert {**settings, **entries, "size": "64x32"} == settings
    assert settings["negative_prompt"] == "noise"
    assert settings["embed_prompt"] is True


def test_a_preset_replaces_all_that_presets_set(folder):
    video = whole_video(folder, sample_steps=33, text_guidance=2.5, shift=4.0)
    chosen = load_settings({"preset": "fast", "audio_guidance": "3"})

    changes = Changes(settings=("preset", "audio_guidance"))
    _, settings = redo_arguments(video, changes, chosen, QuietReporter())

    assert denoising_of(settings) == replace(PRESETS["fast"], audio_guidance=3.0)


def test_a_video_of_a_preset_is_made_again_whatever_the_user_prefers_now(folder):
    fast = {name: getattr(PRESETS["fast"], name) for name in FIELDS if name != "shift"}
    video = whole_video(folder, **fast, shift=5.0, times=[1000.0, 937.5, 833.3, 625.0])

    _, settings = redo_arguments(
        video, Changes(), load_settings({"preset": "best"}), QuietReporter()
    )

    assert (settings["preset"], denoising_of(settings)) == ("fast", PRESETS["fast"])


# Nothing is made or paid for twice


def test_the_same_again_is_the_video_itself_unless_forced(cli, preview):
    same = cli("redo", VIDEO, "--seed", "same", "--backend", "preview", "--json").json["data"]
    assert (same["already_made"], same["output"]) == (True, str(preview.absolute()))

    words = ("--seed", "same", "--backend", "preview", "--force", "--json")
    forced = cli("redo", VIDEO, *words).json["data"]
    assert (forced["already_made"], forced["output"]) == (
        False,
        str(Path("voice-7.preview.mp4").absolute()),
    )


def test_a_video_that_was_cut_is_made_again(cli, preview):
    copied(preview, "cut.preview.mp4", "-c", "copy", "-t", "0.5")
    made = cli("redo", "cut.preview.mp4", "--seed", "same", "--backend", "preview", "--json")

    assert made.json["data"]["output"] == str(Path("cut-7.preview.mp4").absolute())
    assert read_recipe(Path("cut-7.preview.mp4"))["streams"] == kept_recipe(preview)["streams"]


def test_an_output_is_where_it_is_wanted_and_overwrites_nothing(cli, preview):
    words = ("--backend", "preview", "-o")
    assert cli("redo", VIDEO, *words, "b.preview.mp4").code == 0
    assert cli("redo", VIDEO, *words, "b.preview.mp4").code == 3
    assert cli("redo", VIDEO, *words, "{voice}-{seed}.preview.mp4", "--seed", "9").code == 0
    assert Path("voice-9.preview.mp4").is_file()


# Inputs


def test_inputs_are_those_that_the_ledger_knows(again, tmp_path):
    for name in ("host.png", "voice.wav"):
        elsewhere = shutil.move(name, tmp_path)
        sha256 = sha256_of_path(Path(elsewhere))
        Ledger().remember_inputs([KnownInput(sha256=sha256, location=elsewhere)])

    ran = again()
    planned(ran)
    assert ran.json["data"]["voices"][0]["path"] == str(tmp_path / "voice.wav")


def test_inputs_of_a_preview_are_known_from_anywhere(cli, portrait, voice, tmp_path, monkeypatch):
    make_preview()
    (tmp_path / "other").mkdir()
    shutil.move(VIDEO, tmp_path / "other")
    monkeypatch.chdir(tmp_path / "other")

    ran = cli("redo", VIDEO, "--plan", "--backend", "preview", "--json")
    planned(ran)
    assert ran.json["data"]["voices"][0]["path"] == str(voice.absolute())


@pytest.mark.parametrize(
    ("gone", "hint"),
    [("host.png", "--image IMAGE"), ("voice.wav", "--voice VOICE.wav")],
)
def test_an_unknown_input_is_named_with_its_option(again, gone, hint):
    Path(gone).unlink()
    ran = again()

    assert (ran.code, ran.error["code"]) == (3, "E_RECIPE_INPUT")
    assert ran.error["hint"] == f"multitalk redo {VIDEO} --plan --backend preview {hint}"


def test_an_input_that_moved_or_another_is_given_by_an_option(again, speech, tmp_path):
    moved = shutil.move("host.png", tmp_path)
    other = speech("other.wav", 0.8)
    ran = again("--image", moved, "--voice", other)

    assert planned(ran)["frames"] == 20
    assert f"image {moved}, voice {other}" in ran.stderr


def test_a_voice_in_the_place_of_two(again, cli, speech):
    portrait = Image.open("host.png").crop((262, 0, 762, 640))
    beside(portrait, portrait).save("duo.png")
    speech("a.wav", 0.5), speech("b.wav", 0.6, 1.0)
    places = ("--speaker", "right=a.wav", "--speaker", "left=b.wav")
    words = ("--size", "256x128", "--backend", "preview", "-o", "duo.preview.mp4")
    assert cli("generate", "duo.png", *places, *words).code == 0
    other = speech("c.wav", 0.4, 2.0)

    def voices(*words):
        ran = again(*words, video="duo.preview.mp4")
        planned(ran)
        voices = {each["place"]: each["voice"] for each in ran.json["data"]["speakers"]}
        return tuple(voices[face] and Path(voices[face]).name for face in ("face 2", "face 1"))

    assert voices() == ("a.wav", "b.wav")
    assert voices("--voice", "b.wav", "--voice", other) == ("c.wav", "b.wav")
    Path("b.wav").unlink()
    assert voices("--voice", other) == ("a.wav", "c.wav")
    assert voices("--speaker", f"left={other}") == (None, "c.wav")
    assert again(*["--voice", "a.wav"] * 3, video="duo.preview.mp4").code == 2


def test_a_prompt_that_is_not_known_must_be_given(folder):
    video = whole_video(folder, prompt=None)
    with pytest.raises(FileError) as caught:
        redo_arguments(video, Changes(), load_settings(), QuietReporter())
    assert caught.value.facts["option"] == "--prompt"

    args, _ = redo_arguments(video, Changes(prompt="Mine"), load_settings(), QuietReporter())
    assert args.prompt == "Mine"


def test_a_negative_prompt_that_is_not_known_must_be_given(folder):
    video = whole_video(folder, negative_prompt=None)
    with pytest.raises(FileError) as caught:
        redo_arguments(video, Changes(), load_settings(), QuietReporter())
    assert caught.value.facts["option"] == "--negative-prompt"


# A recipe is not believed


def test_addresses_outputs_and_backends_of_a_recipe_are_ignored(again, preview):
    recipe = {
        **kept_recipe(preview),
        "backend": "modal",
        "output": "/etc/passwd",
        "image": "s3://evil/a.png",
        "voices": ["../../etc/passwd"],
        "upload_to": "s3://evil/",
        "app": "evil",
        "max_cost": 1e9,
    }
    with_recipe(preview, Path("evil.preview.mp4"), recipe)
    ran = again(video="evil.preview.mp4")

    planned(ran)
    assert "evil/" not in ran.stdout + ran.stderr


def test_an_absurd_recipe_is_refused(cli, preview):
    recipe = {**kept_recipe(preview), "size": [10**6, 10**6]}
    with_recipe(preview, Path("evil.preview.mp4"), recipe)

    ran = cli("redo", "evil.preview.mp4", "--backend", "preview", "--json")
    assert (ran.code, ran.error["code"]) == (3, "E_RECIPE")


# The library


def test_a_program_makes_a_video_again(preview):
    client = Client(backend="preview")
    video = client.redo(preview, seed=8, fps=25).result()

    assert (video.seed, video.fps, video.path.name) == (8, 25, "voice-8.preview.mp4")
    assert client.redo(preview, seed="same").result().path == preview.absolute()
    assert client.inspect(video.path).recipe.seed == 8
    assert client.verify(video.path, "host.png").differences == ()


def test_a_program_is_told_of_too_many_voices(preview):
    with pytest.raises(UsageError):
        Client(backend="preview").redo(preview, voices=["a.wav", "b.wav"])
