"""Networks of transformers and diffusers with the weights of a pack, and ours with the same.

Both libraries are installed in an image of their own and imported here alone: that takes seconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from remote.engine.checkpoint.published import build, load_module, rename, require_same_keys
from remote.engine.config import ClipConfig, ModelConfig, TextConfig, VAEConfig

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
_CLIP_NAMES = (
    (r"^embeddings\.class_embedding$", "cls_embedding"),
    (r"^embeddings\.position_embedding\.weight$", "pos_embedding"),
    (r"^embeddings\.", ""),
    (r"^pre_layrnorm\.", "pre_norm."),
    (r"^encoder\.layers\.", "blocks."),
    (r"\.self_attn\.out_proj\.", ".attn.out."),
    (r"\.self_attn\.", ".attn."),
    (r"\.layer_norm([12])\.", r".norm\1."),
    (r"\.mlp\.", "."),
)
_VAE_NAMES = (
    (r"^quant_conv\.", "to_moments."),
    (r"^post_quant_conv\.", "from_latents."),
    (r"\.gamma$", ""),
    (r"\.conv_shortcut\.", ".shortcut."),
    (r"\.resample\.1\.", ".conv."),
    (r"\.to_qkv\.", ".qkv."),
    (r"\.proj\.", ".out."),
)


def load_ours(component: str, config: ModelConfig, weights: Mapping[str, Tensor]) -> nn.Module:
    module = build(component, config)
    load_module(module, weights.items(), torch.device("cpu"))
    return module


def load_wav2vec(folder: Path, config: ModelConfig, weights: Mapping[str, Tensor]) -> Any:
    """transformers' wav2vec2, of the sizes that its settings in the pack's folder have."""
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


def load_umt5(config: TextConfig, weights: Mapping[str, Tensor]) -> Any:
    """transformers' text encoder; it shares the memory of the weights."""
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
    named = {key: weights[_rename(key, _UMT5_NAMES)] for key in theirs.state_dict()}
    theirs.load_state_dict(named, strict=True, assign=True)
    return theirs


def load_clip(config: ClipConfig, weights: Mapping[str, Tensor]) -> Any:
    """transformers' visual tower, without the block whose output the model does not use."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    settings = CLIPVisionConfig(
        hidden_size=config.dim,
        intermediate_size=config.dim * config.mlp_ratio,
        num_hidden_layers=config.layers - 1,
        num_attention_heads=config.heads,
        image_size=config.image_px,
        patch_size=config.patch_px,
        layer_norm_eps=config.eps,
        # Not the approximation of OpenAI's own towers, which is the default.
        hidden_act="gelu",
        attn_implementation="eager",
    )
    theirs = CLIPVisionModel(settings).eval()
    apart = _split_qkv(weights)
    # The tower's last norm comes after the states that the model takes.
    state = {k: v for k, v in theirs.state_dict().items() if not k.startswith("post_layernorm.")}
    names = {key: _rename(key, _CLIP_NAMES) for key in state}
    require_same_keys(names.values(), apart, "transformers' CLIP")
    named = {key: apart[name].reshape(state[key].shape) for key, name in names.items()}
    theirs.load_state_dict(named, strict=False)
    return theirs


def _split_qkv(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Queries, keys and values as weights of their own."""
    apart = {}
    for name, weight in weights.items():
        parts = weight.chunk(3) if ".qkv." in name else (weight,)
        for letter, part in zip("qkv", parts, strict=False):
            apart[name.replace(".qkv.", f".{letter}_proj.")] = part
    return apart


def load_wan_vae(config: VAEConfig, weights: Mapping[str, Tensor]) -> Any:
    """diffusers' VAE of Wan 2.1, with the statistics of latents that are its own."""
    from diffusers import AutoencoderKLWan

    theirs = AutoencoderKLWan(
        base_dim=config.dim,
        z_dim=config.latent_channels,
        dim_mult=list(config.dim_multipliers),
        num_res_blocks=config.res_blocks,
        temperal_downsample=list(config.temporal_downsample),
    ).eval()
    stages = _vae_stages(config)
    names = {key: _rename(key, (*stages, *_VAE_NAMES)) for key in theirs.state_dict()}
    require_same_keys(names.values(), weights, "diffusers' VAE")
    theirs.load_state_dict({key: weights[name] for key, name in names.items()}, strict=True)
    return theirs


def _vae_stages(config: VAEConfig) -> list[tuple[str, str]]:
    """Patterns for diffusers' stages; ours are numbered in the order of use."""
    levels, blocks = range(len(config.dim_multipliers)), config.res_blocks
    middle = ["mid_block.resnets.0", "mid_block.attentions.0", "mid_block.resnets.1"]
    down = [f"down_blocks.{index}" for index in range(len(levels) * (blocks + 1) - 1)]
    level = [*(f"resnets.{index}" for index in range(blocks + 1)), "upsamplers.0"]
    up = [f"up_blocks.{index}.{part}" for index in levels for part in level]
    coders = {"encoder": [*down, *middle], "decoder": [*middle, *up]}
    return [
        (rf"^{coder}\.{re.escape(name)}\.", f"{coder}.stages.{index}.")
        for coder, names in coders.items()
        for index, name in enumerate(names)
    ]


def _rename(key: str, patterns: Iterable[tuple[str, str]]) -> str:
    for pattern, ours in patterns:
        key = re.sub(pattern, ours, key)
    return key
