"""`multitalk download`, against a hub over HTTP that holds the tiny checkpoint."""

import json
import re
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch

from multitalk_cli.cli.console import Console, OutputOptions
from multitalk_cli.cli.views.download import downloaded_next
from multitalk_cli.contract import REPOSITORIES, WAN_REPOSITORY
from multitalk_cli.contract.loras import KNOWN_LORAS
from multitalk_cli.storage.hub import Hub
from multitalk_cli.weights.download import DownloadOptions, download
from multitalk_cli.weights.local import LocalWeights
from remote.engine.checkpoint import published
from remote.weights.download import load_sources
from remote.weights.manifest import load_manifest, verify_pack
from remote.weights.read import open_pack
from tests.engine import tiny
from tests.engine.published import write_published_checkpoint
from tests.remote.weights.test_loras import lora_file
from tests.storage.fakehub import published_repos, serving
from tests.terminal.program import Program, assert_orderly, colourful
from tests.waiting import HANG_S

pytestmark = pytest.mark.slow

SHARD = "diffusion_pytorch_model-00001-of-00002.safetensors"


@pytest.fixture(scope="session")
def repos(golden_dir, tmp_path_factory):
    source = write_published_checkpoint(golden_dir, tmp_path_factory.mktemp("published"))
    return published_repos(source)


@pytest.fixture
def hub(repos, monkeypatch):
    with serving({repo: dict(files) for repo, files in repos.items()}) as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield served


@pytest.fixture(scope="session")
def config(golden_dir):
    return tiny.tiny_model_config(golden_dir)


def download_tiny(hub, config, folder, preset="", quiet=False):
    """Downloads a model of the tiny checkpoint's sizes."""
    target = LocalWeights(Path(folder), hub=Hub(hub.url), config=config)
    options = DownloadOptions(preset=preset, assume_yes=True)
    return download(target, options, Console(OutputOptions(quiet=quiet)))


