"""A function's time limit: a chain of calls over the kept windows, followed or not."""

import json

import pytest

from multitalk_cli import contract
from multitalk_cli.media.video.video import read_frames
from tests.end_to_end.product import CLASS, state_of

SPEECH_S = 40.0
LIMIT_S = 3


def frames_of(path):
    """All pixels of a video."""
    return b"".join(frame.tobytes() for frame in read_frames(path))


@pytest.fixture(scope="module")
def words(deployed):
    """The words of a job of many windows."""
    return deployed.generate(deployed.speech("chain.wav", SPEECH_S), "--seed", 4)


@pytest.fixture(scope="module")
def whole(cloud, deployed, words):
    """The job's video where nothing ends it, and how long it took."""
    ran = deployed.run(*words, "-o", "whole.mp4", "--json", timeout_s=120)
    assert ran.code == 0, ran.stderr
    return deployed.folder / "whole.mp4", state_of(cloud, ran.data["job"])["run_s"]


@pytest.fixture
def limited(cloud, whole):
    """Calls that start from now on, each in a new container, end after 3 s."""
    assert whole[1] > LIMIT_S
    definition = cloud.function(contract.APP_NAME, CLASS).definition
    before = definition.timeout_secs
    definition.timeout_secs = LIMIT_S
    for container in cloud.containers():
        cloud.stop_container(container)
    cloud.wait_until(lambda: not cloud.containers(), "old containers are gone")
    yield
    definition.timeout_secs = before


@pytest.mark.long
@pytest.mark.usefixtures("limited")
def test_a_detached_job_that_ran_out_of_time_goes_on_when_attached(cloud, deployed, words, whole):
    left = deployed.run(*words, "-o", "chain.mp4", "--force", "--detach")
    job = left.stdout.strip()
    first = f"{job}/call/0"
    cloud.wait_until(lambda: first in cloud.entries(contract.STATES_DICT), "its call began")
    call = cloud.call(json.loads(cloud.entries(contract.STATES_DICT)[first]))
    cloud.wait_until(lambda: call.statuses == ["TIMEOUT"], "its call ended", 60)

    shown = deployed.run("jobs", "show", job, "--json").data["job"]
    (row,) = (
        row
        for row in deployed.run("jobs", "ls", "--remote", "--json").data["jobs"]
        if row["id"] == job
    )
    attached = deployed.run("jobs", "attach", job, timeout_s=180)

    reason = f"reached its time limit after window {shown['windows_kept']}"
    assert shown["state"] == row["state"] == "stopped"
    assert shown["doing"] == row["doing"] == f"{reason}; resume: multitalk jobs attach {job}"
    assert attached.code == 0, attached.stderr
    assert frames_of(deployed.folder / "chain.mp4") == frames_of(whole[0])
    assert f"{job}/call/1" in cloud.entries(contract.STATES_DICT)
