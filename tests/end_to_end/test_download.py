"""Weights from a hub into the account: the installed command, the real client, real containers.

The product is that of a model of tiny sizes: one line is appended to its table of sizes.
"""

import json
import random
import re
import shutil
import signal
import time
from contextlib import contextmanager
from pathlib import Path

import modal
import pytest
import torch

from multitalk_cli import contract
from multitalk_cli.cloud.client import Cloud
from multitalk_cli.cloud.errors import AppRef
from multitalk_cli.contract import WAN_REPOSITORY, weights_task
from multitalk_cli.contract.codec import to_plain
from multitalk_cli.contract.loras import KNOWN_LORAS
from multitalk_cli.media.video.probe import probe_video
from multitalk_cli.reporting.reporter import QuietReporter
from multitalk_cli.weights.cloud import CloudWeights
from remote.engine.checkpoint import published
from remote.weights import download, loras, manifest
from tests.end_to_end.product import User
from tests.engine import tiny
from tests.engine.published import write_published_checkpoint
from tests.remote.weights.test_loras import lora_file
from tests.storage.fakehub import published_repos, serving
from tests.terminal.program import assert_orderly

SHARD = "diffusion_pytorch_model-00001-of-00002.safetensors"
PADDED = f"{published.TOKENIZER_FOLDER}/tokenizer.json"
PADDING_BYTES = 16_000_000
"""So that what is on its way when a container is killed weighs little, as it does in 92.5 GB."""
SLOW_BYTES_PER_S = 5_000_000


@pytest.fixture(scope="module")
def repos(golden_dir, tmp_path_factory):
    source = write_published_checkpoint(golden_dir, tmp_path_factory.mktemp("published"))
    repos = published_repos(source)
    # Blanks are JSON as well.
    repos[WAN_REPOSITORY][PADDED] += b" " * PADDING_BYTES
    repo, path = KNOWN_LORAS["fusionx"].repository, KNOWN_LORAS["fusionx"].file
    repos[repo] = {path: lora_file(tmp_path_factory.mktemp("lora") / "a.safetensors")}
    return repos


@pytest.fixture(scope="module")
def tiny_site(site, golden_dir, tmp_path_factory):
    """The product with the tiny checkpoint's sizes."""
    copy = tmp_path_factory.mktemp("tiny") / "site"
    shutil.copytree(site, copy)
    sizes = json.dumps(to_plain(tiny.tiny_model_config(golden_dir)))
    with (copy / "remote" / "weights" / "config.py").open("a") as file:
        file.write(
            "\n\nimport json\nfrom multitalk_cli.contract.codec import from_plain\n"
            f"PUBLISHED = from_plain(PackConfig, json.loads({sizes!r}))\n"
        )
    # What is lost with a container weighs as little as it does in 92.5 GB.
    smaller = {
        "multitalk_cli/storage/hub.py": ("piece_bytes: int = 1024**2", "piece_bytes: int = 16384"),
        "remote/weights/resumable.py": ("PART_BYTES = 256 * 1024**2", "PART_BYTES = 128 * 1024"),
    }
    for name, (whole, small) in smaller.items():
        text = (copy / name).read_text()
        assert whole in text
        (copy / name).write_text(text.replace(whole, small))
    return copy


@pytest.fixture(scope="module")
def served(repos):
    with serving(repos) as hub:
        hub.licences[KNOWN_LORAS["fusionx"].repository] = "apache-2.0"
        yield hub


@pytest.fixture(scope="module")
def owner(cloud, tiny_site, served, tmp_path_factory):
    """A user of the account, before any set-up."""
    user = User(cloud, tiny_site, tmp_path_factory.mktemp("owner"))
    user.env["HF_ENDPOINT"] = served.url
    portrait = Path(__file__).resolve().parents[2] / "multitalk_cli/examples/portrait.png"
    shutil.copy(portrait, user.folder / "host.png")
    return user


@pytest.fixture(scope="module")
def first(owner):
    """How a download ended that was the first command ever run."""
    return owner.run("download", "--yes", "--json")


@pytest.fixture
def user(first, owner):
    """The user once everything is there."""
    assert first.code == 0, first.stderr
    return owner


@pytest.fixture
def hub(cloud, served):
    """The hub without faults, and a count from zero; each test ends with idle containers."""
    served.requests.clear()
    served.sent_bytes = 0
    yield served
    served.faults.bytes_per_s, served.faults.token = None, None
    cloud.wait_until_idle()


