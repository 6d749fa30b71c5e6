"""The parts of the benchmark: networks of random weights, the card's ceilings, errors, memory."""

import platform
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from remote.engine.checkpoint import published
from remote.engine.config import LATENT_STRIDE, DiTConfig, ModelConfig
from remote.engine.errors import BackendUnavailableError
from remote.engine.kernels.attention import (
    LOADERS,
    SDPA,
    choose_backend,
    load_backend,
)
from remote.engine.kernels.select import choose_operations
from remote.engine.networks.dit import Condition, DiT
from remote.engine.networks.image import ImageEncoder
from remote.engine.networks.memory import free_bytes, plan_memory, workload
from remote.engine.networks.offload import StreamedBlocks, stream_blocks
from remote.engine.networks.vae import VAE
from remote.engine.networks.wav2vec import VoiceEncoder
from remote.engine.pipeline import EncodeText, Engine, Networks
from remote.weights.manifest import STORED_TYPES
from remote.weights.read import open_pack

PROMPT_TOKENS = (60, 100)  # of the prompt and of the negative prompt
_COMPARED_BLOCKS = 3
_COMPARED_LATENTS = 5
_MATMUL_SIDE = 8192
_COPY_BYTES = 2**31
_OTHER_WEIGHTS_BYTES = 16 * 2**30  # the text encoder, or a few blocks in float32, and their work

