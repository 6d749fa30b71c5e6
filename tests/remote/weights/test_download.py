"""Fetching the published files from a hub that breaks off, stalls, lies and refuses."""

import hashlib
import json
import os
import random
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from multitalk_cli.contract import MULTITALK_REPOSITORY, WAN_REPOSITORY, WAV2VEC_REPOSITORY
from multitalk_cli.contract.weights_task import PUBLISHED
from multitalk_cli.errors import FileError, SetupError, StorageError, TemporaryError, UsageError
from multitalk_cli.storage.hub import Hub, HubPolicy
from multitalk_cli.storage.retry import RetryPolicy
from remote.engine.checkpoint import published
from remote.weights import download, resumable
from remote.weights.manifest import SOURCES_FILE, SourceFile, SourceManifest
from tests.storage.fakehub import serving

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
QUICK = HubPolicy(
    stall_s=0.5,
    asking=RetryPolicy(pauses_s=(0.01, 0.01)),
    fetching=RetryPolicy(pauses_s=(0.01, 0.01, 0.01)),
)
SHARD = "diffusion_pytorch_model-00001-of-00001.safetensors"


def small_repos(shard_bytes=300_000):
    """Repositories with the published names and arbitrary bytes."""
    noise = random.Random(7).randbytes
    index = {"weight_map": {"a": SHARD, "b": published.AUDIO_FILE}}
    return {
        WAN_REPOSITORY: {
            SHARD: noise(shard_bytes),
            published.VAE_FILE: noise(40_000),
            published.TEXT_FILE: noise(50_000),
            published.CLIP_FILE: noise(60_000),
            f"{published.TOKENIZER_FOLDER}/tokenizer.json": noise(9_000),
            f"{published.TOKENIZER_FOLDER}/tokenizer_config.json": b"{}",
            published.BASE_INDEX: b"{}",
            "assets/picture.png": noise(5_000),
        },
        WAV2VEC_REPOSITORY: {
            published.WAV2VEC_FILE: noise(20_000),
            "pytorch_model.bin": noise(20_000),
            "config.json": b'{"a": 1}',
            "preprocessor_config.json": b'{"b": 1}',
        },
        MULTITALK_REPOSITORY: {
            published.BASE_INDEX: json.dumps(index).encode(),
            published.AUDIO_FILE: noise(70_000),
        },
    }


@pytest.fixture
def hub():
    with serving(small_repos()) as served:
        yield served


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "weights"


def client(hub, token=None):
    return Hub(hub.url, token, QUICK)


def make_plan(hub, folder):
    return download.make_plan(folder, client(hub), {})


def fetch(hub, folder, plan=None, revisions=None, token=None):
    """Plans, unless that is done, and fetches; gives the plan."""
    asked = client(hub, token)
    if plan is None:
        plan = download.make_plan(folder, asked, revisions or {})
    with download.locked(folder):
        for _ in download.fetch(folder, plan, asked):
            pass
    return plan


def is_whole(hub, folder, plan):
    """Whether every file has the bytes that the hub has."""
    return all(
        (folder / download.place_of(file)).read_bytes() == hub.repos[file.repo][file.path]
        for file in plan.sources.files
    )


def test_everything_that_is_read_arrives_and_nothing_else(hub, folder):
    plan = fetch(hub, folder)

    assert is_whole(hub, folder, plan)
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    places = {download.place_of(file) for file in plan.sources.files}
    assert names == places | {SOURCES_FILE, download.LOCK_FILE}
    assert f"{published.WAV2VEC_FOLDER}/{published.WAV2VEC_FILE}" in places
    assert "pytorch_model.bin" not in str(names)


def test_the_index_is_multitalk_s(hub, folder):
    fetch(hub, folder)

    expected = hub.repos[MULTITALK_REPOSITORY][published.BASE_INDEX]
    assert (folder / published.BASE_INDEX).read_bytes() == expected


def test_the_manifest_pins_commits_sizes_and_hashes(hub, folder):
    fetch(hub, folder)

    for file in download.load_sources(folder).files:
        data = hub.repos[file.repo][file.path]
        assert file.revision == hub.commit(file.repo)
        assert (file.size_bytes, file.sha256) == (len(data), hashlib.sha256(data).hexdigest())


