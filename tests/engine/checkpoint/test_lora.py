"""Merging of LoRA files against recorded weights, and what is done better than published."""

import pytest
import torch
from safetensors.torch import load_file

from remote.engine.checkpoint.lora import merged, plan_lora
from remote.engine.checkpoint.lora_keys import PREFIX
from tests.engine import tiny
from tests.engine.cases import merge_lora, published_lora

ATOL = 1e-6  # of the recordings' description; float32 on CPU


@pytest.fixture
def dit(golden_dir):
    model = tiny.tiny_dit(golden_dir)
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()
    return model


@pytest.fixture(scope="module")
def lora(golden_dir):
    return load_file(golden_dir / "lora_tiny.safetensors")


def test_what_the_published_code_reads_changes_the_recorded_weights(golden_dir, dit, lora):
    """With which values: `parity.lora`."""
    report = merge_lora(dit, published_lora(lora), 1.0)
    assert list(report.changed) == sorted(tiny.description(golden_dir, "lora")["changed_keys"])


def test_unused_keys_are_named(dit, lora):
    report = merge_lora(dit, lora, 1.0)
    assert report.unused == (
        "blocks.0.self_attn.k.lora_down.weight",
        "blocks.0.self_attn.k.lora_up.weight",
        "diffusion_model.blocks.1.cross_attn.k.lora_down.weight",
    )


def test_alpha_is_published_as_ignored_and_counts_here(dit, lora):
    key = "blocks.0.self_attn.q.weight"
    down, up, alpha = (
        lora[f"{PREFIX}blocks.0.self_attn.q.{name}"]
        for name in ("lora_down.weight", "lora_up.weight", "alpha")
    )
    before = dit.state_dict()[key].clone()
    merge_lora(dit, lora, 1.2)
    wanted = before + 1.2 * float(alpha) / len(down) * (up @ down)
    torch.testing.assert_close(dit.state_dict()[key], wanted, atol=ATOL, rtol=0)
    ignored = 1.2 * (up @ down)
    assert (wanted - before - ignored).abs().max() > 1e-3


@pytest.mark.parametrize("prefix", [PREFIX, ""])
def test_a_and_b_matrices_are_merged(dit, lora, prefix):
    layer = "blocks.1.cross_attn.o"
    pair = [lora[f"{PREFIX}{layer}.lora_{name}.weight"] for name in "AB"]
    file = {f"{prefix}{layer}.lora_{name}.weight": t for name, t in zip("AB", pair, strict=True)}
    before = dit.state_dict()[f"{layer}.weight"].clone()
    report = merge_lora(dit, file, 0.5)
    assert report.changed == (f"{layer}.weight",)
    wanted = before + 0.5 * pair[1] @ pair[0]
    torch.testing.assert_close(dit.state_dict()[f"{layer}.weight"], wanted, atol=ATOL, rtol=0)


def test_two_loras_add_up(dit, lora):
    before = dit.state_dict()["head.head.weight"].clone()
    merge_lora(dit, lora, 1.2)
    merge_lora(dit, lora, 0.5)
    difference = (
        lora[f"{PREFIX}head.head.lora_up.weight"] @ lora[f"{PREFIX}head.head.lora_down.weight"]
    )
    wanted = before + 1.7 * difference
    torch.testing.assert_close(dit.state_dict()["head.head.weight"], wanted, atol=ATOL, rtol=0)


def test_16_bit_weights_are_rounded_once(golden_dir, lora):
    full, half = (
        tiny.tiny_dit(golden_dir, torch.bfloat16),
        tiny.tiny_dit(golden_dir, torch.bfloat16),
    )
    full.float()
    merge_lora(full, lora, 1.2)
    merge_lora(half, lora, 1.2)
    for name, weight in half.state_dict().items():
        assert torch.equal(weight, full.state_dict()[name].bfloat16())


def test_a_file_that_matches_nothing_is_refused(dit):
    with pytest.raises(ValueError, match="none of the 1 keys of this LoRA"):
        merge_lora(dit, {"unet.down.lora_up.weight": torch.zeros(2, 2)}, 1.0)


