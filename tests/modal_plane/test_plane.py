"""The control plane where nothing goes wrong: deploy, look up, call, follow, cancel."""

import builtins
import json
import subprocess
import sys
import tomllib

import modal
import pytest
from modal_proto import api_pb2 as pb

from tests.modal_plane.sample import APP, ENGINE, PROBE, deploy
from tests.waiting import HANG_S

pytestmark = pytest.mark.usefixtures("sample_class")
LOOK_UP = "import modal; modal.Cls.from_name('sample', 'Engine').hydrate(); print('found')"


def test_deploy_sends_the_whole_recipe_with_its_pins(cloud):
    recipe = "\n".join(cloud.recipe(APP, ENGINE))

    assert recipe.index("ffmpeg=7:5.1.6-0+deb12u1") < recipe.index("numpy==2.1.3")
    assert "python:3.11" in recipe
    assert cloud.image_environment(APP, ENGINE)["GREETING"] == "two words"


def test_deploy_sends_what_the_functions_need(cloud):
    definition = cloud.function(APP, ENGINE).definition

    assert (definition.timeout_secs, definition.startup_timeout_secs) == (60, 60)
    assert definition.resources.gpu_config.gpu_type == "H100"
    mounts = {mount.mount_path: mount.read_only for mount in definition.volume_mounts}
    assert mounts == {"/weights": True, "/jobs": False}
    assert cloud.function(APP, PROBE).definition.resources.gpu_config.gpu_type == ""


def test_deploy_uploads_the_package_and_its_data(cloud):
    assert {
        "/root/sample_engine/app.py",
        "/root/sample_engine/work.py",
        "/root/sample_engine/data/table.json",
    } <= cloud.mounted(APP, ENGINE)


def test_deploy_streams_the_build_once(cloud, sample_app, client_env):
    again = deploy(cloud, client_env)

    assert "=> RUN python -m pip install numpy==2.1.3" in sample_app
    assert again.returncode == 0
    assert "=> RUN" not in again.stdout


def test_redeploy_keeps_functions_and_uploads_nothing(cloud, client_env, rpcs):
    before, version = cloud.function(APP, ENGINE).id, cloud.state.app("", APP).version

    assert deploy(cloud, client_env).returncode == 0

    assert cloud.function(APP, ENGINE).id == before
    assert cloud.state.app("", APP).version == version + 1
    assert rpcs.count("MountPutFile") == 0


def test_redeploy_replaces_warm_containers(cloud, sample_engine, client_env):
    old = sample_engine.inspect.remote({})

    deploy(cloud, client_env)
    new = modal.Cls.from_name(APP, "Engine")().inspect.remote({})

    assert (old["pid"] != new["pid"], new["calls"]) == (True, 1)


def test_container_sees_what_was_deployed_and_nothing_else(sample_engine):
    seen = sample_engine.inspect.remote(
        {"job": "a", "bytes": b"\0\1", "none": None, "list": [1, 2.5]}
    )

    assert seen["table"] == 42
    assert seen["greeting"] == "two words"
    assert seen["ours"] == []
    assert seen["echo"] == {"job": "a", "bytes": b"\0\1", "none": None, "list": [1, 2.5]}


def test_container_stays_warm(sample_engine, rpcs):
    first = sample_engine.inspect.remote({})
    second = sample_engine.inspect.remote({})

    assert first["pid"] == second["pid"]
    assert rpcs.count("ContainerHello") <= 1


def test_look_up_asks_twice_and_starts_nothing(rpcs):
    modal.Cls.from_name(APP, "Engine").hydrate()

    assert rpcs.names() == ["ClassGet", "FunctionGet"]


def test_payloads_travel_as_cbor(cloud, sample_engine, rpcs):
    call = sample_engine.inspect.spawn({"n": 1})
    call.get(timeout=HANG_S)

    (sent,) = rpcs.requests("FunctionMap")
    assert sent.pipelined_inputs[0].input.data_format == pb.DATA_FORMAT_CBOR
    assert cloud.call(call.object_id).outputs[0].data_format == pb.DATA_FORMAT_CBOR