def test_a_second_run_asks_the_hub_nothing(hub, folder):
    fetch(hub, folder)
    hub.requests.clear()

    fetch(hub, folder)

    assert hub.requests == []


def test_later_runs_keep_to_the_commits_of_the_first(hub, folder):
    plan = fetch(hub, folder)
    (folder / SHARD).unlink()
    hub.repos[WAN_REPOSITORY]["new.txt"] = b"a later commit"

    with pytest.raises(StorageError) as caught:
        fetch(hub, folder)

    assert caught.value.code == "E_HUB_MISSING"
    assert (
        hub.requests[-1][0] == f"/{WAN_REPOSITORY}/resolve/{plan.revisions[WAN_REPOSITORY]}/{SHARD}"
    )


def test_a_named_revision_pins_anew(hub, folder):
    first = fetch(hub, folder)
    hub.repos[WAN_REPOSITORY][SHARD] = bytes(len(hub.repos[WAN_REPOSITORY][SHARD]))
    hub.repos[WAN_REPOSITORY]["new.txt"] = b"a later commit"

    second = fetch(hub, folder, revisions={WAN_REPOSITORY: hub.commit(WAN_REPOSITORY)})

    assert is_whole(hub, folder, second)
    assert first.revisions[WAV2VEC_REPOSITORY] == second.revisions[WAV2VEC_REPOSITORY]
    assert (
        first.revisions[WAN_REPOSITORY]
        != second.revisions[WAN_REPOSITORY]
        == hub.commit(WAN_REPOSITORY)
    )


def test_long_lists_of_files_come_in_pages(hub, folder):
    hub.page = 2

    assert is_whole(hub, folder, fetch(hub, folder))


def test_broken_connections_go_on_at_the_byte(hub, folder):
    plan = make_plan(hub, folder)
    hub.faults.cuts, hub.faults.cut_after = 40, 8_000
    hub.sent_bytes = 0

    fetch(hub, folder, plan)

    assert is_whole(hub, folder, plan)
    assert hub.sent_bytes <= 1.05 * plan.size_bytes
    assert sum(span is not None for _, span, _ in hub.requests) >= 30


def test_a_server_without_ranges_is_borne(hub, folder):
    hub.faults.ignores_ranges = True
    hub.faults.cuts, hub.faults.cut_after = 4, 1000

    assert is_whole(hub, folder, fetch(hub, folder))


def test_a_stalled_connection_gives_way_to_a_new_one(hub, folder):
    plan = make_plan(hub, folder)
    hub.faults.stalls = 1

    fetch(hub, folder, plan)

    assert is_whole(hub, folder, plan)
    assert any(span == "bytes=1000-" for _, span, _ in hub.requests)


def test_a_busy_hub_is_asked_again(hub, folder):
    hub.faults.busy = 2

    assert is_whole(hub, folder, fetch(hub, folder))


def test_a_hub_that_stays_busy_ends_in_a_temporary_error(hub, folder):
    hub.faults.busy = 100

    with pytest.raises(TemporaryError, match="status 503") as caught:
        fetch(hub, folder)

    assert caught.value.code == "E_HUB_NETWORK"


def test_a_network_that_goes_away_leaves_what_arrived(hub, folder):
    plan = make_plan(hub, folder)
    hub.faults.cuts, hub.faults.cut_after = 100, 0

    with pytest.raises(TemporaryError, match="cannot be fetched"):
        fetch(hub, folder, plan)
    hub.faults.cuts = 0

    assert is_whole(hub, folder, fetch(hub, folder))
    assert download.load_sources(folder) == plan.sources


def test_no_hub_at_all_is_a_temporary_error(folder):
    with serving({}) as gone:
        pass

    with pytest.raises(TemporaryError) as caught:
        download.make_plan(folder, client(gone), {})

    assert caught.value.code == "E_HUB_NETWORK"
    assert not folder.exists()


def test_wrong_bytes_are_fetched_once_more(hub, folder):
    plan = make_plan(hub, folder)
    hub.faults.lies = 1

    fetch(hub, folder, plan)

    assert is_whole(hub, folder, plan)


def test_bytes_that_stay_wrong_are_not_kept(hub, folder):
    plan = make_plan(hub, folder)
    hub.faults.lies = 100

    with pytest.raises(StorageError) as caught:
        fetch(hub, folder, plan)

    assert caught.value.code == "E_HUB_CHANGED"
    assert not list(folder.rglob("*.part"))
    assert not (folder / published.TOKENIZER_FOLDER / "tokenizer.json").exists()


