"""The transformer beyond its recordings: loading, label positions, what may not matter."""

from dataclasses import replace

import pytest
import torch
from torch.nn import Parameter

from remote.engine.kernels.attention import AttentionBackend, attention
from remote.engine.kernels.rope import label_rotation, rotate, video_rotation
from remote.engine.networks.dit import DiT
from remote.engine.networks.labels import key_positions, person_regions
from remote.weights.config import PUBLISHED
from tests.engine import cases, upstream
from tests.engine.tiny import tensors, tiny_dit, under, weights

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def two_people(golden_dir):
    return under(tensors(golden_dir, "dit_multi"), "in/")


@pytest.fixture(scope="module")
def features(golden_dir):
    return cases.image_features(golden_dir)


def test_the_published_size_is_built_without_memory():
    with torch.device("meta"):
        dit = DiT(PUBLISHED.dit)
    assert all(parameter.is_meta for parameter in dit.parameters())
    assert sum(parameter.numel() for parameter in dit.parameters()) == 18_882_046_784


def test_weights_load_under_the_published_names(golden_dir):
    recorded = weights(golden_dir, "dit_single")
    assert tiny_dit(golden_dir).state_dict().keys() == recorded.keys()


def test_one_person_never_computes_the_reference_map(golden_dir, features):
    seen = []

    def count(q, k, v):
        seen.append(v.shape[-1])
        return attention(q, k, v)

    dit = tiny_dit(golden_dir)
    dit.backend = AttentionBackend(name="counting", kernel=count)
    cases.velocity(dit, under(tensors(golden_dir, "dit_single"), "in/"), features)
    assert len(seen) == 4 * dit.config.layers  # self, image, text, audio


def test_person_order_matters(golden_dir, two_people, features):
    dit = tiny_dit(golden_dir)
    swapped = two_people | {"audio": two_people["audio"].flip(0)}
    difference = cases.velocity(dit, two_people, features) - cases.velocity(dit, swapped, features)
    assert difference.abs().max() > 1e-2


def test_an_empty_background_is_published_to_lose_both_persons_and_here_it_does_not(
    golden_dir, two_people, features
):
    dit = tiny_dit(golden_dir)
    recorded = tensors(golden_dir, "dit_multi")
    published = cases.velocity_without_background(dit, two_people, features)
    masks = two_people["ref_target_masks_empty_background"]
    ours = cases.intermediates(dit, two_people | {"ref_target_masks": masks}, features)
    wanted = recorded["out/velocity_empty_background"]
    torch.testing.assert_close(published, wanted, atol=2e-5, rtol=0)
    assert (ours["velocity"] - wanted).abs().max() > 1e-3
    positions = ours["block0.lrope_pos_q"]
    assert positions.unique().numel() > 2
    assert not (positions == dit.config.class_range // 2).any()


def test_an_empty_class_never_wins():
    masks = torch.tensor([[[1, 0]], [[0, 0]], [[0, 1]]])
    regions = person_regions(masks, class_range=24, class_interval=4)
    seen = torch.tensor([[0.1, 0.3], [9.0, 9.0], [0.2, 0.2]])
    assert regions.weights.isfinite().all()
    assert regions.positions(seen).tolist() == [12.0, pytest.approx(4.0)]


def test_ties_go_to_the_first_class():
    masks = torch.eye(3)[:, None]
    regions = person_regions(masks, class_range=24, class_interval=4)
    assert regions.positions(torch.zeros(3, 2)).tolist() == [0.0, 0.0]


def test_the_map_is_that_of_the_whole_softmax(two_people):
    masks = (two_people["ref_target_masks"][:, ::2, ::2] > 0).float()
    regions = person_regions(masks, 24, 4)
    size = masks[0].numel()
    generator = torch.Generator().manual_seed(5)
    q, k = torch.randn(2, 1, 3 * size, 2, 16, generator=generator)
    scores = torch.einsum("lhd,mhd->hlm", q[0], k[0, :size]) / 4
    seen = scores.softmax(-1).mean(0)
    wanted = torch.stack([(seen * m).sum(1) / m.sum() for m in masks.flatten(1)])
    torch.testing.assert_close(regions.attention_map(q, k), wanted, atol=1e-7, rtol=0)
    swapped = replace(regions, weights=regions.weights.flip(1))
    torch.testing.assert_close(swapped.attention_map(q, k), wanted.flip(0), atol=1e-7, rtol=0)


def test_audio_labels_are_the_middles_of_the_persons_ranges():
    assert key_positions(2, 24, 4).tolist() == [2.0, 2.0, 22.0, 22.0]


def test_rotation_keeps_lengths_and_depends_on_distance_only():
    table = video_rotation(1, 1, 9, 28, CPU)
    x = torch.randn(1, 1, 2, 28, generator=torch.Generator().manual_seed(1)).expand(1, 9, 2, 28)
    turned = rotate(x, table)
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    products = torch.einsum("lhd,mhd->lm", turned[0], turned[0])
    torch.testing.assert_close(products[0, 3], products[5, 8], atol=1e-4, rtol=0)


def test_label_zero_turns_nothing():
    x = torch.randn(1, 3, 2, 8)
    assert torch.equal(rotate(x, label_rotation(torch.zeros(3), 8)), x)


def test_bfloat16_keeps_time_and_output_in_float32(golden_dir, two_people, features):
    dit = tiny_dit(golden_dir, torch.bfloat16)
    seen = cases.intermediates(dit, two_people, features)
    islands = {"time_e", "time_e0", "head", "velocity", "block0.x_ref_attn_map"}
    assert {seen[name].dtype for name in islands} == {torch.float32}
    assert {seen[name].dtype for name in ("patch_tokens", "block1", "audio_proj")} == {
        torch.bfloat16
    }


def test_a_prompt_that_does_not_fit_is_refused(golden_dir):
    dit = tiny_dit(golden_dir)
    states = torch.zeros(dit.config.text_tokens + 1, dit.config.text_dim)
    with pytest.raises(ValueError, match="text tokens, at most"):
        dit.text_keys(states)


def test_latents_that_do_not_divide_are_refused(golden_dir):
    with pytest.raises(ValueError, match="do not divide"):
        tiny_dit(golden_dir).grid(torch.zeros(16, 2, 5, 4))


def test_a_lost_background_gives_every_token_its_label():
    regions = person_regions(torch.eye(3)[:, None], 24, 4)
    lost = upstream.LostRegions(
        weights=regions.weights, present=regions.present, ranges=regions.ranges, background=12.0
    )
    assert lost.positions(torch.rand(3, 4)).tolist() == [12.0] * 4


def test_half_precision_keeps_to_float32_where_tokens_outgrow_it(golden_dir, features):
    inputs = under(tensors(golden_dir, "dit_single"), "in/")
    whole, half = tiny_dit(golden_dir), tiny_dit(golden_dir, torch.float16)
    wanted, given = (cases.velocity(dit, inputs, features) for dit in (whole, half))
    assert (given - wanted).norm() / wanted.norm() < 2e-3

    for dit in (whole, half):  # as some channels of real weights do
        last, gates = dit.blocks[0].ffn[2], dit.blocks[0].modulation.clone()
        last.bias = Parameter(last.bias.clone().index_fill(0, torch.tensor([0]), 60_000), False)
        gates[0, 5, 0] = 50
        dit.blocks[0].modulation = Parameter(gates, False)
    wanted, given = (cases.velocity(dit, inputs, features) for dit in (whole, half))
    assert given.isfinite().all()
    assert (given - wanted).norm() / wanted.norm() < 2e-3
