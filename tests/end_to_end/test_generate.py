"""A video from the cloud: the installed command, the real client, the real container runtime."""

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from multitalk_cli import contract
from multitalk_cli.jobs.experience import experience_of
from multitalk_cli.jobs.ledger import Ledger
from multitalk_cli.media.video.probe import probe_video
from multitalk_cli.media.video.recipe import read_recipe
from tests.end_to_end.product import CLASS, state_of
from tests.recipes.made import copied

pytestmark = pytest.mark.usefixtures("idle_at_end")


def test_a_picture_and_a_voice_become_a_video(deployed, rpcs):
    voice = deployed.speech("first.wav", 0.5)

    ran = deployed.run(*deployed.generate(voice, "--seed", 5))

    assert (ran.code, ran.stdout) == (0, f"{deployed.folder / 'first.mp4'}\n"), ran.stderr
    info = probe_video(deployed.folder / "first.mp4")
    assert (info.width, info.height, info.fps, info.frames) == (32, 32, 24, 12)
    assert rpcs.count("FunctionMap") == 1
    recipe = read_recipe(deployed.folder / "first.mp4")
    assert (recipe["seed"], recipe["backend"]) == (5, "modal")


@pytest.mark.long
def test_an_attention_that_is_asked_for_makes_the_video(deployed, rpcs):
    voice = deployed.speech("asked.wav", 0.4)
    words = deployed.generate(voice, "--json")

    refused = deployed.run(*words, "--attention", "fa2")
    started = rpcs.count("FunctionMap")
    ran = deployed.run(*words, "--attention", "sdpa-flash")
    absent = deployed.run(*words, "--attention", "fa3", "-o", "absent.mp4")

    assert (refused.code, refused.error["code"], started) == (8, "E_ATTENTION_STACK", 0)
    assert "--stack cuda12.1" in refused.error["hint"]
    assert ran.code == 0, ran.stderr
    recipe = read_recipe(deployed.folder / "asked.mp4")
    assert recipe["attention"] == recipe["engine"]["attention"] == "sdpa-flash"
    # This container has no GPU.
    assert (absent.code, absent.error["code"]) == (5, "E_ATTENTION")


def test_two_voices_become_one_video(deployed):
    one, other = deployed.speech("one.wav", 0.4), deployed.speech("two.wav", 0.6)
    places = ("--speaker", f"box:5%,20%,45%,80%={one}", "--speaker", f"box:55%,20%,95%,80%={other}")

    ran = deployed.run(
        "generate", "host.png", *places, "--size", "64x32", "--steps", "10", "--backend", "modal",
        "-o", "both.mp4", "--json",
    )  # fmt: skip

    assert ran.code == 0, ran.stderr
    assert probe_video(deployed.folder / "both.mp4").frames == ran.data["frames"] == 24
    assert len(ran.data["quality"]["mouth_correlation"]) == 2


def test_auto_takes_the_cloud_where_there_is_a_token(deployed):
    words = deployed.generate(deployed.speech("auto.wav", 0.4))

    ran = deployed.run(*[word for word in words if word not in ("--backend", "modal")], "--json")

    assert (ran.code, ran.data["backend"]) == (0, "modal"), ran.stderr


def test_the_result_says_what_it_cost(deployed):
    ran = deployed.run(*deployed.generate(deployed.speech("cost.wav", 0.4), "--json"))

    assert ran.data["gpu"] == "h100"
    assert 0 < ran.data["price_usd"] == pytest.approx(ran.data["gpu_seconds"] * 0.00117, rel=0.02)


def ledger_of(user):
    return user.home / ".local" / "state" / "multitalk" / "jobs.sqlite3"


def test_how_long_the_container_took_to_start_is_learnt(deployed):
    words = deployed.generate(deployed.speech("start.wav", 0.4))

    ran = deployed.run(*words)

    assert ran.code == 0, ran.stderr
    ledger = Ledger(ledger_of(deployed))
    (start_s, *more) = experience_of(ledger.finished("multitalk", "", 20)).starts
    assert 0 < start_s < 60
    # The other videos of this module came from the same container.
    assert len(more) < len(ledger.newest()) - 1 or len(ledger.newest()) == 1