def test_small_files_are_compared_with_git_s_hash(hub, folder):
    hub.faults.lies = 1
    assert is_whole(hub, folder, fetch(hub, folder))

    hub.faults.lies = 2
    with pytest.raises(StorageError) as caught:
        make_plan(hub, folder / "other")

    assert caught.value.code == "E_HUB_CHANGED"


def test_a_damaged_part_of_an_earlier_run_costs_one_more_fetch(hub, folder):
    plan = make_plan(hub, folder)
    (vae,) = [file for file in plan.sources.files if file.path == published.VAE_FILE]
    part = resumable.part_path(folder / published.VAE_FILE, vae.sha256)
    folder.mkdir()
    part.write_bytes(bytes(1000))

    fetch(hub, folder)

    assert is_whole(hub, folder, plan)
    assert not part.exists()


def test_a_part_that_loses_bytes_while_it_is_written_gets_no_name(hub, folder):
    plan = make_plan(hub, folder)
    (shard,) = [file for file in plan.sources.files if file.path == SHARD]
    part = resumable.part_path(folder / SHARD, shard.sha256)

    with pytest.raises(FileError, match="bytes after 300000 were written") as caught:
        for event in download.fetch(folder, plan, client(hub)):
            if event.name == SHARD and event.file_bytes == shard.size_bytes:
                os.truncate(part, 200_000)

    assert caught.value.code == "E_OUTPUT_PATH"
    assert not part.exists()
    assert is_whole(hub, folder, fetch(hub, folder))


def test_a_part_that_is_too_long_is_begun_anew(hub, folder):
    plan = make_plan(hub, folder)
    (vae,) = [file for file in plan.sources.files if file.path == published.VAE_FILE]
    folder.mkdir()
    part = resumable.part_path(folder / published.VAE_FILE, vae.sha256)
    part.write_bytes(bytes(vae.size_bytes + 1))

    fetch(hub, folder)

    assert is_whole(hub, folder, plan)


def test_files_that_came_another_way_are_compared_first(hub, folder):
    folder.mkdir()
    (folder / published.VAE_FILE).write_bytes(bytes(40_000))
    (folder / SHARD).write_bytes(hub.repos[WAN_REPOSITORY][SHARD])

    plan = fetch(hub, folder)

    assert is_whole(hub, folder, plan)
    assert not any(path.endswith(SHARD) for path, _, _ in hub.requests)


def test_verifying_names_what_is_wrong_and_repair_fetches_only_that(hub, folder):
    plan = fetch(hub, folder)
    data = bytearray((folder / SHARD).read_bytes())
    data[5] ^= 1
    (folder / SHARD).write_bytes(data)
    (folder / published.VAE_FILE).unlink()
    hub.requests.clear()

    wrong = download.verify(folder, plan.sources)
    download.discard(folder, wrong)
    fetch(hub, folder)

    assert {file.path for file in wrong} == {SHARD, published.VAE_FILE}
    assert {path.rpartition("/")[2] for path, _, _ in hub.requests} == {file.path for file in wrong}
    assert download.verify(folder, plan.sources) == []


# Tokens


def test_a_gated_repository_names_the_token(hub, folder):
    hub.faults.token = "hf_right"

    with pytest.raises(SetupError, match="HF_TOKEN") as caught:
        fetch(hub, folder, token="hf_wrong")

    assert caught.value.code == "E_HUB_TOKEN"
    assert "hf_wrong" not in str(caught.value)


def test_the_token_opens_what_is_gated(hub, folder):
    hub.faults.token = "hf_right"

    assert is_whole(hub, folder, fetch(hub, folder, token="hf_right"))


def test_the_token_goes_to_the_hub_only(hub, folder):
    with serving(hub.repos) as storage:
        hub.storage = storage
        plan = fetch(hub, folder, token="hf_right")

    assert is_whole(hub, folder, plan)
    assert {token for _, _, token in hub.requests} == {"Bearer hf_right"}
    assert {token for _, _, token in storage.requests} == {None}


