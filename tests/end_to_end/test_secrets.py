"""Secrets of the account: which keys they have, and `multitalk setup-secrets`."""

import json
import os
import re
import sys
from pathlib import Path

import modal
import pexpect
import pytest

from multitalk_cli import contract, settings
from multitalk_cli.cli.app import run
from multitalk_cli.cloud.errors import AppRef
from multitalk_cli.cloud.secrets import account, verify
from multitalk_cli.cloud.secrets import setup as secrets_setup
from multitalk_cli.contract import REPOSITORIES, WAN_REPOSITORY
from multitalk_cli.errors import FileError, SetupError
from tests.end_to_end.product import Ran, User, upload_pack
from tests.storage.fakehub import serving
from tests.storage.guarded_store import guarding
from tests.storage.stores import KEY_ID
from tests.waiting import HANG_S

ROOT = Path(__file__).resolve().parents[2]
SECRET, HUB_TOKEN = "wJalr/XUtnFEMI+K7MDENG=bPxRfiCYz", "hf_qLmNoPqRsTuVwXyZaBcDeFgHiJkLmNoPqR"
SESSION = "FwoGZXIvYXdzEBYaDGs6/session+token=="
pytestmark = pytest.mark.usefixtures("cloud")
HERE = AppRef(app="multitalk", environment="")
KEYS = ("A", "B", "C")


