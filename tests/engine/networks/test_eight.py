"""Blocks that work in 8 bits: close to exact, and exactly what they say."""

import dataclasses

import pytest
import torch
from torch import nn

from remote.engine.errors import BackendUnavailableError, NotANumberError
from remote.engine.kernels import select8
from remote.engine.kernels.attention import SDPA, attention
from remote.engine.kernels.attention8 import choose_attention8, rotation
from remote.engine.kernels.eight import PLAIN_EIGHT, Rows
from remote.engine.kernels.operations import PLAIN
from remote.engine.kernels.quantize import FP8, dequantize_rows, quantize_rows
from remote.engine.kernels.select8 import IN_16_BITS, choose_eight, choose_tier
from remote.engine.networks.eight import EightBitLinear, layers_of, quantize_blocks, quantized
from remote.engine.networks.fused import SharedStart
from remote.engine.pipeline import Engine
from remote.engine.request import WindowFinished
from remote.engine.tiers import EIGHT_BIT_LAYERS, EXACT, NEAR, TIERS, TURBO, Tier, more_exact
from tests.engine import cases
from tests.engine.products import NEEDS_PRODUCTS
from tests.engine.tiny import description, tensors, tiny_dit, tiny_networks, under

CPU, F32 = torch.device("cpu"), torch.float32


@pytest.fixture(scope="module", params=["dit_single", "dit_multi"])
def inputs(request, golden_dir):
    return under(tensors(golden_dir, request.param), "in/")


@pytest.fixture(scope="module")
def features(golden_dir):
    return cases.image_features(golden_dir)


def _dit(golden_dir, tier):
    dit = tiny_dit(golden_dir)
    quantize_blocks(dit.blocks, tier.layers)
    kernels, reasons = choose_tier(tier, CPU, F32, dit.config)
    assert reasons == ()
    dit.fuse(PLAIN, SDPA, kernels.operations, kernels.attention)
    return dit


def _error(ours, wanted):
    return ((ours - wanted).norm() / wanted.norm()).item()


@NEEDS_PRODUCTS
@pytest.mark.parametrize(
    "tier",
    [NEAR, TURBO, Tier(name="ffn", layers=("ffn.0",)), Tier(name="ffn", layers=("ffn.2",)),
     Tier(name="self", attention=True)],
)  # fmt: skip
def test_the_velocity_is_close_to_exact(golden_dir, inputs, features, tier):
    wanted = cases.velocity(tiny_dit(golden_dir), inputs, features)
    ours = cases.velocity(_dit(golden_dir, tier), inputs, features)
    # two persons: a token near a tie may take the label of the other
    assert 1e-5 < _error(ours, wanted) < (0.05 if len(inputs["audio"]) == 1 else 0.2)


def test_a_tier_without_layers_is_exact_bit_for_bit(golden_dir, inputs, features):
    plain = tiny_dit(golden_dir)
    plain.fuse(PLAIN, SDPA)
    wanted = cases.velocity(plain, inputs, features)
    assert torch.equal(cases.velocity(_dit(golden_dir, EXACT), inputs, features), wanted)


@NEEDS_PRODUCTS
def test_blocks_in_8_bits_are_those_of_rounded_weights(golden_dir, inputs, features):
    """But for the rounding of tokens, which is put off here."""
    every_layer = Tier(name="every layer", layers=EIGHT_BIT_LAYERS, attention=True)
    dit, rounded = _dit(golden_dir, every_layer), tiny_dit(golden_dir)
    whole = dataclasses.replace(
        PLAIN_EIGHT,
        norm_rows=lambda *given: _kept(PLAIN_EIGHT.norm_sum(*given)),
        rows=_kept,
        gelu_rows=lambda x: _kept(nn.functional.gelu(x, approximate="tanh")),
    )
    for block in rounded.blocks:
        for name in EIGHT_BIT_LAYERS:
            layer = block.get_submodule(name)
            layer.weight.data = dequantize_rows(*quantize_rows(layer.weight))
    rounded.fuse(PLAIN, SDPA)
    dit.fuse(PLAIN, SDPA, whole)
    _multiply_whole(dit)
    ours, wanted = (cases.velocity(each, inputs, features) for each in (dit, rounded))
    torch.testing.assert_close(ours, wanted, atol=5e-5, rtol=0)


