"""Sound, tokenizer and encoders against librosa and transformers, with the weights of a pack.

Both are installed in an image of its own and imported here alone: that takes seconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from multitalk_cli import contract
from multitalk_cli.contract.codec import to_plain
from multitalk_cli.contract.proof import ProofRow
from multitalk_cli.media.audio.voice import load_voice
from remote.engine.checkpoint.published import build, load_module, rename, require_same_keys
from remote.engine.config import ModelConfig, TextConfig
from remote.engine.networks.audio import normalize_wave
from remote.engine.networks.text import TextEncoder, load_tokenizer, tokenize
from remote.engine.networks.wav2vec import VoiceEncoder, embed_voice
from remote.weights.model import open_weights
from remote.weights.read import Pack
from remote.worker.examine import compare_sound, example
from remote.worker.failures import as_answer
from remote.worker.proof_rows import compare, compare_tensors

# At the model's rate nothing is resampled; ours decodes MP3 with ffmpeg, librosa does not.
SOUNDS = {
    "sound, decoded": ("voice.mp3", contract.MODEL_RATE_HZ),
    "sound, resampled": ("voice.wav", 44_100),
}
SOUND_LIMIT = 0.01
# float32 on both sides, in another order of additions; other maths differs by percents.
NETWORK_LIMIT = 1e-3
# As they are typed, and as the published pipeline cleans them before they are cut into tokens.
PROMPTS = (
    ("A man presents the news", "A man presents the news"),
    ("  two\n people &amp;amp; a dog\t", "two people & a dog"),
    ("\N{LEFT DOUBLE QUOTATION MARK}Grüße, 你好\N{RIGHT DOUBLE QUOTATION MARK}", '"Grüße, 你好"'),
    # Tokens more than 128 apart share their position.
    ("one of many words " * 40, " ".join(["one of many words"] * 40)),
    # Not encoded: nothing, and more than the encoder takes.
    ("", ""),
    ("a very long prompt " * 200, " ".join(["a very long prompt"] * 200)),
)
_ENCODED_PROMPTS = 4
_CPU = torch.device("cpu")
_UMT5_NAMES = (
    (r"^(shared|encoder\.embed_tokens)\.", "token_embedding."),
    (r"^encoder\.final_layer_norm\.", "norm."),
    (r"^encoder\.block\.", "blocks."),
    (r"\.layer\.0\.SelfAttention\.relative_attention_bias\.", ".position_bias."),
    (r"\.layer\.0\.SelfAttention\.", ".attn."),
    (r"\.layer\.0\.layer_norm\.", ".norm1."),
    (r"\.layer\.1\.DenseReluDense\.wi_0\.", ".ffn.gate."),
    (r"\.layer\.1\.DenseReluDense\.wi_1\.", ".ffn.fc1."),
    (r"\.layer\.1\.DenseReluDense\.wo\.", ".ffn.fc2."),
    (r"\.layer\.1\.layer_norm\.", ".norm2."),
)


@as_answer()
def prove_encoders(folder: Path, wire: Mapping[str, Any]) -> dict[str, Any]:
    """Compares all parts in float32. wire: contract and client versions."""
    contract.check_version(wire)
    pack = open_weights(folder)
    rows = [*sound_rows(), tokenizer_row(pack), wav2vec_row(pack), text_row(pack)]
    packages = ("transformers", "librosa", "tokenizers", "torch")
    return {
        "rows": [to_plain(row) for row in rows],
        "facts": {name: metadata.version(name) for name in packages},
    }


def sound_rows() -> Iterator[ProofRow]:
    for part, (name, rate_hz) in SOUNDS.items():
        ours, theirs = (torch.from_numpy(each) for each in compare_sound(name, rate_hz))
        note = f"{Path(name).suffix[1:].upper()}, {rate_hz} Hz"
        yield compare_tensors(part, [(ours, theirs)], SOUND_LIMIT, note)


def tokenizer_row(pack: Pack) -> ProofRow:
    """The ids of some prompts; the difference is the number of those that are not the same."""
    from transformers import PreTrainedTokenizerFast

    tokens = pack.manifest.config.text.tokens
    ours = load_tokenizer(pack.folder, tokens)
    # What the published pipeline's own class does with this file, whatever its settings name.
    theirs = PreTrainedTokenizerFast(tokenizer_file=str(pack.folder / "tokenizer.json"))
    mine = [tokenize(ours, typed) for typed, _ in PROMPTS]
    reference = [
        theirs(clean, truncation=True, max_length=tokens)["input_ids"] for _, clean in PROMPTS
    ]
    differing = sum(
        abs(len(a) - len(b)) + sum(x != y for x, y in zip(a, b, strict=False))
        for a, b in zip(mine, reference, strict=True)
    )
    mine_count, reference_count = (sum(map(len, ids)) for ids in (mine, reference))
    note = f"ids of {len(PROMPTS)} prompts"
    return compare("tokenizer", mine_count, reference_count, differing, 0.0, note)


@torch.inference_mode()
def wav2vec_row(pack: Pack) -> ProofRow:
    """All layers for the example voice, at the network's own 50 Hz."""
    from transformers import Wav2Vec2FeatureExtractor

    config = pack.manifest.config
    weights = dict(pack.tensors("wav2vec", _CPU, torch.float32))
    with example("voice.wav") as path:
        wave = load_voice(path).speech
    settings = pack.folder / "wav2vec2.preprocessor_config.json"
    extractor = (
        Wav2Vec2FeatureExtractor.from_json_file(settings)
        if settings.is_file()
        else Wav2Vec2FeatureExtractor()
    )
    given = extractor(wave, sampling_rate=contract.MODEL_RATE_HZ, return_tensors="pt")
    theirs = _their_wav2vec(pack.folder, weights, config)
    hidden = theirs(given.input_values, output_hidden_states=True).hidden_states[1:]
    ours = _load("wav2vec", config, weights)
    embedded = embed_voice(
        cast(VoiceEncoder, ours), normalize_wave(torch.tensor(wave)), hidden[0].shape[1]
    )
    pairs = [(embedded[:, layer], states[0]) for layer, states in enumerate(hidden)]
    return compare_tensors("wav2vec2", pairs, NETWORK_LIMIT, f"worst of {len(pairs)} layers")


