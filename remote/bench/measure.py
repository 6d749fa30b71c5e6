"""Times of the stages and forwards of a video, of its networks, and of their parts."""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import cast

import torch
from torch import nn

from remote.bench.clock import Clock, spread
from remote.bench.hardware import (
    attention_backends,
    ceilings,
    describe_streaming,
    machine,
    shrink_gpu,
)
from remote.bench.networks import borrow, has_room, packed_networks, random_module, random_networks
from remote.bench.options import PROMPT_TOKENS, BenchOptions, Report, token_grid
from remote.bench.precision import compare_with_float32
from remote.bench.prices import prices
from remote.engine.config import LATENT_STRIDE, DiTConfig, ModelConfig
from remote.engine.networks.memory import usable_bytes
from remote.engine.networks.offload import StreamedBlocks
from remote.engine.networks.text import TextEncoder
from remote.engine.pipeline import Engine, Networks
from remote.engine.request import (
    ClipWindow,
    Event,
    Progress,
    RenderRequest,
    StepFinished,
    WindowFinished,
)
from remote.engine.sampling.guidance import Guidance
from remote.weights.manifest import STORED_TYPES

_PROFILED_ROWS = 40
_LEFT_OUT = ("text encoder", "comparison with float32")


def make_request(
    options: BenchOptions, persons: int, windows: int, config: ModelConfig
) -> RenderRequest:
    """A request of a random picture, random voices and random prompts."""
    generator = torch.Generator().manual_seed(persons)
    fresh = options.frames - options.motion_frames
    spans = tuple(ClipWindow(start=i * fresh, frames=options.frames) for i in range(windows))
    samples = spans[-1].end * 16000 // options.fps
    height, width = options.height_px, options.width_px
    coarse = torch.rand(1, 3, height // 16, width // 16, generator=generator)
    picture = nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")[0]
    prompts = [
        tuple(
            torch.randint(
                2,
                config.text.vocabulary,
                (min(count, config.text.tokens),),
                generator=generator,
            ).tolist()
        )
        for count in PROMPT_TOKENS
    ]
    return RenderRequest(
        picture=(picture * 255).to(torch.uint8),
        height_px=height,
        width_px=width,
        voices=tuple(torch.randn(samples, generator=generator) for _ in range(persons)),
        prompt_ids=prompts[0],
        negative_ids=prompts[1],
        fps=options.fps,
        frames=spans[-1].end,
        windows=spans,
        motion_frames=options.motion_frames,
        steps=options.measured_steps,
        shift=7.0,
        guidance=Guidance(),
    )


def timed_run(engine: Engine, request: RenderRequest, clock: Clock) -> Report:
    """Runs a request: seconds of each stage and of each forward by window, and peak memory."""
    clock.forget_peak()
    prepared_at = last = clock.now()
    stages: Report = {}
    forwards: list[list[float]] = [[] for _ in request.windows]
    for event in engine.run(request):
        now = clock.now()
        _add_seconds(event, now - last, stages, forwards)
        last = now
    return {
        "stages": stages,
        "forwards": forwards,
        "seconds": last - prepared_at,
        "peak_gib": clock.peak_gib(),
    }


def _add_seconds(event: Event, seconds: float, stages: Report, forwards: list[list[float]]) -> None:
    if isinstance(event, Progress) and event.stage == "denoise" and event.window is not None:
        forwards[event.window].append(seconds)
    elif isinstance(event, Progress) and event.done > 0:
        key = event.stage if event.window is None else f"{event.stage}{event.window}"
        stages[key] = stages.get(key, 0.0) + seconds
    elif isinstance(event, StepFinished):
        stages["between"] = stages.get("between", 0.0) + seconds
    elif isinstance(event, WindowFinished):
        stages[f"finish{event.window}"] = seconds


def measure_persons(
    engine: Engine, options: BenchOptions, persons: int, clock: Clock, peak_tflops: float
) -> Report:
    """Times a first and a later window of one or two people.

    The first step of the first window warms up and is left out.
    """
    config = engine.networks.config
    request = make_request(options, persons, 2, config)
    run = timed_run(engine, request, clock)
    branches = len(request.guidance.branches)
    first, later = run["forwards"]
    warm = first[branches:] or first
    seconds = spread(_branch_means(warm, branches))
    flops = forward_flops(config.dit, token_grid(options, config), persons, request.guidance)
    return {
        "persons": persons,
        "forward": asdict(seconds),
        "forward_later": asdict(spread(_branch_means(later, branches))),
        "by_branch": [statistics.median(warm[i::branches]) for i in range(branches)],
        "first_forward": first[0],
        "tflops": flops / seconds.median / 1e12,
        "floor_s": flops / peak_tflops / 1e12,
        "share_of_floor": flops / peak_tflops / 1e12 / seconds.median,
        "peak_gib": run["peak_gib"],
        "stages": run["stages"],
        "clip_first_s": _clip(run, 0, seconds.median, options.steps * branches),
        "clip_later_s": _clip(
            run, 1, statistics.median(_branch_means(later, branches)), options.steps * branches
        ),
    }


def _branch_means(seconds: Sequence[float], branches: int) -> list[float]:
    """Averages the branches of each step: they do not cost the same."""
    return [
        statistics.fmean(seconds[start : start + branches])
        for start in range(0, len(seconds), branches)
    ]


def _clip(run: Report, window: int, forward_s: float, forwards: int) -> float:
    stages = run["stages"]
    around = sum(stages.get(f"{name}{window}", 0.0) for name in ("encode", "decode", "finish"))
    return forwards * forward_s + float(around)


def forward_flops(
    config: DiTConfig, grid: tuple[int, int, int], persons: int, guidance: Guidance
) -> float:
    """Floating-point operations of the published maths for one forward, branches averaged.

    Work that an exact rewrite saves is counted, so that two versions can be compared.
    """
    frames, rows, columns = grid
    tokens, first = frames * rows * columns, rows * columns
    linears = 2 * tokens * (8 * config.dim**2 + 2 * config.dim * config.ffn_dim)
    keys = tokens + config.text_tokens + config.image_tokens
    attention = 4 * tokens * keys * config.dim
    voiced = sum(branch.is_voiced for branch in guidance.branches) / len(guidance.branches)
    voices = 1 + voiced * (persons - 1)
    audio = 4 * tokens * config.audio_tokens * config.dim * voices
    regions = 2 * tokens * first * config.dim * voiced if persons > 1 else 0.0
    return float(config.layers * (linears + attention + audio + regions))


def measure_vae(engine: Engine, options: BenchOptions, clock: Clock) -> Report:
    """Encodes a first and a later window, and decodes one, on random pixels and latents."""
    config = engine.networks.config
    video = torch.rand(1, 3, options.frames, options.height_px, options.width_px) * 2 - 1
    video = video.to(clock.device)
    vae = engine.vae

    def encode(known: int) -> torch.Tensor:
        video[:, :, known:] = 0
        return vae.encode(video)

    frames, height, width = (
        (options.frames - 1) // LATENT_STRIDE[0] + 1,
        options.height_px // LATENT_STRIDE[1],
        options.width_px // LATENT_STRIDE[2],
    )
    latents = torch.randn(1, config.vae.latent_channels, frames, height, width).to(clock.device)
    clock.forget_peak()
    before = clock.peak_gib()
    return {
        "encode_later": asdict(clock.time(lambda: encode(options.motion_frames))),
        "encode": asdict(clock.time(lambda: encode(1))),
        "decode": asdict(clock.time(lambda: list(vae.decode_chunks(latents)))),
        "extra_peak_gib": clock.peak_gib() - before,
    }


@torch.inference_mode()
def measure_encoders(
    networks: Networks, options: BenchOptions, clock: Clock, *, with_text: bool = True
) -> Report:
    """Times CLIP on a picture, and a text encoder of random weights on a prompt."""
    config, is_gpu = networks.config, clock.device.type == "cuda"
    pixels = torch.rand(1, 3, options.height_px, options.width_px, device=clock.device) * 2 - 1
    image = clock.time(lambda: networks.image(pixels))
    if not with_text:
        return {"image": asdict(image)}
    dtype = STORED_TYPES["bf16" if is_gpu else "fp32"]["text"]
    encoder = cast(TextEncoder, random_module("text", config, clock.device, dtype))
    ids = torch.arange(min(PROMPT_TOKENS[1], config.text.tokens), device=clock.device)
    text = clock.time(lambda: encoder(ids, torch.ones_like(ids)))
    clock.forget_peak()
    return {"image": asdict(image), "text": asdict(text)}


def is_repeatable(engine: Engine, options: BenchOptions) -> bool:
    """Whether a short request made twice gives the same frames."""
    short = replace(options, frames=9, motion_frames=5, measured_steps=2)
    request = make_request(short, 1, 1, engine.networks.config)
    runs = [
        [event.frames for event in engine.run(request) if isinstance(event, WindowFinished)]
        for _ in range(2)
    ]
    return all(torch.equal(one, other) for one, other in zip(*runs, strict=True))


@torch.inference_mode()
def profile_forward(engine: Engine, options: BenchOptions) -> list[Report]:
    """The kernels of one step and their times, longest first."""
    from torch.profiler import ProfilerActivity, profile

    request = make_request(replace(options, measured_steps=1), 1, 1, engine.networks.config)
    activities = [ProfilerActivity.CPU]
    if options.device == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as profiler:
        for event in engine.run(request):
            if isinstance(event, StepFinished):
                break
    averages = profiler.key_averages()
    rows = [
        {
            "kernel": row.key[:100],
            "ms": getattr(row, "self_device_time_total", row.self_cpu_time_total) / 1e3,
            "count": row.count,
        }
        for row in averages
    ]
    rows.sort(key=lambda row: -float(cast(float, row["ms"])))
    return rows[:_PROFILED_ROWS]


def bench_device(options: BenchOptions) -> torch.device:
    """The device to measure; memory is queried of a numbered GPU."""
    device = torch.device(options.device)
    if device.type == "cuda":
        return torch.device("cuda", torch.cuda.current_device())
    return device


def measure(
    config: ModelConfig,
    options: BenchOptions,
    weights: Path | None = None,
    *,
    loaded: Engine | None = None,
    on_part: Callable[[str], None] = lambda _part: None,
) -> Report:
    """Measures everything that the options ask for.

    loaded: an engine whose networks are measured, so that none are made or read; parts that need
    other weights are left out if the GPU has no room for them. on_part: called with the name of
    each part as it begins.
    """
    device = bench_device(options)
    clock = Clock(device)
    report: Report = {"machine": machine(device), "options": asdict(options)}
    on_part("arithmetic")
    report["ceilings"] = ceilings(clock, options.dtype)
    fits_others = loaded is None or has_room(device)
    if not fits_others:
        report["left_out"] = list(_LEFT_OUT)
    if options.gpu_gib is None:
        report |= _measure_kernels(config, options, clock, on_part, fits_others=fits_others)
    engine = _engine(config, options, weights, clock, report) if loaded is None else borrow(loaded)
    if loaded is not None and isinstance(engine.networks.dit.blocks, StreamedBlocks):
        report["memory"] = describe_streaming(engine.networks.dit, usable_bytes(device), clock)
    report["tier"] = engine.kernels8.tier.name
    report["backend"] = engine.backend.name
    report["backend_reason"] = engine.backend.reason
    report["operations"] = engine.operations.name
    report["operations_refused"] = engine.operations.refused
    if options.gpu_gib is None:
        on_part("networks")
        report["encoders"] = measure_encoders(
            engine.networks, options, clock, with_text=fits_others
        )
        report["vae"] = measure_vae(engine, options, clock)
    on_part("twice")
    report["is_repeatable"] = is_repeatable(engine, options)
    _measure_runs(engine, options, clock, report, on_part)
    if options.profile:
        report["profile"] = profile_forward(engine, options)
    return report


def _measure_kernels(
    config: ModelConfig,
    options: BenchOptions,
    clock: Clock,
    on_part: Callable[[str], None],
    *,
    fits_others: bool,
) -> Report:
    """Times every attention kernel, and compares a few blocks of random weights if they fit."""
    on_part("attention")
    tokens = math.prod(token_grid(options, config))
    report: Report = {"attention": attention_backends(clock, config.dit, tokens, options.dtype)}
    if fits_others:
        on_part("exactness")
        report["float32"] = compare_with_float32(config, options, clock)
    clock.forget_peak()
    return report


def _engine(
    config: ModelConfig, options: BenchOptions, weights: Path | None, clock: Clock, report: Report
) -> Engine:
    """An engine with networks of random weights, or of a pack."""
    device = clock.device
    networks = (
        random_networks(config, device) if weights is None else packed_networks(weights, device)
    )
    networks.dit.to(options.dtype)
    if options.gpu_gib is not None:
        report["memory"] = shrink_gpu(networks.dit, options, clock)
    return Engine(networks)


def _measure_runs(
    engine: Engine,
    options: BenchOptions,
    clock: Clock,
    report: Report,
    on_part: Callable[[str], None],
) -> None:
    report["runs"] = []
    for persons in options.persons:
        on_part("1 person" if persons == 1 else f"{persons} persons")
        peak = report["ceilings"]["matmul_tflops"]
        row = measure_persons(engine, options, persons, clock, peak)
        row["prices"] = prices(row, options, report["machine"]["device"])
        report["runs"].append(row)
