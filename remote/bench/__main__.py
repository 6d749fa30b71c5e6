"""Times the product's own engine on this machine: `python -m remote.bench`.

Without a pack the weights are random and of full size, so times and memory are those of the real
model, and pictures are noise. Times are host seconds around synchronised work.
"""

import argparse
import json
import math
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import cast

import torch
from torch import nn

from multitalk_cli import contract
from multitalk_cli.planning import cost
from multitalk_cli.planning import rates as rating
from multitalk_cli.planning import windows as planning
from remote.bench.parts import (
    PROMPT_TOKENS,
    BenchOptions,
    Clock,
    Report,
    attention_backends,
    borrow,
    ceilings,
    compare_with_float32,
    describe_streaming,
    has_room,
    machine,
    packed_networks,
    random_module,
    random_networks,
    shrink_card,
    spread,
    token_grid,
)
from remote.bench.report import table
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
from remote.weights.config import PUBLISHED
from remote.weights.manifest import STORED_TYPES
from remote.weights.read import open_pack

_SPEECH_S = (3.3, 10.0, 60.0)
_COLD_SPEECH_S = 5.0
_PROFILED_ROWS = 40
_LEFT_OUT = ("text encoder", "comparison with float32")


def _tell_nobody(_part: str) -> None:
    """Nobody waits for it."""


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
    """Runs a request; gives seconds of each stage and of each forward by window, and the peak."""
    clock.forget_peak()
    prepared_at = last = clock.now()
    stages: Report = {}
    forwards: list[list[float]] = [[] for _ in request.windows]
    for event in engine.run(request):
        now = clock.now()
        _note(event, now - last, stages, forwards)
        last = now
    return {
        "stages": stages,
        "forwards": forwards,
        "seconds": last - prepared_at,
        "peak_gib": clock.peak_gib(),
    }


