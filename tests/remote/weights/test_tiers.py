"""Tiers and LoRAs of a pack: how they are loaded, changed in a warm process, and given up."""

import gc
import hashlib
import json
import shutil
import weakref
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from multitalk_cli import contract
from multitalk_cli.contract.codec import to_plain
from multitalk_cli.contract.loras import KNOWN_LORAS, STEP_LORA
from multitalk_cli.errors import FileError
from remote.engine.kernels import quantize
from remote.engine.networks.eight import layers_of
from remote.engine.tiers import NEAR, TIERS
from remote.service import run
from remote.service.decode import decode_request
from remote.service.store import DirectoryStore
from remote.weights import loras
from remote.weights import read as weights_read
from remote.weights.manifest import sha256_of
from remote.weights.model import PackedModel
from remote.weights.pack import pack
from tests.engine import tiny
from tests.engine.published import write_published_checkpoint
from tests.remote.requests import frames_of, open_model, tiny_request, voice

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
KNOWN = KNOWN_LORAS[STEP_LORA]
OF_KNOWN = f"https://hub.example/{KNOWN.repository}/resolve/abc/{KNOWN.file}"
DIM = 112


def test_the_contract_names_the_tiers_of_the_engine():
    assert tuple(TIERS) == contract.TIERS


@pytest.fixture
def weights(tiny_pack, tmp_path):
    """A folder of weights with that pack, for LoRAs of its own."""
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "pack").symlink_to(tiny_pack, target_is_directory=True)
    return folder


def keep_lora(weights, name, address="https://host.example/a.safetensors", **changes):
    tensors = {
        "diffusion_model.blocks.0.self_attn.q.lora_down.weight": torch.ones(2, DIM) * 0.1,
        "diffusion_model.blocks.0.self_attn.q.lora_up.weight": torch.ones(DIM, 2) * 0.1,
        "diffusion_model.blocks.0.diff_m": torch.full((6, DIM), 0.1),
    }
    place = weights / "loras"
    place.mkdir(exist_ok=True)
    path = place / f"{name}.safetensors"
    save_file(tensors | changes, path)
    lora = loras.Lora(
        name=name,
        address=address,
        licence="",
        size_bytes=path.stat().st_size,
        sha256=sha256_of(path),
    )
    manifest = {"format_version": 1, "loras": [to_plain(lora)]}
    (place / "manifest.json").write_text(json.dumps(manifest))


def make(model, store, **changes):
    """The last event and the frames of a video of one window."""
    job_id = hashlib.sha256(repr(changes).encode()).hexdigest()[:16]
    request = tiny_request(1, job_id=job_id, sample_steps=1, **changes)
    *_, last = run.run(request, model, store, backend="local")
    video = store.load(request.job_id, "video.mp4")
    return last, None if video is None else frames_of(video)


def only_one_at_a_time(monkeypatch):
    """Fails where a transformer is read while another one is in memory; gives those read."""
    load, made = weights_read.Pack.load_transformer, []

    def checked(self, *args, **options):
        gc.collect()
        assert [each() for each in made] == [None] * len(made)
        dit = load(self, *args, **options)
        made.append(weakref.ref(dit))
        return dit

    monkeypatch.setattr(weights_read.Pack, "load_transformer", checked)
    return made


def test_a_warm_model_changes_its_tier_and_reads_the_transformer_alone(
    weights, tmp_path, monkeypatch
):
    model, read = open_model(weights / "pack"), []
    transformers = only_one_at_a_time(monkeypatch)
    load = weights_read.Pack.load

    def noting(self, *args):
        read.append(args[0])
        return load(self, *args)

    monkeypatch.setattr(weights_read.Pack, "load", noting)
    frames, tiers = [], []
    for number, tier in enumerate(("exact", "near", "turbo", "exact")):
        done, made = make(model, DirectoryStore(tmp_path / str(number)), tier=tier)
        assert done.result.warnings == ()
        assert json.loads(done.result.recipe)["engine"]["tier"] == tier
        frames.append(made)
        tiers.append(layers_of(model.engine.networks.dit.blocks[1]))
    assert [set(each) for each in tiers] == [
        set(TIERS[name].layers) for name in ("exact", "near", "turbo", "exact")
    ]
    assert (frames[0] == frames[3]).all()
    assert (frames[0] != frames[1]).any()
    assert len(transformers) == 4
    assert read.count("vae") == 1
    assert list(model.load()) == []


