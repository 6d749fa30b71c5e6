"""A large video on its way: broken in the middle, killed, gone on with."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter

import modal
import pytest

from multitalk_cli import contract
from multitalk_cli.media.video.probe import probe_video
from remote.worker.volume_store import VolumeStore
from tests.waiting import HANG_S

LARGE_BYTES = 100_000_000
CUTS = 5
"""So often does Modal's client try before it leaves it to ours."""
CLIENT_MIB = 130
"""Less than a client needs beside the whole video."""
MEASURED = """
import atexit, pathlib, runpy, sys
def say():
    status = pathlib.Path("/proc/self/status").read_text()
    print("peak", status.split("VmHWM:")[1].split()[0], file=sys.stderr)
atexit.register(say)
sys.argv[0] = "multitalk"
runpy.run_module("multitalk_cli", run_name="__main__", alter_sys=True)
"""


class NoVolume:
    """Files that nobody else looks at."""

    def commit(self):
        """Nothing to publish."""

    def reload(self):
        """Nothing to see."""


@pytest.fixture
def large(deployed, tmp_path):
    """A finished job whose kept video is of 100 MB: its own, and a box that players skip.

    It is put there with the code that containers keep their videos with.
    """
    ran = deployed.run(*deployed.generate(deployed.speech("large.wav", 0.3), "--json"))
    job, small = ran.data["job"], deployed.folder / "large.mp4"
    video, store = tmp_path / "video.mp4", VolumeStore(tmp_path / "kept", NoVolume(), {})
    padding = LARGE_BYTES - small.stat().st_size
    box = padding.to_bytes(4, "big") + b"free" + os.urandom(padding - 8)
    video.write_bytes(small.read_bytes() + box)
    small.unlink()
    store.publish(job, video)
    volume = modal.Volume.from_name(contract.JOBS_VOLUME)
    kept = json.loads(b"".join(volume.read_file(f"{job}/{contract.RESULT_FILE}")))
    store.keep_answer(job, {**kept, "parts": store.parts})
    with volume.batch_upload(force=True) as batch:
        batch.put_directory(str(tmp_path / "kept" / job), f"/{job}")
    return job, video, [part["name"] for part in store.parts]


def fetched(rpcs):
    """How often each part was asked for."""
    paths = [request.path for request in rpcs.requests("VolumeGetFile2")]
    names = [path.rpartition("/")[2] for path in paths]
    return Counter(name for name in names if name.startswith("part-"))


def fetching(user, job, **options):
    """The command, which says at its end how much memory it took."""
    command = [sys.executable, "-c", MEASURED, "jobs", "fetch", job, "-o", "large.mp4"]
    return subprocess.Popen(
        command, env=user.env, cwd=user.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, **options,
    )  # fmt: skip


@pytest.mark.long
def test_only_missing_parts_of_a_large_video_are_fetched(cloud, deployed, large, rpcs):
    job, video, parts = large
    assert len(parts) == 12
    rpcs.clear()
    first = fetching(deployed, job)

    def disturb(request):
        """Part 4 breaks off until ours asks again; the client dies as it asks for part 8."""
        name = request.path.rpartition("/")[2]
        if name == parts[3] and fetched(rpcs)[name] == 1:
            cloud.faults.cut_downloads, cloud.faults.cut_after_bytes = CUTS, 3_000_000
        if name == parts[7]:
            os.kill(first.pid, signal.SIGKILL)

    cloud.on("VolumeGetFile2", before=disturb, times=99)
    first.communicate(timeout=HANG_S)
    cloud.calm()
    before = fetched(rpcs)
    rpcs.clear()

    second = fetching(deployed, job)
    out, errors = second.communicate(timeout=HANG_S)

    assert first.returncode == -signal.SIGKILL
    assert before == {**dict.fromkeys(parts[:8], 1), parts[3]: 2}
    assert second.returncode == 0, errors
    assert out == f"{deployed.folder / 'large.mp4'}\n"
    assert fetched(rpcs) == dict.fromkeys(parts[7:], 1)
    assert (deployed.folder / "large.mp4").read_bytes() == video.read_bytes()
    assert probe_video(deployed.folder / "large.mp4").frames == 8
    assert int(errors.split()[-1]) / 1024 < CLIENT_MIB
