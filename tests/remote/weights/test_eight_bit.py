"""Stored 8-bit weights: what merging and turning to 8 bits gives, and when they are used."""

import json
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace

import pytest
import torch

from multitalk_cli import contract
from multitalk_cli.cloud.pack import list_pack_files
from multitalk_cli.contract.codec import to_plain
from multitalk_cli.contract.weights_task import EIGHT_BIT_BYTES, STORED_LAYERS
from multitalk_cli.errors import FileError, SetupError
from multitalk_cli.reporting.formatting import human_bytes
from remote.engine.tiers import TIERS
from remote.service.decode import decode_request
from remote.service.store import DirectoryStore
from remote.weights import download, eight_bit, loras
from remote.weights.config import PUBLISHED
from remote.weights.manifest import Changes, MergedLora, load_manifest, verify_pack
from remote.weights.model import open_weights, transformer_shapes
from remote.weights.pack import UNFINISHED_FILE, pack, plan_files
from remote.weights.read import open_pack
from tests.documents.pages import PAGES
from tests.engine import tiny
from tests.engine.published import write_published_checkpoint
from tests.remote.requests import open_model, tiny_request
from tests.remote.weights.test_tiers import keep_lora, make

CPU = torch.device("cpu")
SMALL_FILE = 400_000


@pytest.fixture(scope="module")
def base(golden_dir, tmp_path_factory):
    """A pack in bf16, as in the account."""
    folder = tmp_path_factory.mktemp("base")
    source = write_published_checkpoint(golden_dir, folder / "published")
    pack(source, folder / "pack", "bf16", tiny.tiny_model_config(golden_dir))
    return folder / "pack"


@pytest.fixture
def weights(base, tmp_path):
    """A folder of weights with that pack and a LoRA."""
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "pack").symlink_to(base, target_is_directory=True)
    keep_lora(folder, "mine")
    return folder


def uses(weights, *names):
    return [loras.find(weights, name) for name in names]


def merged(found, strength=1.0):
    return [MergedLora(name=each.name, sha256=each.sha256, strength=strength) for each in found]


def opened(weights, found, stack):
    shapes = transformer_shapes(open_pack(weights / "pack").manifest.config)
    return [stack.enter_context(loras.opened(weights, each, 1.0, shapes)) for each in found]


def store(weights, *names, folder=None, **options):
    """Writes the transformer with those LoRAs merged, and gives its folder."""
    base, found = open_pack(weights / "pack"), uses(weights, *names)
    target = weights / "8bit" / "-".join(("transformer", *names)) if folder is None else folder

    @contextmanager
    def open_loras():
        with ExitStack() as stack:
            yield opened(weights, found, stack)

    changes = eight_bit.changes_of(base.manifest, merged(found))
    eight_bit.write(base, target, changes, open_loras, **options)
    return target


def state_of(opened_pack, tier, dtype, plans=()):
    dit = opened_pack.load_transformer(CPU, dtype, layers=TIERS[tier].layers, loras=plans)
    return {name: each.contiguous().view(torch.uint8) for name, each in dit.state_dict().items()}


@pytest.mark.parametrize("names", [(), ("mine",)])
def test_the_weights_are_those_that_reading_the_pack_gives(weights, names):
    place = store(weights, *names, max_file_bytes=SMALL_FILE)

    stored, base = open_pack(place), open_pack(weights / "pack")
    assert len(stored.manifest.files) > 2
    assert verify_pack(place, stored.manifest) == []
    for tier, dtype in (("near", torch.float32), ("turbo", torch.float32), ("turbo", None)):
        with ExitStack() as stack:
            plans = opened(weights, uses(weights, *names), stack)
            wanted = state_of(base, tier, dtype, plans)
        given = state_of(stored, tier, dtype)
        assert wanted.keys() == given.keys()
        assert all(torch.equal(wanted[name], given[name]) for name in wanted)


def test_the_manifest_names_what_it_is_made_of(weights):
    body = json.loads((store(weights, "mine") / "manifest.json").read_text())

    (lora,) = uses(weights, "mine")
    base = load_manifest(weights / "pack")
    assert body["changes"] == {
        "base": base.revision,
        "tier": "near",
        "layers": list(TIERS["near"].layers),
        "loras": [{"name": "mine", "sha256": lora.sha256, "strength": 1.0}],
    }
    assert body["sources"] == to_plain(base)["sources"]
    assert "changes" not in json.loads((weights / "pack" / "manifest.json").read_text())


