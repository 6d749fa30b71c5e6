"""The recorded tiny checkpoint: sizes, weights and inputs, read from the golden files."""

import functools
import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from multitalk_cli.contract.codec import from_plain
from multitalk_cli.media.image.sizes import AspectBucket
from remote.engine.checkpoint.published import build, load_module, rename
from remote.engine.config import (
    ClipConfig,
    DiTConfig,
    TextConfig,
    VAEConfig,
    Wav2VecConfig,
)
from remote.engine.networks.dit import DiT
from remote.engine.pipeline import Networks
from remote.weights.config import PackConfig


@functools.cache
def description(folder: Path, name: str) -> dict:
    """The json beside a recording."""
    return json.loads((folder / f"{name}.json").read_text())


@functools.cache
def tensors(folder: Path, name: str) -> dict[str, Tensor]:
    """Every tensor of a recording, weights included. Callers must not write to them."""
    return load_file(folder / f"{name}.safetensors")


def weights(folder: Path, name: str) -> dict[str, Tensor]:
    """The published-name weights of a recording."""
    recorded = tensors(folder, name)
    return {key[2:]: value for key, value in recorded.items() if key.startswith("w/")}


def under(recorded: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors below a prefix, without it."""
    return {k[len(prefix) :]: v for k, v in recorded.items() if k.startswith(prefix)}


def tiny_dit_config(folder: Path) -> DiTConfig:
    sizes = description(folder, "dit_single")["config"]
    return DiTConfig(
        dim=sizes["dim"],
        ffn_dim=sizes["ffn_dim"],
        heads=sizes["num_heads"],
        layers=sizes["num_layers"],
        frequency_dim=sizes["freq_dim"],
        text_dim=sizes["text_dim"],
        text_tokens=sizes["text_len"],
        image_dim=sizes["clip_dim"],
        image_tokens=sizes["img_tokens"],
        in_channels=sizes["in_dim"],
        out_channels=sizes["out_dim"],
        patch=tuple(sizes["patch_size"]),
        eps=sizes["eps"],
        audio_window=sizes["audio_window"],
        audio_layers=sizes["audio_blocks"],
        audio_channels=sizes["audio_channels"],
        audio_hidden=sizes["intermediate_dim"],
        audio_dim=sizes["output_dim"],
        audio_tokens=sizes["context_tokens"],
        frames_per_latent=sizes["vae_scale"],
        class_range=sizes["class_range"],
        class_interval=sizes["class_interval"],
    )


def tiny_model_config(folder: Path) -> PackConfig:
    """Sizes of the checkpoint that the recordings' weight files form together."""
    vae = description(folder, "vae")["config"]
    text = description(folder, "t5")["config"]
    clip = description(folder, "clip")["config"]
    clip_values = description(folder, "clip")
    wav2vec = dict(description(folder, "audio_embedding")["config"])
    for unused in ("num_feat_extract_layers", "vocab_size"):
        wav2vec.pop(unused)
    constants = tensors(folder, "vae")
    end_to_end = description(folder, "end_to_end")
    return PackConfig(
        dit=tiny_dit_config(folder),
        vae=VAEConfig(
            dim=vae["dim"],
            latent_channels=vae["z_dim"],
            dim_multipliers=tuple(vae["dim_mult"]),
            res_blocks=vae["num_res_blocks"],
            temporal_downsample=tuple(vae["temperal_downsample"]),
            mean=tuple(constants["const/mean"].tolist()),
            std=tuple(constants["const/std"].tolist()),
        ),
        text=TextConfig(
            vocabulary=text["vocab_size"],
            dim=text["dim"],
            attention_dim=text["dim_attn"],
            ffn_dim=text["dim_ffn"],
            heads=text["num_heads"],
            layers=text["encoder_layers"],
            buckets=text["num_buckets"],
            tokens=end_to_end["text_len"],
        ),
        clip=ClipConfig(
            image_px=clip["image_size"],
            patch_px=clip["patch_size"],
            dim=clip["vision_dim"],
            mlp_ratio=clip["vision_mlp_ratio"],
            heads=clip["vision_heads"],
            layers=clip["vision_layers"],
            mean=tuple(clip_values["mean"]),
            std=tuple(clip_values["std"]),
        ),
        wav2vec=from_plain(Wav2VecConfig, wav2vec),
        buckets={
            "480": tuple(
                AspectBucket(ratio=float(key), height_px=size[0], width_px=size[1])
                for key, size in end_to_end["buckets"].items()
            )
        },
    )


def tiny_dit(folder: Path, dtype: torch.dtype = torch.float32) -> DiT:
    """The recorded transformer."""
    loaded = {key: value.to(dtype) for key, value in weights(folder, "dit_single").items()}
    return tiny_dit_of(loaded, tiny_dit_config(folder))


def tiny_dit_of(loaded: dict[str, Tensor], config: DiTConfig) -> DiT:
    """A transformer of these weights."""
    with torch.device("meta"):
        dit = DiT(config)
    dit.load_state_dict(loaded, strict=True, assign=True)
    return dit.eval().requires_grad_(False)


# Which recording holds a network's weights.
RECORDED_IN = {
    "dit": "dit_single",
    "vae": "vae",
    "clip": "clip",
    "wav2vec": "audio_embedding",
    "text": "t5",
}


@functools.cache
def tiny_module(folder: Path, component: str) -> nn.Module:
    """One recorded network in float32, through the real key names and the strict loader."""
    config = tiny_model_config(folder)
    module = build(component, config)
    renamed = (
        (rename(component, key, config), tensor)
        for key, tensor in weights(folder, RECORDED_IN[component]).items()
    )
    kept = [(name, tensor) for name, tensor in renamed if name is not None]
    load_module(module, kept, torch.device("cpu"))
    return module


def tiny_networks(folder: Path) -> Networks:
    """The whole recorded checkpoint."""
    return Networks(
        config=tiny_model_config(folder),
        dit=tiny_dit(folder),
        vae=tiny_module(folder, "vae"),
        image=tiny_module(folder, "clip"),
        wav2vec=tiny_module(folder, "wav2vec"),
        text=tiny_module(folder, "text"),
        revision="recorded",
    )