@pytest.mark.parametrize(
    ("key", "message"),
    [("blocks.0.norm3.diff_b", "blocks.0.norm3.bias"), ("head.head.diff", "head.head.weight")],
)
def test_a_wrong_shape_is_refused_before_anything_changes(dit, lora, key, message):
    before = {name: value.clone() for name, value in dit.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        merge_lora(dit, {**lora, PREFIX + key: torch.zeros(3)}, 1.0)
    assert all(torch.equal(before[name], value) for name, value in dit.state_dict().items())


def test_what_a_layer_lacks_is_reported(dit, lora):
    extra = {
        f"{PREFIX}blocks.0.self_attn.norm_q.diff_b": torch.zeros(4),
        f"{PREFIX}blocks.99.ffn.0.diff_b": torch.zeros(4),
        f"{PREFIX}blocks.0.self_attn.diff_m": torch.zeros(6, 112),
    }
    assert set(extra) <= set(merge_lora(dit, {**lora, **extra}, 1.0).unused)


MODULATION = torch.randn(6, 112, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("prefix", [PREFIX, ""])
@pytest.mark.parametrize("ending", ["diff_m", "modulation.diff"])
@pytest.mark.parametrize("shape", [(6, 112), (1, 6, 112)])
def test_modulations_are_merged_under_either_name(dit, prefix, ending, shape):
    before = dit.blocks[1].modulation.clone()
    report = merge_lora(dit, {f"{prefix}blocks.1.{ending}": MODULATION.view(shape)}, 0.5)
    assert (report.changed, report.unused) == (("blocks.1.modulation",), ())
    torch.testing.assert_close(dit.blocks[1].modulation, before + 0.5 * MODULATION)


def test_a_modulation_that_has_both_names_is_merged_once(dit):
    before = dit.blocks[1].modulation.clone()
    names = [f"blocks.1.{ending}" for ending in ("diff_m", "modulation.diff")]
    report = merge_lora(dit, dict.fromkeys(names, MODULATION), 1.0)
    assert report.unused == ("blocks.1.diff_m",)
    torch.testing.assert_close(dit.blocks[1].modulation, before + MODULATION)


def test_every_form_of_an_image_to_video_file_is_used(dit):
    """The forms of the published files: see the names of lightx2v's image-to-video LoRAs."""
    state = dit.state_dict()
    file = {}
    for name in ("blocks.0.self_attn.q", "blocks.0.cross_attn.k_img", "blocks.1.ffn.2"):
        outputs, inputs = state[f"{name}.weight"].shape
        file[f"{PREFIX}{name}.lora_down.weight"] = torch.randn(4, inputs)
        file[f"{PREFIX}{name}.lora_up.weight"] = torch.randn(outputs, 4)
        file[f"{PREFIX}{name}.alpha"] = torch.tensor(2.0)
        file[f"{PREFIX}{name}.diff_b"] = torch.randn(outputs)
    for name in ("blocks.0.cross_attn.norm_k_img", "blocks.1.norm3", "img_emb.proj.0"):
        file[f"{PREFIX}{name}.diff"] = torch.randn(state[f"{name}.weight"].shape)
    file |= {f"{PREFIX}blocks.{n}.diff_m": MODULATION for n in range(2)}
    file[f"{PREFIX}head.modulation.diff"] = torch.randn(1, 2, 112)
    report = merge_lora(dit, file, 1.0)
    assert report.unused == ()
    assert len(report.changed) == 3 * 2 + 3 + 2 + 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_are_merged_as_they_are_read_and_rounded_once(dit, lora, dtype):
    shapes = {name: tuple(tensor.shape) for name, tensor in lora.items()}
    weights = {name: tuple(tensor.shape) for name, tensor in dit.state_dict().items()}
    reads = []

    def read(key):
        reads.append(key)
        return lora[key]

    plans = [plan_lora(shapes, read, weights, strength) for strength in (1.2, 0.5)]
    assert reads == []
    stored = {name: tensor.to(dtype, copy=True) for name, tensor in dit.state_dict().items()}
    ours = dict(merged(stored.items(), plans, torch.device("cpu")))
    assert list(ours) == list(weights)
    exact = {name: tensor.to(dtype).float() for name, tensor in dit.state_dict().items()}
    model = tiny.tiny_dit_of(exact, dit.config)
    for strength in (1.2, 0.5):
        merge_lora(model, lora, strength)
    for name, weight in model.state_dict().items():
        assert ours[name].dtype == dtype
        torch.testing.assert_close(ours[name], weight.to(dtype), atol=1e-6, rtol=0.01)


def test_8_bit_weights_are_refused():
    model = torch.nn.Linear(4, 4).to(torch.float8_e4m3fn).requires_grad_(False)
    with pytest.raises(ValueError, match="none of the"):
        merge_lora(model, {"x": torch.zeros(1)}, 1.0)
    model = torch.nn.Sequential(model)
    with pytest.raises(ValueError, match="before quantising"):
        merge_lora(model, {"0.diff": torch.zeros(4, 4)}, 1.0)