def test_spawned_call_is_polled_until_done(cloud, sample_engine):
    call = sample_engine.generate.spawn({"job": "polled", "steps": 3, "step_s": 0.2})

    with pytest.raises(builtins.TimeoutError) as caught:
        call.get(timeout=0.1)

    assert str(caught.value) == ""
    assert call.get(timeout=HANG_S) == {"steps": 3, "first": 0}
    assert cloud.entries("sample-progress")["polled"] == json.dumps({"step": 3})


def test_call_is_found_from_another_process(cloud, sample_engine, client_env, rpcs):
    call = sample_engine.generate.spawn({"job": "elsewhere", "steps": 5})
    code = (
        f"import modal; print(modal.FunctionCall.from_id('{call.object_id}').get(timeout={HANG_S}))"
    )

    done = cloud.run_client(["-c", code], {**client_env, "MODAL_PAYLOAD_FORMAT": "cbor"})

    assert done.stdout.strip() == "{'steps': 5, 'first': 0}"
    assert rpcs.count("FunctionMap") == 1


def test_unknown_call_is_not_found():
    with pytest.raises(modal.exception.NotFoundError):
        modal.FunctionCall.from_id("fc-0123456789abcdef012345").get(timeout=1)


def test_running_call_is_cancelled_and_the_container_stays(cloud, sample_engine, rpcs):
    pid = sample_engine.inspect.remote({})["pid"]
    call = sample_engine.generate.spawn({"job": "cancelled", "steps": 1000})
    cloud.wait_until(lambda: "cancelled" in cloud.entries("sample-progress"), "a first step")

    call.cancel()

    with pytest.raises(modal.exception.RemoteError):
        call.get(timeout=HANG_S)
    assert cloud.call(call.object_id).statuses == ["TERMINATED"]
    assert rpcs.count("FunctionCallCancel") == 1
    cloud.wait_until_idle()
    assert sample_engine.inspect.remote({})["pid"] == pid


def test_waiting_call_is_cancelled_without_a_container(cloud, sample_class):
    cloud.no_capacity()
    call = sample_class.with_options(gpu="B200")().inspect.spawn({})

    call.cancel()

    with pytest.raises(modal.exception.RemoteError):
        call.get(timeout=5)
    (item,) = cloud.call(call.object_id).inputs.values()
    assert item.runs == []


