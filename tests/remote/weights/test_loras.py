"""LoRA files: their sources, the accepted ones, and the record of them."""

import hashlib
import json

import pytest
import torch
from safetensors.torch import save_file

from multitalk_cli.contract.weights_task import LORAS
from multitalk_cli.errors import FileError, SetupError, StorageError, UsageError
from multitalk_cli.storage.hub import Hub, HubPolicy
from multitalk_cli.storage.retry import RetryPolicy
from remote.weights import loras
from tests.storage.fakehub import serving

QUICK = HubPolicy(
    stall_s=0.5,
    asking=RetryPolicy(pauses_s=(0.01, 0.01)),
    fetching=RetryPolicy(pauses_s=(0.01, 0.01, 0.01)),
)
REPO, PATH = loras.KNOWN["fusionx"]


def lora_file(path, **tensors):
    """The bytes of a LoRA for one layer, or of these tensors."""
    made = tensors or {
        "diffusion_model.blocks.0.self_attn.q.lora_down.weight": torch.ones(2, 8),
        "diffusion_model.blocks.0.self_attn.q.lora_up.weight": torch.ones(8, 2),
    }
    save_file(made, path)
    return path.read_bytes()


@pytest.fixture
def content(tmp_path):
    return lora_file(tmp_path / "made.safetensors")


@pytest.fixture
def hub(content):
    with serving({REPO: {PATH: content, "other/x.safetensors": content}}) as served:
        served.licences[REPO] = "apache-2.0"
        yield served


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "weights"


def add(hub, folder, wish="fusionx"):
    asked = Hub(hub.url, None, QUICK)
    found = loras.survey(folder, asked, wish)
    loras.add(folder, asked, found["name"], found["address"], lambda _: None, None)
    return found


def test_a_name_stands_for_a_file_of_a_repository(hub, folder, content):
    found = add(hub, folder)

    (lora,) = loras.read(folder)
    assert (folder / "loras" / "fusionx.safetensors").read_bytes() == content
    assert lora.sha256 == hashlib.sha256(content).hexdigest()
    assert lora.licence == found["licence"] == "apache-2.0"
    assert hub.commit(REPO) in lora.address


def test_every_name_that_is_offered_is_known():
    assert tuple(loras.KNOWN) == LORAS


def test_a_file_that_moved_inside_its_repository_is_found(hub, folder):
    moved = hub.repos[REPO].pop(PATH)
    hub.repos[REPO][f"elsewhere/{PATH.rpartition('/')[2]}"] = moved

    assert "/elsewhere/" in add(hub, folder)["address"]


def test_a_file_that_is_gone_is_said(hub, folder):
    del hub.repos[REPO][PATH]

    with pytest.raises(StorageError) as caught:
        add(hub, folder)

    assert caught.value.code == "E_HUB_MISSING"


def test_an_address_on_the_hub_is_a_file_of_a_repository(hub, folder):
    found = add(hub, folder, f"{hub.url}/{REPO}/blob/main/other/x.safetensors?download=true")

    assert (found["name"], found["licence"]) == ("x", "apache-2.0")


def test_what_is_there_is_known(hub, folder):
    add(hub, folder)

    assert loras.survey(folder, Hub(hub.url), "fusionx")["is_there"]
    (folder / "loras" / "fusionx.safetensors").unlink()
    assert not loras.survey(folder, Hub(hub.url), "fusionx")["is_there"]


@pytest.mark.parametrize(
    "wish",
    [
        "other",
        "http://host.example/a.safetensors",
        "https://host.example/a.ckpt",
        "https://me:secret@host.example/a.safetensors",
        "file:///etc/a.safetensors",
        "https:///a.safetensors",
    ],
)
def test_other_addresses_are_refused(hub, folder, wish):
    with pytest.raises(UsageError) as caught:
        loras.survey(folder, Hub(hub.url, None, QUICK), wish)

    assert caught.value.code == "E_RANGE"
    assert "secret" not in caught.value.message


@pytest.mark.parametrize("kind", ["pickle", "no lora"])
def test_what_is_no_lora_is_not_kept(hub, folder, tmp_path, kind):
    wrong = lora_file(tmp_path / "b.safetensors", weight=torch.ones(4))
    hub.repos[REPO][PATH] = b"\x80\x04K\x01." * 100 if kind == "pickle" else wrong

    with pytest.raises(FileError) as caught:
        add(hub, folder)

    assert caught.value.code == "E_LORA"
    assert loras.read(folder) == ()
    assert not list((folder / "loras").glob("*"))


def test_a_file_that_is_too_large_is_not_fetched(hub, folder):
    hub.claims[PATH] = loras.MAX_BYTES + 1

    with pytest.raises(FileError) as caught:
        add(hub, folder)

    assert caught.value.code == "E_LORA"


def test_damage_and_strays_are_found(hub, folder):
    add(hub, folder)
    path = folder / "loras" / "fusionx.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    (folder / "loras" / "old.safetensors").write_bytes(b"x")
    (folder / "loras" / "notes.txt").write_text("mine")

    assert loras.verify(folder) == ["loras/fusionx.safetensors"]
    assert [stray.name for stray in loras.strays(folder)] == ["old.safetensors"]


@pytest.mark.parametrize(
    ("key", "value"), [("name", "../x"), ("sha256", "short"), ("size_bytes", -1)]
)
def test_a_record_from_elsewhere_is_not_believed(hub, folder, key, value):
    add(hub, folder)
    path = folder / "loras" / "manifest.json"
    data = json.loads(path.read_text())
    data["loras"][0][key] = value
    path.write_text(json.dumps(data))

    with pytest.raises(SetupError, match="damaged"):
        loras.read(folder)