@pytest.fixture(autouse=True)
def _no_secrets(monkeypatch, tmp_path):
    """Every test begins without secrets, in the account and on this machine."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "HF_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("MODAL_PAYLOAD_FORMAT", "cbor")
    monkeypatch.chdir(tmp_path)
    yield
    for secret in modal.Secret.objects.list():
        modal.Secret.objects.delete(secret.name)


def test_keys_are_asked_one_by_one():
    modal.Secret.objects.create("some", {"A": "1", "C": "3"})

    assert account.find_keys(HERE, "some", KEYS) == {"A", "C"}
    assert account.find_keys(HERE, "other", KEYS) is None


def test_an_environment_has_secrets_of_its_own(cloud):
    cloud.add_environment("staging")
    staging = AppRef(app="multitalk", environment="staging")

    account.create(staging, "some", {"A": "1"})

    assert account.find_keys(HERE, "some", KEYS) is None
    assert cloud.secret("some", "staging") == {"A": "1"}
    account.require_environment(staging)
    with pytest.raises(
        SetupError, match='no environment "nowhere" in the Modal account, which has'
    ):
        account.require_environment(AppRef(app="multitalk", environment="nowhere"))


def test_a_secret_is_made_merged_and_made_anew(cloud):
    account.create(HERE, "some", {"A": "1", "B": "2"})
    with pytest.raises(FileError, match="the Modal secret some already exists"):
        account.create(HERE, "some", {"A": "9"})

    account.merge(HERE, "some", {"B": "3"})
    assert cloud.secret("some") == {"A": "1", "B": "3"}

    account.replace(HERE, "some", {"C": "4"})
    assert cloud.secret("some") == {"C": "4"}


# The command


@pytest.fixture
def store():
    """A bucket with guards, `studio-videos`."""
    with guarding() as opened:
        yield opened


@pytest.fixture
def hub(monkeypatch):
    """The hub of the weights, which knows one token."""
    with serving({repo: {} for repo in REPOSITORIES}) as served:
        served.faults.token = HUB_TOKEN
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        monkeypatch.setattr(verify, "_PAUSES_S", ())
        yield served


def assert_hidden(shown):
    """No value is shown, nor a large part of one."""
    for value in (KEY_ID, SECRET, HUB_TOKEN, SESSION):
        assert value not in shown
        assert value[:12] not in shown


@pytest.fixture
def setup(capfdbinary):
    """Runs `multitalk setup-secrets`, and sees to it that nothing secret is said."""

    def call(*words):
        capfdbinary.readouterr()
        code = run(["setup-secrets", *map(str, words)])
        seen = capfdbinary.readouterr()
        assert_hidden((seen.out + seen.err).decode())
        return Ran(code, seen.out.decode(), seen.err.decode())

    return call


@pytest.fixture
def pairs(tmp_path, store):
    """Writes a file with the keys of the store, and more or others: `pairs(HF_TOKEN=...)`."""

    def write(**changes):
        content = {
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_BUCKET_NAME": store.bucket,
            "AWS_ENDPOINT_URL": store.url,
            **changes,
        }
        path = tmp_path / "secrets.env"
        path.touch(mode=0o600)
        path.write_text("".join(f"{k}={v}\n" for k, v in content.items() if v is not None))
        return path

    return write


def secrets_of(cloud, name):
    """The values of a secret; None where there is none."""
    names = [secret.name for secret in modal.Secret.objects.list()]
    return cloud.secret(name) if name in names else None


def test_both_secrets_from_a_file_are_tried_and_saved(cloud, setup, pairs, store, hub):
    ran = setup("--from-file", pairs(HF_TOKEN=HUB_TOKEN))

    assert ran.code == 0, ran.stderr
    assert ran.stdout == "aws-secret\nhuggingface-secret\n"
    assert cloud.secret("aws-secret") == {
        "AWS_ACCESS_KEY_ID": KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_BUCKET_NAME": store.bucket,
        "AWS_ENDPOINT_URL": store.url,
        "AWS_REGION": "eu-west-3",
    }
    assert cloud.secret("huggingface-secret") == {"HF_TOKEN": HUB_TOKEN}
    assert "adjusted    AWS_REGION is eu-west-3: the bucket's region" in ran.stderr
    assert "token of tester can read all 3 repositories" in ran.stderr
    assert "next:  multitalk download\n" in ran.stderr
    assert not store.objects
    assert {method for method, _ in store.seen} == {"LIST", "PUT", "GET", "DELETE"}
    asked = {path for path, _, _ in hub.requests}
    assert asked == {"/api/whoami-v2", *(f"/api/models/{r}/auth-check" for r in REPOSITORIES)}


@pytest.mark.usefixtures("hub")
def test_as_json_with_names_and_sources_only(setup, pairs, tmp_path):
    ran = setup("--from-file", pairs(HF_TOKEN=HUB_TOKEN), "--json")

    bucket, token = ran.data["secrets"]
    assert (bucket["name"], bucket["action"], bucket["tried"]) == ("aws-secret", "created", True)
    assert bucket["sources"]["AWS_REGION"] == "the store"
    assert token["sources"] == {"HF_TOKEN": str(tmp_path / "secrets.env")}
    assert ran.data["next"] == "multitalk download"


def test_the_bucket_is_what_s3_takes_from_then_on(setup, pairs, store):
    assert setup("--from-file", pairs()).code == 0

    text = settings.user_file().read_text()
    assert text == f'bucket = "{store.bucket}"\n'
    chosen = settings.load_settings()
    assert chosen["bucket"] == store.bucket


def test_another_setting_that_goes_first_is_said(setup, pairs, monkeypatch):
    monkeypatch.setenv("MULTITALK_BUCKET", "another-bucket")

    ran = setup("--from-file", pairs())

    assert "MULTITALK_BUCKET has another-bucket, which takes precedence" in ran.stderr


@pytest.mark.usefixtures("hub")
def test_the_environment_is_a_source(cloud, setup, store, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", f'"{SECRET}"')
    monkeypatch.setenv("AWS_SESSION_TOKEN", SESSION)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("HF_TOKEN", f"{HUB_TOKEN}\r\n")

    ran = setup("--from-env", "--bucket", f"s3://{store.bucket}/", "--endpoint-url", store.url)

    assert ran.code == 0, ran.stderr
    assert "adjusted    AWS_DEFAULT_REGION is saved as AWS_REGION" in ran.stderr
    assert "adjusted    AWS_SECRET_ACCESS_KEY: quotes removed" in ran.stderr
    assert "adjusted    HF_TOKEN: spaces and line ends around it removed" in ran.stderr
    assert "AWS_REGION is eu-west-3, not us-east-1" in ran.stderr
    assert "these are keys of a session" in ran.stderr
    kept = cloud.secret("aws-secret")
    assert (kept["AWS_SESSION_TOKEN"], kept["AWS_SECRET_ACCESS_KEY"]) == (SESSION, SECRET)
    assert kept["AWS_BUCKET_NAME"] == store.bucket
    assert cloud.secret("huggingface-secret") == {"HF_TOKEN": HUB_TOKEN}


@pytest.mark.usefixtures("hub")
def test_a_profile_and_the_hub_s_own_login_are_sources(cloud, setup, store):
    config = Path.home() / ".aws" / "credentials"
    config.parent.mkdir(parents=True)
    config.write_text(f"[work]\naws_access_key_id={KEY_ID}\naws_secret_access_key={SECRET}\n")
    token = Path(os.environ["XDG_CACHE_HOME"]) / "huggingface" / "token"
    token.parent.mkdir(parents=True)
    token.write_text(f"{HUB_TOKEN}\n")
    words = ("--bucket", store.bucket, "--endpoint-url", store.url)

    ran = setup("--profile", "work", "--from-hub", *words)

    assert ran.code == 0, ran.stderr
    assert "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY from the profile work" in ran.stderr
    assert "HF_TOKEN from the hub's own login" in ran.stderr
    assert cloud.secret("aws-secret")["AWS_SECRET_ACCESS_KEY"] == SECRET
    assert cloud.secret("huggingface-secret") == {"HF_TOKEN": HUB_TOKEN}


@pytest.mark.usefixtures("hub")
def test_one_secret_alone_leaves_the_other(cloud, setup, pairs, store):
    path = pairs(HF_TOKEN=HUB_TOKEN)

    assert setup("--only", "hf", "--from-file", path).code == 0

    assert secrets_of(cloud, "aws-secret") is None
    assert cloud.secret("huggingface-secret") == {"HF_TOKEN": HUB_TOKEN}
    assert not store.seen


def test_an_environment_of_modal_is_taken(cloud, setup, pairs):
    cloud.add_environment("studio")

    ran = setup("--from-file", pairs(), "--environment", "studio")

    assert ran.code == 0, ran.stderr
    assert cloud.secret("aws-secret", "studio")["AWS_ACCESS_KEY_ID"] == KEY_ID
    assert "next:  multitalk download --environment studio" in ran.stderr
    lost = setup("--from-file", pairs(), "--environment", "nowhere", "--json")
    assert (lost.code, lost.error["code"]) == (4, "E_ENVIRONMENT")


# What is refused saves nothing


@pytest.fixture
def refused(cloud, setup):
    """Runs the command, which must fail and save nothing: gives the error."""

    def call(*words):
        ran = setup(*words, "--json")
        assert ran.code == ran.error["exit_code"] != 0
        assert secrets_of(cloud, "aws-secret") is None
        assert secrets_of(cloud, "huggingface-secret") is None
        assert not settings.user_file().exists()
        return ran.error

    return call


@pytest.mark.parametrize(
    ("method", "permission"),
    [
        ("LIST", "s3:ListBucket"),
        ("PUT", "s3:PutObject"),
        ("GET", "s3:GetObject"),
        ("DELETE", "s3:DeleteObject"),
    ],
)
def test_a_missing_permission_is_named(refused, pairs, store, method, permission):
    store.forbidden = {method}

    error = refused("--from-file", pairs())

    assert (error["code"], error["exit_code"]) == ("E_S3_DENIED", 6)
    assert permission in error["message"]
    assert "Nothing was saved. --no-verify" in error["message"]
    assert error["hint"].startswith("multitalk setup-secrets --only aws --from-file ")


def test_the_next_command_has_what_was_given(refused, pairs, store):
    store.forbidden = {"PUT"}
    path = pairs(AWS_BUCKET_NAME=None)
    words = ("--only", "aws", "--from-file", path)

    lacking = refused(*words)
    denied = refused(*words, "--bucket", store.bucket)

    assert lacking["hint"] == f"multitalk setup-secrets --only aws --from-file {path} --bucket NAME"
    given = f"--only aws --from-file {path} --bucket {store.bucket}"
    assert denied["hint"] == f"multitalk setup-secrets {given}"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"AWS_BUCKET_NAME": "another-bucket"}, "E_S3_BUCKET"),
        ({"AWS_ACCESS_KEY_ID": "AKIAANOTHERONE"}, "E_S3_CREDENTIALS"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "E_S3_NETWORK"),
        ({"AWS_ENDPOINT_URL": "nowhere"}, "E_SECRET_VALUE"),
        ({"AWS_SECRET_ACCESS_KEY": KEY_ID}, "E_SECRET_VALUE"),
        ({"AWS_SECRET_ACCESS_KEY": None}, "E_SECRET_VALUE"),
        ({"AWS_ACCESS_KEY_ID": "ASIATESTTESTTESTTEST"}, "E_SECRET_VALUE"),
        ({"AWS_BUCKET_NAME": None}, "E_SECRET_VALUE"),
    ],
)
def test_a_wrong_value_has_its_code(refused, pairs, monkeypatch, change, code):
    monkeypatch.setattr("botocore.retryhandler.delay_exponential", lambda *_, **__: 0)

    error = refused("--from-file", pairs(**change))

    assert error["code"] == code


def test_a_session_that_has_ended_is_said(refused, pairs, store):
    store.expired = True

    assert refused("--from-file", pairs(AWS_SESSION_TOKEN=SESSION))["code"] == "E_S3_EXPIRED"


def test_a_store_in_another_region_is_found(cloud, setup, pairs, store):
    store.tells_region = False

    ran = setup("--from-file", pairs(AWS_REGION="eu-west-3"))

    assert ran.code == 0, ran.stderr
    assert cloud.secret("aws-secret")["AWS_REGION"] == "eu-west-3"
    assert store.regions == {"eu-west-3"}


def test_a_wrong_secret_is_found_by_a_store_that_checks_signatures(refused, weed_url, pairs):
    path = pairs(AWS_ENDPOINT_URL=weed_url, AWS_BUCKET_NAME="weed-bucket")

    error = refused("--from-file", path)

    assert error["code"] == "E_S3_CREDENTIALS"
    assert "SignatureDoesNotMatch" in error["message"]


@pytest.mark.usefixtures("hub")
def test_a_token_that_the_hub_refuses(refused, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", HUB_TOKEN[::-1])

    error = refused("--from-env")

    assert (error["code"], "the token" in error["message"]) == ("E_HUB_TOKEN", True)


def test_a_repository_that_the_token_may_not_read(refused, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", HUB_TOKEN)
    hub.faults.gated = (WAN_REPOSITORY,)

    error = refused("--from-env")

    assert (error["code"], WAN_REPOSITORY in error["message"]) == ("E_HUB_TOKEN", True)


@pytest.mark.usefixtures("hub")
def test_one_secret_that_fails_saves_neither(refused, pairs):
    error = refused("--from-file", pairs(HF_TOKEN="hf_wrong_wrong"))

    assert error["code"] == "E_HUB_TOKEN"


def test_without_trial_it_is_saved_all_the_same(cloud, setup, pairs, store):
    store.forbidden = {"PUT"}

    ran = setup("--from-file", pairs(), "--no-verify")

    assert ran.code == 0, ran.stderr
    assert "warning     aws-secret is not verified" in ran.stderr
    assert not store.seen
    assert "AWS_REGION" not in cloud.secret("aws-secret")


def test_no_token_of_modal_comes_before_any_question(refused, pairs, store, monkeypatch):
    monkeypatch.delenv("MODAL_TOKEN_ID")
    monkeypatch.delenv("MODAL_TOKEN_SECRET")

    assert refused("--from-file", pairs())["code"] == "E_NO_TOKEN"
    assert not store.seen


def test_a_bug_shows_no_value_in_its_traceback(refused, setup, pairs, monkeypatch):
    def broken(_kind, values):
        raise ValueError(f"cannot use {values}")

    monkeypatch.setattr(secrets_setup, "verify_secret", broken)

    assert refused("--from-file", pairs())["code"] == "E_BUG"
    ran = setup("--from-file", pairs(), "--debug")
    assert "cannot use" in ran.stderr
    assert "Traceback" in ran.stderr


# Secrets that exist


def test_an_existing_secret_is_left_alone_and_described(cloud, setup, pairs, store):
    modal.Secret.objects.create("aws-secret", {"AWS_ACCESS_KEY_ID": "old", "OTHER": "1"})

    ran = setup("--from-file", pairs(), "--json")

    assert (ran.code, ran.error["code"]) == (3, "E_SECRET_EXISTS")
    head, keys = ran.error["message"].splitlines()
    assert head == "Modal has aws-secret already"
    assert keys.endswith("has AWS_ACCESS_KEY_ID; it lacks AWS_SECRET_ACCESS_KEY, AWS_BUCKET_NAME")
    assert ran.error["hint"].endswith(" --update")
    assert cloud.secret("aws-secret") == {"AWS_ACCESS_KEY_ID": "old", "OTHER": "1"}
    assert not store.seen


def test_the_secret_that_is_absent_is_proposed_first(setup, pairs):
    modal.Secret.objects.create("huggingface-secret", {"HF_TOKEN": "old"})

    ran = setup("--from-file", pairs(HF_TOKEN=HUB_TOKEN), "--json")

    first, second = ran.error["hint"].splitlines()
    assert "--only aws --from-file" in first
    assert ("--only hf" in second, second.endswith(" --update")) == (True, True)


def test_update_keeps_the_other_keys(cloud, setup, pairs):
    modal.Secret.objects.create("aws-secret", {"AWS_ACCESS_KEY_ID": "old", "OTHER": "1"})

    ran = setup("--from-file", pairs(), "--update")

    assert ran.code == 0, ran.stderr
    kept = cloud.secret("aws-secret")
    assert (kept["AWS_ACCESS_KEY_ID"], kept["OTHER"]) == (KEY_ID, "1")


def test_force_makes_it_anew(cloud, setup, pairs):
    modal.Secret.objects.create("aws-secret", {"AWS_SESSION_TOKEN": "old", "OTHER": "1"})

    ran = setup("--from-file", pairs(), "--force", "--json")

    assert ran.data["secrets"][0]["action"] == "replaced"
    assert {"OTHER", "AWS_SESSION_TOKEN"}.isdisjoint(cloud.secret("aws-secret"))


def test_update_does_not_mix_keys_with_an_old_session(cloud, setup, pairs):
    modal.Secret.objects.create("aws-secret", {"AWS_SESSION_TOKEN": "old"})

    ran = setup("--from-file", pairs(), "--update", "--json")

    assert (ran.code, ran.error["code"]) == (4, "E_SECRET_VALUE")
    assert ran.error["hint"].endswith(" --force")
    assert cloud.secret("aws-secret") == {"AWS_SESSION_TOKEN": "old"}


def test_a_part_is_updated_where_it_need_not_be_tried(cloud, setup, tmp_path):
    before = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_BUCKET_NAME"), "old")
    modal.Secret.objects.create("aws-secret", before)
    path = tmp_path / "region.env"
    path.touch(mode=0o600)
    path.write_text("AWS_REGION=eu-west-3\n")
    words = ("--only", "aws", "--from-file", path, "--update")

    assert setup(*words, "--json").error["code"] == "E_SECRET_VALUE"
    assert setup(*words, "--no-verify").code == 0
    assert cloud.secret("aws-secret") == {**before, "AWS_REGION": "eu-west-3"}


# At a terminal


@pytest.fixture
def terminal(cloud, tmp_path):
    """Starts `multitalk setup-secrets` at a terminal, as a newcomer would."""
    opened = []

    def start(*words, **more):
        env = {
            **cloud.environment(tmp_path),
            "PYTHONPATH": str(ROOT),
            "TERM": "xterm",
            "AWS_EC2_METADATA_DISABLED": "true",
            **more,
        }
        child = pexpect.spawn(
            sys.executable, ["-m", "multitalk_cli", "setup-secrets", *words], env=env,
            cwd=str(tmp_path), encoding="utf-8", timeout=HANG_S, dimensions=(30, 120),
        )  # fmt: skip
        opened.append(child)
        return child

    yield start
    for child in opened:
        child.close(force=True)


def answer(child, question, text, *, hidden=True):
    """Waits for a question, and for the terminal to be as it should; then types."""
    child.expect_exact(question)
    if hidden:
        assert child.waitnoecho(10)
    child.sendline(text)


def rest_of(child):
    """What is shown to the end, and the exit code."""
    shown = re.sub(r"\x1b\[[0-9;]*m", "", child.read())
    child.wait()
    return shown, child.exitstatus


def test_a_newcomer_types_four_values_and_none_is_shown(cloud, terminal, store, hub, tmp_path):
    child = terminal("--endpoint-url", store.url, HF_ENDPOINT=hub.url)
    log = tmp_path / "log"
    with log.open("w", encoding="utf-8") as child.logfile_read:
        answer(child, "AWS_ACCESS_KEY_ID (hidden, Enter skips): ", f"'{KEY_ID}' ")
        answer(child, "AWS_SECRET_ACCESS_KEY (hidden): ", "   ")
        child.expect_exact("AWS_SECRET_ACCESS_KEY is empty")
        answer(child, "AWS_SECRET_ACCESS_KEY (hidden): ", SECRET)
        answer(child, "AWS_BUCKET_NAME: ", store.bucket, hidden=False)
        answer(child, "HF_TOKEN (hidden, Enter skips): ", f"export HF_TOKEN={HUB_TOKEN}")
        _, code = rest_of(child)

    shown = log.read_text(encoding="utf-8")
    assert code == 0, shown
    assert_hidden(shown)
    assert "AWS_ACCESS_KEY_ID: spaces and line ends around it and quotes removed" in shown
    assert cloud.secret("aws-secret")["AWS_SECRET_ACCESS_KEY"] == SECRET
    assert cloud.secret("aws-secret")["AWS_ACCESS_KEY_ID"] == KEY_ID
    assert cloud.secret("huggingface-secret") == {"HF_TOKEN": HUB_TOKEN}
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and path != log]
    for path in kept:
        assert_hidden(path.read_bytes().decode("utf-8", "replace"))
    assert [path.name for path in kept] == ["config.toml"]


def test_enter_leaves_both_out(terminal):
    child = terminal()
    answer(child, "AWS_ACCESS_KEY_ID (hidden, Enter skips): ", "")
    answer(child, "HF_TOKEN (hidden, Enter skips): ", "")
    shown, code = rest_of(child)

    assert code == 0, shown
    assert "next:  multitalk download" in shown
    assert not modal.Secret.objects.list()


def test_temporary_keys_are_asked_for_their_session(cloud, terminal, store):
    store.key_id = "ASIATESTTESTTESTTEST"
    child = terminal("--only", "aws", "--endpoint-url", store.url, "--bucket", store.bucket)
    answer(child, "AWS_ACCESS_KEY_ID (hidden): ", store.key_id)
    answer(child, "AWS_SECRET_ACCESS_KEY (hidden): ", SECRET)
    answer(child, "AWS_SESSION_TOKEN (hidden): ", SESSION)
    shown, code = rest_of(child)

    assert code == 0, shown
    assert cloud.secret("aws-secret")["AWS_SESSION_TOKEN"] == SESSION


def test_what_cannot_be_right_three_times_ends_it(terminal):
    child = terminal("--only", "hf")
    for text in ("", " ", "hf_with a space"):
        answer(child, "HF_TOKEN (hidden): ", text)
    shown, code = rest_of(child)

    assert (code, "E_SECRET_VALUE" in shown) == (4, True)
    assert "HF_TOKEN has a space at position 8 of 15" in shown


def test_ctrl_c_at_a_question_saves_nothing_and_leaves_the_terminal_as_it_was(terminal):
    child = terminal("--only", "hf")
    child.expect_exact("HF_TOKEN (hidden): ")
    assert child.waitnoecho(10)
    child.sendintr()
    shown = child.read()
    child.wait()

    assert "interrupted; nothing was saved" in shown
    assert child.signalstatus == 2
    assert child.getecho()


def test_a_pipe_that_is_a_terminal_is_refused(terminal):
    shown, code = rest_of(terminal("--stdin"))

    assert (code, "a terminal would show the secret" in shown) == (2, True)


# What comes next


def test_the_next_command_is_what_the_deployment_still_needs(
    cloud, setup, pairs, tiny_pack, tmp_path
):
    user = User(cloud, ROOT, tmp_path / "user")
    words = ("--from-file", pairs(), "--json")
    assert user.run("deploy", "--quiet").code == 0

    assert setup(*words).data["next"] == "multitalk deploy"
    assert user.run("deploy", "--quiet").code == 0
    anew = setup(*words, "--force")
    assert anew.data["next"] == "multitalk deploy"
    assert "the deployed app refers to the replaced secret" in anew.data["warnings"][-1]
    assert setup(*words, "--update").data["next"].startswith("multitalk download")
    upload_pack(tiny_pack)
    assert setup(*words, "--update").data["next"] == "multitalk generate IMAGE VOICE"


@pytest.mark.parametrize("agrees", [False, True])
def test_at_a_terminal_a_deploy_is_offered_as_it_was_made_before(
    cloud, terminal, hub, tmp_path, agrees
):
    user = User(cloud, ROOT, tmp_path / "user")
    assert user.run("deploy", "--quiet", "--stack", "cuda12.1", "--gpu", "l4").code == 0

    child = terminal("--only", "hf", HF_ENDPOINT=hub.url)
    answer(child, "HF_TOKEN (hidden): ", HUB_TOKEN)
    answer(child, "Deploy now? [y/N]", "y" if agrees else "", hidden=False)
    shown, code = rest_of(child)

    assert code == 0, shown
    assert cloud.secret("huggingface-secret") == {"HF_TOKEN": HUB_TOKEN}
    record = json.loads(cloud.entries(contract.DEPLOYMENTS_DICT)["multitalk"])
    assert (record["stacks"], record["gpus"]) == (["current", "cuda12.1"], ["L4"])
    assert record["secrets"] == (["huggingface-secret"] if agrees else [])
    assert ("next:  multitalk deploy --stack cuda12.1 --gpu l4" in shown) is not agrees
