"""`multitalk login` and `deploy` from the installed wheel."""

import json
import shutil
import signal
import subprocess

import modal
import pytest

from multitalk_cli import contract
from remote.deployment import image, pins
from tests.end_to_end.product import CLASS
from tests.modal_plane.cloud import TOKEN_ID, TOKEN_SECRET
from tests.terminal.program import Program
from tests.waiting import HANG_S


def test_a_dry_run_shows_the_recipe_without_a_network(cloud, user):
    with cloud.network_lost():
        ran = user.run("deploy", "--dry-run", "--stack", "cuda12.1", "--json")

    assert ran.code == 0, ran.stderr
    assert ran.data["volumes"] == ["multitalk-weights", "multitalk-jobs", "multitalk-caches"]
    old = "\n".join(ran.data["images"]["cuda12.1"])
    assert "nvidia/cuda:12.1.1-devel" in old
    for pin in ("torch==2.4.1", "flash-attn==2.6.1", "xformers==0.0.28"):
        assert pin in old
    # NVIDIA's images print a page of text into the output of every process.
    assert "entrypoint []" in old
    assert "entrypoint" not in "".join(ran.data["images"]["current"])
    assert ran.data["deployed"] is False


def test_nothing_is_deployed_yet(user):
    words = user.generate(user.speech("early.wav", 0.4), "--json")

    ran = user.run(*words)

    assert (ran.code, ran.error["code"]) == (4, "E_NOT_DEPLOYED")
    assert ran.error["hint"] == "multitalk download"


def test_deploy_prints_a_line_a_stage_and_names_the_next_command(cloud, user):
    ran = user.run("deploy")

    assert (ran.code, ran.stdout) == (0, "multitalk\n"), ran.stderr
    layers = len(image.STACKS["current"].layers)
    lines = ran.stderr.splitlines()
    assert [line.split()[0] for line in lines] == [
        "app", "gpus", "volumes", "secrets", *["build"] * (1 + layers), "deployed", "next:",
    ], ran.stderr  # fmt: skip
    steps = [line for line in lines if line.startswith("build       pip install ")]
    assert len(steps) == layers
    assert max(map(len, lines)) <= 100
    assert lines[-1] == "next:  multitalk download"
    recipe = "\n".join(cloud.recipe(contract.APP_NAME, CLASS))
    for pin in (pins.CURRENT_TORCH + pins.CURRENT_REST).split():
        assert pin in recipe
    definition = cloud.function(contract.APP_NAME, CLASS).definition
    assert definition.timeout_secs == 12 * 3600
    assert definition.autoscaler_settings.scaledown_window <= 30
    assert definition.autoscaler_settings.min_containers == 0
    assert definition.resources.memory_mb == 8 * 1024
    mounts = {mount.mount_path: mount.read_only for mount in definition.volume_mounts}
    assert mounts == {"/weights": True, "/jobs": False, "/caches": False}


def test_deploy_again_replaces_what_is_there(cloud, user):
    version = cloud.state.app("", contract.APP_NAME).version

    unchanged = user.run("deploy")
    again = user.run("deploy", "--quiet")

    assert (again.code, again.stderr) == (0, "")
    assert unchanged.stderr.splitlines()[-2].endswith(", every image was up to date")
    assert cloud.state.app("", contract.APP_NAME).version == version + 2


def test_a_pack_is_uploaded_whole(cloud, user, tiny_pack):
    ran = user.run("upload-weights", tiny_pack, "--json", "--progress", "json")

    assert ran.code == 0, ran.stderr
    stages = [json.loads(line) for line in ran.stderr.splitlines()]
    reading, *_, last = [stage for stage in stages if stage["event"] == "stage"]
    size = sum(file.stat().st_size for file in tiny_pack.iterdir())
    assert reading["name"] == "reading"
    assert (last["name"], last["total"]) == ("uploading", size)
    here = {f"bf16/{path.name}": path.read_bytes() for path in tiny_pack.iterdir()}
    assert cloud.volume(contract.WEIGHTS_VOLUME).files() == here


def test_a_pack_that_is_cut_off_is_not_uploaded(user, tiny_pack, tmp_path, rpcs):
    copy = tmp_path / "pack"
    shutil.copytree(tiny_pack, copy)
    (copy / "vae-001.safetensors").write_bytes(b"cut")

    ran = user.run("upload-weights", copy, "--json")

    assert (ran.code, ran.error["code"]) == (3, "E_FILE_UNREADABLE")
    assert not rpcs.names()


