"""Faults between a machine and its cloud: each has a code, and costs nothing twice."""

import json
from contextlib import contextmanager

import modal
import pytest
from grpclib import Status
from modal_proto import api_pb2

from multitalk_cli import contract
from multitalk_cli.media.video.probe import probe_video
from multitalk_cli.media.video.recipe import read_recipe
from multitalk_cli.media.video.video import read_frames
from multitalk_cli.planning.cost import price_of
from tests.end_to_end.product import SMALL, computing, new_job, state_of
from tests.waiting import HANG_S

pytestmark = pytest.mark.usefixtures("idle_at_end")

TWO_WINDOWS = 4.4


def long_words(user, name, *more):
    """The words of a job of two windows that runs for some seconds."""
    voice = user.speech(name, TWO_WINDOWS)
    return ("generate", "host.png", voice, *SMALL, "--backend", "modal", "--seed", "3", *more)


@contextmanager
def held_job(cloud, user, *words, windows=0):
    """A job in the middle, after so many windows: the command and the job's id.

    It computes, and cannot end before the block does.
    """
    before = set(cloud.entries(contract.STATES_DICT))
    with cloud.commits_held(after=windows):
        running = user.start(*words)
        job = new_job(cloud, before)
        cloud.wait_until(lambda: state_of(cloud, job)["windows"] >= windows, "windows")
        yield running, job


def frames_of(path):
    """All pixels of a video."""
    return b"".join(frame.tobytes() for frame in read_frames(path))


@pytest.fixture(scope="module")
def undisturbed(deployed):
    """The frames of the long job where nothing goes wrong."""
    words = long_words(deployed, "calm.wav")
    ran = deployed.run(*words)
    assert ran.code == 0, ran.stderr
    return deployed.folder / "calm.mp4"


@pytest.mark.parametrize("fault", ["kill", pytest.param("preempt", marks=pytest.mark.long)])
def test_a_lost_container_makes_the_same_frames(cloud, deployed, undisturbed, fault):
    cloud.faults.hidden_s = 0.1
    words = long_words(deployed, "calm.wav", "--force", "-o", f"{fault}.mp4")
    with held_job(cloud, deployed, *words, windows=1) as (running, job):
        seen = state_of(cloud, job)
        getattr(cloud, fault)(cloud.busy_container())
    ran = running.finish()

    assert ran.code == 0, ran.stderr
    assert frames_of(deployed.folder / f"{fault}.mp4") == frames_of(undisturbed)
    # What the lost container did is paid as well.
    assert state_of(cloud, job)["run_s"] > seen["run_s"]
    assert deployed.run("jobs", "show", job, "--json").data["job"]["price_usd"] == pytest.approx(
        price_of("h100", state_of(cloud, job)["run_s"]), rel=0.2
    )


@contextmanager
def held_rest(cloud, user, job):
    """The rest of a job in the middle: the command. It cannot end before the block does."""
    link = state_of(cloud, job)["link"] + 1
    with cloud.commits_held():
        running = user.start("finish", job)
        cloud.wait_until(
            lambda: job in computing(cloud) and state_of(cloud, job)["link"] == link,
            "a rest that computes",
        )
        yield running


def test_a_first_window_and_a_rest_that_loses_its_container_are_one_run(
    cloud, deployed, undisturbed, rpcs
):
    words = long_words(deployed, "calm.wav", "--force", "-o", "two.mp4")
    looked = deployed.run(*words, "--first", "--json").data
    job, video = looked["job"], deployed.folder / "two.first.mp4"
    shown = deployed.run("jobs", "show", job, "--json")
    content = video.read_bytes()
    video.unlink()
    fetched = deployed.run("jobs", "fetch", job)
    calls = rpcs.count("FunctionMap")
    cloud.faults.hidden_s = 0.1
    with held_rest(cloud, deployed, job) as running:
        cloud.kill(cloud.busy_container())
        second = deployed.start("finish", video)
    ended = [running.finish(), second.finish()]
    over = deployed.run("finish", job, "--json")

    rest = looked["first_window"]
    assert (looked["output"], looked["frames"]) == (str(video), 69)
    assert (rest["job"], rest["windows"]) == (job, 2)
    assert 0 < rest["rest_price_least_usd"] < rest["rest_price_usd"]
    assert shown.data["job"]["state"] == "first-window"
    assert f"next:  multitalk finish {job[:8]}" in shown.stderr
    assert (fetched.stdout, calls) == (f"{video}\n", 1), fetched.stderr
    assert video.read_bytes() == content
    assert [ran.code for ran in ended] == [0, 0], [ran.stderr for ran in ended]
    # Two commands at once made one call; Modal's own second try of it is none.
    assert rpcs.count("FunctionMap") == 2
    whole = deployed.folder / "two.mp4"
    assert frames_of(whole) == frames_of(undisturbed)
    assert frames_of(whole).startswith(frames_of(video))
    of_first, recipe = read_recipe(video), read_recipe(whole)
    assert (of_first["first_window"], of_first["job"], "job" in recipe) == (True, job, False)
    assert (over.code, over.error["code"]) == (2, "E_NOT_FIRST")
    assert over.error["hint"] == f"multitalk jobs show {job[:8]}"