@pytest.fixture
def empty(cloud, user):
    """The user whose Volume is empty."""
    shutil.rmtree(volume(cloud).head)
    volume(cloud).head.mkdir()
    return user


def volume(cloud):
    return cloud.volume(contract.WEIGHTS_VOLUME)


def size_of(cloud):
    """Bytes of what a download fetches."""
    return sum(file.size_bytes for file in download.load_sources(volume(cloud).head).files)


def is_whole(cloud):
    """Whether everything is there, and every byte as it must be."""
    head = volume(cloud).head
    packed = manifest.load_manifest(head / contract.PACK_FOLDER)
    wrong = download.verify(head, download.load_sources(head))
    return not wrong and not manifest.verify_pack(head / contract.PACK_FOLDER, packed)


def test_the_first_command_deploys_fetches_and_packs(cloud, first):
    assert first.code == 0, first.stderr
    assert "multitalk is not deployed yet" in first.stderr
    assert first.data["pack"] == f"{contract.WEIGHTS_VOLUME}/{contract.PACK_FOLDER}"
    assert first.data["fetched_bytes"] == size_of(cloud)
    assert first.data["price_usd"] > 0
    assert {"sources.json", "bf16/manifest.json"} <= set(volume(cloud).files())


def test_large_files_are_kept_in_parts_that_are_written_once(cloud, first):
    assert first.code == 0, first.stderr
    files = {name: data for name, data in volume(cloud).files().items() if "/" not in name}
    parts = [data for name, data in files.items() if name.endswith(".part")]

    assert SHARD not in files
    assert len(parts) > 10
    assert max(map(len, files.values())) < 160 * 1024
    assert is_whole(cloud)


def test_then_a_video_is_made(user):
    made = user.run(*user.generate(user.speech("first.wav", 0.5)))

    assert made.code == 0, made.stderr
    assert probe_video(user.folder / "first.mp4").frames == 12


def test_a_second_download_says_at_once_that_all_is_there(hub, user, rpcs):
    ran = user.run("download", "--json")

    assert (ran.code, ran.data["fetched_bytes"]) == (0, 0), ran.stderr
    assert hub.requests == []
    assert "everything is already in the Volume multitalk-weights" in ran.stderr
    assert rpcs.count("FunctionMap") == 0


@pytest.mark.long
def test_a_volume_of_version_1_is_filled_likewise(cloud, user):
    assert volume(cloud).version == 2
    cloud.add_environment("earlier")
    modal.Volume.objects.create(contract.WEIGHTS_VOLUME, version=1, environment_name="earlier")

    ran = user.run("download", "--yes", "--environment", "earlier")

    filled = cloud.volume(contract.WEIGHTS_VOLUME, "earlier")
    assert ran.code == 0, ran.stderr
    assert filled.version == 1
    packed = manifest.load_manifest(filled.head / contract.PACK_FOLDER)
    assert manifest.verify_pack(filled.head / contract.PACK_FOLDER, packed) == []


def test_somebody_must_agree(hub, empty):
    ran = empty.run("download", "--json")

    assert (ran.code, ran.error["hint"]) == (2, "multitalk download --yes")
    assert re.search(r"price +about \$[\d.]+: .* without a GPU", ran.stderr)
    assert hub.sent_bytes < 100_000


# Killed


@pytest.mark.long
def test_ten_kills_at_random_points_cost_almost_nothing(cloud, hub, empty):
    hub.faults.bytes_per_s = SLOW_BYTES_PER_S
    chance = random.Random(5)
    points = sorted(chance.uniform(0.05, 0.95) * hub.size_bytes for _ in range(10))
    running = empty.start("download", "--yes")
    for number, point in enumerate(points):
        cloud.wait_until(lambda point=point: hub.sent_bytes >= point, f"byte {point:.0f}")
        if number % 4 == 0:
            # What waits in sockets is no more than in a network.
            hub.faults.bytes_per_s = SLOW_BYTES_PER_S / 20
            time.sleep(0.5)
            cloud.kill(fetching_container(cloud))
            hub.faults.bytes_per_s = SLOW_BYTES_PER_S
        else:
            running.kill()
            running = empty.start("download", "--yes")
    ended = running.finish()

    assert ended.code == 0, ended.stderr
    assert is_whole(cloud)
    assert hub.sent_bytes <= 1.05 * size_of(cloud)