def test_a_pack_of_another_format_is_not_uploaded(user, tiny_pack, tmp_path, rpcs):
    copy = tmp_path / "pack"
    shutil.copytree(tiny_pack, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps({**manifest, "format_version": 1}))

    ran = user.run("upload-weights", copy, "--json")

    assert (ran.code, ran.error["code"]) == (3, "E_FILE_UNREADABLE")
    assert "the pack has format 1" in ran.error["message"]
    assert not rpcs.names()


def test_both_stacks_are_classes_of_one_app(cloud, user):
    ran = user.run("deploy", "--stack", "cuda12.1", "--app", "both", "--gpu", "a100-80gb")

    assert ran.code == 0, ran.stderr
    old = cloud.function("both", "Cuda121.*").definition
    assert old.resources.gpu_config.gpu_type == "A100-80GB"
    assert "flash-attn==2.6.1" in "\n".join(cloud.recipe("both", "Cuda121.*"))
    assert cloud.function("both", CLASS)


def test_a_stack_that_is_not_deployed_is_named(user):
    words = user.generate(user.speech("stack.wav", 0.4), "--stack", "cuda12.1", "--json")

    ran = user.run(*words)

    assert (ran.error["code"], ran.error["hint"]) == (
        "E_NOT_DEPLOYED",
        "multitalk deploy --stack cuda12.1",
    )


def test_an_environment_of_its_own(cloud, user):
    cloud.add_environment("staging")

    ran = user.run("deploy", "--environment", "staging", "--quiet")

    assert ran.code == 0, ran.stderr
    assert cloud.state.app("staging", contract.APP_NAME).version == 1
    assert volume_versions(cloud, "staging") == {2}


def volume_versions(cloud, environment):
    names = (contract.WEIGHTS_VOLUME, contract.JOBS_VOLUME, contract.CACHES_VOLUME)
    return {cloud.volume(name, environment).version for name in names}


def test_volumes_of_version_1_are_kept(cloud, user):
    cloud.add_environment("earlier")
    for name in (contract.WEIGHTS_VOLUME, contract.JOBS_VOLUME, contract.CACHES_VOLUME):
        modal.Volume.objects.create(name, version=1, environment_name="earlier")

    ran = user.run("deploy", "--environment", "earlier", "--quiet")

    assert ran.code == 0, ran.stderr
    assert volume_versions(cloud, "earlier") == {1}


def test_a_record_that_modal_forgot_is_still_known(cloud, user):
    assert user.run("deploy", "--stack", "cuda12.1", "--app", "quiet", "--quiet").code == 0
    cloud.forget_entries(contract.DEPLOYMENTS_DICT)

    known = user.run("status", "--app", "quiet")

    assert "stacks current, cuda12.1" in known.stdout, known.stderr
    assert "ENTRYPOINT []" in cloud.recipe("quiet", "Cuda121.*")
    assert "ENTRYPOINT []" not in cloud.recipe("quiet", CLASS)
    assert "quiet" in cloud.entries(contract.DEPLOYMENTS_DICT)


def test_the_builder_of_images_is_not_that_of_the_workspace(cloud, user):
    cloud.faults.image_builder = "2031.01"

    ran = user.run("deploy", "--app", "builder", "--gpu", "l4", "--json")

    assert ran.code == 0, ran.stderr
    assert {image.builder for image in cloud.state.images.values()} == {"2025.06"}


def test_a_stack_that_cannot_be_built_does_not_take_the_other_with_it(cloud, user):
    cloud.forget_builds()
    cloud.faults.image_build_failure = "no module named psutil"
    cloud.faults.failing_builds = "flash-attn"

    ran = user.run("deploy", "--stack", "cuda12.1", "--app", "half", "--gpu", "l40s", "--json")

    assert (ran.code, ran.error["code"]) == (5, "E_DEPLOY"), ran.stderr
    assert "deployed without the stack cuda12.1" in ran.error["message"]
    assert cloud.function("half", CLASS)
    assert json.loads(cloud.entries(contract.DEPLOYMENTS_DICT)["half"])["stacks"] == ["current"]