def test_a_lora_is_merged_before_weights_are_quantised(weights, store):
    keep_lora(weights, "mine")
    model, use = open_model(weights / "pack"), contract.LoraChoice(name="mine", strength=0.5)
    plain, first = make(model, store)
    plain_weight = model.engine.networks.dit.blocks[0].self_attn.q.weight.clone()
    done, second = make(model, store, loras=(use,))
    merged = model.engine.networks.dit.blocks[0].self_attn.q.weight
    torch.testing.assert_close(merged, plain_weight + 0.5 * 0.02)
    assert (plain.kind, done.kind, done.result.warnings) == ("done", "done", ())
    assert (first != second).any()
    (name,) = model.machine.loras
    assert json.loads(done.result.recipe)["work"]["lora_keys"] == 3
    assert name.startswith("mine:0.5 ")
    make(model, store, loras=(use,), tier="near")
    layer = model.engine.networks.dit.blocks[0].self_attn.q
    wanted, scale = quantize.quantize_rows(merged)
    assert torch.equal(layer.weight.float(), wanted.float())
    assert torch.equal(layer.scale, scale)


def test_unused_keys_are_told_of_other_files_each_time(weights, store):
    keep_lora(weights, "mine", unknown=torch.ones(1))
    model, use = open_model(weights / "pack"), contract.LoraChoice(name="mine")
    cold, _ = make(model, store, loras=(use,))
    warm, _ = make(model, store, loras=(use,), seed=3)
    told = ("LoRA mine: 1 of its keys are not used, for example unknown",)
    assert (cold.result.warnings, warm.result.warnings) == (told, told)


def test_another_file_of_the_same_name_is_merged_anew(weights, store, tmp_path):
    """Of a Volume a container sees what was there as it began, until it looks again."""
    keep_lora(weights, "mine")
    new = tmp_path / "new"
    (new / "loras").mkdir(parents=True)
    keep_lora(new, "mine", **{"diffusion_model.blocks.0.diff_m": torch.full((6, DIM), 1.0)})

    def refresh():
        if is_replaced:
            shutil.copytree(new / "loras", weights / "loras", dirs_exist_ok=True)

    is_replaced, use = False, contract.LoraChoice(name="mine")
    model = PackedModel(weights / "pack", "cpu", refresh=refresh)
    make(model, store, loras=(use,))
    before = model.engine.networks.dit.blocks[0].modulation.clone()
    is_replaced = True
    done, _ = make(model, store, loras=(use,), seed=3)
    added = model.engine.networks.dit.blocks[0].modulation - before

    torch.testing.assert_close(added, torch.full_like(added, 0.9))
    assert json.loads(done.result.recipe)["engine"]["loras"] == model.machine.loras[0]


@pytest.mark.long
def test_gated_windows_of_101_frames_resume_as_one_run(weights, tmp_path):
    """As of the preset balanced, with the longest window that speech may have for its price."""
    windows = tuple(contract.Window(start=start, frames=101) for start in (0, 76))
    request = replace(
        tiny_request(1, sample_steps=3, tier="near", text_steps=1, motion_frames=25),
        windows=windows,
        frames=176,
        speakers=(contract.Speaker(audio=voice(176)),),
        sound=voice(176),
    )
    model, videos = open_model(weights / "pack"), []
    for name in ("whole", "stopped"):
        jobs = DirectoryStore(tmp_path / name)
        if name == "stopped":
            with closing(run.run(request, model, jobs, backend="local")) as events:
                next(event for event in events if isinstance(event, contract.WindowDone))
        *_, done = run.run(request, model, jobs, backend="local")
        videos.append(frames_of(jobs.load(request.job_id, "video.mp4")))

    assert done.result.adjusted == ("resumed after window 1 of 2, kept from an earlier run",)
    assert json.loads(done.result.recipe)["work"] == {
        "forwards": 14, "forwards_gated": 4, "eight_bit": "computed",
    }  # fmt: skip
    assert len(videos[0]) == 176
    assert (videos[0] == videos[1]).all()


def test_a_damaged_pack_ends_the_job_with_what_mends_it(tiny_pack, store, tmp_path):
    folder = Path(shutil.copytree(tiny_pack, tmp_path / "my weights" / "pack"))
    (file, *_) = folder.glob("dit-*.safetensors")
    file.write_bytes(file.read_bytes().replace(b'{"', b"xx", 1))

    failed, _ = make(open_model(folder), store)

    assert (failed.kind, failed.code) == ("failed", "E_WEIGHTS")
    assert failed.hint == f"multitalk download --to '{folder.parent}' --repair"


