"""The published files: key names at full size, strictness, and what is refused."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from remote.engine.checkpoint import published as checkpoint_published
from remote.engine.checkpoint.published import (
    COMPONENTS,
    PublishedWeights,
    build,
    load_module,
    rename,
)
from remote.weights.config import PUBLISHED
from tests.engine import tiny
from tests.engine.published import write_published_checkpoint

RECORDED = {  # network -> sections of full_size_keys.json
    "dit": ("dit_wan_base", "dit_multitalk"),
    "vae": ("vae",),
    "clip": ("clip",),
    "wav2vec": ("wav2vec2_base_architecture_default_config",),
    "text": ("t5",),
}
GOLDEN = {
    "dit": "dit_single",
    "vae": "vae",
    "clip": "clip",
    "wav2vec": "audio_embedding",
    "text": "t5",
}
PATHS = {
    "vae": checkpoint_published.VAE_FILE,
    "clip": checkpoint_published.CLIP_FILE,
    "text": checkpoint_published.TEXT_FILE,
    "wav2vec": f"{checkpoint_published.WAV2VEC_FOLDER}/{checkpoint_published.WAV2VEC_FILE}",
    "dit": checkpoint_published.AUDIO_FILE,
}


@pytest.fixture
def config(golden_dir):
    return tiny.tiny_model_config(golden_dir)


@pytest.fixture
def published(golden_dir, tmp_path):
    return write_published_checkpoint(golden_dir, tmp_path / "published")


def _full_size_shapes(golden_dir, component):
    """Every published key with its shape; counts are checked against the recorded totals."""
    recorded = json.loads((golden_dir / "full_size_keys.json").read_text())
    shapes = {}
    for section in RECORDED[component]:
        before = len(shapes)
        for pattern, entry in recorded[section]["keys"].items():
            for i in range(entry.get("count", 1)):
                shapes[pattern.replace("{i}", str(i))] = tuple(entry["shape"])
            shapes |= {key: tuple(shape) for key, shape in entry.get("other_shapes", [])}
        assert len(shapes) - before == recorded[section]["n_keys"]
    return shapes


@pytest.mark.parametrize("component", COMPONENTS)
def test_full_size_keys_are_those_of_the_published_files(golden_dir, component):
    published = _full_size_shapes(golden_dir, component)
    renamed = {rename(component, key, PUBLISHED): shape for key, shape in published.items()}
    renamed.pop(None, None)
    ours = build(component, PUBLISHED).state_dict()
    assert renamed == {name: tuple(tensor.shape) for name, tensor in ours.items()}
    assert all(tensor.is_meta for tensor in ours.values())


def test_as_many_parameters_of_clip_are_needed_as_recorded(golden_dir):
    needed = sum(tensor.numel() for tensor in build("clip", PUBLISHED).state_dict().values())
    recorded = json.loads((golden_dir / "full_size_keys.json").read_text())["clip"]
    assert needed == recorded["n_params_visual_needed"]


def test_every_dropped_key_matches_a_rule_with_a_reason(golden_dir):
    dropped = [
        key
        for key in _full_size_shapes(golden_dir, "clip")
        if rename("clip", key, PUBLISHED) is None
    ]
    assert "visual.transformer.31.attn.proj.bias" in dropped
    assert "visual.transformer.30.attn.proj.bias" not in dropped
    assert all(rule.reason for rule in checkpoint_published.DROPPED)


@pytest.mark.parametrize("component", COMPONENTS)
def test_loads_the_recorded_weights_unchanged(golden_dir, published, config, component):
    module = build(component, config)
    with PublishedWeights(published, component, config) as weights:
        load_module(module, weights, torch.device("cpu"))
    recorded = tiny.weights(golden_dir, GOLDEN[component])
    renamed = {rename(component, key, config): value for key, value in recorded.items()}
    renamed.pop(None, None)
    state = module.state_dict()
    assert set(state) == set(renamed)
    assert all(torch.equal(state[name], value) for name, value in renamed.items())


@pytest.mark.parametrize("prefix", ["", "wav2vec2."])
def test_old_wav2vec_names_and_training_heads_are_understood(published, config, prefix):
    path = published / PATHS["wav2vec"]
    old = {
        prefix
        + key.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): value
        for key, value in load_file(path).items()
    }
    save_file(old | {"quantizer.codevectors": torch.zeros(2), "lm_head.bias": torch.zeros(2)}, path)
    with PublishedWeights(published, "wav2vec", config) as weights:
        assert weights.names() == list(build("wav2vec", config).state_dict())


def _change(path, change):
    is_pickle = path.suffix == ".pth"
    state = torch.load(path, weights_only=True) if is_pickle else load_file(path)
    change(state)
    torch.save(state, path) if is_pickle else save_file(state, path)


@pytest.mark.parametrize("component", COMPONENTS)
def test_missing_and_unexpected_keys_are_named(published, config, component):
    path = published / PATHS[component]
    removed = []

    def change(state):
        key = next(k for k in state if rename(component, k, config) is not None)
        removed.append(rename(component, key, config))
        state["stranger.weight"] = state.pop(key)

    _change(path, change)
    with pytest.raises(ValueError, match=r"unexpected keys \['stranger.weight'\]") as error:
        PublishedWeights(published, component, config)
    assert repr(removed[0]) in str(error.value)


def test_another_shape_is_refused_with_both_shapes(published, config):
    def change(state):
        state["conv2.bias"] = torch.zeros(3)

    _change(published / PATHS["vae"], change)
    with pytest.raises(ValueError, match=r"from_latents.bias has shape \(3,\).*\(16,\)"):
        PublishedWeights(published, "vae", config)


def test_a_key_in_two_files_is_refused(published, config):
    def change(state):
        state["head.head.bias"] = torch.zeros(64)

    _change(published / PATHS["dit"], change)
    with pytest.raises(ValueError, match=r"head\.head\.bias is in the published dit files twice"):
        PublishedWeights(published, "dit", config)


class _Code:
    def __reduce__(self):
        return print, ("this code ran",)


def test_code_in_a_pickled_file_is_not_run(published, config, capsys):
    torch.save({"conv1.weight": _Code()}, published / PATHS["vae"])
    words = r"VAE\.pth is damaged or holds more than tensors: Unsupported global: GLOBAL \S*print$"
    with pytest.raises(ValueError, match=words):
        PublishedWeights(published, "vae", config)
    assert "this code ran" not in capsys.readouterr().out


@pytest.mark.parametrize("size", [0, 100, -1])
def test_pickled_files_that_are_cut_are_named(published, config, size):
    path = published / PATHS["vae"]
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match=r"Wan2.1_VAE\.pth is damaged"):
        PublishedWeights(published, "vae", config)


@pytest.mark.parametrize("state", [[torch.zeros(1)], {"conv1.weight": "text"}])
def test_pickled_files_without_a_table_of_tensors_are_refused(published, config, state):
    torch.save(state, published / PATHS["vae"])
    with pytest.raises(ValueError, match=r"Wan2.1_VAE\.pth"):
        PublishedWeights(published, "vae", config)


@pytest.mark.parametrize("name", ["../x.safetensors", "/etc/passwd", "a\\b", ".."])
def test_an_index_that_leaves_its_folder_is_refused(published, config, name):
    index = {"weight_map": {"head.head.bias": name}}
    (published / checkpoint_published.BASE_INDEX).write_text(json.dumps(index))
    with pytest.raises(ValueError, match="no plain file name"):
        PublishedWeights(published, "dit", config)


@pytest.mark.parametrize("index", [[], {}, {"weight_map": 3}])
def test_an_index_without_a_map_is_refused(published, config, index):
    (published / checkpoint_published.BASE_INDEX).write_text(json.dumps(index))
    with pytest.raises(ValueError, match="no weight_map"):
        PublishedWeights(published, "dit", config)


def test_loading_names_what_is_missing(config):
    module = build("vae", config)
    tensors = [("from_latents.bias", torch.zeros(16)), ("stranger", torch.zeros(1))]
    with pytest.raises(ValueError, match=r"VAE: missing keys \['decoder.*\['stranger'\]"):
        load_module(module, tensors, torch.device("cpu"))