def fetching_container(cloud):
    """The container that runs a download."""
    function = cloud.function(contract.APP_NAME, contract.DOWNLOAD_FUNCTION)
    cloud.wait_until(lambda: _busy(function), "a container runs a download")
    (container,) = _busy(function)
    return container


def _busy(function):
    return [each for each in list(function.containers.values()) if each.running]


@pytest.mark.long
def test_a_call_that_runs_out_of_time_is_followed_by_another(cloud, hub, empty, rpcs):
    hub.faults.bytes_per_s = SLOW_BYTES_PER_S / 2
    with limited(cloud, timeout_s=6):
        running = empty.start("download", "--yes")
        # The look, the call that runs out of time, and the one that resumes.
        cloud.wait_until(lambda: rpcs.count("FunctionMap") == 3, "a second call")
    hub.faults.bytes_per_s = None
    ran = running.finish()

    assert ran.code == 0, ran.stderr
    assert is_whole(cloud)


@contextmanager
def limited(cloud, timeout_s):
    """New containers for downloads, which end their calls after so long."""
    definition = cloud.function(contract.APP_NAME, contract.DOWNLOAD_FUNCTION).definition
    before, definition.timeout_secs = definition.timeout_secs, timeout_s
    for container in cloud.containers():
        cloud.stop_container(container)
    cloud.wait_until(lambda: not cloud.containers(), "old containers are gone")
    try:
        yield
    finally:
        definition.timeout_secs = before


# Together


def test_two_downloads_at_once_are_one(cloud, hub, empty):
    hub.faults.bytes_per_s = 2 * SLOW_BYTES_PER_S
    one, other = empty.start("download", "--yes"), empty.start("download", "--yes")

    codes = [one.finish().code, other.finish().code]

    assert codes == [0, 0]
    assert hub.sent_bytes <= 1.05 * size_of(cloud)
    assert is_whole(cloud)


def under_way(cloud, hub, user, *words):
    """A download that has fetched something, and hardly goes on from there."""
    hub.faults.bytes_per_s = SLOW_BYTES_PER_S
    running = user.start("download", "--yes", *words)
    wait_for_bytes(cloud, hub)
    return running


def wait_for_bytes(cloud, hub):
    cloud.wait_until(lambda: hub.sent_bytes > 1_000_000, "a million bytes")
    hub.faults.bytes_per_s = SLOW_BYTES_PER_S / 10


@pytest.mark.long
def test_detached_it_goes_on_and_is_followed_later(cloud, hub, empty, rpcs):
    before_s = time.time()
    left = under_way(cloud, hub, empty, "--detach").finish()
    lora = empty.run("download", "--lora", "fusionx", "--yes", "--json")
    rpcs.clear()
    attaching = empty.start("download")
    # Whether it runs, and then what it gives.
    cloud.wait_until(lambda: rpcs.count("FunctionGetOutputs") >= 2, "it is followed")
    hub.faults.bytes_per_s = None
    attached = attaching.finish()

    assert (left.code, left.stdout) == (0, "")
    assert "follow it with:  multitalk download\n" in left.stderr
    assert (lora.code, lora.error["code"]) == (7, "E_DOWNLOAD_RUNS")
    assert "attached to it" in attached.stderr
    assert attached.stdout == "multitalk-weights/bf16\n", attached.stderr
    assert is_whole(cloud)
    # Two commands followed one download.
    row, *earlier = empty.run("jobs", "ls", "--json").data["jobs"]
    assert all(each["created_s"] < before_s for each in earlier)
    assert (row["kind"], row["label"], row["state"], row["gpu"]) == ("download", "bf16", "done", "")
    assert row["price_usd"] > 0


@pytest.mark.parametrize("how", ["signal", pytest.param("elsewhere", marks=pytest.mark.long)])
def test_a_cancelled_download_keeps_what_came(cloud, hub, empty, how):
    running = under_way(cloud, hub, empty)
    if how == "signal":
        running.signal(signal.SIGTERM)
    else:
        assert empty.run("download", "--cancel", "--json").data == {"cancelled": True}
    ended = running.finish()
    assert not cloud.containers(busy=True)
    hub.faults.bytes_per_s = None

    ran = empty.run("download", "--yes", "--json")

    assert ended.code == (-signal.SIGTERM if how == "signal" else 5), ended.stderr
    assert ran.code == 0, ran.stderr
    assert 0 < ran.data["fetched_bytes"] < size_of(cloud) - 500_000
    assert hub.sent_bytes <= 1.05 * size_of(cloud)


