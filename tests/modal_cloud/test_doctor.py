"""`multitalk doctor` beside the control plane: what is set up step by step, and what breaks."""

import copy
import json
import time

import modal
import pytest

from multitalk_cli import contract
from tests.modal_cloud.cloud import TOKEN_ID, TOKEN_SECRET
from tests.modal_cloud.product import upload_pack


def checks_of(ran):
    """Each check by its name."""
    return {check["name"]: check for check in ran.data["checks"]}


def doctor(user, *words, **env):
    """Runs the command, and gives how it ended, and its checks."""
    ran = user.run("doctor", "--json", *words, **env)
    assert ran.code in (0, 4), ran.stdout + ran.stderr
    return ran, checks_of(ran)


@pytest.fixture(scope="module")
def newcomer(user):
    """A user before any set-up."""
    return user


# Before the deploy


@pytest.fixture
def tokenless(newcomer):
    """The same user without a token; one that is stored meanwhile is removed."""
    other = copy.copy(newcomer)
    names = ("MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET")
    other.env = {name: text for name, text in newcomer.env.items() if name not in names}
    yield other
    (newcomer.home / ".modal.toml").unlink(missing_ok=True)


def test_without_a_token_the_next_command_is_login(tokenless, rpcs):
    ran, checks = doctor(tokenless)

    assert (ran.code, ran.data["next"]) == (4, "multitalk login")
    assert (checks["token"]["code"], checks["workspace"]["seen"]) == ("E_NO_TOKEN", "needs token")
    assert (ran.data["preview_ready"], ran.data["video_ready"]) == (True, False)
    assert not rpcs.names()


def test_the_login_that_is_printed_works(tokenless):
    words = doctor(tokenless)[0].data["next"].split()[1:]

    done = tokenless.run(*words, "--stdin", stdin=f"{TOKEN_ID}\n{TOKEN_SECRET}\n")

    assert done.code == 0, done.stderr
    _, checks = doctor(tokenless)
    assert checks["workspace"]["seen"] == 'workspace "local", environment "main"'


def test_empty_variables_that_hide_a_stored_token_are_named(tokenless):
    pair = f"{TOKEN_ID}\n{TOKEN_SECRET}\n"
    assert tokenless.run("login", "--stdin", stdin=pair).code == 0

    _, checks = doctor(tokenless, MODAL_TOKEN_ID="")

    assert checks["token"]["code"] == "E_NO_TOKEN"
    assert checks["token"]["remedy"] == "unset MODAL_TOKEN_ID"


def test_a_refused_token_is_said(newcomer):
    ran, checks = doctor(newcomer, MODAL_TOKEN_SECRET="wrong")

    assert (checks["workspace"]["code"], ran.data["next"]) == ("E_TOKEN", "multitalk login")


def test_half_a_token_is_said(tokenless):
    _, checks = doctor(tokenless, MODAL_TOKEN_ID=TOKEN_ID)

    assert (checks["token"]["code"], checks["token"]["remedy"]) == (
        "E_TOKEN",
        "unset MODAL_TOKEN_ID",
    )
    assert "token_secret" in checks["token"]["seen"]


def test_a_dead_network_is_found_within_seconds(cloud, newcomer):
    began_s = time.monotonic()
    with cloud.network_lost():
        ran, checks = doctor(newcomer)

    assert time.monotonic() - began_s < 6
    assert (ran.code, checks["network"]["code"]) == (4, "E_NETWORK")
    assert checks["app"]["is_blocked"] is True
    assert ran.data["preview_ready"] is True


def test_a_network_that_swallows_everything_ends_in_time(cloud, newcomer):
    began_s = time.monotonic()
    with cloud.network_silent():
        ran, checks = doctor(newcomer)

    assert time.monotonic() - began_s < 10
    assert (ran.code, checks["workspace"]["seen"]) == (4, "no answer within 6 s")


def test_an_environment_that_does_not_exist(newcomer):
    _, checks = doctor(newcomer, "--environment", "nowhere")

    assert checks["workspace"]["code"] == "E_ENVIRONMENT"


def test_the_commands_that_are_printed_lead_to_a_video(newcomer, tiny_pack):
    ran, checks = doctor(newcomer)
    assert (ran.data["next"], ran.data["steps_done"]) == ("multitalk deploy", 3)
    assert checks["app"]["code"] == "E_NOT_DEPLOYED"

    assert newcomer.run(*ran.data["next"].split()[1:]).code == 0
    ran, checks = doctor(newcomer)
    assert (checks["pack"]["code"], ran.data["steps_done"]) == ("E_WEIGHTS_MISSING", 4)
    assert ran.data["next"].startswith("multitalk download")

    upload_pack(tiny_pack)
    ran, checks = doctor(newcomer)
    assert (ran.code, ran.json["status"], ran.json["errors"]) == (0, "ok", [])
    assert ran.data["video_ready"] is True
    assert "packed" in checks["pack"]["seen"]
    voice = newcomer.speech("voice.wav", 0.4)
    words = ran.data["next"].replace("PICTURE", "host.png").replace("VOICE", voice).split()
    made = newcomer.run(*words[1:], "--size", "32x32", "--steps", "10")
    assert made.code == 0, made.stderr