def test_a_writing_that_was_stopped_resumes(weights, tmp_path):
    place, whole = weights / "8bit" / "transformer-mine", tmp_path / "whole"

    def stop(done, _total, _file):
        if done > SMALL_FILE:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store(weights, "mine", max_file_bytes=SMALL_FILE, progress=stop)
    before = {path: path.stat().st_mtime_ns for path in place.glob("*.safetensors")}
    assert not (place / "manifest.json").exists()
    store(weights, "mine", max_file_bytes=SMALL_FILE, is_staged=True)
    store(weights, "mine", folder=whole, max_file_bytes=SMALL_FILE)

    assert before and all(path.stat().st_mtime_ns == when for path, when in before.items())
    assert load_manifest(place) == load_manifest(whole)
    assert verify_pack(place, load_manifest(place)) == []
    assert not (place / UNFINISHED_FILE).exists()


def test_pages_and_surveys_name_the_size_of_the_published_transformer():
    plans = plan_files("dit", transformer_shapes(PUBLISHED), "bf16")
    infos = {name: info for plan in plans for name, info in plan.infos.items()}
    whole = SimpleNamespace(infos=lambda _component: infos)
    changes = Changes(base="", tier="", layers=eight_bit.STORED.layers, loras=())

    before, after = (
        sum(plan.size_bytes for plan in each) for each in (plans, eight_bit.plan(whole, changes))
    )

    assert pytest.approx(after / (2 * before), rel=0.005) == download.EIGHT_BIT_SHARE
    assert human_bytes(after) == human_bytes(EIGHT_BIT_BYTES)
    # By which the client tells whether stored weights are used.
    assert changes.layers == STORED_LAYERS
    text = PAGES["docs/presets.md"]
    assert f"{human_bytes(before)} for the transformer" in text
    assert text.count(human_bytes(after)) == 3
    assert human_bytes(after) in PAGES["docs/modal.md"]


def loaded(weights, **changes):
    """Where the 8-bit weights of a request came from, and the notes of loading them."""
    model = open_model(weights / "pack")
    list(model.load(decode_request(tiny_request(1, **changes), model.tokenize)))
    return model.machine.eight_bit, model.notes


def test_a_job_reads_the_stored_weights_that_fit(weights, tmp_path):
    use, half = (contract.LoraChoice(name="mine", strength=each) for each in (1.0, 0.5))
    assert loaded(weights, tier="turbo", loras=(use,)) == ("computed", ())
    place = store(weights, "mine")
    model = open_model(weights / "pack")

    done, _ = make(model, DirectoryStore(tmp_path / "jobs"), tier="turbo", loras=(use,))

    assert done.result.warnings == ()
    assert json.loads(done.result.recipe)["work"]["eight_bit"] == "stored"
    assert model.machine.lora_keys == 3
    assert loaded(weights, tier="near", loras=(half,)) == ("computed", ())
    assert loaded(weights, loras=(use,)) == ("", ())
    with pytest.raises(SetupError, match="8-bit weights alone"):
        open_weights(place)
    with pytest.raises(FileError, match="8-bit weights alone"):
        list_pack_files(place)


def damaged(_weights, place):
    (file, *_) = place.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-1])


def damaged_within(_weights, place):
    (file, *_) = place.glob("*.safetensors")
    file.write_bytes(file.read_bytes().replace(b'{"', b"xx", 1))


def emptied(_weights, place):
    """Zeros in place of all content, below the right header."""
    (file, *_) = place.glob("*.safetensors")
    with file.open("r+b") as content:
        header = 8 + int.from_bytes(content.read(8), "little")
        content.seek(header)
        content.write(bytes(file.stat().st_size - header))


def of_another_lora(weights, _place):
    keep_lora(weights, "mine", unknown=torch.ones(1))


def of_other_weights(_weights, place):
    body = json.loads((place / "manifest.json").read_text())
    body["changes"]["base"] = "0" * 16
    (place / "manifest.json").write_text(json.dumps(body))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (damaged, "bytes, the pack's manifest lists"),
        (damaged_within, "dit-001.safetensors has a header that cannot be read"),
        (of_another_lora, "another file, or strength, of the LoRA is merged in it"),
        (of_other_weights, "it was made from other weights"),
    ],
)
def test_stored_weights_that_do_not_fit_are_told_and_not_used(weights, change, reason):
    change(weights, store(weights, "mine"))

    how, (note, *_) = loaded(weights, tier="near", loras=(contract.LoraChoice(name="mine"),))

    assert how == "computed"
    assert note.startswith("8bit/transformer-mine is not used (")
    assert reason in note


def test_stored_weights_that_lost_their_content_are_not_used(weights):
    use = contract.LoraChoice(name="mine")
    emptied(weights, store(weights, "mine"))
    model = open_model(weights / "pack")
    list(model.load(decode_request(tiny_request(1, tier="near", loras=(use,)), model.tokenize)))
    (note,) = model.notes

    assert model.machine.eight_bit == "computed"
    assert "8bit/transformer-mine' are damaged: dit-001.safetensors has no valid blocks." in note
    assert note.endswith("made from the pack instead; multitalk download --repair mends them")