@pytest.mark.parametrize(
    ("name", "address", "changes", "message"),
    [
        (STEP_LORA, OF_KNOWN, {"unknown": torch.ones(1)}, "1 of its keys are not used"),
        (STEP_LORA, "https://hub.example/a/b/resolve/c/d.safetensors", {}, "is not wan2.1_i2v"),
        ("mine", OF_KNOWN, {"blocks.0.norm3.diff": torch.ones(3)}, "do not fit blocks.0.norm3"),
        ("another", OF_KNOWN, {}, "the LoRA mine is not in the folder"),
    ],
)
def test_a_lora_that_cannot_be_used_ends_the_job_alone(
    weights, store, name, address, changes, message
):
    keep_lora(weights, name, address, **changes)
    asked = "mine" if name == "another" else name
    model = open_model(weights / "pack")
    failed, _ = make(model, store, loras=(contract.LoraChoice(name=asked),))
    assert (failed.kind, failed.code) == ("failed", "E_LORA")
    assert message in failed.message
    if name == STEP_LORA:
        assert failed.hint == f"multitalk download --to {weights} --lora {STEP_LORA}"
    list(model.load())
    assert model.machine.loras == ()


def test_a_lora_that_was_added_since_is_found(weights, store):
    added = []

    def refresh():
        added.append("mine")
        keep_lora(weights, "mine")

    model = PackedModel(weights / "pack", "cpu", None, refresh)
    done, _ = make(model, store, loras=(contract.LoraChoice(name="mine"),))
    assert (done.kind, added) == ("done", ["mine"])


def test_a_known_file_is_used_whole(weights, store):
    keep_lora(weights, STEP_LORA, OF_KNOWN)
    done, _ = make(
        open_model(weights / "pack"), store, loras=(contract.LoraChoice(name=STEP_LORA),)
    )
    assert done.result.warnings == ()


def test_values_that_are_no_numbers_are_made_in_a_more_exact_tier(weights, tmp_path, monkeypatch):
    model, transformers = open_model(weights / "pack"), only_one_at_a_time(monkeypatch)
    exact, frames = make(model, DirectoryStore(tmp_path / "exact"), tier="exact")
    request = decode_request(tiny_request(1, tier="near"), model.tokenize)
    list(model.load(request))
    layer = model.engine.networks.dit.blocks[0].ffn[2]
    layer.scale = torch.full_like(layer.scale, torch.nan)
    del layer
    done, made = make(model, DirectoryStore(tmp_path / "near"), tier="near")
    (warning,) = done.result.warnings
    assert "near failed" in warning
    assert "made in exact from there on" in warning
    assert (made == frames).all()
    assert exact.result.warnings == ()
    assert model.machine.tier == "exact"
    assert len(transformers) == 3


def test_a_device_without_8_bits_makes_the_exact_video_and_says_so(weights, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("no such instruction")

    _, frames = make(open_model(weights / "pack"), DirectoryStore(tmp_path / "exact"))
    monkeypatch.setattr(torch, "_scaled_mm", fail)
    done, made = make(open_model(weights / "pack"), DirectoryStore(tmp_path / "near"), tier="near")
    (warning,) = done.result.warnings
    assert warning.startswith("made in exact: near: 8-bit products do not run here: no such")
    assert json.loads(done.result.recipe)["engine"]["tier"] == "exact"
    assert (made == frames).all()


@pytest.fixture(scope="module")
def small_pack(golden_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fp8")
    source = write_published_checkpoint(golden_dir, folder / "published")
    pack(source, folder / "pack", "fp8", tiny.tiny_model_config(golden_dir))
    return folder / "pack"


def test_weights_that_are_stored_in_8_bits_stay_as_they_are(small_pack):
    opened = weights_read.open_pack(small_pack)
    stored = dict(opened.tensors("dit", CPU))
    dit = opened.load_transformer(CPU, torch.float32, layers=NEAR.layers)
    state = dit.state_dict()
    names = [name for name in stored if quantize.is_fp8_weight(name)]
    assert len(names) == 6 * dit.config.layers
    for name in names:
        assert torch.equal(state[name].view(torch.uint8), stored[name].view(torch.uint8))
        assert torch.equal(state[quantize.scale_name(name)], stored[quantize.scale_name(name)])


def test_a_lora_is_refused_for_weights_that_are_stored_in_8_bits(small_pack):
    with pytest.raises(FileError, match="this pack has 8-bit ones"):
        weights_read.open_pack(small_pack).load_transformer(CPU, loras=[SimpleNamespace()])
