"""LoRA files: their sources, the accepted ones, and the record of them."""

import hashlib
import itertools
import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save, save_file

from multitalk_cli.contract.loras import KNOWN_LORAS
from multitalk_cli.errors import FileError, SetupError, StorageError, UsageError
from multitalk_cli.storage.hub import Hub, HubPolicy
from multitalk_cli.storage.retry import RetryPolicy
from remote.engine.checkpoint.lora import merged
from remote.weights import loras, resumable
from tests.remote.weights import odd_loras
from tests.storage.fakehub import serving

QUICK = HubPolicy(
    stall_s=0.5,
    asking=RetryPolicy(pauses_s=(0.01, 0.01)),
    fetching=RetryPolicy(pauses_s=(0.01, 0.01, 0.01)),
)
REPO, PATH = KNOWN_LORAS["fusionx"].repository, KNOWN_LORAS["fusionx"].file


def lora_file(path, value=1.0, **tensors):
    """The bytes of a LoRA of this value for one layer of the tiny model, or of these tensors."""
    made = tensors or {
        "diffusion_model.blocks.0.self_attn.q.lora_down.weight": torch.full((2, 112), value),
        "diffusion_model.blocks.0.self_attn.q.lora_up.weight": torch.full((112, 2), value),
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


def add_file(folder, path, content):
    """Adds a file of this machine to a folder with weights of a model."""
    path.write_bytes(content)
    name, asked = loras.name_of_lora(str(path)), Hub("http://127.0.0.1:1", None, QUICK)
    loras.add(folder, asked, name, str(path), lambda _: None, None, weights=odd_loras.WEIGHTS)


REFUSED = {
    **odd_loras.BROKEN,
    **{name: (save(tensors), why) for name, (tensors, why) in odd_loras.UNUSABLE.items()},
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_merged_is_not_kept(folder, tmp_path, kind):
    content, reason = REFUSED[kind]

    with pytest.raises(FileError) as caught:
        add_file(folder, tmp_path / "odd.safetensors", content)

    assert caught.value.code == "E_LORA"
    assert reason in caught.value.message
    assert len(caught.value.message) < len(str(tmp_path)) + 400
    assert loras.read(folder) == ()
    assert not list((folder / "loras").glob("*"))


def test_what_is_no_lora_is_refused_where_no_weights_are(hub, folder, tmp_path):
    hub.repos[REPO][PATH] = lora_file(tmp_path / "b.safetensors", weight=torch.ones(4))

    with pytest.raises(FileError, match="has a LoRA's name"):
        add(hub, folder)


@pytest.mark.parametrize("form", odd_loras.FORMS)
def test_every_form_of_a_file_is_merged(folder, tmp_path, form):
    add_file(folder, tmp_path / "odd.safetensors", save(odd_loras.FORMS[form]))
    name = f"{odd_loras.LAYER}.weight"
    weight = torch.zeros(odd_loras.WEIGHTS[name])

    with loras.opened(folder, loras.find(folder, "odd"), 1.0, odd_loras.WEIGHTS) as plan:
        (changed,) = dict(merged([(name, weight)], [plan], weight.device)).values()

    torch.testing.assert_close(changed, torch.full_like(weight, 0.5))


@pytest.mark.parametrize("kind", ["nan", "nan alpha", "untrained"])
def test_what_shows_while_it_is_merged_names_the_file(folder, tmp_path, kind):
    """A file that was recorded by an earlier version, or before the weights were there."""
    add_file(folder, tmp_path / "odd.safetensors", odd_loras.WHOLE)
    tensors, reason = odd_loras.UNUSABLE[kind]
    (folder / "loras" / "odd.safetensors").write_bytes(content := save(tensors))
    (lora,) = (replace(each, size_bytes=len(content)) for each in loras.read(folder))
    weight = torch.zeros(odd_loras.WIDTH, odd_loras.WIDTH)

    with pytest.raises(FileError) as caught, opened_odd(folder, lora) as plan:
        list(merged([(f"{odd_loras.LAYER}.weight", weight)], [plan], weight.device))

    assert (caught.value.code, reason in caught.value.message) == ("E_LORA", True)


def opened_odd(folder, lora):
    return loras.opened(folder, lora, 1.0, odd_loras.WEIGHTS)


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


# In the account


PART_BYTES = 20_000


@pytest.fixture
def large(hub, tmp_path):
    """A LoRA of several parts."""
    pair = {
        "diffusion_model.blocks.0.self_attn.q.lora_down.weight": torch.rand(100, 150),
        "diffusion_model.blocks.0.self_attn.q.lora_up.weight": torch.rand(150, 100),
    }
    hub.repos[REPO][PATH] = lora_file(tmp_path / "large.safetensors", **pair)
    return hub.repos[REPO][PATH]


def add_saved(hub, folder, seen=None, stop_after=None):
    """Adds it as on a Volume. seen: the files at each save. stop_after: bytes."""

    def save():
        if seen is not None:
            seen.append({path.name: path.read_bytes() for path in (folder / "loras").iterdir()})

    def show(event):
        if stop_after is not None and event.done_bytes >= stop_after:
            raise KeyboardInterrupt

    asked = Hub(hub.url, None, replace(QUICK, piece_bytes=1024))
    loras.add(folder, asked, "fusionx", "fusionx", show, save, PART_BYTES)


def names(folder):
    return sorted(path.name for path in (folder / "loras").iterdir())


def test_a_large_one_is_in_parts_that_are_written_once(hub, folder, large):
    seen = []

    add_saved(hub, folder, seen)

    (lora,) = loras.read(folder)
    parts = resumable.parts_of(folder / "loras" / lora.file, lora.sha256)
    assert b"".join(part.read_bytes() for part in parts) == large
    assert len(parts) > len(seen) >= 3
    assert max(part.stat().st_size for part in parts) < PART_BYTES + 2 * 16 * 1024
    for before, after in itertools.pairwise(seen):
        assert all(after[name] == data for name, data in before.items())
    assert loras.verify(folder) == []
    assert loras.strays(folder) == []
    assert [state.is_complete for state in loras.states(folder)] == [True]
    assert loras.survey(folder, Hub(hub.url), "fusionx")["is_there"]


def test_a_small_one_is_written_once_and_has_its_name(hub, folder, content):
    add_saved(hub, folder)

    assert names(folder) == ["fusionx.safetensors", "manifest.json"]
    assert (folder / "loras" / "fusionx.safetensors").read_bytes() == content


def test_a_large_one_resumes_after_its_last_part(hub, folder, large):
    with pytest.raises(KeyboardInterrupt):
        add_saved(hub, folder, stop_after=60_000)

    add_saved(hub, folder)

    assert loras.verify(folder) == []
    assert int(hub.requests[-1][1].strip("bytes=-")) >= 60_000


def test_a_damaged_part_is_found_and_fetched_again(hub, folder, large):
    add_saved(hub, folder)
    part = folder / "loras" / names(folder)[1]
    part.write_bytes(bytes(part.stat().st_size))

    assert loras.verify(folder) == ["loras/fusionx.safetensors"]
    add_saved(hub, folder)
    assert loras.verify(folder) == []


def test_parts_of_what_is_no_lora_are_not_kept(hub, folder, large):
    hub.repos[REPO][PATH] = b"\x80\x04K\x01." * 20_000

    with pytest.raises(FileError):
        add_saved(hub, folder)

    assert names(folder) == []


def test_a_new_one_takes_the_place_of_the_parts_of_the_old_one(hub, folder, large, content):
    add_saved(hub, folder)
    hub.repos[REPO][PATH] = content
    add_saved(hub, folder)
    small = names(folder)
    hub.repos[REPO][PATH] = large
    add_saved(hub, folder)

    assert small == ["fusionx.safetensors", "manifest.json"]
    assert "fusionx.safetensors" not in names(folder)
    assert loras.verify(folder) == loras.strays(folder) == []


class ElsewhereHub(Hub):
    """A hub that plays a server of another name, which publishes no hashes."""

    def other_server(self, _endpoint):
        return self

    def file_at(self, url, what):
        return super().file_at(url.replace("https://host.example", self.endpoint), what)

    def pieces_at(self, url, *rest):
        return super().pieces_at(url.replace("https://host.example", self.endpoint), *rest)


def test_a_name_in_another_case_is_the_same_file_on_some_disks(hub, folder, content):
    for name in ("Mine", "mine"):
        loras.add(folder, Hub(hub.url), name, "fusionx", lambda _: None, None)

    assert [each.name for each in loras.read(folder)] == ["mine"]
    assert names(folder) == ["manifest.json", "mine.safetensors"]


def test_a_server_without_hashes_is_resumed_and_found_by_the_content(hub, folder, large):
    address = f"https://host.example/{REPO}/resolve/{hub.commit(REPO)}/{PATH}"
    asked = ElsewhereHub(hub.url, None, replace(QUICK, piece_bytes=1024))

    def stop(event):
        if event.done_bytes >= 60_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loras.add(folder, asked, "fusionx", address, stop, lambda: None, PART_BYTES)
    loras.add(folder, asked, "fusionx", address, lambda _: None, lambda: None, PART_BYTES)

    (lora,) = loras.read(folder)
    assert lora.sha256 == hashlib.sha256(large).hexdigest()
    assert int(hub.requests[-1][1].strip("bytes=-")) >= 60_000
    assert all(f".{lora.sha256[:12]}." in name for name in names(folder)[:-1])
    assert loras.verify(folder) == loras.strays(folder) == []


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ('attachment; filename="Arcane Style v2.safetensors"', "Arcane-Style-v2"),
        ("attachment; filename*=UTF-8''..%2F..%2Fa%20b.safetensors", "a-b"),
        ('inline; filename="lightx2v.safetensors"', "lightx2v-file"),
        ('attachment; filename="training.zip"', None),
        ('attachment; filename=".safetensors"', None),
        ("attachment", None),
    ],
)
def test_a_download_is_called_as_its_server_says(hub, folder, content, told, name):
    hub.repos["api/download"], hub.told = {"123": content}, {"Content-Disposition": told}
    asked = ElsewhereHub(hub.url, None, QUICK)
    commit = hub.commit("api/download")
    address = f"https://host.example/api/download/resolve/{commit}/123?type=Model"

    if name is None:
        with pytest.raises(FileError, match="file by its server") as caught:
            loras.survey(folder, asked, address)
        assert caught.value.code == "E_LORA"
        return
    found = loras.survey(folder, asked, address)
    loras.add(folder, asked, found["name"], found["address"], lambda _: None, None)

    assert [each.name for each in loras.read(folder)] == [name]
    assert loras.survey(folder, asked, address)["is_there"]


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