def test_an_estimate_follows_this_account_s_own_videos(deployed):
    words = deployed.generate(deployed.speech("pace.wav", 0.2), "--seed", "0")
    usual = deployed.run(*words, "--plan", "--json", XDG_STATE_HOME=str(deployed.home / "new"))
    made = deployed.run(*words, "--seeds", "3")
    assert made.code == 0, made.stderr
    # As if these tiny videos, which say nothing of others, were longer work.
    larger = "'$.size', json('[896, 448]'), '$.sample_steps', 100"
    with closing(sqlite3.connect(ledger_of(deployed))) as db, db:
        db.execute(f"UPDATE jobs SET recipe = json_set(recipe, {larger})")

    own = deployed.run(*words, "--plan", "--json")
    line = deployed.run(*words, "--plan").stdout

    before, after = usual.data["estimates"][0], own.data["estimates"][0]
    ((pace,), least) = after["own_videos"], after["seconds_least"] - after["start_seconds"][0]
    assert before["own_videos"] == []
    # They were quicker than the least factor: the least follows, the most never.
    assert (pace["gpu"], pace["factor"]) == ("h100", 0.5)
    assert 3 <= pace["videos"] <= 5
    usual_s = before["seconds_least"] - before["start_seconds"][0]
    assert least == pytest.approx(usual_s / 2, abs=0.1)
    assert after["price_run_usd"] == before["price_run_usd"]
    assert f"your last {pace['videos']} videos on h100" in " ".join(line.split())


def test_the_same_again_is_not_paid_for(deployed, rpcs):
    words = deployed.generate(deployed.speech("again.wav", 0.4))
    first = deployed.run(*words)

    again = deployed.run(*words)

    assert (first.stdout, first.code) == (again.stdout, again.code)
    assert "is already made" in again.stderr
    assert rpcs.count("FunctionMap") == 1


def test_a_deleted_video_is_fetched_again_without_paying(deployed, rpcs):
    words = deployed.generate(deployed.speech("deleted.wav", 0.4))
    deployed.run(*words)
    video = deployed.folder / "deleted.mp4"
    before = video.read_bytes()
    video.unlink()

    again = deployed.run(*words)

    assert again.code == 0, again.stderr
    assert "nothing is paid" in again.stderr
    assert re.search(r"deleted.mp4 .*, \$[\d.]+ paid before", again.stderr)
    assert video.read_bytes() == before
    assert rpcs.count("FunctionMap") == 1


def test_force_makes_it_anew(deployed, rpcs):
    words = deployed.generate(deployed.speech("forced.wav", 0.4), "--seed", 1)
    deployed.run(*words)

    assert deployed.run(*words, "--force").code == 0
    assert rpcs.count("FunctionMap") == 2


def test_progress_comes_in_order(cloud, deployed, rpcs):
    voice = deployed.speech("progress.wav", 2.0)

    with cloud.commits_held():
        running = deployed.start(*deployed.generate(voice, "--steps", 50, "--progress", "json"))
        cloud.wait_until(lambda: _seconds_paid(cloud) > 0.5, "half a second that is paid")
        looks = rpcs.count("FunctionGetOutputs")
        cloud.wait_until(lambda: rpcs.count("FunctionGetOutputs") > looks + 1, "two looks")
    ran = running.finish()

    assert ran.code == 0, ran.stderr
    lines = [line for line in ran.stderr.splitlines() if line.startswith("{")]
    events = [json.loads(line) for line in lines]
    steps = [(event["window"], event["step"]) for event in events if event["event"] == "step"]
    assert steps == sorted(steps)
    assert any(event.get("spent_usd", 0) > 0 for event in events)