@pytest.mark.long
def test_a_download_that_ends_while_it_is_cancelled_is_not_called_cancelled(hub, empty):
    assert hub is not None
    ran = empty.run("download", "--yes")
    assert ran.code == 0, ran.stderr
    account = Cloud(AppRef(app=contract.APP_NAME, environment=""))
    call_id = account.owner(weights_task.CALLS, 0)

    assert CloudWeights(account).cancel(call_id, QuietReporter(), lambda: False) is False


def test_the_first_question_is_about_a_preset_as_a_whole(cloud, owner, rpcs):
    cloud.add_environment("fast")
    terminal = owner.at_terminal("download", "--preset", "fast", "--environment", "fast")
    terminal.answer("[y/N] ", "n\r")
    text = " ".join(" ".join(terminal.end()).split())

    assert "lightx2v, 739 MB, Apache 2.0 by its README" in text
    assert "26.9 GB more, in multitalk-weights/8bit/transformer-lightx2v" in text
    question = "fetch the weights, with lightx2v under Apache 2.0 by its README? [y/N]"
    assert question in text
    assert (terminal.code, rpcs.count("AppPublish")) == (8, 0)


def test_ctrl_c_at_a_terminal_may_detach(cloud, hub, empty):
    hub.faults.bytes_per_s = SLOW_BYTES_PER_S
    terminal = empty.at_terminal("download")
    terminal.answer("[y/N] ", "y\r")
    wait_for_bytes(cloud, hub)
    terminal.type("\x03")
    terminal.answer("[cancel in 10 s]", "d")
    lines = terminal.end()
    hub.faults.bytes_per_s = None

    assert terminal.code == 0
    assert any("follow it with" in line for line in lines)
    assert_orderly(terminal)
    assert empty.run("download").code == 0


@pytest.mark.long
def test_a_network_that_goes_and_comes_back_costs_nothing(cloud, hub, empty, rpcs):
    running = under_way(cloud, hub, empty)
    with cloud.network_lost():
        cloud.wait_until(lambda: "reconnecting" in running.process.reported(), "a warning")
    hub.faults.bytes_per_s = None
    ran = running.finish()

    assert ran.code == 0, ran.stderr
    assert "the container is still running, reconnecting" in ran.stderr
    assert "reconnected" in ran.stderr
    # What looks, and one that fetches.
    assert rpcs.count("FunctionMap") == 2


# What is there


def test_list_shows_files_and_packs(user):
    ran = user.run("download", "--list")

    assert re.search(rf"^{SHARD} .* complete$", ran.stdout, re.MULTILINE), ran.stderr
    assert re.search(r"^bf16/ .* complete$", ran.stdout, re.MULTILINE)


def damage(cloud, name):
    path = volume(cloud).head / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_damage_is_named_and_repaired(cloud, hub, user):
    (first_part,) = volume(cloud).head.glob(f"{SHARD}.????????????.part")
    damage(cloud, first_part.name)
    damage(cloud, "bf16/vae-001.safetensors")

    verified = user.run("download", "--verify", "--json")
    repaired = user.run("download", "--repair", "--yes")

    assert (verified.code, verified.error["code"]) == (4, "E_WEIGHTS")
    _, *names = verified.error["message"].split("\n")
    assert names == [SHARD, "bf16/vae-001.safetensors"]
    assert verified.error["hint"] == "multitalk download --repair --yes"
    assert repaired.code == 0, repaired.stderr
    assert [path.rpartition("/")[2] for path, _, _ in hub.requests] == [SHARD]
    assert is_whole(cloud)


def test_strays_are_pruned(cloud, user):
    stray = f"{SHARD}.{'0' * 12}.part"
    (volume(cloud).head / stray).write_bytes(b"x" * 100)
    (volume(cloud).head / "notes.txt").write_text("mine")

    ran = user.run("download", "--prune", "--yes", "--json")

    assert ran.data["removed"] == [f"{contract.WEIGHTS_VOLUME}/{stray}"], ran.stderr
    assert stray not in volume(cloud).files()
    assert "notes.txt" in volume(cloud).files()


