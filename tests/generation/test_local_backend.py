"""`multitalk generate --backend local`: the real command, the real service, tiny weights."""

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from multitalk_cli import contract
from multitalk_cli.cli.views import generate
from multitalk_cli.generation.backends import local
from multitalk_cli.media.video.probe import probe_video
from multitalk_cli.media.video.recipe import read_recipe
from remote.service import quality
from remote.weights import device, model
from tests.remote.requests import frames_of, write_tiny_pack

pytestmark = pytest.mark.slow

SMALL = ("--size", "32x32", "--steps", "10", "--text-guidance", "1")


@pytest.fixture(scope="module")
def weights(golden_dir, tmp_path_factory):
    return write_tiny_pack(golden_dir, tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def local_run(cli, weights, portrait, speech):
    """Makes a small video of half a second on the CPU: `local_run("--seed", 1)` gives a Ran."""
    voice = speech("talk.wav", 0.5)

    def call(*options):
        given = ("--weights", weights, "--device", "cpu", *SMALL, *options)
        return cli("generate", portrait, voice, "--backend", "local", *given)

    return call


def jobs():
    """The folders of unfinished jobs."""
    return [path for path in local._jobs_folder().iterdir() if path.is_dir()]


# What is made


def test_a_picture_and_a_voice_become_a_video(local_run, folder):
    ran = local_run("--seed", 5)

    assert (ran.code, ran.stdout) == (0, f"{folder / 'talk.mp4'}\n")
    assert "nothing, made on this machine" in ran.stderr
    info = probe_video(folder / "talk.mp4")
    assert (info.width, info.height, info.fps, info.frames) == (32, 32, 24, 12)
    assert info.has_audio and abs(info.duration_s - 0.5) < 1 / 24
    assert jobs() == []
    assert {path.name for path in folder.iterdir()} == {"host.png", "talk.wav", "talk.mp4"}


@pytest.mark.long
def test_a_first_window_is_kept_for_the_rest(cli, weights, portrait, speech, folder, monkeypatch):
    monkeypatch.setenv("MULTITALK_DEVICE", "cpu")
    voice = speech("long.wav", 4.4)
    given = ("--backend", "local", "--weights", weights, *SMALL)
    first = cli("generate", portrait, voice, *given, "--first")
    kept = jobs()
    whole = cli("finish", "long.first.mp4", "--weights", weights, "--json").json["data"]

    assert (first.code, first.stdout) == (0, f"{folder / 'long.first.mp4'}\n"), first.stderr
    assert "next:  multitalk finish" in first.stderr
    assert (len(kept), jobs()) == (1, [])
    assert (whole["output"], whole["frames"]) == (str(folder / "long.mp4"), 106)
    assert any("resumed after window 1 of 2" in note for note in whole["adjusted"])
    of_first, recipe = read_recipe(folder / "long.first.mp4"), read_recipe(folder / "long.mp4")
    assert of_first["streams"]["frames"] == recipe["streams"]["frames"][:1]
    assert (of_first["seed"], of_first["seed_drawn"]) == (recipe["seed"], True)
    assert (of_first["first_window"], "job" in of_first) == (True, False)


def test_the_recipe_names_engine_and_weights(local_run, weights):
    local_run("--seed", 5)

    recipe = read_recipe(Path("talk.mp4"))
    assert (recipe["backend"], recipe["seed"], recipe["gpu"]) == ("local", 5, "cpu")
    assert recipe["model_output"] is True and recipe["ai_generated"] is True
    assert recipe["weights"] == model.PackedModel(weights, "cpu").revision
    assert recipe["engine"]["tier"] == "exact"
    assert str(weights) not in json.dumps(recipe)


def test_the_result_is_one_object(local_run):
    ran = local_run("--json")

    data = ran.json["data"]
    assert (data["backend"], data["model_output"], data["gpu"]) == ("local", True, "cpu")
    assert data["price_usd"] is data["gpu_seconds"] is None
    assert len(data["quality"]["mouth_correlation"]) == 1
    assert len(data["quality"]["color_drift"]) == 1


def test_the_same_seed_gives_the_same_frames(local_run):
    for name in ("a.mp4", "b.mp4"):
        assert local_run("--seed", 5, "-o", name).code == 0
    local_run("--seed", 6, "-o", "c.mp4")

    first, second, other = (frames_of(Path(name)) for name in ("a.mp4", "b.mp4", "c.mp4"))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_a_finished_video_is_not_made_again(local_run, monkeypatch):
    local_run()
    monkeypatch.setattr(model.PackedModel, "__init__", None)
    ran = local_run("--json")

    assert ran.code == 0 and ran.json["data"]["already_made"] is True


def test_auto_takes_this_machine_where_weights_are_set(cli, weights, portrait, speech, monkeypatch):
    monkeypatch.setenv("MULTITALK_WEIGHTS", str(weights))
    ran = cli("--json", "generate", portrait, speech("talk.wav", 0.3), *SMALL)

    assert ran.json["data"]["backend"] == "local"


def test_a_lora_that_is_not_there_is_named_with_the_command_that_adds_it(
    cli, weights, portrait, speech
):
    words = ("--backend", "local", "--weights", weights, "--preset", "fast", "--size", "32x32")
    ran = cli("--json", "generate", portrait, speech("talk.wav", 0.3), *words)

    assert (ran.code, ran.error["code"]) == (4, "E_LORA_MISSING")
    assert ran.error["hint"] == f"multitalk download --to {weights.parent} --lora lightx2v"


# Going on


@pytest.fixture
def long_voice(speech):
    return speech("long.wav", 4.0)  # 96 frames, two windows


def _wait_for_window(child):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and child.poll() is None:
        if list(local._jobs_folder().glob("*/checkpoint.json")):
            return
        time.sleep(0.02)
    pytest.fail("no window was kept in time")


def test_a_killed_command_goes_on_with_its_seed(
    cli, started, command, weights, portrait, long_voice
):
    arguments = ["generate", portrait, long_voice, "--weights", weights, *SMALL]
    child = started(command / "multitalk", *arguments)
    _wait_for_window(child)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    (job,) = jobs()
    seed = json.loads((job / "seed.json").read_text())
    assert not Path("long.mp4").exists()

    ran = cli("--json", *arguments)
    data = ran.json["data"]
    assert (ran.code, data["seed"]) == (0, seed)
    assert any("resumed after window" in note for note in data["adjusted"])
    assert jobs() == []
    cli(*arguments, "--seed", seed, "-o", "whole.mp4")
    assert np.array_equal(frames_of(Path("long.mp4")), frames_of(Path("whole.mp4")))


@pytest.mark.long
def test_ctrl_c_leaves_no_video_and_keeps_what_is_finished(
    started, command, weights, portrait, long_voice
):
    child = started(
        command / "multitalk", "generate", portrait, long_voice, "--weights", weights, *SMALL
    )
    _wait_for_window(child)
    child.send_signal(signal.SIGINT)

    assert child.wait(30) == -signal.SIGINT
    assert not list(Path().glob("*.mp4")) and not list(Path().glob("*.part"))
    assert (jobs()[0] / "checkpoint.json").is_file()


def test_two_commands_at_once_do_not_share_a_job():
    recipe = {"seed": 3, "seed_drawn": False}
    request = _request(local.identify(recipe)[0])
    with local._claimed(request) as first, local._claimed(request) as second:
        assert first.job_id == request.job_id != second.job_id


def _request(job_id):
    return contract.GenerateRequest(
        job_id=job_id,
        image=b"-",
        width_px=32,
        height_px=32,
        speakers=(contract.Speaker(audio=b"-"),),
        sound=None,
        prompt="",
        negative_prompt="",
        sample_steps=10,
        seed=3,
        text_guidance=1.0,
        audio_guidance=1.0,
        shift=7.0,
        fps=24,
        frames=5,
        windows=(contract.Window(start=0, frames=5),),
        motion_frames=1,
        recipe="{}",
    )


def test_a_job_is_known_by_its_recipe():
    drawn = {"size": [32, 32], "seed": 1, "seed_drawn": True}
    given = {"size": [32, 32], "seed": 1, "seed_drawn": False}
    names = [local.identify(recipe)[0] for recipe in (drawn, drawn | {"seed": 2}, given)]
    assert names[0] == names[1] != names[2]
    assert local.identify(given | {"seed": 2})[0] != names[2]
    assert contract.JOB_ID.fullmatch(names[0])


@pytest.mark.parametrize("kept", ["7", "-1", "true", '"7"', "", "[" * 100_000, "1e400"])
def test_only_a_kept_seed_is_believed(kept):
    recipe = {"seed": 1, "seed_drawn": True}
    job = local._jobs_folder() / local.identify(recipe)[0]
    job.mkdir(parents=True)
    (job / "seed.json").write_text(kept)
    assert local.identify(recipe)[1] == (7 if kept == "7" else 1)


# What is refused


def _measuring(monkeypatch, correlation, offset=0.04):
    figures = contract.Quality(
        av_offset_frames=offset, mouth_correlation=(correlation,), color_drift=(1.0,)
    )
    monkeypatch.setattr(quality.Meter, "quality", lambda *_: figures)


def test_a_poor_video_is_kept_and_refused(local_run, monkeypatch):
    _measuring(monkeypatch, 0.4)
    for _ in range(2):  # made, then found finished
        ran = local_run("--fail-under", 0.5)
        assert (ran.code, ran.stdout) == (8, "")
        assert "0.40, less than --fail-under 0.5" in ran.stderr and "E_QUALITY" in ran.stderr
    assert Path("talk.mp4").is_file()


def test_a_good_video_is_reported_in_sync(local_run, monkeypatch):
    _measuring(monkeypatch, 0.4)
    ran = local_run("--fail-under", 0.3)

    assert ran.code == 0
    assert "sound in sync (0.0 frames)" in ran.stderr
    assert local_run("--fail-under", 0.3).code == 0


def test_what_cannot_be_measured_does_not_pass(local_run):
    ran = local_run("--fail-under", 0)

    assert ran.code == 8
    assert "how lips follow the voice could not be measured" in ran.stderr


@pytest.mark.parametrize(
    ("offset", "said"),
    [
        (None, []),
        (-0.04, ["sound in sync (0.0 frames)"]),
        (1.2, ["sound in sync (1.2 frames)"]),
        (3.04, ["lips 3.0 frames behind the sound"]),
        (-2.0, ["lips 2.0 frames ahead of the sound"]),
    ],
)
def test_the_offset_is_said_in_words(offset, said):
    figures = contract.Quality(av_offset_frames=offset, mouth_correlation=(), color_drift=())
    assert generate.describe_sync(figures) == said


def test_weights_must_be_named(cli, portrait, voice):
    ran = cli("generate", portrait, voice, "--backend", "local")

    assert ran.code == 4
    assert "E_WEIGHTS" in ran.stderr and "--weights DIR" in ran.stderr


@pytest.mark.parametrize(("name", "why"), [("absent", "does not exist"), (".", "no manifest.json")])
def test_a_folder_without_weights_is_named(cli, portrait, voice, name, why):
    ran = cli("--json", "generate", portrait, voice, "--weights", name)

    assert (ran.code, ran.error["code"]) == (4, "E_WEIGHTS")
    assert why in ran.error["message"] and repr(name) in ran.error["message"]


def test_an_incomplete_pack_is_named(cli, weights, portrait, voice, folder):
    pack = folder / "pack"
    pack.mkdir()
    for path in weights.iterdir():
        if path.name != "clip-001.safetensors":
            (pack / path.name).symlink_to(path)
    ran = cli("generate", portrait, voice, "--weights", pack, "--device", "cpu", *SMALL)

    assert ran.code == 4
    assert "clip-001.safetensors is absent" in ran.stderr and "E_WEIGHTS" in ran.stderr


def test_the_extra_is_named_where_torch_is_absent(cli, weights, portrait, voice, monkeypatch):
    find_spec = local.find_spec
    monkeypatch.setattr(
        local, "find_spec", lambda name: None if name == "torch" else find_spec(name)
    )
    ran = cli("generate", portrait, voice, "--weights", weights)

    assert ran.code == 4
    assert "needs torch" in ran.stderr and "pipx install --force '.[local]'" in ran.stderr


def test_full_size_weights_reach_a_cpu_only_when_told(cli, weights, portrait, speech, monkeypatch):
    monkeypatch.setattr(device, "_CPU_BYTES", 0)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    arguments = ("generate", portrait, speech("talk.wav", 0.3), "--weights", weights, *SMALL)
    refused = cli(*arguments)

    assert refused.code == 8
    assert "E_CPU_ONLY" in refused.stderr and "--device cpu" in refused.stderr
    assert cli(*arguments, "--device", "cpu").code == 0


def test_failures_of_the_model_end_with_their_code(local_run, monkeypatch):
    from remote.engine.errors import BlackFramesError

    def run(*_):
        raise BlackFramesError("window 1: 12 of 12 frames are black")
        yield

    monkeypatch.setattr("remote.engine.pipeline.Engine.run", run)
    ran = local_run()

    assert ran.code == 5
    assert "12 of 12 frames are black" in ran.stderr and "E_BLACK" in ran.stderr
    assert not Path("talk.mp4").exists()


@pytest.mark.parametrize("option", ["--weights", "--device"])
def test_options_of_this_machine_are_in_the_whole_help_only(cli, option):
    assert option not in cli("generate", "--help").stdout
    assert option in cli("generate", "--help-all").stdout


def test_the_guard_must_be_a_share(cli, portrait, voice):
    assert cli("generate", portrait, voice, "--fail-under", "1.5").code == 2