@pytest.fixture(scope="session")
def packed_once(repos, config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed") / "weights"
    with serving(repos) as served:
        download_tiny(served, config, folder, quiet=True)
    return folder


@pytest.fixture
def weights(packed_once, folder):
    """A folder `weights` with everything fetched and packed."""
    return Path(shutil.copytree(packed_once, folder / "weights"))


def damage(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_weights_are_fetched_and_packed(hub, config, folder):
    downloaded = download_tiny(hub, config, folder / "weights")

    pack = folder / "weights" / "pack"
    assert downloaded.pack == str(pack)
    assert downloaded.fetched_bytes == downloaded.size_bytes > 0
    next_command = f"multitalk generate IMAGE VOICE --backend local --weights {pack}"
    assert downloaded_next(downloaded) == next_command
    assert verify_pack(pack, open_pack(pack).manifest) == []
    assert load_manifest(pack).sources == load_sources(folder / "weights").files


def test_repositories_and_space_are_reported_first(hub, config, folder, capfd):
    download_tiny(hub, config, folder / "weights")

    shown = capfd.readouterr().err
    for repo in REPOSITORIES:
        assert f"{repo} at {hub.commit(repo)[:12]}" in shown
    assert re.search(r"space +[\d.]+ MB needed, [\d.]+ GB free", shown)


def test_a_second_run_does_nothing_over_again(hub, weights, cli):
    stamps = {path: path.stat().st_mtime_ns for path in weights.rglob("*")}

    ran = cli("--json", "download", "--to", "weights")

    assert ran.code == 0
    assert ran.json["data"]["fetched_bytes"] == 0
    assert ran.json["data"]["pack"] == "weights/pack"
    assert hub.requests == []
    assert {path: path.stat().st_mtime_ns for path in weights.rglob("*")} == stamps


# 8-bit weights of presets


STEP_FOLDER = Path("8bit/transformer-lightx2v")


@pytest.fixture
def step_hub(hub, tmp_path):
    """The hub, with a LoRA of that name for the tiny model."""
    known = KNOWN_LORAS["lightx2v"]
    hub.repos[known.repository] = {known.file: lora_file(tmp_path / "a.safetensors", 0.1)}
    return hub


def test_everything_that_a_preset_needs_is_fetched_and_stored(step_hub, config, folder, capfd):
    downloaded = download_tiny(step_hub, config, folder / "weights", preset="fast")

    weights = folder / "weights"
    shown = capfd.readouterr().err
    pack = weights / "pack"
    assert downloaded.eight_bit == str(weights / STEP_FOLDER)
    assert downloaded_next(downloaded) == (
        f"multitalk generate IMAGE VOICE --preset fast --backend local --weights {pack}"
    )
    assert re.search(rf"8-bit +weights, about [\d.]+ kB more, in {weights / STEP_FOLDER}", shown)
    assert re.search(r"lora +lightx2v, ", shown)
    for place in (pack, weights / STEP_FOLDER):
        assert verify_pack(place, load_manifest(place)) == []
    step_hub.requests.clear()
    again = download_tiny(step_hub, config, weights, preset="fastest")
    assert (again.fetched_bytes, again.eight_bit) == (0, downloaded.eight_bit)
    assert step_hub.requests == []


def test_a_preset_without_a_lora_is_stored_from_the_pack_alone(hub, weights, cli):
    (weights / SHARD).unlink()

    asked = cli("download", "--to", "weights", "--preset", "balanced")
    stored = cli("--json", "download", "--to", "weights", "--preset", "balanced", "--yes")
    again = cli("--json", "download", "--to", "weights", "--preset", "balanced")
    nothing = cli("download", "--to", "weights", "--preset", "best")

    assert asked.code == 2
    assert re.search(r"Write [\d.]+ MB into weights\?", asked.stderr)
    assert stored.code == 0, stored.stderr
    assert stored.json["data"]["eight_bit"] == "weights/8bit/transformer"
    assert (stored.json["data"]["lora"], stored.json["data"]["fetched_bytes"]) == (None, 0)
    assert (again.code, "everything is already in" in again.stderr) == (0, True)
    assert "the preset best needs nothing but the weights" in nothing.stderr
    assert hub.requests == []


def test_a_pack_without_its_published_files_is_listed_and_verified_too(hub, config, weights, cli):
    (weights / "sources.json").unlink()
    download_tiny(hub, config, weights, preset="balanced", quiet=True)

    listed = cli("--json", "download", "--to", "weights", "--list")
    verified = cli("--json", "download", "--to", "weights", "--verify")
    kept = cli("--json", "download", "--to", "weights", "--prune", "--yes")
    (file, *_) = (weights / "8bit" / "transformer").glob("*.safetensors")
    damage(file)
    damaged = cli("download", "--to", "weights", "--verify")

    assert listed.json["data"]["packs"] == {"bf16": True, "fp8": False, "8bit/transformer": True}
    assert verified.json["data"]["verified"] == len(load_manifest(weights / "pack").files)
    # Nobody knows what they are.
    assert (kept.json["data"]["removed"], (weights / SHARD).is_file()) == ([], True)
    assert f"8bit/transformer/{file.name}" in damaged.stderr
    assert hub.requests == []


def test_stored_weights_are_listed_verified_repaired_and_pruned(step_hub, config, weights, cli):
    download_tiny(step_hub, config, weights, preset="fast", quiet=True)
    own = weights / "8bit" / "notes" / "manifest.json"
    own.parent.mkdir()
    own.write_text("mine")
    (file, *_) = (weights / STEP_FOLDER).glob("*.safetensors")
    damage(file)

    verified = cli("--json", "download", "--to", "weights", "--verify")
    repaired = cli("download", "--to", "weights", "--repair", "--yes")
    listed = cli("download", "--to", "weights", "--list")
    kept = cli("--json", "download", "--to", "weights", "--prune", "--yes")
    known = KNOWN_LORAS["lightx2v"]
    step_hub.repos[known.repository] = {known.file: lora_file(weights / "other")}
    cli("download", "--to", "weights", "--lora", "lightx2v", "--yes")
    outdated = cli("download", "--to", "weights", "--list")
    pruned = cli("--json", "download", "--to", "weights", "--prune", "--yes")

    assert verified.error["message"].split("\n")[1:] == [str(STEP_FOLDER / file.name)]
    assert repaired.code == 0, repaired.stderr
    assert re.search(rf"^{STEP_FOLDER}/ .* complete$", listed.stdout, re.MULTILINE)
    assert "fp8" not in listed.stdout
    assert kept.json["data"]["removed"] == []
    assert re.search(rf"^{STEP_FOLDER}/ .* outdated$", outdated.stdout, re.MULTILINE)
    assert f"weights/{STEP_FOLDER}/manifest.json" in pruned.json["data"]["removed"]
    assert list((weights / STEP_FOLDER).iterdir()) == []
    assert own.read_text() == "mine"


def test_a_damaged_pack_is_named_and_what_a_lost_power_left_is_written_again(
    hub, config, weights, cli
):
    place = weights / "8bit" / "transformer"
    place.mkdir(parents=True)
    (place / "unfinished.json").write_text("[]")
    download_tiny(hub, config, weights, preset="balanced", quiet=True)
    assert verify_pack(place, load_manifest(place)) == []
    shutil.rmtree(place)
    (file, *_) = (weights / "pack").glob("dit-*.safetensors")
    file.write_bytes(file.read_bytes().replace(b'{"', b"xx", 1))

    ran = cli("--json", "download", "--to", "weights", "--preset", "balanced", "--yes")

    assert (ran.code, ran.error["code"]) == (4, "E_WEIGHTS")
    assert "are damaged: dit-001.safetensors has a header that cannot be read" in ran.stdout
    assert ran.error["hint"] == "multitalk download --to weights --repair --yes"


def test_a_damaged_lora_is_added_again(step_hub, config, weights, cli):
    words = ("download", "--to", "weights", "--lora", "lightx2v", "--yes")
    cli(*words)
    file = weights / "loras" / "lightx2v.safetensors"
    before = file.read_bytes()
    damage(file)

    ran = cli("--json", *words)

    assert ran.json["data"]["fetched_bytes"] == len(before), ran.stderr
    assert file.read_bytes() == before


@pytest.mark.parametrize(("typed", "preset"), [((), "balanced"), (("--preset", "fast"), "fast")])
def test_the_option_that_a_preset_replaces_says_so(hub, cli, typed, preset):
    ran = cli("--json", "download", "--to", "weights", "--precision", "fp8", "--yes", *typed)

    assert (ran.code, ran.error["code"]) == (2, "E_RANGE")
    assert "replaced by --preset" in ran.error["message"]
    assert ran.error["hint"] == f"multitalk download --to weights --yes --preset {preset}"
    assert hub.requests == []


@pytest.mark.usefixtures("hub")
def test_a_model_of_other_sizes_is_fetched_and_then_refused(cli):
    ran = cli("--json", "download", "--to", "weights", "--yes")

    assert (ran.code, ran.error["code"]) == (4, "E_WEIGHTS")
    assert "not those of the model" in ran.error["message"]
    listed = cli("--json", "download", "--to", "weights", "--list")
    assert {file["state"] for file in listed.json["data"]["files"]} == {"complete"}


# Asking


@pytest.mark.usefixtures("hub")
def test_without_a_terminal_yes_must_be_given(folder, cli):
    ran = cli("download", "--to", "my weights")

    assert ran.code == 2
    assert "multitalk download --to 'my weights' --yes" in ran.stderr
    assert not (folder / "my weights").exists()


def downloading(folder, surroundings, columns=80):
    """A download into a folder, on a terminal that asks."""
    words = ("multitalk", "download", "--to", "weights")
    return Program(["env", *words], colourful(surroundings), columns=columns, cwd=folder)


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize("answer", ["n\r", "\r", "\x04"])
def test_a_person_who_does_not_say_yes_has_changed_nothing(folder, surroundings, answer):
    program = downloading(folder, surroundings)
    program.answer("[y/N] ", answer)

    assert program.end()[-1] == "nothing was changed"
    assert program.code == 8
    assert_orderly(program)
    assert not (folder / "weights").exists()


@pytest.mark.parametrize("columns", [60, 100])
def test_a_person_who_says_yes_sees_bars(hub, folder, surroundings, columns):
    hub.faults.bytes_per_s = 2_000_000
    program = downloading(folder, surroundings, columns)
    program.answer("[y/N] ", "y\r")
    lines = program.end()

    assert any(line.startswith("fetching ") for line in lines)
    assert any(re.match(r"file \d+/\d+ ", piece) for piece in program.drawn)
    assert load_sources(folder / "weights") is not None
    assert_orderly(program)


# Failures


def test_a_gated_hub_names_the_token_and_never_shows_it(hub, cli, monkeypatch):
    hub.faults.token = "hf_right"
    monkeypatch.setenv("HF_TOKEN", "hf_wrong_and_secret")

    ran = cli("--debug", "download", "--to", "weights", "--yes")

    assert ran.code == 4
    assert "E_HUB_TOKEN" in ran.stderr
    assert "HF_TOKEN" in ran.stderr
    assert "hf_wrong" not in ran.stdout + ran.stderr


def test_a_token_from_the_environment_opens_the_hub(hub, weights, cli, monkeypatch):
    hub.faults.token = "hf_right"
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    (weights / SHARD).unlink()

    assert cli("download", "--to", "weights", "--yes").code == 0


@pytest.mark.usefixtures("hub")
def test_a_commit_that_there_is_not_is_named(cli):
    ran = cli(
        "--json",
        "download",
        "--to",
        "weights",
        "--yes",
        "--revision",
        f"{WAN_REPOSITORY}={'0' * 40}",
    )

    assert (ran.code, ran.error["code"]) == (6, "E_HUB_MISSING")
    assert WAN_REPOSITORY in ran.error["message"]


def test_no_network_is_temporary(folder, cli, monkeypatch):
    with serving({}) as gone:
        monkeypatch.setenv("HF_ENDPOINT", gone.url)

    ran = cli("--json", "download", "--to", "weights", "--yes")

    assert (ran.code, ran.error["code"]) == (7, "E_HUB_NETWORK")
    assert not (folder / "weights").exists()


def test_too_little_space_is_told_before_anything_is_fetched(hub, folder, cli):
    hub.claims[published.VAE_FILE] = 10**18

    ran = cli("--json", "download", "--to", "weights", "--yes")

    assert (ran.code, ran.error["code"]) == (3, "E_DISK_SPACE")
    assert not (folder / "weights").exists()


@pytest.mark.parametrize("token", [None, "hf_right"])
def test_a_hub_that_throttles_for_too_long_names_a_token(hub, folder, cli, monkeypatch, token):
    if token is not None:
        monkeypatch.setenv("HF_TOKEN", token)
    hub.faults.throttles, hub.faults.throttling = 1, {"Retry-After": "1800"}

    ran = cli("--json", "download", "--to", "weights", "--yes")

    code = "E_HUB_THROTTLED" if token is None else "E_HUB_NETWORK"
    assert (ran.code, ran.error["code"]) == (7, code)
    assert "limits the rate of requests" in ran.error["message"]
    assert ("multitalk setup-secrets --only hf" in ran.error["hint"]) == (token is None)
    assert not (folder / "weights").exists()


@pytest.mark.usefixtures("hub")
def test_other_sizes_than_the_published_are_said_before_anything_is_fetched(folder, cli):
    ran = cli("download", "--to", "weights")

    assert ran.code == 2
    assert re.search(r"VAE: the hub lists [\d.]+ [kM]B, expected 508 MB", ran.stderr)
    assert not (folder / "weights").exists()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--precision", "fp4"], "E_RANGE"),
        (["--revision", "main"], "E_RANGE"),
        (["--revision", "someone/else=main"], "E_RANGE"),
        (["--verify", "--prune"], "E_CONFLICT"),
        (["--verify", "--lora", "fusionx"], "E_CONFLICT"),
        (["--lora", "ftp://host/a.safetensors"], "E_RANGE"),
        (["--lora", "https://user:key@host/a.safetensors"], "E_RANGE"),
        (["--detach"], "E_CONFLICT"),
        (["--cancel"], "E_CONFLICT"),
        (["--to", ""], "E_USAGE"),
    ],
)
def test_a_wrong_command_line_is_refused(hub, cli, words, code):
    ran = cli("--json", "download", "--to", "weights", *words)

    assert (ran.code, ran.error["code"]) == (2, code)
    assert hub.requests == []


