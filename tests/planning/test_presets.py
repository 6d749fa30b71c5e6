"""Presets: what each sets, how many forwards it runs, and what does not fit together."""

from dataclasses import replace

import pytest

from multitalk_cli import contract
from multitalk_cli.contract.loras import KNOWN_LORAS, named_choice, split_strength
from multitalk_cli.planning import presets, rates
from multitalk_cli.planning.cost import Setup, estimate_presets
from multitalk_cli.planning.presets import PRESETS, Denoising
from multitalk_cli.settings import SETTINGS, load_settings
from remote.engine.sampling.guidance import Guidance
from tests.planning.plans import plan_of

WAYS = [
    *PRESETS.values(),
    Denoising(text_guidance=1.0),
    Denoising(text_guidance=1.0, audio_guidance=1.0, text_gate=0.5),
    Denoising(sample_steps=15, text_gate=0.3),
    Denoising(audio_guidance=1.0, text_gate=0.5),
    Denoising(text_gate=0.0),
]


@pytest.mark.parametrize(
    ("name", "forwards", "grade"),
    [
        ("best", 120, "exact"),
        ("standard", 60, "exact"),
        ("balanced", 50, "near"),
        ("fast", 8, "lossy"),
        ("fastest", 4, "lossy"),
    ],
)
def test_each_preset_runs_so_many_forwards_a_window(name, forwards, grade):
    assert (PRESETS[name].forwards, PRESETS[name].grade) == (forwards, grade)


@pytest.mark.parametrize("way", WAYS)
def test_planned_forwards_are_those_that_the_engine_runs(way):
    guidance = Guidance(
        text_scale=way.text_guidance, audio_scale=way.audio_guidance, text_steps=way.text_steps
    )

    assert way.forwards == guidance.forwards(way.sample_steps)
    assert plan_of(12.4).denoised(way).forwards == 5 * way.forwards


def test_the_standard_is_what_no_option_gives():
    assert presets.denoising_of(load_settings()) == PRESETS["standard"] == Denoising()
    assert presets.name_of(Denoising(), 7.0) == SETTINGS["preset"].default


@pytest.mark.parametrize(
    ("steps", "times"),
    [
        (4, (1000.0, 937.5, 833.3333, 625.0)),
        (2, (1000.0, 833.3333)),
        (8, (1000.0, 972.2222, 937.5, 892.8571, 833.3333, 750.0, 625.0, 416.6667)),
    ],
)
def test_a_step_lora_has_the_times_that_it_was_distilled_at(steps, times):
    assert replace(PRESETS["fast"], sample_steps=steps).times == pytest.approx(times, abs=1e-3)


def test_other_videos_have_the_published_schedule():
    assert Denoising().times == replace(Denoising(), lora="style").times == ()
    assert Denoising().shift_at(7.0) == 7.0
    assert PRESETS["fast"].shift_at(7.0) == KNOWN_LORAS["lightx2v"].shift == 5.0
    assert replace(PRESETS["fast"], shift=7.0).shift_at(5.0) == 7.0


@pytest.mark.parametrize(
    ("way", "setting", "valid"),
    [
        (Denoising(sample_steps=9), "sample_steps", 10),
        (Denoising(sample_steps=51), "sample_steps", 50),
        (Denoising(sample_steps=4, lora="style"), "sample_steps", 10),
        (replace(PRESETS["fast"], sample_steps=5), "sample_steps", 4),
        (replace(PRESETS["fast"], sample_steps=20), "sample_steps", 8),
        (replace(PRESETS["fast"], text_guidance=1.5), "text_guidance", 1),
    ],
)
def test_what_does_not_fit_together_is_found(way, setting, valid):
    problem = presets.find_problem(way)

    assert (problem.setting, problem.valid) == (setting, valid)
    assert presets.find_problem(replace(way, **{setting: valid})) is None