def test_a_pack_with_a_hole_is_found_before_a_video_and_mended(cloud, hub, user):
    modal.Volume.from_name(contract.WEIGHTS_VOLUME).remove_file("/bf16/vae-001.safetensors")

    ran = user.run(*user.generate(user.speech("hole.wav", 0.4), "--json"))
    mended = user.run("download", "--yes")

    assert (ran.code, ran.error["code"]) == (4, "E_WEIGHTS_MISSING"), ran.stderr
    assert ran.error["hint"] == "multitalk download"
    assert mended.code == 0, mended.stderr
    assert hub.requests == []
    assert "bf16/vae-001.safetensors" in volume(cloud).files()


def test_a_lora_is_added_once_its_licence_was_shown(cloud, user):
    asked = user.run("download", "--lora", "fusionx")
    added = user.run("download", "--lora", "fusionx", "--yes", "--json")
    again = user.run("download", "--lora", "fusionx", "--json")

    assert asked.code == 2
    assert re.search(r"licence +apache-2.0", asked.stderr)
    assert added.code == 0, added.stderr
    assert added.data["file"] == "multitalk-weights/loras/fusionx.safetensors"
    assert again.data["fetched_bytes"] == 0
    (lora,) = loras.read(volume(cloud).head)
    assert "loras/manifest.json" in volume(cloud).files()
    assert loras.verify(volume(cloud).head) == []
    assert lora.name == "fusionx"


@pytest.mark.long
def test_a_volume_that_commits_by_itself_stores_each_byte_once(cloud, hub, user, tmp_path):
    """A growing file would be stored anew with every commit."""
    pair = {
        f"diffusion_model.blocks.0.self_attn.q.lora_{way}.weight": torch.rand(shape)
        for way, shape in (("down", (1800, 112)), ("up", (112, 1800)))
    }
    repo, path = KNOWN_LORAS["lightx2v"].repository, KNOWN_LORAS["lightx2v"].file
    hub.repos[repo] = {path: lora_file(tmp_path / "a.safetensors", **pair)}
    for container in cloud.containers():
        cloud.kill(container)
    before = volume(cloud).stored_bytes
    cloud.faults.commit_every_s, cloud.faults.hidden_s = 0.1, 0.05
    hub.faults.bytes_per_s = len(hub.repos[repo][path])

    ran = user.run("download", "--lora", "lightx2v", "--yes")

    cloud.faults.clear()
    size = len(hub.repos.pop(repo)[path])
    assert ran.code == 0, ran.stderr
    assert loras.verify(volume(cloud).head) == []
    assert size < volume(cloud).stored_bytes - before < 1.1 * size


# Refused


def test_a_gated_hub_names_the_secret(hub, empty):
    hub.faults.token = "hf_right"

    ran = empty.run("download", "--yes", "--json")

    assert (ran.code, ran.error["code"]) == (4, "E_HUB_TOKEN")
    assert ran.error["hint"].startswith("multitalk setup-secrets --only hf")


def test_a_hub_that_throttles_the_account_names_the_secret(hub, empty):
    hub.faults.throttles, hub.faults.throttling = 1, {"RateLimit": '"api";r=0;t=1800'}

    ran = empty.run("download", "--yes", "--json")

    assert (ran.code, ran.error["code"]) == (7, "E_HUB_THROTTLED")
    assert ran.error["hint"].startswith("multitalk setup-secrets --only hf")


@pytest.mark.long
def test_a_throttled_account_says_so_and_continues(hub, empty):
    hub.faults.throttles, hub.faults.throttling = 1, {"Retry-After": "2"}

    ran = empty.run("--progress", "json", "download", "--yes")

    assert ran.code == 0, ran.stderr
    assert '"name": "throttled"' in ran.stderr


def test_a_token_in_the_account_opens_the_hub(cloud, hub, empty):
    hub.faults.token = "hf_right"
    modal.Secret.objects.create(contract.HUGGINGFACE_SECRET, {"HF_TOKEN": "hf_right"})
    deployed = empty.run("deploy")

    ran = empty.run("download", "--json")

    assert deployed.code == 0, deployed.stderr
    assert (ran.code, ran.error["hint"]) == (2, "multitalk download --yes"), ran.stderr
    assert "hf_right" not in ran.stdout + ran.stderr + cloud.log()


def test_nothing_deployed_is_said(cloud, owner):
    cloud.add_environment("other")

    ran = owner.run("download", "--list", "--environment", "other", "--json")

    assert (ran.code, ran.error["code"]) == (4, "E_NOT_DEPLOYED")
    assert ran.error["hint"] == "multitalk download --environment other"
