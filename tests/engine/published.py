"""Writes the recorded tiny checkpoint under the published file names."""

import itertools
import json
import re
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from torch import Tensor

from remote.engine.checkpoint import published
from tests.engine import tiny

_AUDIO_KEYS = re.compile(r"audio_proj\..*|.*\.audio_cross_attn\..*|.*\.norm_x\..*")


def write_published_checkpoint(golden_dir: Path, target: Path, shards: int = 2) -> Path:
    """Writes the five networks, the tokenizer and wav2vec2's settings. Returns target."""
    target.mkdir(parents=True, exist_ok=True)
    _write_transformer(tiny.weights(golden_dir, "dit_single"), target, shards)
    for name, file in (
        ("vae", published.VAE_FILE),
        ("t5", published.TEXT_FILE),
        ("clip", published.CLIP_FILE),
    ):
        torch.save(tiny.weights(golden_dir, name), target / file)
    _write_wav2vec(golden_dir, target / published.WAV2VEC_FOLDER)
    _write_tokenizer(golden_dir, target / published.TOKENIZER_FOLDER)
    return target


def _write_transformer(weights: dict[str, Tensor], target: Path, shards: int) -> None:
    audio = {key: value for key, value in weights.items() if _AUDIO_KEYS.fullmatch(key)}
    base = {key: value for key, value in weights.items() if key not in audio}
    weight_map = {}
    for index in range(shards):
        file = f"diffusion_pytorch_model-{index + 1:05}-of-{shards:05}.safetensors"
        part = dict(list(base.items())[index::shards])
        save_file(part, target / file)
        weight_map |= dict.fromkeys(part, file)
    save_file(audio, target / published.AUDIO_FILE)
    index = {"metadata": {}, "weight_map": weight_map}
    (target / published.BASE_INDEX).write_text(json.dumps(index))


def _write_wav2vec(golden_dir: Path, folder: Path) -> None:
    folder.mkdir()
    recorded = tiny.description(golden_dir, "audio_embedding")
    save_file(tiny.weights(golden_dir, "audio_embedding"), folder / published.WAV2VEC_FILE)
    (folder / "config.json").write_text(json.dumps(recorded["config"]))
    (folder / "preprocessor_config.json").write_text(json.dumps(recorded["feature_extractor"]))


def _write_tokenizer(golden_dir: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    vocabulary = tiny.description(golden_dir, "t5")["config"]["vocab_size"]
    token_ids = tiny.description(golden_dir, "end_to_end")["token_ids"]
    build_tokenizer(vocabulary, token_ids).save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def build_tokenizer(vocabulary: int, token_ids: dict[str, list[int]]) -> Tokenizer:
    """Builds a tokenizer that gives each recorded text its recorded ids; the end is id 1."""
    pieces = ["<pad>", "</s>", "<unk>"] + [f"<{i}>" for i in range(3, vocabulary)]
    for text, ids in token_ids.items():
        for piece, token in zip(_pieces(text, len(ids) - 1), ids[:-1], strict=True):
            pieces[token] = piece
    model = models.Unigram([(piece, 0.0) for piece in pieces], unk_id=2)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(split=False)
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return tokenizer


def _pieces(text: str, count: int) -> list[str]:
    """Cuts a text, with blanks as the tokenizer writes them, into pieces of similar length."""
    marked = "▁" + text.replace(" ", "▁")
    cuts = [len(marked) * i // count for i in range(count + 1)]
    return [marked[start:end] for start, end in itertools.pairwise(cuts)]