@pytest.mark.parametrize("size_bytes, blobs", [(1 << 10, 0), (9 << 10, 1), (5 << 20, 1)])
def test_large_payloads_go_through_blobs(rpcs, size_bytes, blobs):
    data = bytes(range(256)) * (size_bytes // 256)
    answer = modal.Function.from_name(APP, "probe").spawn({"data": data}).get(timeout=HANG_S)

    assert answer == {"length": size_bytes, "data": data[::-1]}
    assert rpcs.count("BlobCreate", "client") == blobs
    assert rpcs.count("BlobGet", "client") == blobs


def test_each_card_has_its_own_containers(cloud, sample_class, sample_engine, rpcs):
    sample_engine.inspect.remote({})
    sample_class.with_options(gpu="A100-80GB")().inspect.remote({})

    assert {item.gpu for item in cloud.containers()} >= {"H100", "A100-80GB"}
    (options,) = [request.function_options for request in rpcs.requests("FunctionBindParams")]
    assert options.resources.gpu_config.gpu_type == "A100-80GB"


def test_waiting_for_a_card_shows_in_the_backlog(cloud, sample_class):
    cloud.no_capacity()
    waiting = sample_class.with_options(gpu="H200")().inspect
    call = waiting.spawn({})

    assert cloud.call(call.object_id).function.queue
    cloud.capacity_back()

    assert call.get(timeout=HANG_S)["calls"] == 1


def test_statistics_and_autoscaler_answer(cloud):
    function = modal.Function.from_name(APP, "probe")
    function.remote({"data": b"1"})

    assert function.get_current_stats().num_total_runners == 1
    assert function.autoscaler.update(scaledown_window=40).scaledown_window == 40
    assert cloud.function(APP, PROBE).scaledown_window_s == 40


def test_many_calls_share_the_containers(sample_engine):
    calls = [sample_engine.inspect.spawn({"n": n}) for n in range(40)]

    answers = modal.FunctionCall.gather(*calls)

    assert [answer["echo"]["n"] for answer in answers] == list(range(40))
    assert len({answer["pid"] for answer in answers}) <= 2


def test_exceptions_cross_as_text(sample_engine):
    with pytest.raises(modal.exception.RemoteError, match="cannot do magic"):
        sample_engine.fail.remote("magic")


@pytest.mark.parametrize(
    "app, name, message",
    [
        ("absent", "Engine", "App 'absent' not found"),
        (APP, "Absent", "Class 'Absent' not found"),
    ],
)
def test_what_is_not_deployed_is_not_found(app, name, message):
    with pytest.raises(modal.exception.NotFoundError, match=message):
        modal.Cls.from_name(app, name).hydrate()


def test_environments_are_separate(cloud, client_env):
    cloud.add_environment("staging")
    with pytest.raises(modal.exception.NotFoundError, match="environment 'staging'"):
        modal.Cls.from_name(APP, "Engine", environment_name="staging").hydrate()

    assert deploy(cloud, client_env, MODAL_ENVIRONMENT="staging").returncode == 0

    modal.Cls.from_name(APP, "Engine", environment_name="staging").hydrate()
    with pytest.raises(modal.exception.NotFoundError, match="Environment 'nowhere' not found"):
        modal.Cls.from_name(APP, "Engine", environment_name="nowhere").hydrate()


@pytest.mark.parametrize(
    "token, message",
    [({"MODAL_TOKEN_SECRET": "wrong"}, "malformed"), ({"MODAL_TOKEN_ID": ""}, "Token missing")],
)
def test_wrong_and_missing_tokens_are_refused(cloud, client_env, token, message):
    done = cloud.run_client(["-c", LOOK_UP], {**client_env, **token})

    assert done.returncode == 1
    assert "AuthError" in done.stderr
    assert message in done.stderr


def test_login_stores_a_token_that_works(cloud, tmp_path):
    env = cloud.environment(tmp_path)
    env = {name: value for name, value in env.items() if not name.startswith("MODAL_TOKEN")}
    login = [sys.executable, "-m", "modal", "token", "new"]
    with subprocess.Popen(login, env=env, stdout=subprocess.PIPE, text=True) as process:
        cloud.confirm_login()
        output, _ = process.communicate(timeout=HANG_S)

    assert process.returncode == 0, output
    stored = tomllib.loads((tmp_path / ".modal.toml").read_text())
    assert stored["local"]["token_id"] in cloud.state.tokens
    assert cloud.run_client(["-c", LOOK_UP], env).stdout == "found\n"


def test_prices_can_be_asked():
    rates = modal.Workspace.from_context().billing.rates()

    assert float(rates["gpu_h100"]) == 3.95


def test_logs_of_a_call_can_be_followed(sample_engine):
    call = sample_engine.generate.spawn({"job": "logged", "steps": 2})
    call.get(timeout=HANG_S)

    assert "step 1" in str(next(iter(call.logs.stream())))


def test_missing_procedures_are_refused_and_logged(cloud, caplog):
    with pytest.raises(modal.exception.Error, match="lacks WorkspaceMembersList"):
        modal.Workspace.from_context().members.list()

    assert cloud.rpcs.unimplemented == ["WorkspaceMembersList"]
    assert "lacks WorkspaceMembersList (asked by client)" in caplog.text
    cloud.rpcs.unimplemented.clear()