def test_ctrl_c_during_a_deploy_says_how_to_go_on(cloud, user, rpcs):
    waits = cloud.on("AppPublish", delay_s=HANG_S)
    running = user.start("deploy", "--app", "stopped")
    cloud.wait_until(lambda: rpcs.count("AppPublish"), "the app is published")
    running.signal(signal.SIGINT)
    ran = running.finish()
    waits.times = 0

    assert ran.code == -signal.SIGINT, ran.stderr
    assert ran.stderr.endswith("interrupted; the same command deploys it\n")
    assert "stopped" not in cloud.entries(contract.DEPLOYMENTS_DICT)


def test_another_package_called_remote_is_refused(user, tmp_path):
    other = tmp_path / "other" / "remote"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("")
    path = f"{other.parent}:{user.site}"

    ran = user.run("deploy", "--json", PYTHONPATH=path)

    assert (ran.code, ran.error["code"]) == (4, "E_REMOTE_PACKAGE")
    assert str(other) in ran.error["message"]


def test_a_build_that_fails_is_said(cloud, user):
    cloud.faults.image_build_failure = "no such package"

    ran = user.run("deploy", "--app", "broken", "--gpu", "h200", "--json")
    shown = user.run("deploy", "--app", "broken", "--gpu", "b200", "--debug", "--json")

    assert (ran.code, ran.error["code"]) == (5, "E_DEPLOY"), ran.stderr
    assert "=> FROM base\n" in ran.stderr
    assert ran.error["hint"] == "multitalk deploy --app broken --debug"
    assert (shown.code, shown.stderr.count("=> FROM base\n")) == (5, 1)
    assert "build       pip" not in shown.stderr


BASE = image.STACKS["current"].base


@pytest.mark.parametrize(
    ("said", "log"),
    [
        (f"docker.io/library/{BASE}: manifest unknown", ()),
        # Modal puts what the registry said into the log alone.
        ("", (f"Error: docker.io/library/{BASE}: not found",)),
        ("", ("reading manifest 3.11.13-bookworm in docker.io/library/python: manifest unknown",)),
    ],
)
def test_a_base_image_that_is_gone_is_named(cloud, user, said, log):
    cloud.faults.image_build_failure, cloud.faults.image_build_log = said, log

    ran = user.run("deploy", "--app", "gone", "--gpu", "h200", "--json")

    assert (ran.code, ran.error["code"]) == (5, "E_DEPLOY"), ran.stderr
    named = f"the registry no longer has {BASE}, the base of the stack current"
    assert named in ran.error["message"]
    assert "modal image logs" not in ran.stdout + ran.stderr


def test_another_file_that_a_build_does_not_find_is_no_base_image(cloud, user):
    cloud.faults.image_build_failure = ""
    cloud.faults.image_build_log = (f"FROM {BASE}", "python3.12: command not found")

    ran = user.run("deploy", "--app", "gone", "--gpu", "h200", "--json")

    assert (ran.code, ran.error["code"]) == (5, "E_DEPLOY"), ran.stderr
    assert "registry" not in ran.error["message"]


def test_no_token_is_said_before_anything_is_asked(user, rpcs):
    words = user.generate(user.speech("token.wav", 0.4), "--json")

    ran = user.run(*words, MODAL_TOKEN_ID="", MODAL_TOKEN_SECRET="")

    assert (ran.code, ran.error["code"], ran.error["hint"]) == (4, "E_NO_TOKEN", "multitalk login")
    assert not rpcs.names()


def test_status_names_version_containers_and_price(user):
    ran = user.run("status", "--json")

    assert ran.code == 0, ran.stderr
    assert ran.data["deployed"]["contract"] == contract.CONTRACT_VERSION
    assert ran.data["idle_usd_per_minute"] > 0


@pytest.fixture
def without_token(user):
    """The user's environment without a token."""
    return {name: text for name, text in user.env.items() if not name.startswith("MODAL_TOKEN")}


def test_login_stores_a_token_pair_from_stdin(user, without_token):
    command = user.command("login", "--stdin")
    done = subprocess.run(
        command, env=without_token, input=f"{TOKEN_ID}\n{TOKEN_SECRET}\n", text=True,
        capture_output=True, timeout=HANG_S, check=False,
    )  # fmt: skip

    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert TOKEN_SECRET not in done.stderr
    assert TOKEN_SECRET in (user.home / ".modal.toml").read_text()
    (user.home / ".modal.toml").unlink()


