"""Runs our parts on recorded inputs, for the tests and for the parity table alike."""

import functools
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from multitalk_cli.media.image.sizes import nearest_bucket
from remote.engine.checkpoint.lora import LoraReport, merged, plan_lora
from remote.engine.checkpoint.lora_keys import PREFIX
from remote.engine.networks.audio import normalize_wave, window_features
from remote.engine.networks.dit import Condition, DiT, time_waves
from remote.engine.networks.labels import PersonRegions
from remote.engine.networks.wav2vec import embed_voice
from remote.engine.pipeline import EncodedInputs, Engine, to_bytes
from remote.engine.request import ClipWindow, RenderRequest, WindowFinished
from remote.engine.sampling.cache import COEFFICIENTS, CacheSettings, Residuals, StepDecider
from remote.engine.sampling.guidance import Guidance, Guide, Projection
from remote.engine.sampling.masks import (
    DEFAULT_MARGIN,
    PixelBox,
    box_masks,
    half_masks,
    latent_masks,
    token_masks,
)
from remote.engine.sampling.sampler import NoiseSource, StepDone, sample
from remote.engine.sampling.schedule import step_times
from tests.engine import upstream
from tests.engine.tiny import (
    description,
    tensors,
    tiny_dit,
    tiny_model_config,
    tiny_networks,
    under,
)


def image_features(folder: Path) -> Tensor:
    return tensors(folder, "dit_single")["in/clip_fea"]


def condition(dit: DiT, inputs: dict[str, Tensor], features: Tensor) -> Condition:
    """Builds one branch's condition from recorded inputs, regions only for two voices."""
    masks = token_masks(inputs["ref_target_masks"], dit.config.patch[1:])
    return Condition(
        text=dit.text_keys(inputs["context"]),
        image=dit.image_keys(features),
        audio=dit.audio_keys(inputs["audio"]),
        regions=dit.regions(masks) if len(inputs["audio"]) > 1 else None,
    )


@torch.inference_mode()
def velocity(dit: DiT, inputs: dict[str, Tensor], features: Tensor) -> Tensor:
    conditions = condition(dit, inputs, features)
    return dit(inputs["x"], inputs["y"][0], inputs["t"], conditions)


def velocity_without_background(dit: DiT, inputs: dict[str, Tensor], features: Tensor) -> Tensor:
    """Runs two persons with an empty background as published: every token loses its person."""
    masks = token_masks(inputs["ref_target_masks_empty_background"], dit.config.patch[1:])
    ours = dit.regions(masks)
    lost = upstream.LostRegions(
        weights=ours.weights,
        present=ours.present,
        ranges=ours.ranges,
        background=ours.background,
    )
    with torch.inference_mode():
        conditions = replace(condition(dit, inputs, features), regions=lost)
        return dit(inputs["x"], inputs["y"][0], inputs["t"], conditions)


@torch.inference_mode()
def intermediates(dit: DiT, inputs: dict[str, Tensor], features: Tensor) -> dict[str, Tensor]:
    """Runs the transformer once; gives its parts' outputs under the recorded names."""
    seen: dict[str, Tensor] = {}
    masks = dit.regions(token_masks(inputs["ref_target_masks"], dit.config.patch[1:]))
    handles = [
        module.register_forward_hook(_keep(seen, name, masks))
        for name, module in _named_parts(dit).items()
    ]
    seen["velocity"] = velocity(dit, inputs, features)
    for handle in handles:
        handle.remove()
    seen["time_sinusoid"] = time_waves(inputs["t"], dit.config.frequency_dim)
    seen["patch_tokens"] = seen["patch_tokens"].flatten(2).transpose(1, 2)
    seen["time_e0"] = seen["time_e0"].unflatten(1, (6, -1))
    seen["audio_first"], seen["audio_latter"] = dit.audio_proj.group_frames(inputs["audio"])
    return seen


def _named_parts(dit: DiT) -> dict[str, nn.Module]:
    parts = {
        "patch_tokens": dit.patch_embedding,
        "time_e": dit.time_embedding,
        "time_e0": dit.time_projection,
        "text_tokens": dit.text_embedding,
        "img_tokens": dit.img_emb,
        "audio_proj": dit.audio_proj,
        "head": dit.head,
    }
    for index, block in enumerate(dit.blocks):
        parts[f"block{index}"] = block
        for name in ("self_attn", "cross_attn", "audio_cross_attn", "ffn"):
            parts[f"block{index}.{name}"] = getattr(block, name)
    return parts


