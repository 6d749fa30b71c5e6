"""The text encoder against recorded tensors and against transformers' umT5."""

import pytest
import torch

from remote.engine.checkpoint.published import (
    TOKENIZER_FOLDER,
    PublishedWeights,
    build,
    load_module,
)
from remote.engine.config import TextConfig
from remote.engine.networks.text import (
    TextEncoder,
    clean_text,
    load_tokenizer,
    position_buckets,
    tokenize,
)
from tests.engine import tiny
from tests.engine.published import write_published_checkpoint

ATOL = 2e-5  # of the recordings' description; float32 on CPU


@pytest.fixture(scope="module")
def published(golden_dir, tmp_path_factory):
    return write_published_checkpoint(golden_dir, tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="module")
def encoder(golden_dir, published) -> TextEncoder:
    config = tiny.tiny_model_config(golden_dir)
    module = build("text", config)
    with PublishedWeights(published, "text", config) as weights:
        load_module(module, weights, torch.device("cpu"))
    return module


@pytest.fixture(scope="module")
def recorded(golden_dir):
    return tiny.tensors(golden_dir, "t5")


def _prompts(recorded):
    for key in recorded:
        case, _, name = key.rpartition("/context")
        if case and name:
            row = int(name)
            yield recorded[f"{case}/ids"][row], recorded[f"{case}/mask"][row], recorded[key]


def test_encodes_every_recorded_prompt(encoder, recorded):
    prompts = list(_prompts(recorded))
    assert prompts
    for ids, mask, wanted in prompts:
        torch.testing.assert_close(encoder(ids, mask), wanted, atol=ATOL, rtol=0)


def test_padding_changes_nothing(encoder, recorded):
    ids, mask, _ = next(iter(_prompts(recorded)))
    trimmed = ids[: int(mask.sum())]
    assert torch.equal(encoder(ids, mask), encoder(trimmed, torch.ones_like(trimmed)))


def test_bfloat16_is_close_to_float32(encoder, recorded):
    ids, mask, wanted = next(iter(_prompts(recorded)))
    half = TextEncoder(encoder.config)
    half.load_state_dict(encoder.state_dict())
    states = half.to(torch.bfloat16)(ids, mask).float()
    assert (states - wanted).square().mean() <= (0.02**2) * wanted.square().mean()


def test_a_batch_of_prompts_is_refused(encoder, recorded):
    with pytest.raises(ValueError, match="one prompt is needed"):
        encoder(recorded["pair/ids"], recorded["pair/mask"])


def test_buckets_are_the_recorded_ones(encoder, recorded):
    buckets = position_buckets(recorded["bucket/rel_pos"], encoder.config.buckets)
    assert torch.equal(buckets, recorded["bucket/bucket"])


def test_texts_are_cleaned_as_recorded(golden_dir):
    examples = tiny.description(golden_dir, "t5")["clean_whitespace"]
    assert {text: clean_text(text) for text, _ in examples} == dict(examples)


def test_the_tokenizer_gives_the_recorded_ids(golden_dir, published):
    tokenizer = load_tokenizer(published / TOKENIZER_FOLDER, tokens=20)
    for text, wanted in tiny.description(golden_dir, "end_to_end")["token_ids"].items():
        assert tokenize(tokenizer, f"  {text}\n") == wanted


def test_long_texts_are_cut_before_the_end_token(golden_dir, published):
    text, wanted = next(iter(tiny.description(golden_dir, "end_to_end")["token_ids"].items()))
    tokenizer = load_tokenizer(published / TOKENIZER_FOLDER, tokens=4)
    assert tokenize(tokenizer, text) == [*wanted[:3], 1]


def test_gives_the_ids_of_transformers_own_fast_tokenizer(published):
    from transformers import PreTrainedTokenizerFast

    file = str(published / TOKENIZER_FOLDER / "tokenizer.json")
    theirs = PreTrainedTokenizerFast(tokenizer_file=file)
    ours = load_tokenizer(published / TOKENIZER_FOLDER, tokens=12)
    for text in ("", "a", "A woman & a man, 說話 und ß ☂", "long " * 40):
        wanted = theirs(text.strip(), truncation=True, max_length=12)["input_ids"]
        assert tokenize(ours, text) == wanted


def test_gives_what_transformers_umt5_gives():
    from transformers import UMT5Config, UMT5EncoderModel

    config = TextConfig(
        vocabulary=40, dim=32, attention_dim=24, ffn_dim=40, heads=4, layers=2, tokens=200
    )
    torch.manual_seed(5)
    theirs = UMT5EncoderModel(
        UMT5Config(
            vocab_size=40,
            d_model=32,
            d_kv=6,
            d_ff=40,
            num_heads=4,
            num_layers=2,
            feed_forward_proj="gated-gelu",
        )
    ).eval()
    ours = TextEncoder(config)
    ours.load_state_dict(_from_transformers(theirs.state_dict()), strict=True)
    ids = torch.randint(0, 40, (160,))
    wanted = theirs(input_ids=ids[None]).last_hidden_state[0]
    torch.testing.assert_close(ours(ids, torch.ones_like(ids)), wanted, atol=1e-5, rtol=0)


def _from_transformers(state):
    names = {
        "shared.weight": "token_embedding.weight",
        "encoder.final_layer_norm.weight": "norm.weight",
    }
    parts = {
        "layer.0.SelfAttention.relative_attention_bias": "position_bias",
        "layer.0.SelfAttention": "attn",
        "layer.0.layer_norm": "norm1",
        "layer.1.DenseReluDense.wi_0": "ffn.gate",
        "layer.1.DenseReluDense.wi_1": "ffn.fc1",
        "layer.1.DenseReluDense.wo": "ffn.fc2",
        "layer.1.layer_norm": "norm2",
    }
    renamed = {}
    for key, value in state.items():
        if key == "encoder.embed_tokens.weight":
            continue
        name = names.get(key, key.replace("encoder.block.", "blocks."))
        for theirs, ours in parts.items():
            name = name.replace(theirs, ours)
        renamed[name] = value
    return renamed
