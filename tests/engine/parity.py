"""The parity table: our error for every recorded quantity. Run `python -m tests.engine.parity`.

Every row's tolerance is that of the recordings' description, or tighter. Exact rows count the
values that differ.
"""

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from multitalk_cli.media.audio import loudness
from multitalk_cli.media.image.sizes import nearest_bucket
from remote.engine.checkpoint.published import build, rename
from remote.engine.networks.audio import (
    SAMPLE_RATE_HZ,
    normalize_wave,
    window_features,
)
from remote.engine.networks.image import fit_masks, fit_picture, to_signed
from remote.engine.networks.labels import key_positions
from remote.engine.networks.text import clean_text, position_buckets
from remote.engine.networks.wav2vec import embed_voice, resample_features
from remote.engine.sampling import masks as person_masks
from remote.engine.sampling.color import match_color
from remote.engine.sampling.schedule import step_times
from remote.weights.config import PUBLISHED
from tests.engine import cases, upstream
from tests.engine.tiny import description, tensors, tiny_dit, tiny_module, under
from tests.recordings import golden_folder

EXACT = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One compared quantity; error is the largest absolute difference unless the name says else."""

    file: str
    quantity: str
    error: float
    tolerance: float

    @property
    def is_within(self) -> bool:
        return self.error <= self.tolerance


def _error(ours: Tensor, recorded: Tensor) -> float:
    if ours.shape != recorded.shape:
        raise ValueError(f"ours is {tuple(ours.shape)}, recorded {tuple(recorded.shape)}")
    return (ours.double() - recorded.double()).abs().max().item()


def _differing(ours: Tensor, recorded: Tensor) -> float:
    if ours.shape != recorded.shape:
        return float(max(ours.numel(), recorded.numel()))
    return float((ours.long() != recorded.long()).sum())


def _relative(ours: Tensor, recorded: Tensor) -> float:
    return ((ours - recorded).norm() / recorded.norm()).item()


def _dit_tolerance(name: str) -> float:
    if name.endswith("x_ref_attn_map"):
        return 1e-7
    return 1e-4 if "lrope_pos" in name else 2e-5


def _middle_rows(file: str, ours: dict[str, Tensor], recorded: dict[str, Tensor]) -> Iterator[Row]:
    for name, wanted in under(recorded, "mid/").items():
        if name in ours:
            given = ours[name][:, : wanted.shape[1]] if name == "img_tokens" else ours[name]
            yield Row(
                file=file,
                quantity=f"mid/{name}",
                error=_error(given, wanted),
                tolerance=_dit_tolerance(name),
            )


def dit_single(folder: Path) -> Iterator[Row]:
    recorded = tensors(folder, "dit_single")
    inputs = under(recorded, "in/")
    ours = cases.intermediates(tiny_dit(folder), inputs, inputs["clip_fea"])
    yield from _middle_rows("dit_single", ours, recorded)
    error = _error(ours["velocity"], recorded["out/velocity"])
    yield Row(file="dit_single", quantity="out/velocity", error=error, tolerance=2e-5)


def dit_multi(folder: Path) -> Iterator[Row]:
    recorded = tensors(folder, "dit_multi")
    dit, features = tiny_dit(folder), cases.image_features(folder)
    inputs = under(recorded, "in/")
    ours = cases.intermediates(dit, inputs, features)
    ours["block0.lrope_pos_k"] = ours["block1.lrope_pos_k"] = key_positions(
        dit.config.audio_tokens, dit.config.class_range, dit.config.class_interval
    ).repeat(inputs["x"].shape[1])[: recorded["mid/block0.lrope_pos_k"].numel()]
    yield from _middle_rows("dit_multi", ours, recorded)
    silent = torch.zeros_like(inputs["audio"])[-1:]
    variants = {
        "velocity": ours["velocity"],
        "velocity_null_audio": cases.velocity(dit, inputs | {"audio": silent}, features),
        "velocity_persons_swapped": cases.velocity(
            dit, inputs | {"audio": inputs["audio"].flip(0)}, features
        ),
        "velocity_empty_background": cases.velocity_without_background(dit, inputs, features),
    }
    for name, given in variants.items():
        error = _error(given, recorded[f"out/{name}"])
        yield Row(file="dit_multi", quantity=f"out/{name}", error=error, tolerance=2e-5)


def dit_shapes(folder: Path) -> Iterator[Row]:
    recorded = tensors(folder, "dit_shapes")
    dit, features = tiny_dit(folder), cases.image_features(folder)
    for case in description(folder, "dit_shapes")["cases"]:
        ours = cases.intermediates(dit, under(recorded, f"{case}/in/"), features)
        for row in _middle_rows("dit_shapes", ours, under(recorded, f"{case}/")):
            yield Row(
                file=row.file,
                quantity=f"{case}/{row.quantity}",
                error=row.error,
                tolerance=row.tolerance,
            )
        error = _error(ours["velocity"], recorded[f"{case}/out/velocity"])
        yield Row(file="dit_shapes", quantity=f"{case}/velocity", error=error, tolerance=2e-5)


def dit_bf16(folder: Path) -> Iterator[Row]:
    dit, features = tiny_dit(folder, torch.bfloat16), cases.image_features(folder)
    recorded = tensors(folder, "dit_bf16")
    for case in ("single", "multi"):
        exact = tensors(folder, f"dit_{case}")
        ours = cases.velocity(dit, under(exact, "in/"), features)
        pairs = {"float32": exact["out/velocity"], "published bf16": recorded[f"{case}/velocity"]}
        for name, wanted in pairs.items():
            yield Row(
                file="dit_bf16",
                quantity=f"{case}, RMS relative to {name}",
                error=_relative(ours, wanted),
                tolerance=2e-2,
            )


@torch.inference_mode()
def audio_embedding(folder: Path) -> Iterator[Row]:
    described, recorded = description(folder, "audio_embedding"), tensors(folder, "audio_embedding")
    wav2vec, fps = tiny_module(folder, "wav2vec"), described["fps"]
    for case, sizes in described["embed"].items():
        wave = recorded[f"embed_{case}/in/wave"]
        frames = len(wave) * fps // SAMPLE_RATE_HZ
        normal = normalize_wave(wave)
        features = wav2vec.features(normal)
        ours = {
            "mid/input_values": normal,
            "mid/conv_features_50hz": features[None],
            "mid/conv_features_interp": resample_features(features, frames)[None],
            "out/embedding": embed_voice(wav2vec, normal, frames),
        }
        yield Row(
            file="audio_embedding",
            quantity=f"{case}/frames",
            error=abs(frames - sizes["frames"]),
            tolerance=EXACT,
        )
        for name, wanted in under(recorded, f"embed_{case}/").items():
            if name in ours:
                error = _error(ours[name], wanted)
                yield Row(
                    file="audio_embedding", quantity=f"{case}/{name}", error=error, tolerance=1e-4
                )
    yield from _window_rows(folder)
    yield from _loudness_rows(folder)


def _window_rows(folder: Path) -> Iterator[Row]:
    described, recorded = description(folder, "audio_embedding"), tensors(folder, "audio_embedding")
    features = recorded[described["windows"]["embedding"]]
    for case, (start, end) in described["windows"]["cases"].items():
        wanted = recorded[f"win_{case}/audio_embs"][0]
        ours = window_features(features, start, end - start, wanted.shape[1])
        yield Row(
            file="audio_embedding",
            quantity=f"windows {case}, values that differ",
            error=float((ours != wanted).sum()),
            tolerance=EXACT,
        )


def _loudness_rows(folder: Path) -> Iterator[Row]:
    described, recorded = description(folder, "audio_embedding"), tensors(folder, "audio_embedding")
    for case in described["loudness"]:
        if f"loud_{case}/in" in recorded:
            wave = recorded[f"loud_{case}/in"].numpy()
            ours, _ = loudness.normalize(wave, SAMPLE_RATE_HZ, described["lufs"])
            error = _error(torch.from_numpy(ours), recorded[f"loud_{case}/out"])
            yield Row(
                file="audio_embedding", quantity=f"loudness {case}", error=error, tolerance=1e-6
            )


def sampler(folder: Path) -> Iterator[Row]:
    described, recorded = description(folder, "sampler"), tensors(folder, "sampler")
    errors = []
    for name, wanted in under(recorded, "timesteps/").items():
        shift, steps = re.fullmatch(r"shift([\d.]+)_steps(\d+)", name).groups()
        errors.append(_error(step_times(int(steps), float(shift)), wanted))
    quantity = f"{len(errors)} lists of times, up to 1000"
    yield Row(file="sampler", quantity=quantity, error=max(errors), tolerance=1e-3)
    for name in described["runs"]:
        ours = cases.stub_run(folder, name)
        for quantity, given in ours.items():
            wanted = recorded[f"{name}/{quantity}"]
            yield Row(
                file="sampler",
                quantity=f"{name}/{quantity}",
                error=_error(given[: len(wanted)], wanted),
                tolerance=1e-3 if quantity.endswith("/t") else 2e-4,
            )


def streaming(folder: Path) -> Iterator[Row]:
    for case, sizes in description(folder, "streaming")["cases"].items():
        recorded = under(tensors(folder, "streaming"), f"{case}/")
        plan = upstream.schedule(
            sizes["audio_lens"], sizes["frame_num"], sizes["motion_frame"], sizes["max_frames_num"]
        )
        ours = cases.published_windows(plan, sizes["audio_lens"], recorded["windows"].shape[-1])
        differing = _differing(ours, recorded["windows"])
        differing += _differing(plan.frame_sources(), recorded["out_frame_source"])
        yield Row(
            file="streaming",
            quantity=f"{case}, windows and sources that differ",
            error=differing + abs(plan.out_frames - sizes["out_frames"]),
            tolerance=EXACT,
        )


def vae(folder: Path) -> Iterator[Row]:
    recorded, network = tensors(folder, "vae"), tiny_module(folder, "vae")
    frames = 4 * (recorded["enc_image_zeros13/out"].shape[1] - 1) + 1
    video = torch.zeros(3, frames, *recorded["enc_image_zeros13/in_image"].shape[2:])
    after_picture, after_motion = video.clone(), video.clone()
    after_picture[:, :1] = recorded["enc_image_zeros13/in_image"]
    after_motion[:, :5] = recorded["enc5/in"]
    ours = {
        "enc_image_zeros13/out": network.encode(after_picture[None])[0],
        "enc_motion5_zeros8/out": network.encode(after_motion[None])[0],
    }
    for name, given in recorded.items():
        if name.startswith("enc") and name.endswith("/in"):
            ours[name.replace("/in", "/out")] = network.encode(given[None])[0]
        elif name.startswith("dec") and name.endswith("/in"):
            ours[name.replace("/in", "/out")] = network.decode(given[None])[0]
    ours["roundtrip/out"] = network.decode(network.encode(recorded["enc9/in"][None]))[0]
    for name, given in ours.items():
        error = _error(given, recorded[name])
        yield Row(file="vae", quantity=name, error=error, tolerance=2e-5)


def t5(folder: Path) -> Iterator[Row]:
    recorded, encoder = tensors(folder, "t5"), tiny_module(folder, "text")
    for name, wanted in recorded.items():
        case, _, row = name.rpartition("/context")
        if case:
            ids, mask = (recorded[f"{case}/{part}"][int(row)] for part in ("ids", "mask"))
            error = _error(encoder(ids, mask), wanted)
            yield Row(file="t5", quantity=name, error=error, tolerance=2e-5)
    buckets = description(folder, "t5")["config"]["num_buckets"]
    differing = _differing(
        position_buckets(recorded["bucket/rel_pos"], buckets), recorded["bucket/bucket"]
    )
    yield Row(file="t5", quantity="buckets that differ", error=differing, tolerance=EXACT)
    examples = description(folder, "t5")["clean_whitespace"]
    differing = float(sum(clean_text(given) != wanted for given, wanted in examples))
    yield Row(file="t5", quantity="cleaned texts that differ", error=differing, tolerance=EXACT)


def clip(folder: Path) -> Iterator[Row]:
    recorded, encoder = tensors(folder, "clip"), tiny_module(folder, "clip")
    for name in (key.removesuffix("/in") for key in recorded if key.endswith("/in")):
        pixels = recorded[f"{name}/in"][:, :, 0]
        if name.startswith("big"):
            pixels = pixels.repeat_interleave(8, 2).repeat_interleave(8, 3)
        error = _error(encoder(pixels), recorded[f"{name}/out"])
        yield Row(file="clip", quantity=f"{name}/out", error=error, tolerance=5e-5)


def masks(folder: Path) -> Iterator[Row]:
    described, recorded = description(folder, "masks"), tensors(folder, "masks")
    for case, sizes in described["masks"].items():
        ours = cases.person_masks(sizes)
        if ours is None:
            continue
        on_latents = person_masks.latent_masks(ours, tuple(8 * n for n in sizes["latent_hw"]))
        on_tokens = person_masks.token_masks(on_latents, (2, 2))
        counts = torch.tensor(sizes["token_counts"])
        differing = _differing(on_latents, recorded[f"mask_{case}/latent"])
        differing += _differing(on_tokens.flatten(1).sum(dim=1), counts)
        if f"mask_{case}/token" in recorded:
            differing += _differing(on_tokens, recorded[f"mask_{case}/token"])
        quantity = f"{case}, grid points that differ"
        yield Row(file="masks", quantity=quantity, error=differing, tolerance=EXACT)
    yield from _resize_rows(folder)
    yield from _bucket_rows(folder)


def _resize_rows(folder: Path) -> Iterator[Row]:
    described, recorded = description(folder, "masks"), tensors(folder, "masks")
    for case, sizes in described["resize"].items():
        given = under(recorded, f"resize_{case}/")
        picture = fit_picture(given["in_image"].permute(2, 0, 1), *sizes["target"])
        error = _error(picture, given["out_uint8"][0, :, 0])
        yield Row(file="masks", quantity=f"resize {case}, levels", error=error, tolerance=EXACT)
        if "out_normalised" in given:
            error = _error(to_signed(picture), given["out_normalised"][0, :, 0])
            yield Row(file="masks", quantity=f"resize {case}, -1..1", error=error, tolerance=1e-6)
        differing = _differing(fit_masks(given["in_mask"], *sizes["target"]), given["out_mask"])
        yield Row(file="masks", quantity=f"resize {case}, mask", error=differing, tolerance=EXACT)


def _bucket_rows(folder: Path) -> Iterator[Row]:
    described = description(folder, "masks")
    for tier, picks in described["buckets"].items():
        wrong = 0
        for pick in picks:
            bucket = nearest_bucket(pick["w"], pick["h"], PUBLISHED.buckets[tier])
            wrong += [bucket.height_px, bucket.width_px] != pick["target_hw"]
        yield Row(file="masks", quantity=f"{tier}p picks that differ", error=wrong, tolerance=EXACT)


def color(folder: Path) -> Iterator[Row]:
    recorded = tensors(folder, "color")
    source, reference = recorded["in/source"][0], recorded["in/reference"][0, :, 0]
    for strength in description(folder, "color")["strengths"]:
        name = f"out/strength{strength:g}"
        error = _error(match_color(source, reference, strength), recorded[name][0])
        yield Row(file="color", quantity=name, error=error, tolerance=1e-4)


def teacache(folder: Path) -> Iterator[Row]:
    for name, run in description(folder, "teacache")["runs"].items():
        rows = run["rows"]
        ours = cases.cache_decisions(folder, run)
        columns = {"decisions that differ": (4, EXACT), "accumulator": (5, 1e-4)}
        for quantity, (column, tolerance) in columns.items():
            given = torch.tensor([float(row[column - 4]) for row in ours])
            wanted = torch.tensor([float(row[column]) for row in rows])
            error = _error(given, wanted)
            yield Row(
                file="teacache", quantity=f"{name}/{quantity}", error=error, tolerance=tolerance
            )
        if f"{name}/out" in tensors(folder, "teacache"):
            error = _error(
                cases.cached_outputs(folder, run), tensors(folder, "teacache")[f"{name}/out"]
            )
            yield Row(file="teacache", quantity=f"{name}/out", error=error, tolerance=5e-5)


def lora(folder: Path) -> Iterator[Row]:
    recorded = tensors(folder, "lora")
    known = cases.published_lora(load_file(folder / "lora_tiny.safetensors"))
    inputs = under(tensors(folder, "dit_single"), "in/")
    for name in sorted((key for key in recorded if key.endswith("/velocity")), key=len):
        dit = tiny_dit(folder)
        for parameter in dit.parameters():
            parameter.data = parameter.data.clone()
        for scale in re.findall(r"\d+\.\d+", name):
            cases.merge_lora(dit, known, float(scale))
        merged = name.replace("/velocity", "/").replace("out_", "merged_")
        state = dit.state_dict()
        errors = [_error(state[key], wanted) for key, wanted in under(recorded, merged).items()]
        if errors:
            yield Row(
                file="lora",
                quantity=f"{merged.rstrip('/')}, {len(errors)} weights",
                error=max(errors),
                tolerance=1e-6,
            )
        error = _error(cases.velocity(dit, inputs, inputs["clip_fea"]), recorded[name])
        yield Row(file="lora", quantity=name, error=error, tolerance=5e-5)


def end_to_end(folder: Path) -> Iterator[Row]:
    for case, sizes in description(folder, "end_to_end")["cases"].items():
        recorded = under(tensors(folder, "end_to_end"), f"{case}/")
        ours = cases.end_to_end(folder, case)
        for name, wanted in recorded.items():
            if name in ours:
                yield Row(
                    file="end_to_end",
                    quantity=f"{case}/{name}",
                    error=_error(ours[name], wanted),
                    tolerance=_end_to_end_tolerance(name, sizes["color"]),
                )


def _end_to_end_tolerance(name: str, color_strength: float) -> float:
    if name == "mid/ref_target_masks":
        return EXACT
    if name == "out/video_uint8":
        return 1.0  # a level: values on its border are cut to either side
    if name.startswith("mid/embedding"):
        return 1e-4
    if name.startswith(("mid/context", "clip0/cond_pixels")):
        return 2e-5
    return 1e-3 if name == "out/video" and color_strength >= 0.5 else 5e-4


def full_size_keys(folder: Path) -> Iterator[Row]:
    described = description(folder, "full_size_keys")
    components = {
        "dit": ("dit_wan_base", "dit_multitalk"),
        "vae": ("vae",),
        "clip": ("clip",),
        "text": ("t5",),
        "wav2vec": ("wav2vec2_base_architecture_default_config",),
    }
    for component, parts in components.items():
        published = {key: shape for part in parts for key, shape in _keys(described[part])}
        wanted = {rename(component, key, PUBLISHED): shape for key, shape in published.items()}
        dropped = wanted.pop(None, None)
        ours = {key: list(t.shape) for key, t in build(component, PUBLISHED).state_dict().items()}
        wrong = sum(ours.get(key) != wanted.get(key) for key in ours.keys() | wanted.keys())
        note = "" if dropped is None else ", after drops"
        yield Row(
            file="full_size_keys",
            quantity=f"{component}: {len(ours)} keys, shapes that differ{note}",
            error=wrong,
            tolerance=EXACT,
        )


def _keys(part: dict) -> Iterator[tuple[str, list[int]]]:
    for pattern, known in part["keys"].items():
        others = dict(known.get("other_shapes", ()))
        for index in range(known.get("count", 1)):
            key = pattern.replace("{i}", str(index))
            yield key, others.get(key, known["shape"])


FILES: dict[str, Callable[[Path], Iterator[Row]]] = {
    function.__name__: function
    for function in (
        dit_single, dit_multi, dit_shapes, dit_bf16, audio_embedding, sampler, streaming, vae,
        t5, clip, masks, color, teacache, lora, end_to_end, full_size_keys,
    )
}  # fmt: skip


def main() -> int:
    """Prints the table; gives 1 if any row is outside its tolerance."""
    folder = golden_folder()
    failed = 0
    print(f"{'file':16} {'quantity':58} {'error':>9} {'tolerance':>9}")
    for rows in FILES.values():
        for row in rows(folder):
            failed += not row.is_within
            mark = "" if row.is_within else "  <-- outside"
            print(f"{row.file:16} {row.quantity:58} {row.error:9.1e} {row.tolerance:9.1e}{mark}")
    print(f"{failed} outside their tolerance")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