def test_the_token_and_the_hub_come_from_the_surroundings(hub, folder, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    hub.faults.token = "hf_right"

    plan = download.make_plan(folder, Hub.of_surroundings(QUICK), {})

    assert plan.size_bytes > 0


@pytest.mark.parametrize(
    "endpoint", ["hub.example", "ftp://hub.example", "https://me:secret@hub.example", "file:///x"]
)
def test_an_odd_endpoint_is_refused_and_not_shown(monkeypatch, endpoint):
    monkeypatch.setenv("HF_ENDPOINT", endpoint)

    with pytest.raises(UsageError, match="HF_ENDPOINT") as caught:
        Hub.of_surroundings()

    assert "secret" not in str(caught.value)


# Refusals


def test_a_repository_that_is_gone_is_named(hub, folder):
    del hub.repos[WAV2VEC_REPOSITORY]

    with pytest.raises(StorageError, match="chinese-wav2vec2") as caught:
        fetch(hub, folder)

    assert caught.value.code == "E_HUB_MISSING"


def test_a_file_that_is_gone_is_named(hub, folder):
    del hub.repos[WAN_REPOSITORY][published.CLIP_FILE]

    with pytest.raises(StorageError, match="has no models_clip") as caught:
        fetch(hub, folder)

    assert caught.value.code == "E_HUB_MISSING"


@pytest.mark.parametrize("name", ["../../x.safetensors", "/etc/passwd", "a/b", "evil.sh"])
def test_an_index_cannot_name_files_elsewhere(hub, folder, name):
    hub.repos[MULTITALK_REPOSITORY][published.BASE_INDEX] = json.dumps(
        {"weight_map": {"a": name}}
    ).encode()

    with pytest.raises(StorageError, match="index") as caught:
        fetch(hub, folder)

    assert caught.value.code == "E_HUB"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("path", "../../etc/passwd"),
        ("path", "/etc/passwd"),
        ("repo", "someone/else"),
        ("revision", "main"),
        ("size_bytes", -1),
        ("sha256", "short"),
    ],
)
def test_sources_from_elsewhere_are_not_believed(hub, folder, key, value):
    fetch(hub, folder)
    path = folder / SOURCES_FILE
    data = json.loads(path.read_text())
    data["files"][0][key] = value
    path.write_text(json.dumps(data))

    with pytest.raises(SetupError, match="damaged") as caught:
        fetch(hub, folder)

    assert caught.value.code == "E_WEIGHTS"


def test_a_folder_that_cannot_be_made_is_a_file_error(tmp_path, hub):
    (tmp_path / "file").write_text("x")

    with pytest.raises(FileError) as caught:
        fetch(hub, tmp_path / "file" / "weights")

    assert caught.value.code == "E_OUTPUT_PATH"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full")
def test_a_full_disk_is_told():
    with pytest.raises(FileError) as caught, resumable.disk_errors(Path("vae.pth")):
        Path("/dev/full").write_bytes(b"x")

    assert caught.value.code == "E_DISK_SPACE"


def test_two_at_once_are_refused(hub, folder):
    with download.locked(folder), pytest.raises(TemporaryError) as caught:
        fetch(hub, folder)

    assert caught.value.code == "E_DOWNLOAD_RUNS"
    assert is_whole(hub, folder, fetch(hub, folder))


# Compared with what was published


def listed(changes=()):
    """The published files with their sizes, or changed ones; of a part in several files one."""
    sizes = {part.name: part.size_bytes for part in PUBLISHED} | dict(changes)
    repos = {
        SHARD: PUBLISHED[0],
        published.TEXT_FILE: PUBLISHED[1],
        published.CLIP_FILE: PUBLISHED[2],
        published.VAE_FILE: PUBLISHED[3],
        published.AUDIO_FILE: PUBLISHED[4],
        published.WAV2VEC_FILE: PUBLISHED[5],
        f"{published.TOKENIZER_FOLDER}/tokenizer.json": None,
    }
    return SourceManifest(
        files=tuple(
            SourceFile(
                repo=WAN_REPOSITORY if part is None else part.repository,
                revision="0" * 40,
                path=path,
                size_bytes=16_000_000 if part is None else sizes[part.name],
                sha256="0" * 64,
            )
            for path, part in repos.items()
        )
    )


def test_the_published_sizes_are_those_expected():
    assert download.differences(listed()) == []


