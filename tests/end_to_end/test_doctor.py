"""`multitalk doctor` with the control plane: the set-up step by step, and its faults."""

import copy
import json
import re
import signal

import boto3
import modal
import pytest

from multitalk_cli import contract
from remote.deployment import pins
from tests.end_to_end.product import CLASS, upload_pack
from tests.modal_plane.cloud import TOKEN_ID, TOKEN_SECRET
from tests.storage.stores import KEY_ID, SECRET
from tests.tools.commands import problems


def checks_of(ran):
    """Each check by its name."""
    return {check["name"]: check for check in ran.data["checks"]}


def doctor(user, *words, **env):
    """Runs the command, and gives how it ended, and its checks."""
    ran = user.run("doctor", "--json", *words, **env)
    assert ran.code in (0, 4), ran.stdout + ran.stderr
    checks = checks_of(ran)
    assert not [found for check in checks.values() for found in problems(check["remedy"])]
    return ran, checks


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


def test_empty_variables_that_hide_a_stored_token_are_named(tokenless):
    pair = f"{TOKEN_ID}\n{TOKEN_SECRET}\n"
    assert tokenless.run("login", "--stdin", stdin=pair).code == 0

    _, checks = doctor(tokenless, MODAL_TOKEN_ID="")

    assert checks["token"]["code"] == "E_NO_TOKEN"
    assert checks["token"]["remedy"] == "unset MODAL_TOKEN_ID"


def test_a_refused_token_is_said(newcomer):
    ran, checks = doctor(newcomer, MODAL_TOKEN_SECRET="wrong")

    unset = "unset MODAL_TOKEN_ID MODAL_TOKEN_SECRET"
    assert (checks["workspace"]["code"], ran.data["next"]) == ("E_TOKEN", unset)


def test_half_a_token_is_said(tokenless):
    _, checks = doctor(tokenless, MODAL_TOKEN_ID=TOKEN_ID)

    assert (checks["token"]["code"], checks["token"]["remedy"]) == (
        "E_TOKEN",
        "unset MODAL_TOKEN_ID",
    )
    assert "token_secret" in checks["token"]["seen"]


def test_a_dead_network_is_found(cloud, newcomer):
    with cloud.network_lost():
        ran, checks = doctor(newcomer)

    assert (ran.code, checks["network"]["code"]) == (4, "E_NETWORK")
    assert checks["app"]["is_blocked"] is True
    assert ran.data["preview_ready"] is True


def test_a_network_that_swallows_everything_ends_in_time(cloud, newcomer):
    with cloud.network_silent():
        ran, checks = doctor(newcomer)

    assert (ran.code, checks["workspace"]["seen"]) == (4, "no answer within 6 s")


def test_an_environment_that_does_not_exist(newcomer):
    _, checks = doctor(newcomer, "--environment", "nowhere")

    assert checks["workspace"]["code"] == "E_ENVIRONMENT"


def test_each_step_that_is_done_is_seen(newcomer, tiny_pack):
    ran, checks = doctor(newcomer)
    assert (ran.data["next"], ran.data["steps_done"]) == ("multitalk download", 2)
    assert checks["app"]["code"] == "E_NOT_DEPLOYED"

    assert newcomer.run("deploy").code == 0
    ran, checks = doctor(newcomer)
    assert (checks["pack"]["code"], ran.data["steps_done"]) == ("E_WEIGHTS_MISSING", 3)
    assert ran.data["next"].startswith("multitalk download")

    upload_pack(tiny_pack)
    ran, checks = doctor(newcomer)
    assert (ran.code, ran.json["status"], ran.json["errors"]) == (0, "ok", [])
    assert ran.data["video_ready"] is True
    assert "packed" in checks["pack"]["seen"]
    assert ran.data["next"] == "multitalk generate IMAGE VOICE"


# What breaks afterwards


@pytest.fixture(scope="module")
def ready(deployed):
    """A user who has everything."""
    return deployed


def test_all_is_well_and_changes_nothing(cloud, ready, rpcs):
    before = cloud.volume(contract.WEIGHTS_VOLUME).files()

    ran = ready.run("doctor")

    assert ran.code == 0, ran.stdout
    assert "preview: ready      real video: ready" in ran.stdout
    assert ran.stdout.endswith("next:  multitalk generate IMAGE VOICE\n")
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
    assert checks["pack"]["seen"].startswith(f"2 of {count} files missing or truncated")
    assert ran.data["next"].startswith("multitalk download")


