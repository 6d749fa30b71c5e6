"""Many jobs on two containers. `make bench` runs the same with two hundred."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from multitalk_cli import contract
from multitalk_cli.media.video.probe import probe_video
from tests.end_to_end.product import CLASS

JOBS, CONTAINERS = 10, 2
SCRIPT = Path(__file__).with_name("many.py")


@pytest.fixture
def two_containers(cloud, deployed):
    """The deployed class, of which two containers run at most."""
    definition = cloud.function(contract.APP_NAME, CLASS).definition
    before = definition.autoscaler_settings.max_containers
    definition.autoscaler_settings.max_containers = CONTAINERS
    yield deployed
    definition.autoscaler_settings.max_containers = before


def many(user, count, timeout_s):
    """Starts so many jobs and brings their videos; gives what the process measured."""
    voice = user.speech("many.wav", 0.2)
    command = [sys.executable, "-P", str(SCRIPT), str(count), *user.generate(voice, "--quiet")]
    # Without it the C library spreads freed memory over an arena for each thread that ever was.
    env = {**user.env, "MALLOC_ARENA_MAX": "2"}
    done = subprocess.run(
        command, env=env, cwd=user.folder, capture_output=True, text=True,
        timeout=timeout_s, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def check_all(cloud, user, rpcs, figures):
    """Every job was paid once, has its own video, and nothing ran beside the two containers."""
    calls = [cloud.call(call_id) for call_id in list(cloud.state.calls)]
    ran_in = {run for call in calls for item in call.inputs.values() for run in item.runs}
    videos = [user.folder / f"many-{number}.mp4" for number in range(len(figures["jobs"]))]
    assert len(set(figures["jobs"])) == rpcs.count("FunctionMap") == len(videos)
    assert len(ran_in) <= CONTAINERS
    assert {probe_video(video).frames for video in videos} == {5}
    assert len({video.read_bytes() for video in videos}) == len(videos)


@pytest.mark.long
def test_many_detached_jobs_share_two_containers(cloud, two_containers, rpcs):
    figures = many(two_containers, JOBS, 120)

    check_all(cloud, two_containers, rpcs, figures)
    # What one job needs, the next needs again; nothing piles up.
    assert figures["started_mib"] - figures["first_mib"] < 40, figures
