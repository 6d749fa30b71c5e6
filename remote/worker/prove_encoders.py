"""Sound, tokenizer, encoders and VAE against libraries, with the weights of a pack."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from multitalk_cli import contract
from multitalk_cli.contract.codec import to_plain
from multitalk_cli.contract.proof import ProofRow
from multitalk_cli.media.audio.voice import load_voice
from multitalk_cli.media.image.load import load_picture
from remote.engine.networks.audio import normalize_wave
from remote.engine.networks.image import fit_picture, to_signed
from remote.engine.networks.text import TextEncoder, load_tokenizer, tokenize
from remote.engine.networks.vae import VAE
from remote.engine.networks.wav2vec import VoiceEncoder, embed_voice
from remote.weights.model import open_weights
from remote.weights.read import Pack
from remote.worker.examine import compare_sound, example
from remote.worker.failures import as_answer
from remote.worker.proof_rows import compare, compare_tensors
from remote.worker.references import load_clip, load_ours, load_umt5, load_wan_vae, load_wav2vec

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
# Enough for a chunk of one latent, one of two, and one of the rest; not a square, small for a CPU.
_VIDEO_FRAMES, _VIDEO_PX = 13, (64, 96)
_CPU = torch.device("cpu")


@as_answer()
def prove_encoders(folder: Path, wire: Mapping[str, Any]) -> dict[str, Any]:
    """Compares all parts in float32. wire: contract and client versions."""
    contract.check_version(wire)
    pack = open_weights(folder)
    rows = [*sound_rows(), tokenizer_row(pack), wav2vec_row(pack)]
    rows += [clip_row(pack), *vae_rows(pack), text_row(pack)]
    packages = ("transformers", "diffusers", "librosa", "tokenizers", "torch")
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
    theirs = load_wav2vec(pack.folder, config, weights)
    hidden = theirs(given.input_values, output_hidden_states=True).hidden_states[1:]
    ours = load_ours("wav2vec", config, weights)
    embedded = embed_voice(
        cast(VoiceEncoder, ours), normalize_wave(torch.tensor(wave)), hidden[0].shape[1]
    )
    pairs = [(embedded[:, layer], states[0]) for layer, states in enumerate(hidden)]
    return compare_tensors("wav2vec2", pairs, NETWORK_LIMIT, f"worst of {len(pairs)} layers")


@torch.inference_mode()
def clip_row(pack: Pack) -> ProofRow:
    """The states that the model takes, of the example picture in the tower's own size."""
    from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

    config = pack.manifest.config
    weights = dict(pack.tensors("clip", _CPU, torch.float32))
    side = config.clip.image_px
    picture = fit_picture(_example_picture(), side, side)[None]
    mean, std = torch.tensor([OPENAI_CLIP_MEAN, OPENAI_CLIP_STD]).view(2, 3, 1, 1)
    theirs = load_clip(config.clip, weights)
    states = theirs(pixel_values=(picture / 255 - mean) / std).last_hidden_state
    ours = load_ours("clip", config, weights)
    note = f"states of a picture of {side} px"
    return compare_tensors("CLIP", [(ours(to_signed(picture)), states)], NETWORK_LIMIT, note)


@torch.inference_mode()
def vae_rows(pack: Pack) -> Iterator[ProofRow]:
    """A short video to latents, and these latents to a video, each by both."""
    config = pack.manifest.config
    weights = dict(pack.tensors("vae", _CPU, torch.float32))
    ours, theirs = cast(VAE, load_ours("vae", config, weights)), load_wan_vae(config.vae, weights)
    statistics = torch.tensor([theirs.config.latents_mean, theirs.config.latents_std])
    mean, std = statistics.view(2, 1, -1, 1, 1, 1)
    video = _example_video()
    note = f"{_VIDEO_FRAMES} frames of {_VIDEO_PX[1]}x{_VIDEO_PX[0]}"
    latents = (theirs.encode(video).latent_dist.mode() - mean) / std
    yield compare_tensors("VAE, encoder", [(ours.encode(video), latents)], NETWORK_LIMIT, note)
    pair = (ours.decode(latents), theirs.decode(latents * std + mean).sample)
    yield compare_tensors("VAE, decoder", [pair], NETWORK_LIMIT, note)


def _example_picture() -> Tensor:
    with example("portrait.png") as path:
        return torch.from_numpy(load_picture(path).pixels).movedim(-1, 0)


def _example_video() -> Tensor:
    """A part of the example picture that moves to the right by a pixel a frame."""
    height, width = _VIDEO_PX
    wide = to_signed(fit_picture(_example_picture(), height, width + _VIDEO_FRAMES))
    frames = [wide[:, :, start : start + width] for start in range(_VIDEO_FRAMES)]
    return torch.stack(frames, dim=1)[None]


@torch.inference_mode()
def text_row(pack: Pack) -> ProofRow:
    """The states of some prompts. Both encoders share the memory of the weights."""
    config = pack.manifest.config
    weights = dict(pack.tensors("text", _CPU, torch.float32))
    ours = cast(TextEncoder, load_ours("text", config, weights))
    theirs = load_umt5(config.text, weights)
    tokenizer = load_tokenizer(pack.folder, config.text.tokens)
    pairs = []
    for typed, _ in PROMPTS[:_ENCODED_PROMPTS]:
        ids = torch.tensor(tokenize(tokenizer, typed))
        states = theirs(input_ids=ids[None]).last_hidden_state[0]
        pairs.append((ours(ids, torch.ones_like(ids)), states))
    return compare_tensors("umT5", pairs, NETWORK_LIMIT, f"worst of {len(pairs)} prompts")