def wait_for_shard(folder):
    """Until the largest file has begun to arrive."""
    deadline_s = time.monotonic() + 30
    while not any(part.stat().st_size for part in folder.glob(f"weights/{SHARD}.*.part")):
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def test_a_second_download_at_the_same_time_keeps_out(hub, folder, started, cli):
    hub.faults.bytes_per_s = 1_000_000
    child = started("multitalk", "download", "--to", "weights", "--yes")
    wait_for_shard(folder)

    ran = cli("--json", "download", "--to", "weights", "--yes")
    child.communicate(timeout=HANG_S)

    assert (ran.code, ran.error["code"]) == (7, "E_DOWNLOAD_RUNS")
    assert cli("download", "--to", "weights", "--verify").code == 0


def test_an_interrupted_download_is_resumed(hub, folder, started, cli):
    hub.faults.bytes_per_s = 1_000_000
    child = started("multitalk", "download", "--to", "weights", "--yes")
    wait_for_shard(folder)
    child.send_signal(signal.SIGINT)
    _, shown = child.communicate(timeout=HANG_S)
    hub.faults.bytes_per_s = None
    hub.requests.clear()

    cli("download", "--to", "weights", "--yes")

    assert child.returncode in (130, -signal.SIGINT)
    assert b"run the same command again to resume" in shown
    assert hub.requests[0][0].endswith(SHARD)
    assert hub.requests[0][1].startswith("bytes=")