def _keep(seen: dict[str, Tensor], name: str, regions: PersonRegions):
    def hook(module: nn.Module, given: tuple, out) -> None:
        if name.endswith(".self_attn"):
            block = name.partition(".")[0]
            q, k, _ = module.project(given[0], given[1])
            seen[f"{block}.x_ref_attn_map"] = regions.attention_map(q, k)
            out, positions = out
            if positions is not None:
                seen[f"{block}.lrope_pos_q"] = positions
        seen[name] = out

    return hook


def recorded_noise(flat: Tensor) -> NoiseSource:
    """Hands out the recorded noise in the order of use, through all windows."""
    position = 0

    def draw(shape: tuple[int, ...]) -> Tensor:
        nonlocal position
        size = torch.Size(shape).numel()
        if position + size > flat.numel():
            raise AssertionError(f"more noise drawn than the {flat.numel()} recorded values")
        position += size
        return flat[position - size : position].view(shape)

    return lambda _window: draw


def guidance(case: dict) -> Guidance:
    projection = None
    if case.get("apg") is not None:
        momentum, threshold = case["apg"]
        projection = Projection(momentum=momentum, threshold=threshold)
    return Guidance(text_scale=case["tg"], audio_scale=case["ag"], projection=projection)


def end_to_end_request(folder: Path, name: str) -> RenderRequest:
    """Builds the request of a recorded run, with the published windows."""
    described = description(folder, "end_to_end")
    case, inputs = described["cases"][name], under(tensors(folder, "end_to_end"), f"{name}/in/")
    picture = inputs["image"].permute(2, 0, 1)
    height, width = case["img"]
    bucket = nearest_bucket(width, height, tiny_model_config(folder).buckets["480"])
    windows = tuple(ClipWindow(start=start, frames=end - start) for start, end in case["clips"])
    ids = described["token_ids"]
    prompt = next(value for key, value in ids.items() if key != "neg")
    boxes = None
    if "bbox" in case:
        boxes = pixel_boxes(case["bbox"][person] for person in sorted(case["bbox"]))
    return RenderRequest(
        picture=picture,
        height_px=bucket.height_px,
        width_px=bucket.width_px,
        voices=tuple(inputs[f"wave{person + 1}"] for person in range(case["humans"])),
        boxes=boxes,
        prompt_ids=tuple(prompt),
        negative_ids=tuple(ids["neg"]),
        fps=upstream.FPS,
        frames=case["out_shape"][1],
        windows=windows,
        motion_frames=described["motion_frame"],
        steps=case["steps"],
        shift=case["shift"],
        guidance=guidance(case),
        color_strength=case["color"],
        seed=case["seed"],
    )


@torch.inference_mode()
def with_published_tail(
    engine: Engine, prepared: EncodedInputs, is_clip_mode: bool
) -> EncodedInputs:
    """Gives the voices the published mirrored tail in place of our silence."""
    request = prepared.request
    frames = request.windows[0].frames
    limit = frames if is_clip_mode else 1000
    counts = [upstream.frame_count(len(wave)) for wave in request.voices if wave is not None]
    plan = upstream.schedule(counts, frames, request.motion_frames, limit)
    voices = tuple(
        embed_voice(engine.networks.wav2vec, normalize_wave(wave), count)[source]
        for wave, count, source in zip(request.voices, counts, plan.sources, strict=True)
    )
    return replace(prepared, voices=voices)


class Recording:
    """Stands before a network and keeps what one of its methods was given and gave."""

    def __init__(self, network: nn.Module, *methods: str) -> None:
        self._network = network
        self._methods = methods
        self.calls: list[tuple[str, tuple, object]] = []

    def __getattr__(self, name: str) -> object:
        attribute = getattr(self._network, name)
        if name not in self._methods:
            return attribute

        def call(*args):
            result = attribute(*args)
            self.calls.append((name, args, result))
            return result

        return call

    def given(self, method: str, position: int) -> list[Tensor]:
        return [args[position] for name, args, _ in self.calls if name == method]

    def gave(self, method: str) -> list:
        return [result for name, _, result in self.calls if name == method]


