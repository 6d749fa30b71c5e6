"""Packs: what goes in comes out, byte for byte, and nothing else is believed."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from multitalk_cli.contract.codec import to_plain
from multitalk_cli.errors import SetupError
from remote.engine.checkpoint import published as checkpoint_published
from remote.engine.checkpoint.published import COMPONENTS, PublishedWeights
from remote.engine.checkpoint.tensorfile import TensorFile, TensorInfo
from remote.engine.kernels import quantize
from remote.engine.networks.text import load_tokenizer, tokenize
from remote.weights import manifest as weights_manifest
from remote.weights.manifest import STORED_TYPES, is_intact, load_manifest, verify_pack
from remote.weights.pack import PlannedFile, pack, write_file
from remote.weights.read import open_pack
from tests.engine import tiny
from tests.engine.published import write_published_checkpoint

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
SMALL_FILE = 200_000  # bytes; divides every network but the tokenizer's into several files


@pytest.fixture(scope="module")
def config(golden_dir):
    return tiny.tiny_model_config(golden_dir)


@pytest.fixture(scope="module")
def published(golden_dir, tmp_path_factory):
    return write_published_checkpoint(golden_dir, tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def packs(published, config, tmp_path_factory):
    folders = {}
    for precision in STORED_TYPES:
        folders[precision] = tmp_path_factory.mktemp(precision)
        pack(published, folders[precision], precision, config, max_file_bytes=SMALL_FILE)
    return folders


def _published(published, component, config):
    with PublishedWeights(published, component, config) as source:
        return dict(source)


@pytest.mark.parametrize("component", COMPONENTS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_tensors_come_back_identical(published, config, packs, precision, component):
    state = open_pack(packs[precision]).load(component, CPU).state_dict()
    dtype = STORED_TYPES[precision][component]
    wanted = _published(published, component, config)
    assert list(state) == list(wanted)
    for name, tensor in wanted.items():
        assert state[name].dtype == dtype
        assert torch.equal(state[name], tensor.to(dtype))


def test_an_fp8_pack_holds_the_listed_layers_in_8_bits(packs):
    stored = dict(open_pack(packs["fp8"]).tensors("dit", CPU))
    eight = {name for name, tensor in stored.items() if tensor.dtype == quantize.FP8}
    layers = {name.split(".", 2)[2].removesuffix(".weight") for name in eight}
    assert layers == set(quantize.FP8_LAYERS)
    for name in eight:
        assert stored[quantize.scale_name(name)].dtype == torch.float32
        assert stored[quantize.scale_name(name)].shape == (stored[name].shape[0], 1)


def test_an_fp8_pack_is_close_and_smaller(published, config, packs):
    wanted = _published(published, "dit", config)
    module = open_pack(packs["fp8"]).load("dit", CPU)
    for name, tensor in module.state_dict().items():
        assert tensor.dtype == torch.bfloat16
        error = (tensor.float() - wanted[name]).norm() / wanted[name].norm()
        assert error < (0.04 if quantize.is_fp8_weight(name) else 0.003)
    sizes = {precision: load_manifest(packs[precision]).size_bytes for precision in packs}
    assert sizes["fp8"] < sizes["bf16"] < sizes["fp32"]


def test_rows_of_zeros_stay_zero_in_8_bits():
    weight = torch.tensor([[0.0, 0.0], [1e-30, 0.0], [3e4, -1.0]])
    quantized, scale = quantize.quantize_rows(weight)
    back = quantize.dequantize_rows(quantized, scale)
    assert back.isfinite().all()
    torch.testing.assert_close(back, weight, rtol=0.07, atol=10.0)


def test_files_stay_below_the_limit_in_block_order(packs, config):
    manifest = load_manifest(packs["bf16"])
    files = manifest.files_of("dit")
    assert len(files) > 3
    assert all(file.size_bytes <= SMALL_FILE for file in files)
    names = []
    for file in files:
        with TensorFile(packs["bf16"] / file.name) as opened:
            names += list(opened.infos)
    assert names == list(checkpoint_published.build("dit", config).state_dict())


def test_a_loaded_module_takes_the_wanted_type(packs):
    vae = open_pack(packs["bf16"]).load("vae", CPU, torch.float16)
    assert {parameter.dtype for parameter in vae.parameters()} == {torch.float16}


def test_the_manifest_carries_the_sizes_and_the_buckets(packs, config):
    manifest = load_manifest(packs["bf16"])
    assert manifest.config == config
    assert manifest.precision == "bf16"


def test_revisions_tell_weights_apart(packs, published, config, tmp_path):
    again = pack(published, tmp_path, "bf16", config, max_file_bytes=SMALL_FILE)
    revisions = {load_manifest(folder).revision for folder in packs.values()}
    assert len(revisions) == 3
    assert again.revision == load_manifest(packs["bf16"]).revision


def test_tokenizer_and_wav2vec_settings_travel(packs, golden_dir):
    text, ids = next(iter(tiny.description(golden_dir, "end_to_end")["token_ids"].items()))
    assert tokenize(load_tokenizer(packs["bf16"], 20), text) == ids
    recorded = tiny.description(golden_dir, "audio_embedding")["config"]
    assert json.loads((packs["bf16"] / "wav2vec2.config.json").read_text()) == recorded


def test_sources_travel(golden_dir, config, tmp_path):
    source = write_published_checkpoint(golden_dir, tmp_path / "source")
    files = [
        {"repo": "a/b", "revision": "c" * 40, "path": "x", "size_bytes": 3, "sha256": "0" * 64}
    ]
    (source / weights_manifest.SOURCES_FILE).write_text(json.dumps({"files": files}))
    pack(source, tmp_path / "target", "bf16", config)
    (entry,) = load_manifest(tmp_path / "target").sources
    assert to_plain(entry) == files[0]


def _read_characters() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(lines[0].removeprefix("rchar: "))


@pytest.mark.skipif(not Path("/proc/self/io").is_file(), reason="counts reads through /proc")
def test_loading_reads_each_byte_of_the_networks_files_once(packs):
    opened = open_pack(packs["bf16"])
    opened.load("wav2vec", CPU)  # imports what it needs
    opened = open_pack(packs["bf16"])
    before = _read_characters()
    for component in COMPONENTS[:-1]:
        opened.load(component, CPU)
    read = _read_characters() - before
    packed = sum(f.size_bytes for name in COMPONENTS[:-1] for f in opened.manifest.files_of(name))
    assert opened.bytes_read == packed
    assert packed <= read <= packed * 1.01 + 4096


PEAK = """
import sys
from pathlib import Path
import torch
from remote.weights.read import open_pack