def _their_wav2vec(folder: Path, weights: Mapping[str, Tensor], config: ModelConfig) -> Any:
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    settings = Wav2Vec2Config.from_json_file(folder / "wav2vec2.config.json")
    settings._attn_implementation = "eager"
    theirs = Wav2Vec2Model(settings).eval()
    # The names that the published file has, for what is published under them.
    names = {key: rename("wav2vec", key, config) for key in theirs.state_dict()}
    kept = {key: name for key, name in names.items() if name is not None}
    require_same_keys(kept.values(), weights, "transformers' wav2vec2")
    theirs.load_state_dict({key: weights[name] for key, name in kept.items()}, strict=False)
    return theirs


@torch.inference_mode()
def text_row(pack: Pack) -> ProofRow:
    """The states of some prompts. Both encoders share the memory of the weights."""
    config = pack.manifest.config
    weights = dict(pack.tensors("text", _CPU, torch.float32))
    ours = cast(TextEncoder, _load("text", config, weights))
    theirs = their_umt5(config.text, weights)
    tokenizer = load_tokenizer(pack.folder, config.text.tokens)
    pairs = []
    for typed, _ in PROMPTS[:_ENCODED_PROMPTS]:
        ids = torch.tensor(tokenize(tokenizer, typed))
        states = theirs(input_ids=ids[None]).last_hidden_state[0]
        pairs.append((ours(ids, torch.ones_like(ids)), states))
    return compare_tensors("umT5", pairs, NETWORK_LIMIT, f"worst of {len(pairs)} prompts")


def their_umt5(config: TextConfig, weights: Mapping[str, Tensor]) -> Any:
    """transformers' encoder with our weights."""
    from transformers import UMT5Config, UMT5EncoderModel

    settings = UMT5Config(
        vocab_size=config.vocabulary,
        d_model=config.dim,
        d_kv=config.attention_dim // config.heads,
        d_ff=config.ffn_dim,
        num_layers=config.layers,
        num_heads=config.heads,
        relative_attention_num_buckets=config.buckets,
        layer_norm_epsilon=config.eps,
        feed_forward_proj="gated-gelu",
    )
    with torch.device("meta"):
        theirs = UMT5EncoderModel(settings).eval()
    named = {key: weights[_from_umt5(key)] for key in theirs.state_dict()}
    theirs.load_state_dict(named, strict=True, assign=True)
    return theirs


def _from_umt5(key: str) -> str:
    for pattern, ours in _UMT5_NAMES:
        key = re.sub(pattern, ours, key)
    return key


def _load(component: str, config: ModelConfig, weights: Mapping[str, Tensor]) -> nn.Module:
    module = build(component, config)
    load_module(module, weights.items(), _CPU)
    return module