def test_login_refuses_a_wrong_pair(user, without_token):
    command = user.command("login", "--stdin")
    done = subprocess.run(
        command, env=without_token, input=f"{TOKEN_ID} wrong", text=True,
        capture_output=True, timeout=HANG_S, check=False,
    )  # fmt: skip

    assert (done.returncode, "E_TOKEN" in done.stderr) == (4, True), done.stderr
    assert not (user.home / ".modal.toml").exists()


@pytest.mark.parametrize("quiet", [(), ("--quiet",)])
def test_login_in_the_browser_shows_where_to_confirm_and_stores_a_token(
    cloud, user, without_token, quiet
):
    """Although the connection is lost meanwhile, as where a laptop sleeps."""
    cloud.state.token_flows.clear()
    cloud.on("TokenFlowWait", before=cloud.hang_up)
    command = user.command("login", *quiet)
    with subprocess.Popen(
        command, env=without_token, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        cloud.wait_until(lambda: cloud.state.token_flows, "a client asks for a token")
        shown = [process.stderr.readline() for _ in range(1 if quiet else 4)]
        cloud.confirm_login()
        out, err = process.communicate(timeout=HANG_S)

    (flow,) = cloud.state.token_flows
    assert f"/token-flow/{flow}" in shown[0]
    assert "LOCAL\n" in shown[0 if quiet else 1]
    assert quiet or "the connection to Modal was lost; reconnecting" in shown[3]
    assert (process.returncode, out) == (0, ""), err
    assert ("next:  multitalk download" in err) is not bool(quiet)
    (user.home / ".modal.toml").unlink()


def test_login_says_that_variables_hide_the_token(user, without_token):
    env = {**without_token, "MODAL_OAUTH_CLIENT_ID": "oc-1"}
    done = subprocess.run(
        user.command("login", "--stdin"), env=env, input=f"{TOKEN_ID}\n{TOKEN_SECRET}\n",
        text=True, capture_output=True, timeout=HANG_S, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert "MODAL_OAUTH_CLIENT_ID hide the stored token: unset MODAL_OAUTH_CLIENT_ID" in done.stderr
    (user.home / ".modal.toml").unlink()


def test_ctrl_c_while_the_page_is_open_is_an_interrupt(cloud, user, without_token):
    cloud.state.token_flows.clear()
    program = Program(user.command("login"), without_token)
    program.until("Ctrl-C stops")
    program.child.sendintr()
    screen = program.end()

    assert any(line.startswith("page ") and "/token-flow/" in line for line in screen), screen
    assert screen[-1].endswith("interrupted; no token was stored")
    assert program.child.signalstatus == signal.SIGINT
    assert not (user.home / ".modal.toml").exists()


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (("status",), "multitalk status --environment staging"),
        (("download", "--yes"), "multitalk download --yes --environment staging"),
        (("deploy",), "multitalk deploy --environment staging"),
        (("jobs", "ls", "--remote"), "multitalk jobs ls --remote --environment staging"),
    ],
)
def test_an_environment_that_does_not_exist_is_named(cloud, user, words, command):
    cloud.add_environment("staging")

    ran = user.run(*words, "--environment", "stagging", "--json")

    assert (ran.code, ran.error["code"], ran.error["hint"]) == (4, "E_ENVIRONMENT", command)
    assert ran.error["message"].startswith('no environment "stagging" in the Modal account')


def test_an_unknown_environment_of_modal_s_own_variable_is_named(user):
    ran = user.run("status", "--json", MODAL_ENVIRONMENT="stagging")

    assert (ran.code, ran.error["code"]) == (4, "E_ENVIRONMENT")
    assert ran.error["hint"] == "unset MODAL_ENVIRONMENT"


@pytest.mark.parametrize(
    "present", [(), contract.SECRETS[:1], contract.SECRETS[1:], contract.SECRETS]
)
def test_secrets_that_exist_reach_the_containers(cloud, user, present):
    environment = f"has-{'-'.join(present)}"
    cloud.add_environment(environment)
    for name in present:
        modal.Secret.objects.create(name, {"KEY": "value"}, environment_name=environment)

    ran = user.run("deploy", "--environment", environment, "--json")

    assert (ran.code, ran.data["secrets"]) == (0, list(present)), ran.stderr
    definition = cloud.function(contract.APP_NAME, CLASS, environment).definition
    assert len(definition.secret_ids) == (contract.AWS_SECRET in present)
