"""The benchmark, on a model of a few channels: it measures the real engine, on any device."""

import dataclasses
import json

import pytest
import torch

from multitalk_cli.contract.bench_task import QUANTITIES
from remote.bench import __main__, hardware, tiers
from remote.bench.clock import Clock
from remote.bench.measure import forward_flops, measure
from remote.bench.networks import random_networks
from remote.bench.options import BenchOptions
from remote.bench.prices import _is_gpu
from remote.bench.report import table
from remote.bench.tiers import VARIANTS
from remote.engine.config import (
    ClipConfig,
    DiTConfig,
    TextConfig,
    VAEConfig,
    Wav2VecConfig,
)
from remote.engine.networks.memory import plan_memory, workload
from remote.engine.sampling.guidance import Guidance
from remote.engine.tiers import EXACT, NEAR
from remote.weights.config import PackConfig

SMALL = PackConfig(
    dit=DiTConfig(
        dim=48,
        ffn_dim=64,
        heads=2,
        layers=2,
        frequency_dim=16,
        text_dim=32,
        text_tokens=16,
        image_dim=32,
        image_tokens=5,
        in_channels=12,
        out_channels=4,
        audio_layers=2,
        audio_channels=32,
        audio_hidden=16,
        audio_dim=16,
        audio_tokens=4,
    ),
    vae=VAEConfig(
        dim=8, latent_channels=4, dim_multipliers=(1, 1, 1, 1), res_blocks=1,
        mean=(0.0,) * 4, std=(1.0,) * 4,
    ),
    text=TextConfig(
        vocabulary=64, dim=32, attention_dim=32, ffn_dim=32, heads=2, layers=1, tokens=16
    ),
    clip=ClipConfig(image_px=28, patch_px=14, dim=32, heads=2, layers=2),
    wav2vec=Wav2VecConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(8,) * 7,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
    ),
)  # fmt: skip
OPTIONS = BenchOptions(
    width_px=64, height_px=64, frames=9, motion_frames=5, measured_steps=2, device="cpu"
)


@pytest.fixture(scope="module")
def report():
    return measure(SMALL, OPTIONS)


def test_one_and_two_persons_are_timed(report):
    assert [run["persons"] for run in report["runs"]] == [1, 2]
    for run in report["runs"]:
        assert 0 < run["forward"]["least"] <= run["forward"]["median"] <= run["forward"]["most"]
        assert run["clip_first_s"] > run["clip_later_s"] * 0.1 > 0


def test_the_same_request_twice_gives_the_same_frames(report):
    assert report["is_repeatable"] is True


def test_on_a_cpu_the_engine_computes_in_float32(report):
    assert report["backend"] == "sdpa"
    assert max(row["error"] for row in report["float32"]) < 1e-5


def test_every_attention_is_timed_or_refused_with_its_reason(report):
    assert {"name", "refused"} <= report["attention"][0].keys()
    assert report["attention"][-1]["tflops"] > 0


def test_the_whole_report_is_json_and_its_table_names_what_was_measured(report):
    assert json.loads(json.dumps(report))["options"]["width_px"] == 64
    text = table(report)
    words = ("TFLOP/s", "person", "encode 1 ", "decode 2 ", "60 s of speech", "in a new container")
    assert [word for word in words if word not in text] == []


def test_a_smaller_card_is_measured_with_streamed_blocks(monkeypatch):
    plan = plan_memory(SMALL.dit, workload(SMALL.dit, 9, 32, 32), 80 * 2**30)
    smaller = dataclasses.replace(plan, resident=0)
    monkeypatch.setattr(hardware, "plan_memory", lambda *_: smaller)
    options = dataclasses.replace(OPTIONS, gpu_gib=7.0, persons=(1,), measured_steps=1)
    report = measure(SMALL, options)
    assert report["memory"]["resident"] == 0
    assert report["is_repeatable"] is True
    assert "0 of 2 blocks resident" in table(report)


def test_the_published_size_has_the_published_operations():
    flops = forward_flops(DiTConfig(), (21, 28, 56), persons=1, guidance=Guidance())
    assert flops == pytest.approx(1835.1e12, rel=1e-3)


def test_cards_are_found_by_the_names_that_their_makers_gave_them():
    assert _is_gpu("h100", "NVIDIA H100 80GB HBM3")
    assert _is_gpu("a100-80gb", "NVIDIA A100-SXM4-80GB")
    assert not _is_gpu("h200", "NVIDIA H100 80GB HBM3")


def test_the_command_writes_its_report(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(__main__, "PUBLISHED", SMALL)
    monkeypatch.setattr(__main__.torch.cuda, "is_available", lambda: False)
    path = tmp_path / "report.json"
    arguments = "--size 32x32 --frames 9 --motion-frames 5 --measured-steps 1 --persons 1"
    assert __main__.main([*arguments.split(), "--json", str(path)]) == 0
    assert json.loads(path.read_text())["options"]["frames"] == 9
    assert "1 person" in capsys.readouterr().out


def test_tiers_are_compared_with_exact(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(__main__, "PUBLISHED", SMALL)
    monkeypatch.setattr(__main__.torch.cuda, "is_available", lambda: False)
    path = tmp_path / "report.json"
    arguments = "--tiers --size 32x32 --frames 9 --motion-frames 5 --persons 1 2"
    assert __main__.main([*arguments.split(), "--json", str(path)]) == 0
    report = json.loads(path.read_text())
    rows = {(row["tier"], row["persons"]): row for row in report["rows"] if "errors" in row}
    assert list(rows) == [(tier.name, persons) for tier in VARIANTS for persons in (1, 2)]
    for (name, _), row in rows.items():
        errors = row["errors"]
        assert row["forward_s"] > 0
        assert tuple(errors) == QUANTITIES
        assert (min(errors["one branch"]) > 0) == (name != "exact")
        assert max(map(max, errors.values())) < 1
    assert max(rows["near", 1]["errors"]["one branch"]) < 0.05
    printed = capsys.readouterr().out
    assert "near, 2 persons:" in printed
    assert "dAudio" in printed
    assert "another exact kernel: not here: fa3: " in printed


def test_a_profile_is_of_the_tier_that_was_just_compared(monkeypatch):
    monkeypatch.setattr(tiers, "VARIANTS", (EXACT, NEAR))
    options = dataclasses.replace(OPTIONS, persons=(1,), measured_steps=1, profile=True)
    device = torch.device("cpu")

    rows = list(tiers.compare_tiers(random_networks(SMALL, device), options, Clock(device)))

    names = [(row["tier"], "profile" in row) for row in rows if "refused" not in row]
    assert names == [("exact", False), ("exact", True), ("near", False), ("near", True)]
    assert rows[-1]["profile"][0]["count"] > 0
