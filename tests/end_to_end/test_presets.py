"""Presets in the cloud: what each runs is what the plan counts, and nothing else is paid for."""

import json

import modal
import pytest

from multitalk_cli import contract
from multitalk_cli.cloud.client import Cloud
from multitalk_cli.cloud.errors import AppRef
from multitalk_cli.cloud.pack import eight_bit_states, find_pack
from multitalk_cli.contract.loras import KNOWN_LORAS, STEP_LORA
from multitalk_cli.media.video.recipe import read_recipe
from multitalk_cli.planning.presets import PRESETS
from tests.remote.weights.test_loras import lora_file
from tests.storage.fakehub import serving

KNOWN = KNOWN_LORAS[STEP_LORA]
QUICK = ("balanced", "fast", "fastest")
WORDS = ("--size", "32x32", "--seed", "5", "--backend", "modal", "--json")


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A hub with a LoRA of that name for the tiny model."""
    content = lora_file(tmp_path_factory.mktemp("lora") / "a.safetensors", 0.1)
    with serving({KNOWN.repository: {KNOWN.file: content}}) as hub:
        yield hub


def engine_of(user, name):
    return read_recipe(user.folder / name)["engine"]


def generate(user, preset, *words, **env):
    voice = user.speech("voice.wav", 0.4)
    output = ("-o", f"{preset}.mp4") if not {"--plan", "-o"} & {*words} else ()
    words = ("host.png", voice, *WORDS, "--preset", preset, *output, *words)
    return user.run("generate", *words, **env)


def test_each_preset_runs_what_its_plan_counts(deployed, hub, rpcs):
    missing = generate(deployed, "fast")
    (deployed.folder / "list.csv").write_text("image,voice,preset\nhost.png,voice.wav,fast\n")
    batch = deployed.run("batch", "list.csv", "--size", "32x32", "--json")
    started = rpcs.count("FunctionMap")
    added = deployed.run("download", "--preset", "fast", "--yes", "--json", HF_ENDPOINT=hub.url)
    made = {preset: generate(deployed, preset) for preset in QUICK}
    planned = generate(deployed, "standard", "--plan")

    assert (missing.code, missing.error["code"], started) == (4, "E_LORA_MISSING", 0)
    assert (batch.code, batch.error["code"]) == (4, "E_LORA_MISSING"), batch.stderr
    assert missing.error["hint"] == "multitalk download --lora lightx2v"
    assert added.code == 0, added.stderr
    assert added.data["lora"] == STEP_LORA
    assert added.data["eight_bit"] == "multitalk-weights/8bit/transformer-lightx2v"
    account = Cloud(AppRef(app=contract.APP_NAME, environment=""))
    stored = eight_bit_states(account, find_pack(account))
    assert stored == {"8bit/transformer-lightx2v": "complete"}
    assert [ran.code for ran in made.values()] == [0, 0, 0], made["fast"].stderr
    rows = {row["preset"]: row for row in planned.data["presets"]}
    for preset, ran in made.items():
        assert ran.data["forwards"] == rows[preset]["forwards"] == PRESETS[preset].forwards
        assert ran.data["forwards_gated"] == PRESETS[preset].gated_forwards
        assert ran.data["tier"] == PRESETS[preset].tier
        assert ran.data["lora_keys"] == (2 if PRESETS[preset].lora else None)
        assert ran.data["eight_bit"] == ("stored" if PRESETS[preset].lora else "computed")
        assert ran.data["usd_per_second"] == pytest.approx(ran.data["price_usd"] / 0.4167, 0.01)
    inspected = deployed.run("inspect", "fast.mp4", "--json").data
    fast = inspected["recipe"]
    shown = deployed.run("jobs", "show", made["fast"].data["job"], "--json").data["job"]
    counts = {"tier": "near", "lora": STEP_LORA, "forwards": 8, "lora_keys": 2}
    counts |= {"eight_bit": "stored"}
    assert fast["work"].items() >= counts.items() <= shown.items()
    money = {name: shown[name] for name in ("gpu_seconds", "price_usd", "usd_per_second")}
    assert inspected.items() >= money.items()
    assert money["price_usd"] == pytest.approx(made["fast"].data["price_usd"], abs=1e-6)
    assert read_recipe(deployed.folder / "fast.mp4")["times"] == list(PRESETS["fast"].times)


def test_a_video_of_another_file_of_the_lora_is_not_taken_for_this_one(
    deployed, hub, rpcs, tmp_path
):
    """Another commit, whose file has the name of the one that is merged in fast.mp4."""
    before = generate(deployed, "fast")
    files = hub.repos[KNOWN.repository]
    files[KNOWN.file] = lora_file(tmp_path / "a.safetensors", 0.2)
    files["of-another-commit"] = b""
    words = ("download", "--lora", STEP_LORA, "--yes", "--json")
    replaced = deployed.run(*words, HF_ENDPOINT=hub.url)
    kept = generate(deployed, "fast")
    started = rpcs.count("FunctionMap")
    anew = generate(deployed, "fast", "-o", "anew.mp4")
    offline = generate(deployed, "fast", MODAL_SERVER_URL="http://127.0.0.1:9")
    (deployed.folder / "rows.csv").write_text(
        "image,voice,preset,seed,output\nhost.png,voice.wav,fast,5,fast.mp4\n"
    )
    words = ("batch", "rows.csv", "--size", "32x32", "--json")
    batch = deployed.run(*words)
    unseen = deployed.run(*words, "--plan", MODAL_SERVER_URL="http://127.0.0.1:9")

    assert before.code == replaced.code == 0, replaced.stderr
    assert (kept.code, kept.error["code"]) == (3, "E_OUTPUT_EXISTS")
    assert "another file of its LoRA" in kept.error["message"]
    assert (anew.code, rpcs.count("FunctionMap")) == (0, started + 1), anew.stderr
    loras = [engine_of(deployed, name)["loras"] for name in ("fast.mp4", "anew.mp4")]
    assert len(set(loras)) == 2
    assert offline.code == 0, offline.stderr
    assert (batch.code, batch.error["code"]) == (3, "E_ROW_FILES"), batch.stderr
    assert "row 2: " in batch.error["message"]
    assert "another file of its LoRA" in batch.error["message"]
    assert [row["known"] for row in unseen.data["rows"]] == ["made"], unseen.stderr


def test_what_the_deployed_app_does_not_have_is_refused_before_it_is_paid(deployed, rpcs):
    notes = modal.Dict.from_name(contract.DEPLOYMENTS_DICT)
    record = notes[contract.APP_NAME]
    older = {name: item for name, item in json.loads(record).items() if name != "features"}
    notes[contract.APP_NAME] = json.dumps(older)
    ran = generate(deployed, "balanced", "--force")
    notes[contract.APP_NAME] = record

    assert (ran.code, ran.error["code"]) == (4, "E_NOT_DEPLOYED")
    assert "the tier near" in ran.error["message"]
    assert "not available in this deployment" in ran.error["message"]
    assert ran.error["hint"].startswith("multitalk deploy")
    assert rpcs.count("FunctionMap") == 0