def _kept(x):
    """Tokens that are not rounded."""
    return Rows(x, torch.ones(len(x), 1))


class _Whole(EightBitLinear):
    """Takes such tokens."""

    def forward(self, tokens):
        return self.gated(tokens, None) + self.bias

    def gated(self, tokens, gate):
        out = nn.functional.linear(tokens.values, dequantize_rows(self.weight, self.scale))
        return out if gate is None else out * gate


def _multiply_whole(dit):
    for block in dit.blocks:
        for name in layers_of(block):
            block.get_submodule(name).__class__ = _Whole


@NEEDS_PRODUCTS
def test_branches_share_the_first_self_attention(golden_dir, inputs, features):
    dit, shared = _dit(golden_dir, TURBO), SharedStart()
    time, rotation_ = dit.embed_time(inputs["t"]), dit.rotation(inputs["x"])
    condition = cases.condition(dit, inputs, features)
    x = dit.embed_latents(inputs["x"], inputs["y"][0])
    before = x.clone()
    alone, first, second = (
        dit.run_blocks(x, time, condition, rotation_, given) for given in (None, shared, shared)
    )
    assert torch.equal(first, alone)
    assert torch.equal(second, alone)
    assert torch.equal(x, before)


@NEEDS_PRODUCTS
@pytest.mark.parametrize("tier", [NEAR, TURBO])
def test_leading_frames_are_left_out_of_the_last_block(golden_dir, inputs, features, tier):
    dit = _dit(golden_dir, tier)
    time, rotation_ = dit.embed_time(inputs["t"]), dit.rotation(inputs["x"])
    condition = cases.condition(dit, inputs, features)
    x = dit.embed_latents(inputs["x"], inputs["y"][0])
    whole = dit.run_blocks(x, time, condition, rotation_)
    rest = dit.run_blocks(x, time, condition, rotation_, None, 1)
    frame = whole.shape[1] // inputs["x"].shape[1]
    # the scales of 8-bit queries are those of the tokens that are left
    assert _error(rest, whole[:, frame:]) < (1e-5 if tier is NEAR else 0.02)


# Attention


@pytest.mark.parametrize("channels", [32, 28])
def test_attention_loses_nothing_to_what_keys_and_values_have_in_common(channels):
    ours = choose_attention8(CPU, F32, channels, PLAIN_EIGHT)
    generator = torch.Generator().manual_seed(4)
    q, k, v = torch.randn(3, 700, 3, channels, generator=generator)
    errors = []
    for common in (0.0, 50.0):
        keys, values = k + common, v + common
        exact = attention(q[None], keys[None], values[None])[0]
        out, mean = ours(q, keys, values)
        errors.append(_error(out, exact - mean))
    assert errors[1] < 1.2 * errors[0] < 0.1


def test_rotation_spreads_an_outlying_channel():
    turn = rotation(64, F32, CPU)
    torch.testing.assert_close(turn @ turn.t(), 64 * torch.eye(64))
    x = torch.zeros(5, 1, 64)
    x[..., 3] = 8.0
    turned = PLAIN_EIGHT.heads(x, torch.zeros(1, 64), torch.ones(1), turn).float()
    assert turned.abs().max() == turned.abs().min() == 1.0
    assert rotation(28, F32, CPU) is None


# Layers


@NEEDS_PRODUCTS
def test_a_layer_keeps_its_gate_in_the_scales():
    layer = EightBitLinear(48, 32)
    weight, gate, x = torch.randn(32, 48), torch.randn(32), torch.randn(9, 48)
    layer.weight.data, layer.scale = quantize_rows(weight)
    layer.bias.data = torch.randn(32)
    tokens = Rows(*quantize_rows(x))
    bare = layer(tokens) - layer.bias
    torch.testing.assert_close(layer.gated(tokens, None), bare)
    torch.testing.assert_close(layer.gated(tokens, gate), bare * gate)
    assert _error(bare, x @ weight.t()) < 0.05
    of_one = PLAIN_EIGHT.of_one(layer.weight, layer.scale, x[0])
    assert _error(of_one, weight @ x[0]) < 0.05