def _seconds_paid(cloud):
    """Of jobs that have not ended."""
    entries = cloud.entries(contract.STATES_DICT)
    states = [json.loads(text) for key, text in entries.items() if "/" not in key]
    return sum(each["run_s"] for each in states if each["event"]["kind"] not in ("done", "failed"))


@pytest.mark.long
def test_each_card_has_its_own_containers(deployed, rpcs):
    ran = deployed.run(*deployed.generate(deployed.speech("card.wav", 0.4), "--gpu", "H200"))

    assert ran.code == 0, ran.stderr
    (options,) = {
        request.function_options.resources.gpu_config.gpu_type
        for request in rpcs.requests("FunctionBindParams")
    }
    assert options == "H200"


@pytest.mark.parametrize(
    ("option", "code"),
    [(("--gpu", "t4", "--size", "1280x720"), "E_GPU_TOO_SMALL"), (("--gpu", "h7"), "E_RANGE")],
)
def test_a_card_that_cannot_do_it_is_refused_here(deployed, rpcs, option, code):
    voice = deployed.speech("small.wav", 0.4)

    ran = deployed.run("generate", "host.png", voice, "--backend", "modal", *option, "--json")

    assert ran.error["code"] == code
    assert rpcs.count("FunctionMap") == 0


def test_inputs_are_deleted_and_can_be_kept(cloud, deployed):
    gone = deployed.run(*deployed.generate(deployed.speech("gone.wav", 0.4), "--json")).data["job"]
    kept = deployed.run(
        *deployed.generate(deployed.speech("kept.wav", 0.4), "--keep-inputs", "--json")
    ).data["job"]

    files = cloud.volume(contract.JOBS_VOLUME).files()
    assert f"{gone}/inputs.json" not in files
    assert f"{kept}/inputs.json" in files
    assert {name.partition("/")[2] for name in files if name.startswith(gone)} == {
        "part-0001",
        "result.json",
    }


def test_every_data_file_is_in_the_container(cloud, deployed):
    mounted = cloud.mounted(contract.APP_NAME, CLASS)

    data = [path for path in deployed.site.rglob("*") if path.suffix in (".npz", ".toml", ".png")]
    assert len(data) >= 3
    assert {f"/root/{path.relative_to(deployed.site)}" for path in data} <= mounted


def test_the_newest_state_is_the_end(cloud, deployed):
    job = deployed.run(*deployed.generate(deployed.speech("ended.wav", 0.4), "--json")).data["job"]

    assert state_of(cloud, job)["event"]["kind"] == "done"


def test_a_video_is_made_again_with_a_new_seed_and_paid_once(deployed, rpcs):
    voice = deployed.speech("take.wav", 0.5)
    ran = deployed.run(*deployed.generate(voice, "-p", "A talk of two takes"))
    assert ran.code == 0, ran.stderr
    # Inputs and prompt are not beside it: the ledger knows them.
    video = (deployed.folder / "take.mp4").rename(deployed.home / "take.mp4")
    calls = rpcs.count("FunctionMap")

    again = deployed.run("redo", video, "--backend", "modal", "--json")
    same = deployed.run("redo", video, "--seed", "same", "--backend", "modal", "--json")

    assert (again.code, same.code) == (0, 0), again.stderr + same.stderr
    assert again.data["seed"] != same.data["seed"] == read_recipe(video)["seed"]
    assert (same.data["already_made"], same.data["output"]) == (True, str(video))
    assert rpcs.count("FunctionMap") == calls + 1
    first, second = read_recipe(video), read_recipe(Path(again.data["output"]))
    assert (first["prompt_sha256"], first["size"]) == (second["prompt_sha256"], second["size"])
    assert deployed.run("verify", again.data["output"]).code == 0
    bare = copied(video, deployed.home / "bare.mp4", "-c", "copy", "-map_metadata", "-1")
    known = deployed.run("inspect", bare, "--json").data
    assert (known["recipe_from"], known["prompt"]) == ("ledger", "A talk of two takes")
    assert known["recipe"]["seed"] == first["seed"]