def test_few_steps_without_their_lora_are_refused_with_the_loras_that_can():
    few = presets.find_problem(replace(PRESETS["fast"], lora=""))
    many = presets.find_problem(Denoising(sample_steps=51))

    assert "from 10 to 50 without a LoRA for few steps (lightx2v, fusionx), not 4" in few.message
    assert many.message == "must be from 10 to 50, not 51"


def test_a_lora_that_was_not_typed_is_told_by_its_preset():
    way = replace(PRESETS["fast"], sample_steps=20)

    by_preset, typed = (presets.find_problem(way, of) for of in ("preset fast", "--lora"))
    assert "with the LoRA lightx2v of preset fast, not 20" in by_preset.message
    assert "with the LoRA lightx2v, not 20" in typed.message


def test_no_preset_has_a_problem_or_a_doubt():
    assert not any(presets.find_problem(each) for each in PRESETS.values())
    assert not any(presets.find_doubts(each) for each in PRESETS.values())


def test_doubtful_ways_are_warned_about():
    assert "guidance 5 and 4 multiply" in presets.find_doubts(Denoising(tier="turbo"))[0]
    fusionx = replace(PRESETS["fast"], lora="fusionx:0.5")
    assert presets.find_doubts(fusionx)[0].startswith("LoRA fusionx: contains CausVid")
    loud = replace(PRESETS["fast"], audio_guidance=11.0)
    assert presets.find_doubts(loud) == ("audio guidance 11 with few steps: 1 to 3 is usual",)
    off = replace(PRESETS["fast"], lora="lightx2v:0")
    assert presets.find_doubts(off) == ("LoRA lightx2v at 0: without it, few steps leave noise",)
    unguided = Denoising(text_guidance=1.0, text_gate=0.5)
    assert presets.find_doubts(unguided)[0].startswith("text gate 0.5 has no effect")


def test_every_tier_has_a_rate():
    assert all(rates.load().tier(tier).factor <= 1 for tier in contract.TIERS)


@pytest.mark.parametrize(
    ("gpu", "without"),
    [("h100", []), ("l40s", ["fastest"]), ("a10g", ["balanced", "fast", "fastest"])],
)
def test_presets_are_priced_where_the_gpu_can_run_them(gpu, without):
    rows = estimate_presets(plan_of(10), rates.load(), gpu, Denoising())

    assert [row.name for row in rows if row.is_chosen] == ["standard"]
    assert [row.name for row in rows if row.estimate is None] == without
    prices = [row.estimate.price_run_usd for row in rows if row.estimate is not None]
    assert prices == sorted(prices, reverse=True)
    is_measured = rates.load().gpu(gpu).measured
    assert all(row.estimate.measured == is_measured for row in rows if row.estimate)


@pytest.mark.parametrize(
    ("size", "chosen", "name"),
    [
        ((896, 448), Denoising(shift=7.0), "standard"),
        ((1280, 720), Denoising(shift=11.0), "standard"),
        ((1280, 720), Denoising(shift=7.0), ""),
        ((896, 448), replace(PRESETS["fast"], shift=5.0), "fast"),
    ],
)
def test_a_recipe_s_shift_is_a_preset_s_where_that_has_the_same(size, chosen, name):
    plan = plan_of(10, size=size)

    rows = estimate_presets(plan, rates.load(), "h100", chosen)

    assert [row.name for row in rows if row.is_chosen] == [name]
    assert len(rows) == len(PRESETS) + (name == "")


def test_what_is_no_preset_has_a_row_of_its_own():
    chosen = Denoising(sample_steps=30)

    first, *others = estimate_presets(plan_of(10), rates.load(), "h100", chosen, asked=Setup())

    assert (first.name, first.denoising, first.is_chosen) == ("", chosen, True)
    assert [row.name for row in others] == list(PRESETS)


# LoRAs as they are typed