def _note(event: Event, seconds: float, stages: Report, forwards: list[list[float]]) -> None:
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

    What an exact rewrite spares is counted, so that times of two versions compare.
    """
    frames, rows, columns = grid
    tokens, first = frames * rows * columns, rows * columns
    linears = 2 * tokens * (8 * config.dim**2 + 2 * config.dim * config.ffn_dim)
    keys = tokens + config.text_tokens + config.image_tokens
    attention = 4 * tokens * keys * config.dim
    voiced = sum(branch.is_voiced for branch in guidance.branches) / len(guidance.branches)
    heard = 1 + voiced * (persons - 1)
    audio = 4 * tokens * config.audio_tokens * config.dim * heard
    regions = 2 * tokens * first * config.dim * voiced if persons > 1 else 0.0
    return float(config.layers * (linears + attention + audio + regions))


def measure_vae(engine: Engine, options: BenchOptions, clock: Clock) -> Report:
    """Encodes and decodes one window, on random pixels and latents."""
    config = engine.networks.config
    video = torch.rand(1, 3, options.frames, options.height_px, options.width_px) * 2 - 1
    video = video.to(clock.device)
    vae = engine.vae
    frames, height, width = (
        (options.frames - 1) // LATENT_STRIDE[0] + 1,
        options.height_px // LATENT_STRIDE[1],
        options.width_px // LATENT_STRIDE[2],
    )
    latents = torch.randn(1, config.vae.latent_channels, frames, height, width).to(clock.device)
    clock.forget_peak()
    before = clock.peak_gib()
    return {
        "encode": asdict(clock.time(lambda: vae.encode(video))),
        "decode": asdict(clock.time(lambda: list(vae.decode_chunks(latents)))),
        "extra_peak_gib": clock.peak_gib() - before,
    }


@torch.inference_mode()
def measure_encoders(
    networks: Networks, options: BenchOptions, clock: Clock, *, with_text: bool = True
) -> Report:
    """Times CLIP on a picture, and a text encoder on a prompt, which is freed again."""
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
    """Tells whether a short request made twice gives the same frames."""
    short = replace(options, frames=9, motion_frames=5, measured_steps=2)
    request = make_request(short, 1, 1, engine.networks.config)
    runs = [
        [event.frames for event in engine.run(request) if isinstance(event, WindowFinished)]
        for _ in range(2)
    ]
    return all(torch.equal(one, other) for one, other in zip(*runs, strict=True))


def prices(row: Report, options: BenchOptions, device: str) -> list[Report]:
    """Seconds and dollars of planned videos on this card, from what was measured on it.

    A window of another length is scaled by the formula of the rates; a cold start is theirs.
    """
    rates = rating.load()
    gpu = next((gpu for gpu in rates.gpus if _is_card(gpu.name, device)), None)
    per_s = None if gpu is None else rates.price_per_s_usd(gpu)
    jobs = [(speech_s, False) for speech_s in _SPEECH_S] + [(_COLD_SPEECH_S, True)]
    rows = []
    for speech_s, is_cold in jobs:
        plan = planning.make_plan(
            round(speech_s * options.fps),
            options.fps,
            size=(options.width_px, options.height_px),
            sample_steps=options.steps,
            text_guidance=Guidance().text_scale,
            persons=row["persons"],
            window_frames=max(options.frames, contract.MIN_WINDOW_FRAMES),
            motion_frames=options.motion_frames,
        )
        seconds = _plan_seconds(plan, row, options, rates)
        if is_cold:
            seconds += rates.start.read_bytes / rates.start.read_bytes_per_s
            seconds += rates.start.setup_s
        rows.append(
            {
                "speech_s": speech_s,
                "is_cold": is_cold,
                "seconds": seconds,
                "seconds_per_s": seconds / speech_s,
                "usd_per_s": None if per_s is None else seconds * per_s / speech_s,
            }
        )
    return rows


def _plan_seconds(
    plan: planning.Plan, row: Report, options: BenchOptions, rates: rating.Rates
) -> float:
    reference = rates.gpus[0]
    whole = plan.tokens(contract.Window(start=0, frames=options.frames))
    persons = plan.persons
    total = row["stages"].get("prepare", 0.0)
    for index, window in enumerate(plan.windows):
        share = cost.seconds_per_forward(
            plan.tokens(window), persons, reference, rates
        ) / cost.seconds_per_forward(whole, persons, reference, rates)
        key = "forward" if index == 0 else "forward_later"
        total += plan.forwards_per_window * row[key]["median"] * share
        around = row["clip_first_s"] - plan.forwards_per_window * row["forward"]["median"]
        total += max(around, 0.0) * window.frames / options.frames
    return float(total)


def _is_card(name: str, device: str) -> bool:
    return all(part in device.lower().replace(" ", "-") for part in name.split("-"))


@torch.inference_mode()
def profile_forward(engine: Engine, options: BenchOptions) -> list[Report]:
    """Where the time of one step goes, by kernel, longest first."""
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


def measure(
    config: ModelConfig,
    options: BenchOptions,
    weights: Path | None = None,
    *,
    loaded: Engine | None = None,
    tell: Callable[[str], None] = _tell_nobody,
) -> Report:
    """Measures everything that the options ask for.

    loaded: an engine whose networks are measured, so that none are made or read for it; what
    needs other weights is left out where the card has no room for them. tell: hears which part
    begins.
    """
    device = torch.device(options.device)
    if device.type == "cuda":
        device = torch.device("cuda", torch.cuda.current_device())
    clock = Clock(device)
    report: Report = {"machine": machine(device), "options": asdict(options), "tier": "exact"}
    tell("arithmetic")
    report["ceilings"] = ceilings(clock, options.dtype)
    is_roomy = loaded is None or has_room(device)
    if not is_roomy:
        report["left_out"] = list(_LEFT_OUT)
    if options.card_gib is None:
        report |= _measure_kernels(config, options, clock, tell, is_roomy=is_roomy)
    engine = _engine(config, options, weights, clock, report) if loaded is None else borrow(loaded)
    if loaded is not None and isinstance(engine.networks.dit.blocks, StreamedBlocks):
        report["memory"] = describe_streaming(engine.networks.dit, usable_bytes(device), clock)
    report["backend"] = engine.backend.name
    report["operations"] = engine.operations.name
    report["operations_refused"] = engine.operations.refused
    if options.card_gib is None:
        tell("networks")
        report["encoders"] = measure_encoders(engine.networks, options, clock, with_text=is_roomy)
        report["vae"] = measure_vae(engine, options, clock)
    tell("twice")
    report["is_repeatable"] = is_repeatable(engine, options)
    _measure_runs(engine, options, clock, report, tell)
    if options.profile:
        report["profile"] = profile_forward(engine, options)
    return report


def _measure_kernels(
    config: ModelConfig,
    options: BenchOptions,
    clock: Clock,
    tell: Callable[[str], None],
    *,
    is_roomy: bool,
) -> Report:
    """Every attention kernel; and a few blocks of random weights, where there is room for them."""
    tell("attention")
    tokens = math.prod(token_grid(options, config))
    report: Report = {"attention": attention_backends(clock, config.dit, tokens, options.dtype)}
    if is_roomy:
        tell("exactness")
        report["float32"] = compare_with_float32(config, options, clock)
    clock.forget_peak()
    return report


def _engine(
    config: ModelConfig, options: BenchOptions, weights: Path | None, clock: Clock, report: Report
) -> Engine:
    """An engine with networks of its own."""
    device = clock.device
    networks = (
        random_networks(config, device) if weights is None else packed_networks(weights, device)
    )
    networks.dit.to(options.dtype)
    if options.card_gib is not None:
        report["memory"] = shrink_card(networks.dit, options, clock)
    return Engine(networks)


def _measure_runs(
    engine: Engine, options: BenchOptions, clock: Clock, report: Report, tell: Callable[[str], None]
) -> None:
    report["runs"] = []
    for persons in options.persons:
        tell("1 person" if persons == 1 else f"{persons} persons")
        peak = report["ceilings"]["matmul_tflops"]
        row = measure_persons(engine, options, persons, clock, peak)
        row["prices"] = prices(row, options, report["machine"]["device"])
        report["runs"].append(row)


def _options(argv: Sequence[str]) -> tuple[BenchOptions, Path | None, Path | None]:
    default = BenchOptions()
    parser = argparse.ArgumentParser(prog="python -m remote.bench", description=__doc__)
    parser.add_argument("--size", default=f"{default.width_px}x{default.height_px}")
    parser.add_argument("--frames", type=int, default=default.frames)
    parser.add_argument("--motion-frames", type=int, default=default.motion_frames)
    parser.add_argument("--steps", type=int, default=default.steps, help="of a planned clip")
    parser.add_argument("--measured-steps", type=int, default=default.measured_steps)
    parser.add_argument("--persons", type=int, nargs="+", default=list(default.persons))
    parser.add_argument("--weights", type=Path, help="a pack; random weights without it")
    parser.add_argument("--json", type=Path, help="where to write the whole report")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--card-gib", type=float, help="measure as on a card with less memory")
    parser.add_argument("--float16", action="store_true", help="as on cards without bfloat16")
    given = parser.parse_args(argv)
    width, _, height = given.size.partition("x")
    options = BenchOptions(
        width_px=int(width),
        height_px=int(height),
        frames=given.frames,
        motion_frames=given.motion_frames,
        steps=given.steps,
        measured_steps=given.measured_steps,
        persons=tuple(given.persons),
        device="cuda" if torch.cuda.is_available() else "cpu",
        profile=given.profile,
        card_gib=given.card_gib,
        float16=given.float16,
    )
    return options, given.weights, given.json


def main(argv: Sequence[str]) -> int:
    """Measures, prints the table, writes the report."""
    options, weights, json_path = _options(argv)
    config = PUBLISHED if weights is None else open_pack(weights).manifest.config
    report = measure(config, options, weights)
    if json_path is not None:
        json_path.write_text(json.dumps(report, indent=1), "utf-8")
    print(table(report))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