@pytest.mark.parametrize("text", [b'{"files": [{"name": 1}]}', b"\xff"])
def test_a_manifest_that_is_none(ready, weights, tmp_path, text):
    (tmp_path / "manifest.json").write_bytes(text)
    with weights.batch_upload(force=True) as batch:
        batch.put_file(str(tmp_path / "manifest.json"), "/bf16/manifest.json")

    _, checks = doctor(ready)

    assert checks["pack"]["state"] == "fail"
    assert "not the manifest of a pack" in checks["pack"]["seen"]


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


# Storage


@pytest.fixture
def store(ready, moto_url):
    """Makes the secret of a bucket of moto's store; gives the bucket's client."""
    client = boto3.client(
        "s3",
        endpoint_url=moto_url,
        region_name="us-east-1",
        aws_access_key_id=KEY_ID,
        aws_secret_access_key=SECRET,
    )
    assert ready.home
    yield client
    client.close()
    modal.Secret.objects.delete(contract.AWS_SECRET, allow_missing=True)


def make_secret(moto_url, **changes):
    """The secret for a bucket, in place of one that is there."""
    values = {
        "AWS_ACCESS_KEY_ID": KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_BUCKET_NAME": "doctors",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": moto_url,
        **changes,
    }
    modal.Secret.objects.delete(contract.AWS_SECRET, allow_missing=True)
    kept = {name: value for name, value in values.items() if value}
    modal.Secret.objects.create(contract.AWS_SECRET, kept)


def patient_doctor(user):
    """Asks again where the container took too long to start."""
    for _ in range(5):
        ran, checks = doctor(user)
        if not checks["bucket"]["seen"].startswith("no answer within"):
            break
    return ran, checks


def test_without_secrets_storage_is_left_out(ready):
    ran, checks = doctor(ready)

    assert ran.code == 0
    assert (checks["aws"]["state"], checks["bucket"]["state"]) == ("skip", "skip")
    assert checks["aws"]["remedy"] == "multitalk setup-secrets --only aws"
    assert "only needed for s3://" in checks["aws"]["seen"]


def test_a_secret_without_a_key_names_it(ready, store, moto_url):
    assert store
    make_secret(moto_url, AWS_BUCKET_NAME="")

    ran, checks = doctor(ready)

    assert checks["aws"]["code"] == "E_SECRET_INCOMPLETE"
    assert "AWS_BUCKET_NAME" in checks["aws"]["seen"]
    assert ran.data["next"] == "multitalk setup-secrets --only aws --update"


def test_a_hub_secret_without_its_key_names_it(ready):
    modal.Secret.objects.create(contract.HUGGINGFACE_SECRET, {"TOKEN": "x"})
    try:
        _, checks = doctor(ready)
    finally:
        modal.Secret.objects.delete(contract.HUGGINGFACE_SECRET)

    assert checks["huggingface"]["code"] == "E_SECRET_INCOMPLETE"


def test_a_bucket_is_tried_from_inside_the_cloud(ready, store, moto_url):
    make_secret(moto_url)
    store.create_bucket(Bucket="doctors")
    ran, checks = doctor(ready)
    assert "before aws-secret was set up" in checks["bucket"]["seen"]

    assert ready.run(*ran.data["next"].split()[1:], "--quiet").code == 0
    ran, checks = patient_doctor(ready)
    assert (ran.code, checks["bucket"]["state"]) == (0, "ok"), checks
    assert "s3://doctors written, read and deleted" in checks["bucket"]["seen"]
    assert store.list_objects_v2(Bucket="doctors")["KeyCount"] == 0

    store.delete_bucket(Bucket="doctors")
    ran, checks = patient_doctor(ready)
    assert (ran.code, checks["bucket"]["code"]) == (4, "E_S3_BUCKET")

    modal.Secret.objects.delete(contract.AWS_SECRET)
    ran, checks = doctor(ready)
    assert (ran.data["next"], checks["app"]["state"]) == ("multitalk deploy", "fail")
    assert "secret aws-secret of the deployed app was deleted" in checks["app"]["seen"]
    assert ready.run(*ran.data["next"].split()[1:], "--quiet").code == 0


# A GPU


def test_a_script_must_say_that_a_card_may_be_paid(ready, rpcs):
    ran = ready.run("doctor", "--gpu", "--json")

    assert (ran.code, ran.error["hint"]) == (2, "multitalk doctor --gpu --yes")
    assert rpcs.count("FunctionMap") == 0


def with_card(cloud):
    """Containers with a GPU that are busy."""
    busy = cloud.containers(busy=True)
    return [each for each in busy if each.function.definition.resources.gpu_config.gpu_type]