def test_a_network_that_goes_and_comes_back_costs_nothing(cloud, deployed, rpcs):
    words = long_words(deployed, "network.wav")
    with held_job(cloud, deployed, *words) as (running, _), cloud.network_lost():
        cloud.wait_until(lambda: "reconnecting" in running.process.reported(), "a warning")
        assert running.process.poll() is None
    ran = running.finish()

    assert ran.code == 0, ran.stderr
    assert "is still running, reconnecting" in ran.stderr
    assert "reconnected" in ran.stderr
    assert rpcs.count("FunctionMap") == 1


def test_no_network_at_the_start_is_said(cloud, deployed):
    voice = deployed.speech("offline.wav", 0.4)
    with cloud.network_lost():
        ran = deployed.run(*deployed.generate(voice, "--json"))

    assert (ran.code, ran.error["code"]) == (7, "E_NETWORK")


def test_out_of_memory_is_said_with_what_helps(cloud, deployed):
    words = long_words(deployed, "memory.wav", "--json")
    with held_job(cloud, deployed, *words) as (running, _):
        cloud.out_of_memory(cloud.busy_container())
    ran = running.finish()

    assert (ran.code, ran.error["code"]) == (5, "E_OUT_OF_MEMORY")
    assert "--gpu h200" in ran.error["hint"]


@pytest.mark.long
def test_a_job_whose_containers_are_lost_goes_on_with_the_next_command(cloud, deployed):
    words = long_words(deployed, "lost.wav")
    with held_job(cloud, deployed, *words, windows=1) as (running, job):
        first = cloud.busy_container()
        cloud.kill(first)
        busy = lambda: [c for c in cloud.containers(busy=True) if c is not first]  # noqa: E731
        cloud.wait_until(busy, "another")
        cloud.kill(cloud.busy_container())
    failed = running.finish()

    ran = deployed.run(*words, "--json")

    assert (failed.code, "E_REMOTE" in failed.stderr) == (5, True), failed.stderr
    assert ran.code == 0, ran.stderr
    assert ran.data["job"] == job
    assert any("resumed after window 1" in note for note in ran.data["adjusted"])


def test_a_container_that_cannot_start_is_reported(cloud, deployed):
    cloud.faults.boot_failure = 3
    voice = deployed.speech("boot.wav", 0.4)

    ran = deployed.run(*deployed.generate(voice, "--gpu", "b200", "--json"))

    assert (ran.code, ran.error["code"]) == (7, "E_START")


def test_weights_of_another_version_are_refused_before_a_call(deployed, tiny_pack, tmp_path, rpcs):
    volume = modal.Volume.from_name(contract.WEIGHTS_VOLUME)
    manifest = tiny_pack / "manifest.json"
    later = tmp_path / "manifest.json"
    later.write_text(json.dumps(json.loads(manifest.read_bytes()) | {"format_version": 99}))
    with volume.batch_upload(force=True) as batch:
        batch.put_file(str(later), "/bf16/manifest.json")
    try:
        ran = deployed.run(
            *deployed.generate(deployed.speech("broken.wav", 0.4), "--gpu", "h200", "--json")
        )
    finally:
        with volume.batch_upload(force=True) as batch:
            batch.put_file(str(manifest), "/bf16/manifest.json")

    assert (ran.code, ran.error["code"]) == (4, "E_WEIGHTS_MISSING")
    assert "format 99, this version reads" in ran.error["message"]
    assert rpcs.count("FunctionMap") == 0


def test_a_broken_download_goes_on(cloud, deployed):
    job = deployed.run(*deployed.generate(deployed.speech("cut.wav", 0.5), "--json")).data["job"]
    video = deployed.folder / "cut.mp4"
    before = video.read_bytes()
    cloud.faults.cut_downloads, cloud.faults.cut_after_bytes = 2, 1000

    ran = deployed.run("jobs", "fetch", job, "--force")

    assert ran.code == 0, ran.stderr
    assert video.read_bytes() == before


