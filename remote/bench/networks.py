"""Networks to measure: of random weights, of a pack, or those of a loaded engine."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from remote.engine.checkpoint import published
from remote.engine.config import ModelConfig
from remote.engine.networks.dit import DiT
from remote.engine.networks.image import ImageEncoder
from remote.engine.networks.memory import free_bytes
from remote.engine.networks.vae import VAE
from remote.engine.networks.wav2vec import VoiceEncoder
from remote.engine.pipeline import EncodeText, Engine, Networks
from remote.weights.manifest import STORED_TYPES
from remote.weights.read import open_pack

_OTHER_WEIGHTS_BYTES = 16 * 2**30  # the text encoder, or a few blocks in float32, and their work


def random_module(
    component: str, config: ModelConfig, device: torch.device, dtype: torch.dtype
) -> nn.Module:
    """Builds a network of random weights through the strict loader; its outputs stay finite."""
    module = published.build(component, config)
    generator = torch.Generator(device).manual_seed(len(component))
    fill = fill_transformer if component == "dit" else fill_randomly
    weights = (
        (name, fill(name, torch.empty(unset.shape, device=device, dtype=dtype), generator))
        for name, unset in module.state_dict().items()
    )
    published.load_module(module, weights, device)
    return module.eval()


def fill_randomly(name: str, weight: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draws a weight as for the start of training, so that activations keep their scale."""
    owner, _, leaf = name.rpartition(".")
    if "norm" in owner.rpartition(".")[2] or "norm" in leaf:
        return weight.fill_(0.0 if leaf == "bias" else 1.0)
    if leaf == "length":  # of a weight norm
        return weight.fill_(1.0)
    fan_in = weight[0].numel() if weight.ndim > 1 else 2500
    return weight.normal_(0.0, fan_in**-0.5, generator=generator)


def fill_transformer(name: str, weight: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draws a weight of the transformer from the distribution that its training began with.

    How much rounding moves velocities depends on it: gates are small, so that the layers without
    one weigh most. The head alone began at zero; here it does not.
    """
    if name.endswith("modulation"):
        return weight.normal_(0.0, weight.shape[-1] ** -0.5, generator=generator)
    if "norm" in name or weight.ndim < 2:
        return weight.fill_(0.0 if name.endswith("bias") else 1.0)
    if name.startswith(("text_embedding", "time_embedding")):
        return weight.normal_(0.0, 0.02, generator=generator)
    limit = math.sqrt(6 / (len(weight) + weight[0].numel()))
    return weight.uniform_(-limit, limit, generator=generator)


def random_networks(config: ModelConfig, device: torch.device) -> Networks:
    """All networks; random states stand in for the text encoder."""
    stored = STORED_TYPES["bf16" if device.type == "cuda" else "fp32"]
    modules = {
        name: random_module(name, config, device, stored[name])
        for name in published.COMPONENTS
        if name != "text"
    }
    return _networks(config, modules, "random")


def packed_networks(folder: Path, device: torch.device) -> Networks:
    """The networks of a pack, the text encoder replaced by random states."""
    pack = open_pack(folder)
    dtype = None if device.type == "cuda" else torch.float32
    modules = {
        name: pack.load(name, device, dtype) for name in published.COMPONENTS if name != "text"
    }
    return _networks(pack.manifest.config, modules, pack.manifest.revision)


def _networks(config: ModelConfig, modules: Mapping[str, nn.Module], revision: str) -> Networks:
    dit = cast(DiT, modules["dit"])
    return Networks(
        config=config,
        dit=dit,
        vae=cast(VAE, modules["vae"]),
        image=cast(ImageEncoder, modules["clip"]),
        wav2vec=cast(VoiceEncoder, modules["wav2vec"]),
        text=_random_states(config, dit),
        revision=revision,
    )


def _random_states(config: ModelConfig, dit: DiT) -> EncodeText:
    def random_states(ids: Tensor, _mask: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(len(ids))
        return torch.randn(len(ids), config.text.dim, generator=generator).to(ids.device, dit.dtype)

    return random_states


def borrow(engine: Engine) -> Engine:
    """An engine with the same networks, random prompts, and a feature cache of its own."""
    networks = engine.networks
    text = _random_states(networks.config, networks.dit)
    return Engine(
        replace(networks, text=text, revision="random"),
        backend=engine.backend,
        operations=engine.operations,
        kernels8=engine.kernels8,
    )


def has_room(device: torch.device) -> bool:
    """Whether networks of random weights fit in addition to those that are loaded."""
    return device.type != "cuda" or free_bytes(device) >= _OTHER_WEIGHTS_BYTES
