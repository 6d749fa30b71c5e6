"""A pack as a model: what is read when, on which device, and what is kept of prompts."""

import pytest
import torch

from multitalk_cli import contract
from multitalk_cli.errors import RefusedError, SetupError
from remote.engine.checkpoint.published import COMPONENTS
from remote.engine.errors import BackendUnavailableError
from remote.service import run
from remote.service.decode import decode_request
from remote.service.store import DirectoryStore
from remote.weights import model as weights_model
from remote.weights import read as weights_read
from remote.weights.device import choose_device
from remote.weights.feature_cache import FeatureFolder
from tests.remote.requests import frames_of, open_model, tiny_request

NAME = "ab" * 32


@pytest.fixture
def read(monkeypatch):
    """The networks that are read, in order."""
    networks = []
    load = weights_read.Pack.load

    def noting(self, component, *args):
        networks.append(component)
        return load(self, component, *args)

    def noting_transformer(self, *args, **options):
        networks.append("dit")
        return load_transformer(self, *args, **options)

    load_transformer = weights_read.Pack.load_transformer
    monkeypatch.setattr(weights_read.Pack, "load", noting)
    monkeypatch.setattr(weights_read.Pack, "load_transformer", noting_transformer)
    return networks


def test_weights_are_read_once_and_told(tiny_pack, read):
    model = open_model(tiny_pack)
    assert read == []
    events = list(model.load())
    assert events[-1].done_bytes == events[-1].total_bytes
    done = [event.done_bytes for event in events]
    assert done == sorted(done)
    assert set(read) == set(COMPONENTS) - {"text"}
    assert list(model.load()) == []
    assert len(read) == len(COMPONENTS) - 1


def test_closing_stops_the_reading(tiny_pack, monkeypatch):
    monkeypatch.setattr(weights_model, "_REPORT_S", 0)
    model = open_model(tiny_pack)
    events = model.load()
    next(events)
    events.close()
    with pytest.raises(ValueError, match="not loaded"):
        _ = model.machine
    assert list(model.load())[-1].done_bytes > 0
    assert model.machine.gpu == "cpu"


def test_the_text_encoder_is_read_for_new_prompts_only(tiny_pack, read, tmp_path):
    features = FeatureFolder(tmp_path / "features")
    videos = []
    for number in range(2):
        store = DirectoryStore(tmp_path / str(number))
        request = tiny_request(1)
        list(run.run(request, open_model(tiny_pack, features), store))
        videos.append(frames_of(store.load(request.job_id, "video.mp4")))
    assert read.count("text") == 1
    assert (videos[0] == videos[1]).all()
    assert len(list((tmp_path / "features").iterdir())) == 3  # two prompts and a picture
    other = tiny_request(1, job_id="otherjob", prompt="Somebody sings")
    list(run.run(other, open_model(tiny_pack, features), DirectoryStore(tmp_path)))
    assert read.count("text") == 2


def test_the_text_encoder_is_let_go_once_prompts_are_encoded(tiny_pack, store):
    model = open_model(tiny_pack)
    for event in run.run(tiny_request(1), model, store):
        if isinstance(event, contract.Step):
            assert model._text._encoder is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_features_come_back_as_they_were(tmp_path, dtype):
    features = torch.randn(3, 5).to(dtype)
    folder = FeatureFolder(tmp_path / "new")
    assert folder.load(NAME) is None
    folder.save(NAME, features)
    assert torch.equal(folder.load(NAME), features)
    assert [path.suffix for path in (tmp_path / "new").iterdir()] == [".safetensors"]


def test_damaged_features_are_made_again(tmp_path):
    folder = FeatureFolder(tmp_path)
    folder.save(NAME, torch.zeros(3))
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    assert folder.load(NAME) is None


def test_only_the_newest_features_are_kept(tmp_path):
    folder = FeatureFolder(tmp_path, limit=2)
    for digit in "abc":
        folder.save(digit * 64, torch.zeros(1))
    assert [folder.load(digit * 64) is None for digit in "abc"] == [True, False, False]


@pytest.mark.parametrize("name", ["../x", "", "g" * 64, "ab" * 33])
def test_what_is_no_name_of_features_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="not a name of features"):
        FeatureFolder(tmp_path).load(name)


def test_missing_and_incomplete_weights_are_named(tiny_pack, tmp_path):
    with pytest.raises(SetupError, match=r"holds no manifest\.json"):
        open_model(tmp_path)
    for path in tiny_pack.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "vae-001.safetensors").unlink()
    with pytest.raises(SetupError, match=r"vae-001\.safetensors is absent") as caught:
        open_model(tmp_path)
    assert caught.value.code == "E_WEIGHTS"


FULL, TINY = 38 * 10**9, 10**6


@pytest.mark.parametrize(
    ("wanted", "size_bytes", "has_gpu", "device"),
    [
        ("auto", FULL, True, "cuda"),
        ("auto", TINY, True, "cuda"),
        ("cuda", FULL, True, "cuda"),
        ("cpu", FULL, True, "cpu"),
        ("cpu", FULL, False, "cpu"),
        ("auto", TINY, False, "cpu"),
        ("auto", FULL, False, None),
        ("cuda", TINY, False, None),
    ],
)
def test_full_size_weights_reach_a_cpu_only_when_told(
    monkeypatch, wanted, size_bytes, has_gpu, device
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    if device is not None:
        assert choose_device(wanted, size_bytes).type == device
        return
    with pytest.raises(RefusedError, match="finds no GPU") as caught:
        choose_device(wanted, size_bytes)
    assert caught.value.code == "E_CPU_ONLY"


def test_a_request_decides_the_attention_of_its_video(tiny_pack):
    model = open_model(tiny_pack)
    ids = model.tokenize("A person")
    seen = []

    for name in ("sdpa-flash", "auto", "sdpa-flash"):
        request = decode_request(tiny_request(attention=name), lambda _: ids)
        for _ in model.load(request):
            pass
        seen.append((model.machine.attention, model.engine.networks.dit.backend.reason))

    assert seen[0] == seen[2] == ("sdpa-flash", "as asked")
    assert seen[1][0] == "sdpa"


def test_an_attention_that_does_not_run_is_refused_before_anything_is_read(tiny_pack, read):
    model = open_model(tiny_pack)
    request = decode_request(tiny_request(attention="fa2"), lambda _: (1,))

    with pytest.raises(BackendUnavailableError, match="fa2"):
        list(model.load(request))

    assert read == []
