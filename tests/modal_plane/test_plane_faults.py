"""The control plane where things go wrong: containers, network, capacity, builds, time."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import modal
import pytest
from grpclib import Status

from tests.modal_plane.cloud import Cloud
from tests.modal_plane.namespaces import is_allowed
from tests.modal_plane.sample import APP, ENGINE, SAMPLE_APP, deploy
from tests.waiting import HANG_S

pytestmark = pytest.mark.usefixtures("sample_class")
ROOT = Path(__file__).resolve().parents[2]


def _is_alive(pid: int) -> bool:
    """Whether a process runs; one that ended but was not collected yet does not."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except FileNotFoundError:
        return False
    return "State:\tZ" not in status


def _runs(cloud: Cloud, call: modal.FunctionCall) -> list[str]:
    (item,) = cloud.call(call.object_id).inputs.values()
    return item.runs


def _start_job(cloud: Cloud, sample_engine, job: str, steps: int = 12) -> modal.FunctionCall:
    """Spawns a job and waits for its third step."""
    call = sample_engine.generate.spawn({"job": job, "steps": steps, "step_s": 0.1})
    cloud.wait_until(lambda: '"step": 3' in cloud.entries("sample-progress").get(job, ""), "step 3")
    return call


def test_killed_container_is_replaced_and_the_call_goes_on(cloud, sample_engine):
    call = _start_job(cloud, sample_engine, "killed")

    cloud.kill(cloud.busy_container())

    answer = call.get(timeout=HANG_S)
    assert answer["first"] >= 3
    assert len(set(_runs(cloud, call))) == 2


def test_call_that_lost_two_containers_fails(cloud, sample_engine):
    call = _start_job(cloud, sample_engine, "killed-twice", steps=1000)
    cloud.kill(cloud.busy_container())
    cloud.wait_until(lambda: len(_runs(cloud, call)) == 2, "the second run")
    cloud.kill(cloud.busy_container())

    with pytest.raises(modal.exception.InternalFailure, match="exit code: -9"):
        call.get(timeout=HANG_S)


def test_preempted_container_hands_its_call_on(cloud, sample_engine):
    call = _start_job(cloud, sample_engine, "preempted")
    container = cloud.busy_container()

    cloud.preempt(container)

    assert call.get(timeout=HANG_S)["first"] >= 3
    assert _runs(cloud, call)[0] == container.id
    assert len(_runs(cloud, call)) == 2
    cloud.wait_until(lambda: container.dead, "the preempted container is gone")
    assert container.exit_code != -signal.SIGKILL


def test_out_of_memory_has_its_own_status(cloud, sample_engine):
    call = _start_job(cloud, sample_engine, "oom", steps=1000)

    cloud.out_of_memory(cloud.busy_container())

    with pytest.raises(modal.exception.RemoteError, match="out of memory"):
        call.get(timeout=HANG_S)
    assert cloud.call(call.object_id).statuses == ["KERNEL_OOM_KILL"]


def test_children_of_a_killed_container_die(cloud, sample_engine):
    call = sample_engine.sleep.spawn({"seconds": 60})
    container = cloud.busy_container()
    cloud.wait_until(lambda: "child" in container.log, "the child's id")
    child = int(re.search(r"child (\d+)", container.log)[1])
    assert _is_alive(child)

    cloud.out_of_memory(container)

    with pytest.raises(modal.exception.RemoteError):
        call.get(timeout=HANG_S)
    cloud.wait_until(lambda: not _is_alive(child), "the child is gone")


def test_timeout_ends_the_call_and_its_container():
    fragile = modal.Cls.from_name(APP, "Fragile")()

    with pytest.raises(modal.exception.FunctionTimeoutError, match="timeout of 3s"):
        fragile.sleep.spawn({"seconds": 30}).get(timeout=HANG_S)

    assert fragile.sleep.remote({"seconds": 0}) == 0


def test_exception_while_loading_reaches_the_call():
    modal.Dict.from_name("sample-progress", create_if_missing=True)["fragile"] = True
    fragile = modal.Cls.from_name(APP, "Fragile").with_options(gpu="T4")()

    with pytest.raises((modal.exception.Error, RuntimeError), match="weights missing"):
        fragile.sleep.remote({"seconds": 0})