Report = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchOptions:
    """What to measure. steps: of a planned clip; measured_steps: of each measured window.

    card_gib: pretends that the card has only so much memory; blocks are streamed as it needs.
    float16: computes as on cards without bfloat16.
    """

    width_px: int = 896
    height_px: int = 448
    frames: int = 81
    motion_frames: int = 25
    fps: int = 24
    steps: int = 20
    measured_steps: int = 3
    persons: tuple[int, ...] = (1, 2)
    device: str = "cuda"
    profile: bool = False
    card_gib: float | None = None
    float16: bool = False

    @property
    def dtype(self) -> torch.dtype:
        """What the transformer computes in."""
        if self.float16:
            return torch.float16
        return STORED_TYPES["bf16" if self.device == "cuda" else "fp32"]["dit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Median, least and largest of n measured seconds."""

    median: float
    least: float
    most: float
    n: int


def spread(seconds: Sequence[float]) -> Spread:
    return Spread(
        median=statistics.median(seconds), least=min(seconds), most=max(seconds), n=len(seconds)
    )


class Clock:
    """Reads the host's clock when the device has finished, and the memory that it took."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def time(self, work: Callable[[], object], repeats: int = 3, warmups: int = 1) -> Spread:
        for _ in range(warmups):
            work()
        seconds = []
        for _ in range(repeats):
            start = self.now()
            work()
            seconds.append(self.now() - start)
        return spread(seconds)

    def forget_peak(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)

    def peak_gib(self) -> float:
        if self.device.type != "cuda":
            return 0.0
        return torch.cuda.max_memory_allocated(self.device) / 2**30


def random_module(
    component: str, config: ModelConfig, device: torch.device, dtype: torch.dtype
) -> nn.Module:
    """Builds a network of random weights through the strict loader; its outputs stay finite."""
    module = published.build(component, config)
    generator = torch.Generator(device).manual_seed(len(component))
    published.load_module(module, _random_weights(module, generator, device, dtype), device)
    return module.eval()


def _random_weights(
    module: nn.Module, generator: torch.Generator, device: torch.device, dtype: torch.dtype
) -> Iterator[tuple[str, Tensor]]:
    for name, unset in module.state_dict().items():
        weight = torch.empty(unset.shape, device=device, dtype=dtype)
        yield name, fill_randomly(name, weight, generator)


def fill_randomly(name: str, weight: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draws a weight as networks are begun: what follows it stays of the same size."""
    owner, _, leaf = name.rpartition(".")
    if "norm" in owner.rpartition(".")[2] or "norm" in leaf:
        return weight.fill_(0.0 if leaf == "bias" else 1.0)
    if leaf == "length":  # of a weight norm
        return weight.fill_(1.0)
    fan_in = weight[0].numel() if weight.ndim > 1 else 2500
    return weight.normal_(0.0, fan_in**-0.5, generator=generator)


def random_networks(config: ModelConfig, device: torch.device) -> Networks:
    """All networks but the text encoder, whose states are random too."""
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
    """An engine with the same networks, whose prompts are random and whose features are its own."""
    networks = engine.networks
    text = _random_states(networks.config, networks.dit)
    return Engine(
        replace(networks, text=text, revision="random"),
        backend=engine.backend,
        operations=engine.operations,
    )


def has_room(device: torch.device) -> bool:
    """Tells whether networks of random weights fit beside those that are loaded."""
    return device.type != "cuda" or free_bytes(device) >= _OTHER_WEIGHTS_BYTES


def machine(device: torch.device) -> Report:
    """The card and the versions of what runs on it."""
    versions: Report = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "device": "cpu",
    }
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device)
        versions |= {
            "device": card.name,
            "memory_gib": card.total_memory / 2**30,
            "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        }
    for name in ("triton", "fa3_fwd"):
        versions[name] = _version(name)
    return versions


def _version(package: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def ceilings(clock: Clock, dtype: torch.dtype) -> Report:
    """The rates of a large matrix product and of a large copy, on random data."""
    is_gpu = clock.device.type == "cuda"
    side = _MATMUL_SIDE if is_gpu else 256
    a, b = (torch.randn(side, side, device=clock.device).to(dtype) for _ in range(2))
    product = clock.time(lambda: [a @ b for _ in range(10)], repeats=5)
    source = torch.randn((_COPY_BYTES if is_gpu else 2**20) // 4, device=clock.device)
    target = torch.empty_like(source)
    copy = clock.time(lambda: [target.copy_(source) for _ in range(10)], repeats=5)
    return {
        "matmul_tflops": 10 * 2 * side**3 / product.median / 1e12,
        "copy_gb_per_s": 10 * 2 * source.numel() * 4 / copy.median / 1e9,
    }


def attention_backends(
    clock: Clock, config: DiTConfig, tokens: int, dtype: torch.dtype
) -> list[Report]:
    """Self-attention of a whole window with every kernel that runs here; why the others do not."""
    shape = (1, tokens, config.heads, config.head_dim)
    q, k, v = (torch.randn(shape, device=clock.device).to(dtype) for _ in range(3))
    flops = 4 * tokens**2 * config.dim
    rows: list[Report] = []
    for name in LOADERS:
        try:
            backend = load_backend(name, clock.device, dtype, config.head_dim)
        except BackendUnavailableError as reason:
            rows.append({"name": name, "refused": str(reason)})
            continue
        taken = clock.time(partial(backend.kernel, q, k, v), repeats=5, warmups=2)
        rows.append(
            {
                "name": name,
                "seconds": asdict(taken),
                "tflops": flops / taken.median / 1e12,
                "error": backend.error,
            }
        )
    return rows


def token_grid(options: BenchOptions, config: ModelConfig) -> tuple[int, int, int]:
    """The frames, rows and columns of tokens of one window."""
    return config.dit.token_grid(options.frames, options.height_px, options.width_px)


def shrink_card(dit: DiT, options: BenchOptions, clock: Clock) -> Report:
    """Streams the blocks that would not fit, and holds this process to the smaller memory."""
    device, card_gib = clock.device, options.card_gib or 0.0
    work = workload(dit.config, options.frames, options.height_px, options.width_px)
    plan = plan_memory(dit.config, work, int(card_gib * 2**30))
    if plan.is_streamed:
        stream_blocks(dit, plan, device)
    clock.forget_peak()
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(card_gib * 2**30 / total, 1.0), device)
    return describe_streaming(dit, int(card_gib * 2**30), clock)


def describe_streaming(dit: DiT, card_bytes: int, clock: Clock) -> Report:
    """How many blocks stay on the card, and how long the others take to be copied alone."""
    blocks, layers = dit.blocks, dit.config.layers
    return {
        "card_gib": round(card_bytes / 2**30, 1),
        "resident": blocks.resident if isinstance(blocks, StreamedBlocks) else layers,
        "layers": layers,
        "streamed_gb": blocks.hosted_bytes / 1e9 if isinstance(blocks, StreamedBlocks) else 0.0,
        "copy": asdict(clock.time(lambda: list(cast(Iterable[nn.Module], blocks)))),
    }


@torch.inference_mode()
def compare_with_float32(config: ModelConfig, options: BenchOptions, clock: Clock) -> list[Report]:
    """Runs a few blocks as the engine does, and in plain float32 on the same rounded weights.

    error: root-mean-square difference of the velocity, relative to it.
    """
    few = replace(config.dit, layers=min(_COMPARED_BLOCKS, config.dit.layers))
    dtype = options.dtype
    fast = cast(DiT, random_module("dit", replace(config, dit=few), clock.device, dtype))
    exact = cast(DiT, random_module("dit", replace(config, dit=few), clock.device, dtype))
    exact.float()
    rows = []
    for persons in options.persons:
        inputs = _few_blocks_input(options, config, persons, clock.device)
        fast.backend = choose_backend(clock.device, dtype, few.head_dim)
        if not options.float16:
            fast.fuse(choose_operations(clock.device, dtype, few), fast.backend)
        ours = inputs.velocity(fast)
        exact.backend = SDPA
        wanted = inputs.velocity(exact)
        error = ((ours - wanted).norm() / wanted.norm()).item()
        rows.append({"persons": persons, "blocks": few.layers, "error": error})
    return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class _Inputs:
    """What a forward takes, in float32."""

    latents: Tensor
    conditioning: Tensor
    text: Tensor
    image: Tensor
    audio: Tensor
    masks: Tensor | None

    def velocity(self, dit: DiT) -> Tensor:
        condition = Condition(
            text=dit.text_keys(self.text),
            image=dit.image_keys(self.image),
            audio=dit.audio_keys(self.audio),
            regions=None if self.masks is None else dit.regions(self.masks),
        )
        time_ = torch.tensor([900.0], device=self.latents.device)
        return cast(Tensor, dit(self.latents, self.conditioning, time_, condition))


def _few_blocks_input(
    options: BenchOptions, config: ModelConfig, persons: int, device: torch.device
) -> _Inputs:
    frames = min(_COMPARED_LATENTS, (options.frames - 1) // LATENT_STRIDE[0] + 1)
    short = replace(options, frames=(frames - 1) * LATENT_STRIDE[0] + 1)
    _, rows, columns = token_grid(short, config)
    dit, generator = config.dit, torch.Generator(device).manual_seed(7)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, device=device, generator=generator)

    size = (frames, rows * dit.patch[1], columns * dit.patch[2])
    masks = torch.zeros(3, rows, columns, device=device)
    masks[0, :, : columns // 3] = masks[1, :, -(columns // 3) :] = 1
    masks[2] = 1 - masks[0] - masks[1]
    return _Inputs(
        latents=normal(dit.out_channels, *size),
        conditioning=normal(dit.in_channels - dit.out_channels, *size),
        text=normal(min(PROMPT_TOKENS[0], dit.text_tokens), dit.text_dim),
        image=normal(1, dit.image_tokens, dit.image_dim),
        audio=normal(persons, short.frames, dit.audio_window, dit.audio_layers, dit.audio_channels),
        masks=masks if persons > 1 else None,
    )
