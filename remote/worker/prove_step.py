"""What a GPU computes with real weights, against float32: a step, CLIP, the VAE, attention."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from multitalk_cli import contract
from multitalk_cli.contract.codec import to_plain
from multitalk_cli.contract.proof import ProofRow
from multitalk_cli.reporting.formatting import human_count
from remote.engine.errors import BackendUnavailableError
from remote.engine.features import MemoryStore
from remote.engine.kernels.attention import (
    LOADERS,
    SDPA,
    AttentionBackend,
    choose_backend,
    load_backend,
)
from remote.engine.kernels.operations import PLAIN
from remote.engine.networks.audio import SAMPLE_RATE_HZ
from remote.engine.networks.dit import DiT
from remote.engine.networks.halfvae import HalfVAE
from remote.engine.networks.image import ImageEncoder, fit_picture, to_signed
from remote.engine.networks.text import load_tokenizer, tokenize
from remote.engine.networks.vae import VAE
from remote.engine.pipeline import Engine, Networks
from remote.engine.request import ClipWindow, RenderRequest
from remote.service.decode import decode_request
from remote.weights.device import choose_device, computed_type, device_name
from remote.weights.model import open_weights, read_networks
from remote.weights.read import Pack
from remote.worker.examine import CARD_PX, CPU_PX, canary_request
from remote.worker.failures import as_answer, gpu_expected
from remote.worker.proof_rows import compare_tensors

BLOCKS, FRAMES = 3, 17
# Random weights of full size differ by 0.7 % for one person and by 2.3 % for two, on an H100.
STEP_LIMIT = 0.05
# The engine itself refuses a kernel that differs more on random values.
ATTENTION_LIMIT = 0.02
# Random weights of full size differ by 1.1 % in CLIP, by 0.1 and 0.2 % in the VAE, on an H100.
CLIP_LIMIT, VAE_LIMIT = 0.05, 0.02
_SPEAKS_FROM_S = 1.0
_IN_FLOAT32 = "computed in float32 here"


@as_answer()
def prove_step(folder: Path, wire: Mapping[str, Any]) -> dict[str, Any]:
    """Runs the first step of the example as the product does, and once more in plain float32.

    wire: contract and client versions, and the two prompts. Both runs have the same weights, those
    of the pack, and the same features of prompts and picture.
    """
    body = contract.check_version(wire)
    pack = open_weights(folder)
    with gpu_expected():
        device = choose_device("auto", pack.manifest.size_bytes)
    dtype = _lowered_type(device)
    # A pack in float32 is rounded here, so that both runs have the same weights.
    networks = read_networks(
        pack, device, lambda: cast(DiT, pack.load_start(BLOCKS, device, dtype))
    )
    seen = _Seen(choose_backend(device, dtype, networks.config.dit.head_dim))
    requests = _requests(pack, device, str(body["prompt"]), str(body["negative_prompt"]))
    engine, rows = _step_rows(networks, seen.backend, requests)
    facts = {
        "gpu": device_name(device),
        "torch": torch.__version__,
        "type": str(dtype).removeprefix("torch."),
        "attention": engine.backend.name,
        "kernels": engine.operations.name,
    }
    first = requests[0]
    # A quarter of the video's: float32 takes 13 GB for all of it.
    picture = fit_picture(first.picture, first.height_px // 2, first.width_px // 2)
    pixels = to_signed(picture)[None].to(device)
    rows += [clip_row(networks.image, pixels), *vae_rows(engine.vae, networks.vae, pixels)]
    rows += _attention_rows(*seen.inputs[0])
    return {"rows": [to_plain(row) for row in rows], "facts": facts}


def _lowered_type(device: torch.device) -> torch.dtype:
    """The type in which the GPU computes; on a CPU bfloat16, since float32 would be compared."""
    return torch.float16 if computed_type(device) == torch.float16 else torch.bfloat16


def _requests(
    pack: Pack, device: torch.device, prompt: str, negative_prompt: str
) -> list[RenderRequest]:
    """The example as requests for one person, and for two, of whom one speaks backwards."""
    tokenizer = load_tokenizer(pack.folder, pack.manifest.config.text.tokens)
    size = CARD_PX if device.type == "cuda" else CPU_PX
    whole = decode_request(
        canary_request(size, prompt, negative_prompt),
        lambda text: tuple(tokenize(tokenizer, text)),
    )
    first, count = int(_SPEAKS_FROM_S * SAMPLE_RATE_HZ), FRAMES * SAMPLE_RATE_HZ // whole.fps
    voice = cast(Tensor, whole.voices[0])[first : first + count]
    window = ClipWindow(start=0, frames=FRAMES)
    one = replace(whole, voices=(voice,), frames=FRAMES, windows=(window,))
    return [one, replace(one, voices=(voice, voice.flip(0)))]


class _Seen:
    """An attention kernel that keeps the inputs of its first call, which is a self-attention."""

    def __init__(self, chosen: AttentionBackend) -> None:
        self.inputs: list[tuple[Tensor, Tensor, Tensor]] = []
        self._kernel = chosen.kernel
        self.backend = replace(chosen, kernel=self._run)

    def _run(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if not self.inputs:
            self.inputs.append((q.clone(), k.clone(), v.clone()))
        return self._kernel(q, k, v)


def _step_rows(
    networks: Networks, backend: AttentionBackend, requests: list[RenderRequest]
) -> tuple[Engine, list[ProofRow]]:
    """The engine, and a row for each request. The transformer is in float32 afterwards."""
    features = MemoryStore()
    engine = Engine(networks, backend=backend, features=features)
    ours = [engine.first_step(request) for request in requests]
    networks.dit.fused = None
    networks.dit.float()
    exact = Engine(networks, backend=SDPA, operations=PLAIN, features=features)
    # Convolutions would have the mantissa of bfloat16, nearly, on a GPU.
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        reference = [exact.first_step(request) for request in requests]
    rows = [
        compare_tensors(
            f"one step, {human_count(len(request.voices), 'voice')}",
            # Without a voice, a step for two is the same as for one.
            [(mine[b], theirs[b]) for b in theirs if b.is_voiced or len(request.voices) == 1],
            STEP_LIMIT,
            f"{networks.dit.config.layers} blocks against float32",
        )
        for request, mine, theirs in zip(requests, ours, reference, strict=True)
    ]
    return engine, rows


@torch.inference_mode()
def clip_row(image: ImageEncoder, pixels: Tensor) -> ProofRow:
    """The states of a picture. pixels: [1, 3, H, W] in -1..1."""
    part, dtype = "CLIP on GPU", image.patch_embedding.weight.dtype
    if dtype == torch.float32:
        return ProofRow(part=part, limit=CLIP_LIMIT, note=_IN_FLOAT32)
    exact = copy.deepcopy(image).float()
    note = f"{str(dtype).removeprefix('torch.')} against float32"
    return compare_tensors(part, [(image(pixels), exact(pixels))], CLIP_LIMIT, note)


@torch.inference_mode()
def vae_rows(vae: VAE | HalfVAE, exact: VAE, pixels: Tensor) -> Iterator[ProofRow]:
    """The latents of a picture before grey frames, and the video of these latents."""
    parts = ("VAE encoder on GPU", "VAE decoder on GPU")
    if vae is exact:
        yield from (ProofRow(part=part, limit=VAE_LIMIT, note=_IN_FLOAT32) for part in parts)
        return
    video = pixels.new_zeros(1, 3, FRAMES, *pixels.shape[2:])
    video[:, :, 0] = pixels
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        latents = exact.encode(video)
        pairs = [(vae.encode(video), latents), (vae.decode(latents), exact.decode(latents))]
    for part, pair in zip(parts, pairs, strict=True):
        yield compare_tensors(part, [pair], VAE_LIMIT, "float16 against float32")


@torch.inference_mode()
def _attention_rows(q: Tensor, k: Tensor, v: Tensor) -> Iterator[ProofRow]:
    """Every attention kernel that runs here, against softmax attention in float32."""
    exact = SDPA.kernel(q.float(), k.float(), v.float())
    for name in LOADERS:
        part = f"attention {name}"
        try:
            backend = load_backend(name, q.device, q.dtype, q.shape[-1])
        except BackendUnavailableError as reason:
            yield ProofRow(part=part, limit=ATTENTION_LIMIT, note=str(reason))
            continue
        pair = (backend.kernel(q, k, v), exact)
        yield compare_tensors(part, [pair], ATTENTION_LIMIT, f"{q.shape[1]} tokens, first block")