# A folder that was downloaded


def test_list_shows_what_is_there_without_a_network(weights, cli, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    (weights / SHARD).unlink()

    ran = cli("download", "--to", "weights", "--list")

    assert ran.code == 0
    assert re.search(rf"^{SHARD} .* absent$", ran.stdout, re.MULTILINE)
    assert re.search(rf"^{published.VAE_FILE} .* complete$", ran.stdout, re.MULTILINE)
    assert re.search(r"^pack/ .* complete$", ran.stdout, re.MULTILINE)


@pytest.mark.parametrize("task", ["--list", "--verify", "--prune"])
def test_a_folder_without_a_download_is_told(cli, task):
    ran = cli("--json", "download", "--to", "weights", task)

    assert (ran.code, ran.error["code"]) == (4, "E_WEIGHTS")
    assert ran.error["hint"] == "multitalk download --to weights"


@pytest.mark.usefixtures("weights")
def test_verify_finds_everything_in_order(cli):
    ran = cli("download", "--to", "weights", "--verify")

    assert ran.code == 0
    assert "all checksums OK" in ran.stdout


def test_verify_names_the_files_that_are_damaged(weights, cli):
    damage(weights / SHARD)
    damage(weights / "pack" / "vae-001.safetensors")

    ran = cli("--json", "download", "--to", "weights", "--verify")

    assert (ran.code, ran.error["code"]) == (4, "E_WEIGHTS")
    _, *names = ran.error["message"].split("\n")
    assert names == [SHARD, "pack/vae-001.safetensors"]
    assert "--repair" in ran.error["hint"]


def test_repair_fetches_only_what_is_damaged(hub, weights, cli):
    damage(weights / SHARD)

    ran = cli("download", "--to", "weights", "--repair", "--yes")

    assert ran.code == 0
    assert [path.rpartition("/")[2] for path, _, _ in hub.requests] == [SHARD]
    assert cli("download", "--to", "weights", "--verify").code == 0


def test_repair_packs_again_where_the_pack_is_damaged(hub, config, weights):
    damage(weights / "pack" / "vae-001.safetensors")
    target = LocalWeights(weights, hub=Hub(hub.url), config=config)
    options = DownloadOptions(assume_yes=True, is_repair=True)

    download(target, options, Console(OutputOptions(quiet=True)))

    assert verify_pack(weights / "pack", load_manifest(weights / "pack")) == []
    assert hub.requests == []


def test_prune_removes_what_nothing_names(weights, cli):
    stray = weights / f"{SHARD}.{'0' * 12}.part"
    stray.write_bytes(b"x" * 100)
    (weights / "notes.txt").write_text("mine")

    asked = cli("download", "--to", "weights", "--prune")
    ran = cli("--json", "download", "--to", "weights", "--prune", "--yes")

    assert asked.code == 2
    assert ran.json["data"]["removed"] == [f"weights/{stray.name}"]
    assert not stray.exists()
    assert (weights / "notes.txt").exists()
    assert cli("download", "--to", "weights", "--verify").code == 0


def test_a_lora_is_added_listed_and_repaired(hub, weights, cli, tmp_path):
    repo, path = KNOWN_LORAS["lightx2v"].repository, KNOWN_LORAS["lightx2v"].file
    hub.repos[repo] = {path: lora_file(tmp_path / "made.safetensors")}

    refused = cli("download", "--to", "weights", "--lora", "lightx2v")
    added = cli("--json", "download", "--to", "weights", "--lora", "lightx2v", "--yes")
    damage(weights / "loras" / "lightx2v.safetensors")
    verified = cli("--json", "download", "--to", "weights", "--verify")
    repaired = cli("download", "--to", "weights", "--repair", "--yes")
    listed = cli("download", "--to", "weights", "--list")

    assert (refused.code, "none stated" in refused.stderr) == (2, True)
    assert (added.code, added.json["data"]["file"]) == (0, "weights/loras/lightx2v.safetensors")
    assert "loras/lightx2v.safetensors" in verified.error["message"]
    assert repaired.code == 0, repaired.stderr
    assert re.search(r"^loras/lightx2v.safetensors .* complete$", listed.stdout, re.MULTILINE)


@pytest.mark.usefixtures("hub", "weights")
def test_a_lora_of_this_machine_is_copied_into_the_folder(cli, tmp_path):
    content = lora_file(tmp_path / "My own.safetensors")
    words = ("download", "--to", "weights", "--lora", str(tmp_path / "My own.safetensors"))

    added = cli("--json", *words, "--yes")
    again = cli("--json", *words)
    (tmp_path / "My own.safetensors").write_bytes(content[:-1] + b"x")
    replaced = cli("--json", *words, "--yes")
    absent = cli("--json", *words[:-1], "gone.safetensors", "--yes")
    far = cli("--json", "download", "--lora", "mine.safetensors")
    other = {f"blocks.0.self_attn.q.lora_{way}.weight": torch.ones(8, 8) for way in ("up", "down")}
    lora_file(tmp_path / "My own.safetensors", **other)
    misfit = cli("--json", *words, "--yes")

    assert (added.code, added.json["data"]["file"]) == (0, "weights/loras/My-own.safetensors")
    assert again.json["data"]["fetched_bytes"] == 0
    assert replaced.json["data"]["sha256"] != added.json["data"]["sha256"]
    assert absent.error["code"] == "E_FILE_MISSING"
    assert far.error["code"] == "E_RANGE"
    assert misfit.error["code"] == "E_LORA"
    assert "is of another model" in misfit.error["message"]


@pytest.mark.usefixtures("hub")
def test_progress_is_json_lines_for_programs(weights, cli):
    (weights / SHARD).unlink()

    ran = cli("--progress", "json", "download", "--to", "weights", "--yes")

    events = [json.loads(line) for line in ran.stderr.splitlines() if line.startswith("{")]
    fetching = [event for event in events if event["event"] == "fetching"]
    assert 0 < fetching[-1]["done_bytes"] <= fetching[-1]["total_bytes"]