def test_container_that_cannot_start_fails_the_call(cloud, sample_class, rpcs):
    cloud.faults.boot_failure = 3
    call = sample_class.with_options(gpu="L4")().inspect.spawn({})

    with pytest.raises(modal.exception.RemoteError, match="no such library"):
        call.get(timeout=HANG_S)
    assert cloud.call(call.object_id).statuses == ["INIT_FAILURE"]
    assert rpcs.count("ContainerHello") == 0


def test_container_that_starts_too_slowly_fails_the_call(cloud, sample_class, rpcs):
    cloud.faults.start_delay_s, cloud.faults.startup_timeout_s = 60, 0.2
    call = sample_class.with_options(gpu="L40S")().inspect.spawn({})

    with pytest.raises(modal.exception.RemoteError, match=r"not started within 0\.2 s"):
        call.get(timeout=HANG_S)
    assert rpcs.count("FunctionPutOutputs") == 0


def test_cancel_that_is_ignored_kills_the_container(cloud, sample_engine):
    cloud.faults.cancel_grace_s = 0.5
    call = sample_engine.ignore_cancel.spawn({"seconds": 60})
    container = cloud.busy_container()
    cloud.wait_until(lambda: "busy" in container.log, "the method runs")

    call.cancel()

    with pytest.raises(modal.exception.RemoteError, match="cancelled"):
        call.get(timeout=HANG_S)
    assert container.stopping == "failed to respond to cancellation for too long"


def test_failed_image_build_keeps_the_old_version(cloud, client_env):
    version = cloud.state.app("", APP).version
    cloud.faults.image_build_failure = "no matching distribution for flash-attn"

    done = deploy(cloud, client_env, SAMPLE_WITH_SECRET="2")

    assert done.returncode == 1
    assert "no matching distribution" in done.stdout + done.stderr
    assert cloud.state.app("", APP).version == version
    assert cloud.image_environment(APP, ENGINE)["SAMPLE_WITH_SECRET"] == "0"


def test_expired_result_is_told_from_an_unknown_call(cloud, sample_engine, rpcs):
    call = sample_engine.inspect.spawn({})
    call.get(timeout=HANG_S)
    cloud.expire(call.object_id)
    rpcs.clear()

    with pytest.raises(modal.exception.OutputExpiredError):
        call.get(timeout=1)
    assert rpcs.count("FunctionGetOutputs") <= 3


def test_lost_network_is_an_error_of_the_client_and_the_job_goes_on(cloud, sample_engine):
    call = _start_job(cloud, sample_engine, "offline", steps=25)

    with cloud.network_lost():
        with pytest.raises(modal.exception.ConnectionError):
            call.get(timeout=5)
        assert cloud.containers(busy=True)

    assert modal.FunctionCall.from_id(call.object_id).get(timeout=HANG_S) == {
        "steps": 25,
        "first": 0,
    }
    assert len(_runs(cloud, call)) == 1


def test_client_that_starts_without_a_network_waits_for_it(cloud, client_env):
    code = "import modal; modal.Cls.from_name('sample', 'Engine').hydrate(); print('found')"
    with cloud.network_lost():
        client = subprocess.Popen(
            [sys.executable, "-c", code], env=client_env, stdout=subprocess.PIPE, text=True
        )
        time.sleep(1.5)

    output, _ = client.communicate(timeout=HANG_S)
    assert output == "found\n"


def test_lost_network_refuses_connections_at_once(cloud):
    address = ("127.0.0.1", int(cloud.url.rsplit(":", 1)[1]))

    with cloud.network_lost(), pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=3)

    socket.create_connection(address, timeout=3).close()


def test_silent_network_answers_nothing(cloud):
    host, port = "127.0.0.1", int(cloud.url.rsplit(":", 1)[1])

    with cloud.network_silent(), closing(socket.create_connection((host, port))) as client:
        client.settimeout(0.3)
        client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        with pytest.raises(TimeoutError):
            client.recv(1)


def test_answer_lost_on_the_way_does_not_start_a_second_call(cloud, sample_engine, rpcs):
    sample_engine.inspect.remote({})
    rpcs.clear()
    rule = cloud.on("FunctionMap", after=cloud.hang_up)

    assert sample_engine.inspect.remote({"n": 1})["echo"] == {"n": 1}

    assert rule.times == 0
    assert rpcs.count("FunctionMap") == 2
    assert rpcs.count("FunctionPutOutputs") == 1


