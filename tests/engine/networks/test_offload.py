"""Streamed blocks: the same numbers, from fewer blocks on the GPU."""

import pytest
import torch

from remote.engine.kernels.attention import SDPA
from remote.engine.kernels.eight import PLAIN_EIGHT
from remote.engine.kernels.operations import PLAIN
from remote.engine.networks.eight import quantize_blocks
from remote.engine.networks.memory import (
    Workload,
    block_bytes,
    block_parameters,
    has_room,
    plan_memory,
    workload,
)
from remote.engine.networks.offload import stream_blocks
from remote.engine.tiers import NEAR
from remote.weights.config import PUBLISHED
from tests.engine import cases
from tests.engine.products import NEEDS_PRODUCTS
from tests.engine.tiny import tensors, tiny_dit, under

CPU = torch.device("cpu")
GIB = 2**30
CLIP = workload(PUBLISHED.dit, 81, 448, 896)
LARGE = workload(PUBLISHED.dit, 81, 720, 1280)


@pytest.fixture(scope="module")
def inputs(golden_dir):
    return under(tensors(golden_dir, "dit_single"), "in/")


@pytest.fixture(scope="module")
def features(golden_dir):
    return cases.image_features(golden_dir)


def _plan(resident, config):
    whole = plan_memory(config, Workload(tokens=100, pixels=100), 80 * GIB)
    return type(whole)(resident=resident, layers=config.layers, block_bytes=whole.block_bytes)


@pytest.mark.parametrize("resident", [0, 1])
@pytest.mark.parametrize("is_fused", [False, True])
def test_streamed_blocks_give_the_same_velocity(golden_dir, inputs, features, resident, is_fused):
    dit = tiny_dit(golden_dir)
    if is_fused:
        dit.fuse(PLAIN, SDPA)
    wanted = cases.velocity(dit, inputs, features)
    stream_blocks(dit, _plan(resident, dit.config), CPU)
    for _ in range(2):
        assert torch.equal(cases.velocity(dit, inputs, features), wanted)


@NEEDS_PRODUCTS
@pytest.mark.parametrize("resident", [0, 1])
def test_streamed_blocks_in_8_bits_give_the_same_velocity(golden_dir, inputs, features, resident):
    dit = tiny_dit(golden_dir)
    quantize_blocks(dit.blocks, NEAR.layers)
    dit.fuse(PLAIN, SDPA, PLAIN_EIGHT)
    wanted = cases.velocity(dit, inputs, features)
    stream_blocks(dit, _plan(resident, dit.config), CPU)
    for _ in range(2):
        assert torch.equal(cases.velocity(dit, inputs, features), wanted)


def test_blocks_in_8_bits_leave_room_for_more_of_them():
    exact, near = (
        plan_memory(PUBLISHED.dit, CLIP, 24 * GIB, None, layers) for layers in ((), NEAR.layers)
    )
    assert exact.block_bytes == block_bytes(PUBLISHED.dit)
    dim, wide = PUBLISHED.dit.dim, PUBLISHED.dit.ffn_dim
    spared = 5 * dim * dim + 2 * dim * wide - 4 * (6 * dim + wide)
    assert exact.block_bytes - near.block_bytes == spared
    assert near.resident > exact.resident


@pytest.mark.parametrize("resident", [0, 1])
def test_a_streamed_transformer_weighs_as_much_as_a_whole_one(golden_dir, resident):
    dit = tiny_dit(golden_dir)
    whole = dit.weight_bytes
    stream_blocks(dit, _plan(resident, dit.config), CPU)
    assert (
        dit.weight_bytes == whole == sum(each.nbytes for each in tiny_dit(golden_dir).parameters())
    )


FOLDED = 215 * GIB // 10  # of 81 frames, and of silence


@pytest.mark.parametrize(
    ("gpu_gib", "layers", "work", "fits"),
    [
        (79.1, (), CLIP, True),
        (79.1, (), LARGE, True),
        (79.1, (), workload(PUBLISHED.dit, 81, 1088, 1920), False),
        (44.3, (), CLIP, False),
        (44.3, NEAR.layers, CLIP, False),
        (39.4, (), CLIP, False),
        (22.0, (), CLIP, False),
    ],
)
def test_audio_is_folded_where_all_weights_the_window_and_it_fit(gpu_gib, layers, work, fits):
    weights = PUBLISHED.dit.layers * block_bytes(PUBLISHED.dit, layers)
    assert has_room(PUBLISHED.dit, work, int(gpu_gib * GIB), weights, FOLDED) == fits


def test_a_turn_that_was_broken_off_does_not_mix_up_the_next(golden_dir, inputs, features):
    dit = tiny_dit(golden_dir)
    wanted = cases.velocity(dit, inputs, features)
    stream_blocks(dit, _plan(0, dit.config), CPU)
    next(iter(dit.blocks))
    assert torch.equal(cases.velocity(dit, inputs, features), wanted)


def test_blocks_may_leave_the_card_later(golden_dir, inputs, features):
    dit = tiny_dit(golden_dir)
    wanted = cases.velocity(dit, inputs, features)
    stream_blocks(dit, _plan(1, dit.config), CPU)
    assert torch.equal(cases.velocity(dit, inputs, features), wanted)
    stream_blocks(dit, _plan(0, dit.config), CPU)
    assert torch.equal(cases.velocity(dit, inputs, features), wanted)
    assert dit.blocks.hosted_bytes >= 4 * dit.config.layers * block_parameters(dit.config)
    stream_blocks(dit, _plan(1, dit.config), CPU)  # none comes back
    assert torch.equal(cases.velocity(dit, inputs, features), wanted)


def test_the_host_holds_what_the_card_does_not(golden_dir):
    dit = tiny_dit(golden_dir)
    stream_blocks(dit, _plan(1, dit.config), CPU)
    streamed = dit.config.layers - 1
    assert len(dit.blocks) == dit.config.layers
    assert dit.blocks.hosted_bytes >= 4 * streamed * block_parameters(dit.config)


def test_a_large_card_keeps_everything():
    assert not plan_memory(PUBLISHED.dit, CLIP, 80 * 10**9).is_streamed


@pytest.mark.parametrize(("gpu_gib", "least", "most"), [(16, 0, 3), (24, 5, 15), (40, 25, 33)])
def test_a_smaller_card_keeps_fewer_blocks(gpu_gib, least, most):
    plan = plan_memory(PUBLISHED.dit, CLIP, gpu_gib * GIB)
    assert least <= plan.resident < most


def test_longer_windows_leave_room_for_fewer_blocks():
    short, long = (plan_memory(PUBLISHED.dit, work, 40 * GIB).resident for work in (CLIP, LARGE))
    assert long < short


def test_persistent_parameters_are_an_upper_limit():
    parameters = block_parameters(PUBLISHED.dit)
    plan = plan_memory(PUBLISHED.dit, CLIP, 80 * GIB, persistent_params=3 * parameters + 1)
    assert plan.resident == 3
    assert plan_memory(PUBLISHED.dit, CLIP, 80 * GIB, persistent_params=0).resident == 0


def test_a_card_without_room_for_two_blocks_is_refused():
    with pytest.raises(ValueError, match=r"need \d+\.\d GiB, the GPU has 8\.0 GiB"):
        plan_memory(PUBLISHED.dit, CLIP, 8 * GIB)
