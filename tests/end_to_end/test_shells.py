"""Loops of real shells in the cloud: a rerun pays nothing, and Ctrl-C leaves no call."""

import os
import shutil
import signal
import subprocess

import pytest

from tests.end_to_end.product import SMALL
from tests.waiting import HANG_S

pytestmark = [pytest.mark.long, pytest.mark.shell]

MAKE = f"multitalk generate host.png {{}} --backend modal --seed 1 -q {' '.join(SMALL)}"
LOOPS = {
    "for": f"for voice in *.wav; do {MAKE.replace('{}', '$voice')} || exit; done",
    "xargs": f"printf '%s\\0' *.wav | xargs -0 -P3 -I{{}} {MAKE}",
    # Without a sequence of its own, parallel kills what has not ended after 0.4 s.
    "parallel": f"parallel --will-cite --termseq INT,60000,KILL -j3 {MAKE} ::: *.wav",
}


@pytest.fixture(params=LOOPS)
def loop(request, deployed):
    """A loop over three voices in a folder of its own; starts it in a process group."""
    if request.param == "parallel" and shutil.which("parallel") is None:
        pytest.skip("needs GNU parallel")
    folder = deployed.folder / request.node.name
    folder.mkdir()
    shutil.copy(deployed.folder / "host.png", folder)
    for number in range(3):
        voice = deployed.speech(f"{request.node.name}-{number}.wav", 0.2)
        shutil.move(deployed.folder / voice, folder)
    command = folder / "bin" / "multitalk"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {" ".join(deployed.command())} "$@"\n')
    command.chmod(0o755)
    env = {**deployed.env, "PATH": f"{command.parent}:{os.environ['PATH']}"}

    def start():
        return subprocess.Popen(
            ["bash", "-c", LOOPS[request.param]], cwd=folder, env=env, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    return start


def test_a_finished_loop_that_runs_again_pays_nothing(loop, rpcs):
    first, again = loop(), None
    made, problems = first.communicate(timeout=HANG_S)
    assert first.returncode == 0, problems
    again = loop()
    printed, problems = again.communicate(timeout=HANG_S)

    assert again.returncode == 0, problems
    assert sorted(made.split()) == sorted(printed.split())
    assert len(printed.split()) == rpcs.count("FunctionMap") == 3


def test_ctrl_c_stops_the_loop_and_leaves_no_call(cloud, loop, rpcs, request):
    for idle in cloud.containers():
        cloud.stop_container(idle)
    cloud.no_capacity()
    most = 1 if "for" in request.node.name else 3
    running = loop()
    cloud.wait_until(lambda: rpcs.count("FunctionMap") == most, "calls that wait")
    os.killpg(running.pid, signal.SIGINT)
    running.communicate(timeout=HANG_S)

    assert running.returncode != 0
    assert rpcs.count("FunctionMap") == rpcs.count("FunctionCallCancel") == most
    cloud.capacity_back()
    assert not cloud.containers(busy=True)