@pytest.mark.parametrize("part", PUBLISHED, ids=lambda part: part.name)
@pytest.mark.parametrize("factor", [0, 0.9, 1.1])
def test_a_part_that_grew_shrank_or_is_absent_is_named(part, factor):
    size = round(part.size_bytes * factor)

    assert download.differences(listed({part.name: size})) == [
        {"part": part.name, "size_bytes": size, "expected_bytes": part.size_bytes}
    ]


def test_headers_and_roundings_are_no_difference():
    changes = {part.name: round(part.size_bytes * 1.002) for part in PUBLISHED}

    assert download.differences(listed(changes)) == []


# Pruning and states


def test_strays_are_ours_only(hub, folder):
    plan = fetch(hub, folder)
    old_part = folder / f"{published.VAE_FILE}.{'0' * 12}.part"
    old_shard = folder / "diffusion_pytorch_model-00009-of-00009.safetensors"
    (folder / "pack").mkdir()
    old_pack = folder / "pack" / "dit-099.safetensors"
    for path in (old_part, old_shard, old_pack, folder / "holiday.jpg"):
        path.write_bytes(b"x")

    found = download.strays(folder, plan.sources, {"pack": {"manifest.json"}})

    assert found == sorted([old_part, old_shard, old_pack])


def test_states_tell_complete_from_begun_and_absent(hub, folder):
    plan = fetch(hub, folder)
    (shard,) = [file for file in plan.sources.files if file.path == SHARD]
    (folder / published.VAE_FILE).unlink()
    (folder / SHARD).unlink()
    resumable.part_path(folder / SHARD, shard.sha256).write_bytes(bytes(100))

    by_place = {state.place: state for state in download.states(folder, plan.sources)}

    assert (by_place[SHARD].held_bytes, by_place[SHARD].is_complete) == (100, False)
    assert by_place[published.VAE_FILE].held_bytes == 0
    assert by_place[published.CLIP_FILE].is_complete
    assert plan.missing_bytes(folder) == 300_000 - 100 + 40_000


def test_progress_counts_every_byte_once(hub, folder):
    asked = client(hub)
    plan = download.make_plan(folder, asked, {})

    events = list(download.fetch(folder, plan, asked))

    assert [event.done_bytes for event in events] == sorted(event.done_bytes for event in events)
    assert events[-1].done_bytes == events[-1].total_bytes == plan.size_bytes
    assert [event.number for event in events][-1] == events[-1].count == len(plan.sources.files)


# Killed again and again

KILLED = textwrap.dedent("""
    import os, random, signal, sys, time
    from pathlib import Path
    from remote.weights import download
    from multitalk_cli.storage.hub import Hub, HubPolicy

    url, folder, kills = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])

    def fetch():
        # What is held in memory weighs little, as it does in 92.5 GB.
        hub = Hub(url, policy=HubPolicy(piece_bytes=16 * 1024))
        plan = download.make_plan(folder, hub, {})
        with download.locked(folder):
            for _ in download.fetch(folder, plan, hub):
                pass

    def held():
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

    chance = random.Random(int(sys.argv[4]))
    points = sorted(chance.uniform(0.02, 0.98) * float(sys.argv[5]) for _ in range(kills))
    killed = 0
    for point in [*points, None]:
        child = os.fork()
        if child == 0:
            fetch()
            os._exit(0)
        while point is not None and os.waitpid(child, os.WNOHANG) == (0, 0):
            try:
                reached = folder.exists() and held() >= point
            except FileNotFoundError:  # a part became a file
                continue
            if reached:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                killed += 1
                break
            time.sleep(0.001)
        if point is None:
            assert os.waitpid(child, 0)[1] == 0
    print(killed)
""")


def test_ten_kills_at_random_points_cost_almost_nothing(folder):
    with serving(small_repos(shard_bytes=24_000_000)) as hub:
        hub.faults.bytes_per_s = 10_000_000
        plan = make_plan(hub, folder)
        hub.sent_bytes = 0
        words = [hub.url, str(folder), "10", "3", str(plan.size_bytes)]
        ran = subprocess.run(
            [sys.executable, "-c", KILLED, *words],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )

        assert int(ran.stdout) == 10
        assert is_whole(hub, folder, plan)
        assert hub.sent_bytes <= 1.05 * plan.size_bytes