def test_client_killed_after_its_call_was_accepted_leaves_one_call(cloud, client_env):
    code = "import modal; modal.Cls.from_name('sample', 'Engine')().inspect.spawn({'late': 1})"
    known = set(cloud.state.calls)
    clients: list[subprocess.Popen] = []
    cloud.on("FunctionMap", after=lambda *_: clients[0].kill())
    clients.append(subprocess.Popen([sys.executable, "-c", code], env=client_env))

    assert clients[0].wait(timeout=HANG_S) == -signal.SIGKILL

    (call_id,) = set(cloud.state.calls) - known
    cloud.wait_until(lambda: cloud.call(call_id).done, "the call ends without its client")
    assert cloud.call(call_id).statuses == ["SUCCESS"]


@pytest.mark.parametrize(
    "status, error",
    [
        (Status.UNAVAILABLE, None),
        (Status.PERMISSION_DENIED, modal.exception.PermissionDeniedError),
        (Status.RESOURCE_EXHAUSTED, modal.exception.ResourceExhaustedError),
    ],
)
def test_procedure_fails_on_demand(cloud, rpcs, status, error):
    cloud.on("ClassGet", error=(status, "no capacity"))
    look_up = modal.Cls.from_name(APP, "Engine").hydrate

    if error is None:
        look_up()
        assert rpcs.names() == ["ClassGet", "ClassGet", "FunctionGet"]
    else:
        with pytest.raises(error, match="no capacity"):
            look_up()


def test_reset_forgets_everything(cloud, sample_engine):
    sample_engine.inspect.remote({})
    (pid,) = {item.process.pid for item in cloud.containers() if item.gpu == "H100"}

    cloud.reset()

    assert not _is_alive(pid)
    with pytest.raises(modal.exception.NotFoundError):
        modal.Cls.from_name(APP, "Engine").hydrate()


@pytest.mark.skipif(
    not is_allowed(user_namespace=True), reason="needs the right to make user namespaces"
)
def test_containers_work_in_a_user_namespace(tmp_path):
    cloud = Cloud(user_namespace=True)
    cloud.start()
    try:
        env = {**cloud.environment(tmp_path), "MODAL_PAYLOAD_FORMAT": "cbor"}
        assert deploy(cloud, env).returncode == 0
        code = (
            "import modal; engine = modal.Cls.from_name('sample', 'Engine')();"
            "print(engine.break_rules.remote({}), engine.generate.remote({'job': 'u', 'steps': 1}))"
        )
        done = cloud.run_client(["-c", code], env)
        assert done.stdout.startswith("{'weights': 'Read-only file system'"), done.stderr
        assert cloud.volume("sample-jobs").files() == {"u.json": b"1"}
    finally:
        cloud.stop()


def test_containers_die_with_the_control_plane(tmp_path):
    code = f"""
import sys, time
from pathlib import Path
from tests.modal_plane.cloud import Cloud
from tests.modal_plane.namespaces import needs_user_namespace
from tests.modal_plane.namespaces import is_allowed
from tests.modal_plane.sample import deploy
cloud = Cloud(user_namespace=bool(needs_user_namespace()))
cloud.start()
env = cloud.environment(Path({str(tmp_path)!r}))
assert deploy(cloud, env).returncode == 0
spawn = "import modal; modal.Cls.from_name('sample', 'Engine')().sleep.spawn({{'seconds': 60}})"
assert cloud.run_client(["-c", spawn], env).returncode == 0
print(cloud.busy_container().process.pid, cloud.root, flush=True)
time.sleep(60)
"""
    env = {**os.environ, "PYTHONPATH": f"{ROOT}:{SAMPLE_APP}"}
    with subprocess.Popen(
        [sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True
    ) as plane:
        pid, root = plane.stdout.readline().split()
        assert _is_alive(int(pid))
        plane.kill()
    end = time.monotonic() + 5
    while _is_alive(int(pid)) and time.monotonic() < end:
        time.sleep(0.01)

    assert not _is_alive(int(pid))
    subprocess.run(["rm", "-rf", root], check=True)