@pytest.mark.parametrize(
    ("fault", "code"),
    [("boot_failure", "E_REMOTE"), ("out_of_memory", "E_OUT_OF_MEMORY")],
)
def test_a_container_that_fails_is_reported(cloud, ready, fault, code):
    if fault == "boot_failure":
        cloud.faults.boot_failure = 3
        ran, checks = doctor(ready, "--gpu", "--yes", MULTITALK_GPU="b200")
    else:
        running = ready.start("doctor", "--gpu", "--yes", "--json", MULTITALK_GPU="h200")
        cloud.wait_until(lambda: with_card(cloud), "the container with the GPU is busy")
        cloud.out_of_memory(*with_card(cloud))
        ran = running.finish()
        checks = checks_of(ran)

    assert (ran.code, checks["container"]["code"]) == (4, code)
    price = ran.stderr.splitlines()[0]
    assert "starts a container, loads the weights and generates a test video, " in price
    assert "$0." in price


def test_nothing_is_started_where_something_is_missing(ready, weights, rpcs):
    weights.remove_file("/bf16/manifest.json")

    ran, checks = doctor(ready, "--gpu", "--yes")

    assert (ran.code, "card" in checks) == (4, False)
    assert rpcs.count("FunctionMap") == 0


# The model


def test_a_script_must_say_that_the_comparison_may_be_paid(ready, rpcs):
    ran = ready.run("doctor", "--model", "--json")

    assert (ran.code, ran.error["hint"]) == (2, "multitalk doctor --model --yes")
    assert not {*rpcs.names()} & {"FunctionMap", "AppPublish"}


@pytest.mark.long
def test_the_model_is_compared_after_its_price_is_said(cloud, ready):
    # A container compiles transformers, diffusers and librosa anew: minutes on a busy machine.
    ran, checks = doctor(ready, "--model", "--yes", "--report", "proof.md")

    said, *facts = ran.stderr.splitlines()
    assert said.startswith("h100: compares parts of the model with transformers, diffusers, ")
    assert re.search(r", \d+ min( \d+ s)? to [\w ]+, \$0\.\d+ to \$0\.\d+$", said)
    labels = [line.split()[0] for line in facts if not line.startswith("comparing ")]
    # The other layers were built for the app.
    assert labels == ["build", "build", "deployed", "report"], ran.stderr
    states = {name: checks[name]["state"] for name in ("encoders", "step")}
    assert (ran.code, states) == (0, {"encoders": "ok", "step": "ok"}), ran.stdout
    assert checks["encoders"]["seen"].startswith("8 parts compared with transformers 5.")
    assert "float32 (cpu, bfloat16, attention sdpa)" in checks["step"]["seen"]
    parts = [row["part"] for row in ran.data["model"]["rows"]]
    assert parts[:10] == [
        "sound, decoded", "sound, resampled", "tokenizer",
        "wav2vec2", "CLIP", "VAE, encoder", "VAE, decoder", "umT5",
        "one step, 1 voice", "one step, 2 voices",
    ]  # fmt: skip
    report = (ready.folder / "proof.md").read_text(encoding="utf-8").partition("## model")[2]
    assert all(re.search(rf"^{part} +.*verdict (ok|not run)", report, re.M) for part in parts)
    definition = cloud.function("multitalk-proof", contract.PROOF_FUNCTION).definition
    assert not definition.resources.gpu_config.gpu_type
    assert {mount.mount_path: mount.read_only for mount in definition.volume_mounts} == {
        "/weights": True
    }
    recipe = "\n".join(cloud.recipe("multitalk-proof", contract.PROOF_FUNCTION))
    assert all(pin in recipe for pin in pins.PROOF.split())
    assert "transformers==" not in "\n".join(cloud.recipe(contract.APP_NAME, CLASS))


def test_an_image_that_cannot_be_built_leaves_the_step(cloud, ready):
    cloud.forget_builds()
    cloud.faults.image_build_failure = "no such package"

    ran, checks = doctor(ready, "--model", "--yes")

    assert (ran.code, checks["encoders"]["code"], checks["step"]["state"]) == (4, "E_DEPLOY", "ok")
    assert ran.data["next"] == checks["encoders"]["remedy"] == "multitalk doctor --model --debug"
    assert ran.data["model"]["facts"].keys() == {"step"}


def polled(rpcs):
    """The calls that were asked for their answers."""
    return {request.function_call_id for request in rpcs.requests("FunctionGetOutputs")}


def test_ctrl_c_ends_the_container_s_call(cloud, ready, rpcs):
    cloud.no_capacity()
    running = ready.start("doctor", "--gpu", "--yes", MULTITALK_GPU="a100-80gb")
    # One call compares sound, the other one is the GPU's.
    cloud.wait_until(lambda: len(polled(rpcs)) == 2, "a look at each call")

    running.signal(signal.SIGINT)
    ran = running.finish()

    assert ran.code in (130, -signal.SIGINT)
    assert rpcs.count("FunctionCallCancel") == 1