def status(field):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024

pack = open_pack(Path(sys.argv[1]))
pack.load("clip", torch.device("meta"))  # imports what it needs
Path("/proc/self/clear_refs").write_text("5")
before = status("VmRSS")
pack.load("text", torch.device("meta"))
print(status("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="measures through /proc")
def test_loading_to_another_device_holds_at_most_one_file(golden_dir, config, tmp_path):
    # above 32 MiB a tensor, the C library gives its memory back as soon as it is freed
    text = dataclasses.replace(config.text, vocabulary=270_000, ffn_dim=270_000, layers=1)
    large = dataclasses.replace(config, text=text)
    source = write_published_checkpoint(golden_dir, tmp_path / "source")
    recorded = tiny.weights(golden_dir, "t5")
    state = {key: value for key, value in recorded.items() if not key.startswith("blocks.1.")}
    state |= {"token_embedding.weight": torch.rand(text.vocabulary, text.dim)}
    for key in [key for key in state if ".ffn." in key]:
        shape = (text.dim, text.ffn_dim) if ".fc2." in key else (text.ffn_dim, text.dim)
        state[key] = torch.rand(shape)
    torch.save(state, source / checkpoint_published.TEXT_FILE)
    manifest = pack(source, tmp_path / "pack", "fp32", large, max_file_bytes=36_000_000)
    files = manifest.files_of("text")
    assert len(files) >= 4
    script = [sys.executable, "-c", PEAK, str(tmp_path / "pack")]
    peak = int(subprocess.run(script, check=True, capture_output=True, text=True).stdout)
    assert peak <= 1.1 * max(file.size_bytes for file in files)


def test_a_stopped_pack_goes_on_where_it_was(published, config, packs, tmp_path):
    class Stop(Exception):
        pass

    def stop(*step):
        if step[2] == "dit-003.safetensors":
            raise Stop

    with pytest.raises(Stop):
        pack(published, tmp_path, "bf16", config, stop, max_file_bytes=SMALL_FILE)
    assert not (tmp_path / weights_manifest.MANIFEST_FILE).exists()
    (tmp_path / "dit-002.safetensors").write_bytes(b"damaged")
    stamps = {name: (tmp_path / name).stat().st_mtime_ns for name in ("dit-001.safetensors",)}
    manifest = pack(published, tmp_path, "bf16", config, max_file_bytes=SMALL_FILE)
    assert manifest == load_manifest(packs["bf16"])
    assert all((tmp_path / name).stat().st_mtime_ns == stamp for name, stamp in stamps.items())
    assert verify_pack(tmp_path, manifest) == []
    assert {path.name for path in tmp_path.iterdir()} == {
        weights_manifest.MANIFEST_FILE,
        *(file.name for file in manifest.files),
    }


@pytest.mark.parametrize(("is_staged", "growing"), [(True, []), (False, ["vae-001.part"])])
def test_a_staged_file_does_not_grow_in_its_folder(tmp_path, is_staged, growing):
    plan = PlannedFile(component="vae", name="vae-001")
    plan.infos["x"] = TensorInfo(dtype=torch.uint8, shape=(1000,))
    seen = []

    def tensors():
        seen.extend(path.name for path in tmp_path.iterdir())
        yield torch.ones(1000, dtype=torch.uint8)

    packed = write_file(tmp_path, plan, tensors(), is_staged=is_staged)

    assert seen == growing
    assert [path.name for path in tmp_path.iterdir()] == ["vae-001"]
    assert is_intact(tmp_path / "vae-001", packed.size_bytes, packed.sha256)


def test_a_staged_pack_is_the_same(published, config, packs, tmp_path):
    manifest = pack(published, tmp_path, "bf16", config, max_file_bytes=SMALL_FILE, is_staged=True)

    assert manifest == load_manifest(packs["bf16"])
    assert verify_pack(tmp_path, manifest) == []


def test_progress_ends_at_the_whole(published, config, tmp_path):
    seen = []
    pack(published, tmp_path, "fp8", config, lambda *step: seen.append(step), SMALL_FILE)
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)
    assert seen[-1][0] == seen[-1][1]
    begun, *within = (done for done, _, name in seen[: seen.index(_first_finished(seen))])
    assert begun == 0 < within[0] < within[-1]


def _first_finished(seen):
    return next(step for step in seen if step[2])


def test_verifying_names_damaged_and_absent_files(published, config, tmp_path):
    manifest = pack(published, tmp_path, "bf16", config)
    path = tmp_path / "vae-001.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    (tmp_path / "clip-001.safetensors").unlink()
    assert verify_pack(tmp_path, manifest) == ["vae-001.safetensors", "clip-001.safetensors"]


def test_files_of_another_size_are_found_on_opening(published, config, tmp_path):
    pack(published, tmp_path, "bf16", config)
    path = tmp_path / "vae-001.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"vae-001\.safetensors has \d+ bytes"):
        open_pack(tmp_path)
    path.unlink()
    with pytest.raises(ValueError, match=r"vae-001\.safetensors is absent"):
        open_pack(tmp_path)


def test_other_wav2vec_settings_are_refused(golden_dir, config, tmp_path):
    source = write_published_checkpoint(golden_dir, tmp_path / "source")
    path = source / checkpoint_published.WAV2VEC_FOLDER / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"do_stable_layer_norm": True}))
    with pytest.raises(ValueError, match="do_stable_layer_norm True instead of False"):
        pack(source, tmp_path / "target", "bf16", config)