@pytest.mark.parametrize(
    ("typed", "kept", "strength"),
    [
        ("lightx2v", "lightx2v", 1.0),
        ("lightx2v:0.8", "lightx2v:0.8", 0.8),
        ("lightx2v:1", "lightx2v", 1.0),
        ("mine:-.5", "mine:-0.5", -0.5),
        ("https://host:8443/a/My%20LoRA.safetensors", "My-LoRA", 1.0),
        ("https://host/x.safetensors:1.25", "x:1.25", 1.25),
        ("https://host/x.safetensors?token=secret", "x", 1.0),
        ("../loras/mine.safetensors:0.7", "mine:0.7", 0.7),
        ("LightX2V:0.8", "lightx2v:0.8", 0.8),
        ("x.safetensors.safetensors", "x", 1.0),
        ("C:\\my loras\\x#1?.safetensors", "x-1-", 1.0),
        ("//[x.safetensors", "x", 1.0),
        ("50%25.safetensors", "50-25", 1.0),
        ("café.safetensors", "cafe", 1.0),
        ("cafe\u0301.safetensors", "cafe", 1.0),
        ("写实.safetensors", "lora-93294b65", 1.0),
        ("写实 v2.safetensors:0.5", "v2-3729c8a5:0.5", 0.5),
        ("lightx2v.safetensors", "lightx2v-file", 1.0),
        (f"{'x' * 200}.safetensors", "x" * 90, 1.0),
    ],
)
def test_a_number_after_the_last_colon_is_a_strength(typed, kept, strength):
    assert named_choice(typed) == kept
    assert split_strength(kept)[1] == strength
    assert named_choice(kept) == kept
    assert Denoising(lora=kept).loras[0].strength == strength


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("./mine.bin", "a .safetensors file, which cannot run code, not './mine.bin'"),
        ("https://host/x.CKPT", "a .safetensors file"),
        ("mine.gguf", "a .safetensors file"),
        ("lightx2v:1e3", "a number after the colon, as in lightx2v:0.8, not '1e3'"),
        ("lightx2v:nan", "a number after the colon"),
        ("lightx2v:", "a number after the colon"),
        ("lightx2v:\u0663", "a number after the colon"),
        (":", "a name, FILE.safetensors or https"),
        ("C:\\x", "a name, FILE.safetensors or https"),
        ("lightx2v\n", "a name, FILE.safetensors or https"),
        ("https://user:secret@host/x.safetensors", "a name, FILE.safetensors or https"),
        ("s3://bucket/x.safetensors", "a name, FILE.safetensors or https"),
        ("lightx2v:9", "strength from -4 to 4"),
        ("https://user:secret@host/x.safetensors:9", "strength from -4 to 4"),
        ("https://[host/x.safetensors", "a name, FILE.safetensors or https"),
        ("a b", "a name, FILE.safetensors or https"),
        ("https://host/download/7?token=secret", "download --lora shows for 'https://host/down"),
    ],
)
def test_another_lora_is_refused_without_its_secrets(typed, said):
    with pytest.raises(ValueError, match=said) as caught:
        named_choice(typed)

    assert "secret" not in str(caught.value)


# Where settings come from


def test_a_preset_gives_way_to_options_beside_it():
    chosen = load_settings({"preset": "fast", "audio_guidance": "3", "lora": "lightx2v:0.5"})

    assert (chosen["sample_steps"], chosen["tier"], chosen["text_guidance"]) == (4, "near", 1.0)
    assert (chosen["audio_guidance"], chosen["lora"]) == (3.0, "lightx2v:0.5")
    assert chosen.origin("sample_steps") == "preset fast"


def test_a_preset_is_as_strong_as_what_names_it(monkeypatch):
    monkeypatch.setenv("MULTITALK_SAMPLE_STEPS", "30")

    assert load_settings({"preset": "best"})["sample_steps"] == 40
    monkeypatch.setenv("MULTITALK_PRESET", "best")
    assert load_settings()["sample_steps"] == 30
    assert load_settings({"preset": "standard"})["sample_steps"] == 20