def test_an_older_deployment_is_refused_before_anything_is_sent(deployed, rpcs):
    dictionary = modal.Dict.from_name(contract.DEPLOYMENTS_DICT)
    record = dictionary[contract.APP_NAME]
    dictionary[contract.APP_NAME] = json.dumps({**json.loads(record), "contract": 0})
    try:
        ran = deployed.run(*deployed.generate(deployed.speech("old.wav", 0.4), "--json"))
    finally:
        dictionary[contract.APP_NAME] = record

    assert (ran.code, ran.error["code"]) == (4, "E_CONTRACT")
    assert ran.error["hint"] == "multitalk deploy"
    assert rpcs.count("FunctionMap") == rpcs.count("BlobCreate") == 0


@pytest.mark.usefixtures("deployed")
def test_a_container_of_another_contract_says_so():
    engine = modal.Cls.from_name(contract.APP_NAME, "Current")()

    answer = engine.generate.spawn({"contract": 99, "client": "9.9"}).get(timeout=HANG_S)
    newer = {"contract": contract.CONTRACT_VERSION, "client": "9.9", "mood": "calm"}
    prepared = modal.Function.from_name(contract.APP_NAME, contract.PREPARE_FUNCTION)

    assert answer["event"]["code"] == "E_CONTRACT"
    failed = prepared.remote(newer)
    assert failed["code"] == "E_CONTRACT"
    assert failed["message"].endswith("which does not know PrepareRequest.mood")


def test_missing_weights_are_found_before_anything_is_sent(deployed, tiny_pack, rpcs):
    volume = modal.Volume.from_name(contract.WEIGHTS_VOLUME)
    volume.remove_file("/bf16/manifest.json")
    try:
        ran = deployed.run(*deployed.generate(deployed.speech("none.wav", 0.4), "--json"))
    finally:
        with volume.batch_upload(force=True) as batch:
            batch.put_file(str(tiny_pack / "manifest.json"), "/bf16/manifest.json")

    assert (ran.code, ran.error["code"]) == (4, "E_WEIGHTS_MISSING")
    assert rpcs.count("FunctionMap") == 0


def test_a_refused_token_is_said(deployed):
    voice = deployed.speech("token.wav", 0.4)

    ran = deployed.run(*deployed.generate(voice, "--json"), MODAL_TOKEN_SECRET="wrong")

    assert (ran.code, ran.error["code"]) == (4, "E_TOKEN")
    assert "(the token in MODAL_TOKEN_ID and MODAL_TOKEN_SECRET)" in ran.error["message"]
    # A new login would not help: the variables go before what it stores.
    unset = "unset MODAL_TOKEN_ID MODAL_TOKEN_SECRET"
    assert ran.error["hint"] == f"{unset}\nmultitalk login"


def test_what_modal_s_client_warns_of_is_told_once_as_ours(cloud, deployed):
    outdated = "This client is outdated.\nUpgrade it, and run `modal token new`."
    pause = api_pb2.RPCRetryPolicy(retry_after_secs=0.1)
    throttled = (Status.RESOURCE_EXHAUSTED, "250 requests in 10 s", [pause])
    cloud.on("ClassGet", after=lambda _, reply: reply.server_warnings.add(message=outdated))
    cloud.on("DictGet", error=throttled, times=2)

    ran = deployed.run("status", "--json")

    assert ran.code == 0, ran.stderr
    assert ran.data["warnings"] == [
        "Modal is throttling this account (250 requests in 10 s); retrying",
        "This client is outdated. Upgrade it, and run `multitalk login`.",
    ]
    assert ran.stderr == "".join(f"warning     {text}\n" for text in ran.data["warnings"])


def test_a_connection_that_breaks_each_time_is_no_bug(cloud, deployed):
    cloud.on("DictGet", before=cloud.hang_up, times=9)

    ran = deployed.run("status", "--json")

    assert (ran.code, ran.error["code"]) == (7, "E_NETWORK")


def test_waiting_for_a_card_is_said(cloud, deployed, rpcs):
    cloud.no_capacity()
    voice = deployed.speech("queue.wav", 0.4)
    running = deployed.start(*deployed.generate(voice, "--gpu", "a100-80gb", "--progress", "json"))
    cloud.wait_until(lambda: rpcs.count("FunctionGetCurrentStats"), "a look at the load")

    cloud.capacity_back()
    ran = running.finish()

    assert ran.code == 0, ran.stderr
    assert '"event": "queued"' in ran.stderr
    assert probe_video(deployed.folder / "queue.mp4").frames == 10