def test_weights_of_other_sizes_are_refused(published, config, tmp_path):
    other = dataclasses.replace(config, vae=dataclasses.replace(config.vae, dim=8))
    with pytest.raises(ValueError, match="has shape"):
        pack(published, tmp_path, "bf16", other)


def _set(path, value):
    def change(data):
        for key in path[:-1]:
            data = data[key]
        data[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set(["format_version"], 3), "format 3"),
        (_set(["format_version"], None), "format None"),
        (_set(["precision"], "int4"), "int4"),
        (_set(["files", 0, "name"], "../../x.safetensors"), "not a plain file name"),
        (_set(["files", 0, "name"], "a/b.safetensors"), "not a plain file name"),
        (_set(["files", 0, "name"], ".."), "not a plain file name"),
        (_set(["files", 0, "name"], "manifest.json"), "not a plain file name"),
        (_set(["files", 0, "name"], "other.safetensors"), "dit files"),
        (_set(["files", 0, "component"], "code"), "not a network"),
        (_set(["files", 0, "size_bytes"], -1), "-1 bytes"),
        (_set(["files", 0, "size_bytes"], "9"), "size_bytes"),
        (_set(["files", 0, "sha256"], "xyz"), "not a sha256"),
        (_set(["files"], {}), "must be a list"),
        (_set(["index"], {}), "missing keys"),
        (_set(["index", "vae", "extra"], "gone.safetensors"), "gone.safetensors"),
        (_set(["config", "dit", "heads"], 5), "heads"),
        (_set(["surprise"], 1), "surprise"),
        (lambda data: data["files"].append(data["files"][0]), "twice"),
    ],
)
def test_manifests_that_do_not_fit_are_refused(packs, tmp_path, change, message):
    data = json.loads((packs["bf16"] / weights_manifest.MANIFEST_FILE).read_text())
    change(data)
    (tmp_path / weights_manifest.MANIFEST_FILE).write_text(json.dumps(data))
    with pytest.raises(ValueError, match=message):
        load_manifest(tmp_path)


@pytest.mark.parametrize("text", ["", "[1]", "[" * 100_000, "null"])
def test_manifests_that_are_no_table_are_refused(tmp_path, text):
    (tmp_path / weights_manifest.MANIFEST_FILE).write_text(text)
    with pytest.raises(ValueError, match=r"JSON|must be a mapping"):
        load_manifest(tmp_path)


def test_tensors_that_the_index_does_not_name_are_refused(published, config, tmp_path):
    pack(published, tmp_path, "bf16", config)
    path = tmp_path / weights_manifest.MANIFEST_FILE
    data = json.loads(path.read_text())
    data["index"]["vae"].pop("from_latents.bias")
    path.write_text(json.dumps(data))
    with pytest.raises(SetupError, match=r"vae-001\.safetensors.*from_latents\.bias") as caught:
        open_pack(tmp_path).load("vae", CPU)
    assert caught.value.hint == "multitalk download --repair"