def test_reading_turns_the_listed_weights_to_8_bits_and_lets_go_of_the_others():
    name = "blocks.3.ffn.0.weight"
    piece = torch.randn(2, 4, 16)
    given = [(name, piece[0]), ("blocks.3.ffn.0.bias", piece[1, 0]), ("head.head.weight", piece[1])]
    read = dict(quantized(given, NEAR.layers, CPU))
    assert list(read) == ["blocks.3.ffn.0.scale", *(each for each, _ in given)]
    assert read[name].dtype == FP8
    assert _error(dequantize_rows(read[name], read["blocks.3.ffn.0.scale"]), piece[0]) < 0.05
    assert read["head.head.weight"].untyped_storage().nbytes() == 4 * 64


# Tiers


def test_tiers_fall_back_to_the_next_more_exact_one():
    assert list(TIERS) == ["exact", "near", "turbo"]
    assert [more_exact(tier).name for tier in (TURBO, NEAR, EXACT)] == ["near", "exact", "exact"]


def test_an_unknown_layer_is_refused():
    with pytest.raises(ValueError, match=r"cross_attn\.k"):
        Tier(name="wide", layers=("cross_attn.k",))


def test_a_device_without_8_bits_computes_in_16_and_why_is_said(golden_dir, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("needs a newer GPU\nand more")

    monkeypatch.setattr(torch, "_scaled_mm", fail)
    config = tiny_dit(golden_dir).config
    kernels, reasons = choose_tier(TURBO, CPU, F32, config)
    assert kernels == IN_16_BITS
    told = "8-bit products do not run here: needs a newer GPU"
    assert reasons == (f"turbo: {told}", f"near: {told}")


@NEEDS_PRODUCTS
def test_kernels_that_are_wrong_are_refused(monkeypatch):
    wrong = dataclasses.replace(PLAIN_EIGHT, gelu_rows=PLAIN_EIGHT.rows)
    monkeypatch.setattr(select8, "_load", lambda _device: wrong)
    with pytest.raises(BackendUnavailableError, match="GELU"):
        choose_eight(CPU, F32, 64)


@NEEDS_PRODUCTS
def test_turbo_without_its_attention_is_near(golden_dir, monkeypatch):
    def absent(*_):
        raise BackendUnavailableError("fa3_fwd is not installed")

    monkeypatch.setattr(select8, "choose_attention8", absent)
    kernels, reasons = choose_tier(TURBO, CPU, F32, tiny_dit(golden_dir).config)
    assert (kernels.tier, kernels.attention) == (NEAR, None)
    assert reasons == ("turbo: fa3_fwd is not installed",)


def _engine(golden_dir, tier):
    networks = tiny_networks(golden_dir)
    quantize_blocks(networks.dit.blocks, tier.layers)
    kernels, _ = choose_tier(tier, CPU, F32, networks.config.dit)
    return Engine(networks, kernels8=kernels)


def _request(golden_dir):
    recorded = description(golden_dir, "end_to_end")["cases"]
    name = next(name for name, case in recorded.items() if case["n_clips"] == 2)
    request = cases.end_to_end_request(golden_dir, name)
    first = request.windows[:1]
    return dataclasses.replace(request, windows=first, frames=first[0].frames, steps=2)


@NEEDS_PRODUCTS
def test_a_video_in_8_bits_is_repeatable_and_another_than_the_exact_one(golden_dir):
    engine, request = _engine(golden_dir, TURBO), _request(golden_dir)
    one, other, exact = (
        next(e.frames for e in each.run(request) if isinstance(e, WindowFinished))
        for each in (engine, engine, _engine(golden_dir, EXACT))
    )
    assert torch.equal(one, other)
    assert 0 < (one - exact).abs().mean() < 0.1


@NEEDS_PRODUCTS
def test_a_value_that_is_no_number_ends_the_step_in_8_bits(golden_dir):
    engine, request = _engine(golden_dir, NEAR), dataclasses.replace(_request(golden_dir), steps=5)
    layer = engine.networks.dit.blocks[0].ffn[2]
    layer.scale = torch.full_like(layer.scale, torch.nan)
    with pytest.raises(NotANumberError, match="window 1, step 1"):
        list(engine.run(request))