# What breaks afterwards


@pytest.fixture(scope="module")
def ready(deployed):
    """A user who has everything."""
    return deployed


def test_all_is_well_within_ten_seconds_and_changes_nothing(cloud, ready, rpcs):
    before = cloud.volume(contract.WEIGHTS_VOLUME).files()
    began_s = time.monotonic()

    ran = ready.run("doctor")

    assert time.monotonic() - began_s < 10
    assert ran.code == 0, ran.stdout
    assert "preview: ready      real video: ready" in ran.stdout
    assert ran.stdout.endswith("next:  multitalk generate PICTURE VOICE\n")
    assert ran.stderr == ""
    assert cloud.volume(contract.WEIGHTS_VOLUME).files() == before
    assert rpcs.count("FunctionMap") == 0


@pytest.fixture
def weights(ready, tiny_pack):
    """The Volume of weights, whole again after the test."""
    assert ready.home
    yield modal.Volume.from_name(contract.WEIGHTS_VOLUME)
    upload_pack(tiny_pack)


def test_a_missing_and_a_short_file_are_counted(ready, weights, tiny_pack, tmp_path):
    count = len(json.loads((tiny_pack / "manifest.json").read_bytes())["files"])
    (tmp_path / "short").write_bytes(b"cut")
    weights.remove_file("/bf16/vae-001.safetensors")
    with weights.batch_upload(force=True) as batch:
        batch.put_file(str(tmp_path / "short"), "/bf16/clip-001.safetensors")

    ran, checks = doctor(ready)

    assert checks["pack"]["code"] == "E_WEIGHTS_MISSING"
    assert checks["pack"]["seen"].startswith(f"2 of {count} files missing or cut off")
    assert ran.data["next"].startswith("multitalk download")


@pytest.mark.parametrize("text", [b"{}", b"[1]", b'{"files": [{"name": 1}]}', b"\xff"])
def test_a_manifest_that_is_none(ready, weights, tmp_path, text):
    (tmp_path / "manifest.json").write_bytes(text)
    with weights.batch_upload(force=True) as batch:
        batch.put_file(str(tmp_path / "manifest.json"), "/bf16/manifest.json")

    _, checks = doctor(ready)

    assert checks["pack"]["state"] == "fail"
    assert "no manifest" in checks["pack"]["seen"]


@pytest.fixture
def record(ready):
    """The note of the last deploy, as a dict to change; as it was after the test."""
    assert ready.home
    notes = modal.Dict.from_name(contract.DEPLOYMENTS_DICT)
    before = notes[contract.APP_NAME]

    def change(**changes):
        notes[contract.APP_NAME] = json.dumps({**json.loads(before), **changes})

    yield change
    notes[contract.APP_NAME] = before


def test_an_older_app_of_the_same_contract_is_a_warning(ready, record):
    record(client="0.0.1")

    ran, checks = doctor(ready)

    assert (ran.code, checks["version"]["state"]) == (0, "warn")
    assert "same contract" in checks["version"]["seen"]
    assert checks["version"]["remedy"] == "multitalk deploy"


def test_an_app_of_another_contract_is_mended_by_the_command(ready, record):
    record(contract=0)
    ran, checks = doctor(ready)
    assert (checks["app"]["code"], ran.data["next"]) == ("E_CONTRACT", "multitalk deploy")

    assert ready.run(*ran.data["next"].split()[1:], "--quiet").code == 0

    assert doctor(ready)[0].code == 0


def test_a_stack_that_is_not_deployed(ready):
    ran, checks = doctor(ready, MULTITALK_STACK="cuda12.1")

    assert checks["app"]["code"] == "E_NOT_DEPLOYED"
    assert ran.data["next"] == "multitalk deploy --stack cuda12.1"


def test_a_card_that_does_not_know_the_stack(ready):
    ran, checks = doctor(ready, MULTITALK_STACK="cuda12.1", MULTITALK_GPU="b200")

    assert checks["choice"]["code"] == "E_GPU_STACK"
    assert checks["choice"]["remedy"] == "unset MULTITALK_STACK"
    assert ran.code == 4