@functools.cache
def end_to_end(folder: Path, name: str) -> dict[str, Tensor]:
    """Makes a recorded run's video again; gives our tensors under the recorded names."""
    case = description(folder, "end_to_end")["cases"][name]
    networks = tiny_networks(folder)
    dit = Recording(networks.dit, "embed_latents", "velocity", "image_keys")
    vae = Recording(networks.vae, "decode_chunks")
    networks = replace(networks, dit=dit, vae=vae)
    noise = recorded_noise(tensors(folder, "end_to_end")[f"{name}/in/randn"])
    engine = Engine(networks, noise=lambda _seed: noise)
    prepared = engine.prepare(end_to_end_request(folder, name))
    ours = {
        "mid/ref_target_masks": _latent_masks(prepared.request),
        "mid/context": prepared.prompt,
        "mid/context_null": prepared.negative,
        **{f"mid/embedding{i + 1}": voice for i, voice in enumerate(prepared.voices)},
        "clip0/cond_pixels_first": prepared.picture[:, None],
    }
    prepared = with_published_tail(engine, prepared, case.get("clip_mode", False))
    for person, voice in enumerate(prepared.voices):
        ours[f"mid/embedding{person + 1}"] = voice[: case["frames"]]
    finished = [event for event in engine.render(prepared) if isinstance(event, WindowFinished)]
    with torch.inference_mode():
        uncolored = networks.vae.decode(vae.given("decode_chunks", 0)[0])[0]
    ours["clip0/decoded_before_color_last5"] = uncolored[:, -5:]
    ours["out/video"] = torch.cat([window.frames for window in finished], dim=1)
    ours["out/video_uint8"] = to_bytes(ours["out/video"])
    branches = len(case["branch_order"])
    latents, velocities = dit.given("embed_latents", 0), dit.gave("velocity")
    for clip in range(case["n_clips"]):
        first = clip * case["steps"] * branches
        last = first + case["steps"] * branches
        shape = (case["steps"], branches)
        ours[f"clip{clip}/latent_in"] = torch.stack(latents[first:last:branches])
        ours[f"clip{clip}/velocity"] = torch.stack(velocities[first:last]).unflatten(0, shape)
        ours[f"clip{clip}/y"] = dit.given("embed_latents", 1)[first][None]
        ours[f"clip{clip}/x0"] = vae.given("decode_chunks", 0)[clip][0]
        ours[f"clip{clip}/clip_fea"] = dit.given("image_keys", 0)[clip]
        ours[f"clip{clip}/t"] = step_times(case["steps"], case["shift"])[:-1]
    return ours


def _whole_masks(height: int, width: int) -> Tensor:
    """The masks of a picture with one person: everything is in every class."""
    return torch.ones(3, height, width, dtype=torch.uint8)


def _latent_masks(request: RenderRequest) -> Tensor:
    height, width = request.picture.shape[1:]
    if len(request.voices) == 1:
        masks = _whole_masks(height, width)
    elif request.boxes is None:
        masks = half_masks(height, width)
    else:
        masks = box_masks(height, width, request.boxes)
    return latent_masks(masks, (request.height_px, request.width_px))


def stub_run(folder: Path, name: str) -> dict[str, Tensor]:
    """Runs the loop on the recorded stub model; gives our tensors under the recorded names."""
    described, recorded = description(folder, "sampler"), tensors(folder, "sampler")
    run = described["runs"][name]
    noise = recorded_noise(recorded[f"{name}/randn"])
    times = step_times(run["steps"], run["shift"])
    shape = tuple(described["latent"])
    ours: dict[str, Tensor] = {}
    for clip in range(run["n_clips"]):
        entering: list[Tensor] = []

        def predict(branch: str, step: int, latents: Tensor, entering=entering) -> Tensor:
            a, b, c = described["coeffs"][branch]
            if branch == run["branch_order"][0]:
                entering.append(latents)
            wave = c * (times[step] / 1000) * recorded["in/B"]
            return a * latents + b * recorded["in/A"] + wave

        motion = recorded[f"{name}/clip{clip}/y"][0, 4:, : run["motion_latent_frames"]]
        guide = Guide(guidance=guidance(run))
        events = sample(predict, times, guide, noise(clip), shape, motion if clip > 0 else None)
        ours[f"clip{clip}/x0"] = [e for e in events if isinstance(e, StepDone)][-1].latents
        ours[f"clip{clip}/latent_in"] = torch.stack(entering)
        ours[f"clip{clip}/t"] = times[:-1]
    return ours


