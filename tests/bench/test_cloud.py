"""The way to the cloud and back: seconds until a call, until a file, and memory.

The control plane is on this machine, so that network time is not part of it. Prints; no check but
that the work was done. Run with: make bench
"""

import os
import statistics
import struct
import subprocess
import time

import cbor2
import pytest

from multitalk_cli import contract
from multitalk_cli.media.video.probe import probe_video
from tests.end_to_end.product import CLASS
from tests.end_to_end.test_many import CONTAINERS, check_all, many

pytestmark = pytest.mark.bench

RUNS = 11
MANY = 200
LARGE_BYTES = 5_000_000


def _spread(seconds):
    low, middle, high = min(seconds), statistics.median(seconds), max(seconds)
    return f"median {middle:.2f} s, {low:.2f} to {high:.2f} s, {len(seconds)} runs"


def _arrived_s(rpcs, name):
    """When a procedure was called last."""
    return max(entry.at for entry in rpcs if entry.name == name)


def test_from_the_command_to_the_call(cloud, deployed, rpcs):
    """896x448, 5 s of speech, everything read before: files, modules, the picture."""
    voice = deployed.speech("five.wav", 5.0)
    cloud.no_capacity()
    seconds, processor = [], []
    for number in range(RUNS + 1):
        words = ("generate", "host.png", voice, "--backend", "modal", "--detach")
        began_s = time.monotonic()
        process = subprocess.Popen(
            deployed.command(*words, "--seed", number, "-o", f"{number}.mp4"),
            env=deployed.env, cwd=deployed.folder,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        seconds.append(_arrived_s(rpcs, "FunctionMap") - began_s)
        processor.append(usage.ru_utime + usage.ru_stime)
    cloud.run_now(cloud.function(contract.APP_NAME, CLASS).queue.clear)
    print(f"\nfrom the command to its call: {_spread(seconds[1:])}")
    print(f"processor time of the whole command: {_spread(processor[1:])}")


def test_from_done_to_the_file(cloud, deployed, rpcs):
    """A video of 5 MB: a small one, to which the control plane adds what players skip."""
    voice = deployed.speech("large.wav", 0.2)
    after_commit, after_answer = [], []
    for number in range(RUNS + 1):
        video = deployed.folder / f"large-{number}.mp4"
        cloud.on(
            "FunctionPutOutputs", before=lambda each: _enlarge(cloud, each), caller="container"
        )
        running = deployed.start(*deployed.generate(voice, "--seed", number, "-o", video.name))
        there_s = _appeared_s(video)
        assert running.finish().code == 0
        assert video.stat().st_size > LARGE_BYTES
        assert probe_video(video).frames == 5
        after_answer.append(there_s - _arrived_s(rpcs, "FunctionPutOutputs"))
        after_commit.append(there_s - _arrived_s(rpcs, "VolumeCommit"))
    print(f"\nfrom the container's last commit to the file: {_spread(after_commit[1:])}")
    print(f"from the container's answer to the file: {_spread(after_answer[1:])}")


def _enlarge(cloud, request):
    """Adds an MP4 box of free space to the video in a container's answer."""
    result = request.outputs[0].result
    answer = cbor2.loads(result.data or (cloud.root / "blobs" / result.data_blob_id).read_bytes())
    answer["video"] += struct.pack(">I4s", LARGE_BYTES, b"free") + os.urandom(LARGE_BYTES - 8)
    result.data_blob_id = f"large-{time.monotonic_ns()}"
    (cloud.root / "blobs" / result.data_blob_id).write_bytes(cbor2.dumps(answer))


def _appeared_s(path):
    end_s = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < end_s
        time.sleep(0.002)
    return time.monotonic()


def test_two_hundred_jobs_on_two_containers(cloud, deployed, rpcs):
    definition = cloud.function(contract.APP_NAME, CLASS).definition
    definition.autoscaler_settings.max_containers = CONTAINERS

    figures = many(deployed, MANY, 1200)

    check_all(cloud, deployed, rpcs, figures)
    print(
        f"\n{MANY} detached jobs from one process on {CONTAINERS} containers: started in "
        f"{figures['started_s']:.0f} s, all videos here after {figures['all_s']:.0f} s; memory "
        f"{figures['first_mib']:.0f} MiB after the first, {figures['started_mib']:.0f} after the "
        f"last, {figures['peak_mib']:.0f} at most"
    )
