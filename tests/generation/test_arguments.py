"""Arguments as the ledger keeps them: another run means the same, wherever it starts."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from multitalk_cli.errors import UsageError
from multitalk_cli.generation.arguments import record_arguments, restore_arguments
from multitalk_cli.generation.spec import GenerateArgs, check_denoising
from multitalk_cli.planning.presets import PRESETS, denoising_of
from multitalk_cli.settings import load_settings

ARGS = GenerateArgs(
    image="host.png", voices=("a.wav", "s3://bucket/b.wav"), speakers=(), prompt="Two people",
    seed=0, output="talk.mp4", upload=True, force=True, detach=True,
)  # fmt: skip


@pytest.fixture
def given(tmp_path, monkeypatch):
    """The settings of a project, and this folder as the current one."""
    monkeypatch.chdir(tmp_path)
    Path("multitalk.toml").write_text("fps = 30\nshift = 5.0\n")
    return load_settings({"size": "auto", "max_cost": 2.0})


def test_another_run_elsewhere_means_the_same(given, tmp_path):
    recorded = record_arguments(ARGS, given)
    (tmp_path / "elsewhere").mkdir()
    os.chdir(tmp_path / "elsewhere")
    Path("multitalk.toml").write_text("fps = 60\naudio_guidance = 3.0\n")

    args, chosen = restore_arguments(recorded, {}, "/v/talk.mp4", {})

    assert args == replace(
        ARGS,
        image=str(tmp_path / "host.png"),
        voices=(str(tmp_path / "a.wav"), "s3://bucket/b.wav"),
        output="/v/talk.mp4",
        force=False,
        detach=False,
    )
    names = ("fps", "shift", "size", "max_cost", "audio_guidance", "sample_steps")
    assert [chosen[name] for name in names] == [30, 5.0, "auto", 2.0, 4.0, 20]
    assert chosen["backend"] == "modal"
    assert chosen.origin("loudness") == "default"


def test_inputs_that_moved_and_other_settings_replace_what_is_recorded(given, tmp_path):
    placed = replace(ARGS, voices=(), speakers=("left=a.wav", "box:10%,20%,40%,80%=b=c.wav"))
    recorded = record_arguments(placed, given)
    places = {str(tmp_path / "b=c.wav"): "/new/c.wav", str(tmp_path / "host.png"): "/new/h.png"}

    args, chosen = restore_arguments(recorded, places, None, {"gpu": "b200", "max_cost": 9})

    assert args.image == "/new/h.png"
    assert args.speakers == (f"left={tmp_path / 'a.wav'}", "box:10%,20%,40%,80%=/new/c.wav")
    assert (chosen["gpu"], chosen["max_cost"], chosen["fps"]) == ("b200", 9.0, 30)


def test_what_is_not_given_is_as_recorded(given):
    chosen = restore_arguments(record_arguments(ARGS, given), {}, None, {"fps": None})[1]

    assert chosen["fps"] == given["fps"] == 30


def test_another_preset_replaces_all_that_presets_set(given):
    recorded = record_arguments(ARGS, load_settings({"preset": "fast", "audio_guidance": 3}))

    same = restore_arguments(recorded, {}, None, {})[1]
    other = restore_arguments(recorded, {}, None, {"preset": "balanced"})[1]

    fast = replace(PRESETS["fast"], audio_guidance=3.0)
    assert [denoising_of(each) for each in (same, other)] == [fast, PRESETS["balanced"]]


def test_an_output_in_the_store_stays_there(given):
    recorded = record_arguments(replace(ARGS, output="s3://bucket/out/", upload=False), given)

    assert restore_arguments(recorded, {}, "/v/talk.mp4", {})[0].output == "s3://bucket/out/"


def test_names_that_are_not_utf_8_are_kept(given, tmp_path):
    name = os.fsdecode(b"h\xe9.png")
    recorded = record_arguments(replace(ARGS, image=name), given)

    assert restore_arguments(recorded, {}, None, {})[0].image == str(tmp_path / name)


def test_a_job_of_an_older_version_has_no_arguments():
    with pytest.raises(UsageError) as caught:
        restore_arguments("", {}, None, {})
    assert caught.value.code == "E_NO_ARGUMENTS"


@pytest.mark.parametrize(
    ("given", "as_keywords", "expected"),
    [
        ({"preset": "fast", "sample_steps": 20}, True, "sample_steps must be 2, 4 or 8"),
        ({"preset": "fast", "sample_steps": 20}, False, "--steps must be 2, 4 or 8"),
        ({"preset": "fast", "lora": ""}, False, "--steps of preset fast must be from 10 to 50"),
    ],
)
def test_what_does_not_fit_is_told_as_it_was_given(given, as_keywords, expected):
    with pytest.raises(UsageError) as caught:
        check_denoising(load_settings(given, as_keywords=as_keywords))
    assert caught.value.message.startswith(expected)