def published_windows(plan: upstream.Schedule, lengths: list[int], width: int) -> Tensor:
    """Gives which audio frame every window element shows, [clips, persons, frames, width]."""
    clips = []
    for clip, start in enumerate(plan.starts):
        is_last = clip == len(plan.starts) - 1
        persons = []
        for source, length in zip(plan.sources, lengths, strict=True):
            heard = source if is_last else source[:length]  # the tail is mirrored for the last
            around = window_features(heard[:, None, None], start, plan.frames, 5)[..., 0, 0]
            persons.append(around if width == 5 else around[:, 2:3])
        clips.append(torch.stack(persons))
    return torch.stack(clips)


def person_masks(sizes: dict) -> Tensor | None:
    """Gives our masks of a recorded case; None for boxes that we refuse or read differently."""
    height, width = sizes["img_hw"]
    if sizes["humans"] == 1:
        return _whole_masks(height, width)
    if "bbox" not in sizes:
        return half_masks(height, width, sizes.get("face_scale", DEFAULT_MARGIN))
    edges = list(sizes["bbox"].values())
    has_negative = any(edge < 0 for box in edges for edge in box)
    is_refused = min(sizes["latent_counts"]) == 0
    if has_negative or is_refused:
        return None
    return box_masks(height, width, pixel_boxes(edges))


def pixel_boxes(edges: Iterable[tuple[float, float, float, float]]) -> tuple[PixelBox, ...]:
    """Reads boxes as recorded: rows first."""
    return tuple(
        PixelBox(top=top, left=left, bottom=bottom, right=right)
        for top, left, bottom, right in edges
    )


def cache_decisions(folder: Path, run: dict) -> list[tuple[bool, float]]:
    """Decides every call of a recorded run from its series, with one decider per branch.

    Branches of one series take the same decision, so that one decider does for all of them.
    """
    recorded = tensors(folder, "teacache")
    settings = CacheSettings(
        threshold=run["thresh"], coefficients=COEFFICIENTS[run["model_scale"][-3:]]
    )
    deciders: dict[int, StepDecider] = {}
    rows = []
    for _, step, branch, *_ in run["rows"]:
        if step == 0:
            deciders[branch] = StepDecider(settings=settings)
        computed = deciders[branch].decide(_modulation(recorded, run, step, branch))
        rows.append((computed, deciders[branch].accumulated))
    return rows


def _modulation(recorded: dict[str, Tensor], run: dict, step: int, branch: int) -> Tensor:
    series = recorded[f"series/{run['series']}"][step]
    return series[branch] if run["series"] == "per_branch" else series


@torch.inference_mode()
def cached_outputs(folder: Path, run: dict) -> Tensor:
    """Runs the transformer with the step cache through a recorded run."""
    recorded, dit = tensors(folder, "teacache"), tiny_dit(folder)
    residuals, outputs = Residuals(), []
    decisions = cache_decisions(folder, run)
    for (_, step, branch, *_), (computed, _) in zip(run["rows"], decisions, strict=True):
        inputs = under(recorded, f"in/branch{branch}/")
        conditions = condition(dit, inputs, image_features(folder))
        time = dit.embed_time(inputs["t"])
        modulation = _modulation(recorded, run, step, branch).view(time.blocks.shape)
        time = time._replace(blocks=modulation)
        rotation, grid = dit.rotation(inputs["x"]), dit.grid(inputs["x"])
        x = residuals.run(
            str(branch),
            dit.embed_latents(inputs["x"], inputs["y"][0]),
            computed,
            lambda x, t=time, c=conditions, r=rotation: dit.run_blocks(x, t, c, r),
        )
        outputs.append(dit.velocity(x, time, grid))
    return torch.stack(outputs)


def merge_lora(model: nn.Module, lora: Mapping[str, Tensor], strength: float) -> LoraReport:
    """Adds a file's differences to the weights of a model, in place; returns the report."""
    weights = dict(model.named_parameters())
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    given = {name: tuple(tensor.shape) for name, tensor in lora.items()}
    plan = plan_lora(given, lora.__getitem__, shapes, strength)
    for _ in merged(weights.items(), [plan], torch.device("cpu")):
        pass
    return plan.report


def published_lora(lora: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What the published code reads of a file: see quirk 20 of the model's description."""
    ignored = (".alpha", ".lora_A.weight", ".lora_B.weight")
    return {
        key: value
        for key, value in lora.items()
        if key.startswith(PREFIX) and not key.endswith(ignored)
    }
